"""Going back in a simulated run, and off on another way: a seed, and deeds at their places.

Nothing is copied while a run goes on. To go back, a lab is made from the seed (or from the nearest
kept copy) and given the deeds that had been done by then: the same events follow, row by row, and
that is checked. On the way copies are kept at even distances, `MOST_COPIES` at the most, so that
the next jump is short; memory is bounded by that, however long a run is.

What is left behind by going back is a branch: its name, its deeds and where it ended. It can be
returned to, and compared with what came instead.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import format_duration, parse_duration
from mpclab.faults.plan import Injection
from mpclab.lab.journal import Deed, Place
from mpclab.lab.kin import Kin
from mpclab.lab.operation import Operation
from mpclab.trace.log import Trace
from mpclab.trace.rows import Row
from mpclab.worlds.simulated import SimulatedWorld

MOST_COPIES: Final = 8
SPACING: Final = 1_000
"""Events between two copies that are kept on the way."""
FAR: Final = 100
"""So many events cost more than a copy."""


@dataclass(frozen=True)
class Checkpoint:
    """A moment to which a lab can be rewound.

    Attributes:
        at: its time, µs.
        branch: the branch on which it lies.
    """

    name: str
    branch: str
    place: Place

    @property
    def at(self) -> int:
        return self.place.at

    def __repr__(self) -> str:
        return f"checkpoint {self.name!r} at {format_duration(self.at)}"


@dataclass(frozen=True)
class Branch:
    """One way that a run went: the same as `parent` up to `began`, then its own.

    Attributes:
        end: where it was left, or is now.
        outcomes: how its operations stood there, in words.
    """

    name: str
    parent: str
    began: Place
    end: Place
    deeds: tuple[Deed, ...]
    outcomes: str = ""


L = TypeVar("L", bound=Kin)


class Travel(Generic[L]):
    """Checkpoints, branches and kept copies of one lab."""

    def __init__(self, lab: L) -> None:
        self._lab = lab
        self._origin: L | None = None  # where a lab begins that no seed makes
        self._copies: list[tuple[Place, L]] = []
        self.checkpoints: dict[str, Checkpoint] = {}
        self.current = "main"
        self._parent, self._began = "", Place(0, 0, 0)
        self._left: dict[str, Branch] = {}  # branches that are not the current one

    def begin_here(self) -> None:
        """This lab was not made by its seed alone: the way back ends here."""
        self._origin = self._lab.copied()
        self._began = self._lab.journal.place(self._lab.world)

    # --- where to ---

    def checkpoint(self, name: str) -> Checkpoint:
        name = name or f"checkpoint {len(self.checkpoints) + 1}"
        made = Checkpoint(name, self.current, self._lab.journal.place(self._lab.world))
        self.checkpoints[name] = made
        self._keep(made.place, self._lab.copied())
        return made

    def find(self, to: Checkpoint | str | int) -> Place | int:
        """A place on the current branch, or a time in µs.

        Raises:
            UsageError: neither a checkpoint of this branch nor a time that has been.
        """
        if isinstance(to, str) and to in self.checkpoints:
            to = self.checkpoints[to]
        if isinstance(to, Checkpoint):
            if to.branch != self.current and not self._is_common(to):
                raise UsageError(f"{to!r} lies on branch {to.branch!r}; switch to that first")
            return to.place
        if isinstance(to, str):
            word = to
            try:
                to = parse_duration(to)
            except UsageError:
                known = ", ".join(map(repr, self.checkpoints)) or "none yet"
                near = nearest(word, self.checkpoints)
                raise UsageError(
                    f"{word!r} is neither a checkpoint ({known}) nor a time such as '1.5s'{near}"
                ) from None
        if isinstance(to, bool) or not isinstance(to, int):
            raise UsageError(f"rewind to a checkpoint, its name or a time ('1.5s'), not {to!r}")
        if not 0 <= to <= self._lab.now:
            raise UsageError(
                f"{format_duration(to)} is not yet; now is {format_duration(self._lab.now)}"
                if to > 0
                else f"{to} is not a time from 0 on"
            )
        return to

    def _is_common(self, to: Checkpoint) -> bool:
        """Whether the current branch passed a checkpoint of another one."""
        other = self._left.get(to.branch)
        deeds = self._lab.journal.deeds
        return other is not None and (
            deeds[: to.place.deeds] == list(other.deeds[: to.place.deeds])
            and to.place.taken <= self._lab.journal.place(self._lab.world).taken
            and (len(deeds) == to.place.deeds or deeds[to.place.deeds].place >= to.place)
        )

    # --- labs of then ---

    def at(self, to: Place | int) -> L:
        """A lab of its own, as this one was at a place, or after everything up to a time."""
        return self._made(self._lab.journal.deeds, to, self._lab.trace)

    def place_of(self, row: int, *, after: bool = False) -> Place:
        """The place before (or after) the event or the deed that wrote a row of the trace."""
        rows = len(self._lab.trace)
        if type(row) is not int or not 0 <= row < rows:
            raise UsageError(f"row {row!r}: the trace has the rows 0 to {rows - 1}")
        journal, world = self._lab.journal, self._lab.world
        lab = self._nearest(lambda lab: len(lab.trace) <= row and _same(lab, journal.deeds))
        first = lab.journal.place(lab.world).deeds
        ways: list[tuple[Place, Deed | None]] = [(d.place, d) for d in journal.deeds[first:]]
        for end, deed in [*ways, (journal.place(world), None)]:
            while _world(lab).taken < end.taken:
                here = lab.journal.place(lab.world)
                _world(lab).reach(here.taken + 1, lab.now)
                if len(lab.trace) > row:
                    return lab.journal.place(lab.world) if after else here
            _world(lab).reach(end.taken, end.at)
            if deed is not None:
                repeat(lab, deed)
                if len(lab.trace) > row:
                    return lab.journal.place(lab.world) if after else end
        raise UsageError(f"row {row} did not come again: {_NOT_REPEATED}")

    def _nearest(self, is_before: Any) -> L:
        """The latest kept lab that is early enough, to be driven on; else one from the seed."""
        usable = [lab for _, lab in self._copies if is_before(lab)]
        if usable:
            return usable[-1].copied()
        return self._origin.copied() if self._origin is not None else self._lab.anew()

    def _made(self, deeds: list[Deed], to: Place | int, expected: Trace | None) -> L:
        if isinstance(to, int):
            done = sum(deed.place.at <= to for deed in deeds)
            lab = self._nearest(
                lambda lab: lab.now <= to and lab.journal.place(lab.world).deeds <= done
            )
        else:
            done = to.deeds
            lab = self._nearest(
                lambda lab: lab.journal.place(lab.world) <= to and _same(lab, deeds)
            )
        began = lab.journal.place(lab.world)
        first = began.deeds
        for deed in deeds[first:done]:
            self._drive(lab, deed.place)
            repeat(lab, deed)
        if isinstance(to, int):
            while (due := _world(lab).next_at()) is not None and due <= to:
                _world(lab).reach(_world(lab).taken + 1, lab.now)
            _world(lab).reach(_world(lab).taken, to)
        else:
            self._drive(lab, to)
        if expected is not None:
            _check_same(lab.trace, expected)
            if (place := lab.journal.place(lab.world)).taken > began.taken + FAR:
                self._keep(place, lab.copied())
        return lab

    def _drive(self, lab: L, to: Place) -> None:
        while (taken := _world(lab).taken) + SPACING < to.taken:
            _world(lab).reach(taken + SPACING, lab.now)
            self._keep(lab.journal.place(lab.world), lab.copied())
        _world(lab).reach(to.taken, to.at)

    def _keep(self, place: Place, lab: L) -> None:
        """Keep a copy; of too many, forget the one whose neighbours are nearest."""
        kept = [one for one in self._copies if one[0] != place]
        kept.append((place, lab))
        kept.sort(key=lambda one: one[0])
        if len(kept) > MOST_COPIES:
            gaps = [kept[i + 1][0].taken - kept[i - 1][0].taken for i in range(1, len(kept) - 1)]
            del kept[1 + gaps.index(min(gaps))]
        self._copies = kept

    # --- branches ---

    @property
    def branches(self) -> dict[str, Branch]:
        """Every way that the run went, the current one as it stands, by name."""
        now = Branch(
            self.current, self._parent, self._began, self._lab.journal.place(self._lab.world),
            tuple(self._lab.journal.deeds), _standing(self._lab),
        )  # fmt: skip
        return dict(sorted({**self._left, self.current: now}.items(), key=lambda b: b[1].began))

    def leave(self, place: Place, name: str = "") -> None:
        """Another branch begins at `place`; what came after it is kept under its name."""
        before = self.branches[self.current]
        name = name or next(f"branch {k}" for k in range(2, 10_000) if f"branch {k}" not in self)
        if name in self:
            raise UsageError(f"there is a branch {name!r} already; name it otherwise")
        self._left[self.current] = before
        self.current, self._parent, self._began = name, before.name, place

    def rename(self, old: str, new: str) -> None:
        if old not in self:
            raise UsageError(f"there is no branch {old!r}{nearest(old, self.branches)}")
        if not new or new in self:
            raise UsageError(f"branch {new!r}: use a name that no other branch has")
        if old == self.current:
            self.current = new
        else:
            self._left[new] = replace(self._left.pop(old), name=new)
        for name, one in list(self._left.items()):
            if one.parent == old:
                self._left[name] = replace(one, parent=new)
        self._parent = new if self._parent == old else self._parent
        for name, point in list(self.checkpoints.items()):
            if point.branch == old:
                self.checkpoints[name] = replace(point, branch=new)

    def __len__(self) -> int:
        return len(self._left) + 1

    def __contains__(self, name: str) -> bool:
        return name == self.current or name in self._left

    def end_of(self, name: str) -> L:
        """A lab of its own, as it stands at the end of a branch."""
        if name not in self:
            raise UsageError(f"there is no branch {name!r}{nearest(name, self.branches)}")
        if name == self.current:
            return self._lab.copied()
        branch = self._left[name]
        # Kept copies are of the current branch, and of no use past the fork.
        kept, self._copies = self._copies, [
            (place, lab) for place, lab in self._copies if _same(lab, list(branch.deeds))
            and place <= self._fork(branch)
        ]  # fmt: skip
        try:
            return self._made(list(branch.deeds), branch.end, None)
        finally:
            self._copies = kept

    def _fork(self, branch: Branch) -> Place:
        """Up to where the current branch and another one are the same."""
        deeds = self._lab.journal.deeds
        for k, (mine, its) in enumerate(zip(deeds, branch.deeds, strict=False)):
            if mine != its:
                return min(mine.place, its.place)._replace(deeds=k)
        return min(self._lab.journal.place(self._lab.world), branch.end)

    def switch(self, name: str) -> None:
        """Another branch is the current one; the lab has become what it was at its end."""
        self._left[self.current] = self.branches[self.current]
        branch = self._left.pop(name)
        self.current, self._parent, self._began = name, branch.parent, branch.began

    def forget_all(self) -> None:
        """Another branch's past is not this one's."""
        self._copies = []

    def forget_after(self, place: Place) -> None:
        """Kept copies from after a place belong to a way that is left."""
        self._copies = [one for one in self._copies if one[0] <= place]


_NOT_REPEATED: Final = (
    "something was done to the world other than by the lab's verbs, so the seed does not repeat it"
)


def _world(lab: Kin) -> SimulatedWorld:
    assert isinstance(lab.world, SimulatedWorld)
    return lab.world


def _same(lab: Kin, deeds: list[Deed]) -> bool:
    mine = lab.journal.deeds
    return mine == deeds[: len(mine)]


def _check_same(made: Trace, expected: Trace) -> None:
    if made.rows != expected.rows[: len(made.rows)]:
        pairs: Iterable[tuple[Row, Row]] = zip(made.rows, expected.rows, strict=False)
        row = next((k for k, (a, b) in enumerate(pairs) if a != b), len(expected.rows))
        raise UsageError(f"this run cannot be repeated beyond row {row}: {_NOT_REPEATED}")


def repeat(lab: Kin, deed: Deed) -> None:
    """A deed once more, on another lab."""
    doer: Any = lab
    if deed.session:
        doer = lab.groups[deed.session]
        doer = doer if hasattr(doer, deed.verb) else lab.of(deed.session)
    args = tuple(_here(one, lab) for one in deed.args)
    with suppress(UsageError):  # it was refused then, too
        getattr(doer, deed.verb)(*args, **{k: _here(v, lab) for k, v in deed.kwargs.items()})


def _here(value: Any, lab: Kin) -> Any:
    """An argument as it is in another lab: handles name what is theirs."""
    if isinstance(value, Operation):
        return Operation(lab.group.outcomes, value.id, value.kind, value.by)
    if isinstance(value, Injection):
        return next(one for one in lab.injections if one.index == value.index)
    return copy.copy(value) if isinstance(value, dict | list) else value


def _standing(lab: Kin) -> str:
    counts: dict[str, int] = {}
    for outcome in lab.outcomes():
        counts[outcome.status] = counts.get(outcome.status, 0) + 1
    return ", ".join(f"{number} {word}" for word, number in counts.items())
