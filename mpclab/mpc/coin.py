"""A joint random number by commit and reveal (Blum, "Coin flipping by telephone", 1981).

Round 1: everyone draws 32 random bytes and broadcasts a hash of them. Round 2: once all hashes
are here, everyone reveals. The result is the exclusive or of all: uniform if one party was honest,
since every other coin was fixed before that one was seen. A reveal also says which hashes its
sender heard: a party that commits to one coin here and another there would give two honest parties
two results, and so it gives them none. (Nobody can be named then: the hashes are not signed.)

A party that does not commit, does not reveal or reveals another coin is named, and there is no
result. Note: this is not a fair coin. The last to reveal sees the result first and can keep it
from everyone by staying silent (Cleve 1986: without an honest majority no protocol in bounded
rounds prevents that). It cannot choose another result, and everybody sees who was silent.
"""

from __future__ import annotations

import secrets
from typing import Any

from mpclab.core.errors import PeerFault, Strength
from mpclab.core.ids import SECOND, Party
from mpclab.core.machine import Ctx
from mpclab.core.rounds import Aborted, RoundMachine
from mpclab.core.wire import Message
from mpclab.crypto.transcript import digest

COIN_BYTES = 32


class Commit(Message, frozen=True):
    hash: bytes


class Reveal(Message, frozen=True):
    """`heard`: the digest of everyone's commitments as they reached the sender."""

    coin: bytes
    heard: bytes


def commitment(context: bytes, party: Party, coin: bytes) -> bytes:
    """Binds `party` to `coin`. It hides it too: a coin has 256 bits that nobody can guess."""
    return digest("mpclab coin", context, party, coin)


class Coin(RoundMachine):
    """The result is 32 bytes, the same for all who get one.

    Args:
        context: what this flip is for; a commitment means nothing elsewhere.
    """

    rounds = (Commit, Reveal)

    def __init__(
        self,
        context: bytes,
        participants: tuple[Party, ...] | None = None,
        deadline: int = 10 * SECOND,
    ) -> None:
        super().__init__(participants, deadline)
        self.context = context
        self.coin = b""

    def produce(self, ctx: Ctx, k: int) -> Message:
        if k == 0:
            self.coin = ctx.rng.randbytes(COIN_BYTES)
            return Commit(commitment(self.context, ctx.me, self.coin))
        return Reveal(self.coin, self._heard())

    def check(self, ctx: Ctx, k: int, sender: Party, msg: Any) -> None:
        match msg:
            case Commit(hash):
                if len(hash) != COIN_BYTES:
                    raise PeerFault("commitment is not 32 bytes")
            case Reveal(coin):
                promised = self.received[0][sender].hash
                if not secrets.compare_digest(commitment(self.context, sender, coin), promised):
                    raise PeerFault("revealed another coin than it had committed to")

    def on_fault(self, ctx: Ctx, fault: PeerFault, sender: Party) -> None:
        if fault.strength is not Strength.SOMEONE:
            super().on_fault(ctx, fault, sender)
            return
        ctx.blame(None, fault.reason, fault.strength)
        self._end(ctx, Aborted(fault.reason))

    def _heard(self) -> bytes:
        commits = self.received[0]
        return digest(
            "mpclab coin heard", self.context, tuple(commits[p].hash for p in self.participants)
        )

    def result(self, ctx: Ctx) -> bytes:
        joint, heard = 0, self._heard()
        for party in self.participants:
            reveal = self.received[1][party]
            if reveal.heard != heard:  # judged last: a wrong reveal is named before
                reason = f"party {party} and we heard different commitments"
                raise PeerFault(reason, strength=Strength.SOMEONE)
            joint ^= int.from_bytes(reveal.coin)
        return joint.to_bytes(COIN_BYTES)
