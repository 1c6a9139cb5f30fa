"""The rows that effects are worth: the same in every world.

`make compiled` compiles this module as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

import msgspec

from mpclab.core.effects import (
    AddCandidates,
    Blame,
    CancelTimer,
    Connect,
    Effect,
    HangUp,
    Lied,
    MakeAnswer,
    MakeOffer,
    Note,
    Output,
    Persist,
    Received,
    Route,
    Send,
    SetTimer,
    TakeAnswer,
)
from mpclab.core.ids import Party
from mpclab.core.wire import Frame, Message
from mpclab.trace import rows
from mpclab.trace.log import Trace


def describe(msg: Message | None) -> str:
    """A message as text for a reader: `approve=True, op='k3'`. Bytes by length alone,
    since a trace must never hold a share."""
    if msg is None:
        return ""
    parts = []
    for name in msg.__struct_fields__:
        value = getattr(msg, name)
        if isinstance(value, int):
            parts.append(f"{name}={value}")
        elif isinstance(value, str):
            parts.append(f"{name}={value[:40]!r}")
        elif isinstance(value, tuple):
            parts.append(f"{name}=({len(value)} items)")
        elif isinstance(value, bytes | bytearray | memoryview):
            parts.append(f"{name}=<{len(value)} B>")
    return ", ".join(parts)


def record_sent(
    trace: Trace, now: int, actor: Party, to: tuple[Party, ...], frame: Frame, via: str
) -> None:
    """Append the row of a frame that `actor` gives to other actors."""
    trace.append(
        rows.Sent(
            now, actor, frame.id, to, frame.path, frame.kind, len(frame.body), via,
            frame.background, describe(frame.msg),
        )
    )  # fmt: skip


def record(trace: Trace, now: int, actor: Party, effect: Effect, base: int = 0) -> None:
    """Append the row that `effect` is worth. `base` turns a party into an actor: `base + party`.

    `Send`s are given with actors already, since only the server's host knows who is behind a
    connection.
    """
    match effect:
        case Send(to, frame, via):
            record_sent(trace, now, actor, to, frame, via)
        case Note(path, note):
            trace.append(rows.Noted(now, actor, path, note))
        case Lied(path, kind, id, to, said):
            told = tuple(base + p for p in to)
            trace.append(rows.Lied(now, actor, path, kind, id, told, said))
        case Output(path, value):
            trace.append(rows.Output(now, actor, path, text_of(value)))
        case Blame(path, party, reason, strength):
            trace.append(rows.Blamed(now, actor, path, party, reason, str(strength)))
        case Persist(path, key, value):
            trace.append(rows.Persisted(now, actor, path, key, len(value or b"")))
        case Received(sender, frame):
            trace.delivered(now, actor, base + sender, frame.id)
        case MakeOffer(_, peer, attempt) | MakeAnswer(_, peer, attempt):
            trace.append(rows.Linked(now, actor, base + peer, "dialing", attempt))
        case Route(_, peer, via):
            state = {"link": "confirmed", "relay": "relay"}.get(via, "closed")
            trace.append(rows.Linked(now, actor, base + peer, state))
        case SetTimer() | CancelTimer() | Connect() | TakeAnswer() | AddCandidates() | HangUp():
            pass
        case _:
            assert_never(effect)


def text_of(value: Any) -> str:
    """An output or an ask as one line for a reader; bytes by length alone."""
    return _plain(value)[:200]


def _plain(value: Any) -> str:
    if isinstance(value, msgspec.Struct):
        fields = (f"{f}={_plain(getattr(value, f))}" for f in value.__struct_fields__)
        return f"{type(value).__name__}({', '.join(fields)})"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} B>"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_plain(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(_plain, value)) + ")"
    return str(value)
