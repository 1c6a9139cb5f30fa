"""The mesh: one link to every other member, confirmed end to end, or else the relay.

For every pair the party with the lower id offers. An attempt that fails is repeated with
exponential backoff and jitter. A pair whose link fails, or is not up within `relay_after`, sends
its frames through the server meanwhile, sealed end to end, while direct attempts go on and take
over when one succeeds. Links have heartbeats of their own. The mesh outlives the server: what is
up stays up without it.

Guarantees, given that identity keys are known (a roster, or first use):

- Nothing but the mesh's own messages is taken from a link before its party has signed, on that
  link, the fingerprints that our own transport saw (`negotiate`).
- Relayed frames open once, in order, for their receiver, in this pair of incarnations only
  (`relay`).
- A forged, altered or re-signed description never becomes a confirmed link. Blame of what came
  by the server has the strength SUSPECT: the party, or the server in its name.

What a malicious server can still do: refuse to carry, delay, drop; learn who talks to whom,
when and how much; hide a member; show an old signed presence, which makes us send a `Hello` that
nobody answers. Replayed offers are refused (the receiver's incarnation, a number that only grows,
an expiry), withheld ones expire. What a malicious member can still do: refuse links or let them
die, send anything over its *own* link: that is for the machines above.
A takeover from relay to link may reorder frames that are on their way at that moment.

Why incarnations are challenged. Signed presences do not expire, so the server can show one of any
age. Party 2 restarts while party 1 holds a link to it:

1. Party 1 has an open link to party 2 in incarnation A.
2. Party 2 crashes; the link looks alive for up to `dead_after`. It starts anew as B and joins.
3. The server shows B's signed presence. Party 1 must turn to B soon, or the pair stays cut.
4. But the same picture arises when nothing crashed, A is alive, and the server shows a presence
   that party 2 signed a year ago as X. Believing it would cut a good link, at the server's will.
5. So party 1 keeps the link and sends a fresh nonce, sealed for (its own incarnation, B).
6. Only a process that holds B's keys opens the box and returns the nonce. X's process is gone.
7. The answer proves B: A and X are over for good (`Link.past`), and nothing that the server
   withheld from them (boxes, offers) is taken any more. Without an answer nothing changes.
8. An answer may be older than the next presence: B may have been replaced by C meanwhile. So
   hearing of one more incarnation voids the open challenges of all others (`_incarnation`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from mpclab.core import notes
from mpclab.core.errors import PeerFault, Strength, UsageError
from mpclab.core.ids import SERVER, Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Frame, Message
from mpclab.crypto.errors import SealError
from mpclab.signaling.dialer import Dialer, replayed
from mpclab.signaling.events import (
    Absent,
    Arrived,
    KnowServer,
    Membership,
    Offline,
    Online,
    Present,
    RelayRequest,
)
from mpclab.signaling.messages import NONCE_BYTES, Answer, Member, Offer, Sealed
from mpclab.signaling.negotiate import MAX_CANDIDATE, MAX_CANDIDATES, Confirm
from mpclab.signaling.peer_link import Incarnation, Link, MeshSettings
from mpclab.signaling.relay import (
    MAX_RELAYED,
    Candidates,
    Channel,
    Content,
    Hello,
    OfferRequest,
    Piece,
    Replayed,
    Taken,
    pack,
)

_URL = re.compile(r"wss?://[A-Za-z0-9.:\[\]_-]{1,255}(/[A-Za-z0-9._~/-]{0,255})?")
_MAX_INCARNATIONS = 4096
_MOST_EARLY = 16


class Beat(Message, frozen=True):
    """A heartbeat on a link."""

    background = True


class Rehomed(Message, frozen=True):
    """On a link: there is a signaling server of our session at `url` now."""

    url: str


class TellServer(msgspec.Struct, frozen=True):
    """Ask: tell all whom we have a link to of a signaling server."""

    url: str


class Disband(msgspec.Struct, frozen=True):
    """Ask: close every link; we leave the session."""


class PeerStatus(msgspec.Struct, frozen=True):
    """One peer for panels: `state` as in `links.MOVES`, `via` link, relay or none."""

    party: Party
    online: bool
    state: str
    via: str
    attempt: int
    failures: int


class Mesh(Dialer):
    """Takes what `Client` reports as asks; reports `RelayRequest`, `PeerUp` and `PeerDown`.

    `PeerUp` comes again when the way changes (relay to link).
    """

    messages = Confirm | Beat | Rehomed

    def __init__(self, membership: Membership, settings: MeshSettings | None = None) -> None:
        super().__init__(membership, settings)
        self._beat_at = 0

    def start(self, ctx: Ctx) -> None:
        self._beat_at = ctx.now
        ctx.set_timer("beat", self.settings.beat, background=True)

    def status(self) -> tuple[PeerStatus, ...]:
        """Every other member, as the mesh sees it now."""
        return tuple(
            PeerStatus(k.party, k.online, k.state, k.via, k.last_attempt, k.failures)
            for k in self.links.values()
        )

    # --- news from signaling ----------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Online(_, offset):
                self.offset = offset
            case Offline():
                pass  # an `Absent` for everyone follows
            case Present(member):
                self._present(ctx, self.links[member.party], member)
            case Absent(party, reason):
                self._absent(ctx, self.links[party], reason)
            case Arrived(sender, payload):
                self._arrived(ctx, self.links[sender], payload)
            case TellServer(url):
                for link in self.links.values():
                    if link.is_up:
                        ctx.send_on_link(link.party, Rehomed(url))
            case Disband():
                for link in self.links.values():
                    link.online = False
                    self._hang_up(ctx, link, "we left the session")
                    self._forget_timers(ctx, link)
                    self._set_via(ctx, link, "none", "we left the session")
            case _:
                raise UsageError(f"the mesh does not know {type(ask).__name__}")

    def _present(self, ctx: Ctx, link: Link, member: Member) -> None:
        if member.incarnation in link.past:
            ctx.note(notes.StaleCard(peer=link.party))
            return
        incarnation = self._incarnation(ctx, link, member)
        if incarnation is None:
            return
        link.online = True
        if incarnation is link.incarnation:
            link.newer = None
        elif link.is_up:
            # Perhaps it started anew; perhaps the server shows an old presence. Only an
            # answer in the new incarnation proves it; until then the old link stays.
            link.newer = incarnation
            self._challenge(ctx, link, incarnation, relay=False)
            return
        else:
            self._hang_up(ctx, link, "the peer has a new incarnation")
            self._turn_to(link, incarnation)
        ctx.cancel_timer(f"retry-{link.party}")
        self._pursue(ctx, link)

    def _incarnation(self, ctx: Ctx, link: Link, member: Member) -> Incarnation | None:
        """The state of this incarnation of the peer, known before or not."""
        if (known := link.incarnations.get(member.incarnation)) is not None:
            return known
        if len(link.past) + len(link.incarnations) >= _MAX_INCARNATIONS:
            ctx.blame(link.party, "has started too many times", Strength.KNOWN)
            return None
        try:
            channel = Channel(self.membership.identity, member.key, self._pair(member))
        except SealError as error:
            ctx.blame(link.party, str(error), Strength.SUSPECT)
            return None
        for other in link.incarnations.values():
            other.nonce = b""  # an answer might be older than the incarnation of which we hear now
        incarnation = link.incarnations[member.incarnation] = Incarnation(member, channel)
        return incarnation

    def _challenge(self, ctx: Ctx, link: Link, incarnation: Incarnation, *, relay: bool) -> None:
        """Ask whether the peer runs in this incarnation now."""
        incarnation.nonce = incarnation.nonce or ctx.rng.randbytes(NONCE_BYTES)
        hello = Hello(reply=False, relay=relay, nonce=incarnation.nonce)
        self._request_relay(ctx, link, [incarnation.channel.close(hello)])

    def _absent(self, ctx: Ctx, link: Link, reason: str) -> None:
        link.online = False
        link.relay_open = link.relay_wanted = False
        if link.state in ("offering", "offered", "answering"):
            self._hang_up(ctx, link, reason)
        for timer in ("retry", "hello", "relay", "window"):
            ctx.cancel_timer(f"{timer}-{link.party}")
        if link.via == "relay":
            self._set_via(ctx, link, "none", reason)
        if link.channel is not None:
            link.channel.clear()  # the server would not pass it on, and we are told no more

    def _pursue(self, ctx: Ctx, link: Link) -> None:
        """Do what the state of things asks for: offer, wait for an offer, or relay."""
        if not link.online or link.is_up:
            return
        settings = self.settings
        if not settings.direct or link.failures:
            self._want_relay(ctx, link)
        elif settings.relay_after is not None and not link.relay_wanted:
            ctx.set_timer(f"relay-{link.party}", settings.relay_after)
        if not settings.direct or link.state != "idle":
            return
        if self.membership.party < link.party:
            self._offer(ctx, link)
        else:
            background = link.failures >= settings.quick_tries
            ctx.set_timer(f"retry-{link.party}", settings.offer_wanted_after, background=background)

    # --- timers -----------------------------------------------------------------------------

    def on_timer(self, ctx: Ctx, name: str) -> None:
        what, _, which = name.partition("-")
        if what == "beat":
            self._beat(ctx)
            return
        link = self.links[int(which)]
        match what:
            case "attempt":
                late = "confirmed" if link.state == "confirming" else "opened"
                self._fail(ctx, link, f"the link was not {late} in time")
            case "confirm" if link.negotiation is not None and link.negotiation.confirm is not None:
                self._confirm(ctx, link, link.negotiation.confirm)
            case "retry" if link.online and link.state == "idle":
                if self.membership.party < link.party:
                    self._offer(ctx, link)
                else:
                    self._seal(ctx, link, OfferRequest(b""))
                    self._fail(ctx, link, "no offer came")
            case "hello" if link.online and not link.relay_open:
                self._want_relay(ctx, link)
            case "relay" if link.online and not link.is_up:
                self._want_relay(ctx, link)
            case "window" if link.online and link.channel is not None:
                link.channel.forgive()
                self._release(ctx, (link.party,))

    def _beat(self, ctx: Ctx) -> None:
        settings = self.settings
        ctx.set_timer("beat", settings.beat, background=True)
        asleep = ctx.now - self._beat_at > 3 * settings.beat
        self._beat_at = ctx.now
        for link in self.links.values():
            if not link.is_up:
                continue
            if asleep:  # we ourselves were stopped: their beats are still in our queue
                link.heard_at = ctx.now
            # Whatever came by the link is a sign of life: beats may wait behind large messages.
            link.heard_at = max(link.heard_at, ctx.heard(link.party))
            silent = ctx.now - link.heard_at
            if silent < settings.suspect_after and link.state == "suspect":
                link.move("up")
            if silent >= settings.dead_after:
                self._fail(ctx, link, f"silent for {silent // 1_000_000} s")
                continue
            if silent >= settings.suspect_after and link.state == "up":
                link.move("suspect")
                ctx.note(notes.Suspected(peer=link.party))
            ctx.send_on_link(link.party, Beat())

    # --- what others send -------------------------------------------------------------------

    def on_message(self, ctx: Ctx, sender: Party, msg: Message) -> None:
        link = self.links.get(sender)
        if link is None:
            raise PeerFault("no member of this session")
        match msg:
            case Beat() if link.is_up:
                self._alive(ctx, link)
            case Rehomed(url) if link.is_up:
                if not _URL.fullmatch(url):
                    raise PeerFault("malformed url of a server")
                self._alive(ctx, link)
                ctx.report(KnowServer(url, sender))
            case Confirm() if link.negotiation is not None and link.negotiation.offer == msg.offer:
                self._check(ctx, link, link.negotiation, msg)
            case _:
                ctx.note(notes.UnconfirmedDropped(sender=sender, message=type(msg).__name__))

    def _arrived(self, ctx: Ctx, link: Link, payload: Message) -> None:
        match payload:
            case Offer():
                self._take_offer(ctx, link, payload)
            case Answer():
                self._take_answer(ctx, link, payload)
            case Sealed():
                self._unseal(ctx, link, payload)

    def _unseal(self, ctx: Ctx, link: Link, sealed: Sealed) -> None:
        incarnation = next(
            (
                x
                for x in link.incarnations.values()
                if x.channel.incarnations == sealed.incarnations
            ),
            None,
        )
        if incarnation is None:
            self._misplaced(ctx, link, sealed)
            return
        try:
            content = incarnation.channel.open(sealed)
        except Replayed:
            raise replayed(link.party) from None
        except (SealError, msgspec.DecodeError) as error:
            raise PeerFault(
                f"a sealed box that does not open: {error}",
                party=link.party,
                strength=Strength.SUSPECT,
            ) from None
        if isinstance(content, Hello) and content.reply and incarnation.nonce:
            if content.nonce == incarnation.nonce:
                self._answered(ctx, link, incarnation)
        try:
            if incarnation is link.incarnation:
                self._content(ctx, link, incarnation.channel, content)
            else:
                self._early(ctx, link, incarnation, content)
        except PeerFault as fault:  # the box stays opened: its number must not count again
            ctx.blame(link.party, fault.reason, fault.strength)

    def _answered(self, ctx: Ctx, link: Link, incarnation: Incarnation) -> None:
        """The peer runs in this incarnation now, whichever we thought it did."""
        self._is_proved(link, incarnation)
        if incarnation is link.incarnation:
            return
        self._hang_up(ctx, link, "the peer started anew")
        self._turn_to(link, incarnation)
        self._pursue(ctx, link)
        early, incarnation.early = incarnation.early, []
        for what in early:
            try:
                if isinstance(what, Offer):
                    self._take_offer(ctx, link, what)
                else:
                    self._content(ctx, link, incarnation.channel, what)
            except PeerFault as fault:
                ctx.blame(link.party, fault.reason, fault.strength)

    def _early(self, ctx: Ctx, link: Link, incarnation: Incarnation, what: Offer | Content) -> None:
        if isinstance(what, Hello):
            if not what.reply:
                reply = Hello(reply=True, relay=link.relay_wanted, nonce=what.nonce)
                self._request_relay(ctx, link, [incarnation.channel.close(reply)])
        elif len(incarnation.early) < _MOST_EARLY:
            incarnation.early.append(what)
        self._challenge(ctx, link, incarnation, relay=link.relay_wanted)

    def _misplaced(self, ctx: Ctx, link: Link, sealed: Sealed) -> None:
        """A box of other incarnations: one that was on its way at a restart, or a forged sender."""
        for other in self.links.values():
            if any(
                incarnation.channel.incarnations == sealed.incarnations
                for incarnation in other.incarnations.values()
            ):
                raise PeerFault(
                    f"the server relays as from party {link.party} a box sealed between "
                    f"party {other.party} and us",
                    party=SERVER,
                    strength=Strength.SUSPECT,
                )
        ctx.note(notes.StaleBox(peer=link.party))

    def _content(self, ctx: Ctx, link: Link, channel: Channel, content: Content) -> None:
        match content:
            case Piece():
                self._piece(ctx, link, channel, content)
            case Taken(number):
                channel.taken(number)
                self._release(ctx, (link.party,))
            case Hello():
                self._hello(ctx, link, content)
            case Candidates(offer, candidates):
                negotiation = link.negotiation
                if len(candidates) > MAX_CANDIDATES or any(
                    len(c) > MAX_CANDIDATE for c in candidates
                ):
                    raise PeerFault("too many or too long candidates", party=link.party)
                if negotiation is not None and negotiation.offer == offer and not link.is_up:
                    negotiation.candidates = candidates
                    self._add_candidates(ctx, link, negotiation)
            case OfferRequest():
                if self.membership.party < link.party and (link.state == "idle" or link.is_up):
                    self._fail(ctx, link, "the peer lost the link")
                    ctx.cancel_timer(f"retry-{link.party}")
                    self._pursue(ctx, link)

    # --- the relay --------------------------------------------------------------------------

    def _want_relay(self, ctx: Ctx, link: Link) -> None:
        """Relay to this peer as soon as it answers in its present incarnation."""
        if self.settings.relay_after is None:
            return
        link.relay_wanted = True
        if link.relay_open:
            if not link.is_up:
                self._set_via(ctx, link, "relay")
            return
        link.hellos += 1
        background = link.hellos > self.settings.quick_tries
        if link.incarnation is not None:
            self._challenge(ctx, link, link.incarnation, relay=True)
        ctx.set_timer(f"hello-{link.party}", self.settings.hello_every, background=background)

    def _hello(self, ctx: Ctx, link: Link, hello: Hello) -> None:
        link.relay_open = True
        ctx.cancel_timer(f"hello-{link.party}")
        if not hello.reply:
            self._seal(ctx, link, Hello(True, link.relay_wanted, hello.nonce))
        if (hello.relay or link.relay_wanted) and not link.is_up:
            self._set_via(ctx, link, "relay")

    def on_carry(self, ctx: Ctx, to: tuple[Party, ...], frame: Frame) -> None:
        data = frame.to_bytes()
        for party in to:
            channel = self.links[party].channel
            if channel is not None and not channel.put(data):
                ctx.note(notes.RelayOverflow(peer=party, message=frame.kind))
        self._release(ctx, to)

    def _release(self, ctx: Ctx, to: Iterable[Party]) -> None:
        """Send what waits for the relay to these peers, as far as each has room."""
        boxes = []
        for party in to:
            channel = self.links[party].channel
            if channel is None:
                continue
            boxes += [(party, box) for box in channel.release()]
            if channel.is_full:
                ctx.set_timer(f"window-{party}", self.settings.window_patience)
            else:
                ctx.cancel_timer(f"window-{party}")
        for envelopes in pack(boxes):
            ctx.report(RelayRequest(envelopes))

    def _piece(self, ctx: Ctx, link: Link, channel: Channel, piece: Piece) -> None:
        if (owed := channel.owed) is not None:
            self._seal(ctx, link, owed)
        try:
            whole = channel.join(piece)
            frame = Frame.from_bytes(whole, MAX_RELAYED) if whole is not None else None
        except (SealError, msgspec.DecodeError) as error:
            raise PeerFault(f"malformed relayed frame: {error}", party=link.party) from None
        if frame is None:
            return
        if frame.path == ctx.path:
            raise PeerFault("relayed a message that belongs on a link", party=link.party)
        ctx.hand_over(link.party, frame)
