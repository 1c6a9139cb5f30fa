"""One instance of Paxos in each slot: its acceptor, and the rule that its proposer keeps.

"Paxos made simple", §2.2. One promise serves all slots at once (§3: "the leader can send a single
reasonably short message for all instances"), so that the acceptors of all slots are one object
here; what it accepted is kept slot by slot, until the slot's command is known to be chosen.

Stored: `promised` the ballot, `accepted/<slot>` ballot and command.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from mpclab.consensus.decided_log import PAGE, PAGE_BYTES, Command, size_of
from mpclab.consensus.paxos_messages import PaxosVote
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx


def owner(ballot: int, n: int) -> Party:
    """Who may use a ballot. §2.2: "different proposers choose their numbers from disjoint sets"."""
    return ballot % n + 1


def ballot_above(ballot: int, me: Party, n: int) -> int:
    """The lowest ballot of party `me` that is higher."""
    return (ballot // n + 1) * n + me - 1


class Acceptor:
    """What an acceptor must remember (§2.2), in all slots whose commands it does not know."""

    promised: int
    """The highest ballot of a prepare request that it answered; 0 for none."""
    votes: dict[int, PaxosVote]
    """By slot, the proposal with the highest number that it accepted."""

    def __init__(self, stored: Mapping[str, bytes]) -> None:
        self.promised = msgspec.msgpack.decode(stored.get("promised", b"\x00"), type=int)
        votes = [
            msgspec.msgpack.decode(data, type=PaxosVote)
            for key, data in stored.items()
            if key.startswith("accepted/")
        ]
        self.votes = {vote.slot: vote for vote in votes}

    def prepare(self, ctx: Ctx, ballot: int) -> bool:
        """Phase 1 (b): "if an acceptor receives a prepare request with number n greater than that
        of any prepare request to which it has already responded", it promises."""
        if ballot > self.promised:
            self._promise(ctx, ballot)
        return ballot == self.promised  # of the same request, the answer may be lost

    def accept(self, ctx: Ctx, ballot: int, slot: int, command: Command) -> bool:
        """Phase 2 (b): "it accepts the proposal unless it has already responded to a prepare
        request having a number greater than n"."""
        if ballot < self.promised:
            return False
        if ballot > self.promised:
            self._promise(ctx, ballot)  # whoever accepted a number accepts none below it
        vote = PaxosVote(slot, ballot, command)
        if self.votes.get(slot) != vote:
            self.votes[slot] = vote
            ctx.persist(f"accepted/{slot}", msgspec.msgpack.encode(vote))
        return True

    def _promise(self, ctx: Ctx, ballot: int) -> None:
        self.promised = ballot
        ctx.persist("promised", msgspec.msgpack.encode(ballot))

    def after(self, first: int) -> list[PaxosVote]:
        """What it accepted from slot `first` on."""
        return [vote for slot, vote in sorted(self.votes.items()) if slot >= first]

    def forget(self, ctx: Ctx, slot: int) -> None:
        """The slot's command is chosen, and stored as such."""
        if self.votes.pop(slot, None) is not None:
            ctx.persist(f"accepted/{slot}", None)


@dataclass(slots=True)
class Promises:
    """What one acceptor answered to a prepare request, as far as it has arrived."""

    chosen: int
    count: int
    votes: dict[int, PaxosVote] = field(default_factory=dict)

    def add(self, chosen: int, count: int, votes: Iterable[PaxosVote]) -> None:
        """A page came; it may be of a second answer to the request, which was said again. Meanwhile
        the acceptor may have learnt more slots. It counts no votes in those, and nor do we: its
        other votes are the same, for it accepts nothing under lower ballots any more."""
        if chosen > self.chosen:
            self.chosen, self.count = chosen, count
        told = {**self.votes, **{vote.slot: vote for vote in votes}}
        self.votes = {slot: vote for slot, vote in told.items() if slot >= self.chosen}

    @property
    def are_complete(self) -> bool:
        return len(self.votes) >= self.count


@dataclass(slots=True)
class Proposal:
    """What a leader proposed in a slot, and who accepted it."""

    command: Command
    accepts: set[Party] = field(default_factory=set)


def pages(votes: list[PaxosVote]) -> list[tuple[PaxosVote, ...]]:
    """The votes in as few messages as hold them; one at least."""
    found: list[list[PaxosVote]] = [[]]
    size = 0
    for vote in votes:
        size += size_of(vote.command)
        if found[-1] and (len(found[-1]) == PAGE or size > PAGE_BYTES):
            found.append([])
            size = size_of(vote.command)
        found[-1].append(vote)
    return [tuple(page) for page in found]


def by_slot(promises: Iterable[Promises], first: int) -> dict[int, list[PaxosVote]]:
    """What acceptors reported for each slot from `first` on."""
    found: dict[int, list[PaxosVote]] = {}
    for one in promises:
        for slot, vote in one.votes.items():
            if slot >= first:
                found.setdefault(slot, []).append(vote)
    return found
