"""One actor of the simulated world: its node, its coins, its clock, and what is wrong with it."""

from __future__ import annotations

import hashlib
import random
from collections import UserDict
from typing import Any

from mpclab.core.effects import Persist
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party, Path
from mpclab.core.node import Node
from mpclab.worlds.base import Build
from mpclab.worlds.clock import Skew
from mpclab.worlds.failures import who


class SeededCoins:
    """A stream of coins for each path: seeded, so for simulations only.

    Args:
        salt: what the coins follow from besides; empty in a world that its seed alone made.
    """

    def __init__(self, seed: int, actor: Party, incarnation: int, salt: str = "") -> None:
        self._prefix = f"mpclab coins {seed}{salt} {actor} {incarnation} "

    def __call__(self, path: Path) -> random.Random:
        digest = hashlib.sha256((self._prefix + "/".join(path)).encode()).digest()
        return random.Random(int.from_bytes(digest))


class Host:
    """The state of one actor in the world: its node, disk, clock, and what is wrong with it."""

    def __init__(self, actor: Party, build: Build, node: Node) -> None:
        self.actor = actor
        self.base = actor - node.me  # of its session: party p is the actor base + p
        self.build = build
        self.node: Node | None = None  # None: crashed
        self.stored: dict[Path, dict[str, bytes]] = {}  # its disk; the node's own is its memory
        self.torn = False  # whether it dies in the middle of its next step
        self.frames = 1  # the number of the next incarnation's first frame
        self.incarnation = 1
        self.paused: list[Any] | None = None  # what waits for the resumption
        self.odd = False  # whether it may be slow, paused or have a clock of its own
        self.step = 0  # µs that each step takes (fault "slow")
        self.busy = -1  # … and until when it is at work
        self.skew: Skew | None = None
        self.drawn = 0  # coins that adversaries took without a key
        self.boot(node)

    def boot(self, node: Node) -> None:
        """Begin an incarnation with `node`, and with what it found on its disk."""
        self.node = node
        self.stored = {path: dict(items) for path, items in node.stored.items()}

    def persist(self, effect: Persist) -> None:
        """Write one item to the disk. A crash before this leaves what was there."""
        items = self.stored.setdefault(effect.path, {})
        if effect.value is None:
            items.pop(effect.key, None)
        else:
            items[effect.key] = effect.value

    def check_odd(self) -> None:
        """Say so in `odd`: to be called when one of these has changed."""
        late = self.busy >= 0 or self.step != 0
        self.odd = late or self.paused is not None or self.skew is not None

    def clock(self, now: int) -> int:
        """The reading of the actor's own clock."""
        return now if self.skew is None else self.skew.local(now)


class Hosts(UserDict[Party, Host]):
    """All actors that were hosted and not removed, in that order; `data` is the dict itself."""

    def running(self, actor: Party) -> Host:
        """The host of an actor that is up.

        Raises:
            UsageError: it is not.
        """
        host = self.get(actor)
        if host is None or host.node is None:
            raise UsageError(f"{who(actor)} is not running")
        return host
