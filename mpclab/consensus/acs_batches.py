"""Batches of `acs`: operations in the order in which they came, as much as one may hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from mpclab.consensus.acs_messages import AcsBatch, AcsRequest
from mpclab.consensus.agreement import with_values

BYTES = 64 * 1024
"""Bytes of values in a batch, at most, unless it has one operation alone."""

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(AcsBatch).decode


def batch_of(pending: Mapping[str, bytes], most: int) -> bytes:
    """What has waited longest, `most` operations of it."""
    found: list[AcsRequest] = []
    size = 0
    for op, value in pending.items():
        size += len(value)
        if len(found) == most or (found and size > BYTES):
            break
        found.append(AcsRequest(op, value))
    return _encode(AcsBatch(tuple(found)))


def ops_of(batch: bytes) -> tuple[AcsRequest, ...] | None:
    """The operations of a delivered batch; None when it is none."""
    try:
        return _decode(batch).ops
    except msgspec.DecodeError:
        return None


def fits(ops: tuple[AcsRequest, ...], most: int) -> bool:
    """Operations once each, and no more than a batch may have."""
    if len(ops) > most or len({one.op for one in ops}) < len(ops):
        return False
    return len(ops) <= 1 or sum(len(one.value) for one in ops) <= BYTES


def united(batches: Iterable[bytes], done: Collection[str]) -> tuple[AcsRequest, ...]:
    """What batches hold, in order, each operation once and none that is decided."""
    found: dict[str, AcsRequest] = {}
    for batch in batches:
        for one in ops_of(batch) or ():
            if one.op not in done:
                found.setdefault(one.op, one)
    return tuple(found.values())


def other_batch(batch: bytes, values: Mapping[bytes, bytes]) -> bytes:
    """For adversaries alone: a batch that its party could have proposed too."""
    ops = ops_of(batch) or ()
    changed = tuple(with_values(one, values) or one for one in ops)
    return _encode(AcsBatch(changed if changed != ops else ops[1:]))
