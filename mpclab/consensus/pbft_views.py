"""PBFT's view change: what a party claims, and what follows from enough claims.

Castro and Liskov, "Practical Byzantine fault tolerance and proactive recovery", ACM TOCS 20(4),
2002, §4.4 and Castro's thesis, §3.2.4: the version in which PREPAREs are *not* signed. A party
cannot prove to others what it prepared; it claims it, and a claim is believed when enough
others do not contradict it (A1) and one honest party at least accepted the same request (A2).

`decide` is a pure function of the VIEW-CHANGE messages: the new primary computes it, and every
backup computes it again from the same messages.

The promise of a VIEW-CHANGE. It says what its party prepared in views before `view`, and it is
also a promise to prepare and commit nothing in them from then on: that the old messages are
removed from the log (thesis §3.2.4) is no tidiness. Without it honest parties alone write two logs
(n = 4, f = 1, q = 3; messages late, nobody lies):

1. In view 0 party 1 gives place 1 to `a`. Everyone hears of it, but most PREPAREs are late.
2. All time out. Parties 2, 3 and 4 say in their VIEW-CHANGEs: nothing prepared at place 1.
3. Party 2 begins view 1 with these three: place 1 is free (rule B below), and it puts `b` there.
4. Parties 1, 3 and 4 enter view 1. The PREPAREs for `a` of view 0 arrive, before the PRE-PREPARE
   for `b`. Each of the three now holds a pre-prepare and q − 1 PREPAREs that match, of one view.
   Were that *prepared*, each would send its COMMIT, and `a` would be committed in view 0.
5. Then `b` is prepared and committed in view 1 by parties to which the COMMITs for `a` are late.

So what certifies a place counts only in the view that the party is in, and while it is active.
"""

from collections.abc import Iterable, Mapping

import msgspec

from mpclab.consensus.pbft_log import KEPT
from mpclab.consensus.pbft_messages import (
    GENESIS,
    NULL,
    CheckpointId,
    Claim,
    PbftNewView,
    PbftViewChange,
)
from mpclab.consensus.quorum import max_faulty, signed_by
from mpclab.core.errors import PeerFault, Strength
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message
from mpclab.crypto.identity import Identity
from mpclab.crypto.transcript import Part

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.decode
_LABEL = "mpclab pbft view-change"
_NEW_VIEW = "mpclab pbft new-view"


def _parts(change: PbftViewChange, session: str) -> tuple[Part, ...]:
    def claims(of: Iterable[Claim]) -> Part:
        return tuple((c.seq, c.view, c.digest) for c in of)

    checkpoints = tuple((c.seq, c.digest) for c in change.checkpoints)
    head = (session, change.view, change.party, change.stable)
    return (*head, checkpoints, claims(change.prepared), claims(change.accepted))


def sign(change: PbftViewChange, identity: Identity, session: str) -> PbftViewChange:
    """The message with its signature."""
    signature = identity.sign(_LABEL, *_parts(change, session))
    return msgspec.structs.replace(change, signature=signature)


def genuine(change: PbftViewChange, public: bytes, session: str, window: int) -> bool:
    """Whether its party signed it, and it claims nothing that is absurd on its face."""
    low, high = change.stable, change.stable + window
    sane = (
        len(change.checkpoints) <= window + 1
        and len(change.accepted) <= KEPT * window
        and all(
            low < c.seq <= high and c.view < change.view
            for c in (*change.prepared, *change.accepted)
        )
        and len({c.seq for c in change.prepared}) == len(change.prepared)
    )
    return sane and signed_by(public, _LABEL, _parts(change, session), change.signature)


def sign_new_view(
    identity: Identity, session: str, view: int, changes: tuple[PbftViewChange, ...]
) -> PbftNewView:
    """The primary's NEW-VIEW."""
    return PbftNewView(view, changes, identity.sign(_NEW_VIEW, *_shown(session, view, changes)))


def _shown(session: str, view: int, changes: tuple[PbftViewChange, ...]) -> tuple[Part, ...]:
    # All that the VIEW-CHANGEs say, and not their signatures alone: who passes a NEW-VIEW on and
    # changes a word in it would have its primary accused.
    return (session, view, tuple((*_parts(c, session), c.signature) for c in changes))


def begun_by(msg: PbftNewView, public: bytes, session: str) -> bool:
    """Whether the owner of `public` signed this NEW-VIEW."""
    return signed_by(public, _NEW_VIEW, _shown(session, msg.view, msg.changes), msg.signature)


