"""Processes for parties, quickly: forked by a nursery where that can be (Linux), else started.

The nursery (`nursery`) is a process of its own because ours has threads, which no fork survives
whole. It ends with the socket between us, however we end, and its children with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import IO, Protocol

PRELOADED_WITHIN = 60.0
"""Seconds that the nursery may take to import everything."""
_GONE_WITHIN = 1.0
_ENVIRONMENT = "MPCLAB_"
"""What of our environment, as it is now, a child gets beside the nursery's."""


class Child(Protocol):
    """A process, as far as its owner needs it."""

    @property
    def pid(self) -> int: ...
    @property
    def stdin(self) -> IO[bytes] | None: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...
    def kill(self) -> None: ...
    def send_signal(self, sig: int, /) -> None: ...
    def wait(self, timeout: float | None = None) -> object: ...


class Forked:
    """A child of the nursery. It is named by a descriptor, so that no other process is meant."""

    def __init__(self, pid: int, process: int, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.pid = pid
        self.stdin: IO[bytes] | None = stdin
        self.stdout: IO[bytes] | None = stdout
        self._process = process
        self._over = False

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, sig: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            if not self._over:
                signal.pidfd_send_signal(self._process, sig)

    def wait(self, timeout: float | None = None) -> object:
        """Until it has ended, and its parent has taken note of that.

        Raises:
            subprocess.TimeoutExpired: it goes on.
        """
        if self._over:
            return None
        poll = select.poll()
        poll.register(self._process, select.POLLIN)
        if not poll.poll(None if timeout is None else 1000 * timeout):
            raise subprocess.TimeoutExpired("mpclab", timeout or 0.0)
        if not self._over:
            self._over = True
            os.close(self._process)
            end = time.monotonic() + _GONE_WITHIN
            while os.path.exists(f"/proc/{self.pid}") and time.monotonic() < end:
                time.sleep(0.001)
        return None


class Nursery:
    """Starts processes of `mpclab`.

    Args:
        channels: whether parties need what data channels need.
    """

    def __init__(self, *, channels: bool) -> None:
        self._channels = channels
        self._socket: socket.socket | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()
        self._closed = threading.Event()

    def start(self, arguments: Sequence[str], complaints: FilePath) -> Child:
        """Start `mpclab` with these arguments; what it complains of goes to a file.

        Raises:
            OSError: it cannot be started.
        """
        with open(complaints, "wb") as errors:
            if not hasattr(os, "pidfd_open"):
                return subprocess.Popen(
                    [sys.executable, "-m", "mpclab", *arguments],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                    start_new_session=True,  # Ctrl-C in a terminal is for us
                )  # fmt: skip
            with self._turn:
                return self._fork(arguments, errors.fileno())

    def open(self) -> None:
        """Have it import everything, if it has not; takes a second or two.

        Raises:
            OSError: it cannot be started.
        """
        if hasattr(os, "pidfd_open"):
            with self._turn:
                self._open()

    def _fork(self, arguments: Sequence[str], errors: int) -> Forked:
        nursery = self._open()
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        known = [(k, v) for k, v in os.environ.items() if k.startswith(_ENVIRONMENT)]
        request = {"arguments": arguments, "environment": [x for pair in known for x in pair]}
        try:
            data = json.dumps(request).encode()
            socket.send_fds(nursery, [data], [theirs_in, theirs_out, errors])
            answer, descriptors, _, _ = socket.recv_fds(nursery, 1024, 1)
            if not answer:
                raise OSError("the process that starts parties has ended")
        except OSError:
            os.close(ours_in)
            os.close(ours_out)
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        pid = json.loads(answer)["pid"]
        stdin, stdout = os.fdopen(ours_in, "wb"), os.fdopen(ours_out, "rb")
        return Forked(pid, descriptors[0], stdin, stdout)

    def _open(self) -> socket.socket:
        if self._popen is not None and self._popen.poll() is None and self._socket is not None:
            return self._socket
        self._end()
        if self._closed.is_set():
            raise OSError("the world is closed")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = ["-m", "mpclab.worlds.real.nursery", str(theirs.fileno())]
            self._popen = subprocess.Popen(
                [sys.executable, *words, *(["--channels"] if self._channels else [])],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),), start_new_session=True,
            )  # fmt: skip
        ours.settimeout(PRELOADED_WITHIN)
        self._socket = ours
        if self._closed.is_set() or not ours.recv(16):
            self._end()
            raise OSError("the process that starts parties does not begin")
        return ours

    def descriptors(self) -> list[int]:
        """Of our socket."""
        return [] if self._socket is None else [self._socket.fileno()]

    def close(self) -> None:
        """End it for good, and whatever children it has left."""
        self._closed.set()
        if (waited_for := self._socket) is not None:
            with contextlib.suppress(OSError):
                waited_for.shutdown(socket.SHUT_RDWR)  # who waits for its answer hears of it
        with self._turn:
            self._end()

    def _end(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._popen is not None:
            self._popen.wait()
            self._popen = None
