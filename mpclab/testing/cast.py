"""Parties that run one protocol of `mpclab.mpc` on the simulated network, and what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mpclab.core.effects import Effect, Send
from mpclab.core.ids import MS, SECOND, Party, Path
from mpclab.core.machine import Ctx, Machine
from mpclab.core.node import Node
from mpclab.core.rounds import Aborted, Finished
from mpclab.core.wire import Frame, Message
from mpclab.crypto.identity import Identity
from mpclab.faults.link_rules import Delivery, Draw
from mpclab.faults.network import Delay, Network
from mpclab.trace import rows
from mpclab.worlds.simulated import SimulatedWorld

STEADY = Network(Delay("constant", 10 * MS))
IDENTITIES = {p: Identity.from_seed(bytes([p]) * 32) for p in range(1, 120)}
KEYS = {p: identity.public for p, identity in IDENTITIES.items()}
CONTEXT = b"a proposal's hash, say" + bytes(10)
DEADLINE = 2 * SECOND
AT: Path = ("root",)

Tamper = Callable[[Machine, Ctx, Message, tuple[Party, ...]], Iterable[tuple[Any, Message]] | None]
"""A cheat's replacement for a message: (receivers, message) pairs, or None for the same."""


class Root(Machine):
    """The parent of one machine: keeps what it puts out, and passes asks on."""

    def __init__(self, child: Machine) -> None:
        self.child = child
        self.outputs: list[Any] = []

    def start(self, ctx: Ctx) -> None:
        ctx.spawn("it", self.child)

    def on_output(self, ctx: Ctx, child: str, value: Any) -> None:
        self.outputs.append(value)

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        ctx.ask("it", ask)


class Cheat(Node):
    """A node whose sends pass through `tamper`; its own machine sees what it really said."""

    def __init__(self, *args: Any, falsify: Tamper, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.falsify = falsify

    def emit_send(self, path: Path, to: tuple[Party, ...], msg: Message, *how: Any) -> None:
        seat = self._seats.get(path)
        told = None if seat is None else self.falsify(seat.machine, seat.ctx, msg, to)
        if told is None:
            super().emit_send(path, to, msg, *how)
            return
        if self.me in to:
            super().emit_send(path, (self.me,), msg, *how)
        for receivers, other in told:
            sends: list[Effect] = [
                Send((p,), Frame(self._number(), path, other, codec=how[0]))
                for p in receivers
                if p != self.me
            ]
            self.out.extend(sends)

    def _number(self) -> int:
        self.next_id += 1
        return self.next_id - 1


@dataclasses.dataclass
class Lossy:
    """Drops what `lost(src, dst, draw)` says."""

    lost: Callable[[Party, Party, Draw], bool]

    def judge(
        self, src: Party, dst: Party, size: int, now: int, draw: Draw, delivery: Delivery
    ) -> Delivery:
        return Delivery("loss") if self.lost(src, dst, draw) else delivery


class Cast:
    """`n` parties, each running `make(p)`; `cheats` tamper with what they send."""

    def __init__(
        self,
        n: int,
        make: Callable[[Party], Machine],
        *,
        seed: int = 1,
        network: Network = STEADY,
        cheats: Mapping[Party, Tamper] | None = None,
    ) -> None:
        self.n, self.make = n, make
        self.world = SimulatedWorld(seed, network)
        self.cheats = cheats or {}
        self.members = tuple(range(1, n + 1))
        self.honest = tuple(p for p in self.members if p not in self.cheats)
        for p in self.members:
            self.world.host(p, self.builder(p))

    def builder(self, p: Party) -> Callable[..., Node]:
        def build(coins: Any, stored: Any) -> Node:
            options: dict[str, Any] = {"coins": coins, "at": AT, "stored": stored}
            if p in self.cheats:
                root = Root(self.make(p))
                return Cheat(p, self.n, root, falsify=self.cheats[p], **options)
            return Node(p, self.n, Root(self.make(p)), **options)

        return build

    def run(self, limit: int = 600 * SECOND) -> Cast:
        self.world.run(limit=limit)
        return self

    def outputs(self, p: Party) -> list[Any]:
        def read(node: Node) -> list[Any]:
            root = node.machine(AT)
            assert isinstance(root, Root)
            return list(root.outputs)

        found: list[Any] = self.world.look(p, read)
        return found

    def outcome(self, p: Party) -> Any:
        """The last word of a party: what it finished with, or its `Aborted`."""
        outputs = self.outputs(p)
        assert outputs, f"party {p} never came to an end"
        last = outputs[-1]
        return last.result if isinstance(last, Finished) else last

    def outcomes(self, of: Iterable[Party] | None = None) -> dict[Party, Any]:
        return {p: self.outcome(p) for p in (self.honest if of is None else of)}

    def blamed(self) -> set[tuple[Party, Party | None]]:
        """(accuser, accused) pairs of the trace, by honest accusers."""
        return {
            (row.actor, row.party)
            for row in self.world.trace
            if isinstance(row, rows.Blamed) and row.actor in self.honest
        }

    def accused(self) -> set[Party | None]:
        return {party for _, party in self.blamed()}


def finished(outcomes: Mapping[Party, Any]) -> dict[Party, Any]:
    return {p: o for p, o in outcomes.items() if not isinstance(o, Aborted)}
