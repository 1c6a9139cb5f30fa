"""`Canvas`: the living space-time diagram as a widget, fed with what is new of a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anywidget
import traitlets

from mpclab.core.ids import Party
from mpclab.lab.inside import Fields
from mpclab.trace.log import Trace
from mpclab.view import Feed, script


class Canvas(anywidget.AnyWidget):
    """A diagram of one trace: `follow(trace)`, then `update()` as often as one likes.

    The page asks for everything when it opens; after that only what is new crosses to it, in
    binary. Nothing else is kept here: zoom, filter and choice are the page's own.

    Attributes:
        chosen: the row of the trace that was clicked last.
        witnesses: rows that stand out.
        able: the verbs that can be done from the picture.
        on_act: called with what was done there: `{"verb": "crash", "party": 2}`.
        on_look: called with a row (-1: now) when a reader wants to look inside the parties then.
    """

    _esm = script()
    whole = traitlets.Bytes(b"").tag(sync=True)
    witnesses = traitlets.List(traitlets.Int()).tag(sync=True)
    able = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self) -> None:
        super().__init__()
        self.chosen: int | None = None
        self.on_act: Callable[[dict[str, Any]], None] = _nothing
        self.on_look: Callable[[int], None] = _nothing
        self._trace = Trace()
        self._feed = Feed(self._trace)
        self._number: int | None = None  # of the next chunk; None: no page has asked yet
        self._again = False
        self.on_msg(self._hear)

    def follow(self, trace: Trace) -> None:
        """Show another trace from now on."""
        self._trace = trace
        self._again = True

    def update(self) -> None:
        """Send what is new. Called by one thread at a time."""
        if self._again:
            self._again, self._number = False, 0
            self._feed = Feed(self._trace)
            self._pass([])  # begin anew, also where nothing has happened yet
        if self._number is not None and (chunk := self._feed.read()) is not None:
            self._pass([chunk])

    def _pass(self, chunks: list[bytes]) -> None:
        number = self._number or 0
        self.send({"type": "chunk", "number": number}, chunks)
        self._number = number + 1

    def tell(self, row: int, parties: Mapping[Party, Mapping[str, Fields]]) -> None:
        """Answer `on_look`: of each party, what it held `now`, and what of it was `changed`."""
        told = {str(party): one for party, one in parties.items()}
        self.send({"type": "looked", "row": row, "parties": told})

    def _hear(self, _: Any, message: Any, buffers: Any) -> None:
        match message:
            case {"type": "again"}:
                self._again = True
            case {"type": "chosen", "row": int(row)}:
                self.chosen = row
            case {"type": "look", "row": int(row)}:
                self.on_look(row)
            case {"type": "act", "deed": {"verb": str()} as deed}:
                self.on_act(deed)
            case _:
                pass  # a page of another version


def _nothing(_: Any) -> None:
    """Nobody listens."""
