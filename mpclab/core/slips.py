"""Beginners' slips in a machine, found when its class is first seated, and said in its own terms.

Python would let most of them pass in silence, or answer far from their cause: a handler without
the right parameters fails at the first message, a `float` is rounded differently elsewhere, a
misspelt handler is never called. Everything here is done once for each class; what can only be
seen when a message is sent is checked by `Ctx`.
"""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from mpclab.core.errors import MachineError
from mpclab.core.wire import Message

OTHER_WORDS = {
    "on_start": "start",
    "on_begin": "start",
    "on_msg": "on_message",
    "on_receive": "on_message",
    "on_timeout": "on_timer",
    "on_result": "on_output",
}
"""The names that other libraries have for our handlers."""

_PLAIN = ("IntType", "StrType", "BytesType", "BoolType", "NoneType", "LiteralType", "EnumType")
_INSTEAD = {
    "FloatType": "a float differs from machine to machine; send an int in a small unit",
    "DictType": "send a tuple of pairs",
    "ListType": "send a tuple: tuple[int, ...]",
    "SetType": "send a sorted tuple",
    "FrozenSetType": "send a sorted tuple",
    "AnyType": "say of which type it is",
    "RawType": "say of which type it is",
}


def check_handlers(cls: type, base: type, names: Iterable[str]) -> None:
    """Compare the handlers that `cls` overrides with those of `base`.

    Args:
        names: the handlers, all methods of `base`.

    Raises:
        MachineError: a handler with other parameters than it is called with, one that is `async`
            or a generator (it would run at nobody's command), or one whose name is misspelt.
    """
    known = tuple(names)
    for name in known:
        ours = getattr(cls, name)
        if ours is not getattr(base, name):
            _check_handler(cls, name, ours, getattr(base, name))
    for name in dir(cls):
        if name.lower().startswith("on") and name not in known and callable(getattr(cls, name)):
            meant = OTHER_WORDS.get(name) or _nearest(name, known)
            if meant and getattr(cls, meant) is getattr(base, meant):
                raise MachineError(f"{cls.__name__}.{name} is never called; call it {meant}")


def _check_handler(
    cls: type, name: str, ours: Callable[..., Any], theirs: Callable[..., Any]
) -> None:
    where = f"{cls.__name__}.{name}"
    wanted = list(inspect.signature(theirs).parameters)
    if not callable(ours):
        raise MachineError(f"{where} is {ours!r}; make it a method ({', '.join(wanted)})")
    if inspect.iscoroutinefunction(ours) or inspect.isasyncgenfunction(ours):
        raise MachineError(
            f"{where} is async; a handler is plain `def`: it reacts, sets a timer, and returns"
        )
    if inspect.isgeneratorfunction(ours):
        raise MachineError(f"{where} yields; a handler is a plain function and only returns")
    bound = not isinstance(inspect.getattr_static(cls, name), types.FunctionType)
    signature = inspect.signature(ours)
    try:
        signature.bind(*wanted[bound:])
    except TypeError:
        got = ", ".join(map(_unannotated, signature.parameters.values()))
        raise MachineError(f"{where}({got}): write {name}({', '.join(wanted)})") from None


def _unannotated(parameter: inspect.Parameter) -> str:
    return str(parameter.replace(annotation=inspect.Parameter.empty))


def _nearest(name: str, known: tuple[str, ...]) -> str | None:
    """The handler that `name` is probably a misspelling of: `onMessage`, `on_mesage`."""
    plain = {k.replace("_", ""): k for k in known}
    close = difflib.get_close_matches(name.lower().replace("_", ""), plain, n=1, cutoff=0.85)
    return plain[close[0]] if close else None


def annotated_messages(cls: type, on_message: Callable[..., Any]) -> Any:
    """The type that the last parameter of `cls.on_message` is annotated with.

    Raises:
        MachineError: it has no annotation, or one that cannot be resolved.
    """
    where = f"{cls.__name__}.on_message"
    parameter = list(inspect.signature(on_message).parameters)[-1]
    try:
        annotation = typing.get_type_hints(on_message).get(parameter, Any)
    except NameError as error:
        raise MachineError(
            f"{where}: {error}; define its message classes at the top "
            f"level, or set {cls.__name__}.messages = A | B"
        ) from error
    if annotation is Any or annotation is Message:
        raise MachineError(
            f"{where}: annotate {parameter} with the message classes it takes, as in "
            f"`{parameter}: Vote | Echo`, or set {cls.__name__}.messages = Vote | Echo"
        )
    return annotation


def check_messages(where: str, messages: Any, *, raw: bool = False) -> None:
    """Check what a machine says it takes: `Message` classes whose fields every machine reads alike.

    Args:
        where: whose they are, for the error.
        messages: a message class or a union of them.
        raw: whether fields may be unread JSON (between clients and the signaling server).

    Raises:
        MachineError: naming the class, the field, and what to write instead.
    """
    for one in typing.get_args(messages) or (messages,):
        if not isinstance(one, type) or not issubclass(one, Message):
            name = getattr(one, "__name__", repr(one))
            raise MachineError(
                f"{where}: {name} is no message class; write `class Number(Message): value: int` "
                f"and take that"
            )
        try:
            info = msgspec.inspect.type_info(one)
        except (NameError, TypeError) as error:
            raise MachineError(f"{where}: {one.__name__}: {error}") from error
        assert isinstance(info, msgspec.inspect.StructType)
        _check_fields(where, info, raw, set())


def _check_fields(
    where: str, struct: msgspec.inspect.StructType, raw: bool, seen: set[type]
) -> None:
    if struct.cls in seen:
        return
    seen.add(struct.cls)
    for field in struct.fields:
        for part in _leaves(field.type):
            kind = type(part).__name__
            if isinstance(part, msgspec.inspect.StructType):
                _check_fields(where, part, raw, seen)
            elif kind not in _PLAIN and not (raw and kind == "RawType"):
                instead = _INSTEAD.get(kind, "use int, str, bytes, bool, tuple or a message")
                raise MachineError(
                    f"{where}: {struct.cls.__name__}.{field.name} is of type "
                    f"{kind.removesuffix('Type').lower()}, which does not travel; {instead}"
                )


def _leaves(kind: msgspec.inspect.Type) -> list[msgspec.inspect.Type]:
    match kind:
        case msgspec.inspect.UnionType(types=parts):
            return [leaf for part in parts for leaf in _leaves(part)]
        case msgspec.inspect.TupleType(item_types=parts):
            return [leaf for part in parts for leaf in _leaves(part)]
        case msgspec.inspect.VarTupleType(item_type=part):
            return _leaves(part)
    return [kind]


def not_a_message(name: str, msg: Any) -> MachineError:
    """The error of a machine of class `name` that sends `msg`, which is no message."""
    hint = ""
    if isinstance(msg, type) and issubclass(msg, Message):
        hint = f"; send an instance: {msg.__name__}(…)"
    elif isinstance(msg, Mapping | str | bytes | int | float | tuple | list):
        hint = "; write a class: `class Vote(Message): approve: bool`, and send Vote(True)"
    return MachineError(f"{name} sends {msg!r:.80}, which is no Message{hint}")


def nobody_reads(cls: type, msg: Any) -> MachineError:
    """The error of a machine that sends to its like what it has no handler for."""
    sent = type(msg).__name__
    return MachineError(
        f"{cls.__name__} sends {sent}, which it cannot read itself; write "
        f"on_message(self, ctx, sender, msg: {sent})"
    )
