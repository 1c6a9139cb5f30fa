"""Bullshark's DAG: certified vertices by round, and the rule that orders them.

No message is sent for the order: it is read off the edges. A vertex is here once all that it
refers to is, so that whatever is here has its whole causal history here, back to the floor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mpclab.consensus.bullshark_messages import Certified, Place, Vertex
from mpclab.core.ids import Party

DEPTH = 16
"""Rounds of history, with its own, that an anchor orders at most. What is older than that before
the last ordered anchor is forgotten everywhere: nobody orders it any more."""


class Dag:
    """DAG[] of the paper, from the floor on.

    Attributes:
        rounds: DAG[r][p], the certified vertices.
        ordered: the places of the vertices that are ordered, above the floor.
        last: lastOrderedRound, of an anchor.
    """

    def __init__(self, n: int, f: int) -> None:
        self.n, self.f = n, f
        self.quorum = n - f
        self.rounds: dict[int, dict[Party, Certified]] = {}
        self.ordered: set[Place] = set()
        self.last = 0

    @property
    def floor(self) -> int:
        """What is of this round or an earlier one plays no part any more."""
        return max(0, self.last - DEPTH)

    @property
    def top(self) -> int:
        """The last round that a vertex is here of, or that is ordered."""
        return max(self.rounds, default=self.last)

    def at(self, place: Place) -> Vertex | None:
        """The vertex of a round and a source."""
        it = self.rounds.get(place[0], {}).get(place[1])
        return None if it is None else it.vertex

    def size(self, round: int) -> int:
        """|DAG[r]|"""
        return len(self.rounds.get(round, ()))

    # --- growing ----------------------------------------------------------------------------

    def holds(self, place: Place) -> bool:
        """Whether nothing more has to be known of this vertex."""
        return place[0] <= self.floor or place in self.ordered or self.at(place) is not None

    def has_history(self, vertex: Vertex) -> bool:
        """Whether all that `vertex` refers to is here."""
        return all(map(self.holds, edges_of(vertex)))

    def add(self, it: Certified) -> None:
        """try_add_to_dag: of a vertex whose history is here."""
        self.rounds.setdefault(it.vertex.round, {})[it.vertex.source] = it

    def reach(self, start: Iterable[Place]) -> set[Place]:
        """Those of `start` that are not ordered yet, and all such vertices that a path leads to
        from them. (What is ordered has its history ordered.)"""
        found: set[Place] = set()
        todo = list(start)
        while todo:
            place = todo.pop()
            vertex = self.at(place)
            if vertex is None or place in found or place in self.ordered:
                continue
            found.add(place)
            todo += edges_of(vertex)
        return found

    def unordered(self) -> Iterator[Vertex]:
        """The vertices that are not ordered, by round, then by source."""
        for round in sorted(self.rounds):
            for source, it in sorted(self.rounds[round].items()):
                if (round, source) not in self.ordered:
                    yield it.vertex

    def left_out(self, parents: Iterable[Place], round: int) -> tuple[Place, ...]:
        """The vertices before the round of `parents` that are not ordered and that no path leads to
        from these: the weak edges of a vertex of `round`."""
        reached = self.reach(parents)
        open = (vertex.place for vertex in self.unordered() if vertex.round < round - 1)
        return tuple(place for place in open if place not in reached)

    # --- ordering ---------------------------------------------------------------------------

    def anchor(self, round: int) -> Place:
        """getAnchor(r): in odd rounds the vertex of one party, by round-robin."""
        return round, round // 2 % self.n + 1

    def votes(self, round: int) -> int:
        """How many vertices of the next round have an edge to the anchor of this one."""
        _, source = self.anchor(round)
        return sum(source in it.vertex.parents for it in self.rounds.get(round + 1, {}).values())

    def is_committed(self, round: int) -> bool:
        """Whether f + 1 vertices vote for the anchor of `round`. Any n − f vertices of that round
        include one of them, so a path leads to the anchor from every vertex two rounds later."""
        return self.votes(round) > self.f and self.at(self.anchor(round)) is not None

    def is_lost(self, round: int) -> bool:
        """Whether n − f vertices do not vote for the anchor of `round`: there are never f + 1."""
        return self.size(round + 1) - self.votes(round) >= self.quorum

    def anchors(self) -> list[Place]:
        """orderAnchors: those that can be ordered now, the earliest first. From the last one with
        f + 1 votes back, each to which a path leads from the one after it: somebody may have
        seen f + 1 votes for that, and then everybody finds the path."""
        odd = (r for r in range(self.top - 1, self.last, -1) if r % 2)
        first = next((r for r in odd if self.is_committed(r)), None)
        if first is None:
            return []
        found = [self.anchor(first)]
        reached = self.reach(found)
        for round in range(first - 2, self.last, -2):
            if (earlier := self.anchor(round)) in reached:
                found.append(earlier)
                reached = self.reach([earlier])
        return found[::-1]

    def history(self, anchor: Place) -> list[Vertex]:
        """orderHistory: what the anchor orders, in one deterministic order: by round, then by
        source. So whatever a vertex refers to comes before it."""
        since = anchor[0] - DEPTH
        found = [self.at(place) for place in sorted(self.reach([anchor])) if place[0] > since]
        return [vertex for vertex in found if vertex is not None]

    def order(self, round: int, places: Iterable[Place]) -> list[Vertex]:
        """The anchor of `round` has ordered these, itself the last. Gives the vertices that are
        below the floor by that, and forgotten."""
        self.ordered.update(places)
        if self.anchor(round) in self.ordered:
            self.last = round
        self.ordered = {place for place in self.ordered if place[0] > self.floor}
        return [
            it.vertex
            for r in sorted(r for r in self.rounds if r <= self.floor)
            for _, it in sorted(self.rounds.pop(r).items())
        ]

    # --- telling others ---------------------------------------------------------------------

    def held(self, span: int) -> tuple[tuple[Party, ...], ...]:
        """By round, from the floor on: the sources of what we need not be told."""
        rounds = range(self.floor + 1, min(self.top, self.floor + span) + 1)
        ordered: dict[int, set[Party]] = {r: set() for r in rounds}
        for r, p in self.ordered:
            if r in ordered:
                ordered[r].add(p)
        return tuple(tuple(sorted(ordered[r] | self.rounds.get(r, {}).keys())) for r in rounds)

    def page(
        self, first: int, held: tuple[tuple[Party, ...], ...], most: int, size: int
    ) -> tuple[Certified, ...]:
        """Of the vertices from round `first` on that are not among `held`: the first so many, with
        so many bytes of values, at most, unless the first alone has more."""
        found: list[Certified] = []
        for r in sorted(r for r in self.rounds if r >= first):
            known = held[r - first] if r - first < len(held) else ()
            for p, it in sorted(self.rounds[r].items()):
                if p in known:
                    continue
                size -= sum(len(one.value) for one in it.vertex.ops)
                if len(found) == most or (found and size < 0):
                    return tuple(found)
                found.append(it)
        return tuple(found)


def parts(vertices: Iterable[Vertex], most: int) -> list[list[Vertex]]:
    """The vertices in order, in parts with so many bytes of values at most, or of one vertex."""
    found: list[list[Vertex]] = []
    size = 0
    for vertex in vertices:
        its = sum(len(one.value) for one in vertex.ops)
        if not found or size + its > most:
            found.append([])
            size = 0
        found[-1].append(vertex)
        size += its
    return found


def edges_of(vertex: Vertex) -> list[Place]:
    """v.edges, strong and weak."""
    return [(vertex.round - 1, p) for p in vertex.parents] + list(vertex.weak)
