"""Partitions: who cannot hear whom. One link rule, six ways to say it.

    {kind: partition, groups: [[1, 2], [3, 4]]}      any groups; who is named in none is one more
    {kind: partition, isolated: 3}                   one party alone
    {kind: partition, shape: halves}                 the first half and the second
    {kind: partition, shape: bridge}                 two halves, and one party that hears both
    {kind: partition, shape: ring}                   each hears a majority, no two the same one
    {kind: partition, groups: [[1], [2, 3]], one_way: true}   the first is not heard, but hears

Between parties what is cut is lost, with the reason "partition", also on its way through the
server. The signaling server is cut
from nobody, unless a group names it: then frames between it and the other groups wait, as on
any TCP connection, and arrive after the heal.
"""

# ruff: noqa: RUF009  `the` makes a dataclasses.field

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from mpclab.core.errors import nearest
from mpclab.core.ids import SERVER, Party
from mpclab.faults.fault import (
    Fault,
    FaultTarget,
    Where,
    a_bool,
    a_party,
    a_place,
    names,
    place_name,
    the,
    write_places,
)
from mpclab.faults.link_rules import Delivery, Draw

Groups: TypeAlias = tuple[tuple[Party, ...], ...]

SHAPES = ("halves", "bridge", "ring")


def _groups(value: Any, where: Where) -> Groups:
    if not isinstance(value, list | tuple) or not all(isinstance(g, list | tuple) for g in value):
        raise where.wrong(f"{value!r}; write a list of groups, such as [[1, 2], [3, 4]]")
    seen: set[Party] = set()
    groups = []
    for group in value:
        if not group:
            raise where.wrong("a group is empty")
        members = tuple(a_place(item, where) for item in group)
        for member in members:
            if member in seen:
                raise where.wrong(f"{place_name(member)} is named twice")
            seen.add(member)
        groups.append(members)
    rest = tuple(p for p in range(1, where.n + 1) if p not in seen)
    if len(groups) + bool(rest) < 2:
        raise where.wrong("one group of all is no partition; name fewer parties, or two groups")
    return tuple(groups)


def _write_groups(groups: Groups | None) -> Any:
    return groups and [write_places(group) for group in groups]


class Shape(NamedTuple):
    """A partition by name, among parties 1..n."""

    word: str
    n: int

    def cuts(self, src: Party, dst: Party) -> bool:
        n, half = self.n, self.n // 2
        match self.word:
            case "halves":
                return (src <= half) != (dst <= half)
            case "bridge":
                middle = (n + 1) // 2
                return middle not in (src, dst) and (src < middle) != (dst < middle)
        # ring: each hears `reach` neighbours on both sides, and so n//2 + 1 with itself
        reach = -(-half // 2)
        apart = (src - dst) % n
        return min(apart, n - apart) > reach

    def __str__(self) -> str:
        match self.word:
            case "halves":
                half = self.n // 2
                return (
                    f"{names(range(1, half + 1))} and {names(range(half + 1, self.n + 1))} "
                    f"cannot hear each other"
                )
            case "bridge":
                middle = (self.n + 1) // 2
                return (
                    f"{names(range(1, middle))} and {names(range(middle + 1, self.n + 1))} "
                    f"cannot hear each other, but party {middle} hears all"
                )
        return "each party hears a majority, and no two the same one"

    @property
    def one_way(self) -> str:
        """The sentence for halves of which the first is not heard."""
        return f"{names(range(1, self.n // 2 + 1))} cannot be heard by the others, but hears them"


_LEAST = {"halves": 2, "bridge": 3, "ring": 4}


def _shape(value: Any, where: Where) -> Shape:
    if value not in SHAPES:
        raise where.wrong(f"{value!r} is not a shape{nearest(str(value), SHAPES)}")
    if where.n < _LEAST[value]:
        raise where.wrong(f"{value} needs {_LEAST[value]} parties; there are {where.n}")
    return Shape(value, where.n)


@dataclass(frozen=True, kw_only=True)
class Partition(Fault):
    """Parties are cut off from each other."""

    kind = "partition"
    groups: Groups | None = the(_groups, None, _write_groups)
    isolated: Party | None = the(a_party, None)
    shape: Shape | None = the(_shape, None, lambda shape: shape.word)
    one_way: bool = the(a_bool, False)

    def begin(self, target: FaultTarget, index: int) -> None:
        target.link_rules.add(index, Cut(self, index))

    def end(self, target: FaultTarget, index: int) -> None:
        target.link_rules.remove(index)

    def check(self, where: Callable[[str], Where]) -> None:
        given = [x for x in ("groups", "isolated", "shape") if getattr(self, x) is not None]
        if not given:
            raise where("").wrong("say groups, isolated or shape: who cannot hear whom?")
        if len(given) > 1:
            raise where(given[1]).wrong(f"{given[0]} says already who cannot hear whom")
        if self.one_way and self.shape is not None and self.shape.word != "halves":
            raise where("one_way").wrong(f"a {self.shape.word} has no first group")

    def cuts(self, src: Party, dst: Party) -> bool:
        """Whether what `src` sends does not reach `dst` now."""
        if self.shape is not None:
            cut = SERVER not in (src, dst) and self.shape.cuts(src, dst)
        else:
            a, b = self._group(src), self._group(dst)
            cut = a != b and None not in (a, b)
        return cut and not (self.one_way and not self._first(src))

    def _group(self, place: Party) -> int | None:
        """The group of a place; -1 for all parties that none names, None for such a server."""
        for number, group in enumerate(self._all):
            if place in group:
                return number
        return None if place == SERVER else -1

    def _first(self, place: Party) -> bool:
        if self.shape is not None:
            return place <= self.shape.n // 2
        return self._group(place) == 0

    @property
    def _all(self) -> Groups:
        if self.groups is not None:
            return self.groups
        return ((self.isolated,),) if self.isolated is not None else ()

    def parties(self) -> tuple[Party, ...]:
        return tuple(sorted(p for group in self._all for p in group))

    def sentence(self) -> str:
        if self.shape is not None:
            return self.shape.one_way if self.one_way else str(self.shape)
        if self.one_way:
            return f"{names(self._all[0])} cannot be heard by the others, but hears them"
        if len(self._all) == 1:
            return f"{names(self._all[0])} and the others cannot hear each other"
        return f"{' | '.join(map(names, self._all))} cannot hear each other"


@dataclass(frozen=True)
class Cut:
    """A partition that is up: its rule."""

    fault: Partition
    handle: int

    def judge(
        self, src: Party, dst: Party, size: int, now: int, draw: Draw, delivery: Delivery
    ) -> Delivery:
        if not self.fault.cuts(src, dst):
            return delivery
        if SERVER in (src, dst):  # a TCP connection: it repeats until it gets through
            return delivery._replace(held=self.handle)
        return delivery._replace(why="partition")
