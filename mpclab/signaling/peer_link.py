"""One peer as the mesh sees it: who it is, what state the link is in, how frames travel.

The states of a link, and the moves between them:

                 ┌─▶ offering ─▶ offered ──┐ (lower id: offers)
    idle ────────┤                         ├─▶ connecting ─▶ confirming ─▶ up ◀─▶ suspect
     ▲           └─▶ answering ────────────┘ (higher id: answers)             │
     └────────────────────────── any failure ────────────────────────────────┘

The party with the lower id of a pair offers, always: there is no glare to resolve.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from mpclab.core.ids import MS, SECOND, Party
from mpclab.signaling.messages import Member, Offer
from mpclab.signaling.negotiate import Confirm
from mpclab.signaling.relay import Channel, Content

MOVES: Final = {
    "idle": frozenset({"offering", "answering"}),
    "offering": frozenset({"offered", "idle"}),
    "offered": frozenset({"connecting", "idle"}),
    "answering": frozenset({"connecting", "idle"}),
    "connecting": frozenset({"confirming", "idle"}),
    "confirming": frozenset({"up", "idle"}),
    "up": frozenset({"suspect", "idle"}),
    "suspect": frozenset({"up", "idle"}),
}


_FEW: Final = 12
"""Members up to whom beats are as frequent as asked for."""


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """Durations in µs.

    Attributes:
        direct: whether this world has data channels at all; if not, everything is relayed.
        attempt_within: each step of an attempt (answered, open) must be done by then; twice as
            long after each failure.
        describe_within: our own offer must be described by then: it waits for its turn, before
            the peer has heard of it, while others of this machine are under way.
        confirm_within: an open channel must be confirmed by then.
        confirm_every: an unanswered confirmation is repeated.
        offer_valid: how long an offer may take on its way.
        first_backoff, longest_backoff: between direct attempts, doubling, with jitter.
        relay_after: how long a pair waits for its link before frames are relayed meanwhile; an
            attempt that fails ends the wait. None: nothing is relayed.
        quick_tries: later attempts go on in the background.
        window_patience: a relayed peer that takes nothing for so long has lost what was on its way.
        offer_wanted_after: the answering side reminds the other when no offer comes.
        beat: between heartbeats on a link.
        suspect_after, dead_after: silence of a link.
    """

    direct: bool = True
    attempt_within: int = 8 * SECOND
    describe_within: int = 60 * SECOND
    confirm_within: int = 10 * SECOND
    confirm_every: int = 1 * SECOND
    offer_valid: int = 30 * SECOND
    first_backoff: int = 500 * MS
    longest_backoff: int = 30 * SECOND
    relay_after: int | None = 3 * SECOND
    quick_tries: int = 4
    offer_wanted_after: int = 15 * SECOND
    hello_every: int = 5 * SECOND
    window_patience: int = 10 * SECOND
    beat: int = 2 * SECOND
    suspect_after: int = 6 * SECOND
    dead_after: int = 15 * SECOND

    def for_members(self, n: int) -> MeshSettings:
        """These, with slower beats in a large session, where one process may have n² links: 174 a
        second among 30 instead of 435. Three are in `dead_after` still."""
        slower = min(self.beat * max(n, _FEW) // _FEW, self.dead_after // 3)
        if slower <= self.beat:
            return self
        suspect = min(max(self.suspect_after, slower * 5 // 2), self.dead_after)
        return replace(self, beat=slower, suspect_after=suspect)


@dataclass(slots=True)
class Negotiation:
    """One attempt to make a link. `offer` is the hash that names it on both sides."""

    attempt: int
    offer: bytes = b""
    own_prints: tuple[tuple[str, str], ...] = ()
    peer_prints: tuple[tuple[str, str], ...] = ()
    candidates: tuple[str, ...] | None = None
    own_fingerprint: str = ""
    peer_fingerprint: str = ""
    confirm: Confirm | None = None
    early: Confirm | None = None
    """The peer's confirmation, when it overtook our own `LinkOpened`."""


@dataclass(slots=True)
class Incarnation:
    """A peer in one incarnation, as a signed presence says; anyone may show one at any time.

    Attributes:
        channel: the only one that there ever is for this pair of incarnations, so that nothing
            opens twice and no number is used twice, however often this one is shown again.
        nonce: our open challenge. An answer proves that this incarnation runs and that all others
            that we know of are over; so a challenge ends when we hear of one more.
        peer_attempt: the highest attempt that the peer offered in this incarnation.
        early: what came while another incarnation was the one that we deal with.
    """

    member: Member
    channel: Channel
    nonce: bytes = b""
    peer_attempt: int = 0
    early: list[Offer | Content] = field(default_factory=list)


@dataclass(slots=True)
class Link:
    """All that the mesh knows of one peer.

    Attributes:
        incarnation: the peer in the incarnation that we deal with; None until it was first seen.
        newer: another incarnation of the same peer, not yet proved, while the link is up.
        incarnations: those of which we have seen presences and that may go on, by their name.
        past: incarnations that are over, since a later one was proved; nothing is taken from them.
        via: how frames travel now: link, relay or none.
        relay_open: the peer answered in its present incarnation through the server.
        last_attempt: our own counter of attempts, which only grows.
    """

    party: Party
    incarnation: Incarnation | None = None
    newer: Incarnation | None = None
    incarnations: dict[bytes, Incarnation] = field(default_factory=dict)
    past: set[bytes] = field(default_factory=set)
    online: bool = False
    state: str = "idle"
    via: str = "none"
    negotiation: Negotiation | None = None
    failures: int = 0
    last_attempt: int = 0
    relay_open: bool = False
    relay_wanted: bool = False
    hellos: int = 0
    heard_at: int = 0

    def move(self, state: str) -> None:
        assert state in MOVES[self.state], f"link to {self.party}: {self.state} to {state}"
        self.state = state

    @property
    def member(self) -> Member | None:
        return self.incarnation.member if self.incarnation is not None else None

    @property
    def channel(self) -> Channel | None:
        return self.incarnation.channel if self.incarnation is not None else None

    @property
    def is_up(self) -> bool:
        return self.state in ("up", "suspect")
