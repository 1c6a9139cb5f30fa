"""Whether a peer is still there and agrees to be sent to (RFC 7675), asked as often as is afforded.

aioice asks at a fixed pace and gives up after some questions in a row without an answer. Three
things are ours:

- A process with many links asks each less often: a mesh of 30 asked 1,740 times a second.
- A question without an answer is soon followed by the next, so that a peer that is gone is noticed
  within `every + lost * 0.7` s, or `every * 1.2` later if it sent something just before; and one
  that was stopped for less keeps its link.
- What arrives is a sign of life, and so a peer is not given up while it sends. Nor is it when we
  ourselves were late: then its answers lie in our sockets, unread. 5 MB to a peer in the same
  process, on a machine with ten times the work that it can do, ended the link before.

Consent itself comes from answers only: it is over 30 s after the last (§5.1).
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Final

import aioice.ice
import aiortc.rtcicetransport
from aioice import stun

AT_FULL_PACE: Final = 56
"""Ends of links in a process up to which each is asked every `Pace.every`: a mesh of eight."""
_SLOWEST: Final = 8.0  # seconds: three questions before consent is over
_OVER: Final = 30.0  # seconds after the last answer; RFC 7675 §5.1
_FRESH: Final = 5.0  # seconds for which who sends need not be asked; its basic period there
_SOON: Final = 0.2  # of an interval, before a question is repeated
_LATE: Final = 0.25  # seconds by which a loop may be late with a timer before its peers are excused


@dataclass
class Pace:
    """How often the links of this process are asked. Times in seconds.

    Attributes:
        every: between two questions on a link, while there are few.
        lost: questions without an answer in a row, after which the peer is gone.
        links: ends of links that are open.
    """

    every: float = 0.5
    lost: int = 4
    links: int = 0

    @property
    def interval(self) -> float:
        """Between two questions on a link, now."""
        return max(self.every, min(_SLOWEST, self.every * self.links / AT_FULL_PACE))


PACE: Final = Pace()


class _Connection(aioice.ice.Connection):
    """Stands for aioice's where aiortc makes them."""

    _heard = False  # data came since the last question was due

    def data_received(self, data: bytes, component: int) -> None:
        self._heard = True
        super().data_received(data, component)

    async def query_consent(self) -> None:
        loop = asyncio.get_running_loop()
        answered, unanswered = loop.time(), 0
        while True:
            self._heard = False
            due = loop.time() + PACE.interval * random.uniform(0.8, 1.2) * (
                _SOON if unanswered else 1
            )
            await asyncio.sleep(due - loop.time())
            asked = loop.time()
            if self._heard and asked - answered < _FRESH:
                unanswered = 0
                continue
            if await self._answers():
                answered, unanswered = loop.time(), 0
                continue
            late = loop.time() - due - stun.RETRY_RTO
            if self._heard:
                unanswered = 0
            elif late < _LATE:
                unanswered += 1
            if unanswered >= PACE.lost or loop.time() - answered >= _OVER:
                self._query_consent_task = None
                await self.close()
                return

    async def _answers(self) -> bool:
        """Ask once; whether the peer said yes in time."""
        assert self.remote_password is not None  # it was given with the description
        try:
            for pair in list(self._nominated.values()):
                await pair.protocol.request(
                    self.build_request(pair, nominate=False),
                    pair.remote_addr,
                    integrity_key=self.remote_password.encode(),
                    retransmissions=0,
                )
        except stun.TransactionError:
            return False
        return True


def watch(every: float, lost: int) -> None:
    """Have the links of this process, those to come, asked so."""
    PACE.every, PACE.lost = every, lost
    aiortc.rtcicetransport.Connection = _Connection  # type: ignore[attr-defined]
