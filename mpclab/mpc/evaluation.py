"""One party's side of a circuit: BGW with the degree reduction of Gennaro, Rabin and Rabin.

Ben-Or, Goldwasser and Wigderson (STOC 1988) on Shamir shares of degree d = (n-1)//2; a product of
shares has degree 2d and is brought back to d by sharing it anew (Gennaro, Rabin, Rabin, PODC 1998).

Assumes *semi-honest* parties: all follow the protocol, and up to d of them put together what they
saw. Then they learn nothing but the result. Someone who deviates can spoil the result unseen,
unless opened shares do not lie on one polynomial of degree d, which is noticed. At least 3 parties.

Pure: coins come in, vectors for the others go out, theirs come in. `compute` sends them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from mpclab.core.errors import PeerFault, Strength, UsageError
from mpclab.core.ids import Party
from mpclab.crypto.shamir import lagrange_coefficients
from mpclab.mpc.circuit import ELEMENT_BYTES, Circuit, P, Step, Vector, least


def minority(n: int) -> int:
    """How many parties may put together what they saw, of n."""
    return (n - 1) // 2


def share_vector(
    values: Vector, degree: int, points: tuple[Party, ...], coins: random.Random, prime: int
) -> dict[Party, Vector]:
    """Shares of each value on a random polynomial of its own, by point."""
    # For 2^127 - 1 a number of as many bits is uniform up to a bias of 2^-127.
    bits = prime.bit_length() if prime == P else prime.bit_length() + 64
    columns = [[coins.getrandbits(bits) for _ in values] for _ in range(degree)]
    shares = {}
    for x in points:
        if degree == 2:  # of five or six parties; one pass costs less than three
            y = x * x
            rows = zip(*columns, values, strict=True)
            shares[x] = [(a * y + b * x + v) % prime for a, b, v in rows]
            continue
        row = [0] * len(values)
        for column in columns[:-1]:
            row = [(a + c) * x for a, c in zip(row, column, strict=True)]
        last = columns[-1] if columns else row
        rows = zip(row, last, values, strict=True)
        shares[x] = [((a + c) * x + v) % prime for a, c, v in rows]
    return shares


class Evaluation:
    """Round k: `outgoing(k, …)` for the others, then `incoming(k, …)` from them.

    Args:
        participants: those that compute; each is a point. `me` is one of them.
        inputs: our private vector; empty when the circuit takes none from us.
        prime: the field.
        degree: how many may put together what they saw, fewer than half; (n-1)//2 by default.
    """

    def __init__(
        self,
        circuit: Circuit,
        me: Party,
        participants: tuple[Party, ...],
        inputs: Vector,
        prime: int = P,
        *,
        degree: int | None = None,
    ) -> None:
        if len(participants) < 3:
            raise UsageError("secure computation needs at least 3 parties: two have no majority")
        self.circuit, self.me, self.participants = circuit, me, participants
        self.prime = prime
        self.degree = minority(len(participants)) if degree is None else degree
        self.reducers = participants[: 2 * self.degree + 1]
        self.inputs = [value % prime for value in inputs]
        self.values: dict[int, Vector] = {}
        self.by_round: list[list[Step]] = [[] for _ in range(circuit.rounds)]
        self.local_by_level: list[list[Step]] = [[] for _ in range(circuit.rounds + 1)]
        for step in circuit.steps:
            if step.kind == "local":
                self.local_by_level[step.wire.level].append(step)
            else:
                self.by_round[step.wire.level - 1].append(step)
        self._weights = lagrange_coefficients(self.reducers, prime)
        few = participants[: self.degree + 1]
        self._opening = lagrange_coefficients(few, prime)
        self._checks = {
            p: lagrange_coefficients(few, prime, p) for p in participants[self.degree + 1 :]
        }

    def sends(self, step: Step, party: Party) -> bool:
        """Whether `party` has something to send at this step."""
        match step.kind:
            case "input" | "digits":
                return step.party == party
            case "mul" | "dot":
                return party in self.reducers
        return True

    def lengths(self, k: int, sender: Party) -> int:
        """Elements in `sender`'s message of round k, to each."""
        return sum(step.wire.length for step in self.by_round[k] if self.sends(step, sender))

    def largest_message(self) -> int:
        """Bytes of the longest vector that somebody sends to another in one round."""
        rounds = range(self.circuit.rounds)
        sizes = (self.lengths(k, p) for k in rounds for p in self.participants)
        return max(sizes, default=0) * ELEMENT_BYTES

    def outgoing(self, k: int, coins: random.Random) -> dict[Party, Vector]:
        """Our vectors of round k, by receiver, ourselves included."""
        out: dict[Party, Vector] = {p: [] for p in self.participants}
        for step in self.by_round[k]:
            if not self.sends(step, self.me):
                continue
            if step.kind in ("open", "zero"):
                for vector in out.values():
                    vector += self.values[step.args[0].index]
                continue
            shares = share_vector(
                self._to_share(step, coins), self.degree, self.participants, coins, self.prime
            )
            for party, vector in out.items():
                vector += shares[party]
        return out

    def _to_share(self, step: Step, coins: random.Random) -> Vector:
        match step.kind:
            case "input":
                return self._given(step, step.wire.length)
            case "digits":
                return [
                    (value - least(step.width)) % self.prime >> i & 1
                    for value in self._given(step, step.wire.length // step.width)
                    for i in range(step.width)
                ]
            case "random":
                size = step.below.bit_length() + 64
                return [coins.getrandbits(size) % step.below for _ in range(step.wire.length)]
        return self.products(step)

    def products(self, step: Step) -> Vector:
        """Of our shares: themselves shares, of twice the degree."""
        left, right = (self.values[arg.index] for arg in step.args)
        products = [x * y for x, y in zip(left, right, strict=True)]
        if step.kind == "dot":  # shares of degree 2d add up before they are shared anew
            return [sum(products) % self.prime]
        return [product % self.prime for product in products]

    def _given(self, step: Step, count: int) -> Vector:
        """The next of our inputs."""
        taken = sum(
            s.wire.length // (s.width or 1)
            for s in self.by_round[0]
            if s.kind in ("input", "digits")
            and s.party == self.me
            and s.wire.index < step.wire.index
        )
        return self.inputs[taken : taken + count]

    def incoming(self, k: int, received: Mapping[Party, Vector]) -> None:
        """Take in everyone's vector for us, and do what is local now.

        Raises:
            PeerFault: opened shares do not fit together, or what was put in as bits is something
                else; nobody can be named.
        """
        at = dict.fromkeys(self.participants, 0)
        for step in self.by_round[k]:
            parts = {}
            for party in self.participants:
                if self.sends(step, party):
                    start = at[party]
                    at[party] = end = start + step.wire.length
                    parts[party] = received[party][start:end]
            self.values[step.wire.index] = self._combine(step, parts)
        for step in self.local_by_level[k + 1]:
            assert step.local is not None
            result = step.local(*(self.values[arg.index] for arg in step.args))
            self.values[step.wire.index] = [x % self.prime for x in result]

    def _combine(self, step: Step, parts: Mapping[Party, Vector]) -> Vector:
        match step.kind:
            case "input" | "digits":
                return parts[step.party]
            case "random":
                return [sum(column) % self.prime for column in zip(*parts.values(), strict=True)]
            case "mul" | "dot":
                return self._weighted(self._weights, parts)
        for party, weights in self._checks.items():
            if self._weighted(weights, parts) != parts[party]:
                raise PeerFault(
                    "the shares of an opened value do not fit together", strength=Strength.SOMEONE
                )
        opened = self._weighted(self._opening, parts)
        if step.kind == "zero" and any(opened):
            raise PeerFault(step.why, strength=Strength.SOMEONE)
        return opened

    def _weighted(self, weights: Mapping[Party, int], parts: Mapping[Party, Vector]) -> Vector:
        chosen = [(weight, parts[party]) for party, weight in weights.items()]
        weight, vector = chosen[0]
        total = [weight * x for x in vector]
        for (v, left), (w, right) in zip(chosen[1::2], chosen[2::2], strict=False):  # in pairs
            rows = zip(total, left, right, strict=True)
            total = [a + v * x + w * y for a, x, y in rows]
        if len(chosen) % 2 == 0:
            weight, vector = chosen[-1]
            total = [a + weight * x for a, x in zip(total, vector, strict=True)]
        return [a % self.prime for a in total]

    def result(self) -> list[int]:
        """The outputs, one after the other, as signed numbers."""
        half = self.prime // 2
        found = [x for wire in self.circuit.outputs for x in self.values[wire.index]]
        return [x if x <= half else x - self.prime for x in found]
