"""A party's connection to the signaling server: `websockets`' sans-I/O client on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidURI
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import OPEN
from websockets.uri import WebSocketURI, parse_uri

from mpclab.core.errors import UsageError

MAX_MESSAGE: Final = 1024 * 1024
"""The largest message taken from a server, bytes: a roster can be longer than a party's message."""
MAX_UNSENT: Final = 64 * 1024 * 1024
"""Bytes that may wait for a server before its connection is given up."""
STUCK_AFTER: Final = 15.0
"""Seconds in which a server must take something of what waits for it. It may slow us down for a
while where we write to somebody who reads slowly."""
OPEN_WITHIN: Final = 5.0
HEAD_START: Final = 0.25
CLOSE_WITHIN: Final = 2.0


@dataclass(frozen=True)
class Handlers:
    """A client's callbacks: `opened` at most once, `closed` exactly once, unless we hung up."""

    opened: Callable[[], None]
    received: Callable[[bytes], None]
    closed: Callable[[str], None]


def check_url(url: str) -> WebSocketURI:
    """The parts of a server's url.

    Raises:
        UsageError: not a `ws://` or `wss://` url.
    """
    try:
        return parse_uri(url)
    except (InvalidURI, ValueError) as error:
        raise UsageError(f"{url!r} is not a server's url: write ws://host:port or wss://…") from (
            error
        )


async def first_to_answer(host: str, port: int) -> socket.socket:
    """A TCP connection to the first of a name's addresses that answers (RFC 8305): families take
    turns, and each address gets a head start of `HEAD_START` on the next.

    Raises:
        OSError: none answers; says what the last one that failed said.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    families = [
        [f for f in found if f[0] == family] for family in dict.fromkeys(f[0] for f in found)
    ]
    order = [f for turn in zip_longest(*families) for f in turn if f is not None]
    attempts: set[asyncio.Task[socket.socket]] = set()
    failure: BaseException = OSError(f"{host} has no address")
    try:
        while order or attempts:
            if order:
                family, kind, proto, _, address = order.pop(0)
                attempts.add(loop.create_task(_connected(family, kind, proto, address)))
            wait = HEAD_START if order else None
            done, attempts = await asyncio.wait(
                attempts, timeout=wait, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                if (error := attempt.exception()) is None:
                    return attempt.result()
                failure = error
        raise failure
    finally:
        for attempt in attempts:
            attempt.add_done_callback(_close_late)
            attempt.cancel()


async def _connected(family: int, kind: int, proto: int, address: Any) -> socket.socket:
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _close_late(attempt: asyncio.Task[socket.socket]) -> None:
    """Another address was quicker."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