def decide(
    changes: Iterable[PbftViewChange], quorum: int, faulty: int, window: int
) -> tuple[CheckpointId, tuple[CheckpointId, ...]] | None:
    """Where the new view starts and what it must propose again; None: more messages are needed.

    Thesis, Fig. 3-3. With all honest parties' messages it always decides.
    """
    messages = sorted(changes, key=lambda m: m.party)
    start = _start(messages, quorum, faulty)
    if start is None:
        return None
    # Thesis: for all n with h < n ≤ h + L. Beyond, nothing is committed: that takes a quorum with
    # a later stable checkpoint than `start`, which would share an honest party with the quorum
    # that `start` has. (A liar claims what it likes: without the bound, place 2**50.)
    last = max((c.seq for m in messages for c in m.prepared), default=0)
    last = min(last, start.seq + window)
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
    known = {(c.seq, c.digest) for m in messages for c in m.checkpoints}
    for seq, value in sorted(known, reverse=True):
        vouched = sum(CheckpointId(seq, value) in m.checkpoints for m in messages)
        reached = sum(m.stable <= seq for m in messages)
        if vouched > faulty and reached >= quorum:
            return CheckpointId(seq, value)
    return None


class View:
    """The view that a replica is in, or has left the one before for; how it began, or may begin.

    Stored: `view` its number and whether it has begun, `view-change` what we said when we left
    for it, `new-view` what began it.
    """

    number: int
    active: bool
    """Whether the replica takes part in it: its NEW-VIEW is here (view 0 needs none)."""
    my_change: PbftViewChange | None
    """Our VIEW-CHANGE for it, while it has not begun; said again word for word."""
    new_view: PbftNewView | None
    """The NEW-VIEW that began it, to show to parties that have not heard of it."""
    start: CheckpointId
    """The checkpoint that it began with."""
    chosen: dict[int, bytes]
    """The digests chosen for the places after that (the paper's O), by place."""
    last_chosen: int
    """Up to here its primary may not choose."""
    by_party: dict[Party, PbftViewChange]
    """Of each party the VIEW-CHANGE for the latest view, if that has not begun here."""

    def __init__(
        self,
        identity: Identity,
        keys: Mapping[Party, bytes],
        session: str,
        members: tuple[Party, ...],
        quorum: int,
        window: int,
    ) -> None:
        self.identity = identity
        self.keys = keys
        self.session = session
        self.members = members
        self.quorum = quorum
        self.faulty = max_faulty(len(members))
        self.window = window
        self.number, self.active = 0, True
        self.my_change, self.new_view = None, None
        self.start, self.chosen, self.last_chosen = CheckpointId(0, GENESIS), {}, 0
        self.by_party = {}

    def recover(self, stored: Mapping[str, bytes]) -> None:
        """Go on where an earlier life of this party stopped."""
        if "view" in stored:
            self.number, self.active = _decode(stored["view"], type=tuple[int, bool])
        if "new-view" in stored:
            new_view = _decode(stored["new-view"], type=PbftNewView)
            if new_view.view >= self.number and (decision := self.decide(new_view.changes)):
                self._begin(new_view, *decision)
        if "view-change" in stored:
            change = _decode(stored["view-change"], type=PbftViewChange)
            if change.view > self.number:  # the crash came between the two that `leave` stores
                self.number, self.active = change.view, False
            if not self.active:
                self.my_change = change

    def primary(self, view: int) -> Party:
        return self.members[view % len(self.members)]  # §4.1: p = v mod |R|

    # --- leaving ---

    def leave(
        self, ctx: Ctx, view: int, stable: int, checkpoints: tuple[CheckpointId, ...],
        prepared: tuple[Claim, ...], accepted: tuple[Claim, ...],
    ) -> PbftViewChange:  # fmt: skip
        """Take no more part in the present view; what to say to everybody about it (§4.4)."""
        change = PbftViewChange(view, ctx.me, stable, checkpoints, prepared, accepted)
        self.my_change = sign(change, self.identity, self.session)
        self.number, self.active = view, False
        # Stored before it is said: after a crash we do not vote again in a view that we left,
        # and make no second VIEW-CHANGE for this one.
        ctx.persist("view-change", _encode(self.my_change))
        ctx.persist("view", _encode((view, False)))
        return self.my_change

    def hear(self, sender: Party, msg: PbftViewChange) -> bool:
        """A VIEW-CHANGE. False where it changes nothing: its view has begun here, or it is too
        early to tell whose it is.

        Raises:
            PeerFault: it is not its sender's, or absurd.
        """
        if sender not in self.keys:
            return False  # not introduced yet
        if msg.party != sender or not self._genuine(msg):
            raise PeerFault("sent a view change that is not its own, or absurd")
        if self.has_begun(msg.view):
            return False
        known = self.by_party.get(sender)
        if known is None or known.view < msg.view:
            self.by_party[sender] = msg
        return True

    def has_begun(self, view: int) -> bool:
        """Whether `view`, or one after it, has begun here, or is being left for."""
        return view < self.number or (view == self.number and self.active)

    def to_join(self) -> int | None:
        """§4.5.2: when f + 1 left for later views, an honest one did: the first of these."""
        later = sorted(c.view for c in self.by_party.values() if c.view > self.number)
        return later[0] if len(later) > self.faulty else None

    @property
    def is_awaited(self) -> bool:
        """Whether a quorum has left for this view or a later one, so that it should begin."""
        return sum(c.view >= self.number for c in self.by_party.values()) >= self.quorum

    # --- beginning ---

    def propose(self, ctx: Ctx) -> PbftNewView | None:
        """As its primary: begin it, once enough VIEW-CHANGEs for exactly this view are here."""
        changes = tuple(c for _, c in sorted(self.by_party.items()) if c.view == self.number)
        if len(changes) < self.quorum or self.decide(changes) is None:
            return None  # more will come: with those of all honest parties it decides
        begun = sign_new_view(self.identity, self.session, self.number, changes)
        # Stored before others may know of it: it is never begun again, in another way.
        ctx.persist("new-view", _encode(begun))
        return begun

    def enter(self, ctx: Ctx, msg: PbftNewView) -> bool:
        """A NEW-VIEW. False where it changes nothing: it has begun here, or it is too early.

        Raises:
            PeerFault: its primary did not sign it; or it did, and it does not follow.
        """
        if self.has_begun(msg.view):
            return False
        leader = self.primary(msg.view)
        parties = {c.party for c in msg.changes}
        if not parties <= set(self.members):
            raise PeerFault("new view with view changes of non-members")
        if not parties | {leader} <= self.keys.keys():
            return False  # not introduced yet: we cannot tell
        if not begun_by(msg, self.keys[leader], self.session):
            raise PeerFault(f"showed a new view {msg.view} that its primary did not sign")
        # §4.4: it holds q valid VIEW-CHANGEs for this view, and what follows from them.
        fair = len(parties) == len(msg.changes) >= self.quorum and all(
            c.view == msg.view and self.is_said(c) for c in msg.changes
        )
        decision = self.decide(msg.changes) if fair else None
        if decision is None:
            reason = f"began view {msg.view} without enough view changes"
            raise PeerFault(reason, party=leader, strength=Strength.PROOF)
        self._begin(msg, *decision)
        # Each of the two says after a crash that it has begun; the first also with what.
        ctx.persist("new-view", _encode(msg))
        ctx.persist("view", _encode((msg.view, True)))
        return True

    def _begin(
        self, msg: PbftNewView, start: CheckpointId, chosen: tuple[CheckpointId, ...]
    ) -> None:
        self.number, self.active = msg.view, True
        self.new_view, self.my_change = msg, None
        self.start = start
        self.chosen = {c.seq: c.digest for c in chosen}
        self.last_chosen = chosen[-1].seq if chosen else start.seq
        self.by_party = {p: c for p, c in self.by_party.items() if c.view > msg.view}

    def is_said(self, change: PbftViewChange) -> bool:
        """Whether its party said a VIEW-CHANGE that a NEW-VIEW shows, and it is not absurd."""
        return self._genuine(change)

    def _genuine(self, change: PbftViewChange) -> bool:
        return genuine(change, self.keys[change.party], self.session, self.window)

    def decide(
        self, changes: Iterable[PbftViewChange]
    ) -> tuple[CheckpointId, tuple[CheckpointId, ...]] | None:
        """The checkpoints that follow from these VIEW-CHANGEs, for a group of our size."""
        return decide(changes, self.quorum, self.faulty, self.window)

    # --- lies, for adversaries alone ---

    def variant(self, change: PbftViewChange) -> PbftViewChange:
        """Our VIEW-CHANGE with a lie, well signed: that we prepared nothing; or, if so it was,
        the null request at the first place."""
        claims: tuple[Claim, ...] = ()
        if not change.prepared and change.view > 0:
            claims = (Claim(change.stable + 1, change.view - 1, NULL),)
        lie = msgspec.structs.replace(change, prepared=claims, accepted=claims, signature=b"")
        return sign(lie, self.identity, self.session)

    def other_beginning(self, msg: PbftNewView) -> PbftNewView | None:
        """Another NEW-VIEW for the same view that passes: with one VIEW-CHANGE less, or with a
        lie in our own."""
        leader = self.primary(msg.view)
        if self.keys.get(leader) != self.identity.public:
            return None  # another's, which we only show
        own = tuple(self.variant(c) if c.party == leader else c for c in msg.changes)
        fewer = (msg.changes[:k] + msg.changes[k + 1 :] for k in range(len(msg.changes)))
        for changes in (*fewer, own):
            decision = self.decide(changes) if len(changes) >= self.quorum else None
            if decision is not None and changes != msg.changes:
                return sign_new_view(self.identity, self.session, msg.view, changes)
        return None

    def resigned(self, msg: Message) -> Message:
        """`msg`, in which something was changed, signed by us again: a NEW-VIEW with our own
        VIEW-CHANGE in it, as others cannot be forged."""
        ours = self.identity.public
        match msg:
            case PbftViewChange():
                return sign(msg, self.identity, self.session)
            case PbftNewView(view, changes):
                shown = tuple(
                    sign(c, self.identity, self.session) if self.keys.get(c.party) == ours else c
                    for c in changes
                )
                return sign_new_view(self.identity, self.session, view, shown)
        return msg
