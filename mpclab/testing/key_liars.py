"""A party that says well-formed nonsense in the protocols of `mpclab.mpc`, under its own name."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import msgspec

from mpclab.core.effects import Words
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.rounds import Again
from mpclab.core.wire import Message
from mpclab.mpc.dealing import SharedDealing
from mpclab.mpc.messages import (
    ACK,
    CONFIRM,
    Ack,
    Announce,
    Certificate,
    Confirm,
    Deal,
    Want,
    ack_parts,
    confirm_parts,
)
from mpclab.mpc.packages import PACKAGE, Package, Resend, Signed
from mpclab.mpc.repair import SPLIT, SUMS, Split, Sums
from mpclab.testing.cast import Tamper

EXTRA: tuple[Message, ...] = (
    Want((1, 1, 9), 7, (1, 2), (3,), (2,)),
    Announce(b""),
    Certificate((), b"", ()),
    Certificate(((1,), (2,)), b"", ()),
    Signed(bytes(64)),
    Resend(-5),
    Again(10**6),
    Again(-1),
)
"""Messages that a liar sends out of the blue."""


def altered(value: Any, coins: random.Random) -> Any:
    """`value` of the same type with something else in it."""
    if isinstance(value, msgspec.Struct):
        if not value.__struct_fields__:
            return value
        name = coins.choice(value.__struct_fields__)
        return msgspec.structs.replace(value, **{name: altered(getattr(value, name), coins)})
    if isinstance(value, tuple):
        place = coins.randrange(len(value)) if value else 0
        changed = tuple(altered(v, coins) for v in value[place : place + 1])
        others = (value[:-1], value + value[:1], value[::-1])
        return coins.choice([(), *others, (*value[:place], *changed, *value[place + 1 :])])
    if isinstance(value, bytes):
        same = bytes(len(value))
        return coins.choice([b"", value[:-1], value + b"x", same, coins.randbytes(len(value))])
    return coins.choice([-1, 0, 1, 2, 5, 99, 2**40, value + 1, value - 1])


def signed_anew(machine: Any, me: Party, msg: Message) -> Message:
    """`msg` under the liar's own signature, where it needs one."""
    match msg:
        case Deal() if isinstance(machine, SharedDealing):
            return machine._signed_deal(msgspec.structs.replace(msg, signature=b""))
        case Ack() if isinstance(machine, SharedDealing):
            parts = ack_parts(machine.parameters.context, msg)
            return msgspec.structs.replace(msg, signature=machine.identity.sign(ACK, *parts))
        case Confirm() if isinstance(machine, SharedDealing):
            parts = confirm_parts(machine.parameters.context, msg.party, msg.digest)
            return msgspec.structs.replace(msg, signature=machine.identity.sign(CONFIRM, *parts))
        case Split() | Sums():
            label = SPLIT if isinstance(msg, Split) else SUMS
            signature = machine.identity.sign(label, machine._hash(me, msg))
            return msgspec.structs.replace(msg, signature=signature)
        case Package():
            parts = machine._endorsed(msg.attempt, machine._digest(msg))
            return msgspec.structs.replace(msg, signature=machine.identity.sign(PACKAGE, *parts))
    return msg


def liar(seed: int) -> Tamper:
    """Says what it should, and half of the time something else as well or instead."""
    coins = random.Random(seed)

    def tamper(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        return _told(coins, machine, ctx.me, msg, to)

    return tamper


def quiet_liar(seed: int) -> Tamper:
    """Follows the protocol up to one of its words; from then on it keeps words of that kind from
    some, for a while or for good, or says something else to them."""
    coins = random.Random(seed)
    first, kept = coins.choice((0, 1, 2, 4, 7, 11)), []  # type: ignore[var-annotated]
    state: dict[str, Any] = {"said": 0, "kind": None, "from": ()}
    way = coins.choice(("withhold", "withhold", "delay", "delay", "alter", "restate"))

    def tamper(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        told: list[tuple[tuple[Party, ...], Message]] = []
        if kept and coins.random() < 0.2:
            told.append(kept.pop(coins.randrange(len(kept))))
        if type(msg) in (Want, Resend, Again):
            return [*told, (to, msg)]
        state["said"] += 1
        if state["said"] > first and state["kind"] is None:
            others = [p for p in ctx.members if p != ctx.me]
            state["kind"] = type(msg)
            state["from"] = tuple(coins.sample(others, coins.randint(1, len(others))))
        if type(msg) is not state["kind"]:
            return [*told, (to, msg)]
        victims = tuple(p for p in to if p in state["from"])
        told.append((tuple(p for p in to if p not in victims), msg))
        match way:
            case "delay":
                kept.append((victims, msg))
            case "alter":
                told.append((victims, signed_anew(machine, ctx.me, altered(msg, coins))))
            case "restate":
                other = getattr(machine, "restated", lambda msg, story: None)(msg, seed)
                told.append((victims, msg if other is None else other))
        return told

    return tamper


class LyingWords:
    """The same liar, for `lab.inject(kind="filter", party=…, words=…)`: in machines of `mpc`."""

    def __init__(self, seed: int) -> None:
        self._coins = random.Random(seed)

    def __call__(self, words: Words, adversary: Any) -> list[Words]:
        machine = adversary.node.machine(words.path)
        if machine is None or not type(machine).__module__.startswith("mpclab.mpc."):
            return [words]
        assert isinstance(words.msg, Message)
        told = _told(self._coins, machine, adversary.me, words.msg, words.to)
        return [Words(words.path, to, msg) for to, msg in told]


def _told(
    coins: random.Random, machine: Any, me: Party, msg: Message, to: tuple[Party, ...]
) -> Iterable[tuple[tuple[Party, ...], Message]]:
    told: list[tuple[tuple[Party, ...], Message]] = []
    if coins.random() < 0.7:
        told.append((to, msg))
    for _ in range(coins.randrange(3)):
        other = altered(msg, coins)
        if coins.random() < 0.3:
            other = altered(other, coins)
        if coins.random() < 0.6:
            other = signed_anew(machine, me, other)
        told.append((tuple(p for p in to if coins.random() < 0.7), other))
    if coins.random() < 0.3:
        told.append((to, coins.choice(EXTRA)))
    return told
