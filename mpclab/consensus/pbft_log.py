"""PBFT's log: the places after the stable checkpoint, the history before them; both stored.

Stored: `slot/<seq>` a place, `request/<digest>` a request that some place holds, `done/<seq>` an
executed request (of an old one whose value is on record: `old/<seq>` its id), `stable` the stable
checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from mpclab.consensus.agreement import KEPT as KEPT_VALUES
from mpclab.consensus.agreement import Recall
from mpclab.consensus.pbft_messages import (
    GENESIS,
    NULL,
    CheckpointId,
    Claim,
    PbftRequest,
    extended,
)
from mpclab.consensus.quorum import Tally
from mpclab.core.machine import Ctx

KEPT = 16
"""Requests that a place remembers as accepted (Q). Of more, the one of the earliest view goes:
that a claim is vouched for (A2) may then fail, which costs progress and never safety."""

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.decode


class KeptSlot(msgspec.Struct, frozen=True):
    """A slot as stored."""

    view: int
    digest: bytes
    prepared: tuple[int, bytes] | None
    accepted: tuple[tuple[bytes, int], ...]


@dataclass(slots=True)
class Slot:
    """One place of the log, on its way.

    `view` to `is_prepared` belong to *one* view, the one of the pre-prepare accepted last.
    `prepared` (P), `accepted` (Q) and `committed` outlive it: they are what a VIEW-CHANGE says,
    and what is decided.
    """

    view: int = -1  # of the pre-prepare that we accepted last
    digest: bytes = b""  # what it said
    is_prepared: bool = False  # prepared(m, v, n, i) with v = `view`
    prepared: tuple[int, bytes] | None = None  # P: the last view in which we prepared, and what
    accepted: dict[bytes, int] = field(default_factory=dict)  # Q: digest → last view
    committed: bytes | None = None  # committed-local, in whatever view: never another
    prepares: dict[int, Tally] = field(default_factory=dict)  # PREPAREs by view
    commits: dict[int, Tally] = field(default_factory=dict)  # COMMITs by view


class Slots:
    """The places in the window `stable < seq <= stable + window` (h and H of the paper)."""

    def __init__(self, stored: Mapping[str, bytes], window: int) -> None:
        self.window = window
        self.stable = _decode(stored["stable"], type=int) if "stable" in stored else 0
        self.slots: dict[int, Slot] = {}
        self.requests: dict[bytes, PbftRequest] = {NULL: PbftRequest("", b"")}  # by digest
        self.orphans: list[str] = []  # keys that a crash amid a deletion has left
        for key, data in stored.items():
            kind, _, name = key.partition("/")
            if kind == "slot" and int(name) > self.stable:
                kept = _decode(data, type=KeptSlot)
                slot = Slot(kept.view, kept.digest, prepared=kept.prepared)
                slot.accepted = dict(kept.accepted)
                self.slots[int(name)] = slot
            elif kind == "slot":
                self.orphans.append(key)
        held = {digest for slot in self.slots.values() for digest in slot.accepted}
        for key, data in stored.items():
            kind, _, name = key.partition("/")
            if kind == "request" and bytes.fromhex(name) in held:
                self.requests[bytes.fromhex(name)] = _decode(data, type=PbftRequest)
            elif kind == "request":
                self.orphans.append(key)

    def sweep(self, ctx: Ctx) -> None:
        """Delete what a crash amid a deletion has left."""
        for key in self.orphans:
            ctx.persist(key, None)
        self.orphans.clear()

    def contains(self, seq: int) -> bool:
        """Whether `seq` is between the watermarks (§4.2: h < n ≤ H)."""
        return self.stable < seq <= self.stable + self.window

    def at(self, seq: int) -> Slot | None:
        """The place `seq`, if it is inside the window."""
        if (slot := self.slots.get(seq)) is not None:
            return slot
        return self.slots.setdefault(seq, Slot()) if self.contains(seq) else None

    @property
    def last(self) -> int:
        """The highest place in use."""
        return max(self.slots, default=self.stable)

    def keep_request(self, ctx: Ctx, digest: bytes, request: PbftRequest) -> None:
        """Store a request that a place is about to hold."""
        if digest not in self.requests:
            self.requests[digest] = request
            ctx.persist(f"request/{digest.hex()}", _encode(request))

    def accept(self, ctx: Ctx, view: int, seq: int, digest: bytes) -> Slot:
        """Pre-prepared in `view`: stored."""
        slot = self.slots[seq]
        slot.view, slot.digest, slot.is_prepared = view, digest, False
        slot.accepted[digest] = view
        if len(slot.accepted) > KEPT:
            del slot.accepted[min(slot.accepted, key=lambda d: (slot.accepted[d], d))]
        self._keep(ctx, seq, slot)
        return slot

    def prepare(self, ctx: Ctx, seq: int, slot: Slot) -> None:
        """Prepared in the view of its pre-prepare: stored."""
        slot.is_prepared = True
        slot.prepared = (slot.view, slot.digest)
        self._keep(ctx, seq, slot)

    def _keep(self, ctx: Ctx, seq: int, slot: Slot) -> None:
        kept = KeptSlot(slot.view, slot.digest, slot.prepared, tuple(slot.accepted.items()))
        ctx.persist(f"slot/{seq}", _encode(kept))

    def leave(self, view: int) -> None:
        """Thesis §3.2.4: with P and Q computed, the messages of views before `view` are
        removed from the log. Their requests are certified no more."""
        for slot in self.slots.values():
            slot.is_prepared = slot.is_prepared and slot.view >= view
            slot.prepares = {v: t for v, t in slot.prepares.items() if v >= view}
            slot.commits = {v: t for v, t in slot.commits.items() if v >= view}

    def prepared(self) -> tuple[Claim, ...]:
        """P: what each place prepared last."""
        claims = ((seq, slot.prepared) for seq, slot in sorted(self.slots.items()))
        return tuple(Claim(seq, *p) for seq, p in claims if p is not None)

    def accepted(self) -> tuple[Claim, ...]:
        """Q: what each place pre-prepared, and when last."""
        places = sorted(self.slots.items())
        return tuple(Claim(s, v, d) for s, x in places for d, v in sorted(x.accepted.items()))

    def collect(self, ctx: Ctx, seq: int) -> None:
        """§4.3: checkpoint `seq` is stable, so all up to it is discarded."""
        self.stable = seq
        ctx.persist("stable", _encode(seq))
        for old in [s for s in self.slots if s <= seq]:
            del self.slots[old]
            ctx.persist(f"slot/{old}", None)
        held = {digest for slot in self.slots.values() for digest in slot.accepted}
        for digest in sorted(self.requests.keys() - held - {NULL}):
            del self.requests[digest]
            ctx.persist(f"request/{digest.hex()}", None)


class Executed:
    """The history: executed requests in order, stored; and our checkpoints of it.

    Of old requests whose values are on record (`recall`) we keep the operations' ids alone.
    """

    def __init__(
        self,
        stored: Mapping[str, bytes],
        interval: int,
        stable: int,
        recall: Recall = lambda op: None,
    ) -> None:
        self.interval = interval
        self.recall = recall
        self._requests: list[PbftRequest | str] = []
        self._old = 0  # so many were looked up on record
        self.digest = GENESIS  # of the history so far
        self.checkpoints: dict[int, bytes] = {0: GENESIS}  # C: from the stable one on
        while (request := self._stored(stored, self.count + 1)) is not None:
            self._append(request)
            if f"old/{self.count}" in stored:
                self._requests[-1] = request.op
        self.collect(stable)

    def _stored(self, stored: Mapping[str, bytes], seq: int) -> PbftRequest | None:
        if (op := stored.get(f"old/{seq}")) is None:
            data = stored.get(f"done/{seq}")
            return None if data is None else _decode(data, type=PbftRequest)
        if (value := self.recall(op.decode())) is None:
            raise ValueError(f"the value of place {seq} is not on record any more")
        return PbftRequest(op.decode(), value)

    @property
    def count(self) -> int:
        """How many places are executed, which is also the last of them."""
        return len(self._requests)

    def between(self, first: int, last: int) -> Iterator[PbftRequest]:
        """The requests of these places, as far as we are."""
        for kept in self._requests[first - 1 : last]:
            if isinstance(kept, str):
                if (value := self.recall(kept)) is None:
                    return
                yield PbftRequest(kept, value)
            else:
                yield kept

    def add(self, ctx: Ctx, request: PbftRequest) -> None:
        """Execute the next place: stored."""
        ctx.persist(f"done/{self.count + 1}", _encode(request))
        self._append(request)
        while self._old < self.count - KEPT_VALUES:
            old = self._requests[self._old]
            value = self.recall(old.op) if isinstance(old, PbftRequest) and old.op else b""
            if value is None:
                break  # not on record yet
            self._old += 1
            if isinstance(old, PbftRequest) and old.op and value == old.value:
                # The record was stored before this: a crash leaves the one or the other.
                ctx.persist(f"old/{self._old}", old.op.encode())
                ctx.persist(f"done/{self._old}", None)
                self._requests[self._old - 1] = old.op

    def _append(self, request: PbftRequest) -> None:
        self._requests.append(request)
        self.digest = extended(self.digest, request)
        if self.count % self.interval == 0:
            self.checkpoints[self.count] = self.digest

    def collect(self, stable: int) -> None:
        """Forget the checkpoints before the stable one."""
        self.checkpoints = {s: d for s, d in self.checkpoints.items() if s >= stable}

    def ids(self) -> tuple[CheckpointId, ...]:
        """C: sequence numbers and digests of the checkpoints that we hold."""
        return tuple(CheckpointId(s, d) for s, d in sorted(self.checkpoints.items()))
