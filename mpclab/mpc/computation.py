"""What every computation on private inputs has in common: who gives, who is told, how it ends.

A party's input never travels in a proposal and is never stored or traced: its own user gives it, by
asking the machine with `Input`. The machine notes `input-wanted` when it waits for one. Shares of
inputs are never stored, so a party that restarts takes no part any more: it would contradict
itself.

Who takes no part, where only some compute, is told the result by all who do, and believes what more
of them say alike than may lie.

A party that waits in vain for another falls silent itself, and the rest wait for it: so it says in
time whom it does not hear (`Unheard`). If it ends, the two of them are named as missing, and which
of them says so of the other: who lies, or whether the link between them is cut, nobody can tell.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from mpclab.core import notes
from mpclab.core.errors import PeerFault, Strength, UsageError
from mpclab.core.ids import SECOND, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.numbers import Number
from mpclab.core.rounds import AGAIN, Aborted, Again, Finished
from mpclab.core.wire import Message
from mpclab.mpc.arithmetic import scaled
from mpclab.mpc.circuit import ELEMENT_BYTES, Circuit, P, Vector
from mpclab.mpc.evaluation import minority


@dataclass(frozen=True, slots=True)
class Input:
    """An ask: our private input. `repr` does not show it, so no trace does."""

    values: tuple[Number, ...] = field(repr=False)


class Told(Message, frozen=True):
    """The result, for who took no part: opened numbers, as elements of 16 bytes."""

    data: bytes


class Unheard(Message, frozen=True):
    """In this round we do not hear these, and say nothing more before we do."""

    round: int
    parties: tuple[Party, ...]


SAYS_SO = (AGAIN // 2, AGAIN * 3 // 4)
"""After so many questions in vain (`AGAIN` in a deadline) a party tells all whom it does not hear:
twice, for the first may be lost."""


class Computation(Machine):
    """What every way to compute has in common: who gives, who is told, how it ends.

    The result of `Finished` is what `present` makes of the opened numbers.

    Args:
        circuit: what to compute. `givers`: whose inputs it takes.
        participants: those that compute; others are told the result.
        check: raises `UsageError` for an input that will not do. `places`: decimal ones, of
            which inputs are whole numbers.
        plausible: raises `ValueError` for an impossible result.
        given: our input, if it is known beforehand; one that will not do is asked for.
        deadline: µs for one round; `patience`: µs for everybody's input.
        degree: how many may lie; what more of them tell alike is believed.
    """

    def __init__(
        self,
        circuit: Circuit,
        givers: tuple[Party, ...],
        participants: tuple[Party, ...],
        *,
        check: Callable[[tuple[Number, ...]], None] = lambda values: None,
        places: int = 0,
        plausible: Callable[[list[int]], None] = lambda result: None,
        given: tuple[Number, ...] | None = None,
        deadline: int = 10 * SECOND,
        patience: int = 60 * SECOND,
        present: Callable[[list[int]], Any] = lambda result: result,
        degree: int | None = None,
    ) -> None:
        if len(participants) < 3:
            raise UsageError("secure computation needs at least 3 parties: two have no majority")
        self.circuit, self.givers, self.participants = circuit, givers, participants
        self.check, self.given = check, given
        self.places, self.plausible = places, plausible
        self.deadline, self.patience, self.present = deadline, patience, present
        self.degree = minority(len(participants)) if degree is None else degree
        self.round = 0
        self.asked = 0
        """How often we asked again in this round."""
        self.answered_at: dict[Party, int] = {}
        self.unheard: dict[Party, Unheard] = {}
        self.took_input = False
        self.told: dict[Party, bytes] = {}
        self.result: Told | None = None
        self.outcome: Finished[Any] | Aborted | None = None

    def rounds(self) -> int:
        """Rounds of the whole, for who waits to be told."""
        return self.circuit.rounds

    def largest_message(self) -> int:
        """Bytes of the longest message that somebody sends to another."""
        raise NotImplementedError

    def open(self, ctx: Ctx) -> None:
        """Begin, with our input or without."""
        raise NotImplementedError

    def take(self, ctx: Ctx, given: list[int]) -> None:
        """Our input is here: whole numbers, none if we give none."""
        raise NotImplementedError

    def repeat(self, ctx: Ctx, sender: Party, round: int) -> None:
        """Another participant asks for what we said in a round, if we did."""
        raise NotImplementedError

    def listen(self, ctx: Ctx, sender: Party, msg: Any) -> None:
        """A message of the computation itself, from another participant to us as one."""
        raise NotImplementedError

    # --- what is alike in all of them -----------------------------------------------------

    def on_message(self, ctx: Ctx, sender: Party, msg: Any) -> None:
        takes_part = sender in self.participants
        if isinstance(msg, Again):
            if self._may_ask(ctx, sender):
                if not takes_part:
                    self.asked_again(ctx, sender)
                elif ctx.me in self.participants:
                    self.repeat(ctx, sender, msg.round)
            return
        if not takes_part:
            raise PeerFault(f"{type(msg).__name__} from a party that takes no part")
        if ctx.me not in self.participants:
            if isinstance(msg, Told):
                self.hear(ctx, sender, msg)
            return
        match msg:
            case Told():
                raise PeerFault("told a result to who computes it")
            case Unheard(round, parties):
                known = {*parties} <= {*self.participants} and len({*parties}) == len(parties)
                if not (known and 0 <= round < self.rounds()):
                    raise PeerFault("does not hear whom it need not hear")
                self.unheard[sender] = msg
            case _ if self.outcome is None:
                self.listen(ctx, sender, msg)

    def _may_ask(self, ctx: Ctx, sender: Party) -> bool:
        """Whether a question is answered. Who asks twice as often as anybody needs to is answered
        every other time: an answer may be much longer than its question."""
        least = self.deadline // (2 * AGAIN)
        if ctx.now - self.answered_at.get(sender, -least) < least:
            return False
        self.answered_at[sender] = ctx.now
        return True

    def ask_again(self, ctx: Ctx, missing: tuple[Party, ...], round: int) -> None:
        """Ask for words that we lack, and now and then tell all that we do."""
        ctx.set_timer("again", self.deadline // AGAIN)
        others = [p for p in missing if p != ctx.me]
        ctx.multicast(others, Again(round))
        self.asked += 1
        if self.asked in SAYS_SO and others and round < self.rounds():
            everyone = [p for p in self.participants if p != ctx.me]
            ctx.multicast(everyone, Unheard(round, tuple(others)))

    def enter(self, ctx: Ctx, patience: int) -> None:
        """The timers of a round that lasts so long at most."""
        self.asked = 0
        ctx.set_timer("deadline", patience)
        ctx.set_timer("again", self.deadline // AGAIN)

    def without(self, what: str, missing: tuple[Party, ...]) -> Aborted:
        """The end for want of words of these."""
        named, said = set(missing), []
        todo = [(party, self.round) for party in missing]
        seen: set[Party] = set()
        while todo:
            party, round = todo.pop(0)
            claim = self.unheard.get(party)
            # Its word of the round before was here, so it is in that round if it is honest.
            if party in seen or claim is None or claim.round != round - 1:
                continue
            seen.add(party)
            said.append(f"party {party} says that it does not hear {_listed(claim.parties)}")
            named.update(claim.parties)
            todo += [(other, claim.round) for other in claim.parties]
        reason = f"no {what} from {_listed(missing) or 'enough parties'} in time"
        return Aborted("; ".join([reason, *said]), missing=tuple(sorted(named)))

    def start(self, ctx: Ctx) -> None:
        if ctx.me not in self.participants:
            ctx.set_timer("deadline", self.patience + self.deadline * self.rounds())
            ctx.set_timer("again", self.deadline)
            return
        if "began" in ctx.stored:
            self.end(ctx, Aborted("this party was restarted while it computed"))
            return
        self.enter(ctx, self.patience)
        self.open(ctx)
        if ctx.me not in self.givers:
            self._take(ctx, ())
            return
        why = self._flaw(self.given) if self.given is not None else ""
        if self.given is not None and not why:
            self._take(ctx, self.given)
        else:
            ctx.note(notes.InputWanted(numbers=self.circuit.inputs_of(ctx.me), why=why))

    def _flaw(self, values: tuple[Number, ...]) -> str:
        """Why these will not do; it does not tell them."""
        try:
            self.check(values)
        except UsageError as error:
            return str(error)
        return ""

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        if not isinstance(ask, Input):
            raise UsageError(f"a computation cannot {type(ask).__name__}")
        if self.took_input or self.outcome is not None:
            raise UsageError("the input was given before, or is not wanted any more")
        self.check(ask.values)
        self._take(ctx, ask.values)

    def _take(self, ctx: Ctx, values: tuple[Number, ...]) -> None:
        self.given, self.took_input = None, True
        self.take(ctx, [scaled(value, self.places) for value in values])

    def conclude(self, ctx: Ctx, result: list[int]) -> None:
        try:
            self.plausible(result)
        except ValueError as error:
            ctx.blame(None, str(error), Strength.SOMEONE)
            self.end(ctx, Aborted(str(error)))
        else:
            self.result = Told(pack([x % P for x in result]))
            ctx.multicast([p for p in ctx.members if p not in self.participants], self.result)
            self.end(ctx, Finished(self.present(result)))

    def hear(self, ctx: Ctx, sender: Party, told: Told) -> None:
        if self.outcome is not None:
            return
        if len(told.data) != ELEMENT_BYTES * sum(wire.length for wire in self.circuit.outputs):
            raise PeerFault("told a result of the wrong length")
        if max(unpack(told.data), default=0) >= P:
            raise PeerFault("told a number outside the field")
        self.told[sender] = told.data
        if sum(data == told.data for data in self.told.values()) > self.degree:
            result = [x if x <= P // 2 else x - P for x in unpack(told.data)]
            self.end(ctx, Finished(self.present(result)))

    def asked_again(self, ctx: Ctx, sender: Party) -> None:
        """Who takes no part asks for the result."""
        if self.result is not None:
            ctx.send(sender, self.result)

    def wait_to_be_told(self, ctx: Ctx, timer: str) -> None:
        """A timer of who takes no part."""
        if timer == "again":
            ctx.set_timer("again", self.deadline)
            ctx.multicast(self.participants, Again(0))
            return
        silent = tuple(p for p in self.participants if p not in self.told)
        self.end(ctx, Aborted("nobody told a result in time", missing=silent))

    def end(self, ctx: Ctx, outcome: Finished[Any] | Aborted) -> None:
        self.outcome = outcome
        self.forget()
        ctx.cancel_timer("deadline")
        ctx.cancel_timer("again")
        ctx.output(outcome)

    def forget(self) -> None:
        """Drop what only going on needs."""
        raise NotImplementedError


def _listed(parties: Iterable[Party]) -> str:
    return ", ".join(map(str, parties))


def pack(vector: Vector) -> bytes:
    """Field elements as 16 bytes each, little-endian."""
    return b"".join([x.to_bytes(ELEMENT_BYTES, "little") for x in vector])


def unpack(data: bytes) -> Vector:
    """`pack`, reversed; the numbers may be too large."""
    number = int.from_bytes
    return [number(element, "little") for (element,) in _ELEMENT.iter_unpack(data)]


_ELEMENT = struct.Struct(f"{ELEMENT_BYTES}s")
