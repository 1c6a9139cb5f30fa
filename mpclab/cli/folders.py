"""Where mpclab keeps what belongs to a user (`MPCLAB_HOME`, or `.mpclab` in the home folder), and
the files by which it is told secrets."""

from __future__ import annotations

import os
from pathlib import Path

from mpclab.core.errors import UsageError


def home() -> Path:
    """The folder. Nothing makes it but what puts something there."""
    named = os.environ.get("MPCLAB_HOME")
    return Path(named) if named else Path.home() / ".mpclab"


def login_in(file: Path, option: str) -> tuple[str, str]:
    """User name and password from a file: on a command line everybody here could read them.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{option} {file}: {error}") from error
    if len(lines) < 2 or not lines[0] or not lines[1]:
        raise UsageError(f"{option} {file}: write a user name and a password, a line each")
    return lines[0], lines[1]
