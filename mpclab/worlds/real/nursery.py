"""Where parties in processes of their own come from: a process that has imported everything, and
forks for each of them. Importing takes more than a second; a fork takes some milliseconds, and all
of them share what was imported.

`python -m mpclab.worlds.real.nursery FD` speaks over a socket with the world that started it (its
side is `forking`): a request is the arguments of a command and three descriptors, the answer the
child's process id and a descriptor of the process. It ends with the socket, and its children with
it (on Linux, the only system where it is used).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from typing import Final

_LONGEST: Final = 1024 * 1024
_PROGRAM: Final = "mpclab.__main__"  # above us: named, as by who starts a process
_IMPORTED = (_PROGRAM, "mpclab.cli.main", "mpclab.cli.party", "mpclab.worlds.real.websocket")
_FOR_CHANNELS = "mpclab.worlds.real.webrtc"


_PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> None:
    """Have the kernel kill us with our parent, even while we are stopped (Linux; elsewhere the
    end of our input has to do)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Serve until the socket ends."""
    with socket.socket(fileno=int(sys.argv[1])) as world:
        for name in (*_IMPORTED, *([_FOR_CHANNELS] if "--channels" in sys.argv else [])):
            importlib.import_module(name)
        signal.signal(signal.SIGCHLD, lambda *_: _reap())
        gc.freeze()  # or the first collection in each child would copy every page
        world.send(b"{}")
        while True:
            data, descriptors, _, _ = socket.recv_fds(world, _LONGEST, 3)
            if not data:
                return
            request = json.loads(data)
            pid = os.fork()
            if pid == 0:
                _become(request, descriptors, world)
            process = os.pidfd_open(pid)  # ours to wait for until we do, so it is this one
            socket.send_fds(world, [b'{"pid":%d}' % pid], [process])
            for descriptor in (process, *descriptors):
                os.close(descriptor)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _become(request: dict[str, list[str]], descriptors: list[int], world: socket.socket) -> None:
    """Be the command: never returns."""
    status = 3
    try:
        nursery = os.getppid()
        die_with_parent()
        if os.getppid() != nursery:
            os._exit(1)  # it ended before we asked to end with it
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()  # Ctrl-C in a terminal is for whoever started us
        world.close()
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
            os.close(descriptor)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(target, mode, encoding="utf-8", closefd=False)
            for target, mode in enumerate(("r", "w", "w"))
        )
        os.environ.update(zip(*[iter(request["environment"])] * 2, strict=True))
        sys.argv = ["mpclab", *request["arguments"]]
        status = importlib.import_module(_PROGRAM).program()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 2
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
