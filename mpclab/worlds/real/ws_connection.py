"""One client at the server: WebSocket frames on an `asyncio.Protocol`.

Nearly all that a client sends is whole text messages, which need nothing but unmasking: they are
taken apart here. Every other frame goes, as a whole, to `websockets`' sans-I/O layer, which also
does the opening and the closing; after anything wrong it gets all there is, for good.

Fair shares. A connection handles `FRAMES_A_TURN` frames, then the loop looks after the others.
Each frame costs its bytes, an overhead that makes tiny ones count, and the bytes that it makes us
send to others; whoever has spent its credit is not read from until it has some again. So pings,
pongs and empty fragments are as little for free as messages are.

Slow readers. Messages beyond a reader's buffers wait in an outbox of its own, and those beyond
the outbox are left out: no writer is ever held up by a reader. A reader that takes nothing
at all for `stuck_after` seconds is cut off, one that goes on reading never, however slowly.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

from websockets.frames import CloseCode, Opcode
from websockets.frames import Frame as SocketFrame
from websockets.http11 import Request, Response
from websockets.protocol import OPEN
from websockets.protocol import Protocol as SocketProtocol
from websockets.server import ServerProtocol

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

from mpclab.worlds.real.listening import as_written
from mpclab.worlds.real.ws_http import session_in
from mpclab.worlds.real.ws_settings import ServerSettings

FRAMES_A_TURN: Final = 16
ODD_A_TURN: Final = 512
"""Bytes a turn that the protocol takes apart: at 6 bytes a frame it needs about 1 ms for them."""
OUTBOX: Final = 16 * 1024 * 1024
"""Bytes that may wait for one reader, as long as little waits in all."""
OUTBOX_CROWDED: Final = 1024 * 1024
"""Bytes that may wait for one reader when `CROWDED` wait in all."""
CROWDED: Final = 128 * 1024 * 1024
A_READ: Final = 256
"""Bytes that taking anything from a socket is worth: many small segments cost us more."""
BURST: Final = 2.0
"""Seconds of its rate that a rested connection may spend at once."""
_WRITE_BUFFER: Final = 64 * 1024
_END_OF_REQUEST: Final = b"\r\n\r\n"


class Acceptor(Protocol):
    """The server as the connection that it accepted needs it."""

    settings: ServerSettings
    origins: tuple[str | None, ...]
    loop: asyncio.AbstractEventLoop
    overhead: int
    waiting: int
    bytes_in: int
    errors: int
    evicted: int
    left_out: int

    def admits(self, connection: Connection) -> bool: ...
    def has_admitted(self, connection: Connection) -> bool: ...
    def place(self, connection: Connection, request: Request) -> bool: ...
    def answer(self, connection: Connection, request: Request) -> Response | None: ...
    def handshaken(self, connection: Connection) -> None: ...
    def arrived(self, connection: Connection, text: bytes) -> None: ...
    def written_to(self, connection: Connection) -> None: ...
    def lost(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """One client, from TCP's accept to its end.

    Attributes:
        number: 0 until the handshake is done.
        address: its TCP address and port.
        origin: the address that limits count for: its own, or what a trusted proxy says.
        session: the one that its url names, `…/s/ID`; "": none.
        outbox: what waits for it, because it does not read as fast as others write.
    """

    __slots__ = (
        "_blocked", "_closing", "_corked", "_credit", "_deadline", "_input", "_odd", "_parts",
        "_patience", "_paused", "_protocol", "_rested_at", "_stood", "_transport", "_turn_at",
        "_waiting", "address", "number", "origin", "outbox", "reason", "server", "session",
    )  # fmt: skip

    def __init__(self, server: Acceptor) -> None:
        settings = server.settings
        self.server = server
        self.number = 0
        self.address: tuple[str, int] = ("", 0)
        self.origin = ""
        self.session = ""
        self.outbox: list[bytes] = []  # a short list: an empty deque takes 760 bytes
        self.reason = ""
        self._protocol = ServerProtocol(
            origins=cast(Sequence[Any], server.origins), max_size=settings.max_message
        )
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None  # of the opening, then of the close
        self._patience: asyncio.TimerHandle | None = None  # with a reader that does not read
        self._turn_at: asyncio.Handle | None = None  # our next turn, when input is left
        self._input: bytes | bytearray = b""  # not taken apart yet
        self._parts: list[bytes] | None = None  # of a message in several frames
        self._odd = False  # something is wrong, or the end has begun: the protocol deals with it
        self._corked: list[bytes] = []  # written when this turn of the loop is over
        self._waiting = 0  # bytes in the outbox
        self._blocked = False  # the transport's buffer is full
        self._stood = -1  # what a full buffer held when we last looked
        self._paused = False  # not read from
        self._closing = False
        self._credit = float(settings.bytes_a_second)
        self._rested_at = time.monotonic()

    # --- asyncio's side ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = (peer[0], peer[1]) if isinstance(peer, tuple) else ("", 0)
        self.origin = self.origin or as_written(self.address[0])
        if not (self.server.has_admitted(self) or self.server.admits(self)):
            self._transport.write(
                b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"
                b"Content-Length: 26\r\n\r\nToo many connections here\n"
            )
            self._transport.close()
            self._transport = None
            return
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        # Later than we look ourselves: the kernel counts a closed window as no answer, and knows no
        # reason to give.
        _set_user_timeout(self._transport, 3 * self.server.settings.stuck_after)
        self._deadline = self._abort_in(self.server.settings.open_within, "did not open in time")

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        self.server.bytes_in += len(data)
        if not self.number and not self._odd:
            self._opening(data)
        elif self._odd:
            self._input += data
            if self._turn_at is None:
                self._odd_turn()
        else:
            self._credit -= A_READ
            if not self._input:
                self._input = data
            elif isinstance(self._input, bytearray):
                self._input += data
            else:
                self._input = bytearray(self._input)  # grows without being copied each time
                self._input += data
            if self._turn_at is None:
                self._turn()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        for timer in (self._deadline, self._patience, self._turn_at):
            if timer is not None:
                timer.cancel()
        self._input = b""
        self.outbox.clear()
        self._corked.clear()
        self.server.waiting -= self._waiting
        self._waiting = 0
        if not self.reason:
            close = self._protocol.close_rcvd
            self.reason = close.reason if close and close.reason else "connection closed"
            if close is None:
                self.reason = "connection lost"
        self.server.lost(self)

    def pause_writing(self) -> None:
        self._blocked = True
        self._stood = self._held()
        self._patience = self._look_again()

    def resume_writing(self) -> None:
        self._blocked = False
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        sent, outbox = 0, self.outbox
        while sent < len(outbox) and not self._blocked and self._transport is not None:
            self._transport.write(outbox[sent])
            sent += 1
        gone = sum(map(len, outbox[:sent]))
        del outbox[:sent]
        self._waiting -= gone
        self.server.waiting -= gone

    # --- the opening ------------------------------------------------------------------------

    def _opening(self, data: bytes) -> None:
        """Give the protocol the request and not a byte more: what follows is ours to parse."""
        before = bytes(self._input)  # the last bytes, in which the end of the request may begin
        joined = before + data
        at = joined.find(_END_OF_REQUEST)
        if at < 0:
            self._input = joined[-3:]
            self._feed(data)
            return
        cut = at + len(_END_OF_REQUEST) - len(before)
        self._input = b""
        self._feed(data[:cut])
        if not self.number:
            self._odd = True
            self._feed(data[cut:])
        elif data[cut:]:
            self._input = data[cut:]
            self._turn()

    def _open(self, request: Request) -> None:
        server, protocol = self.server, self._protocol
        if not server.place(self, request):
            response = protocol.reject(
                HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections from your address\n"
            )
        elif (said := server.answer(self, request)) is not None:
            response = said
        elif server.settings.pages is not None and (
            (page := server.settings.pages.answer(request)) is not None
        ):
            response = page
            if self._deadline is not None:  # whoever is slow has time, as long as it reads
                self._deadline.cancel()
                self._deadline = None
        else:
            response = protocol.accept(request)
        protocol.send_response(response)
        self._flush()
        if protocol.state is OPEN and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            # Else the generator would hold the whole request, 2 KB and a browser's cookies.
            protocol.parser = SocketProtocol.parse(protocol)
            next(protocol.parser)
            self.session = session_in(request.path)
            server.handshaken(self)

    def descriptors(self) -> list[int]:
        """Of our socket."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        return [sock.fileno()] if sock is not None else []

    # --- what arrives -----------------------------------------------------------------------

    def _turn(self) -> None:
        """Handle the frames that are there, up to `FRAMES_A_TURN` and while there is credit."""
        self._turn_at = None
        server, protocol = self.server, self._protocol
        data, start, end = self._input, 0, len(self._input)
        self._input = b""
        most, left, wait = server.settings.max_message, FRAMES_A_TURN, 0.0
        while end - start >= 2 and self._transport is not None:
            if protocol.state is not OPEN:
                self._odd = True  # a frame before this one, or our answer to it, ended it
                break
            first, size, at = data[start], data[start + 1] - 0x80, start + 2
            if size == 0x7E:
                if end - start < 4:
                    break
                size, at = data[at] << 8 | data[at + 1], at + 2
            elif size < 0 or size == 0x7F:
                size = most + 1  # not masked (RFC 6455 §5.1), or longer than any message
            if size > most:
                self._odd = True
                break
            after = at + 4 + size
            if after > end:
                break
            if not left:
                break
            if (wait := self._owes()) > 0:
                left = 0
                break
            left -= 1
            self._credit -= size + server.overhead
            payload = data[at + 4 : after]
            if first == 0x81 and protocol.current_size is None:
                server.arrived(self, apply_mask(payload, data[at : at + 4]))
            elif first == 0x89 and size <= 125:  # a ping; its pong goes with what else we say
                self.send(_pong(apply_mask(payload, data[at : at + 4])))
            elif first != 0x8A or size > 125:  # an unasked pong says nothing
                self._feed(bytes(data[start:after]))
            start = after
        if self._odd:
            self._input = bytes(data[start:])
            self._odd_turn()
            return
        self._input = bytes(data[start:]) if start else data
        if left:
            self._resume_reading()  # what is left is less than a frame
        elif self._transport is not None:
            if not self._paused:
                self._paused = True
                self._transport.pause_reading()
            loop = server.loop
            turn = self._turn
            self._turn_at = loop.call_later(wait, turn) if wait else loop.call_soon(turn)

    def _odd_turn(self) -> None:
        """Give the protocol a little of what is there. Until its client answers the close, it takes
        apart whatever comes, and in one go a read of empty frames would hold up everybody."""
        self._turn_at = None
        data, self._input = self._input, b""
        self._feed(bytes(data[:ODD_A_TURN]))
        if self._transport is None or len(data) <= ODD_A_TURN:
            self._resume_reading()
            return
        self._input = data[ODD_A_TURN:]
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._turn_at = self.server.loop.call_soon(self._odd_turn)

    def _resume_reading(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _owes(self) -> float:
        """Seconds until there is credit again; 0: there is some."""
        if self._credit >= 0:
            return 0.0
        now, rate = time.monotonic(), self.server.settings.bytes_a_second
        self._credit = min(BURST * rate, self._credit + (now - self._rested_at) * rate)
        self._rested_at = now
        return max(0.0, -self._credit / rate)

    def charge(self, size: int) -> None:
        """Charge this client for the bytes that its message made us send."""
        self._credit -= size

    def _feed(self, data: bytes) -> None:
        """Give `data` to the protocol, and do what it makes of it."""
        if not data:
            return
        try:
            self._protocol.receive_data(data)
        except EOFError:
            return  # bytes after the end of the stream
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._open(event)
            elif isinstance(event, SocketFrame):
                self._take(event)
        self._flush()

    def _take(self, frame: SocketFrame) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.CONT:
                self._parts = [bytes(frame.data)] if frame.opcode is Opcode.TEXT else self._parts
                if frame.opcode is Opcode.CONT and self._parts is not None and frame.data:
                    self._parts.append(bytes(frame.data))
                if frame.fin and self._parts is not None:
                    text, self._parts = b"".join(self._parts), None
                    self.server.arrived(self, text)
            case Opcode.BINARY:
                self.server.errors += 1
                self.close(CloseCode.UNSUPPORTED_DATA, "this server speaks JSON in text messages")
            case _:
                pass  # pings are answered and closes echoed by the protocol itself

    def _flush(self) -> None:
        """Write what the protocol itself has to say: handshake, pongs, closes."""
        self.uncork()
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
            self.server.errors += 1
        if self._protocol.close_expected() and not self._closing:
            self._closing = True
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = self._abort_in(self.server.settings.close_within, "did not close")

    # --- what leaves ------------------------------------------------------------------------

    def send(self, data: bytes) -> bool:
        """Write a serialised frame, or keep it for a slow reader; False: neither."""
        if self._transport is None or self._protocol.state is not OPEN:
            return False
        if not self._blocked:
            if not self._corked:
                self.server.written_to(self)
            self._corked.append(data)
            return True
        server = self.server
        most = OUTBOX if server.waiting < CROWDED else OUTBOX_CROWDED
        if self._waiting + len(data) > most:
            server.left_out += 1
            return False
        self.outbox.append(data)
        self._waiting += len(data)
        server.waiting += len(data)
        return True

    def uncork(self) -> None:
        """Write what was said in this turn of the loop, at one go."""
        corked = self._corked
        if corked:
            self._corked = []
            if self._transport is not None:
                self._transport.write(corked[0] if len(corked) == 1 else b"".join(corked))
                if self._blocked:
                    self._stood = max(self._stood, self._held())

    def _held(self) -> int:
        """Bytes that we wrote and the client's machine has not taken."""
        assert self._transport is not None
        return self._transport.get_write_buffer_size() + _unacknowledged(self._transport)

    def _look_again(self) -> asyncio.TimerHandle:
        return self.server.loop.call_later(self.server.settings.stuck_after, self._check)

    def _check(self) -> None:
        """Whether a reader that was behind has taken anything since we last looked."""
        if self._transport is None or not self._blocked:
            return
        held = self._held()
        if held >= self._stood:
            self.abort("does not read", evict=True)
            return
        self._stood = held
        self._patience = self._look_again()

    # --- the end ----------------------------------------------------------------------------

    def close(self, code: int, reason: str) -> None:
        """Say why, and close; abort if the client does not answer in time."""
        if self._transport is None or self._protocol.state is not OPEN:
            return
        self.reason = reason
        # A reason has 123 bytes at most (RFC 6455 §5.5); cut between characters.
        short = reason.encode()[:123].decode(errors="ignore")
        self.uncork()
        for data in self.outbox:  # what was sent before the close arrives before it
            self._transport.write(data)
        self.outbox.clear()
        self._protocol.send_close(code, short)
        self._flush()

    def abort(self, reason: str, *, evict: bool = False) -> None:
        """End it now, without a word."""
        if self._transport is not None:
            self.reason = self.reason or reason
            self.server.evicted += evict
            self._transport.abort()

    def _abort_in(self, seconds: float, why: str, evict: bool = False) -> asyncio.TimerHandle:
        return self.server.loop.call_later(seconds, lambda: self.abort(why, evict=evict))


def text_frame(text: bytes) -> bytes:
    """One unmasked, final text frame (RFC 6455 §5.2): the same bytes for all its readers."""
    length = len(text)
    if length < 126:
        return b"\x81%c%b" % (length, text)
    if length < 65536:
        return b"\x81\x7e%b%b" % (length.to_bytes(2, "big"), text)
    return b"\x81\x7f%b%b" % (length.to_bytes(8, "big"), text)


def _pong(payload: bytes) -> bytes:
    return b"\x8a%c%b" % (len(payload), payload)


def _unacknowledged(transport: asyncio.BaseTransport) -> int:
    """Bytes in the kernel, sent or not, that the other machine has not taken (SIOCOUTQ, tcp(7)).
    Its buffers hold megabytes, so that a transport alone sees no progress for many seconds."""
    sock = transport.get_extra_info("socket")
    if sys.platform == "win32" or sock is None:
        return 0
    import fcntl
    import termios

    try:
        return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0])
    except OSError:
        return 0


def _set_user_timeout(transport: asyncio.BaseTransport, seconds: float) -> None:
    """Have the kernel give up on a peer that acknowledges nothing (Linux, RFC 5482)."""
    sock = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if sock is not None and option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
