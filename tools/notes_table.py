"""The notes as a table, for the documentation: `make docs-tables`.

The table is made of the classes of `mpclab.core.notes` and their docstrings, so that it cannot
say anything else than they do. A test compares docs/notes.md with it.
"""

import inspect
import re
import sys

import msgspec

from mpclab.core.errors import UsageError
from mpclab.core.notes import CLASSES, Decided, Note
from mpclab.trace.rows import Noted

_PARTS = ("Written by", "Read by", "Without it")
_HEAD = """\
# Notes

Printed by `make docs-tables` from `mpclab/core/notes.py`; do not edit.

A note is a past fact that a machine or a host puts into the trace: a row `Noted(at, actor, path,
note)`. Protocols write them, with `ctx.note(notes.Decided(op, index))` or by word,
`ctx.note("decided", op=op)`; a word or a field that is not in this table is refused. Outcomes,
checks, plots, panels and the terminal read them, and nothing else of a protocol. What has no
word here is a remark, `ctx.remark("half way", left=3)`, which the log shows and nothing reads.

| note | fields | says | written by | read by | without it |
|---|---|---|---|---|---|
"""


def explain(kind: type[Note]) -> dict[str, str]:
    """What a class of notes says, who writes it, who reads it, what is missing without it.

    Raises:
        UsageError: its docstring leaves one of these out.
    """
    doc = inspect.getdoc(kind) or ""
    found = {}
    for part in _PARTS:
        match = re.search(rf"^{part}: (.*?)(?=^\S[\w ]*: |\Z)", doc, re.M | re.S)
        if match is None:
            raise UsageError(f"note {kind.__name__}: its docstring does not say {part!r}")
        found[part] = _line(match[1]).rstrip(".")
    found["says"] = _line(doc.split(f"{_PARTS[0]}:")[0])
    return found


def table() -> str:
    """docs/notes.md."""
    lines = []
    for word, kind in CLASSES.items():
        told = explain(kind)
        cells = [f"`{word}`", _fields(kind), told["says"], *(told[part] for part in _PARTS)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return _HEAD + "".join(lines) + _JSON


def _fields(kind: type[Note]) -> str:
    return ", ".join(
        f"`{field.name}`" if field.required else f"`{field.name}`?"
        for field in msgspec.structs.fields(kind)
    )


def _line(text: str) -> str:
    return " ".join(text.split())


def _example() -> str:
    row = Noted(12_000, 2, ("session",), Decided("k3f9", 0))
    return msgspec.json.encode(row).decode()


_JSON = f"""
A field with a question mark may be left out, and is where it has its usual value. In a saved
trace (JSONL) a note stands under `note`, with its word:

```json
{_example()}
```
"""


if __name__ == "__main__":
    sys.stdout.write(table())
