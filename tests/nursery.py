"""Processes of `mpclab` for tests, forked by one that has imported everything.

Importing costs a second of a core each time, and there are some sixty such processes in the tests.
What a process does before that is tested with processes that are started (`test_start`, the signals
in `test_serve`, `test_packaging`). One nursery serves all tests of a worker of pytest's and ends
with it, and its children with it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO

from mpclab.worlds.real import nursery

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}
_IMPORTED = (
    "mpclab.__main__", "mpclab.cli.main", "mpclab.cli.party", "mpclab.cli.serve",
    "mpclab.worlds.real.backplane", "mpclab.worlds.real.webrtc", "mpclab.worlds.real.websocket",
    "prometheus_client", "redis.asyncio",
)  # fmt: skip


class Forked:
    """One `mpclab …`: the part of `subprocess.Popen` that tests use. stderr is its stdout."""

    def __init__(self, *arguments: str) -> None:
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        self._status, status = os.pipe()
        theirs = [theirs_in, theirs_out, theirs_out, status]
        try:
            world = _world()
            socket.send_fds(world, [json.dumps(arguments).encode()], theirs)
            self.pid = int(world.recv(64))
        except BaseException:  # the next answer may be to this: others ask a nursery of their own
            _world.cache_clear()
            raise
        finally:
            for descriptor in {*theirs}:
                os.close(descriptor)
        self.stdin: IO[str] = os.fdopen(ours_in, "w", encoding="utf-8")
        self.stdout: IO[str] = os.fdopen(ours_out, "r", encoding="utf-8")
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status; negative: the signal that ended it.

        Raises:
            subprocess.TimeoutExpired: it goes on.
        """
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("mpclab", timeout or 0.0)
            self.returncode = int(os.read(self._status, 64) or b"-9")
            os.close(self._status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)  # of one that has ended the number may by now be another's
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _hear_ctrl_c() -> None:
    """As in a terminal, also where the tests are a background job, whose children ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@functools.cache
def _world() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        popen = subprocess.Popen(
            [sys.executable, "-m", "tests.nursery", str(theirs.fileno())],
            stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True,
            env=ENVIRONMENT, cwd=Path(__file__).parents[1],
        )  # fmt: skip
    assert ours.recv(8) == b"ready"

    @atexit.register
    def end() -> None:
        ours.close()
        popen.wait()

    return ours


def _serve() -> None:
    _hear_ctrl_c()
    for name in _IMPORTED:
        importlib.import_module(name)
    statuses: dict[int, int] = {}  # process → where its status goes
    ended, has_ended = os.pipe()
    os.set_blocking(has_ended, False)
    signal.set_wakeup_fd(has_ended, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with socket.socket(fileno=int(sys.argv[1])) as world:
        world.send(b"ready")
        while True:
            readable, _, _ = select.select([world, ended], [], [])
            if ended in readable:
                os.read(ended, 4096)
                _tell(statuses)
            if world not in readable:
                continue
            data, theirs, _, _ = socket.recv_fds(world, 65536, 4)
            if not data:
                return
            *streams, status = theirs
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                for descriptor in (ended, has_ended, status, *statuses.values()):
                    os.close(descriptor)
                nursery._become({"arguments": json.loads(data), "environment": []}, streams, world)
            statuses[pid] = status
            for descriptor in streams:
                os.close(descriptor)
            world.send(b"%d" % pid)


def _tell(statuses: dict[int, int]) -> None:
    """Say with which status children have ended."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            descriptor = statuses.pop(found[0])
            with contextlib.suppress(OSError):
                os.write(descriptor, b"%d" % os.waitstatus_to_exitcode(found[1]))
            os.close(descriptor)


if __name__ == "__main__":
    _serve()
