"""`HistoryPanel`: the hash-chained history of what was committed, and whether all hold the same.

Read from the parties themselves: where nothing orders operations, one that comes late moves into
the middle of the chain and changes the heads after it. Of a lab that was closed, such as a played
file's, only the trace is left: what each party committed, in the order in which it did.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from mpclab.core import notes
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.lab import Lab
from mpclab.panels import controls, theme
from mpclab.panels.controller import Tick
from mpclab.panels.panel import Panel
from mpclab.plots import style
from mpclab.trace.fold import State
from mpclab.trace.rows import Noted

_SHOWN = 40
_NEWS = (
    notes.Committed,
    notes.CaughtUp,
    notes.Executed,
    notes.Crashed,
    notes.Restarted,
    notes.Removed,
    notes.Paused,
    notes.Resumed,
)


class Link(NamedTuple):
    """One entry of a party's chain; `head` is its hash, as hex."""

    place: int
    op: str
    kind: str
    by: Party
    head: str


Chains = dict[Party, tuple[Link, ...]]


class HistoryPanel(Panel):
    """The chain of committed operations, and the head that each party holds."""

    title: ClassVar[str] = "History"
    name: ClassVar[str] = "history"

    def build(self) -> list[Any]:
        self.chain = controls.page()
        self.heads = controls.page()
        self._chains: Chains = {}
        self._stale = True
        self._asked = False
        return [self.chain, self.heads]

    def refresh(self, now: Tick) -> None:
        news = any(type(row) is Noted and isinstance(row.note, _NEWS) for row in now.rows)
        if now.is_new:
            self._chains, self._asked = {}, False
        self._stale = self._stale or news or now.is_new
        if self._stale and now.lab.closed:
            self._stale, self._chains = False, told_chains(now.state)
        elif self._stale and not self._asked:
            self._stale, self._asked = False, True
            self.controller.ask(read_chains, self._take)
        self.chain.value = draw_chain(self._chains, now.state)
        self.heads.value = draw_heads(self._chains)
        equal = len({chain[-1].head if chain else "" for chain in self._chains.values()}) == 1
        self.note(
            "" if not any(self._chains.values()) else
            theme.badge("all heads are equal", theme.GOOD) if equal else
            theme.badge("heads differ", theme.WARN, "some are behind, or parties disagree")
        )  # fmt: skip

    def _take(self, chains: Chains) -> None:
        self._asked = False
        if chains != self._chains:
            self._chains = chains
            self.controller.wake()


def read_chains(lab: Lab) -> Chains:
    """The chain of every party that is up and runs the coordinator."""
    found: Chains = {}
    for party in lab.group.joined:
        try:
            chain = lab.group.machine_of(party, _read)
        except UsageError:  # it has crashed
            continue
        if chain is not None:
            found[party] = chain
    return found


def told_chains(state: State) -> Chains:
    """The chain of every party as its commits were told, the latest head last."""
    found: Chains = {}
    for party in sorted(state.parties):
        held = [
            (one.commits[party], one) for one in state.operations.values() if party in one.commits
        ]
        held.sort(key=lambda pair: pair[0].row)
        found[party] = tuple(
            Link(place, one.op, one.kind, one.by or 0, commit.head[:12])
            for place, (commit, one) in enumerate(held)
        )
    return found


def _read(machine: Any) -> tuple[Link, ...] | None:
    history = getattr(machine, "history", None)
    if history is None:
        return None
    return tuple(
        Link(e.index, e.record.op, e.record.proposal.kind, e.record.proposal.by, e.head.hex()[:12])
        for e in history.entries()
    )


def draw_chain(chains: Chains, state: State) -> str:
    """Blocks from left to right, each with the hash that covers all before it."""
    longest = max(chains.values(), key=len, default=())
    if not longest:
        return theme.empty("Nothing has been committed yet.")
    blocks = []
    for entry in longest[-_SHOWN:]:
        one = state.operations.get(entry.op)
        said = one.text.removeprefix(f"{one.kind}: ") if one else ""
        result = next(iter(one.results.values()), "") if one else ""
        words = result if result and result != said else said
        blocks.append(
            f'<div class="mpclab-block" title="{theme.escape(words)}">'
            f"<p><b>{entry.place + 1}</b> {theme.escape(entry.kind)} {theme.chip(entry.by)}</p>"
            f"<p>{theme.escape(style.shorten(words, 40))}</p>"
            f"<p><code>{theme.escape(entry.head)}</code></p></div>"
        )
    link = '<div class="mpclab-link"></div>'
    return f'<div class="mpclab-chain"><div>{link.join(blocks)}</div></div>'


def draw_heads(chains: Chains) -> str:
    """Which head each party holds, and how long its chain is."""
    if not any(chains.values()):
        return ""
    groups: dict[tuple[str, int], list[Party]] = {}
    for party, chain in chains.items():
        groups.setdefault((chain[-1].head if chain else "", len(chain)), []).append(party)
    rows = [
        [
            f"<code>{theme.escape(head)}</code>" if head else "nothing yet",
            style.count(length, "entry"),
            theme.chips(who),
        ]
        for (head, length), who in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]
    return theme.table(["head", "covers", "held by"], rows)
