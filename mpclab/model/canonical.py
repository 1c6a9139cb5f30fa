"""A value's canonical form: equal for machines that hold the same, whatever led there.

Sets are sorted, functions and keys stand for themselves, and what refers back to an object on the
way down says which one it was. Dictionaries keep their order (which a machine may depend on) where
the form is `exact`; else they are sorted: who voted first is then not told apart.
"""

from __future__ import annotations

import hashlib
import random
import types
from array import array
from collections import deque
from typing import Any

import msgspec

from mpclab.core.machine import Machine
from mpclab.core.node import Node
from mpclab.core.wire import FUNCTIONS

_PLAIN = (int, str, bytes, float, bool, type(None))
_BY_IDENTITY = (type, *FUNCTIONS, random.Random)


def digest_of(node: Node, *, exact: bool = True) -> bytes:
    """16 bytes that stand for everything that the later steps of a node's machines depend on."""
    form = (
        [
            (path, canonical(machine, exact))
            for path in node.paths
            if (machine := node.machine(path))
        ],
        canonical({path: items for path, items in node.stored.items() if items}, False),
        canonical(node.timers, False),
        node.now,
    )
    return hashlib.blake2b(repr(form).encode(), digest_size=16).digest()


def canonical(value: Any, exact: bool = True, above: tuple[int, ...] = ()) -> Any:
    """Nested tuples of plain values that say what `value` holds."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if id(value) in above:
        return ("above", len(above) - above.index(id(value)))
    path = (*above, id(value))
    if kind in (tuple, list, deque):
        return (kind.__name__, *(canonical(one, exact, path) for one in value))
    if kind in (bytearray, array):
        return (kind.__name__, bytes(value))
    if isinstance(value, dict):
        items = [(canonical(k, exact, path), canonical(v, exact, path)) for k, v in value.items()]
        return ("dict", *(items if exact else sorted(items, key=repr)))
    if isinstance(value, set | frozenset):
        return ("set", *sorted((canonical(one, exact, path) for one in value), key=repr))
    if isinstance(value, msgspec.Struct):
        fields = (canonical(getattr(value, name), exact, path) for name in value.__struct_fields__)
        return (kind.__name__, *fields)
    if isinstance(value, types.MethodType):
        return ("method", value.__func__.__qualname__, canonical(value.__self__, exact, path))
    if isinstance(value, _BY_IDENTITY) or kind.__module__.startswith("mpclab.crypto."):
        return ("same", kind.__name__, id(value))  # these never change
    return (kind.__name__, *_attributes(value, exact, path))


def _attributes(value: Any, exact: bool, path: tuple[int, ...]) -> list[Any]:
    left_out = value.caches if isinstance(value, Machine) else ()
    names = list(getattr(value, "__dict__", ()))
    for base in type(value).__mro__:
        slots = base.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    return [
        (name, canonical(getattr(value, name), exact, path))
        for name in sorted(set(names))
        if name not in left_out and hasattr(value, name) and not name.startswith("__")
    ]
