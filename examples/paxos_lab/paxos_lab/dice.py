"""An operation: all parties throw one die together, and none of them can choose how it falls.

M. Blum, "Coin flipping by telephone", CRYPTO 1981: commit to a number, then reveal it. Who dislikes
the sum may refuse to reveal, and is named; it cannot change its number any more.
"""

from __future__ import annotations

import hashlib
from typing import Any

from mpclab import Ctx, Message, Party, PeerFault, RoundMachine, register
from mpclab.operations import Execution, Number, OperationSpec


class DiceCommitment(Message, frozen=True):
    """SHA-256 over the operation's context, the party and its secret."""

    digest: bytes


class DiceReveal(Message, frozen=True):
    """The 16 secret bytes."""

    secret: bytes


class Dice(RoundMachine):
    """Commit, reveal, add up."""

    rounds = (DiceCommitment, DiceReveal)

    def __init__(self, execution: Execution) -> None:
        super().__init__(deadline=execution.deadline)
        self.context = execution.context
        self.sides: int = execution.params["sides"]
        self.secret = b""

    def produce(self, ctx: Ctx, k: int) -> Message:
        if k == 0:
            self.secret = ctx.rng.randbytes(16)
            return DiceCommitment(self._digest(ctx.me, self.secret))
        return DiceReveal(self.secret)

    def check(self, ctx: Ctx, k: int, sender: Party, msg: Any) -> None:
        if k == 1 and self._digest(sender, msg.secret) != self.received[0][sender].digest:
            raise PeerFault("reveals another number than it committed to")

    def result(self, ctx: Ctx) -> str:
        total = sum(int.from_bytes(msg.secret) for msg in self.received[1].values())
        return str(total % self.sides + 1)

    def _digest(self, party: Party, secret: bytes) -> bytes:
        return hashlib.sha256(self.context + party.to_bytes(2) + secret).digest()


DICE = register(
    OperationSpec("dice", Dice, (Number("sides", 6, low=2, high=100),), "throw a die of {sides}")
)
