"""`PrepareNonces`: the first round of FROST, ahead of time and for many signatures at once.

RFC 9591 §5.1 lets nonces be drawn and committed to before the message is known ("preprocessing", §2
of FROST, Komlo and Goldberg 2020). Every holder of a key draws `count` pairs and broadcasts what
commits to them; a second round compares what everybody heard, so that all who get a table have the
same. By it a signature takes one round: a share of each of t signers, who follow from the pair's
number (`sign`).

**A pair is used once, for one message.** What that rests on:

1. It is in memory alone: no store, no trace and no message ever has it. Who restarts has lost its
   pairs, and says so; the signature then takes two rounds, with new ones.
2. It leaves memory when an operation that names its number begins, before there is a share: a
   second operation that names it finds none, whatever its message.
3. What is said of it (one share, under one list of signers) is stored before it is sent, and said
   again to the letter.
4. A lab that is turned back or forked, a real one too, has parties twice, with all that they hold:
   so on the new branch what is left of the pairs, or is being prepared, is dropped first
   (`Lab.rewind`, `Lab.fork`), and a simulated copy of a real lab draws coins of its own.

A simulated lab draws all from its seed, its keys as well, so that it repeats: branches on which the
same operation prepares nonces draw the same ones. Whoever has the seed has the key anyway.

Commitments of this key's earlier tables are refused, and who sent them is named. (Those that
another holder sends now are not: who copied them can sign nothing by them, and nobody can tell
which of the two did.) What a liar can still do is to keep its share to itself, or send a wrong one:
that names it, and costs one attempt.

Needs every member of the session; a party that is silent is missing, and there is no table. Nobody
can be named where a liar told two stories: then nobody has a table, as in `coin`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from mpclab.core.errors import PeerFault, Strength, UsageError
from mpclab.core.ids import SECOND, Party
from mpclab.core.machine import Ctx
from mpclab.core.rounds import Aborted, Copied, RoundMachine
from mpclab.core.wire import Message
from mpclab.crypto import frost
from mpclab.crypto.errors import EncodingError
from mpclab.crypto.frost import Nonces
from mpclab.crypto.keys import KeyShare
from mpclab.crypto.transcript import digest
from mpclab.mpc.packages import Entry
from mpclab.mpc.records import KeyRecord

MOST = 64
"""Pairs of a holder in one table."""


class Prepared(Message, frozen=True):
    """What commits a holder to its pairs, in the order of their numbers; nothing of others."""

    hiding: tuple[bytes, ...]
    binding: tuple[bytes, ...]


class Compared(Message, frozen=True):
    """The digest of everybody's commitments as they reached the sender."""

    heard: bytes


class Pairs:
    """Our pairs that are left, each to be taken once. Nothing shows them, and nothing stores them.

    Args:
        made: in the order of their numbers, from 1.
    """

    def __init__(self, made: Iterable[Nonces]) -> None:
        self._left = dict(enumerate(made, 1))

    def take(self, number: int) -> Nonces | None:
        """The pair of this number, which nobody can take any more; None: it is gone."""
        return self._left.pop(number, None)

    def forget(self) -> None:
        """Drop all that are left."""
        self._left.clear()

    def __len__(self) -> int:
        return len(self._left)

    def __repr__(self) -> str:
        return f"Pairs({len(self)} left)"


class NonceTable(msgspec.Struct, frozen=True):
    """The public result: the commitments of all holders of a key, by number from 1."""

    key: bytes
    holders: tuple[Party, ...]
    hiding: tuple[tuple[bytes, ...], ...]
    binding: tuple[tuple[bytes, ...], ...]

    @property
    def count(self) -> int:
        return len(self.hiding[0])

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def parse(cls, data: bytes) -> NonceTable | None:
        """Read `to_bytes`; None: it is something else."""
        try:
            found = _decode(data)
        except msgspec.DecodeError:
            return None
        columns = (*found.hiding, *found.binding)
        many = len(found.holders)
        fits = many and len(found.hiding) == len(found.binding) == many
        return found if fits and len({len(column) for column in columns}) == 1 else None

    def entries(self, number: int, signers: int) -> tuple[Entry, ...]:
        """Whose pair of this number signs, `signers` of the holders, with its commitments.

        Raises:
            UsageError: there is no such number.
        """
        if not 1 <= number <= self.count:
            raise UsageError(f"nonce: {number} is not in 1..{self.count}")
        many = len(self.holders)
        places = sorted((number + i) % many for i in range(signers))
        return tuple(
            Entry(self.holders[i], self.hiding[i][number - 1], self.binding[i][number - 1])
            for i in places
        )


