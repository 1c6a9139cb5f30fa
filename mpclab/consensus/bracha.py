"""`bracha`: reliable broadcast. All honest parties deliver one value of the dealer's, or none.

G. Bracha, "Asynchronous Byzantine agreement protocols", Information and Computation 75 (1987),
Fig. 1; analysed by Imbs and Raynal (arXiv 1510.06882), whose count 2n² − n − 1 this meets.

* Assumes: n > 3f, authenticated links, *no* timing. Messages lost on a link are requested again.
* Guarantees, among honest parties: **agreement** (no two deliver different values of one
  broadcast), **totality** (if one delivers, all do), **validity** (an honest dealer's value is
  delivered). Three delays.
* Does not promise that a broadcast of a *faulty* dealer ends, and orders nothing: it is not
  consensus. Here whoever submits an operation is its dealer. When two parties submit one
  operation, each party decides on the first that it delivers; the values may differ in their
  proofs, and say the same.
* **One meaning.** An honest party echoes one *meaning* of an operation only, whoever deals it, and
  a certificate of abort is one too. So no two honest parties decide an operation differently, also
  where a proposer has two versions approved, or a liar's vote that counts approves to one party
  and rejects to others. Then some may echo the one and some the other, and neither is delivered:
  the operation expires, as if that liar had kept silent. A log (`pbft`, `hotstuff`) chooses.

Why the thresholds: two sets of (n+f)//2 + 1 ECHOs share an honest party, and it echoed one value
only, so no two honest parties send READY for different values. READYs from f + 1 hold an honest
one, so it is safe to join them; of 2f + 1 READYs f + 1 are honest and make everybody join, hence
totality. Nor do two broadcasts of one operation deliver two meanings: the first honest READY in
each comes from a quorum of ECHOs, sent before anything of the other meaning was delivered, and the
honest party that the two quorums share would have echoed both.

ECHO carries the value and READY its hash alone: where a READY is, a quorum of ECHOs was sent, most
of them by honest parties who told everybody.

Ghosts. Liars can speak of broadcasts that do not exist. A broadcast takes a place of its own, a
timer and room, when its dealer deals it (an INIT comes over the dealer's own link) or when f + 1
parties speak of it; before that it is hearsay, at the expense of the party that speaks.

Deviations: an honest party echoes only a *valid* value. Retransmission (`BrachaAgain`), at longer
and longer intervals, and what is persisted are ours. A party that submits what another proposed
deals it only when that broadcast does not come about, one such party after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar, TypeAlias

import msgspec

from mpclab.consensus.agreement import Agreement, Decided, Learnt, Submit
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
    """Our own messages in one broadcast, as persisted: we never say anything else in it."""

    echoed: bytes | None = None
    ready: bytes | None = None  # a digest
    delivered: bytes | None = None


Key: TypeAlias = tuple[Party, str]
"""(dealer, operation): the name of a broadcast."""


@dataclass(slots=True)
class Broadcast:
    """The state of one broadcast.

    Attributes:
        open: it exists for sure: we heard its INIT from the dealer, or f + 1 parties speak of it.
        values: by digest, from INIT and ECHO.
        speakers: whom we heard of it from, and how many bytes of values each made us keep.
        tries: how often we asked again.
    """

    said: Said = field(default_factory=Said)
    open: bool = False
    values: dict[bytes, bytes] = field(default_factory=dict)
    init: bytes | None = None
    echoes: Tally = field(default_factory=Tally)
    readies: Tally = field(default_factory=Tally)
    speakers: dict[Party, int] = field(default_factory=dict)
    tries: int = 0


class Hearsay:
    """Broadcasts that we know by hearsay alone: ECHOs and READYs of f parties or fewer.

    Up to f liars can speak of broadcasts that do not exist. Each of them does so at its own
    expense: what one party speaks of is bounded, its oldest is forgotten first, and nothing of
    it is asked for. A broadcast that an honest party names exists, so others will name it too.
    """

    ROOM: ClassVar = 256
    BYTES: ClassVar = 4 * 1024 * 1024

    def __init__(self) -> None:
        self._keys: dict[Party, dict[Key, None]] = {}  # by speaker, oldest first
        self._bytes: dict[Party, int] = {}

    def add(self, speaker: Party, key: Key, size: int) -> list[Key]:
        """`speaker` speaks of `key`, with a value of `size` bytes; what it has no more room for."""
        mine = self._keys.setdefault(speaker, {})
        mine[key] = None
        self._bytes[speaker] = self._bytes.get(speaker, 0) + size
        over = max(0, len(mine) - self.ROOM)
        if self._bytes[speaker] > self.BYTES:
            over = max(over, len(mine) // 2)  # half of it at once: it is a flood
        return list(islice(mine, over))

    def forget(self, speaker: Party, key: Key, size: int) -> None:
        self._keys[speaker].pop(key, None)
        self._bytes[speaker] -= size


class Bracha(Agreement):
    """One broadcast for each (dealer, operation)."""

    title = "Bracha reliable broadcast"
    exclusive = True
    archives = frozenset({"said"})
    unvaried = (BrachaAgain,)

    OPEN: ClassVar = 256
    """Broadcasts of one dealer that may be undelivered at once."""
    TRIES: ClassVar = 3
    """Times that we ask again, at doubling intervals, before we count a broadcast as blocked."""
    HELPED: ClassVar = 6
    """Times that we say again, unasked, what we delivered, to those that may lack it."""
    SLOWEST: ClassVar = 6
    """Patiences between two tries double up to 2 to the power of this."""

    f: int
    echo_quorum: int
    broadcasts: dict[Key, Broadcast]
    hearsay: Hearsay
    dealt: dict[Party, set[str]]
    """By dealer: the undecided operations that it opened by its own INIT."""
    done: set[str]
    """Operations decided."""
    stance: dict[str, bytes]
    """The meaning of each operation that we echo, and no other."""
    standby: dict[str, bytes]
    """Values that we deal ourselves unless another's broadcast of them ends."""
    repeated: dict[Party, int]
    """When we last told each party all that we said, µs."""

    @classmethod
    def check_size(cls, n: int) -> None:
        at_least(n, 4, cls.title, "n > 3f, and with fewer nobody may lie")

    def start(self, ctx: Ctx) -> None:
        self.f = max_faulty(ctx.n)
        self.echo_quorum = byzantine_quorum(ctx.n)
        self.broadcasts, self.hearsay, self.dealt = {}, Hearsay(), {}
        self.done, self.standby, self.repeated = set(), {}, {}
        self.stance = {}
        for stored, data in ctx.stored.items():
            _, number, op = stored.split("/", 2)
            key = int(number), op
            said = msgspec.msgpack.decode(data, type=Said)
            it = self.broadcasts[key] = Broadcast(said, open=True)
            if said.echoed is not None:  # what we said counts for us too, as it does for others
                it.echoes.add(ctx.me, fingerprint(said.echoed))
                it.values[fingerprint(said.echoed)] = said.echoed
                self.stance.setdefault(op, self.means(said.echoed))
            if said.ready is not None:
                it.readies.add(ctx.me, said.ready)
            if said.delivered is not None:
                self.stance[op] = self.means(said.delivered)
                self._decide(ctx, op, said.delivered)
            else:
                self._wait(ctx, key, it)
        if self.broadcasts:
            ctx.multicast(ctx.others, BrachaAgain(0, ""))

    # --- dealing --------------------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value, rank) if self.fits(op, value) and op not in self.done:
                if rank == 0:
                    self._deal(ctx, op, value)
                elif op not in self.standby:
                    # Each broadcast costs 2n² messages: we deal what another proposed only when
                    # it does not come about, and one of us after the other.
                    self.standby[op] = value
                    ctx.set_timer(f"deal/{op}", rank * self.patience)
            case Learnt(Decided(op, value)) if op not in self.done:
                # An honest party delivered it, so no other meaning can be delivered.
                self.stance[op] = self.means(value)
                self._finish(ctx, op)

    def _deal(self, ctx: Ctx, op: str, value: bytes) -> None:
        key = ctx.me, op
        if not self._stands_by(op, value):
            return  # we echo what contradicts it
        it = self.broadcasts.setdefault(key, Broadcast())
        if it.said.echoed is None:
            # Our own ECHO is stored before the INIT is said: should we crash in between
            # or just after, we never offer another value.
            self._open(ctx, key, it)
            self._say(ctx, key, it, echoed=value)
            ctx.note(notes.Phase(phase="init", op=op))
            ctx.broadcast(BrachaInit(op, value))
            ctx.broadcast(BrachaEcho(ctx.me, op, value))

    # --- Fig. 1 ---------------------------------------------------------------------------

    def on_message(
        self, ctx: Ctx, sender: Party, msg: BrachaInit | BrachaEcho | BrachaReady | BrachaAgain
    ) -> None:
        match msg:
            case BrachaEcho(dealer, op, value):
                digest = fingerprint(value)
                it = self._find(ctx, (dealer, op))
                if it.echoes.said.get(sender, digest) != digest:
                    raise PeerFault(f"echoed two values of {op}")
                new = digest not in it.values
                self._heard(ctx, sender, (dealer, op), it, len(value) if new else 0)
                it.echoes.add(sender, digest)
                it.values.setdefault(digest, value)
                self._advance(ctx, (dealer, op), it, digest)
            case BrachaReady(dealer, op, digest):
                it = self._find(ctx, (dealer, op))
                if it.readies.said.get(sender, digest) != digest:
                    raise PeerFault(f"was ready for two values of {op}")
                self._heard(ctx, sender, (dealer, op), it, 0)
                it.readies.add(sender, digest)
                self._advance(ctx, (dealer, op), it, digest)
            case BrachaInit(op, value):
                self._on_init(ctx, (sender, op), value)
            case BrachaAgain(dealer, op):
                self._on_again(ctx, sender, (dealer, op))

    def _on_init(self, ctx: Ctx, key: Key, value: bytes) -> None:
        dealer, op = key
        it = self._find(ctx, key)
        if not self.fits(op, value):
            raise PeerFault(f"dealt a value of {op} that is not valid")
        if it.init is not None and it.init != value:
            raise PeerFault(f"dealt two values of {op}")
        dealt = self.dealt.setdefault(dealer, set())
        if not it.open and len(dealt) >= self.OPEN:
            return  # it will say so again, once some of what it dealt is decided
        if op not in self.done:
            dealt.add(op)
        self.broadcasts[key] = it
        self._open(ctx, key, it)
        digest = fingerprint(value)
        it.init = value
        it.values[digest] = value
        # upon INIT: send ECHO, once, and never for two meanings
        if it.said.echoed is None and self._stands_by(op, value):
            self._say(ctx, key, it, echoed=value)
            ctx.broadcast(BrachaEcho(dealer, op, value))
        self._advance(ctx, key, it, digest)

    def _advance(self, ctx: Ctx, key: Key, it: Broadcast, digest: bytes) -> None:
        dealer, op = key
        readies = it.readies.count(digest)
        if it.said.ready is None and (
            it.echoes.count(digest) >= self.echo_quorum  # upon enough ECHOs,
            or readies > self.f  # or f + 1 READYs: send READY, once
        ):
            self._say(ctx, key, it, ready=digest)
            ctx.note(notes.Phase(phase="ready", op=op, dealer=dealer))
            ctx.broadcast(BrachaReady(dealer, op, digest))  # ours is counted later in this step
        value = it.values.get(digest)
        if it.said.delivered is None and (
            readies > 2 * self.f and value is not None and self.fits(op, value)
        ):
            # upon 2f + 1 READYs: deliver. No honest party is ready for another value, so where
            # we have not echoed yet this is what we echo, whatever we echoed elsewhere: no other
            # meaning can be delivered any more.
            self._say(ctx, key, it, delivered=value, echoed=it.said.echoed or value)
            self.stance[op] = self.means(value)
            it.tries = 0
            self._decide(ctx, op, value)
            self._help(ctx, key, it)
        elif it.said.delivered is not None and len(it.readies.said) == ctx.n:
            ctx.cancel_timer(f"again/{dealer}/{op}")  # everybody knows

    def _decide(self, ctx: Ctx, op: str, value: bytes) -> None:
        if op not in self.done:
            self._finish(ctx, op)
            ctx.note(notes.Decided(op=op, index=None))
            ctx.output(Decided(op, value))

    def _finish(self, ctx: Ctx, op: str) -> None:
        self.done.add(op)
        for ops in self.dealt.values():
            ops.discard(op)
        if self.standby.pop(op, None) is not None:
            ctx.cancel_timer(f"deal/{op}")

    def _stands_by(self, op: str, value: bytes) -> bool:
        """Whether we have echoed no other meaning of `op`."""
        meaning = self.means(value)
        return self.stance.get(op, meaning) == meaning

    def _say(self, ctx: Ctx, key: Key, it: Broadcast, **what: Any) -> None:
        it.said = msgspec.structs.replace(it.said, **what)
        if it.said.echoed is not None:
            self.stance.setdefault(key[1], self.means(it.said.echoed))
        ctx.persist(f"said/{key[0]}/{key[1]}", msgspec.msgpack.encode(it.said))

    # --- broadcasts come and go -----------------------------------------------------------

    def _find(self, ctx: Ctx, key: Key) -> Broadcast:
        """The state of a broadcast; a new one is not kept yet."""
        if not 1 <= key[0] <= ctx.n:
            raise PeerFault(f"invalid dealer {key[0]}: not a member")
        return self.broadcasts.get(key) or Broadcast()

    def _heard(self, ctx: Ctx, speaker: Party, key: Key, it: Broadcast, size: int) -> None:
        """`speaker` says ECHO or READY, with `size` new bytes. Of f + 1 speakers one is honest."""
        self.broadcasts[key] = it
        if it.open:
            return
        it.speakers[speaker] = it.speakers.get(speaker, 0) + size
        over = self.hearsay.add(speaker, key, size)
        if len(it.speakers) > self.f:
            self._open(ctx, key, it)
            return
        for old in over:
            if old != key:
                self._drop(speaker, old)

    def _drop(self, speaker: Party, key: Key) -> None:
        """Forget what `speaker` said of a broadcast that we know by hearsay."""
        it = self.broadcasts[key]
        self.hearsay.forget(speaker, key, it.speakers.pop(speaker))
        if not it.speakers:
            del self.broadcasts[key]
            return
        it.echoes.remove(speaker)
        it.readies.remove(speaker)
        it.values = {d: v for d, v in it.values.items() if it.echoes.count(d)}

    def _open(self, ctx: Ctx, key: Key, it: Broadcast) -> None:
        """The broadcast exists."""
        if not it.open:
            it.open = True
            for speaker, size in it.speakers.items():
                self.hearsay.forget(speaker, key, size)
            it.speakers.clear()
            self._wait(ctx, key, it)

    # --- what is lost ---------------------------------------------------------------------

    def _wait(self, ctx: Ctx, key: Key, it: Broadcast) -> None:
        """Ask again after a patience, then after two, four, …: until it is delivered here."""
        delay = self.patience << min(it.tries, self.SLOWEST)
        background = it.tries >= self.TRIES or key[1] in self.done
        ctx.set_timer(f"again/{key[0]}/{key[1]}", delay, background=background)

    def _help(self, ctx: Ctx, key: Key, it: Broadcast) -> None:
        """Delivered here. Those whose READY we lack may lack ours: for a while they get it."""
        if len(it.readies.said) < ctx.n and it.tries < self.HELPED:
            self._wait(ctx, key, it)
        else:
            ctx.cancel_timer(f"again/{key[0]}/{key[1]}")

    def on_timer(self, ctx: Ctx, name: str) -> None:
        kind, rest = name.split("/", 1)
        if kind == "deal":
            if (value := self.standby.pop(rest, None)) is not None:
                self._deal(ctx, rest, value)
            return
        number, op = rest.split("/", 1)
        key = int(number), op
        it = self.broadcasts[key]
        it.tries += 1
        lacking = [p for p in ctx.others if p not in it.readies.said]
        self._repeat(ctx, lacking, key, it)  # those that may lack ours
        if it.said.delivered is not None:
            self._help(ctx, key, it)
            return
        if op in self.done:
            return  # decided by another dealer's broadcast; whoever needs this one asks for it
        ctx.multicast(ctx.others, BrachaAgain(*key))
        if it.tries == self.TRIES:
            missing = tuple(p for p in ctx.members if p not in it.readies.said)
            ctx.note(notes.Blocked(op=op, waiting_for=missing, why="not enough READYs"))
        self._wait(ctx, key, it)
        self._advance(ctx, key, it, it.readies.best()[0])  # its voters' keys may be known by now

    def _on_again(self, ctx: Ctx, asker: Party, key: Key) -> None:
        if key[1]:
            if (it := self.broadcasts.get(key)) is not None:
                self._repeat(ctx, (asker,), key, it)
        elif ctx.now - self.repeated.get(asker, -self.patience) >= self.patience:
            self.repeated[asker] = ctx.now  # once in a patience: a short question, a long answer
            for some in sorted(self.broadcasts)[-self.OPEN :]:
                self._repeat(ctx, (asker,), some, self.broadcasts[some])

    def _repeat(self, ctx: Ctx, to: Sequence[Party], key: Key, it: Broadcast) -> None:
        """Say again what we said."""
        said = it.said
        if said.echoed is not None:
            if key[0] == ctx.me:
                ctx.multicast(to, BrachaInit(key[1], said.echoed))
            ctx.multicast(to, BrachaEcho(*key, said.echoed))
        if said.ready is not None:
            ctx.multicast(to, BrachaReady(*key, said.ready))
