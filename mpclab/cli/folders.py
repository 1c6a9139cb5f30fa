"""Where mpclab keeps what belongs to a user: `MPCLAB_HOME`, or `.mpclab` in the home folder."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder. Nothing makes it but what puts something there."""
    named = os.environ.get("MPCLAB_HOME")
    return Path(named) if named else Path.home() / ".mpclab"
