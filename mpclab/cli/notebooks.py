"""`mpclab lab`: JupyterLab on a copy of the notebooks, in a folder of the user's.

What one runs and writes there changes neither a checkout nor an installation, and the answers to
its questions come when a cell is run. Files that notebooks
refer to (`../docs/images/…`) are copied beside them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from mpclab.core.errors import UsageError

FIRST = "00_welcome.ipynb"
_QUESTION = re.compile(r"\bpredict\b", re.IGNORECASE)
_PACKAGE = Path(__file__).parents[1]
_LINK = re.compile(r"\(\.\./([\w/.-]+)|\\?[\"']\.\./([\w/.-]+)")


def sources() -> Iterator[Path]:
    """Folders that may hold `notebooks/`: the checkout, then what the wheel has installed."""
    yield _PACKAGE.parent
    yield Path(sys.prefix) / "share" / "mpclab"


def unpack(folder: Path, *, fresh: bool = False) -> list[str]:
    """Copy the notebooks into `folder`/notebooks; the names of those that were copied.

    One that is there stays as the user left it, unless `fresh`.

    Raises:
        UsageError: no notebooks were installed, or the folder cannot be written.
    """
    root = next((one for one in sources() if (one / "notebooks" / FIRST).is_file()), None)
    if root is None:
        raise UsageError("the notebooks were not installed with mpclab; get them with its source")
    if folder.resolve() == root.resolve():
        raise UsageError(f"{folder} holds the notebooks themselves; name another folder")
    copied = []
    try:
        (folder / "notebooks").mkdir(parents=True, exist_ok=True)
        for notebook in sorted((root / "notebooks").glob("*.ipynb")):
            target = folder / "notebooks" / notebook.name
            if fresh or not target.exists():
                target.write_text(unanswered(notebook.read_text(encoding="utf-8")), "utf-8")
                copied.append(notebook.name)
            _copy_beside(notebook.read_text(encoding="utf-8"), root, folder)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror or error}") from error
    return copied


def unanswered(text: str) -> str:
    """A notebook without the outputs of cells that follow a question, "Predict": to read the answer
    one has to run it."""
    notebook = json.loads(text)
    asked = False
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            asked = bool(_QUESTION.search("".join(cell["source"])))
        elif asked and cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _copy_beside(text: str, root: Path, folder: Path) -> None:
    for found in _LINK.finditer(text):
        name = found[1] or found[2]
        for base in (root, _PACKAGE.parent):
            if (base / name).is_file():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(base / name, target)
                break


def open_lab(folder: Path, *, fresh: bool, arguments: list[str]) -> int:
    """Unpack, and run JupyterLab there until it ends; its exit status."""
    copied = unpack(folder, fresh=fresh)
    kept = "" if copied else "; yours are kept, --fresh brings the originals back"
    print(f"notebooks in {folder / 'notebooks'}{kept}")
    # In containers one often is root, and Jupyter wants to hear that this is meant.
    as_root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    # The folder above is the server's root: notebooks show pictures and files that lie beside it.
    where = [
        f"--ServerApp.root_dir={folder.resolve()}",
        f"--LabApp.default_url=/lab/tree/notebooks/{FIRST}",
    ]
    return subprocess.call([sys.executable, "-m", "jupyterlab", *as_root, *where, *arguments])
