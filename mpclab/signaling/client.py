"""A party's side of the signaling server: connect, prove who we are, stay, come back.

    off ──JoinSession──▶ connecting ─▶ challenged ─▶ joined
     ▲                      │  ▲            │           │  connection lost
     └──LeaveSession── any  ▼  └──backoff── waiting ◀───┘
                         refused (final)

It keeps the *pins*: which key each party has. They come from a roster given in advance, or are
trusted on first use; both are persisted, and a later change of key is refused and blamed, also
in a later life, until our own user accepts it (`AcceptKey`, or the key named beforehand). It checks
signed presences and the signatures of text lines, and hands every other payload up uninterpreted.

Members may tell of other servers of the session, one each: they are tried in turn with ours, while
we are in none. Whatever they are, they are trusted no more than any server.

A connection that dies is tried again, at first quickly, with exponential backoff and jitter;
after `quick_tries` the attempts go on in the background for ever. A refusal ends it, unless we
were in the session before: then somebody holds our place who may be gone soon.
A server says how often it pings; one that is silent for two and a half times as long is gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mpclab.core import notes
from mpclab.core.effects import Connect, HangUp, LinkClosed, LinkEvent, LinkOpened
from mpclab.core.errors import PeerFault, Strength, UsageError
from mpclab.core.ids import SECOND, SERVER, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.peers import AcceptKey
from mpclab.core.wire import Message
from mpclab.crypto.identity import PUBLIC_BYTES, verify
from mpclab.signaling.events import (
    Absent,
    Arrived,
    ClientSettings,
    GoOffline,
    GoOnline,
    Heard,
    KnowServer,
    Membership,
    Offline,
    Online,
    Present,
    Rejected,
    RelayRequest,
    Say,
    TryNow,
)
from mpclab.signaling.messages import (
    JOIN_LABEL,
    MAX_TEXT,
    NONCE_BYTES,
    PRESENCE_LABEL,
    TEXT_LABEL,
    VERSION,
    Announce,
    Announced,
    Challenge,
    Envelope,
    Join,
    Leave,
    LeftOut,
    Member,
    PeerJoined,
    PeerLeft,
    Ping,
    Pong,
    Refused,
    Relay,
    Relayed,
    Roster,
    Rows,
    ServerMessage,
    Text,
    Wanted,
    Welcome,
    Who,
    decode_payload,
    encode_payload,
    join_parts,
    presence_parts,
    text_parts,
)
from mpclab.signaling.throttle import Bucket

_EMPTY: Final = b"\0" * 64


MOVES: Final = {
    "off": {"connecting"},
    "connecting": {"challenged", "waiting", "refused", "off"},
    "challenged": {"joined", "waiting", "refused", "off"},
    "joined": {"waiting", "refused", "off"},
    "waiting": {"connecting", "off"},
    "refused": {"connecting", "off"},
}
"""The legal moves. "refused" is left only when our own user asks to join again."""


def stored_pins(stored: Mapping[str, bytes]) -> dict[Party, bytes]:
    """The pins among what a `Client` stored in an earlier life."""
    return {int(key[4:]): pin for key, pin in stored.items() if key.startswith("pin-")}


class Client(Machine):
    """Talks to the server, peer 0.

    Args:
        membership: what to join as whom.
        roster: every party's key, if it is known beforehand.
    """

    codec = "json"
    messages = ServerMessage

    def __init__(
        self,
        membership: Membership,
        roster: Mapping[Party, bytes] | None = None,
        settings: ClientSettings | None = None,
    ) -> None:
        self.membership = membership
        self.settings = settings or ClientSettings()
        self.state = "off"
        self.closed_roster = roster is not None
        self.pins: dict[Party, bytes] = dict(roster or {})
        self.present: dict[Party, Member] = {}
        self.revision = 0
        self._tries = 0
        self._out_since = 0  # when the first of them failed
        self._heard_at = 0
        self._patience = self.settings.silent_after  # with a server that says nothing
        self._excused = False  # a silence that may be our own fault
        self._was_in = False
        self._others: dict[Party, str] = {}  # servers that members told us of, one each
        self._turn = 0  # which of them is tried next; 0: our own
        self._asked_who = False
        self._requests: deque[Relay] = deque()  # what the server would not take yet
        self._rows: deque[Rows] = deque()  # after those, as they may be thousands
        self._pace: Bucket | None = None
        self._texts_sent = 0
        self._texts_heard: dict[tuple[Party, bytes], int] = {}

    @property
    def other_servers(self) -> dict[Party, str]:
        """The servers of the session that members told us of, one each."""
        return dict(self._others)

    def start(self, ctx: Ctx) -> None:
        self.pins.setdefault(self.membership.party, self.membership.identity.public)
        if not self.closed_roster:
            for party, pin in stored_pins(ctx.stored).items():
                self.pins.setdefault(party, pin)

    # --- our own party --------------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case GoOnline():
                if self.state in ("off", "refused"):
                    self._tries = 0
                    self._connect(ctx)
            case TryNow():
                if self.state == "waiting":
                    ctx.cancel_timer("again")
                    self._tries = 0
                    self._connect(ctx)
            case GoOffline():
                self._go_off(ctx)
            case KnowServer(url, by):
                self._others[by] = url
                if self.state == "waiting":
                    ctx.cancel_timer("again")
                    self._turn = 1 + sorted(self._others).index(by)
                    self._tries = 0
                    self._connect(ctx)
            case RelayRequest(envelopes):
                if self.state == "joined":
                    wrapped = tuple(Envelope(to, msgspec.Raw(payload)) for to, payload in envelopes)
                    self._requests.append(Relay(wrapped))
                    self._send_requests(ctx)
            case Rows():
                if self.state == "joined":
                    self._rows.append(ask)
                    self._send_requests(ctx)
            case Say(to, text):
                self._say(ctx, to, text)
            case AcceptKey(party, key):
                self.pins[party] = key
                ctx.persist(f"pin-{party}", key)
                if self.state == "joined":
                    self._ask_who(ctx)

    def _send_requests(self, ctx: Ctx) -> None:
        """Send what is to be relayed or told, no faster than the server takes it."""
        pace = self._pace
        while (first := self._requests or self._rows) and (pace is None or pace.take(ctx.now)):
            ctx.send(SERVER, first.popleft())
        if (self._requests or self._rows) and pace is not None:
            ctx.set_timer("pace", pace.wait(ctx.now))

    def _go_off(self, ctx: Ctx) -> None:
        if self.state == "joined":
            ctx.send(SERVER, Leave())
        if self.state in ("connecting", "challenged", "joined"):
            ctx.do(HangUp(ctx.path, SERVER, reason="left"))
        self._requests.clear()
        self._rows.clear()
        for timer in ("answer", "again", "silence", "pace"):
            ctx.cancel_timer(timer)
        if self.state != "off":
            self._move("off")
            self._everyone_absent(ctx, "we left the session")

    def _say(self, ctx: Ctx, to: Party, text: str) -> None:
        if self.state != "joined":
            raise UsageError("not in a session now: join first, or wait for the server")
        if to != 0 and to not in self.present:
            raise UsageError(f"party {to} is not in the session now")
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise UsageError("text has half of a character (a lone surrogate)") from None
        if not 0 < size <= MAX_TEXT:
            raise UsageError(f"a text has 1 to {MAX_TEXT} bytes")
        self._texts_sent += 1
        membership = self.membership
        unsigned = Text(to, self._texts_sent, text, _EMPTY)
        parts = text_parts(membership.session, membership.party, membership.incarnation, unsigned)
        signature = membership.identity.sign(TEXT_LABEL, *parts)
        signed = encode_payload(msgspec.structs.replace(unsigned, signature=signature))
        payload = msgspec.Raw(signed)
        ctx.send(SERVER, Relay((Envelope(to, payload),)) if to else Announce(payload))

    # --- the connection -------------------------------------------------------------------

    def _move(self, state: str) -> None:
        assert state in MOVES[self.state], f"client: {self.state} to {state}"
        self.state = state

    def _connect(self, ctx: Ctx) -> None:
        self._move("connecting")
        urls = ["", *(self._others[party] for party in sorted(self._others))]
        ctx.do(Connect(ctx.path, urls[self._turn % len(urls)]))
        ctx.set_timer("answer", self.settings.answer_within)

    def on_link(self, ctx: Ctx, event: LinkEvent) -> None:
        match event:
            case LinkOpened():
                pass  # the server speaks first
            case LinkClosed(_, _, _, reason) if self.state in (
                "connecting",
                "challenged",
                "joined",
            ):
                self._lost(ctx, reason or "connection lost")

    def on_timer(self, ctx: Ctx, name: str) -> None:
        match name:
            case "again":
                self._connect(ctx)
            case "pace":
                self._send_requests(ctx)
            case "answer":
                ctx.do(HangUp(ctx.path, SERVER, reason="no answer"))
                self._lost(ctx, "the server does not answer")
            case "silence":
                quiet = ctx.now - self._heard_at
                if quiet >= self._patience + SECOND and not self._excused:
                    # The timer is late: we were stopped, and what was said meanwhile waits.
                    self._excused = True
                    ctx.set_timer("silence", SECOND, background=True)
                elif quiet >= self._patience:
                    ctx.do(HangUp(ctx.path, SERVER, reason="silent"))
                    self._lost(ctx, "the server went silent")
                else:
                    self._excused = False
                    left = self._patience - quiet
                    ctx.set_timer("silence", left, background=True)

    def _lost(self, ctx: Ctx, reason: str) -> None:
        """The connection is gone: say so, and try again after a while."""
        was_in = self.state == "joined"
        self._move("waiting")
        self._requests.clear()
        self._rows.clear()
        ctx.cancel_timer("pace")
        ctx.cancel_timer("answer")
        ctx.cancel_timer("silence")
        settings = self.settings
        if self._tries == 0:
            self._out_since = ctx.now
        # Doubled, and after a while a part of how long it has been: whatever the server was gone
        # for, we are back at most so much later.
        bound = max(SECOND, (ctx.now - self._out_since) // settings.outage_parts)
        longest = min(settings.first_backoff << min(self._tries, 20), bound)
        longest = min(longest, settings.longest_backoff)
        # Jitter, so that a room does not come back to a restarted server all at once.
        delay = longest // 2 + ctx.rng.randrange(longest // 2 + 1)
        self._tries += 1
        self._turn += 1
        ctx.set_timer("again", delay, background=self._tries > settings.quick_tries)
        if was_in:
            ctx.report(Offline(reason))
            self._everyone_absent(ctx, "the signaling server is gone")

    def _everyone_absent(self, ctx: Ctx, reason: str) -> None:
        for party in sorted(self.present):
            ctx.report(Absent(party, reason))
        self.present.clear()

    # --- the server's messages ------------------------------------------------------------

    def on_message(self, ctx: Ctx, sender: Party, msg: Message) -> None:
        if sender != SERVER:
            raise PeerFault("a signaling message that did not come from the server")
        self._heard_at = ctx.now
        match msg:
            case Refused(reason, hint, final) if self.state not in ("off", "waiting", "refused"):
                self._refused(ctx, reason, hint, final)
            case Challenge(nonce, version) if self.state == "connecting":
                self._answer(ctx, nonce, version)
            case Welcome() if self.state == "challenged":
                self._welcome(ctx, msg)
            case _ if self.state == "joined":
                self._news(ctx, msg)
            case Challenge() | Welcome():
                raise PeerFault(f"{type(msg).__name__} out of order", party=SERVER)
            case _:
                pass  # on its way when we left

    def _refused(self, ctx: Ctx, reason: str, hint: str, final: bool) -> None:
        if not final or (self._was_in and self.state == "challenged"):
            ctx.do(HangUp(ctx.path, SERVER, reason=reason))
            self._lost(ctx, reason)
            return
        self._move("refused")
        ctx.cancel_timer("answer")
        ctx.cancel_timer("silence")
        ctx.do(HangUp(ctx.path, SERVER, reason=reason))
        ctx.report(Rejected(reason, hint))
        self._everyone_absent(ctx, reason)

    def _answer(self, ctx: Ctx, nonce: bytes, version: int) -> None:
        if version != VERSION:
            hint = f"it speaks version {version}, we {VERSION}"
            self._refused(ctx, "another version of the signaling protocol", hint, True)
            return
        if len(nonce) != NONCE_BYTES:
            raise PeerFault(f"a challenge of {len(nonce)} bytes", party=SERVER)
        s = self.membership
        presence = s.identity.sign(
            PRESENCE_LABEL, *presence_parts(s.session, s.party, s.incarnation, s.epoch)
        )
        join = Join(
            s.session, s.party, s.n, s.t, s.policy, s.identity.public, s.incarnation, s.epoch,
            presence, _EMPTY, s.mode, s.agreement,
            s.entry.access, s.entry.owner, s.entry.ticket, s.entry.roster,
        )  # fmt: skip
        signature = s.identity.sign(JOIN_LABEL, *join_parts(nonce, join))
        self._move("challenged")
        ctx.send(SERVER, msgspec.structs.replace(join, signature=signature))

    def _welcome(self, ctx: Ctx, msg: Welcome) -> None:
        if (msg.session, msg.party) != (self.membership.session, self.membership.party):
            raise PeerFault("welcome to another seat than the one asked for", party=SERVER)
        self._move("joined")
        self._tries = 0
        # A part of what we may say is for answers to pings and the like.
        rate, burst = msg.rate * 9 // 10, msg.burst * 3 // 4
        self._pace = Bucket(rate, burst, ctx.now) if rate > 0 and burst > 0 else None
        ctx.cancel_timer("answer")
        self._was_in = True
        self._patience = min(self.settings.silent_after, msg.ping_every * 5 // 2)
        ctx.set_timer("silence", self._patience, background=True)
        ctx.report(Online(len(msg.members) == 1, msg.now - ctx.now))
        self._roster(ctx, msg.members, msg.revision)

    def _news(self, ctx: Ctx, msg: Message) -> None:
        match msg:
            case Relayed(party, payload):
                self._open(ctx, party, payload, to_all=False)
            case Announced(party, payload):
                self._open(ctx, party, payload, to_all=True)
            case PeerJoined(member, revision):
                self._see(ctx, member)
                self._revise(ctx, revision)
            case PeerLeft(party, why, _, revision):
                if self.present.pop(party, None) is not None:
                    ctx.report(Absent(party, why))
                self._revise(ctx, revision)
            case Roster(members, revision):
                self._roster(ctx, members, revision)
            case LeftOut(party):
                ctx.note(notes.RelayOverflow(peer=party))
            case Ping(revision):
                ctx.send(SERVER, Pong())
                if revision != self.revision:
                    self._ask_who(ctx)
            case Wanted():
                ctx.report(msg)

    def _revise(self, ctx: Ctx, revision: int) -> None:
        if revision > self.revision + 1:
            self._ask_who(ctx)  # some news were lost on the way
        self.revision = max(self.revision, revision)

    def _ask_who(self, ctx: Ctx) -> None:
        if not self._asked_who:
            self._asked_who = True
            ctx.send(SERVER, Who())

    # --- who is here ----------------------------------------------------------------------

    def _roster(self, ctx: Ctx, members: tuple[Member, ...], revision: int) -> None:
        self._asked_who = False
        self.revision = revision
        online = {m.party for m in members if m.online}
        for party in [p for p in sorted(self.present) if p not in online]:
            del self.present[party]
            ctx.report(Absent(party, "not in the session any more"))
        for member in members:
            if member.online and self.present.get(member.party) != member:
                self._see(ctx, member)

    def _see(self, ctx: Ctx, member: Member) -> None:
        """A member as the server shows it: check it, pin its key, and tell our party."""
        party = member.party
        if party == self.membership.party or not 1 <= party <= self.membership.n:
            if member.key != self.membership.identity.public:
                ctx.blame(SERVER, f"shows an impossible party {party}", Strength.KNOWN)
            return
        fault = self._fault_of(member)
        if fault is not None:
            ctx.blame(party, f"{fault}: the party, or the server in its name", Strength.SUSPECT)
            return
        if ctx.stored.get(f"pin-{party}") != member.key:
            self.pins[party] = member.key
            ctx.persist(f"pin-{party}", member.key)
        self.present[party] = member
        for known in [k for k in self._texts_heard if k[0] == party]:
            if known[1] != member.incarnation:
                del self._texts_heard[known]
        ctx.report(Present(member))

    def _fault_of(self, member: Member) -> str | None:
        pin = self.pins.get(member.party)
        if pin is None and self.closed_roster:
            return "is not in our roster"
        if pin is not None and pin != member.key:
            return "came with another key than before"
        if member.key == self.membership.identity.public:
            return "has our own key"  # we may have sat there once: the presence is genuine
        if len(member.key) != PUBLIC_BYTES or len(member.incarnation) != NONCE_BYTES:
            return "has an invalid key or incarnation"
        parts = presence_parts(
            self.membership.session, member.party, member.incarnation, member.epoch
        )
        if not verify(member.key, PRESENCE_LABEL, parts, member.presence):
            return "has a presence with a wrong signature"
        return None

    # --- what others send -----------------------------------------------------------------

    def _open(self, ctx: Ctx, party: Party, raw: msgspec.Raw, *, to_all: bool) -> None:
        member = self.present.get(party)
        if member is None:
            self._ask_who(ctx)  # lost news, or a party that we refuse to know
            return
        try:
            payload = decode_payload(bytes(raw))
        except msgspec.DecodeError as error:
            raise PeerFault(
                f"malformed payload: {error}", party=party, strength=Strength.SUSPECT
            ) from None
        if isinstance(payload, Text):
            self._hear(ctx, member, payload, to_all)
        elif not to_all:
            ctx.report(Arrived(party, payload))

    def _hear(self, ctx: Ctx, member: Member, msg: Text, to_all: bool) -> None:
        party = member.party
        parts = text_parts(self.membership.session, party, member.incarnation, msg)
        if not verify(member.key, TEXT_LABEL, parts, msg.signature):
            raise PeerFault(
                "a text that it did not sign: the party, or the server in its name",
                party=party,
                strength=Strength.SUSPECT,
            )
        if msg.to != (0 if to_all else self.membership.party):
            raise PeerFault("a text meant for another", party=party, strength=Strength.SUSPECT)
        if msg.number <= self._texts_heard.get((party, member.incarnation), 0):
            raise PeerFault(
                f"the server replays a message of party {party}",
                party=SERVER,
                strength=Strength.SUSPECT,
            )
        self._texts_heard[party, member.incarnation] = msg.number
        ctx.report(Heard(party, msg.text, to_all))
