"""`OneSession`: a lab with another of its sessions in front, as if it were the only one.

Its parties are 1 to n everywhere: in verbs, faults, outcomes, the trace and its pictures. What
belongs to the whole lab (the server, time, the world) is the lab's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.core.words import count
from mpclab.lab.group import Group
from mpclab.lab.verbs import Verbs
from mpclab.trace.fold import State
from mpclab.trace.part import PartTrace

if TYPE_CHECKING:
    from mpclab.faults.plan import Injection
    from mpclab.lab.replies import Done
    from mpclab.lab.travel import Checkpoint
    from mpclab.trace.log import Trace


class Whole(Protocol):
    """A lab with several sessions, as far as one of them needs it."""

    @property
    def groups(self) -> Mapping[str, Group]: ...
    @property
    def trace(self) -> Trace: ...
    def let_pass(self, until: Callable[[], bool] | None, limit: int) -> bool: ...
    def lose(self, sender: Party, id: int, to: Party) -> Done: ...
    def hold(self, sender: Party, id: int, to: Party, lasts: int | str = "1s") -> Done: ...
    def duplicate(self, sender: Party, id: int, to: Party) -> Done: ...
    def rewind_before(self, row: int, *, branch: str = "") -> Done: ...
    def rewind_after(self, row: int, *, branch: str = "") -> Done: ...
    def fork(
        self,
        at: Checkpoint | str | int | None = None,
        *,
        branch: str = "",
        before: int | None = None,
        after: int | None = None,
    ) -> Self: ...
    def of(self, session: str) -> OneSession: ...


class OneSession(Verbs):
    """The verbs of one session, as `Lab` has them for its first.

    Attributes:
        whole: the lab.
    """

    def __init__(self, whole: Whole, session: str) -> None:
        self.whole, self._session = whole, session
        self._part: PartTrace | None = None
        self._fold = State()

    def __getattr__(self, name: str) -> Any:
        """What belongs to the whole lab."""
        if name.startswith("_") or name == "whole":
            raise AttributeError(name)
        return getattr(self.whole, name)

    if not TYPE_CHECKING:  # what `Verbs` wants to be there

        @property
        def called(self) -> str:
            return self._session

        @property
        def group(self) -> Group:
            if self._session not in self.whole.groups:  # time was turned back
                raise UsageError(f"there is no session {self._session!r} yet")
            return self.whole.groups[self._session]

        @property
        def scenario(self) -> Any:
            return self.group.scenario

        @property
        def trace(self) -> PartTrace:
            return self.part

    @property
    def part(self) -> PartTrace:
        """The rows of this session, up to now."""
        whole, of = self.whole.trace, self.group.numbering
        # Another trace where time was turned back, other numbers where it took new settings.
        if self._part is None or self._part.source is not whole or self._part.of_session != of:
            self._part, self._fold = PartTrace(whole, self._session, of), State()
        return self._part.follow()

    @property
    def state(self) -> State:
        part = self.part
        rows = list(part)
        self._fold.read(rows[self._fold.rows :])
        return self._fold

    @property
    def injections(self) -> tuple[Injection, ...]:
        """Every fault put here by `inject` and `nemesis`, healed or not."""
        return tuple(self.group.injections)

    def heal(self, injection: Injection | None = None) -> Done:
        """End one fault, or all that `inject` began in this session."""
        return self.group.heal(injection)

    def let_pass(self, until: Callable[[], bool] | None, limit: int) -> bool:
        return self.whole.let_pass(until, limit)

    def lose(self, sender: Party, id: int, to: Party) -> Done:
        """As `Lab.lose`, between parties of this session."""
        actor = self.group.numbering.actor
        return self.whole.lose(actor(sender), id, actor(to))

    def hold(self, sender: Party, id: int, to: Party, lasts: int | str = "1s") -> Done:
        """As `Lab.hold`, between parties of this session."""
        actor = self.group.numbering.actor
        return self.whole.hold(actor(sender), id, actor(to), lasts)

    def duplicate(self, sender: Party, id: int, to: Party) -> Done:
        """As `Lab.duplicate`, between parties of this session."""
        actor = self.group.numbering.actor
        return self.whole.duplicate(actor(sender), id, actor(to))

    def rewind_before(self, row: int, *, branch: str = "") -> Done:
        """As `Lab.rewind_before`, for a row of this session's trace."""
        return self.whole.rewind_before(self._row(row), branch=branch)

    def rewind_after(self, row: int, *, branch: str = "") -> Done:
        """As `Lab.rewind_after`, for a row of this session's trace."""
        return self.whole.rewind_after(self._row(row), branch=branch)

    def _row(self, row: int) -> int:
        """The number in the whole trace of a row of this session's."""
        rows = self.part.origin
        if type(row) is not int or not 0 <= row < len(rows):
            last = len(rows) - 1
            raise UsageError(f"row {row!r}: the trace of this session has the rows 0 to {last}")
        return rows[row]

    def fork(
        self,
        at: Checkpoint | str | int | None = None,
        *,
        branch: str = "",
        before: int | None = None,
        after: int | None = None,
    ) -> OneSession:
        """As `Lab.fork`, for rows of this session's trace."""
        forked = self.whole.fork(
            at, branch=branch, before=None if before is None else self._row(before),
            after=None if after is None else self._row(after),
        )  # fmt: skip
        return forked.of(self._session)

    def __repr__(self) -> str:
        name = f"session {self._session!r} of {self.whole!r}"
        group = self.whole.groups.get(self._session)
        return f"{name}: {count(group.scenario.parties, 'party') if group else 'not open yet'}"
