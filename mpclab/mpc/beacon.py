"""`Beacon`: random values that no t-1 parties can foresee or choose, each following from the last.

Value k is H(x·B), where x is the shared key and B = HashToGroup(public key, k, value k-1), so it
is the same whatever sharing of the key is in use: nobody changes it by a refresh. Every holder
broadcasts its part x_i·B with a Chaum-Pedersen proof that its share is in it; any t parts give x·B
by interpolation in the exponent (the distributed verifiable random function DDH-DVRF of Galindo et
al., EuroS&P 2021). One round, no leader, and wrong parts are just left out: all get the same value
from whichever t parts come first.

Why not hash a threshold signature? A Schnorr signature is not unique: a signing leader could
try again until it likes the outcome. x·B has no randomness, so nothing can be tried. (drand's BLS
signatures are unique too, and short to verify, but need pairings.) Fewer than t corrupt holders
can only be silent; t can foresee every value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from mpclab.core import notes
from mpclab.core.errors import PeerFault, Strength
from mpclab.core.ids import SECOND, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.rounds import AGAIN, Aborted, Finished
from mpclab.core.wire import Message, decoder
from mpclab.crypto.errors import EncodingError
from mpclab.crypto.groups import Element, Group
from mpclab.crypto.identity import Coins
from mpclab.crypto.keys import GroupKey, KeyShare
from mpclab.crypto.shamir import lagrange_coefficients, random_scalar
from mpclab.crypto.transcript import digest, encode
from mpclab.mpc.records import KeyRecord


class Part(Message, frozen=True):
    """x_i·B, and the proof (challenge, response) that it is that."""

    point: bytes
    proof: bytes


class More(Message, frozen=True):
    """I have too few parts: say yours again."""


class BeaconValue(msgspec.Struct, frozen=True):
    """The `number`-th value of a key's chain, 32 bytes."""

    number: int
    previous: bytes
    value: bytes


class BeaconRecord(Message, frozen=True):
    """A value of a chain, as later draws find it.

    Attributes:
        key: the public key that the chain is of.
    """

    key: bytes
    number: int
    previous: bytes
    value: bytes

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def parse(cls, data: bytes) -> BeaconRecord | None:
        """Read the bytes that `to_bytes` gave; None for any others."""
        try:
            found = _decode(data)
        except msgspec.DecodeError:
            return None
        assert isinstance(found, BeaconRecord)
        return found


_decode = decoder(BeaconRecord)


def base_point(key: GroupKey, number: int, previous: bytes) -> Element:
    """B. Hashed until it is an element: of what is hashed nothing is secret."""
    group = key.suite.group
    for counter in range(1 << 16):
        seed = encode("mpclab beacon", key.suite.name, key.public, number, previous, counter)
        data = hashlib.sha512(seed).digest()[: group.element_bytes]
        if group.element_bytes == 33:
            data = bytes([2 + (data[0] & 1)]) + data[1:]
        try:
            return group.decode_element(data)
        except EncodingError:
            continue
    raise AssertionError("65536 hashes, and none is an element")


def prove(group: Group, share: KeyShare, base: Element, coins: Coins) -> Part:
    """Our part and its proof: log_G(public share) = log_B(point)."""
    point = group.mult(share.secret, base)
    nonce = 1 + random_scalar(group.order - 1, coins)
    challenge = _challenge(
        group, share.key, share.identifier, base, point, group.base_mult(nonce),
        group.mult(nonce, base),
    )  # fmt: skip
    response = nonce + challenge * share.secret
    return Part(point, group.encode_scalar(challenge) + group.encode_scalar(response))


def is_right(key: GroupKey, party: Party, base: Element, part: Part) -> bool:
    """Whether this is that holder's part."""
    group = key.suite.group
    try:
        group.decode_element(part.point)
        challenge = group.decode_scalar(part.proof[: group.scalar_bytes])
        response = group.decode_scalar(part.proof[group.scalar_bytes :])
    except EncodingError:
        return False
    public = key.public_share(party)
    first = group.linear_combination([(response, group.generator), (-challenge, public)])
    second = group.linear_combination([(response, base), (-challenge, part.point)])
    return challenge == _challenge(group, key, party, base, part.point, first, second)


def _challenge(
    group: Group,
    key: GroupKey,
    party: Party,
    base: Element,
    point: Element,
    first: Element,
    second: Element,
) -> int:
    hashed = digest("mpclab beacon part", key.fingerprint(), party, base, point, first, second)
    return int.from_bytes(hashed) % group.order


class Beacon(Machine):
    """The result is a `BeaconValue`, the same for all.

    Args:
        record: of the key. `share`: ours, if we hold one; everyone else listens.
        number, previous: of the value wanted, and the value before (empty for the first).
    """

    def __init__(
        self,
        record: KeyRecord,
        share: KeyShare | None,
        number: int,
        previous: bytes,
        *,
        deadline: int = 10 * SECOND,
        present: Callable[[BeaconValue], Any] = lambda result: result,
    ) -> None:
        self.record, self.key, self.share = record, record.key(), share
        self.number, self.previous = number, previous
        self.base = base_point(self.key, number, previous)
        self.deadline, self.present = deadline, present
        self.mine: Part | None = None
        self.parts: dict[Party, Part] = {}
        self.bad: set[Party] = set()
        self.outcome: Finished[Any] | Aborted | None = None

    def start(self, ctx: Ctx) -> None:
        ctx.set_timer("deadline", self.deadline)
        ctx.set_timer("again", self.deadline // AGAIN)
        if self.share is not None and ctx.me in self.record.holders:
            self.mine = prove(self.key.suite.group, self.share, self.base, ctx.rng)
            ctx.broadcast(self.mine)

    def on_message(self, ctx: Ctx, sender: Party, msg: Part | More) -> None:
        if isinstance(msg, More):
            if self.mine is not None:
                ctx.send(sender, self.mine)
            return
        if sender not in self.record.holders:
            raise PeerFault("a part from a party that holds no share")
        if self.outcome is not None or sender in self.parts or sender in self.bad:
            return
        if not is_right(self.key, sender, self.base, msg):
            self.bad.add(sender)
            ctx.blame(sender, "a wrong part of the beacon's value", Strength.KNOWN)
            return
        self.parts[sender] = msg
        if len(self.parts) == self.record.threshold:
            self._finish(ctx)

    def _finish(self, ctx: Ctx) -> None:
        group = self.key.suite.group
        weights = lagrange_coefficients(tuple(self.parts), group.order)
        point = group.linear_combination(
            (weights[party], part.point) for party, part in self.parts.items()
        )
        value = digest("mpclab beacon value", self.base, point)
        ctx.note(notes.Beacon(number=self.number, value=value.hex()))
        self._end(ctx, Finished(self.present(BeaconValue(self.number, self.previous, value))))

    def on_timer(self, ctx: Ctx, name: str) -> None:
        if self.outcome is not None:
            return
        missing = tuple(p for p in self.record.holders if p not in {*self.parts, *self.bad})
        if name == "again":
            ctx.set_timer("again", self.deadline // AGAIN)
            ctx.multicast([p for p in missing if p != ctx.me], More())
            return
        blamed = tuple(sorted(self.bad))
        what = f"{len(self.parts)} right parts, {self.record.threshold} are needed"
        self._end(ctx, Aborted(what, missing=missing, blamed=blamed))

    def _end(self, ctx: Ctx, outcome: Finished[Any] | Aborted) -> None:
        self.outcome = outcome
        ctx.cancel_timer("deadline")
        ctx.cancel_timer("again")
        ctx.output(outcome)
