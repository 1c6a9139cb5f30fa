"""What a server says while it runs: lines for people, or a JSON object a line for programs.

Every event is one line, whatever words a client chose: text is shown letter by letter, and JSON
spells out what is no letter, so that nobody writes a line in another's name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from mpclab.cli.console import console
from mpclab.cli.text import line, plain
from mpclab.core import notes
from mpclab.core.ids import SERVER
from mpclab.trace.log import Trace
from mpclab.trace.rows import Noted
from mpclab.trace.tail import LOST

_SHOWN: Final = (
    notes.Opened, notes.Closed, notes.Joined, notes.Left, notes.JoinRefused, notes.Expelled,
)  # fmt: skip
_WARNINGS: Final = (notes.JoinRefused, notes.Expelled)
A_LOOK: Final = 200
"""Lines at one look; of more it is said how many there were."""


class ServerLog:
    """Says what happens.

    Args:
        trace: where it is read from.
        how: json, text, status (counters that stay in one place) or auto.
    """

    def __init__(self, trace: Trace, how: str) -> None:
        if how == "auto":
            how = "status" if sys.stdout.isatty() else "text"
        self.how = how
        self._rows = trace.rows
        self._read = 0

    def say(self, *parts: object, event: str = "", level: str = "info") -> None:
        """A line of our own; without an `event` it is for people alone."""
        if self.how != "json":
            console.print(line(*parts))
        elif event:
            words = "".join(str(p[0] if isinstance(p, tuple) else p) for p in parts)
            self._write(level, event, {"text": plain(words)})

    def follow(self) -> None:
        """Say what has happened since we last looked."""
        end = len(self._rows)
        if self.how == "status":
            self._read = end
            return
        left_out, said = 0, 0
        for at in range(self._read, end):
            row = self._rows[at]
            if row is LOST:
                left_out += 1
            elif isinstance(row, Noted) and row.actor == SERVER and isinstance(row.note, _SHOWN):
                said += 1
                if said <= A_LOOK:
                    self._tell(row.note)
                else:
                    left_out += 1
        self._read = end
        if left_out:
            self.say((f"{left_out} events left out", "dim"), event="left-out", level="warning")

    def _tell(self, note: notes.AnyNote) -> None:
        level = "warning" if isinstance(note, _WARNINGS) else "info"
        fields = msgspec.structs.asdict(note)
        told = {k: v for k, v in fields.items() if v not in ("", (), None)}
        word = notes.word_of(note)
        if self.how == "json":
            self._write(level, word, told)
            return
        words = ", ".join(f"{k} {v}" for k, v in told.items())
        style = "yellow" if level == "warning" else "dim"
        console.print(line((_now(), "dim"), f"  {word}  ", (words, style)))

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        record = {"time": _now(), "level": level, "event": event, **fields}
        text = json.dumps(record, ensure_ascii=True, default=str)
        console.print(text, soft_wrap=True)

    @contextmanager
    def counters(self) -> Iterator[Callable[[str], None]]:
        """Inside, a place where a line of counters is shown; of people's terminals alone."""
        if self.how != "status":
            yield lambda text: None
            return
        with console.status("") as status:
            yield lambda text: status.update(line(text))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