_decode = msgspec.msgpack.Decoder(NonceTable).decode


@dataclass(frozen=True, slots=True)
class Ahead:
    """The first round of a signature, as it was prepared.

    Attributes:
        entries: the signers with their commitments.
        nonces: our pair; None where it is spent or lost, or we are no signer.
    """

    entries: tuple[Entry, ...]
    nonces: Nonces | None = None

    def __repr__(self) -> str:
        return f"Ahead({[entry.party for entry in self.entries]})"


class PrepareNonces(RoundMachine):
    """The result is what `present` makes of the table and of our own pairs.

    Args:
        context: what was agreed.
        record: of the key. `share`: ours, if we have one.
        count: pairs of each holder.
        used: commitments of this key's earlier tables.
    """

    rounds = (Prepared, Compared)

    def __init__(
        self,
        context: bytes,
        record: KeyRecord,
        share: KeyShare | None,
        count: int,
        *,
        used: Collection[bytes] = (),
        deadline: int = 10 * SECOND,
        present: Callable[[NonceTable, Pairs], Any] = lambda table, pairs: table,
    ) -> None:
        super().__init__(None, deadline)
        if not 1 <= count <= MOST:
            raise UsageError(f"count: {count} is not in 1..{MOST}")
        self.context, self.record, self.share, self.count = context, record, share, count
        self.present = present
        self.used = frozenset(used)
        self.made: list[Nonces] = []

    def produce(self, ctx: Ctx, k: int) -> Message:
        if k == 1:
            return Compared(self._heard())
        if self.share is None or ctx.me not in self.record.holders:
            return Prepared((), ())
        pairs = [frost.commit(self.share, ctx.rng) for _ in range(self.count)]
        self.made = [nonces for nonces, _ in pairs]
        commitments = [commitment for _, commitment in pairs]
        return Prepared(
            tuple(one.hiding for one in commitments), tuple(one.binding for one in commitments)
        )

    def check(self, ctx: Ctx, k: int, sender: Party, msg: Any) -> None:
        if not isinstance(msg, Prepared):
            return
        wanted = self.count if sender in self.record.holders else 0
        if not len(msg.hiding) == len(msg.binding) == wanted:
            raise PeerFault(f"committed to {len(msg.hiding)} pairs of nonces, not to {wanted}")
        decode = self.record.key().suite.group.decode_element
        for element in (*msg.hiding, *msg.binding):
            try:
                decode(element)
            except EncodingError as error:
                raise PeerFault(f"invalid nonce commitment: {error}") from None
        if self.used & {*msg.hiding, *msg.binding}:
            raise PeerFault("committed to nonces that were committed to before")

    def _heard(self) -> bytes:
        said = self.received[0]
        parts = tuple((p, said[p].hiding, said[p].binding) for p in self.participants)
        return digest("mpclab prepared nonces", self.context, self.record.public, parts)

    def result(self, ctx: Ctx) -> Any:
        if len({compared.heard for compared in self.received[1].values()}) > 1:
            raise PeerFault("the commitments differ from party to party", strength=Strength.SOMEONE)
        said, holders = self.received[0], self.record.holders
        table = NonceTable(
            self.record.public,
            holders,
            tuple(said[p].hiding for p in holders),
            tuple(said[p].binding for p in holders),
        )
        pairs, self.made = Pairs(self.made), []
        return self.present(table, pairs)

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        if isinstance(ask, Copied):
            self.made = []

    def on_fault(self, ctx: Ctx, fault: PeerFault, sender: Party) -> None:
        self.made = []
        if fault.strength is Strength.SOMEONE:
            ctx.blame(None, fault.reason, fault.strength)
            self._end(ctx, Aborted(fault.reason))
        else:
            super().on_fault(ctx, fault, sender)
