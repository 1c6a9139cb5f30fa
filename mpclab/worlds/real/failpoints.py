"""Failpoints: places in a real party at which it may be made to end, as etcd's `gofail` has them.

There is one before and one behind every `Persist` and every `Send`: between any two of them lies a
crash that a protocol must bear. `MPCLAB_FAILPOINTS="before-send=7:kill"` in the environment of a
process kills it before its seventh message; `after-persist=3:fail` has its third write to the disk
fail once it is done, as a disk does that is full; several are set apart by commas. In a program:
`world.failpoints = Failpoints("after-persist=3:crash")`, which ends the party, and not the process.
"""

from __future__ import annotations

import errno
import os
import signal
from typing import Final

from mpclab.core.errors import UsageError

PLACES: Final = ("before-persist", "after-persist", "before-send", "after-send")
ACTIONS: Final = ("crash", "kill", "fail")
VARIABLE: Final = "MPCLAB_FAILPOINTS"


class Failpoints:
    """Which of them are set; each acts once.

    Args:
        text: `PLACE=K:ACTION`, at the K-th time that a party comes there, several with commas.

    Raises:
        UsageError: it is malformed; says what can be written.
    """

    def __init__(self, text: str) -> None:
        self._left: dict[str, tuple[int, str]] = {}
        for one in filter(None, text.split(",")):
            place, _, rest = one.partition("=")
            count, _, action = rest.partition(":")
            known = place in PLACES and action in ACTIONS and count.isascii() and count.isdigit()
            if not known or int(count) < 1:
                raise UsageError(
                    f"failpoint {one!r}: write PLACE=K:ACTION, with a place of {', '.join(PLACES)} "
                    f"and an action of {', '.join(ACTIONS)}"
                )
            self._left[place] = int(count), action

    def hit(self, place: str) -> bool:
        """The party is at `place`; whether it ends there.

        Raises:
            OSError: the disk is full, it says.
        """
        if place not in self._left:
            return False
        count, action = self._left[place]
        if count > 1:
            self._left[place] = count - 1, action
            return False
        del self._left[place]
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "fail":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return True


def from_environment() -> Failpoints | None:
    """Those that whoever started this process wants; None: none."""
    text = os.environ.get(VARIABLE, "")
    return Failpoints(text) if text else None
