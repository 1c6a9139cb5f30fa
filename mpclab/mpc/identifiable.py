"""`Identifiable`: a computation in which cheats are named, and cannot stop it once it is prepared.

Against *malicious* parties, fewer than a third of all (identifiable abort before any input is
given, guaranteed output after). One round after the other, each with one `Word` of everybody:

    preparation   shared random numbers and triples, none of which depends on an input (`masked`);
                  checked in its last round, and every word of it is signed
    fit           everybody says, signed, whether the check was passed
    ready         only if all said so. It brings each giver our shares of what masks its input
    masked        the givers' inputs, masked, signed
    echo          the digests of these. No two times n - t alike can differ
    accept        what n - t echoed, or t + 1 accepted; with n - t of these one goes on, and so
                  comes everybody to where one honest party is (Bracha's broadcast, 1987)
    openings      everybody the same to all; wrong shares are corrected, and say who sent them

If somebody says at *fit* that the check was not passed, then everybody shows all that it was told,
and the cheats are found by a replay (`judging`). Nobody shows anything after it was *ready*, and
nobody gives an input before all were: so what is shown never masks anything.

Of two different words for all that one party signed each is passed on, and both convict it. Once
all are ready this does not end it any more: it goes on with the input that n - t echoed, and where
there is none, or too few open anything, it ends and names the convict. An input out of its range is
opened as such, and names its giver, where ranges are checked.

Whoever is silent in the preparation, or gives no input, ends it and is named as missing, together
with whom it says that it does not hear itself. Later nobody waits for it twice. Missing is not to
blame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from mpclab.core import notes
from mpclab.core.errors import PeerFault, Strength, UsageError
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.rounds import Aborted, Again
from mpclab.core.wire import Message
from mpclab.crypto.identity import Identity
from mpclab.crypto.transcript import DIGEST_BYTES, Part, digest
from mpclab.mpc import masked
from mpclab.mpc.circuit import ELEMENT_BYTES, Circuit, P, Vector
from mpclab.mpc.computation import Computation, Told, Unheard, pack, unpack
from mpclab.mpc.decoding import Undecodable, decode
from mpclab.mpc.judging import Judge, taken
from mpclab.mpc.messages import genuine

WORD = "mpclab word of a computation"
ALL: Party = 0
"""As a receiver: what is said alike to everybody."""
FIT, SPOILED = b"\x01", b"\x00"
_NO_VECTOR = b"\xff"


def _digest(data: bytes) -> bytes:
    """Of a masked input."""
    return digest("mpclab masked input", data)


class Word(Message, frozen=True):
    """What one party says in one round, signed where others may have to see it."""

    round: int
    data: bytes
    signature: bytes = b""


class Passed(Message, frozen=True):
    """A word that `party` signed for all."""

    party: Party
    round: int
    data: bytes
    signature: bytes


class Shown(Message, frozen=True):
    """A word of the preparation that `author` said to the sender."""

    author: Party
    round: int
    data: bytes
    signature: bytes


def minority(n: int) -> int:
    """How many cheats are borne, of n: fewer than a third."""
    return (n - 1) // 3


class Identifiable(Computation):
    """As `Computation`, among at least four.

    Args:
        context: what it is for; what was signed means nothing elsewhere.
        keys: by participant.
    """

    messages: ClassVar[Any] = Word | Passed | Shown | Again | Told | Unheard

    def __init__(
        self,
        circuit: Circuit,
        givers: tuple[Party, ...],
        participants: tuple[Party, ...],
        *,
        context: bytes,
        identity: Identity,
        keys: Mapping[Party, bytes],
        **options: Any,
    ) -> None:
        t = minority(len(participants))
        if t < 1:
            raise UsageError(
                "security=identifiable needs at least 4 parties: of fewer, one is not below a third"
            )
        super().__init__(circuit, givers, participants, degree=t, **options)
        self.context, self.identity, self.keys = context, identity, keys
        self.plan = masked.plan(circuit)
        self.sizes = masked.sizes(self.plan)
        self.fit = self.plan.preparation.rounds
        self.ready, self.masked, self.echo, self.accept, self.opening = (
            self.fit + i for i in range(1, 6)
        )
        self.numbers: list[int] = []
        self.mask: Vector = []
        self.said: dict[int, dict[Party, Word]] = {}
        self.heard: dict[tuple[int, Party], Word] = {}
        self.silent: set[Party] = set()
        self.views: dict[Party, dict[tuple[int, Party], bytes]] = {}
        self.framing: dict[Party, str] = {}
        self.shown: list[Shown] = []
        self.differed = self.late = False
        self.convicts: dict[Party, str] = {}
        self.proof: list[Passed] = []
        self.other_inputs: dict[Party, Word] = {}
        self.agreed = b""
        self.preparing: masked.Preparing | None = None
        self.openings: masked.Openings | None = None

    def rounds(self) -> int:
        return self.opening + len(self.sizes)

    def largest_message(self) -> int:
        me, everyone = self.participants[0], self.participants
        first = masked.Preparing(self.plan.preparation, me, everyone, [], degree=self.degree)
        given = [self._elements_of(party) for party in self.givers]
        return max(first.largest_message(), max(*self.sizes, *given) * ELEMENT_BYTES)

    # --- saying ---------------------------------------------------------------------------

    def _parts(self, round: int, author: Party, receiver: Party, data: bytes) -> tuple[Part, ...]:
        return self.context, round, author, receiver, digest("mpclab word", data)

    def _say(self, ctx: Ctx, words: Mapping[Party, bytes], *, signed: Party | None = None) -> None:
        """Our word of this round, to each.

        Args:
            signed: for whom: `ALL`, or ourselves, which stands for the one it goes to.
        """
        ctx.note(notes.Round(round=self.round + 1, of=self.rounds()))
        said = {}
        for party, data in words.items():
            signature = b""
            if signed is not None:
                to = ALL if signed == ALL else party
                signature = self.identity.sign(WORD, *self._parts(self.round, ctx.me, to, data))
            said[party] = Word(self.round, data, signature)
        self.said[self.round] = said
        for party, word in said.items():
            if party == ctx.me:
                self.heard[self.round, party] = word
            else:
                ctx.send(party, word)

    def _to_all(self, data: bytes) -> dict[Party, bytes]:
        return dict.fromkeys(self.participants, data)

    def open(self, ctx: Ctx) -> None:
        ctx.persist("began", b"1")
        self.preparing = masked.Preparing(
            self.plan.preparation, ctx.me, self.participants, [], degree=self.degree
        )
        self._say_preparation(ctx)
        self._go_on(ctx)

    def _say_preparation(self, ctx: Ctx) -> None:
        assert self.preparing is not None
        vectors = self.preparing.outgoing(self.round, ctx.rng)
        self._say(ctx, {p: pack(vector) for p, vector in vectors.items()}, signed=ctx.me)

    def take(self, ctx: Ctx, given: list[int]) -> None:
        self.numbers = given
        self._go_on(ctx)

    # --- hearing --------------------------------------------------------------------------

    def listen(self, ctx: Ctx, sender: Party, msg: Word | Passed | Shown) -> None:
        match msg:
            case Word(round, _, _):
                if not 0 <= round < self.rounds():
                    raise PeerFault(f"a word of round {round + 1}, of {self.rounds()}")
                self._hear_word(ctx, sender, msg)
            case Passed(party, round, data, signature):
                if round not in (self.fit, self.masked) or party not in self.participants:
                    raise PeerFault("passed on a word that is not for all")
                self._hear_word(ctx, party, Word(round, data, signature))
            case Shown():
                self._hear_shown(ctx, sender, msg)
        self._go_on(ctx)

    def repeat(self, ctx: Ctx, sender: Party, round: int) -> None:
        for passed in self.proof:
            ctx.send(sender, passed)
        if round == self.rounds():
            if self.shown:
                ctx.send(sender, self.said[self.fit][sender])
            for shown in self.shown:
                ctx.send(sender, shown)
        elif (said := self.said.get(round)) is not None:
            ctx.send(sender, said[sender])

    def _hear_word(self, ctx: Ctx, party: Party, word: Word) -> None:
        """A word of a party, from itself or passed on."""
        k = word.round
        for_all = k in (self.fit, self.masked)
        known = self.heard.get((k, party))
        if known == word or (k < self.round and known is None):
            return  # again, or of somebody for whom nobody waited
        if len(word.data) > self._longest(k, party, ctx.me):
            raise PeerFault("a word that is too long")
        if k >= self.fit and not for_all:
            word = Word(k, word.data)  # nobody signs it: whatever came with it is not kept
        else:
            parts = self._parts(k, party, ALL if for_all else ctx.me, word.data)
            if not genuine(self.keys[party], WORD, parts, word.signature):
                raise PeerFault(f"a word of party {party} that it did not sign")
        if known is not None and known.data == word.data:
            return  # signed once more
        if known is not None:
            if not for_all:
                raise PeerFault("said two different things in one round")
            self._convict(ctx, party, (known, word), "signed two different words for all")
            return
        if k == self.masked and (reason := self._masked_flaw(party, word.data)):
            self._convict(ctx, party, (word,), reason)
            return
        self.heard[k, party] = word
        if k >= self.opening and self._vector(word.data, self.sizes[k - self.opening]) is None:
            ctx.blame(party, "opened no vector of the right length")
            self.silent.add(party)
            del self.heard[k, party]

    def _longest(self, k: int, author: Party, receiver: Party) -> int:
        """Bytes of a word of round k."""
        if k < self.fit:
            held = self.preparing
            return held.lengths(k, author) * ELEMENT_BYTES if held is not None else 0
        if k >= self.opening:
            return self.sizes[k - self.opening] * ELEMENT_BYTES
        return {
            self.fit: len(FIT),
            self.ready: self._elements_of(receiver) * ELEMENT_BYTES,
            self.masked: self._elements_of(author) * ELEMENT_BYTES,
            self.echo: DIGEST_BYTES * len(self.givers),
            self.accept: DIGEST_BYTES * len(self.givers),
        }[k]

    def _masked_flaw(self, party: Party, data: bytes) -> str:
        if not (wanted := self._elements_of(party)):
            return "gave an input that nobody wants"
        return "" if self._vector(data, wanted) is not None else "gave no vector of its length"

    def _convict(self, ctx: Ctx, party: Party, words: Iterable[Word], reason: str) -> None:
        """Everybody hears what convicts a party. It ends, unless others may go on already."""
        for word in words:
            if word.round == self.masked and self._is_wanted(party, word):
                self.other_inputs[party] = word
        if party in self.convicts:
            return
        self.convicts[party] = reason
        others = [p for p in self.participants if p != ctx.me]
        for word in words:
            self.proof.append(Passed(party, word.round, word.data, word.signature))
            ctx.multicast(others, self.proof[-1])
        ctx.blame(party, reason, Strength.PROOF)
        if self.round <= self.fit or (ctx.me in self.givers and self.masked not in self.said):
            self._end_naming(ctx, self.convicts)  # nobody goes on without us
        elif self.round == self.masked and (self.masked, party) not in self.heard:
            ctx.set_timer("deadline", self.deadline)  # others may have a word of it that will do

    def _is_wanted(self, party: Party, word: Word) -> bool:
        """Whether it may be the input that was agreed on."""
        if party not in self.other_inputs:
            return True
        return bool(self.agreed) and _digest(word.data) == self._agreed_digests()[party]

    def _name(self, ctx: Ctx, offences: Mapping[Party, str]) -> None:
        for party, reason in offences.items():
            ctx.blame(party, reason, Strength.PROOF)
        self._end_naming(ctx, offences)

    def _end_naming(self, ctx: Ctx, offences: Mapping[Party, str]) -> None:
        said = "; ".join(f"party {party} {reason}" for party, reason in offences.items())
        self.end(ctx, Aborted(said, blamed=tuple(offences)))

    @staticmethod
    def _vector(data: bytes, length: int) -> Vector | None:
        """The elements, if there are as many and all in the field."""
        if len(data) != length * ELEMENT_BYTES:
            return None
        vector = unpack(data)
        return vector if max(vector, default=0) < P else None

    # --- going on -------------------------------------------------------------------------

    def _missing(self) -> tuple[Party, ...]:
        """Of whom we wait for a word."""
        wanted = self.givers if self.round == self.masked else self.participants
        patient = self.round >= self.echo
        return tuple(
            p
            for p in wanted
            if (self.round, p) not in self.heard and not (patient and p in self.silent)
        )

    def _go_on(self, ctx: Ctx) -> None:
        while self.outcome is None:
            if self.round == self.fit and not self.shown and self._complained():
                self._show(ctx)
            if self.shown:
                self._judge(ctx)
                return
            if self.round == self.masked and self.round not in self.said and self._may_give(ctx):
                self._give(ctx)
            if self.ready <= self.round <= self.echo and (carried := self._most(self.accept)):
                if carried[1] > self.degree:
                    self._accept(ctx, carried[0])
                    continue
            if self._missing() or not self._finish_round(ctx):
                return

    def _may_give(self, ctx: Ctx) -> bool:
        return ctx.me in self.givers and self.took_input

    def _next(self, ctx: Ctx) -> None:
        self.round += 1
        self.late = False
        patience = self.deadline
        if self.round == self.masked:
            patience = self.patience
        elif self.round == self.ready and ctx.me not in self.givers:
            patience += self.patience  # the others may go on, and need us later
        self.enter(ctx, patience)

    def _finish_round(self, ctx: Ctx) -> bool:
        """Every word of this round is here: what follows from it, and our next one."""
        k = self.round
        if k < self.fit:
            self._prepare(ctx, k)
        elif k == self.fit:
            self._be_ready(ctx)
        elif k == self.ready:
            self._unmask(ctx)
        elif k == self.masked:
            self._next(ctx)
            self._say(ctx, self._to_all(self._digests()))
        elif k == self.echo:
            return self._compare_echoes(ctx)
        elif k == self.accept:
            return self._agree(ctx)
        else:
            return self._open(ctx, k - self.opening)
        return True

    def _prepare(self, ctx: Ctx, k: int) -> None:
        held = self.preparing
        assert held is not None
        vectors = {}
        for p in self.participants:
            vector = self._vector(self.heard[k, p].data, held.lengths(k, p))
            vectors[p] = taken(held, k, p, vector)
        held.incoming(k, vectors)
        self._next(ctx)
        if self.round < self.fit:
            self._say_preparation(ctx)
        else:
            self._say(ctx, self._to_all(SPOILED if held.spoiled else FIT), signed=ALL)

    def _be_ready(self, ctx: Ctx) -> None:
        assert self.preparing is not None
        self.openings = masked.Openings(self.plan, self.degree, self.preparing.values)
        self.preparing = None
        for key in [key for key in self.heard if key[0] < self.fit]:
            del self.heard[key]  # it is never shown now
        self._next(ctx)
        masks = {p: self.openings.masks_of(p) for p in self.participants}
        self._say(ctx, {p: pack(vector) for p, vector in masks.items()})

    def _unmask(self, ctx: Ctx) -> None:
        """All are ready, and have told us what masks our input."""
        length = self._elements_of(ctx.me)
        shares = {}
        for p in self.participants:
            if (vector := self._vector(self.heard[self.ready, p].data, length)) is None:
                ctx.blame(p, "sent no shares of a mask")
            else:
                shares[p] = vector
        if length:
            try:
                self.mask, wrong = decode(shares, self.degree, ctx.rng)
            except Undecodable as flaw:
                self.end(ctx, Aborted(f"the shares of our mask do not fit together: {flaw}"))
                return
            self._blame_wrong(ctx, wrong, "sent a wrong share of a mask")
        self._next(ctx)

    def _give(self, ctx: Ctx) -> None:
        given = masked.elements(self.circuit, ctx.me, self.numbers)
        hidden = [(x - m) % P for x, m in zip(given, self.mask, strict=True)]
        self.numbers, self.mask = [], []
        self._say(ctx, self._to_all(pack(hidden)), signed=ALL)

    def _elements_of(self, party: Party) -> int:
        return sum(step.wire.length for step in masked.inputs_of(self.circuit, party))

    def _blame_wrong(self, ctx: Ctx, wrong: Iterable[Party], reason: str) -> None:
        for party in wrong:
            ctx.blame(party, reason)

    def _digests(self) -> bytes:
        return b"".join(_digest(self.heard[self.masked, p].data) for p in self.givers)

    def _most(self, k: int) -> tuple[bytes, int] | None:
        """What most said alike in a round, and how many."""
        size = self._longest(k, ALL, ALL)
        words = (self.heard.get((k, p)) for p in self.participants)
        heard = [word.data for word in words if word is not None and len(word.data) == size]
        return Counter(heard).most_common(1)[0] if heard else None

    def _compare_echoes(self, ctx: Ctx) -> bool:
        """Accept what n - t echoed: two groups of n - t have t + 1 in common, and one of these is
        honest, and echoes once."""
        ours = self._digests()
        heard = [w.data for p in self.participants if (w := self.heard.get((self.echo, p)))]
        if not self.differed and any(data != ours for data in heard):
            self.differed = True
            self._pass_on_inputs(ctx, self.participants)
        most = self._most(self.echo)
        if most is None or most[1] < len(self.participants) - self.degree:
            return False
        self._accept(ctx, most[0])
        return True

    def _accept(self, ctx: Ctx, agreed: bytes) -> None:
        self.agreed = agreed
        self.round = self.echo
        self._next(ctx)
        self._say(ctx, self._to_all(agreed))

    def _agree(self, ctx: Ctx) -> bool:
        """Go on with what n - t accepted. Of these t + 1 are honest, whom all others follow."""
        accepted = [
            p
            for p in self.participants
            if (w := self.heard.get((self.accept, p))) and w.data == self.agreed
        ]
        if len(accepted) < len(self.participants) - self.degree:
            return False
        inputs: dict[Party, Vector] = {}
        for p, wanted in self._agreed_digests().items():
            for word in (self.heard.get((self.masked, p)), self.other_inputs.get(p)):
                if word is not None and _digest(word.data) == wanted:
                    inputs[p] = unpack(word.data)
        if len(inputs) < len(self.givers):
            return False  # it is passed on to us again
        openings = self.openings
        assert openings is not None
        openings.give(inputs)
        self._next(ctx)
        self._say(ctx, self._to_all(pack(openings.outgoing(0))))
        return True

    def _agreed_digests(self) -> dict[Party, bytes]:
        at = range(0, len(self.agreed), DIGEST_BYTES)
        each = (self.agreed[i : i + DIGEST_BYTES] for i in at)
        return dict(zip(self.givers, each, strict=True))

    def _pass_on_inputs(self, ctx: Ctx, to: Iterable[Party]) -> None:
        """Somebody heard another one, or none: who holds two of one party convicts it."""
        others = [p for p in to if p != ctx.me]
        for p in self.givers:
            for word in (self.heard.get((self.masked, p)), self.other_inputs.get(p)):
                if word is not None:
                    ctx.multicast(others, Passed(p, self.masked, word.data, word.signature))

    def _open(self, ctx: Ctx, k: int) -> bool:
        openings = self.openings
        assert openings is not None
        words = {p: self.heard[self.round, p] for p in self.participants
                 if (self.round, p) in self.heard}  # fmt: skip
        try:
            wrong = openings.incoming(k, {p: unpack(w.data) for p, w in words.items()}, ctx.rng)
        except Undecodable:
            return False
        except PeerFault as fault:
            strength = Strength.SOMEONE if fault.party is None else Strength.KNOWN
            ctx.blame(fault.party, fault.reason, strength)
            blamed = () if fault.party is None else (fault.party,)
            who = "" if fault.party is None else f"party {fault.party}: "
            self.end(ctx, Aborted(who + fault.reason, blamed=blamed))
            return False
        self._blame_wrong(ctx, wrong, "opened a wrong share")
        for p in words:
            del self.heard[self.round, p]
        if k + 1 == len(self.sizes):
            self.conclude(ctx, openings.result())
            return False
        self._next(ctx)
        self._say(ctx, self._to_all(pack(openings.outgoing(k + 1))))
        return True

    # --- finding cheats -------------------------------------------------------------------

    def _complained(self) -> bool:
        fits = [self.heard.get((self.fit, p)) for p in self.participants]
        return any(word is not None and word.data != FIT for word in fits)

    def _show(self, ctx: Ctx) -> None:
        """Everything that we were told, and who complained."""
        others = [p for p in self.participants if p != ctx.me]
        told = [(key, word) for key, word in self.heard.items() if key[0] < self.fit]
        self.shown = [Shown(p, k, word.data, word.signature) for (k, p), word in told]
        self.views[ctx.me] = {key: word.data for key, word in told}
        self._pass_on_complaints(ctx, others)
        for shown in self.shown:
            ctx.multicast(others, shown)
        self.enter(ctx, self.deadline)

    def _pass_on_complaints(self, ctx: Ctx, to: Iterable[Party]) -> None:
        for p in self.participants:
            word = self.heard.get((self.fit, p))
            if word is not None and word.data != FIT:
                ctx.multicast(to, Passed(p, self.fit, word.data, word.signature))

    def _hear_shown(self, ctx: Ctx, sender: Party, msg: Shown) -> None:
        if self.round > self.fit:
            return
        if msg.author not in self.participants or not 0 <= msg.round < self.fit:
            raise PeerFault("showed a word that there is not")
        view = self.views.setdefault(sender, {})
        parts = self._parts(msg.round, msg.author, sender, msg.data)
        if not genuine(self.keys[msg.author], WORD, parts, msg.signature):
            self.framing[sender] = f"showed a word that party {msg.author} did not sign"
        held = self.preparing
        fits = held and len(msg.data) == held.lengths(msg.round, msg.author) * ELEMENT_BYTES
        view.setdefault((msg.round, msg.author), msg.data if fits else _NO_VECTOR)

    def _incomplete(self) -> tuple[Party, ...]:
        """Whose view, or word whether it was content, we lack."""
        size = self.fit * len(self.participants)
        return tuple(
            p
            for p in self.participants
            if len(self.views.get(p, ())) < size or (self.fit, p) not in self.heard
        )

    def _judge(self, ctx: Ctx) -> None:
        if self.framing:
            self._name(ctx, self.framing)
            return
        if self._incomplete():
            return
        held = self.preparing
        assert held is not None
        views = {
            p: {(k, author): self._vector(data, held.lengths(k, author))
                for (k, author), data in view.items()}
            for p, view in self.views.items()
        }  # fmt: skip
        contented = {p: self.heard[self.fit, p].data == FIT for p in self.participants}
        judge = Judge(self.plan.preparation, self.participants, self.degree, views, contented)
        offences = judge.offences()
        assert offences, "a preparation that all made by the rules passes its check"
        self._name(ctx, offences)

    # --- waiting --------------------------------------------------------------------------

    def on_timer(self, ctx: Ctx, name: str) -> None:
        if self.outcome is not None:
            return
        if ctx.me not in self.participants:
            self.wait_to_be_told(ctx, name)
            return
        missing = self._incomplete() if self.shown else self._missing()
        if name == "again":
            self.ask_again(ctx, missing, self.rounds() if self.shown else self.round)
            asked = [p for p in missing if p != ctx.me]
            if self.shown:
                self._pass_on_complaints(ctx, asked)
            elif self.echo <= self.round <= self.opening:
                self._pass_on_inputs(ctx, asked or self.participants)
            return
        if self.round >= self.echo and not self.late:
            self.late = True  # who waits for somebody that we do not lack may come a deadline later
            self.silent |= set(missing)
            ctx.set_timer("deadline", self.deadline)
            self._go_on(ctx)
            return
        if self.convicts:
            self._end_naming(ctx, self.convicts)
            return
        what = "view" if self.shown else "input" if self.round == self.masked else "word"
        self.end(ctx, self.without(what, missing))

    def forget(self) -> None:
        self.numbers, self.mask = [], []
        self.preparing, self.openings = None, None
        self.heard.clear()
        self.views.clear()
