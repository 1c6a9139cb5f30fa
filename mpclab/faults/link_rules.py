"""The rules of links: what active faults decide of each message between two actors.

One `LinkRules` belongs to one world. Faults are rules, added and removed while a run goes on;
`judge` asks all that are active and answers with what becomes of one message to one receiver.
The same rules hold at simulated links and at real ones.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from mpclab.core.ids import Party


class Delivery(NamedTuple):
    """The delivery of one message to one receiver.

    Attributes:
        why: None when it arrives; else the reason for the trace: "partition", "loss", ….
        delay: extra delay, µs.
        copies: how many times it arrives.
        corrupt: bits are flipped on the way, which the receiver's link notices.
        unordered: it may overtake others.
        held: the rule that keeps it back: give `LinkRules.hold` a call that sends it again.
    """

    why: str | None = None
    delay: int = 0
    copies: int = 1
    corrupt: bool = False
    unordered: bool = False
    held: int | None = None


PASSES = Delivery()

Draw = Callable[[str], float]
"""A uniform number in (0, 1) for this message, receiver and purpose."""


class Rule(Protocol):
    """One active link fault. One whose `links_only` is true strikes data channels alone, and
    not what the server passes on; one with `messages` strikes these kinds of message alone."""

    def judge(
        self, src: Party, dst: Party, size: int, now: int, draw: Draw, delivery: Delivery
    ) -> Delivery:
        """`delivery` after this rule; return it unchanged for links that the rule leaves alone."""


class LinkRules:
    """The rules now active, by handle, in the order in which they were added.

    One thread may judge while another adds and removes: `rules` is replaced, never changed.

    Attributes:
        active: every fault that is active now, of links or not, by its number in the run.
        ended: the numbers of those that have ended.
    """

    def __init__(self) -> None:
        self.rules: dict[int, Rule] = {}
        self.active: dict[int, Any] = {}
        self.ended: set[int] = set()
        self._held: dict[int, list[Callable[[], None]]] = {}
        self._next = 0

    def number(self, wanted: int | None = None) -> int:
        """A handle that was not given before; or `wanted`, which will not be given again."""
        handle = self._next if wanted is None else wanted
        self._next = max(self._next, handle + 1)
        return handle

    def add(self, handle: int, rule: Rule) -> None:
        self.rules = {**self.rules, handle: rule}

    def remove(self, handle: int) -> None:
        """Take a rule down; what it held back is sent again, and judged anew."""
        self.rules = {k: rule for k, rule in self.rules.items() if k != handle}
        for again in self._held.pop(handle, ()):
            again()

    def hold(self, handle: int, again: Callable[[], None]) -> None:
        """Keep a message until rule `handle` is taken down; then `again` is called in the thread
        that does so (a host with a loop of its own gives one that passes the work on)."""
        self._held.setdefault(handle, []).append(again)

    @property
    def held(self) -> int:
        """How many messages are kept back now."""
        return sum(map(len, self._held.values()))

    @property
    def quiet(self) -> bool:
        """No rule is active: hosts may skip `judge` altogether."""
        return not self.rules

    def judge(
        self,
        src: Party,
        dst: Party,
        size: int,
        now: int,
        draw: Draw,
        *,
        relayed: bool = False,
        kind: str = "",
    ) -> Delivery:
        """The delivery of a message of `size` bytes from `src` to `dst`, of this `kind`; `relayed`:
        on the way from the server, which passes it on for `src`."""
        delivery = PASSES
        for rule in self.rules.values():
            if relayed and getattr(rule, "links_only", False):
                continue
            kinds = getattr(rule, "messages", None)
            if kinds is not None and kind not in kinds:
                continue
            delivery = rule.judge(src, dst, size, now, draw, delivery)
            if delivery.why is not None or delivery.held is not None:
                return delivery
        return delivery
