"""`python -m mpclab` is `mpclab`."""

import io
import os
import signal
import sys
from types import FrameType

_ENDING = [
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
]


def program() -> int:
    """The command, from its first moment to its last; its exit status.

    What runs until it is stopped may be stopped while it is still being imported, which takes a
    second: nothing has begun then, so there is nothing to give up, and the status is 0. From then
    on `mpclab.cli.signals` sees to it, and once all is over nothing can change the status. Before
    Python has come as far as here, some 20 ms of a quiet machine, a signal does what it does to any
    program: SIGTERM ends it with its own status, and process 1 of a container is not told at all.
    """
    if sys.argv[1:2] in (["serve"], ["party"]):
        _answer(_stop)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that knows few letters
    from mpclab.cli import main

    status = main()
    _answer(signal.SIG_IGN)
    try:
        sys.stdout.flush()
    except OSError:  # nobody reads any more, or a full disk: the status says how it went
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _answer(how: object) -> None:
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background job
            signal.signal(number, how)  # type: ignore[arg-type]


def _stop(number: int, frame: FrameType | None) -> None:
    os._exit(0)


if __name__ == "__main__":
    sys.exit(program())