class SocketClient(asyncio.Protocol):
    """One connection, from the dialing to its end. Text messages both ways.

    Args:
        url: the server's.
        handlers: hear of it; never called from inside a method of ours.
        tls: for `wss`, whom to trust; None: the system's authorities.
    """

    def __init__(self, url: str, handlers: Handlers, tls: ssl.SSLContext | None = None) -> None:
        self._uri = check_url(url)
        self._handlers: Handlers | None = handlers  # None: nobody wants to hear any more
        self._tls = tls
        self._protocol = ClientProtocol(self._uri, max_size=MAX_MESSAGE)
        self._transport: asyncio.Transport | None = None
        self._dialing: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None  # whether the server takes anything
        self._written = 0
        self._parts: list[bytes] = []
        self._reason = ""
        self._gone = asyncio.Event()  # there is no socket (any more)
        self._gone.set()

    async def dial(self) -> None:
        """Connect; success and failure are told to the handlers."""
        self._dialing = asyncio.current_task()
        loop = asyncio.get_running_loop()
        host = self._uri.host
        tls = (self._tls or ssl.create_default_context()) if self._uri.secure else None
        try:
            async with asyncio.timeout(OPEN_WITHIN):
                sock = await first_to_answer(host, self._uri.port)
                name = host if tls is not None else None
                await loop.create_connection(lambda: self, sock=sock, ssl=tls, server_hostname=name)
        except TimeoutError:
            self._end("no answer in time")
        except socket.gaierror:
            self._end(f"the name {host} cannot be resolved")
        except ssl.SSLCertVerificationError as error:
            self._end(f"its certificate is not trusted: {error.verify_message}")
        except ssl.SSLError as error:
            self._end(f"it does not speak TLS as we do: {error.reason or error}")
        except OSError as error:
            refused = isinstance(error, ConnectionRefusedError)
            said = error.strerror or str(error) or "it ended the connection"
            self._end("connection refused" if refused else said)
        except asyncio.CancelledError:  # hung up while dialing
            if self._transport is not None:
                self._transport.abort()
            self._gone.set()  # the loop may have closed a half-made socket without telling us

    def descriptors(self) -> list[int]:
        """Of our socket."""
        sock = self._transport.get_extra_info("socket") if self._transport else None
        return [sock.fileno()] if sock is not None else []

    @property
    def local(self) -> tuple[str, int] | None:
        """Our own address: how the server's side can tell who we are."""
        name = self._transport.get_extra_info("sockname") if self._transport else None
        return (name[0], name[1]) if isinstance(name, tuple) else None

    # --- asyncio's side -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._gone.clear()
        if self._handlers is None:
            self._transport.abort()
            return
        self._abort_in(OPEN_WITHIN, "no answer in time")
        self._protocol.send_request(self._protocol.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            self._protocol.receive_data(data)
        except EOFError:
            return
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                if self._protocol.handshake_exc is None and self._protocol.state is OPEN:
                    self._abort_in(None)
                    if self._handlers is not None:
                        self._handlers.opened()
            elif isinstance(event, Frame):
                self._take(event)
        self._flush()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._gone.set()
        self._abort_in(None)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        received, refused = self._protocol.close_rcvd, self._protocol.handshake_exc
        if self._reason:
            why = self._reason
        elif received is not None:
            why = received.reason or "connection closed"
        elif refused is not None:
            why = f"no signaling server there: {refused}"
        else:
            why = "connection lost"
        self._end(why)

    # --- messages -----------------------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT:
                self._parts = [bytes(frame.data)]
            case Opcode.CONT:
                self._parts.append(bytes(frame.data))
            case Opcode.BINARY:
                self.abort("the server sent a binary message")
                return
            case _:
                return
        if frame.fin:
            text, self._parts = b"".join(self._parts), []
            if self._handlers is not None:
                self._handlers.received(text)

    def send(self, text: bytes) -> bool:
        """Send one message; False: the connection is not open (any more)."""
        if self._transport is None or self._protocol.state is not OPEN:
            return False
        unsent = self._transport.get_write_buffer_size()
        if unsent > MAX_UNSENT:
            self.abort(f"more than {MAX_UNSENT} bytes wait for the server")
            return False
        self._protocol.send_text(text)
        self._flush()
        if unsent and self._watch is None:
            self._expect_progress()
        return True

    def _expect_progress(self) -> None:
        """Look again after a while whether anything of what waits was taken."""
        taken = self._taken()

        def look() -> None:
            self._watch = None
            if self._transport is None or not self._transport.get_write_buffer_size():
                return
            if self._taken() > taken:
                self._expect_progress()
            else:
                self.abort("the server does not read")

        self._watch = asyncio.get_running_loop().call_later(STUCK_AFTER, look)

    def _taken(self) -> int:
        """Bytes that left us."""
        unsent = self._transport.get_write_buffer_size() if self._transport else 0
        return self._written - unsent

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if self._transport is None:
                return
            if data:
                self._written += len(data)
                self._transport.write(data)
            else:
                self._transport.close()
        if self._protocol.close_expected() and self._deadline is None:
            self._abort_in(CLOSE_WITHIN, "")

    # --- the end ------------------------------------------------------------------------------

    def hang_up(self, reason: str = "") -> None:
        """Close properly. We hear nothing more."""
        self._handlers = None
        if self._transport is None:
            if self._dialing is not None:
                self._dialing.cancel()
        elif self._protocol.state is OPEN:
            self._protocol.send_close(1000, reason.encode()[:123].decode(errors="ignore"))
            self._flush()
        else:
            self._transport.abort()

    def vanish(self) -> None:
        """Drop the socket without a goodbye, as a machine that lost its power."""
        self._handlers = None
        if self._dialing is not None:
            self._dialing.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the socket is gone, at most as long as a proper goodbye may take."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), CLOSE_WITHIN + 1)

    def abort(self, reason: str) -> None:
        """Drop the socket; `closed(reason)` follows."""
        self._reason = self._reason or reason
        if self._transport is not None:
            self._transport.abort()

    def _end(self, reason: str) -> None:
        handlers, self._handlers = self._handlers, None
        if handlers is not None:
            handlers.closed(reason)

    def _abort_in(self, seconds: float | None, reason: str = "") -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(seconds, self.abort, reason)
