"""`Compute`: the parties evaluate a circuit on their private inputs, round by round.

With everybody's first message there, rounds follow as fast as messages do. A party that is missing
at a deadline ends it: `Aborted(missing=…)`. Lost messages are sent again.
"""

from __future__ import annotations

from typing import Any, ClassVar

from mpclab.core import notes
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.rounds import Aborted, Again
from mpclab.core.wire import Message
from mpclab.mpc.circuit import ELEMENT_BYTES, P, Vector
from mpclab.mpc.computation import Computation, Input, Told, Unheard, pack, unpack
from mpclab.mpc.evaluation import Evaluation


class Part(Message, frozen=True):
    """One party's vector of one round for one receiver: elements of 16 bytes."""

    round: int
    data: bytes


class Compute(Computation):
    """As `Computation`; semi-honest, or as the circuit checks itself (`verified`)."""

    messages: ClassVar[Any] = Part | Again | Told | Unheard

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.evaluation: Evaluation | None = None
        self.received: dict[tuple[int, Party], Part] = {}
        self.said: list[dict[Party, Part]] = []

    def largest_message(self) -> int:
        me, everyone = self.participants[0], self.participants
        return Evaluation(self.circuit, me, everyone, []).largest_message()

    def open(self, ctx: Ctx) -> None:
        """Nothing happens before our input is here."""

    def take(self, ctx: Ctx, given: list[int]) -> None:
        ctx.persist("began", b"1")
        self.evaluation = Evaluation(self.circuit, ctx.me, self.participants, given)
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

    def repeat(self, ctx: Ctx, sender: Party, round: int) -> None:
        if 0 <= round < len(self.said):
            ctx.send(sender, self.said[round][sender])

    def listen(self, ctx: Ctx, sender: Party, msg: Part) -> None:
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
                self.end(ctx, Aborted(fault.reason, blamed=blamed))
                return
            self.round += 1
            if self.round == self.circuit.rounds:
                self.conclude(ctx, evaluation.result())
                return
            self.enter(ctx, self.deadline)
            self._say(ctx)

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
            self.wait_to_be_told(ctx, name)
            return
        missing = self._missing()
        if name == "again":
            self.ask_again(ctx, missing, self.round)
            return
        what = "input" if self.round == 0 else f"vector of round {self.round + 1}"
        self.end(ctx, self.without(what, missing))

    def forget(self) -> None:
        self.evaluation = None
        self.received.clear()


__all__ = ["Compute", "Input", "Part", "Told", "pack", "unpack"]
