"""Typed values as bytes, for recordings: plain data, structs, dataclasses and enums.

Not pickle: reading runs no code of the file's choosing. A class is looked up by name among the
modules that are already imported, and must be a `msgspec.Struct`, a dataclass or an `Enum`.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
from typing import Any

import msgspec


class UnknownType(Exception):
    """A value that is not plain data, or a class that cannot be found."""


def pack(value: Any) -> bytes:
    """`value` as msgpack.

    Raises:
        UnknownType: for anything but plain data, structs, dataclasses and enums.
    """
    return msgspec.msgpack.encode(_lower(value))


def unpack(data: bytes) -> Any:
    """The value that `pack` packed.

    Raises:
        UnknownType: for any other bytes, and for a class that is not imported here or not allowed.
    """
    try:
        return _raise(msgspec.msgpack.decode(data))
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise UnknownType(f"not typed values: {error}") from error


def _lower(value: Any) -> Any:
    """Plain data as itself; all else as [tag, …], so a list never stands for itself."""
    match value:
        case None | bool() | int() | float() | str() | bytes() if not isinstance(value, enum.Enum):
            if type(value) is int and not -(2**63) <= value < 2**64:
                return ["int", str(value)]
            return value
        case enum.Enum():
            return ["enum", _name(type(value)), _lower(value.value)]
        case list():
            return ["list", *map(_lower, value)]
        case msgspec.Struct():
            fields = {f: _lower(getattr(value, f)) for f in value.__struct_fields__}
            return ["data", _name(type(value)), fields]
        case tuple():
            return ["tuple", *map(_lower, value)]
        case dict():
            return ["dict", *([_lower(k), _lower(v)] for k, v in value.items())]
        case set() | frozenset():
            return ["set", *sorted((_lower(item) for item in value), key=repr)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _lower(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return ["data", _name(type(value)), fields]
    raise UnknownType(f"{value!r} is neither plain data, nor a struct, nor a dataclass")


def _raise(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    match value:
        case ["int", str(digits)]:
            return int(digits)
        case ["list", *items]:
            return [_raise(item) for item in items]
        case ["tuple", *items]:
            return tuple(_raise(item) for item in items)
        case ["set", *items]:
            return frozenset(_raise(item) for item in items)
        case ["dict", *items]:
            return {_raise(k): _raise(v) for k, v in items}
        case ["enum", str(name), inner]:
            cls = _class(name)
            if issubclass(cls, enum.Enum):
                return cls(_raise(inner))
        case ["data", str(name), dict(fields)]:
            cls = _class(name)
            if issubclass(cls, msgspec.Struct) or dataclasses.is_dataclass(cls):
                return cls(**{field: _raise(inner) for field, inner in fields.items()})
    raise UnknownType(f"{str(value)[:60]} is not a typed value")


def _name(cls: type[Any]) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _class(name: str) -> type[Any]:
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise UnknownType(f"the class {name} is not imported here")
    return found
