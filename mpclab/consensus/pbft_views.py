"""PBFT's view change: what a party claims, and what follows from enough claims.

Castro and Liskov, "Practical Byzantine fault tolerance and proactive recovery", ACM TOCS 20(4),
2002, §4.4 and Castro's thesis, §3.2.4: the version in which PREPAREs are *not* signed. A party
cannot prove to others what it prepared; it claims it, and a claim is believed when enough
others do not contradict it (A1) and one honest party at least accepted the same request (A2).

`decide` is a pure function of the VIEW-CHANGE messages: the new primary computes it, and every
backup computes it again from the same messages.
"""

from collections.abc import Iterable

import msgspec

from mpclab.consensus.quorum import signed_by
from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.crypto.identity import Identity
from mpclab.crypto.transcript import Part, digest

GENESIS = digest("mpclab pbft genesis")
"""The state before anything was executed, and its checkpoint, number 0."""

NULL = digest("mpclab pbft null request")
"""The request that does nothing: it fills a place where nothing can have been decided."""

_LABEL = "mpclab pbft view-change"
_NEW_VIEW = "mpclab pbft new-view"


class Claim(Message, frozen=True):
    """In `view`, I prepared (or pre-prepared) the request `digest` at `seq`."""

    seq: int
    view: int
    digest: bytes


class CheckpointId(Message, frozen=True):
    """A checkpoint: the state after `seq` requests has this digest."""

    seq: int
    digest: bytes


class PbftViewChange(Message, frozen=True):
    """I have left for `view`. Signed, since the new primary shows it to all.

    `stable` is h, the last stable checkpoint; `marks` is C, our checkpoints from there on;
    `prepared` is P, the last view in which we prepared each place; `accepted` is Q, the last
    view in which we pre-prepared each request at each place.
    """

    view: int
    party: Party
    stable: int
    marks: tuple[CheckpointId, ...]
    prepared: tuple[Claim, ...]
    accepted: tuple[Claim, ...]
    signature: bytes = b""


class PbftNewView(Message, frozen=True):
    """The primary of `view` begins it with these VIEW-CHANGEs, and signs that. Where it begins
    and with what is what `decide` says: the paper's O needs no words."""

    view: int
    changes: tuple[PbftViewChange, ...]
    signature: bytes


def _parts(change: PbftViewChange, session: str) -> tuple[Part, ...]:
    def claims(of: Iterable[Claim]) -> Part:
        return tuple((c.seq, c.view, c.digest) for c in of)

    marks = tuple((m.seq, m.digest) for m in change.marks)
    head = (session, change.view, change.party, change.stable)
    return (*head, marks, claims(change.prepared), claims(change.accepted))


def sign(change: PbftViewChange, identity: Identity, session: str) -> PbftViewChange:
    """The message with its signature."""
    signature = identity.sign(_LABEL, *_parts(change, session))
    return msgspec.structs.replace(change, signature=signature)


def genuine(change: PbftViewChange, public: bytes, session: str, window: int) -> bool:
    """Whether its party signed it, and it claims nothing that is absurd on its face."""
    low, high = change.stable, change.stable + window
    sane = (
        low >= 0
        and len(change.marks) <= window + 1
        and len(change.accepted) <= 16 * window
        and all(
            low < c.seq <= high and 0 <= c.view < change.view
            for c in (*change.prepared, *change.accepted)
        )
        and len({c.seq for c in change.prepared}) == len(change.prepared)
    )
    return sane and signed_by(public, _LABEL, _parts(change, session), change.signature)


def sign_new_view(
    identity: Identity, session: str, view: int, changes: tuple[PbftViewChange, ...]
) -> PbftNewView:
    """The primary's NEW-VIEW."""
    shown = tuple(c.signature for c in changes)
    return PbftNewView(view, changes, identity.sign(_NEW_VIEW, session, view, shown))


def begun_by(msg: PbftNewView, public: bytes, session: str) -> bool:
    """Whether the owner of `public` signed this NEW-VIEW."""
    shown = tuple(c.signature for c in msg.changes)
    return signed_by(public, _NEW_VIEW, (session, msg.view, shown), msg.signature)


def decide(
    changes: Iterable[PbftViewChange], quorum: int, faulty: int
) -> tuple[CheckpointId, tuple[CheckpointId, ...]] | None:
    """Where the new view starts and what it must propose again; None: more messages are needed.

    Thesis, Fig. 3-3. With all honest parties' messages it always decides.
    """
    messages = sorted(changes, key=lambda m: m.party)
    start = _start(messages, quorum, faulty)
    if start is None:
        return None
    last = max((c.seq for m in messages for c in m.prepared), default=0)
    chosen: list[CheckpointId] = []
    for seq in range(start.seq + 1, last + 1):
        voters = [m for m in messages if m.stable < seq]
        said = [next((c for c in m.prepared if c.seq == seq), None) for m in voters]
        found = None
        for claim in sorted((c for c in said if c), key=lambda c: (-c.view, c.digest)):
            # A1: a quorum prepared nothing later, nor another request in that view
            fits = sum(
                c is None
                or c.view < claim.view
                or (c.view == claim.view and c.digest == claim.digest)
                for c in said
            )
            # A2: f + 1 accepted this request in that view or later: one of them is honest
            vouched = sum(
                any(
                    q.seq == seq and q.digest == claim.digest and q.view >= claim.view
                    for q in m.accepted
                )
                for m in messages
            )
            if fits >= quorum and vouched > faulty:
                found = claim.digest
                break
        if found is None:
            # B: a quorum prepared nothing there, so nothing was committed
            if sum(c is None for c in said) < quorum:
                return None
            found = NULL
        chosen.append(CheckpointId(seq, found))
    while chosen and chosen[-1].digest == NULL:
        chosen.pop()
    return start, tuple(chosen)


def _start(messages: list[PbftViewChange], quorum: int, faulty: int) -> CheckpointId | None:
    """The latest checkpoint that an honest party vouches for and a quorum can start from."""
    marks = {(k.seq, k.digest) for m in messages for k in m.marks}
    for seq, value in sorted(marks, reverse=True):
        vouched = sum(CheckpointId(seq, value) in m.marks for m in messages)
        reached = sum(m.stable <= seq for m in messages)
        if vouched > faulty and reached >= quorum:
            return CheckpointId(seq, value)
    return None
