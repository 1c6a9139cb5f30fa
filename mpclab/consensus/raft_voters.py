"""Who votes in Raft: one set of parties, or two while one takes the other's place (§6, C_old,new).

All parties of the session follow the leader and hold its log; a change of voters moves who counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple, TypeAlias

import msgspec

from mpclab.consensus.quorum import majority
from mpclab.consensus.raft_messages import RaftEntry
from mpclab.core.ids import Party

Changes: TypeAlias = Callable[[bytes], tuple[Party, ...]]
"""From an operation's value to the parties that it makes the voters; () where it changes none."""

_decode = msgspec.msgpack.Decoder(tuple[Party, ...]).decode


class Voters(NamedTuple):
    """A configuration. `new` is () but for the time of a change, when both sets must agree."""

    old: tuple[Party, ...]
    new: tuple[Party, ...] = ()

    @property
    def sets(self) -> tuple[tuple[Party, ...], ...]:
        return (self.old, self.new) if self.new else (self.old,)

    def include(self, party: Party) -> bool:
        return party in self.old or party in self.new

    def agree(self, who: Collection[Party]) -> bool:
        """Whether `who` has a majority of each set (§6: agreement requires separate majorities)."""
        return all(sum(p in who for p in one) >= majority(len(one)) for one in self.sets)

    def reached(self, by: Mapping[Party, int]) -> int:
        """The highest number that a majority of each set has reached; who is not in `by`: none."""
        return min(
            sorted((by.get(p, 0) for p in one), reverse=True)[majority(len(one)) - 1]
            for one in self.sets
        )

    def joint(self, new: tuple[Party, ...]) -> Voters:
        """C_old,new, on the way to `new`."""
        return Voters(self.old, new)


def final(term: int, voters: tuple[Party, ...]) -> RaftEntry:
    """The entry C_new, with which a change of voters ends. It has no operation."""
    return RaftEntry(term, "", msgspec.msgpack.encode(voters))


def read_final(entry: RaftEntry, members: Collection[Party]) -> tuple[Party, ...]:
    """The voters that an entry C_new names; () for any other."""
    if entry.op or not entry.value:
        return ()
    try:
        return checked(_decode(entry.value), members)
    except msgspec.DecodeError:
        return ()


def checked(voters: Iterable[Party], members: Collection[Party]) -> tuple[Party, ...]:
    """The voters in order, each once; () where one is none of the `members`."""
    found = tuple(sorted(set(voters)))
    return found if set(found) <= set(members) else ()
