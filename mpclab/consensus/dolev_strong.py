"""`dolev-strong`: broadcast in f + 1 rounds, with signatures, however many lie.

D. Dolev and H. R. Strong, "Authenticated algorithms for Byzantine agreement", SIAM Journal on
Computing 12 (1983); with a start time instead of common rounds, as F. Cristian, H. Aghili, H. R.
Strong and D. Dolev have it ("Atomic broadcast: from simple message diffusion to Byzantine
agreement", FTCS-15, 1985).

* Assumes: unforgeable signatures, f < n liars, and **synchrony**: what an honest party says is here
  within `delta`, and all clocks agree. Nothing else in the family leans on time like that: one late
  message may split it (`examples/late_relay.yaml`). A party that is down counts among the f.
* Guarantees: all honest parties come to the same end of a broadcast at the same time, its sender's
  value if that is honest. Since broadcasts end in the same order everywhere, the first that ends
  well decides its operation: never two meanings of one.
* Does not wait for anybody, so no number of silent parties stops it; silence means "nothing was
  sent". That is what it needs the clock for.

The whole protocol. The sender signs its value and the time T, and sends them to all. A *chain* is a
value with the signatures of k different parties, the sender's first. One that comes by T + k·delta
and shows a new value is *extracted*; if k ≤ f, the receiver adds its own signature and passes it on
to all that have not signed. Two values are enough to know a liar by, so no more are passed on. At
T + (f + 1)·delta the sender's value is the one that was extracted, and it is faulty if there are
two: both chains together prove it.

Why it is safe. What an honest party extracts in time for k ≤ f, its own chain of k + 1 brings to
everybody in time. A chain of f + 1 signatures has an honest one, and that party brought the value
to everybody earlier. So all honest parties extract the same value, or all two. A chain that may be
one signature short proves nothing of the kind: a liar shows it to one party at the last moment
(`wrong-dolev-strong`).

Without failures (n − 1)² messages: the sender's n − 1 with one signature, and one relay of each
other to n − 2 with two. Each party signs once. It takes f + 1 rounds of delta, however quick the
network is and however few lie. At the worst each party passes two values on: O(n²) messages of up
to f + 1 signatures, the O(n²f) of the paper.

Deviations. A receiver signs the value and T, not the chain before it: what counts is who signed.
It relays at once, not at the end of a round. f is (n − 1)//2 unless the option `liars` says
otherwise: a party that was down believes what f + 1 others say of it (`DolevStrongSettled`), and
does not judge broadcasts that began before it was up. Whoever was not heard of during a broadcast
is told its end; so is everybody, when somebody broadcasts another meaning of what is decided. A
party that comes back takes part at once, and decides nothing by itself before it would have been
told how broadcasts ended that began while it was down. What another proposed is broadcast when that
did not come about, by one party after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec

from mpclab.consensus.agreement import Agreement, Decided, Learnt, Submit
from mpclab.consensus.options import Options, count, duration
from mpclab.consensus.quorum import at_least, fingerprint, signed_by
from mpclab.core import notes
from mpclab.core.errors import PeerFault, Strength
from mpclab.core.ids import Party, format_duration
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message

SIGNED = "mpclab dolev-strong"
"""The label under which values are signed."""

Time: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""µs on everybody's clock."""
Chain: TypeAlias = tuple[tuple[Party, bytes], ...]
"""Who signed, the sender of the broadcast first, with the signatures."""
Key: TypeAlias = tuple[int, Party, str]
"""(T, sender, operation): the name of a broadcast."""


class DolevStrongChain(Message, frozen=True):
    """The first signer broadcasts `value` since the time `begun`, and these know of it."""

    op: str
    begun: Time
    value: bytes
    chain: Chain


class DolevStrongSettled(Message, frozen=True):
    """I have decided this."""

    op: str
    value: bytes


@dataclass(frozen=True, kw_only=True)
class DolevStrongOptions(Options):
    """The settings of Dolev–Strong, the same for all parties."""

    delta: int | None = duration(
        None, "within which every message arrives; a round (a quarter of patience)"
    )
    liars: int = count(0, "f, for f + 1 rounds (0: as many as leave a majority)", least=0, most=64)

    @property
    def round(self) -> int:
        """µs."""
        return self.patience // 4 if self.delta is None else self.delta


