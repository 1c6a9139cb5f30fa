"""The hash-chained history: what was committed, in an order that all honest parties share.

Each entry's head is a hash over the one before it, the entry's place and its proposal, so equal
heads mean equal histories.

With a log protocol (Raft, PBFT, HotStuff, …) an entry's place is the log's index. A log may also
decide an operation that a party here has not got yet, so places can be filled out of order: the
chain runs up to the first gap. Where nothing orders operations (`direct`, 2pc, …) the chain is
the fold over the committed operations sorted by (Lamport stamp, proposer, id): two honest parties
that committed the same operations hold the same head, in whatever order they learnt of them. The
price is that an operation which comes late may move into the middle and change later heads.
"""

from __future__ import annotations

import bisect
from functools import lru_cache

import msgspec

from mpclab.coordinator.statements import Certificate
from mpclab.core import notes
from mpclab.crypto.transcript import digest
from mpclab.operations.proposal import Proposal


class Record(msgspec.Struct, frozen=True):
    """One committed operation: its certificate, and its place in the log (None: no log)."""

    certificate: Certificate
    index: int | None = None

    @property
    def proposal(self) -> Proposal:
        return self.certificate.signed.proposal

    @property
    def op(self) -> str:
        return self.certificate.op

    def pack(self) -> bytes:
        """As it is stored."""
        return msgspec.msgpack.encode(self)


@lru_cache(maxsize=1024)
def unpack_record(data: bytes) -> Record:
    """Read `Record.pack`.

    Raises:
        msgspec.DecodeError: it is damaged.
    """
    return _decode(data)


_decode = msgspec.msgpack.Decoder(Record).decode


class HistoryEntry(msgspec.Struct, frozen=True):
    """A place in the chain, from 0; `head` is the chain's hash with this entry as its last."""

    index: int
    record: Record
    head: bytes


def genesis(session: str) -> bytes:
    """The head of an empty history."""
    return digest("mpclab history", session)


def link(head: bytes, index: int, proposal: Proposal) -> bytes:
    """The head after `proposal` is appended. Approvals stay outside: two honest parties may hold
    different, equally good certificates for one proposal."""
    return digest("mpclab history entry", head, index, proposal.hash)


class History:
    """Committed operations and their chain. Grows only; an id is recorded once.

    Records are kept as they are stored, and read when they are asked for: that is half the memory.
    """

    def __init__(self, session: str) -> None:
        self.session = session
        self._packed: dict[str, bytes] = {}
        self._order: list[tuple[tuple[int, int, str], str]] = []  # (where it belongs, its id)
        self._heads: list[bytes] = []  # of the chained prefix, as far as it was computed
        self._skipped: list[int] = []  # ascending

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, op: str) -> Record:
        return unpack_record(self._packed[op])

    def __contains__(self, op: str) -> bool:
        return op in self._packed

    def add(self, record: Record, packed: bytes | None = None) -> int:
        """Insert a record, of which `packed` are the bytes; its place in the chain as it is now.

        Raises:
            ValueError: the id is there already.
        """
        op, proposal = record.op, record.proposal
        if op in self._packed:
            raise ValueError(f"{op} is in the history already")
        self._packed[op] = record.pack() if packed is None else packed
        key = (proposal.lamport, proposal.by, op) if record.index is None else (record.index, 0, "")
        place = bisect.bisect(self._order, key, key=lambda item: item[0])
        self._order.insert(place, (key, op))
        del self._heads[place:]
        return place if record.index is None else record.index

    def fits(self, index: int) -> bool:
        """Whether all of the log before `index` is known here, so that it is next (or past)."""
        place = bisect.bisect_left(self._order, (index, 0, ""), key=lambda item: item[0])
        return self._filled(place, index)

    def skip(self, index: int) -> None:
        """The log has no committed operation at `index`: one was aborted there."""
        place = bisect.bisect_left(self._skipped, index)
        if self._skipped[place : place + 1] != [index]:
            self._skipped.insert(place, index)

    @property
    def head(self) -> bytes:
        """The hash of everything up to the first gap, 32 bytes."""
        self._extend()
        return self._heads[-1] if self._heads else genesis(self.session)

    @property
    def tip(self) -> tuple[int, str]:
        """How many operations are committed, and the last of them ("": none)."""
        return len(self._order), self._order[-1][1] if self._order else ""

    def head_at(self, op: str) -> bytes:
        """The head just after `op`; the head of all where a gap comes before it."""
        self._extend()
        for place in reversed(range(len(self._order))):
            if self._order[place][1] == op:
                return self._heads[place] if place < len(self._heads) else self.head
        raise KeyError(op)

    def entries(self) -> tuple[HistoryEntry, ...]:
        """The chain, in order, up to the first gap."""
        self._extend()
        return tuple(
            HistoryEntry(place if record.index is None else record.index, record, head)
            for place, (head, (_, op)) in enumerate(zip(self._heads, self._order, strict=False))
            for record in (self[op],)
        )

    def verify(self) -> bool:
        """Recompute the chain from its beginning and compare."""
        head = genesis(self.session)
        for entry in self.entries():
            head = link(head, entry.index, entry.record.proposal)
            if head != entry.head:
                return False
        return True

    def _extend(self) -> None:
        head = self._heads[-1] if self._heads else genesis(self.session)
        for place in range(len(self._heads), len(self._order)):
            record = self[self._order[place][1]]
            index = place if record.index is None else record.index
            if index > place and not self._filled(place, index):
                return
            head = link(head, index, record.proposal)
            self._heads.append(head)

    def _filled(self, place: int, index: int) -> bool:
        """Whether all of the log before `index`, which stands at `place` here, is known."""
        return index - place == bisect.bisect_left(self._skipped, index)


def committed(history: History, record: Record) -> notes.Committed:
    """What is said of a record that is in the history."""
    return notes.Committed(
        op=record.op,
        kind=record.proposal.kind,
        index=record.index,
        stamp=record.proposal.lamport,
        head=history.head_at(record.op).hex()[:12],
        value=record.proposal.hash.hex()[:12],
        tip=history.head.hex()[:12],
    )
