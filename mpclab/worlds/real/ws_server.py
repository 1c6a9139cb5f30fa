"""The WebSocket server: `websockets`' sans-I/O layer, driven from one `asyncio.Protocol`.

It carries text messages between connection numbers and whoever owns it, and looks into none.
What it guards against, each by a test:

- a slow or stuck reader: at most `OUTBOX` messages wait for it; whoever writes to it is not
  read from meanwhile; after `stuck_after` seconds without progress it is cut off. The others
  notice nothing (measured elsewhere: `await send` stalls everyone, an unbounded queue grows
  without end, and dropping at once evicts honest readers).
- bytes that are no WebSocket: the connection is closed, whatever state its parser is in.
- slow openings, too large messages, too many connections, pages of other origins.

No compression (49 KB a connection instead of 5), and one serialisation for all readers of a
message: frames of a server carry no mask, so their bytes are the same for all.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
from websockets.frames import CloseCode, Opcode
from websockets.frames import Frame as SocketFrame

from mpclab.core.errors import UsageError
from mpclab.worlds.real.ws_connection import OUTBOX, Connection, ServerSettings


class ServerStatus(msgspec.Struct, frozen=True):
    """What a server has done so far. Times in seconds. Holds no secret."""

    running: bool
    url: str
    uptime: float = 0.0
    connections: int = 0
    accepted: int = 0
    refused: int = 0
    evicted: int = 0
    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    errors: int = 0


class Owner(Protocol):
    """Who hears what happens at the server. Never called from inside `SocketServer.send`."""

    def opened(self, number: int, address: tuple[str, int]) -> None:
        """Connection `number` finished its handshake."""

    def received(self, number: int, text: bytes) -> None:
        """A whole text message."""

    def closed(self, number: int, reason: str) -> None:
        """Connection `number`, which had been opened, is gone."""


class SocketServer:
    """Listens, numbers its clients, and carries text messages.

    Args:
        owner: who hears of connections and messages.
        settings: limits.
    """

    def __init__(self, owner: Owner, settings: ServerSettings | None = None) -> None:
        self.owner = owner
        self.settings = settings or ServerSettings()
        self.origins = (*self.settings.origins, None)
        self.counts = dict.fromkeys(
            ("accepted", "refused", "evicted", "messages_in", "messages_out", "bytes_in",
             "bytes_out", "errors"), 0,
        )  # fmt: skip
        self.url = ""
        self.stopped = False
        self._began = time.monotonic()
        self._by_number: dict[int, Connection] = {}
        self._all: set[Connection] = set()
        self._addresses: dict[str, int] = {}
        self._next = 1
        self._current: Connection | None = None  # whose message is being handled
        self._listener: asyncio.Server | None = None
        self._empty: Callable[[], None] | None = None

    def name_url(self, sock: socket.socket, host: str) -> None:
        """Take the url from a bound socket; `host` is what people call it."""
        scheme = "wss" if self.settings.tls else "ws"
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{scheme}://{shown}:{sock.getsockname()[1]}"

    async def listen(self, sock: socket.socket) -> None:
        """Accept clients at a bound and listening socket."""
        loop = asyncio.get_running_loop()
        if self.stopped:
            sock.close()
            return
        self._listener = await loop.create_server(
            lambda: Connection(self), sock=sock, ssl=self.settings.tls, backlog=1024
        )
        if self._was_stopped():
            self._listener.close()

    def _was_stopped(self) -> bool:
        """`stopped`, read anew: it may have changed while we awaited."""
        return self.stopped

    def status(self) -> ServerStatus:
        """Counters, now."""
        if self.stopped:
            return ServerStatus(False, self.url, **self.counts)
        uptime = time.monotonic() - self._began
        return ServerStatus(True, self.url, uptime, len(self._by_number), **self.counts)

    def status_json(self) -> str:
        return msgspec.json.encode(self.status()).decode()

    def has(self, number: int) -> bool:
        return number in self._by_number

    def address(self, number: int) -> tuple[str, int] | None:
        """Where connection `number` comes from: its client's own address and port."""
        connection = self._by_number.get(number)
        return connection.address if connection else None

    def send(self, to: Sequence[int], text: bytes) -> list[int]:
        """Send one message to many: serialised once. Returns those who are gone."""
        data = SocketFrame(Opcode.TEXT, text).serialize(mask=False)
        missed = []
        for number in to:
            connection = self._by_number.get(number)
            if connection is None or not connection.send(data, self._current):
                missed.append(number)
            else:
                self.counts["messages_out"] += 1
                self.counts["bytes_out"] += len(data)
        return missed

    def hang_up(self, number: int, reason: str) -> None:
        """Close one connection properly."""
        if connection := self._by_number.get(number):
            connection.close(CloseCode.POLICY_VIOLATION, reason)

    def stop_listening(self) -> None:
        """Free the port; connections go on."""
        self.stopped = True
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def abort(self) -> None:
        """Drop everything at once, as a machine that lost its power."""
        self.stop_listening()
        for connection in list(self._all):
            connection.abort("the server was killed")

    async def stop(self) -> None:
        """Close every connection properly, and stop."""
        self.stop_listening()
        if not self._all:
            return
        done = asyncio.Event()
        self._empty = done.set
        for connection in list(self._all):
            connection.close(CloseCode.GOING_AWAY, "the server stopped")
            if connection.number == 0:
                connection.abort("the server stopped")
        try:
            await asyncio.wait_for(done.wait(), self.settings.close_within)
        except TimeoutError:
            self.abort()
            await done.wait()

    # --- for connections ----------------------------------------------------------------------

    def admits(self, connection: Connection) -> bool:
        address = connection.address[0]
        here = self._addresses.get(address, 0)
        limit = self.settings.per_address
        if len(self._all) >= self.settings.connections or (limit and here >= limit):
            self.counts["refused"] += 1
            return False
        self._addresses[address] = here + 1
        self._all.add(connection)
        self.counts["accepted"] += 1
        return True

    def handshaken(self, connection: Connection) -> None:
        connection.number = self._next
        self._next += 1
        self._by_number[connection.number] = connection
        self.owner.opened(connection.number, connection.address)

    def arrived(self, connection: Connection, text: bytes) -> None:
        if connection.number not in self._by_number:
            return
        self.counts["messages_in"] += 1
        self._current = connection
        try:
            self.owner.received(connection.number, text)
        finally:
            self._current = None

    def lost(self, connection: Connection) -> None:
        if connection not in self._all:
            return
        self._all.discard(connection)
        address = connection.address[0]
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
        if self._by_number.pop(connection.number, None) is not None:
            self.owner.closed(connection.number, connection.reason)
        if not self._all and self._empty is not None:
            self._empty()


def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket, ready to listen; port 0: a free one.

    Raises:
        UsageError: the port is in use (proposes a free one) or cannot be had.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"port {port}: use 1 to 65535, or 0 for a free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        hint = ""
        try:
            with socket.create_server((host, 0), family=family) as free:
                hint = f"; port {free.getsockname()[1]} is free"
        except OSError:
            pass
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        raise UsageError(f"cannot listen at {host}:{port}: {why}{hint}") from error


__all__ = ["OUTBOX", "Owner", "ServerSettings", "ServerStatus", "SocketServer", "bind"]
