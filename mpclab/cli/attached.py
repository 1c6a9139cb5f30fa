"""`mpclab party … --attached`: the child's side of `mpclab.worlds.real.processes`.

It speaks with the program that started it over its standard streams, a line at a time, and ends
with its input.
"""

from __future__ import annotations

import os
import sys
import threading

import msgspec

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.lab.lab import Lab
from mpclab.trace.log import Trace
from mpclab.trace.rows import Delivered, Row
from mpclab.worlds.real.world import RealWorld
from mpclab.worlds.typed_codec import UnknownType, unpack

_LOOK = 0.2
FAILED = 3
"""Exit status: the party could not go on, and said why."""
GRACE = 2.0
"""Seconds that closing may take once the input has ended."""

_encode = msgspec.json.Encoder(order="deterministic").encode


class TellingTrace(Trace):
    """A trace whose rows go to the program that started us as soon as they are there.

    A row is written before the effect that it tells of leaves this process (`World.perform`), so
    also one that is killed has told of every message that others got from it. Rows told later
    went with the process: an approval that counted was called forged then.
    """

    def __init__(self) -> None:
        super().__init__()
        self._telling = threading.Lock()
        self._before: list[Row] | None = []  # rows from before `begin`

    def begin(self, clock: int) -> None:
        """Say when our clock began, ns, and everything since."""
        self.say("began", str(clock))
        with self._telling:
            waiting, self._before = self._before or [], None
            for row in waiting:
                _write("row", _encode(row).decode())

    def say(self, word: str, text: str) -> None:
        """One line."""
        with self._telling:
            _write(word, text)

    def append(self, row: Row) -> None:
        super().append(row)
        if type(row) is not Delivered:
            self._tell(row)

    def delivered(self, at: int, actor: Party, sender: Party, id: int) -> None:
        super().delivered(at, actor, sender, id)
        self._tell(Delivered(at, actor, sender, id))

    def _tell(self, row: Row) -> None:
        with self._telling:
            if self._before is not None:
                self._before.append(row)
            else:
                _write("row", _encode(row).decode())


def _write(word: str, text: str) -> None:
    sys.stdout.write(f"{word} {text}\n")
    sys.stdout.flush()


def serve(lab: Lab, party: Party, *, joined: bool) -> int:
    """Be `party`, which was spawned in `lab` with a `TellingTrace`, until the input ends.

    Args:
        joined: whether it had joined its session in an earlier life.
    """
    trace = lab.trace
    assert isinstance(lab.world, RealWorld)
    assert isinstance(trace, TellingTrace)
    over = threading.Event()

    def listen() -> None:
        for line in sys.stdin:
            trace.say("answer", _answer(lab, party, line))
        over.set()
        last = threading.Timer(GRACE, os._exit, (1,))
        last.daemon = True
        last.start()

    trace.begin(lab.world.began)
    threading.Thread(target=listen, daemon=True).start()
    if joined:
        lab.join(party, wait=False)
    while not over.wait(_LOOK):
        if lab.world.failures:
            print(" ".join(str(lab.world.failures[0]).split()), file=sys.stderr, flush=True)
            return FAILED
    return 0


def _answer(lab: Lab, party: Party, line: str) -> str:
    try:
        path, ask = unpack(bytes.fromhex(line))
        lab.world.ask(party, path, ask)
    except (UsageError, UnknownType, ValueError) as error:
        return " ".join(str(error).split())
    return ""
