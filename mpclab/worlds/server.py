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
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

import msgspec
from websockets.frames import CloseCode, Opcode
from websockets.frames import Frame as SocketFrame
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from mpclab.core.errors import UsageError

OUTBOX: Final = 64
"""Messages that wait for one reader before its writers are throttled."""
_OUTBOX_HARD: Final = 16 * OUTBOX  # what nobody can be throttled for: presence, pings
_WRITE_BUFFER: Final = 64 * 1024


@dataclass(frozen=True)
class ServerSettings:
    """Limits of a server. Times in seconds, sizes in bytes.

    Attributes:
        origins: pages that may connect, such as "http://localhost:8888"; programs, which send
            no origin, always may.
        per_address: connections of one address; 0: no limit but `connections`.
    """

    max_message: int = 64 * 1024
    connections: int = 1024
    per_address: int = 64
    open_within: float = 5.0
    close_within: float = 2.0
    stuck_after: float = 5.0
    origins: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        for origin in self.origins:
            if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
                raise UsageError(
                    f"origin {origin!r}: write it exactly as a browser sends it, such as "
                    f"http://localhost:8888 (null and * would let any page in)"
                )


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


class Connection(asyncio.Protocol):
    """One client, from TCP's accept to its end."""

    def __init__(self, server: SocketServer) -> None:
        self.server = server
        self.number = 0  # given once the handshake is done
        self.address: tuple[str, int] = ("", 0)
        self.outbox: deque[bytes] = deque()
        self.reason = ""
        self._protocol = ServerProtocol(
            origins=cast("Sequence[Any]", server.origins), max_size=server.settings.max_message
        )
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None  # of the opening, then of the close
        self._patience: asyncio.TimerHandle | None = None  # with a reader that does not read
        self._events: deque[Any] = deque()
        self._parts: list[bytes] | None = None  # of a message in several frames
        self._blocked = False  # the transport's buffer is full
        self._throttled = 0  # how many full outboxes we write to
        self._writers: list[Connection] = []  # throttled because our outbox is full
        self._handling = False
        self._closing = False

    # --- asyncio's side ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = (peer[0], peer[1]) if isinstance(peer, tuple) else ("", 0)
        if not self.server.admits(self):
            self._transport.write(
                b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
                b"Content-Length: 26\r\n\r\nToo many connections here\n"
            )
            self._transport.close()
            self._transport = None
            return
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        _set_user_timeout(transport, self.server.settings.stuck_after)
        self._deadline = self._abort_in(self.server.settings.open_within, "did not open in time")

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        self.server.counts["bytes_in"] += len(data)
        try:
            self._protocol.receive_data(data)
        except EOFError:
            return  # bytes after the end of the stream
        self._events.extend(self._protocol.events_received())
        if self._protocol.state is OPEN:
            self._flush()  # pongs go before the answers to what came after the ping
        self._handle()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        for timer in (self._deadline, self._patience):
            if timer is not None:
                timer.cancel()
        self._release_writers()
        self._events.clear()
        self.outbox.clear()
        if not self.reason:
            close = self._protocol.close_rcvd
            self.reason = close.reason if close and close.reason else "connection closed"
            if close is None:
                self.reason = "connection lost"
        self.server.lost(self)

    def pause_writing(self) -> None:
        self._blocked = True
        self._patience = self._abort_in(self.server.settings.stuck_after, "does not read", True)

    def resume_writing(self) -> None:
        self._blocked = False
        if self._patience is not None:
            self._patience.cancel()
        while self.outbox and not self._blocked and self._transport is not None:
            self._transport.write(self.outbox.popleft())
        if len(self.outbox) <= OUTBOX // 2:
            self._release_writers()

    # --- what arrives -----------------------------------------------------------------------

    def _handle(self) -> None:
        """Handle events one by one; stop while somebody we write to is full."""
        if self._handling:
            return
        self._handling = True
        try:
            while self._events and not self._throttled and self._transport is not None:
                event = self._events.popleft()
                if isinstance(event, Request):
                    self._open(event)
                else:
                    self._take(event)
        finally:
            self._handling = False
        if not self._events:
            self._flush()

    def _open(self, request: Request) -> None:
        server = self.server
        if request.path == "/status" and "Upgrade" not in request.headers:
            response = self._protocol.reject(HTTPStatus.OK, server.status_json() + "\n")
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "application/json"
        else:
            response = self._protocol.accept(request)
        self._protocol.send_response(response)
        self._flush()
        if self._protocol.state is OPEN and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            server.handshaken(self)

    def _take(self, frame: SocketFrame) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.CONT:
                self._parts = [bytes(frame.data)] if frame.opcode is Opcode.TEXT else self._parts
                if frame.opcode is Opcode.CONT and self._parts is not None:
                    self._parts.append(bytes(frame.data))
                if frame.fin and self._parts is not None:
                    text, self._parts = b"".join(self._parts), None
                    self.server.arrived(self, text)
            case Opcode.BINARY:
                self.server.counts["errors"] += 1
                self.close(CloseCode.UNSUPPORTED_DATA, "this server speaks JSON in text messages")
            case _:
                pass  # pings are answered and closes echoed by the protocol itself

    def _flush(self) -> None:
        """Write what the protocol itself has to say: handshake, pongs, closes."""
        for data in self._protocol.data_to_send():
            if self._transport is None:
                return
            if data:
                self._transport.write(data)
            elif self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()
        error = self._protocol.parser_exc or self._protocol.handshake_exc
        if error is not None and not self.reason and not isinstance(error, EOFError):
            self.reason = str(error)
            self.server.counts["errors"] += 1
        if self._protocol.close_expected() and not self._closing:
            self._closing = True
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = self._abort_in(self.server.settings.close_within, "did not close")

    # --- what leaves ------------------------------------------------------------------------

    def send(self, data: bytes, writer: Connection | None) -> bool:
        """Write a serialised message, or keep it; `writer` waits when too much is kept."""
        if self._transport is None or self._protocol.state is not OPEN:
            return False
        if not self._blocked:
            self._transport.write(data)
            return True
        if len(self.outbox) >= _OUTBOX_HARD:
            self.abort("does not read", evict=True)
            return False
        self.outbox.append(data)
        if len(self.outbox) >= OUTBOX and writer is not None and writer not in self._writers:
            self._writers.append(writer)
            writer.throttle()
        return True

    def throttle(self) -> None:
        self._throttled += 1
        if self._throttled == 1 and self._transport is not None:
            self._transport.pause_reading()

    def unthrottle(self) -> None:
        self._throttled -= 1
        if self._throttled == 0 and self._transport is not None:
            self._transport.resume_reading()
            self._handle()

    def _release_writers(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.unthrottle()

    # --- the end ----------------------------------------------------------------------------

    def close(self, code: int, reason: str) -> None:
        """Say why, and close; abort if the client does not answer in time."""
        if self._transport is None or self._protocol.state is not OPEN:
            return
        self.reason = reason
        # A reason has 123 bytes at most (RFC 6455 §5.5); cut between characters.
        short = reason.encode()[:123].decode(errors="ignore")
        while self.outbox:  # what was sent before the close arrives before it
            self._transport.write(self.outbox.popleft())
        self._protocol.send_close(code, short)
        self._flush()

    def abort(self, reason: str, *, evict: bool = False) -> None:
        """End it now, without a word."""
        if self._transport is not None:
            self.reason = self.reason or reason
            self.server.counts["evicted"] += evict
            self._transport.abort()

    def _abort_in(self, seconds: float, why: str, evict: bool = False) -> asyncio.TimerHandle:
        loop = asyncio.get_running_loop()
        return loop.call_later(seconds, lambda: self.abort(why, evict=evict))


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
        why = error.strerror or str(error)
        raise UsageError(f"cannot listen at {host}:{port}: {why.lower()}{hint}") from error


def _set_user_timeout(transport: asyncio.BaseTransport, seconds: float) -> None:
    """Have the kernel give up on a peer that acknowledges nothing (Linux, RFC 5482)."""
    sock = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if sock is not None and option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
