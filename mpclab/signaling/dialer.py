"""The making of one link: offer, answer, candidates, confirmation; failures and retries.

    lower id                         server                        higher id
    MakeOffer ─▶ Described
                 Offer, Candidates ────┼────▶ MakeAnswer ─▶ Described
    TakeAnswer ◀───────────────────────┼──── Answer, Candidates
    AddCandidates                      │                       AddCandidates
                 ◀══════════ LinkOpened on both sides ══════════▶
                 Confirm  ◀═══════ on the link itself ═══════▶  Confirm
                              Route "link", `PeerUp`

Every event of the host names its attempt, and those of attempts that were given up are ignored.
One attempt, or link, to a peer at a time: a new one begins by hanging up the old. A fresh offer
that the peer signed for our present incarnation and in its current one is reason enough, and so is
an answer to our challenge in another one; nothing else that comes by the server cuts a link.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mpclab.core import notes
from mpclab.core.effects import (
    AddCandidates,
    Described,
    HangUp,
    LinkClosed,
    LinkEvent,
    LinkOpened,
    MakeAnswer,
    MakeOffer,
    Route,
    TakeAnswer,
)
from mpclab.core.errors import PeerFault, Strength
from mpclab.core.ids import SERVER, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.peers import PeerDown, PeerUp
from mpclab.signaling.events import Membership, RelayRequest
from mpclab.signaling.messages import NONCE_BYTES, Answer, Member, Offer, encode_payload
from mpclab.signaling.negotiate import (
    MAX_CANDIDATES,
    Confirm,
    Pair,
    check_answer,
    check_confirm,
    check_offer,
    fingerprints,
    names,
    offer_hash,
    sign_answer,
    sign_confirm,
    sign_offer,
)
from mpclab.signaling.peer_link import Incarnation, Link, MeshSettings, Negotiation
from mpclab.signaling.relay import Candidates, Content


class Dialer(Machine):
    """Base of `Mesh`: it knows how to make a link, and leaves when to its subclass."""

    def __init__(self, membership: Membership, settings: MeshSettings | None = None) -> None:
        self.membership = membership
        self.settings = (settings or MeshSettings()).for_members(membership.n)
        self.links = {p: Link(p) for p in range(1, membership.n + 1) if p != membership.party}
        self.offset = 0

    def _want_relay(self, ctx: Ctx, link: Link) -> None:
        """The direct way has failed, or takes long."""
        raise NotImplementedError

    def _early(self, ctx: Ctx, link: Link, incarnation: Incarnation, what: Offer | Content) -> None:
        """Something authentic came, of another incarnation than the one that we deal with."""
        raise NotImplementedError

    # --- who, and by which way --------------------------------------------------------------

    def _pair(self, member: Member) -> Pair:
        membership = self.membership
        return Pair(
            membership.session,
            membership.party,
            member.party,
            membership.incarnation,
            member.incarnation,
        )

    def _turn_to(self, link: Link, incarnation: Incarnation) -> None:
        """From now on we deal with the peer in this incarnation. It may be none of the present."""
        link.incarnation, link.newer = incarnation, None
        link.failures = 0
        link.relay_open = link.relay_wanted = False

    def _is_proved(self, link: Link, incarnation: Incarnation) -> None:
        """The peer runs in this incarnation now: all others that we have seen are over."""
        incarnation.nonce = b""
        link.past.update(link.incarnations.keys() - {incarnation.member.incarnation})
        link.incarnations = {incarnation.member.incarnation: incarnation}
        link.newer = None

    def _set_via(self, ctx: Ctx, link: Link, via: str, reason: str = "") -> None:
        if via == link.via:
            return
        link.via = via
        ctx.do(Route(ctx.path, link.party, via))
        ctx.report(PeerDown(link.party, reason) if via == "none" else PeerUp(link.party, via))

    def _seal(self, ctx: Ctx, link: Link, content: Content) -> None:
        if link.channel is not None:
            self._request_relay(ctx, link, [link.channel.close(content)])

    def _request_relay(self, ctx: Ctx, link: Link, payloads: list[Any]) -> None:
        ctx.report(RelayRequest(tuple((link.party, encode_payload(p)) for p in payloads)))

    # --- attempts ---------------------------------------------------------------------------

    def _offer(self, ctx: Ctx, link: Link) -> None:
        link.last_attempt += 1
        link.negotiation = Negotiation(link.last_attempt)
        link.move("offering")
        ctx.set_timer(f"attempt-{link.party}", self.settings.describe_within)
        ctx.do(MakeOffer(ctx.path, link.party, link.last_attempt))

    def _patience(self, link: Link) -> int:
        """Longer after each failure: a busy machine would throw attempts away for ever."""
        settings = self.settings
        return min(settings.attempt_within << min(link.failures, 4), settings.describe_within)

    def _hang_up(self, ctx: Ctx, link: Link, reason: str) -> None:
        """Give up the present attempt or link, if there is one."""
        if link.negotiation is not None:
            ctx.do(HangUp(ctx.path, link.party, link.negotiation.attempt, reason))
            link.negotiation = None
        if link.state != "idle":
            link.move("idle")
        ctx.cancel_timer(f"attempt-{link.party}")
        ctx.cancel_timer(f"confirm-{link.party}")
        if link.via == "link":
            self._set_via(ctx, link, "none", reason)
        if link.newer is not None:
            self._turn_to(link, link.newer)

    def _forget_timers(self, ctx: Ctx, link: Link) -> None:
        for timer in ("attempt", "confirm", "retry", "hello", "relay", "window"):
            ctx.cancel_timer(f"{timer}-{link.party}")

    def _fail(self, ctx: Ctx, link: Link, reason: str) -> None:
        """The attempt or the link is lost: relay if that is due, and try again later."""
        ctx.note(notes.LinkFailed(peer=link.party, reason=reason, failures=link.failures + 1))
        self._hang_up(ctx, link, reason)
        link.failures += 1
        if not link.online:
            return
        settings = self.settings
        self._want_relay(ctx, link)
        longest = settings.first_backoff << min(link.failures - 1, 20)
        longest = min(longest, settings.longest_backoff)
        delay = longest // 2 + ctx.rng.randrange(longest // 2 + 1)
        if self.membership.party > link.party:
            delay += settings.offer_wanted_after  # it is the other's turn to offer
        background = link.failures >= settings.quick_tries
        ctx.set_timer(f"retry-{link.party}", delay, background=background)

    # --- what our host says of links --------------------------------------------------------

    def on_link(self, ctx: Ctx, event: LinkEvent) -> None:
        link = self.links[event.peer]
        if link.negotiation is None or link.negotiation.attempt != event.attempt:
            return  # of an attempt that we have given up
        match event:
            case Described():
                self._described(ctx, link, link.negotiation, event)
            case LinkOpened() if link.state == "connecting":
                self._opened(ctx, link, link.negotiation, event)
            case LinkClosed(_, _, _, reason):
                self._fail(ctx, link, reason or "the link closed")

    def _described(self, ctx: Ctx, link: Link, negotiation: Negotiation, event: Described) -> None:
        """Our own description is ready: sign it and send it, with our candidates sealed."""
        if link.member is None or link.channel is None:
            return
        negotiation.own_prints = fingerprints(event.sdp)
        pair, epoch, identity = (
            self._pair(link.member),
            self.membership.epoch,
            self.membership.identity,
        )
        nonce = ctx.rng.randbytes(NONCE_BYTES)
        payload: Offer | Answer
        match event.kind, link.state:
            case "offer", "offering":
                payload = sign_offer(
                    identity, pair, epoch=epoch, nonce=nonce, attempt=negotiation.attempt,
                    expires=ctx.now + self.offset + self.settings.offer_valid, sdp=event.sdp,
                )  # fmt: skip
                negotiation.offer = offer_hash(pair, payload)
                link.move("offered")
            case "answer", "answering":
                payload = sign_answer(
                    identity, pair, epoch=epoch, nonce=nonce, offer=negotiation.offer, sdp=event.sdp
                )
                link.move("connecting")
            case _:
                return
        # Each step has its own deadline: twenty links at once may queue for one processor.
        ctx.set_timer(f"attempt-{link.party}", self._patience(link))
        sealed = link.channel.close(
            Candidates(negotiation.offer, event.candidates[:MAX_CANDIDATES])
        )
        self._request_relay(ctx, link, [payload, sealed])
        self._add_candidates(ctx, link, negotiation)

    def _add_candidates(self, ctx: Ctx, link: Link, negotiation: Negotiation) -> None:
        if link.state == "connecting" and negotiation.candidates is not None:
            ctx.do(AddCandidates(ctx.path, link.party, negotiation.attempt, negotiation.candidates))
            negotiation.candidates = None

    # --- the peer's descriptions ------------------------------------------------------------

    def _take_offer(self, ctx: Ctx, link: Link, offer: Offer) -> None:
        if self.membership.party < link.party:
            raise PeerFault(
                "an offer from the side that answers", party=link.party, strength=Strength.SUSPECT
            )
        if (
            offer.to_incarnation != self.membership.incarnation
            or offer.expires < ctx.now + self.offset
        ):
            ctx.note(notes.StaleOffer(peer=link.party))
            return
        incarnation = self._signed_in(link, offer)
        if incarnation is None:
            return
        if offer.attempt <= incarnation.peer_attempt:
            raise replayed(link.party)
        if incarnation is not link.incarnation:
            self._early(ctx, link, incarnation, offer)
            return
        # Signed for our present incarnation, in time and new: the peer really begins anew.
        link.newer = None
        self._hang_up(ctx, link, "the peer connects anew")
        ctx.cancel_timer(f"retry-{link.party}")
        incarnation.peer_attempt = offer.attempt
        pair = self._pair(incarnation.member).back
        link.last_attempt = max(link.last_attempt + 1, offer.attempt)
        link.negotiation = Negotiation(
            link.last_attempt, offer_hash(pair, offer), peer_prints=fingerprints(offer.sdp)
        )
        link.move("answering")
        ctx.set_timer(f"attempt-{link.party}", self.settings.attempt_within)
        ctx.do(MakeAnswer(ctx.path, link.party, link.last_attempt, offer.sdp))

    def _signed_in(self, link: Link, offer: Offer) -> Incarnation | None:
        """The incarnation in which the peer signed this offer, the one that we deal with first."""
        wrong: PeerFault | None = None
        for incarnation in sorted(
            link.incarnations.values(), key=lambda it: it is not link.incarnation
        ):
            try:
                check_offer(incarnation.member.key, self._pair(incarnation.member).back, offer)
            except PeerFault as fault:
                wrong = PeerFault(fault.reason, party=link.party, strength=Strength.SUSPECT)
            else:
                return incarnation
        if wrong is not None:
            raise wrong
        return None

    def _take_answer(self, ctx: Ctx, link: Link, answer: Answer) -> None:
        negotiation, member = link.negotiation, link.member
        if (
            negotiation is None
            or member is None
            or link.state != "offered"
            or answer.offer != negotiation.offer
            or answer.to_incarnation != self.membership.incarnation
        ):
            ctx.note(notes.StaleAnswer(peer=link.party))
            return
        try:
            check_answer(member.key, self._pair(member).back, answer)
        except PeerFault as fault:
            raise PeerFault(fault.reason, party=link.party, strength=Strength.SUSPECT) from None
        negotiation.peer_prints = fingerprints(answer.sdp)
        link.move("connecting")
        ctx.set_timer(f"attempt-{link.party}", self._patience(link))
        ctx.do(TakeAnswer(ctx.path, link.party, negotiation.attempt, answer.sdp))
        self._add_candidates(ctx, link, negotiation)

    # --- confirmation -----------------------------------------------------------------------

    def _opened(self, ctx: Ctx, link: Link, negotiation: Negotiation, event: LinkOpened) -> None:
        own, peer = event.local_fingerprint.upper(), event.remote_fingerprint.upper()
        if not names(negotiation.peer_prints, peer) or not names(negotiation.own_prints, own):
            ctx.blame(
                link.party,
                "the other end of the link has another certificate than was signed for it",
                Strength.SUSPECT,
            )
            self._fail(ctx, link, "wrong fingerprint")
            return
        assert link.member is not None
        negotiation.own_fingerprint, negotiation.peer_fingerprint = own, peer
        pair = self._pair(link.member)
        negotiation.confirm = sign_confirm(
            self.membership.identity, pair, negotiation.offer, own, peer
        )
        link.move("confirming")
        ctx.set_timer(f"attempt-{link.party}", self.settings.confirm_within)
        self._confirm(ctx, link, negotiation.confirm)
        if negotiation.early is not None:
            self._check(ctx, link, negotiation, negotiation.early)

    def _confirm(self, ctx: Ctx, link: Link, confirm: Confirm) -> None:
        ctx.send_on_link(link.party, confirm)
        ctx.set_timer(f"confirm-{link.party}", self.settings.confirm_every)

    def _check(self, ctx: Ctx, link: Link, negotiation: Negotiation, msg: Confirm) -> None:
        if link.state == "connecting":
            negotiation.early = msg
            return
        if link.is_up:
            self._alive(ctx, link)
            if not msg.seen and negotiation.confirm is not None:  # ours was lost on the way
                ctx.send_on_link(
                    link.party, msgspec.structs.replace(negotiation.confirm, seen=True)
                )
            return
        if link.state != "confirming" or link.member is None:
            return
        pair = self._pair(link.member).back
        try:
            check_confirm(
                link.member.key,
                pair,
                msg,
                negotiation.own_fingerprint,
                negotiation.peer_fingerprint,
            )
        except PeerFault as fault:
            ctx.blame(link.party, fault.reason, fault.strength)
            self._fail(ctx, link, fault.reason)
            return
        assert link.incarnation is not None
        self._is_proved(link, link.incarnation)
        link.move("up")
        link.failures = link.hellos = 0
        link.relay_wanted = False
        link.heard_at = ctx.now
        self._forget_timers(ctx, link)
        ctx.note(notes.Confirmed(peer=link.party, fingerprint=negotiation.peer_fingerprint))
        self._set_via(ctx, link, "link")

    def _alive(self, ctx: Ctx, link: Link) -> None:
        link.heard_at = ctx.now
        if link.state == "suspect":
            link.move("up")


def replayed(party: Party) -> PeerFault:
    return PeerFault(
        f"the server replays a message of party {party}", party=SERVER,
        strength=Strength.SUSPECT,
    )  # fmt: skip
