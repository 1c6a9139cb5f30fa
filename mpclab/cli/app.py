"""`mpclab lab --app`: the Distributed Coordinator as a page of its own, outside notebooks.

Voilà runs a notebook of one cell and serves what it shows. Each page that is opened has a lab of
its own, in a kernel of its own; it ends when the page is closed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from mpclab.core.errors import UsageError

NEEDS: Final = "mpclab lab --app needs voila: pip install 'mpclab[app]'"
_CELL: Final = """\
from mpclab.panels import Coordinator
coordinator = Coordinator({fields})
coordinator"""


def notebook(fields: dict[str, Any]) -> dict[str, Any]:
    """A notebook that shows a coordinator made with `fields`, and nothing else."""
    given = ", ".join(f"{name}={value!r}" for name, value in fields.items())
    cell: dict[str, Any] = {
        "cell_type": "code", "id": "coordinator", "metadata": {}, "outputs": [],
        "execution_count": None, "source": _CELL.format(fields=given),
    }  # fmt: skip
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5
    }  # fmt: skip


def open_app(arguments: Sequence[str], **fields: Any) -> int:
    """Serve the coordinator until it is interrupted; its exit status.

    Raises:
        UsageError: Voilà is not installed.
    """
    try:
        from voila.app import Voila
    except ModuleNotFoundError:
        raise UsageError(NEEDS) from None
    with TemporaryDirectory(prefix="mpclab-app-") as folder:
        file = Path(folder) / "mpclab.ipynb"
        file.write_text(json.dumps(notebook(fields)), encoding="utf-8")
        Voila.launch_instance([
            str(file), "--Voila.ip=127.0.0.1", "--VoilaConfiguration.show_tracebacks=True",
            "--token",  # a kernel runs whatever it is told: who has none does not reach it
            *arguments,
        ])  # fmt: skip
    return 0
