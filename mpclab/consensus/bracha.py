"""`bracha`: reliable broadcast. All honest parties deliver one value of the dealer's, or none.

G. Bracha, "Asynchronous Byzantine agreement protocols", Information and Computation 75 (1987),
Fig. 1; analysed by Imbs and Raynal (arXiv 1510.06882), whose count 2n² − n − 1 this meets.

* Assumes: n > 3f, authenticated links, *no* timing. What is lost on a link is asked for again.
* Guarantees, among honest parties: **agreement** (no two deliver different values of one
  broadcast), **totality** (if one delivers, all do), **validity** (an honest dealer's value is
  delivered). Three delays.
* Does not promise that a broadcast of a *faulty* dealer ends, and orders nothing: it is not
  consensus. Here whoever submits an operation is its dealer. When two parties submit one
  operation, each party decides on the first that it delivers. Both values are valid; they say
  the same and differ in the certificate only, as long as two certificates share an honest
  approval: more than (n+f)/2 must approve. With a lower threshold a proposer that equivocates
  gets two certificates, two dealers carry them, and honest parties may decide differently.

Why the thresholds: two sets of (n+f)//2 + 1 ECHOs share an honest party, and it echoed one value
only, so no two honest parties send READY for different values. READYs from f + 1 hold an honest
one, so it is safe to join them; of 2f + 1 READYs f + 1 are honest and make everybody join, hence
totality. ECHO carries the value and READY its hash alone: where a READY is, a quorum of ECHOs
was sent, most of them by honest parties who told everybody.

Deviations: an honest party echoes only a *valid* value. Retransmission (`Again`) and what is
persisted are ours.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec

from mpclab.consensus.agreement import Agreement, Decided, Submit
from mpclab.consensus.quorum import Tally, at_least, byzantine_quorum, fingerprint, max_faulty
from mpclab.core import notes
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message


class BrachaInit(Message, frozen=True):
    """The dealer's value."""

    op: str
    value: bytes


class BrachaEcho(Message, frozen=True):
    """I heard this from the dealer."""

    dealer: Party
    op: str
    value: bytes


class BrachaReady(Message, frozen=True):
    """I know that no honest party will be ready for another value."""

    dealer: Party
    op: str
    digest: bytes


class BrachaAgain(Message, frozen=True):
    """I lack something of this broadcast (of any, without an op): tell me again what you said."""

    dealer: Party
    op: str


class Said(msgspec.Struct, frozen=True):
    """What we said in one broadcast, as persisted: we never say anything else in it."""

    echoed: bytes | None = None
    ready: bytes | None = None  # a digest
    delivered: bytes | None = None


@dataclass(slots=True)
class _Broadcast:
    said: Said = field(default_factory=Said)
    values: dict[bytes, bytes] = field(default_factory=dict)  # by digest, from INIT and ECHO
    init: bytes | None = None
    echoes: Tally = field(default_factory=Tally)
    readies: Tally = field(default_factory=Tally)
    tries: int = 0


