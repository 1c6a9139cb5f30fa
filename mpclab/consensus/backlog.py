"""The open operations of a log protocol, whichever party wants them.

Raft, PBFT and HotStuff differ in how a value gets a place, not in what they owe to their users:
each operation once, a word when it does not come forward, and no timer that keeps a run alive for
what nobody can end.
"""

from __future__ import annotations

from mpclab.consensus.agreement import Decided
from mpclab.core import notes
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx


class Backlog:
    """The operations that are wanted here and not decided yet, and those that are decided.

    Args:
        tries: attempts without a decision after which an operation counts as blocked.
    """

    pending: dict[str, bytes]
    """Not decided yet, with their values, in the order in which they came."""
    own: set[str]
    """Those of them that our own user submitted."""
    done: set[str]
    """Decided, each once."""

    def __init__(self, tries: int) -> None:
        self.limit = tries
        self.pending = {}
        self.own = set()
        self.done = set()
        self._attempts = 0  # since the last decision here
        self._tries: dict[str, int] = {}  # of them, with this operation
        self._since: dict[str, int] = {}  # how many were decided when it came
        self._heard: set[Party] = set()  # since the last attempt
        self._heard_before: set[Party] = set()  # between that and the one before

    def add(self, op: str, value: bytes, *, own: bool = False) -> bool:
        """Somebody wants `op`; False when it is decided. A second value changes nothing."""
        if op in self.done:
            return False
        if own:
            self.own.add(op)
        self.pending.setdefault(op, value)
        self._since.setdefault(op, len(self.done))
        return True

    def decide(self, ctx: Ctx, op: str, value: bytes) -> bool:
        """`op` has its place: tell our user, once. False for a second value, which is skipped."""
        self.pending.pop(op, None)
        self.own.discard(op)
        self._since.pop(op, None)
        self._attempts = 0
        self._tries.clear()
        if not op or op in self.done:
            return False
        place = len(self.done)
        self.done.add(op)
        ctx.note(notes.Decided(op=op, index=place))
        ctx.output(Decided(op, value, place))
        return True

    def forget(self, op: str) -> None:
        """Nobody here waits for `op` any more, unless our own user does."""
        if op not in self.own:
            self.pending.pop(op, None)
            self._since.pop(op, None)

    def hear(self, party: Party) -> None:
        """A message came from `party`."""
        self._heard.add(party)

    def attempt(self, ctx: Ctx, why: str) -> None:
        """Once more nothing came of it; says which operations are blocked, and by whom."""
        missing = [p for p in ctx.others if p not in self._heard | self._heard_before]
        self._attempts += 1
        for op in self.pending:
            self._tries[op] = tries = self._tries.get(op, 0) + 1
            if tries == self.limit:
                ctx.note(notes.Blocked(op=op, waiting_for=tuple(missing), why=why))
        self._heard_before, self._heard = self._heard, set()

    @property
    def is_hopeless(self) -> bool:
        """Whether all that is open was tried so often that it need not keep a run alive."""
        enough, tried = 4 * self.limit, self._tries
        return self._attempts > enough and all(tried.get(op, 0) > enough for op in self.pending)

    def overtaken(self) -> int:
        """How many operations were decided since the one that waits longest came."""
        oldest = next(iter(self.pending), None)
        return 0 if oldest is None else len(self.done) - self._since[oldest]

    def renew(self) -> None:
        """Entries that we caught up with have overtaken no operation."""
        self._since = dict.fromkeys(self.pending, len(self.done))
