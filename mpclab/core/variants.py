"""Another message: what a liar says when its protocol offers nothing better.

For adversaries alone. In `altered` names, ids and signatures stay, so that it still is about the
same thing; in `one_field` everything stays but one field, whichever it is.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

Place: TypeAlias = tuple[str | int, ...]
"""Where a field lies in a message: names of fields, numbers in tuples."""

_NAMES = frozenset({"op", "id", "session", "kind", "attempt", "signature", "key", "public"})


def altered(msg: Any, story: int = 1) -> Any:
    """`msg` with one thing changed; None when it says nothing that could be said otherwise.

    The first of: a truth value (flipped), a text, bytes (same length). Names and signatures
    stay. Nested messages are searched last.
    """
    fields = {f: getattr(msg, f) for f in msg.__struct_fields__ if f not in _NAMES}
    for name, value in fields.items():
        if isinstance(value, bool):
            return msgspec.structs.replace(msg, **{name: value ^ bool(story % 2)})
    for name, value in fields.items():
        if isinstance(value, str) and value:
            return msgspec.structs.replace(msg, **{name: f"{value}, version {story + 1}"})
        if isinstance(value, bytes) and value:
            other = bytes([value[0] ^ (story & 0xFF or 1)]) + value[1:]
            return msgspec.structs.replace(msg, **{name: other})
    for name, value in fields.items():
        if isinstance(value, msgspec.Struct):
            inner = altered(value, story)
            if inner is not None:
                return msgspec.structs.replace(msg, **{name: inner})
    return None


def one_field(msg: Any, pick: Callable[[int], int], past: Sequence[Any] = ()) -> Any:
    """`msg` with one field changed, however deep it lies; None when it has no field.

    Args:
        pick: a number below the one that it is given.
        past: messages said before. One of this type may lend what it has in that field: another
            view, another operation, another digest, so that the lie is about something real.
    """
    places = list(_places(msg))
    while places:
        place = places.pop(pick(len(places)))
        old = _at(msg, place)
        others = [value for value in (*_lent(msg, place, past), *_near(old)) if value != old]
        if others:
            return _with(msg, place, others[pick(len(others))])
    return None


def _lent(msg: Any, place: Place, past: Sequence[Any]) -> Iterator[Any]:
    """The values that earlier messages of this type have in that place."""
    for other in past:
        if type(other) is type(msg):
            with contextlib.suppress(IndexError, AttributeError, TypeError):
                yield _at(other, place)  # unless it is shorter, or of another shape there


def _places(value: Any, place: Place = ()) -> Iterator[Place]:
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            if name != "signature":
                yield from _places(getattr(value, name), (*place, name))
        return
    yield place
    if isinstance(value, tuple):
        for k, item in enumerate(value):
            yield from _places(item, (*place, k))


def _at(value: Any, place: Place) -> Any:
    for step in place:
        value = getattr(value, step) if isinstance(step, str) else value[step]
    return value


def _with(value: Any, place: Place, new: Any) -> Any:
    if not place:
        return new
    step, *rest = place
    inner = _with(_at(value, (step,)), tuple(rest), new)
    if isinstance(step, str):
        return msgspec.structs.replace(value, **{step: inner})
    return (*value[:step], inner, *value[step + 1 :])


def _near(old: Any) -> list[Any]:
    """Other values of the same type."""
    match old:
        case bool():
            return [not old]
        case int():
            return [old + 1, max(0, old - 1), old + 4, 0, 2**50]
        case bytes():
            return [bytes([old[0] ^ 1, *old[1:]]) if old else b"\x01", b""]
        case str():
            return [f"{old}|", ""]
        case tuple() if old:
            return [old[1:], old[:-1], (*old, old[0]), old[::-1]]
    return []
