"""`Compute`: the parties evaluate a circuit on their private inputs, round by round.

A party's input never travels in a proposal and is never stored or traced: its own user gives it, by
asking the machine with `Input`. The machine notes `input-wanted` when it waits for one. With
everybody's first message there, rounds follow as fast as messages do. A party that is missing at
a deadline ends it: `Aborted(missing=…)`. Lost messages are sent again. Shares of inputs are never
stored, so a party that restarts takes no part any more: it would contradict itself.

Who takes no part, where only some compute, is told the result by all who do, and believes what more
of them say alike than may lie.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
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
from mpclab.mpc.evaluation import Evaluation, degree


@dataclass(frozen=True, slots=True)
class Input:
    """An ask: our private input. `repr` does not show it, so no trace does."""

    values: tuple[Number, ...] = field(repr=False)


class Part(Message, frozen=True):
    """One party's vector of one round for one receiver: elements of 16 bytes."""

    round: int
    data: bytes


class Told(Message, frozen=True):
    """The result, for who took no part: opened numbers, as elements of 16 bytes."""

    data: bytes


class Compute(Machine):
    """The result of `Finished` is what `present` makes of the opened numbers.

    Args:
        circuit: what to compute. `givers`: whose inputs it takes.
        participants: those that compute; others are told the result.
        check: raises `UsageError` for an input that will not do. `places`: decimal ones, of
            which inputs are whole numbers.
        plausible: raises `ValueError` for an impossible result.
        given: our input, if it is known beforehand; one that will not do is asked for.
        deadline: µs for one round; `patience`: µs for everybody's input.
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
    ) -> None:
        if len(participants) < 3:
            raise UsageError("secure computation needs at least 3 parties: two have no majority")
        self.circuit, self.givers, self.participants = circuit, givers, participants
        self.check, self.given = check, given
        self.places, self.plausible = places, plausible
        self.deadline, self.patience, self.present = deadline, patience, present
        self.evaluation: Evaluation | None = None
        self.round = 0
        self.received: dict[tuple[int, Party], Part] = {}
        self.said: list[dict[Party, Part]] = []
        self.told: dict[Party, bytes] = {}
        self.result: Told | None = None
        self.outcome: Finished[Any] | Aborted | None = None

    def start(self, ctx: Ctx) -> None:
        if ctx.me not in self.participants:
            ctx.set_timer("deadline", self.patience + self.deadline * self.circuit.rounds)
            ctx.set_timer("again", self.deadline)
            return
        if "began" in ctx.stored:
            self._end(ctx, Aborted("this party was restarted while it computed"))
            return
        ctx.set_timer("deadline", self.patience)
        ctx.set_timer("again", self.deadline // AGAIN)
        if ctx.me not in self.givers:
            self._enter(ctx, ())
            return
        why = self._flaw(self.given) if self.given is not None else ""
        if self.given is not None and not why:
            self._enter(ctx, self.given)
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
        if self.evaluation is not None or self.outcome is not None:
            raise UsageError("the input was given before, or is not wanted any more")
        self.check(ask.values)
        self._enter(ctx, ask.values)

    def _enter(self, ctx: Ctx, values: tuple[Number, ...]) -> None:
        self.given = None
        given = [scaled(value, self.places) for value in values]
        ctx.persist("began", b"1")
        evaluation = Evaluation(self.circuit, ctx.me, self.participants, given)
        self.evaluation = evaluation
        self._say(ctx)
        self._go_on(ctx)

    def _say(self, ctx: Ctx) -> None:
        assert self.evaluation is not None
        ctx.note(notes.Round(round=self.round + 1, of=self.circuit.rounds))
        vectors = self.evaluation.outgoing(self.round, ctx.rng)
        parts = {p: Part(self.round, pack(vector)) for p, vector in vectors.items()}
        self.received[self.round, ctx.me] = parts.pop(ctx.me)
        self.said.append(parts)
        for party, part in parts.items():
            ctx.send(party, part)

    def on_message(self, ctx: Ctx, sender: Party, msg: Part | Again | Told) -> None:
        if isinstance(msg, Again) and sender not in self.participants:
            if self.result is not None:
                ctx.send(sender, self.result)
            return
        if sender not in self.participants:
            raise PeerFault(f"{type(msg).__name__} from a party that takes no part")
        if ctx.me not in self.participants:
            if isinstance(msg, Told):
                self._hear(ctx, sender, msg)
            return
        if isinstance(msg, Told):
            raise PeerFault("told a result to who computes it")
        if isinstance(msg, Again):
            if 0 <= msg.round < len(self.said):
                ctx.send(sender, self.said[msg.round][sender])
            return
        if self.outcome is not None:
            return
        known = self.received.get((msg.round, sender))
        if known is not None and known != msg:
            raise PeerFault("sent two different vectors in one round")
        if not 0 <= msg.round <= self.round + 1 or msg.round >= self.circuit.rounds:
            raise PeerFault(f"a vector of round {msg.round + 1} in round {self.round + 1}")
        if msg.round >= self.round:
            self.received[msg.round, sender] = msg
            self._go_on(ctx)

    def _go_on(self, ctx: Ctx) -> None:
        evaluation = self.evaluation
        while self.outcome is None and evaluation is not None and not self._missing():
            k = self.round
            try:
                vectors = {p: self._unpack(evaluation, k, p) for p in self.participants}
                evaluation.incoming(k, vectors)
            except PeerFault as fault:
                ctx.blame(fault.party, fault.reason, fault.strength)
                blamed = () if fault.party is None else (fault.party,)
                self._end(ctx, Aborted(fault.reason, blamed=blamed))
                return
            self.round += 1
            if self.round == self.circuit.rounds:
                self._conclude(ctx, evaluation.result())
                return
            ctx.set_timer("deadline", self.deadline)
            ctx.set_timer("again", self.deadline // AGAIN)
            self._say(ctx)

    def _conclude(self, ctx: Ctx, result: list[int]) -> None:
        try:
            self.plausible(result)
        except ValueError as error:
            ctx.blame(None, str(error), Strength.SOMEONE)
            self._end(ctx, Aborted(str(error)))
        else:
            self.result = Told(pack([x % P for x in result]))
            ctx.multicast([p for p in ctx.members if p not in self.participants], self.result)
            self._end(ctx, Finished(self.present(result)))

    def _hear(self, ctx: Ctx, sender: Party, told: Told) -> None:
        if self.outcome is not None:
            return
        if len(told.data) != ELEMENT_BYTES * sum(wire.length for wire in self.circuit.outputs):
            raise PeerFault("told a result of the wrong length")
        if max(unpack(told.data), default=0) >= P:
            raise PeerFault("told a number outside the field")
        self.told[sender] = told.data
        if sum(data == told.data for data in self.told.values()) > degree(len(self.participants)):
            result = [x if x <= P // 2 else x - P for x in unpack(told.data)]
            self._end(ctx, Finished(self.present(result)))

    def _unpack(self, evaluation: Evaluation, k: int, sender: Party) -> Vector:
        data = self.received.pop((k, sender)).data
        if len(data) != evaluation.lengths(k, sender) * ELEMENT_BYTES:
            raise PeerFault("sent a vector of the wrong length", party=sender)
        vector = unpack(data)
        if max(vector, default=0) >= P:
            raise PeerFault("sent a number outside the field", party=sender)
        return vector

    def _missing(self) -> tuple[Party, ...]:
        return tuple(p for p in self.participants if (self.round, p) not in self.received)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        if self.outcome is not None:
            return
        if ctx.me not in self.participants:
            if name == "again":
                ctx.set_timer("again", self.deadline)
                ctx.multicast(self.participants, Again(0))
                return
            silent = tuple(p for p in self.participants if p not in self.told)
            self._end(ctx, Aborted("nobody told a result in time", missing=silent))
            return
        missing = self._missing()
        if name == "again":
            ctx.set_timer("again", self.deadline // AGAIN)
            ctx.multicast([p for p in missing if p != ctx.me], Again(self.round))
            return
        what = "input" if self.round == 0 else f"vector of round {self.round + 1}"
        named = ", ".join(map(str, missing))
        self._end(ctx, Aborted(f"no {what} from {named} in time", missing=missing))

    def _end(self, ctx: Ctx, outcome: Finished[Any] | Aborted) -> None:
        self.outcome, self.evaluation = outcome, None
        self.received.clear()
        ctx.cancel_timer("deadline")
        ctx.cancel_timer("again")
        ctx.output(outcome)


def pack(vector: Vector) -> bytes:
    """Field elements as 16 bytes each, little-endian."""
    return b"".join([x.to_bytes(ELEMENT_BYTES, "little") for x in vector])


def unpack(data: bytes) -> Vector:
    """`pack`, reversed; the numbers may be too large."""
    number = int.from_bytes
    return [number(element, "little") for (element,) in _ELEMENT.iter_unpack(data)]


_ELEMENT = struct.Struct(f"{ELEMENT_BYTES}s")
