"""How a PBFT replica gets what it missed: the state of others, place by place.

Castro's thesis fetches the state at a stable checkpoint, whose digest q parties vouch for. Here
the state *is* the history, so a replica takes each place from f + 1 parties that executed the
same there: one of them is honest, and what an honest party executed is committed. Where a new view
starts from a checkpoint, f + 1 vouch for its digest, though perhaps one honest party alone has got
there: then whatever leads to that digest is believed, from one party too.

What a replica tells is its own history; of old places it holds the ids, and asks its coordinator
for the values (`consensus.agreement.KEPT`).
"""

from __future__ import annotations

from mpclab.consensus.pbft_log import Executed
from mpclab.consensus.pbft_messages import (
    CheckpointId,
    PbftExecuted,
    PbftRequest,
    digest_of,
    extended,
)
from mpclab.core.ids import Party

PAGE = 32
"""Requests in one answer, at most; and 128 KiB of values, about."""
PAGE_BYTES = 128 * 1024


def page(history: Executed, first: int) -> PbftExecuted:
    """The answer to a party that lacks the history from place `first` on."""
    requests: list[PbftRequest] = []
    size = 0
    for request in history.between(first, first - 1 + PAGE):
        size += len(request.value)
        if requests and size > PAGE_BYTES:
            break
        requests.append(request)
    return PbftExecuted(first, tuple(requests), history.count)


class StateTransfer:
    """The requests that others claim to have executed, at places that we have not.

    Args:
        faulty: how many of them may lie.
        reach: how many places ahead of ours are kept, so that a liar fills no memory.
    """

    def __init__(self, faulty: int, reach: int) -> None:
        self.faulty = faulty
        self.reach = reach
        self._claims: dict[int, dict[Party, PbftRequest]] = {}  # by place
        self._places: dict[Party, int] = {}  # how far each says, or shows, that it is

    def hear(self, sender: Party, msg: PbftExecuted, executed: int) -> None:
        """Take down what `sender` executed; `executed` is our own last place."""
        self.see(sender, msg.executed)
        for seq, request in enumerate(msg.requests[:PAGE], msg.first):
            if executed < seq <= executed + self.reach:
                self._claims.setdefault(seq, {}).setdefault(sender, request)

    def see(self, sender: Party, seq: int) -> None:
        """`sender` works at place `seq`, or has executed it."""
        self._places[sender] = max(seq, self._places.get(sender, 0))

    def next(self, executed: int) -> PbftRequest | None:
        """The request of the place after `executed`, when f + 1 say the same."""
        support: dict[bytes, int] = {}
        for request in self._claims.get(executed + 1, {}).values():
            digest = digest_of(request.op, request.value)
            support[digest] = support.get(digest, 0) + 1
            if support[digest] > self.faulty:
                return request
        return None

    def forget(self, executed: int) -> None:
        """All up to `executed` is ours now."""
        for seq in [s for s in self._claims if s <= executed]:
            del self._claims[seq]

    def leading_to(self, goal: CheckpointId, executed: int, digest: bytes) -> list[PbftRequest]:
        """One party's requests for the places after `executed` (where the history has `digest`)
        up to the checkpoint `goal`, if that is where it leads; nothing if nobody's does."""
        for party in sorted(self._places):
            reached = digest
            found: list[PbftRequest] = []
            for seq in range(executed + 1, min(goal.seq, executed + self.reach) + 1):
                if (request := self._claims.get(seq, {}).get(party)) is None:
                    break
                found.append(request)
                reached = extended(reached, request)
            if found and executed + len(found) == goal.seq and reached == goal.digest:
                return found
        return []

    @property
    def highest(self) -> int:
        """A place that one honest party at least has come to: f + 1 say so."""
        places = sorted(self._places.values(), reverse=True)
        return places[self.faulty] if len(places) > self.faulty else 0
