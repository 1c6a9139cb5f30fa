"""Strict mode: either all of a handler happens or nothing.

A handler that raises `PeerFault` or `UsageError` has its effects discarded. Its changes to its
machine stay, so it must have done nothing yet: validate everything, then change. `Node.strict`
holds every handler to that: it compares the machine before and after one that raised, and stops
the run with `HalfDone` when anything differs. Tests switch it on; it costs a snapshot of the
machine for each message from a party that an adversary holds, and nothing for others.
"""

import io
import pickle
from typing import Any

from mpclab.core.machine import Machine
from mpclab.core.registry import Registry

_OURS = ("mpclab.", "tests.", "collections", "random", "_random", "array")
_OPAQUE = ("mpclab.crypto.",)
"""Keys and group elements never change."""


class HalfDone(AssertionError):
    """A handler raised after it had changed its machine: a bug of that machine."""


class _Pickler(pickle.Pickler):
    """Writes plain state down; functions, classes and foreign objects are the same while they are
    the same object."""

    def reducer_override(self, obj: Any) -> Any:
        if obj is int:
            return NotImplemented
        if isinstance(obj, Registry):  # it imports what is looked up
            return int, (id(obj),)
        module = type(obj).__module__
        plain = module.startswith(_OURS) and not module.startswith(_OPAQUE)
        return NotImplemented if plain and not isinstance(obj, type) else (int, (id(obj),))


def snapshot(machine: Machine) -> dict[str, bytes]:
    """A machine's state, attribute by attribute; its `caches` left out."""
    return {
        name: _written(value) for name, value in vars(machine).items() if name not in machine.caches
    }


def _written(value: Any) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=5).dump(value)
    return buffer.getvalue()


def check_unchanged(machine: Machine, before: dict[str, bytes], error: Exception) -> None:
    """Raise `HalfDone` when `machine` differs from `before`."""
    after = snapshot(machine)
    changed = sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    if changed:
        raise HalfDone(
            f"{type(machine).__name__} raised {error!r} after it had changed {', '.join(changed)}"
        ) from error
