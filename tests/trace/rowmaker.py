"""Hand-made traces, as short to write as to read: for the tests of trace, checks and plots."""

from collections.abc import Iterable
from typing import Any

from mpclab.core import notes
from mpclab.faults.plan import KINDS
from mpclab.trace import Delivered, Dropped, Fault, Lied, Linked, Noted, Sent, Trace

SESSION = ("session",)
LIFE = {"crash": "crashed", "pause": "paused", "leave": "left", "slow": "up", "skew": "up"}


class Story:
    """A trace under construction: `at(ms)` moves the clock, everything else adds rows."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.trace = Trace()
        self.now = 0
        self._ids: dict[int, int] = {}

    def at(self, ms: float) -> "Story":
        self.now = round(ms * 1000)
        return self

    def note(
        self, actor: int, what: str, *, path: tuple[str, ...] = SESSION, **details: object
    ) -> int:
        self.trace.append(Noted(self.now, actor, path, notes.named(what, details)))
        return len(self.trace) - 1

    def remark(self, actor: int, what: str, **details: object) -> int:
        self.trace.append(Noted(self.now, actor, SESSION, notes.Remark(what, details)))
        return len(self.trace) - 1

    def host(self, actor: int, what: str, **fields: Any) -> int:
        """What the host itself notes of a party: crashed, restarted, paused, resumed."""
        return self.note(actor, what, path=(), **fields)

    def fault(self, index: int, kind: str, phase: str, *parties: int, text: str = "") -> int:
        byzantine, life = KINDS[kind].byzantine if kind in KINDS else False, LIFE.get(kind, "")
        if phase == "end" and life:
            life = "up"
        self.trace.append(Fault(self.now, -1, index, kind, phase, parties, text, byzantine, life))
        return len(self.trace) - 1

    def lie(self, actor: int, kind: str, id: int, to: tuple[int, ...], *said: int) -> int:
        """What the adversary in `actor` made of message `id`: `to` got the messages `said`."""
        self.trace.append(Lied(self.now, actor, SESSION, kind, id, to, said))
        return len(self.trace) - 1

    def link(self, actor: int, peer: int, state: str) -> None:
        self.trace.append(Linked(self.now, actor, peer, state))

    def send(
        self,
        sender: int,
        to: Iterable[int],
        kind: str = "Vote",
        *,
        via: str = "link",
        background: bool = False,
    ) -> int:
        """One message to `to`; its id."""
        self._ids[sender] = id = self._ids.get(sender, 0) + 1
        self.trace.append(
            Sent(self.now, sender, id, tuple(to), SESSION, kind, 100, via, background)
        )
        return id

    def arrive(self, sender: int, id: int, at: int) -> None:
        self.trace.append(Delivered(self.now, at, sender, id))

    def lose(self, sender: int, id: int, at: int, why: str = "loss") -> None:
        self.trace.append(Dropped(self.now, at, sender, id, why))

    # --- whole scenes ---

    def propose(self, by: int, op: str, kind: str = "note", text: str = "hello") -> None:
        self.note(by, "proposed", op=op, kind=kind, by=by, text=text)
        for other in range(1, self.n + 1):
            if other != by:
                self.note(other, "heard", op=op, kind=kind, by=by)

    def vote(self, party: int, op: str, approve: bool = True, reason: str = "") -> int:
        return self.note(party, "voted", op=op, approve=approve, reason=reason)

    def commit(self, party: int, op: str, value: str = "aa11", index: int | None = None) -> int:
        return self.note(
            party, "committed", op=op, kind="note", index=index, head="00ff", value=value
        )

    def abort(self, party: int, op: str, reason: str = "party 3 rejected") -> int:
        return self.note(party, "aborted", op=op, reason=reason, rejected=[3], missing=[])


def committed(n: int = 3, op: str = "k3f9") -> Story:
    """All approve and all commit one operation."""
    story = Story(n)
    story.propose(1, op)
    for party in range(1, n + 1):
        story.at(10).vote(party, op)
    for party in range(1, n + 1):
        story.at(20).note(party, "certified", op=op, approvals=list(range(1, n + 1)))
        story.commit(party, op, index=0)
        story.note(party, "executed", op=op, result="hello")
    return story
