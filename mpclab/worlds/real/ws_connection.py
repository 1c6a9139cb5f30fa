"""One client at the server: `websockets`' sans-I/O layer on an `asyncio.Protocol`.

A reader that does not keep up has an outbox of its own, of `OUTBOX` messages. Whoever writes to
a full one is not read from until there is room, and the messages that it has sent already wait
unhandled; so memory stays bounded, and no one else waits.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

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


class Acceptor(Protocol):
    """What a connection needs of the server that accepted it."""

    settings: ServerSettings
    origins: tuple[str | None, ...]
    counts: dict[str, int]

    def admits(self, connection: Connection) -> bool: ...
    def handshaken(self, connection: Connection) -> None: ...
    def arrived(self, connection: Connection, text: bytes) -> None: ...
    def lost(self, connection: Connection) -> None: ...
    def status_json(self) -> str: ...


class Connection(asyncio.Protocol):
    """One client, from TCP's accept to its end."""

    def __init__(self, server: Acceptor) -> None:
        self.server = server
        self.number = 0  # given once the handshake is done
        self.address: tuple[str, int] = ("", 0)
        self.outbox: deque[bytes] = deque()
        self.reason = ""
        self._protocol = ServerProtocol(
            origins=cast(Sequence[Any], server.origins), max_size=server.settings.max_message
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


def _set_user_timeout(transport: asyncio.BaseTransport, seconds: float) -> None:
    """Have the kernel give up on a peer that acknowledges nothing (Linux, RFC 5482)."""
    sock = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if sock is not None and option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
