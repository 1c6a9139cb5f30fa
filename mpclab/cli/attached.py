"""`mpclab party … --attached`: the child's side of `mpclab.worlds.real.processes`.

It speaks with the program that started it over its standard streams, a line at a time, and ends
with its input.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

import msgspec

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.lab.lab import Lab
from mpclab.worlds.real.world import RealWorld
from mpclab.worlds.typed_codec import UnknownType, unpack

LOOK = 0.005
"""Seconds between two looks at the trace."""
GRACE = 2.0
"""Seconds that closing may take once the input has ended."""
_PR_SET_PDEATHSIG = 1

_encode = msgspec.json.Encoder(order="deterministic").encode


def die_with_parent() -> None:
    """Have the kernel kill us with our parent, even while we are stopped (Linux; elsewhere the
    end of our input has to do)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(lab: Lab, party: Party, *, joined: bool) -> int:
    """Be `party`, which was spawned in `lab`, until the input ends.

    Args:
        joined: whether it had joined its session in an earlier life.
    """
    assert isinstance(lab.world, RealWorld)
    parent = _Parent(lab)
    over = threading.Event()

    def listen() -> None:
        for line in sys.stdin:
            answer = _answer(lab, party, line)
            parent.tell_news()
            parent.say("answer", answer)
        over.set()
        last = threading.Timer(GRACE, os._exit, (1,))
        last.daemon = True
        last.start()

    parent.say("began", str(lab.world.began))
    threading.Thread(target=listen, daemon=True).start()
    if joined:
        lab.join(party, wait=False)
    while not over.wait(LOOK):
        parent.tell_news()
    parent.tell_news()
    return 0


class _Parent:
    """The program that started us, which wants every row of our trace, once and in order."""

    def __init__(self, lab: Lab) -> None:
        self._trace = lab.trace
        self._cursor = (0, 0)
        self._telling = threading.Lock()

    def say(self, word: str, text: str) -> None:
        with self._telling:
            sys.stdout.write(f"{word} {text}\n")
            sys.stdout.flush()

    def tell_news(self) -> None:
        with self._telling:
            news, self._cursor = self._trace.since(self._cursor)
            for row in news:
                sys.stdout.write(f"row {_encode(row).decode()}\n")
            if news:
                sys.stdout.flush()


def _answer(lab: Lab, party: Party, line: str) -> str:
    try:
        path, ask = unpack(bytes.fromhex(line))
        lab.world.ask(party, path, ask)
    except (UsageError, UnknownType, ValueError) as error:
        return " ".join(str(error).split())
    return ""