class Bracha(Agreement):
    """One broadcast for each (dealer, operation)."""

    title = "Bracha reliable broadcast"

    OPEN: ClassVar = 256
    """Broadcasts of one dealer that may be undelivered at once."""
    TRIES: ClassVar = 6
    """Times that we ask again before we count a broadcast as blocked."""

    @classmethod
    def check_size(cls, n: int) -> None:
        at_least(n, 4, cls.title, "n > 3f, and with fewer nobody may lie")

    def start(self, ctx: Ctx) -> None:
        self.f = max_faulty(ctx.n)
        self.echo_quorum = byzantine_quorum(ctx.n)
        self.broadcasts: dict[tuple[Party, str], _Broadcast] = {}
        self.open: dict[Party, int] = {}
        self.done: set[str] = set()
        for key, data in ctx.stored.items():
            _, dealer, op = key.split("/", 2)
            said = msgspec.msgpack.decode(data, type=Said)
            self.broadcasts[int(dealer), op] = _Broadcast(said)
            if said.delivered is not None:
                self._decide(ctx, op, said.delivered)
            else:
                self._opened(ctx, int(dealer), op)
        if self.broadcasts:
            ctx.multicast(ctx.others, BrachaAgain(0, ""))

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value) if self.fits(op, value) and op not in self.done:
                it = self._find(ctx, ctx.me, op)
                if it.said.echoed is None:
                    # Our own ECHO is stored before the INIT is said: should we crash in between
                    # or just after, we never offer another value.
                    self._say(ctx, ctx.me, op, it, echoed=value)
                    ctx.note(notes.Phase(phase="init", op=op))
                    ctx.broadcast(BrachaInit(op, value))
                    ctx.broadcast(BrachaEcho(ctx.me, op, value))

    def on_message(
        self, ctx: Ctx, sender: Party, msg: BrachaInit | BrachaEcho | BrachaReady | BrachaAgain
    ) -> None:
        match msg:
            case BrachaEcho(dealer, op, value):
                it = self._find(ctx, dealer, op)
                digest = fingerprint(value)
                if not it.echoes.add(sender, digest):
                    raise PeerFault(f"echoed two values of {op}")
                it.values.setdefault(digest, value)
                self._advance(ctx, dealer, op, it, digest)
            case BrachaReady(dealer, op, digest):
                it = self._find(ctx, dealer, op)
                if not it.readies.add(sender, digest):
                    raise PeerFault(f"was ready for two values of {op}")
                self._advance(ctx, dealer, op, it, digest)
            case BrachaInit(op, value):
                self._on_init(ctx, sender, op, value)
            case BrachaAgain(dealer, op):
                self._repeat(ctx, sender, dealer, op)

    def _on_init(self, ctx: Ctx, dealer: Party, op: str, value: bytes) -> None:
        it = self._find(ctx, dealer, op)
        if not self.fits(op, value):
            raise PeerFault(f"dealt a value of {op} that is not valid")
        if it.init is not None and it.init != value:
            raise PeerFault(f"dealt two values of {op}")
        it.init = value
        it.values[fingerprint(value)] = value
        if it.said.echoed is None:  # upon INIT: send ECHO, once
            self._say(ctx, dealer, op, it, echoed=value)
            ctx.broadcast(BrachaEcho(dealer, op, value))

    def _advance(self, ctx: Ctx, dealer: Party, op: str, it: _Broadcast, digest: bytes) -> None:
        readies = it.readies.count(digest)
        if it.said.ready is None and (
            it.echoes.count(digest) >= self.echo_quorum  # upon enough ECHOs,
            or readies > self.f  # or f + 1 READYs: send READY, once
        ):
            self._say(ctx, dealer, op, it, ready=digest)
            ctx.note(notes.Phase(phase="ready", op=op, dealer=dealer))
            ctx.broadcast(BrachaReady(dealer, op, digest))  # ours is counted later in this step
        value = it.values.get(digest)
        if readies > 2 * self.f and value is not None and it.said.delivered is None:
            # upon 2f + 1 READYs: deliver
            self._say(ctx, dealer, op, it, delivered=value)
            self.open[dealer] -= 1
            ctx.cancel_timer(f"again/{dealer}/{op}")
            self._decide(ctx, op, value)

    def _decide(self, ctx: Ctx, op: str, value: bytes) -> None:
        if op not in self.done and self.fits(op, value):
            self.done.add(op)
            ctx.note(notes.Decided(op=op, index=None))
            ctx.output(Decided(op, value))

    def _say(self, ctx: Ctx, dealer: Party, op: str, it: _Broadcast, **what: Any) -> None:
        it.said = msgspec.structs.replace(it.said, **what)
        ctx.persist(f"said/{dealer}/{op}", msgspec.msgpack.encode(it.said))

    # --- broadcasts come and go -----------------------------------------------------------

    def _find(self, ctx: Ctx, dealer: Party, op: str) -> _Broadcast:
        it = self.broadcasts.get((dealer, op))
        if it is None:
            if not 1 <= dealer <= ctx.n:
                raise PeerFault(f"named a dealer {dealer} that is no member")
            if self.open.get(dealer, 0) >= self.OPEN:
                raise PeerFault(f"{self.OPEN} broadcasts of one dealer are open", party=dealer)
            it = self.broadcasts[dealer, op] = _Broadcast()
            self._opened(ctx, dealer, op)
        return it

    def _opened(self, ctx: Ctx, dealer: Party, op: str) -> None:
        self.open[dealer] = self.open.get(dealer, 0) + 1
        ctx.set_timer(f"again/{dealer}/{op}", self.patience)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        _, number, op = name.split("/", 2)
        dealer = int(number)
        it = self.broadcasts[dealer, op]
        it.tries += 1
        ctx.multicast(ctx.others, BrachaAgain(dealer, op))
        self._repeat(ctx, 0, dealer, op)  # and who lacks ours gets it
        if it.tries == self.TRIES:
            missing = [p for p in ctx.members if p not in it.readies.said]
            ctx.note(notes.Blocked(op=op, waiting_for=tuple(missing), why="not enough READYs"))
        ctx.set_timer(name, self.patience, background=it.tries >= self.TRIES)

    def _repeat(self, ctx: Ctx, to: Party, dealer: Party, op: str) -> None:
        """Say again what we said, to `to` (0: all others)."""
        asked = [(dealer, op)] if op else sorted(self.broadcasts)[-self.OPEN :]
        for key in asked:
            if (it := self.broadcasts.get(key)) is None:
                continue
            whom = ctx.others if to == 0 else (to,)
            said = it.said
            if said.echoed is not None:
                if key[0] == ctx.me:
                    ctx.multicast(whom, BrachaInit(key[1], said.echoed))
                ctx.multicast(whom, BrachaEcho(*key, said.echoed))
            if said.ready is not None:
                ctx.multicast(whom, BrachaReady(*key, said.ready))
