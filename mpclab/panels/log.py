"""`LogPanel`: everything that happened, as sentences, the newest first."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, ClassVar

from mpclab.core.ids import Party
from mpclab.core.words import count
from mpclab.panels import controls, theme
from mpclab.panels.controller import Tick
from mpclab.panels.panel import Panel
from mpclab.panels.sentences import LEVELS, Sentence, sentence
from mpclab.plots import style
from mpclab.trace.fold import State
from mpclab.trace.rows import WORLD, Delivered, Dropped, Row, Sent

_KEPT = 20_000
_OP = re.compile(r"\[(\w+)\]$")
_SHOWN = 200


class LogPanel(Panel):
    """The message log: rows of the trace as sentences, filtered by party, words and detail."""

    title: ClassVar[str] = "Message log"
    name: ClassVar[str] = "log"

    def build(self) -> list[Any]:
        self.level = controls.choice(
            "Show", [(words, i) for i, words in enumerate(LEVELS)], width="140px", name="level",
            tip="how much of what happened",
        )  # fmt: skip
        self.who = controls.choice(
            "Of", [("everyone", -2)], width="104px", tip="whose lines", name="who"
        )
        self.words = controls.text(
            "Containing", "", "any words", width="180px", tip="only lines with these words",
            name="filter",
        )  # fmt: skip
        self.heartbeats = controls.check(
            "heartbeats", False, tip="also heartbeats and the like", name="log-heartbeats"
        )
        self.lines = controls.page("", "mpclab-log")
        self.scroll = controls.column(self.lines, max_height="380px")
        self.scroll.add_class("mpclab-scroll")
        self._kept: deque[Sentence] = deque(maxlen=_KEPT)
        self._sent: dict[tuple[Party, int], Sent] = {}  # the latest
        self._asked: tuple[Any, ...] = ()
        self._next = 0.0
        self._new = False
        for each in (self.level, self.who, self.words, self.heartbeats):
            each.observe(lambda _: self.controller.wake(), "value")
        return [controls.row(self.level, self.who, self.words, self.heartbeats), self.scroll]

    def refresh(self, now: Tick) -> None:
        if now.is_new:
            self._kept.clear()
            self._sent.clear()
            self._keep(islice(now.lab.trace, now.state.rows))
            parties = [(f"party {p}", p) for p in now.lab.group.everyone]
            controls.set_options(self.who, [("everyone", -2), ("the server", 0), *parties])
        else:
            self._keep(now.rows)
        asked = (self.level.value, self.who.value, self.words.value, self.heartbeats.value)
        self._new = self._new or bool(now.rows)
        due = self._new and now.clock >= self._next
        if now.is_new or asked != self._asked or due:  # nothing of another session stays on screen
            self._asked, self._new, self._next = asked, False, now.clock + 0.3
            self._show(now.state)

    def _keep(self, rows: Iterable[Row]) -> None:
        """Take the rows as sentences; what arrives or is lost is told as what was sent."""
        for row in rows:
            message = None
            if type(row) is Sent:
                self._sent[row.actor, row.id] = row
                if len(self._sent) > _KEPT:
                    del self._sent[next(iter(self._sent))]
            elif type(row) is Delivered or type(row) is Dropped:
                message = self._sent.get((row.sender, row.id))
            self._kept.append(sentence(row, message))

    def _show(self, state: State) -> None:
        names = style.operation_names(state)

        def named(words: str) -> str:
            return _OP.sub(lambda m: f"[{names[m[1]]}]" if m[1] in names else m[0], words)

        level, who, words, heartbeats = self._asked
        wanted = words.lower().split()
        found: list[str] = []
        matching = 0
        for one in reversed(self._kept):
            if one.level > level or (one.background and not heartbeats):
                continue
            if who not in (-2, one.actor):
                continue
            line = named(one.words).lower() if wanted else ""
            if not all(word in line for word in wanted):
                continue
            matching += 1
            if len(found) < _SHOWN:
                found.append(_line(one, named))
        self.lines.value = "".join(found) or theme.empty("Nothing to show.")
        more = f", the latest {_SHOWN} shown" if matching > _SHOWN else ""
        self.note(f"{count(matching, 'line')}{more}" if matching else "")


def _line(one: Sentence, named: Callable[[str], str]) -> str:
    who = "" if one.actor == WORLD else theme.chip(one.actor)
    return (
        f'<div class="line"><time>{theme.seconds(one.at)}</time><span class="who">{who}</span>'
        f'<span class="mpclab-result">{theme.escape(named(one.words))}</span></div>'
    )