@dataclass(slots=True)
class Broadcast:
    """One broadcast until its end.

    Attributes:
        values: those extracted, by digest; two at the most.
        heard: who sent us a chain of it.
    """

    values: dict[bytes, bytes] = field(default_factory=dict)
    heard: set[Party] = field(default_factory=set)


class DolevStrong(Agreement):
    """One broadcast for each (time, sender, operation)."""

    title = "Dolev-Strong broadcast"
    exclusive = True
    synchronous = True
    options_type = DolevStrongOptions
    options: DolevStrongOptions

    HELPED: ClassVar = 6
    """Times that we tell the end of a broadcast to those that were not heard of in it."""
    CLAIMS: ClassVar = 256
    """Ends told by one party that we keep, of operations that are not decided here."""

    f: int
    delta: int
    since: int
    """We were up since then, µs: earlier broadcasts are not ours to judge."""
    doubt: int
    """Until then, µs, others may tell us how an earlier broadcast ended."""
    running: dict[Key, Broadcast]
    ours: dict[str, bytes]
    """The value that we broadcast for an operation, and no other."""
    standby: dict[str, bytes]
    """Values that we broadcast unless another's broadcast of them ends well."""
    done: dict[str, bytes]
    """Operations decided, and how."""
    claims: dict[Party, dict[str, bytes]]
    """What others say was decided."""
    helped: dict[str, set[Party]]
    """By operation: those that are told how it ended."""
    tries: dict[str, int]
    warned: dict[str, int]
    """By operation: when we last told everybody its end, µs."""

    @classmethod
    def check_size(cls, n: int) -> None:
        at_least(n, 3, cls.title, "with two there is nobody to pass a value on to")

    @classmethod
    def liars(cls, n: int) -> int:
        return (n - 1) // 2

    @property
    def lasts(self) -> int:
        """From the start of a broadcast to its end, µs."""
        return (self.f + 1) * self.delta

    def start(self, ctx: Ctx) -> None:
        self.f = min(self.options.liars or self.liars(ctx.n), ctx.n - 1)
        self.delta = self.options.round
        self.since = self.doubt = ctx.now
        if ctx.stored:  # what began before ends within `lasts`, and is told within delta
            self.doubt += self.lasts + 1 + self.delta
        else:
            ctx.persist("up", b"")
        self.running, self.standby, self.claims = {}, {}, {}
        self.helped, self.tries, self.warned = {}, {}, {}
        stored = ctx.stored
        self.done = {k.removeprefix("done/"): v for k, v in stored.items() if k[:5] == "done/"}
        self.ours = {k.removeprefix("ours/"): v for k, v in stored.items() if k[:5] == "ours/"}
        for op in list(self.done):
            self._tell(ctx, op)
        for op in self.ours.keys() - self.done.keys():
            ctx.set_timer(f"turn/{op}", 0)

    # --- "the sender signs its value and sends it to all" -----------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value, rank) if self.fits(op, value) and op not in self.done:
                if rank == 0:
                    self._begin(ctx, op, value)
                elif op not in self.standby:
                    self.standby[op] = value
                    self._stand_by(ctx, op, rank)
            case Learnt(Decided(op, value)) if op not in self.done:
                self._finish(ctx, op, value)

    def _stand_by(self, ctx: Ctx, op: str, rank: int) -> None:
        ctx.set_timer(f"turn/{op}", rank * max(self.patience, self.lasts + 2 * self.delta))

    def _begin(self, ctx: Ctx, op: str, value: bytes) -> None:
        if any(sender == ctx.me and known == op for _, sender, known in self.running):
            return
        value = self.ours.setdefault(op, value)
        ctx.persist(f"ours/{op}", value)
        ctx.note(notes.Phase(phase="broadcast", op=op, round=1))
        msg = self._signed(ctx.me, DolevStrongChain(op, ctx.now, value, ()))
        self._extract(ctx, (ctx.now, ctx.me, op), value)
        ctx.multicast(ctx.others, msg)

    def _signed(self, me: Party, msg: DolevStrongChain) -> DolevStrongChain:
        """`msg`, with our signature after the others."""
        sender = msg.chain[0][0] if msg.chain else me
        signature = self.identity.sign(SIGNED, *self._parts(sender, msg))
        return msgspec.structs.replace(msg, chain=(*msg.chain, (me, signature)))

    def _parts(self, sender: Party, msg: DolevStrongChain) -> tuple[str | int | bytes, ...]:
        return self.session, sender, msg.op, msg.begun, fingerprint(msg.value)

    # --- chains ----------------------------------------------------------------------------

    def on_message(
        self, ctx: Ctx, sender: Party, msg: DolevStrongChain | DolevStrongSettled
    ) -> None:
        match msg:
            case DolevStrongChain():
                self._on_chain(ctx, sender, msg)
            case DolevStrongSettled(op, value):
                self._on_settled(ctx, sender, op, value)

    def _on_chain(self, ctx: Ctx, sender: Party, msg: DolevStrongChain) -> None:
        signers = [p for p, _ in msg.chain]
        if not signers or signers[-1] != sender or len(set(signers)) < len(signers):
            raise PeerFault(f"sent a chain of {msg.op} that it did not sign last, or one twice")
        if not self.fits(msg.op, msg.value):
            raise PeerFault(f"sent a value of {msg.op} that is not valid")
        key = (msg.begun, signers[0], msg.op)
        in_time = self._in_time(ctx, sender, msg)
        if (known := self.done.get(msg.op)) is not None:
            self._object(ctx, sender, msg, known)
            return
        if msg.begun < self.since or not in_time:
            return
        it = self.running.get(key) or Broadcast()
        if fingerprint(msg.value) not in it.values and len(it.values) < 2:
            if not self.keys.keys() >= set(signers):
                return  # not introduced yet
            if not self.proves(msg):
                raise PeerFault(f"sent a chain of {msg.op} with a wrong signature")
            self._extract(ctx, key, msg.value)
            if len(signers) <= self.f:  # … adds its own signature and passes it on
                ctx.note(notes.Phase(phase="relay", op=msg.op, round=len(signers) + 1))
                to = [p for p in ctx.others if p not in signers]
                ctx.multicast(to, self._signed(ctx.me, msg))
        self.running[key].heard.add(sender)

    def _in_time(self, ctx: Ctx, sender: Party, msg: DolevStrongChain) -> bool:
        """Whether a chain of k signatures is here by T + k·delta."""
        if ctx.now < msg.begun:
            self._untimely(ctx, sender, msg.op, "ahead of its time", msg.begun - ctx.now)
            return False
        late = ctx.now - msg.begun - self.rounds_of(len(msg.chain)) * self.delta
        if late > 0:
            self._untimely(ctx, sender, msg.op, "late", late)
        return late <= 0

    def rounds_of(self, signatures: int) -> int:
        """The last round in which a chain of so many signatures is good."""
        return min(signatures, self.f + 1)

    def _untimely(self, ctx: Ctx, sender: Party, op: str, how: str, by: int) -> None:
        assumed = f"every message arrives within {format_duration(self.delta)}, and clocks agree"
        told = f"{format_duration(by)} {how}"
        ctx.note(notes.Untimely(op=op, sender=sender, how=told, assumed=assumed))

    def proves(self, msg: DolevStrongChain) -> bool:
        parts = self._parts(msg.chain[0][0], msg)
        return all(signed_by(self.keys[p], SIGNED, parts, s) for p, s in msg.chain)

    def _extract(self, ctx: Ctx, key: Key, value: bytes) -> None:
        it = self.running.setdefault(key, Broadcast())
        it.values[fingerprint(value)] = value
        self._clock(ctx)

    # --- "at T + (f + 1)·delta" -------------------------------------------------------------

    def _clock(self, ctx: Ctx) -> None:
        if self.running:
            end = self._end_of(min(self.running))
            ctx.set_timer("end", end + 1 - ctx.now)  # what comes at the end is in time

    def _end_of(self, key: Key) -> int:
        return max(key[0] + self.lasts, self.doubt)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        kind, _, op = name.partition("/")
        match kind:
            case "end":
                for key in sorted(self.running):  # the order in which they end, for everybody
                    if self._end_of(key) < ctx.now:
                        self._end(ctx, key, self.running.pop(key))
                self._clock(ctx)
            case "turn":
                value = self.standby.get(op) or self.ours.get(op)
                if value is not None and op not in self.done:
                    if any(known == op for _, _, known in self.running):
                        self._stand_by(ctx, op, 1)
                    else:
                        self._begin(ctx, op, value)
            case "help":
                self._help(ctx, op)

    def _end(self, ctx: Ctx, key: Key, it: Broadcast) -> None:
        _, sender, op = key
        if len(it.values) > 1:
            ctx.blame(sender, f"broadcast two values of {op}", Strength.PROOF)
            if op not in self.done:
                why = f"party {sender} broadcast two values"
                ctx.note(notes.Blocked(op=op, waiting_for=(), why=why))
        elif op not in self.done:
            self._finish(ctx, op, *it.values.values())
            self._tell(ctx, op)
            self._tell_doubters(ctx, op)
            if ctx.me != sender and self.f:  # nobody passes it on to its sender
                self.helped[op] = set(ctx.others) - it.heard - {sender}
                self._help(ctx, op)

    def _finish(self, ctx: Ctx, op: str, value: bytes) -> None:
        self.done[op] = value
        ctx.persist(f"done/{op}", value)
        if self.ours.pop(op, None) is not None:
            ctx.persist(f"ours/{op}", None)
        if self.standby.pop(op, None) is not None:
            ctx.cancel_timer(f"turn/{op}")
        for told in self.claims.values():
            told.pop(op, None)

    def _tell(self, ctx: Ctx, op: str) -> None:
        ctx.note(notes.Decided(op=op, index=None))
        ctx.output(Decided(op, self.done[op]))

    # --- those that were away, or are late ----------------------------------------------------

    def _help(self, ctx: Ctx, op: str) -> None:
        """Tell those that we did not hear of in the broadcast, at longer and longer intervals."""
        to, tries = self.helped.get(op), self.tries.get(op, 0)
        if not to or tries == self.HELPED:
            self.helped.pop(op, None)
            self.tries.pop(op, None)
            return
        self.tries[op] = tries + 1
        ctx.multicast(sorted(to), DolevStrongSettled(op, self.done[op]))
        ctx.set_timer(f"help/{op}", self.patience << tries, background=True)

    def _tell_doubters(self, ctx: Ctx, op: str) -> None:
        """Who passed on another broadcast of it may have been down when this one began."""
        others = [it for (_, _, known), it in self.running.items() if known == op]
        if to := sorted(set[Party]().union(*(it.heard for it in others))):
            ctx.multicast(to, DolevStrongSettled(op, self.done[op]))

    def _object(self, ctx: Ctx, sender: Party, msg: DolevStrongChain, known: bytes) -> None:
        """Somebody broadcasts another meaning of what is decided: tell everybody, now and then, and
        who passes it on each time, since it may not know."""
        if self.means(known) == self.means(msg.value):
            return
        to: tuple[Party, ...] = (sender,)
        if ctx.now - self.warned.get(msg.op, -self.patience) >= self.patience:
            self.warned[msg.op] = ctx.now
            to = ctx.others
        ctx.multicast(to, DolevStrongSettled(msg.op, known))

    def _on_settled(self, ctx: Ctx, sender: Party, op: str, value: bytes) -> None:
        if not self.fits(op, value):
            raise PeerFault(f"settled {op} with a value that is not valid")
        if op in self.done:
            self.helped.get(op, set()).discard(sender)
            return
        told = self.claims.setdefault(sender, {})
        told[op] = value
        if len(told) > self.CLAIMS:
            del told[next(iter(told))]
        meaning = self.means(value)
        same = [p for p, of in self.claims.items() if op in of and self.means(of[op]) == meaning]
        if len(same) > self.f:  # one of them is honest
            self._finish(ctx, op, value)
            self._tell(ctx, op)
            ctx.multicast(ctx.others, DolevStrongSettled(op, value))

    # --- lies, for adversaries alone ----------------------------------------------------------

    def variant(self, msg: Message, values: Mapping[bytes, bytes]) -> Message | None:
        """Another value in our own broadcast, or, where there is none, another time."""
        if isinstance(msg, DolevStrongChain):
            if len(msg.chain) > 1:
                return None  # its sender signed no other
            other = values.get(msg.value)
            begun = msg.begun if other is not None else msg.begun + 1
            sender = msg.chain[0][0]
            return self._signed(sender, DolevStrongChain(msg.op, begun, other or msg.value, ()))
        return super().variant(msg, values)

    def resigned(self, msg: Message) -> Message:
        if isinstance(msg, DolevStrongChain) and msg.chain:
            return self._signed(
                msg.chain[-1][0], msgspec.structs.replace(msg, chain=msg.chain[:-1])
            )
        return msg
