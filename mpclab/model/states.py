"""What the model's states are made of: local states, messages, events; and their words."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from mpclab.core.effects import Effect
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party, Path
from mpclab.core.node import Node
from mpclab.core.wire import Frame, Message
from mpclab.crypto.identity import Identity

AT: Path = ("agreement",)

IDENTITIES = {p: Identity.from_seed(p.to_bytes(32, "big")) for p in range(1, 20)}


class Still(random.Random):
    """Coins that always fall alike, so that equal machines stay equal."""

    def random(self) -> float:
        return 0.5

    def getrandbits(self, k: int, /) -> int:
        return (1 << k) // 3

    def __deepcopy__(self, memo: dict[int, Any]) -> Still:
        return self


class OrderMatters(Exception):
    """Two nodes that differ in the order of a dictionary alone do different things."""


class Step(NamedTuple):
    """One event: what happened to whom."""

    what: str  # submit, deliver, repeat, lose, timer, crash, restart
    party: Party
    text: str = ""
    message: int = -1  # its number; of a submit, which wish
    timer: tuple[Path, str] | None = None
    cut: int = -1  # the party dies after so many effects of the step; -1: it does not


class SentMessage(NamedTuple):
    sender: Party
    receiver: Party
    frame: Frame


Given: TypeAlias = tuple[str, str, bytes, int | None]
"""decided, refused, leads or blames; an operation, a term or a party; the value; the place."""


class Local(NamedTuple):
    """A party at rest: its node, or its store alone when it is down; and what it ever gave out."""

    node: Node | None
    stored: Mapping[Path, Mapping[str, bytes]]
    given: tuple[Given, ...]


class Wish(NamedTuple):
    """What a party will submit: the operation, and which of its valid values."""

    party: Party
    op: str
    version: int = 0

    @property
    def text(self) -> str:
        """`a`, or `a|1` for another value of it."""
        return f"{self.op}|{self.version}" if self.version else self.op


class Done(NamedTuple):
    """The result of a step: the party's next local state and the messages it sent, by number.
    `effects` are kept only for telling."""

    after: int
    sent: tuple[int, ...]
    effects: tuple[Effect, ...] = ()


class State(NamedTuple):
    """Everything: local states and messages by number, and what may still be done."""

    parties: tuple[int, ...]
    network: tuple[int, ...]  # ascending; one that is there twice is under way twice
    submits: tuple[int, ...]  # those still to come
    losses: int
    timers: int
    crashes: int
    repeats: int


def value_of(op: str, version: int = 0) -> bytes:
    """One of the values that are valid for `op`."""
    return f"{op}|{version}".encode()


def wish(party: Party, text: str) -> Wish:
    """`a`, or `a|1` for another value that is valid for `a`."""
    op, _, version = text.partition("|")
    if not op or version not in ("", "0", "1"):
        raise UsageError(f"submits: {text!r}; write an operation's name, or name|1")
    return Wish(party, op, int(version or 0))


def said(msg: Message | None) -> str:
    """A message's fields in few words. Nothing here is a secret, and the bytes tell lies apart."""
    parts = []
    for name in msg.__struct_fields__ if msg is not None else ():
        value = getattr(msg, name)
        if isinstance(value, bytes):
            shown = value.decode() if value.isascii() and len(value) < 16 else f"{value.hex()[:8]}…"
            parts.append(f"{name}={shown}")
        elif isinstance(value, tuple):
            parts.append(f"{name}=({len(value)} items)")
        else:
            parts.append(f"{name}={value}")
    return ", ".join(parts)
