"""The border of a link: where every message between two actors meets the faults of the day.

One `Border` belongs to one world. Faults are rules, added and removed while a run goes on;
`judge` asks all that are active and answers with the fate of one message to one receiver.
The same border stands at simulated links and at real ones.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from mpclab.core.ids import Party


class Fate(NamedTuple):
    """What becomes of one message to one receiver.

    Attributes:
        why: None when it arrives; else the reason for the trace: "partition", "loss", ….
        delay: extra delay, µs.
        copies: how many times it arrives.
        corrupt: bits are flipped on the way, which the receiver's link notices.
        unordered: it may overtake others.
    """

    why: str | None = None
    delay: int = 0
    copies: int = 1
    corrupt: bool = False
    unordered: bool = False


PASSES = Fate()

Draw = Callable[[str], float]
"""A uniform number in (0, 1) for this message, receiver and purpose."""


class Rule(Protocol):
    """One active link fault."""

    def judge(self, src: Party, dst: Party, size: int, now: int, draw: Draw, fate: Fate) -> Fate:
        """`fate` after this rule; return it unchanged for links that the rule leaves alone."""


class Border:
    """The rules now active, by handle, in the order in which they were added."""

    def __init__(self) -> None:
        self.rules: dict[int, Rule] = {}

    @property
    def quiet(self) -> bool:
        """No rule is active: hosts may skip `judge` altogether."""
        return not self.rules

    def judge(self, src: Party, dst: Party, size: int, now: int, draw: Draw) -> Fate:
        """The fate of a message of `size` bytes from `src` to `dst`."""
        fate = PASSES
        for rule in self.rules.values():
            fate = rule.judge(src, dst, size, now, draw, fate)
            if fate.why is not None:
                return fate
        return fate
