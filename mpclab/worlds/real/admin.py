"""A socket in the file system by which a server's operator speaks to it, on its machine alone.

One request and one answer a connection, a line of JSON each. The file is its owner's (mode 0600),
and the kernel tells who connects: anybody but the server's own user, and root, is sent away unread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any, Final, TypeAlias

from mpclab.core.errors import UsageError

Answer: TypeAlias = Callable[[bytes], bytes]
"""From a request's line to the answer's; called in the world's thread."""

MOST_BYTES: Final = 64 * 1024
MOST_AT_ONCE: Final = 8
SECONDS: Final = 5.0
_LONGEST_NAME: Final = 100
"""Characters of a socket's name; systems differ between 104 and 108."""


class AdminSocket:
    """Listens at a path, and answers.

    Raises:
        UsageError: another server listens there, or the folder is not ours alone.
    """

    def __init__(self, path: FilePath, answer: Answer) -> None:
        self.path = path
        self._answer = answer
        self._open = 0
        self._server: asyncio.Server | None = None
        self._sock = _bound(path)
        self._file = path.lstat().st_ino

    async def listen(self) -> None:
        """Answer from now on."""
        self._server = await asyncio.start_unix_server(
            self._serve, sock=self._sock, limit=MOST_BYTES
        )

    def close(self) -> None:
        """Answer nobody any more; the file goes."""
        if self._server is not None:
            self._server.close()
        self._sock.close()
        with contextlib.suppress(OSError):
            if self.path.lstat().st_ino == self._file:  # else it is another server's by now
                self.path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > MOST_AT_ONCE or not _is_ours(writer.get_extra_info("socket")):
                return
            async with asyncio.timeout(SECONDS):
                request = await reader.readline()
                writer.write(self._answer(request) + b"\n")
                await writer.drain()
        except (OSError, ValueError, TimeoutError):  # gone, a line without end, or asleep
            pass
        finally:
            self._open -= 1
            writer.close()


def _bound(path: FilePath) -> socket.socket:
    if len(str(path)) > _LONGEST_NAME:
        raise UsageError(f"{path}: a socket's name has at most {_LONGEST_NAME} characters")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = path.parent.stat()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    if folder.st_mode & 0o022 and not folder.st_mode & stat.S_ISVTX:
        raise UsageError(f"{path.parent}: others may write there; run: chmod 700 {path.parent}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
    except OSError as error:
        sock.close()
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except UsageError:
        sock.close()
        raise
    return sock


def _clear(path: FilePath) -> None:
    """Remove a socket that nobody listens at any more; nothing else."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise UsageError(f"{path} is there already, and no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
        else:
            raise UsageError(f"{path}: another server answers there; give this one its own --admin")


def _is_ours(sock: Any) -> bool:
    """Whether who is at the other end is our own user, or root."""
    if sys.platform != "linux":
        return True  # the file's mode has to do
    peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    user = struct.unpack("3i", peer)[1]
    return user in (0, os.geteuid())


def ask(path: FilePath, request: bytes) -> bytes:
    """The answer of the server at `path`.

    Raises:
        UsageError: nobody answers there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(2 * SECONDS)
        try:
            sock.connect(str(path))
            sock.sendall(request + b"\n")
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        except OSError as error:
            raise UsageError(f"no server answers at {path}: {error.strerror or error}") from error
    if not answer.endswith(b"\n"):
        raise UsageError(f"the server at {path} does not answer us: is it another user's?")
    return answer
