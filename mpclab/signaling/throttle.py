"""A token bucket in integers: `burst` messages at once, `rate` a second in the long run."""

from dataclasses import dataclass

from mpclab.core.ids import SECOND


@dataclass(slots=True)
class Bucket:
    """Credit is kept in µs of waiting: a message costs `SECOND // rate`.

    Attributes:
        rate: messages a second.
        burst: messages that a rested sender may send at once.
        since: when `credit` was right, µs.
    """

    rate: int
    burst: int
    since: int
    credit: int = 0

    def __post_init__(self) -> None:
        self.credit = self.burst * self.cost

    @property
    def cost(self) -> int:
        return SECOND // self.rate

    def take(self, now: int, messages: int = 1) -> bool:
        """Spend the credit of `messages`, if there is enough for one at `now`; the rest is owed,
        so that a message with many receivers is dear and not impossible."""
        self._refill(now)
        if self.credit < self.cost:
            return False
        self.credit -= self.cost * messages
        return True

    def wait(self, now: int) -> int:
        """How long until `take` succeeds, µs."""
        self._refill(now)
        return max(0, self.cost - self.credit)

    def _refill(self, now: int) -> None:
        self.credit = min(self.burst * self.cost, self.credit + max(0, now - self.since))
        self.since = now
