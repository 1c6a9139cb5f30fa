"""Twins: a Byzantine party made of two honest ones that share its key.

S. Bano et al., "Twins: BFT systems made robust", OPODIS 2021. Each twin runs the real protocol
with the real key, but talks to its own half of the others, and each is asked for another
operation. Together they equivocate in every message, and each half sees impeccable manners.
"""

from __future__ import annotations

import random
from typing import Any

from mpclab.consensus.agreement import Agreement, Submit
from mpclab.core.effects import Asked, CancelTimer, Effect, Send, SetTimer, Started, TimerFired
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.node import Node
from mpclab.core.wire import Frame, Message
from mpclab.testing.cluster import AT, IDENTITIES


class Twins(Machine):
    """Party `me`, twice. `first` are those whom the first twin talks to; both talk to `both`."""

    def __init__(
        self,
        protocol: type[Agreement],
        first: frozenset[Party],
        both: frozenset[Party] = frozenset(),
        **options: Any,
    ) -> None:
        self.protocol = protocol
        self.first = first
        self.both = both
        self.options = options

    def start(self, ctx: Ctx) -> None:
        self.nodes = []
        keys = {p: IDENTITIES[p].public for p in ctx.members}
        for k in (0, 1):
            machine = self.protocol(IDENTITIES[ctx.me], keys, **self.options)
            node = Node(ctx.me, ctx.n, machine, coins=self._coins(k), at=AT)
            self.nodes.append(node)
            self._perform(ctx, k, node.step(Started(), ctx.now))
            ask = Submit(f"twin{k}", b"value of twin %d" % k)
            self._perform(ctx, k, node.step(Asked(AT, ask), ctx.now))

    def _coins(self, k: int) -> Any:
        return lambda path: random.Random(k)

    def _of(self, k: int, party: Party) -> bool:
        return party in self.both or (party in self.first) == (k == 0)

    def _perform(self, ctx: Ctx, k: int, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, frame):
                    assert frame.msg is not None
                    ctx.multicast([p for p in to if self._of(k, p)], frame.msg)
                case SetTimer(_, name, at):
                    ctx.set_timer(f"{k}/{name}", at - ctx.now, background=True)
                case CancelTimer(_, name):
                    ctx.cancel_timer(f"{k}/{name}")

    def on_message(self, ctx: Ctx, sender: Party, msg: Message) -> None:
        for k, node in enumerate(self.nodes):
            if self._of(k, sender):
                self._perform(ctx, k, node.deliver(sender, Frame(0, AT, msg), ctx.now))

    def on_timer(self, ctx: Ctx, name: str) -> None:
        k, inner = name.split("/", 1)
        node = self.nodes[int(k)]
        self._perform(ctx, int(k), node.step(TimerFired(AT, inner), ctx.now))


def twins_of(protocol: type[Agreement]) -> type[Twins]:
    """`Twins` that understand the messages of `protocol`."""

    class Of(Twins):
        messages = protocol._message_types()

    return Of
