"""What a party's machines hold, as names and texts: for the scrubber, at any moment of a run.

A look goes through a node: the fields of its machines, its timers, what it stored. It tells what
a reader may see. Bytes and large numbers are told by length alone, fields that are secret by their
name are sealed, and so is all that machines of secret computations hold: what is looked at may be
saved with a notebook or sent to a colleague.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mpclab.core.ids import SERVER, Party, Path, format_duration
from mpclab.core.machine import Machine
from mpclab.core.node import Node
from mpclab.lab.journal import Deed
from mpclab.lab.kin import Kin
from mpclab.lab.travel import repeat
from mpclab.worlds.simulated import SimulatedWorld

if TYPE_CHECKING:
    from mpclab.view.feed import Change

MOST_CHANGES: Final = 40_000
"""Changes that a page holds, about 1 MB."""
_SECRET: Final = re.compile(
    r"secret|private|share|nonce|coin|rng|identity|passphrase|mask|blind|seal|salt|token|input"
)
_FIXED: Final = frozenset(
    {"config", "settings", "membership", "options", "keys", "policy", "kinds"}
)
_SEALED: Final = ("mpclab.mpc", "mpclab.operations", "mpclab.crypto")
_FEW, _LONG, _DEEP = 6, 90, 2
_LARGEST: Final = 2**53

Fields = dict[str, str]


def look(lab: Kin) -> dict[Party, Fields]:
    """What every party of a simulated lab holds now, by name; parties that are down are left out.

    Names are `session/agreement: view`, `timer session/agreement: heartbeat`, `disk session: k`.
    """
    assert isinstance(lab.world, SimulatedWorld)
    found: dict[Party, Fields] = {}
    for actor in lab.world.actors:
        party = lab.group.numbering.party(actor)
        if party is not None and party != SERVER:
            found[party] = _fields(lab.world, actor)
    return found


def _fields(world: SimulatedWorld, actor: Party) -> Fields:
    disk = world.disk(actor)
    fields: Fields = world.look(actor, lambda node: fields_of(node, disk))
    return fields


def fields_of(node: Node, disk: Mapping[Path, Mapping[str, bytes]]) -> Fields:
    """What one node holds, and what its party has stored."""
    found: Fields = {}
    for path in node.paths:
        place = "/".join(path) or "party"
        machine = node.machine(path)
        if type(machine).__module__.startswith(_SEALED):
            found[place] = f"{type(machine).__name__} (sealed)"
            continue
        found[place] = type(machine).__name__
        for name, text in _flat(machine, "", 0, {id(machine)}):
            found[f"{place}: {name}"] = text
    for (path, name), at in node.timers.items():
        found[f"timer {'/'.join(path) or 'party'}: {name}"] = format_duration(at)
    for path, items in disk.items():
        for key, value in items.items():
            found[f"disk {'/'.join(path) or 'party'}: {key}"] = f"{len(value)} B"
    return found


def _flat(thing: Any, before: str, depth: int, seen: set[int]) -> Iterator[tuple[str, str]]:
    for name, value in _attributes(thing):
        shown = before + name.lstrip("_")
        if name.lstrip("_") in _FIXED or isinstance(value, Machine):
            continue
        if _SECRET.search(name.lower()):
            yield shown, "sealed"
        elif _is_ours(value) and not isinstance(value, msgspec.Struct):
            if depth < _DEEP and id(value) not in seen:  # many parts know each other
                seen.add(id(value))
                yield from _flat(value, f"{shown}.", depth + 1, seen)
        elif not callable(value):
            yield shown, tell(value)


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, msgspec.Struct):
        yield from ((name, getattr(thing, name)) for name in thing.__struct_fields__)
        return
    names = [*getattr(thing, "__dict__", ())]
    for base in type(thing).__mro__:
        slots = base.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    for name in dict.fromkeys(names):
        if hasattr(thing, name):
            yield name, getattr(thing, name)


def _is_ours(value: Any) -> bool:
    module = type(value).__module__
    return module.startswith("mpclab.") and not module.startswith(_SEALED)


def tell(value: Any, depth: int = 0) -> str:
    """A value as one short text without a secret in it."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} B>"
    if isinstance(value, int):
        return str(value) if abs(value) < _LARGEST else f"<{value.bit_length()}-bit number>"
    if isinstance(value, str):
        return repr(value if len(value) <= _LONG else value[:_LONG] + "…")
    if isinstance(value, float):
        return f"{value:g}"
    if type(value).__module__.startswith(_SEALED):
        return f"{type(value).__name__} (sealed)"
    if depth >= _DEEP:
        return type(value).__name__
    if isinstance(value, Mapping):
        items = sorted(value.items(), key=lambda item: repr(item[0]))
        each = [
            f"{tell(k, depth + 1)}: {'sealed' if _hides(k) else tell(v, depth + 1)}"
            for k, v in items[:_FEW]
        ]
        return _joined("{", each, "}", len(value))
    if isinstance(value, set | frozenset):
        ordered = sorted(value, key=repr)
        return _joined("{", [tell(v, depth + 1) for v in ordered[:_FEW]], "}", len(value))
    if hasattr(value, "__len__") and hasattr(value, "__iter__"):
        each = [tell(v, depth + 1) for v in islice(value, _FEW)]
        return _joined("[", each, "]", len(value))
    name = type(value).__name__
    if not _is_ours(value):
        return name
    parts = [
        f"{field.lstrip('_')}={'sealed' if _hides(field) else tell(inner, depth + 1)}"
        for field, inner in islice(_attributes(value), _FEW)
        if not callable(inner)
    ]
    return f"{name}({', '.join(parts)})"[: 2 * _LONG]


def _hides(name: Any) -> bool:
    return isinstance(name, str) and _SECRET.search(name.lower()) is not None


def _joined(left: str, each: list[str], right: str, size: int) -> str:
    more = f", … {size} in all" if size > len(each) else ""
    return f"{left}{', '.join(each)}{more}{right}"


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> Fields:
    """What is other in `after`; what is gone is empty."""
    found = {name: text for name, text in after.items() if before.get(name) != text}
    return found | {name: "" for name in before if name not in after}


def watch(
    lab: Kin, deeds: Iterable[Deed], rows: int, most: int = MOST_CHANGES
) -> tuple[list[Change], bool]:
    """Let a new lab go the way of `deeds`, event by event, until its trace has `rows`.

    Returns what changed in its machines, in the order of rows, and whether that is all.
    """
    world = lab.world
    assert isinstance(world, SimulatedWorld)
    held: dict[Party, Fields] = {}
    from mpclab.view.feed import Change

    found: list[Change] = []
    cursor = (0, 0)

    def see() -> bool:
        nonlocal cursor
        news, cursor = lab.trace.since(cursor)
        for actor in dict.fromkeys(row.actor for row in news if row.actor > SERVER):
            now = _fields(world, actor) if actor in world.actors else {}
            for name, text in differences(held.get(actor, {}), now).items():
                found.append(Change(len(lab.trace) - 1, world.now, actor, name, text))
            held[actor] = now
        return len(lab.trace) < rows and len(found) <= most

    ways: list[Deed | None] = [*deeds, None]
    for deed in ways:
        end = deed.place.taken if deed else float("inf")
        while world.taken < end and world.next_at() is not None:
            world.reach(world.taken + 1, world.now)
            if not see():
                return found[:most], len(found) <= most
        if deed is not None:
            world.reach(deed.place.taken, deed.place.at)
            repeat(lab, deed)
            if not see():
                break
    return found[:most], len(found) <= most
