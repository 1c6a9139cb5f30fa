"""A party's clock that is wrong: what it shows, and when it will show something."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Skew:
    """A clock that has been wrong since `since`: `offset` µs ahead, 1 + `drift` times as fast."""

    since: int
    offset: int
    drift: float

    def local(self, now: int) -> int:
        """The reading of the clock at `now`."""
        return now + self.offset + int((now - self.since) * self.drift)

    def world(self, local: int) -> int:
        """The first moment at which the clock shows `local` or more."""
        time = self.since + int((local - self.offset - self.since) / (1 + self.drift))
        while self.local(time) < local:  # rounding
            time += 1
        return time
