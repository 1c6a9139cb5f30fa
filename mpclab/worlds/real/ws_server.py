"""The WebSocket server: connections by number, limits, and who hears of them.

It carries text messages between connection numbers and whoever owns it, and looks into none.
What it guards against, each by a test:

- a slow or stuck reader, a flood of any frames, bytes that are not WebSocket: see `ws_connection`.
- too many connections, of one address or in all. A newcomer is let in at the cost of the oldest
  connection that has not joined anything yet (of its own address, or of the one with most of
  them), so that half-open connections keep nobody out; only when all have joined is it refused.
- TLS handshakes count as connections from their first byte and have the same deadline.
- behind a proxy that we trust, limits count for the address that the proxy names.
- pages of other origins, and `/status` for pages whose name was rebound to our address.

No compression (49 KB a connection instead of 5), and one serialisation for all readers of a
message: frames of a server carry no mask, so their bytes are the same for all.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Protocol

import msgspec
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from mpclab.worlds.real import ws_http
from mpclab.worlds.real.listening import (
    as_written,
    bind,
    forwarded,
    host_of,
    is_address,
    is_unspecified,
    own_address,
    share_of,
)
from mpclab.worlds.real.ws_connection import Connection, text_frame
from mpclab.worlds.real.ws_settings import ServerSettings


class ServerStatus(msgspec.Struct, frozen=True):
    """A server's activity so far. Times in seconds. Holds no secret.

    Attributes:
        evicted: connections cut off because they took nothing.
        left_out: messages for readers that were too slow to have them.
    """

    running: bool
    url: str
    uptime: float = 0.0
    connections: int = 0
    accepted: int = 0
    refused: int = 0
    evicted: int = 0
    left_out: int = 0
    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    errors: int = 0


class Owner(Protocol):
    """A server's callbacks. Never called from inside `SocketServer.send`."""

    def opened(self, number: int, address: tuple[str, int], origin: str) -> None:
        """Connection `number` finished its handshake; limits count it for `origin`."""

    def received(self, number: int, text: bytes) -> None:
        """A whole text message."""

    def closed(self, number: int, reason: str) -> None:
        """Connection `number`, which had been opened, is gone."""


class SocketServer:
    """Listens, numbers its clients, and carries text messages.

    Args:
        owner: hears of connections and messages.
        settings: limits.

    Attributes:
        waiting: bytes that wait for slow readers, in all.
        overhead: bytes that a frame is worth besides its own.
        joining: whether the owner calls `joined`; if not, an open connection counts as joined.
    """

    def __init__(self, owner: Owner, settings: ServerSettings | None = None) -> None:
        self.owner = owner
        self.settings = settings or ServerSettings()
        self.origins = (*self.settings.origins, None)
        self.overhead = self.settings.bytes_a_second // self.settings.rate
        self.joining = False
        self.accepted = self.refused = self.evicted = self.left_out = self.errors = 0
        self.messages_in = self.messages_out = self.bytes_in = self.bytes_out = 0
        self.waiting = 0
        self.url = ""
        self.stopped = False
        self.loop: asyncio.AbstractEventLoop
        self._began = time.monotonic()
        self._by_number: dict[int, Connection] = {}
        self._all: set[Connection] = set()
        self._origins: dict[str, int] = {}  # connections of each address
        self._not_in: dict[str, dict[Connection, None]] = {}  # those that joined nothing, by age
        self._proxies = [ip_network(p, strict=False) for p in self.settings.proxies]
        self._dirty: list[Connection] = []  # to be written to when this turn is over
        self._handshakes: dict[Connection, asyncio.Task[None]] = {}
        self._accepting: asyncio.Task[None] | None = None  # the listener, where TLS is spoken
        self._next = 1
        self._current: Connection | None = None  # whose message is being handled
        self._listener: asyncio.Server | None = None
        self._empty: Callable[[], None] | None = None

    def name_url(self, sock: socket.socket, host: str) -> None:
        """Take the url from a bound socket; `host` is what people call it."""
        scheme = "wss" if self.settings.tls else "ws"
        if is_unspecified(host):
            host = own_address()
        shown = f"[{host}]" if ":" in host else host
        port = sock.getsockname()[1]
        self.url = f"{scheme}://{shown}:{port}"
        if self.settings.pages is not None:
            # Our own pages, under the names that we are known to have. Never by what a request
            # calls us: a page elsewhere may have its own name point to our address.
            web = "https" if self.settings.tls else "http"
            names = [shown, *self.settings.names]
            names += ["127.0.0.1", "localhost", "[::1]"]
            own = [f"{web}://{name}:{port}" for name in names]
            own += [f"{web}://{name}" for name in names if port == {"http": 80, "https": 443}[web]]
            own += [f"https://{name}" for name in self.settings.names if self.settings.proxies]
            self.origins = (*self.settings.origins, *dict.fromkeys(own), None)

    async def listen(self, sock: socket.socket) -> None:
        """Accept clients at a bound and listening socket."""
        self.loop = loop = asyncio.get_running_loop()
        if self.stopped:
            sock.close()
            return
        if self.settings.tls is not None:
            sock.setblocking(False)
            self._accepting = loop.create_task(self._accept(sock, self.settings.tls))
            return
        self._listener = await loop.create_server(lambda: Connection(self), sock=sock, backlog=1024)
        if self._was_stopped():
            self._listener.close()

    def _was_stopped(self) -> bool:
        """`stopped`, read anew: it may have changed while we awaited."""
        return self.stopped

    def status(self) -> ServerStatus:
        """Counters, now."""
        counts = (
            self.accepted, self.refused, self.evicted, self.left_out, self.messages_in,
            self.messages_out, self.bytes_in, self.bytes_out, self.errors,
        )  # fmt: skip
        if self.stopped:
            return ServerStatus(False, self.url, 0.0, 0, *counts)
        uptime = time.monotonic() - self._began
        return ServerStatus(True, self.url, uptime, len(self._by_number), *counts)

    def has(self, number: int) -> bool:
        return number in self._by_number

    def address(self, number: int) -> tuple[str, int] | None:
        """Where connection `number` comes from: its client's own address and port."""
        connection = self._by_number.get(number)
        return connection.address if connection else None

    def named_session(self, number: int) -> str:
        """The session that connection `number` named in its url; "": none."""
        connection = self._by_number.get(number)
        return connection.session if connection else ""

    def serves(self, client: tuple[str, int] | None) -> bool:
        """Whether one of our connections comes from that address and port."""
        return any(it.address == client for it in self._by_number.values())

    def send(self, to: Sequence[int], text: bytes) -> list[int]:
        """Send one message to many: serialised once. Returns those who do not get it."""
        data = text_frame(text)
        missed = []
        for number in to:
            connection = self._by_number.get(number)
            if connection is None or not connection.send(data):
                missed.append(number)
        self._sent(len(to) - len(missed), len(data))
        return missed

    def send_one(self, number: int, text: bytes) -> bool:
        """`send` to one; whether it gets it."""
        connection = self._by_number.get(number)
        data = text_frame(text)
        if connection is None or not connection.send(data):
            return False
        self._sent(1, len(data))
        return True

    def _sent(self, readers: int, size: int) -> None:
        self.messages_out += readers
        self.bytes_out += readers * size
        self.charge(readers * size)

    def charge(self, size: int) -> None:
        """Charge the client whose message is being handled, if any, for what it makes us send."""
        if self._current is not None:
            self._current.charge(size)

    def hang_up(self, number: int, reason: str) -> None:
        """Close one connection properly."""
        if connection := self._by_number.get(number):
            connection.close(CloseCode.POLICY_VIOLATION, reason)

    def joined(self, number: int) -> None:
        """Connection `number` is somebody now: it does not make room for newcomers any more."""
        if connection := self._by_number.get(number):
            self._is_in(connection)

    def descriptors(self) -> list[int]:
        """Of the listening socket, and of all connections."""
        sockets = list(self._listener.sockets) if self._listener is not None else []
        return [s.fileno() for s in sockets] + [d for c in list(self._all) for d in c.descriptors()]

    def stop_listening(self) -> None:
        """Free the port; connections go on."""
        self.stopped = True
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._accepting is not None:
            self._accepting.cancel()
            self._accepting = None

    def abort(self) -> None:
        """Drop everything at once, as a machine that lost its power."""
        self.stop_listening()
        for connection in list(self._all):
            self._cut(connection, "the server was killed")

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
                self._cut(connection, "the server stopped")
        try:
            await asyncio.wait_for(done.wait(), self.settings.close_within)
        except TimeoutError:
            self.abort()
            await done.wait()

    # --- for connections ----------------------------------------------------------------------

    def admits(self, connection: Connection) -> bool:
        """Whether there is a place for it, or for it instead of one that has not joined."""
        if len(self._all) >= self.settings.connections and not self._make_room():
            self.refused += 1
            return False
        proxied = self._is_proxy(connection.origin)
        if not proxied and not self._has_share(connection.origin):
            self.refused += 1
            return False
        self._all.add(connection)
        self.accepted += 1
        self._count(connection)
        return True

    def _count(self, connection: Connection) -> None:
        origin = share_of(connection.origin)
        self._origins[origin] = self._origins.get(origin, 0) + 1
        self._not_in.setdefault(origin, {})[connection] = None

    def _uncount(self, connection: Connection) -> None:
        origin = share_of(connection.origin)
        self._is_in(connection)
        self._origins[origin] -= 1
        if not self._origins[origin]:
            del self._origins[origin]

    def _is_in(self, connection: Connection) -> None:
        origin = share_of(connection.origin)
        waiting = self._not_in.get(origin)
        if waiting is not None:
            waiting.pop(connection, None)
            if not waiting:
                del self._not_in[origin]

    def _has_share(self, address: str) -> bool:
        limit, origin = self.settings.per_address, share_of(address)
        return not limit or self._origins.get(origin, 0) < limit or self._make_room(origin)

    def _make_room(self, origin: str | None = None) -> bool:
        """Cut off the oldest connection that has not joined, of `origin` or of the address that
        has most of them; False: there is none."""
        if origin is None:
            origin = max(self._not_in, key=lambda o: len(self._not_in[o]), default="")
        oldest = next(iter(self._not_in.get(origin, ())), None)
        if oldest is None:
            return False
        self._cut(oldest, "made room for a newcomer")
        self.lost(oldest)
        return True

    def _cut(self, connection: Connection, reason: str) -> None:
        if handshake := self._handshakes.get(connection):
            handshake.cancel()
        connection.abort(reason)

    def place(self, connection: Connection, request: Request) -> bool:
        """Count a proxied connection for the address that its proxy names, or for the proxy's own
        where it names none, if there is a share left. What comes from the proxies' own machines
        has no limit: it is ours."""
        if connection not in self._all:
            return False
        named = self._named_by_proxy(connection.origin, request)
        if named is None:
            return True
        self._uncount(connection)
        if not self._has_share(named):
            self._count(connection)
            self.refused += 1
            return False
        connection.origin = named
        self._count(connection)
        return True

    def _is_proxy(self, address: str) -> bool:
        if not self._proxies:
            return False
        with suppress(ValueError):
            ip = ip_address(address)
            return any(ip in network for network in self._proxies)
        return False

    def _named_by_proxy(self, address: str, request: Request) -> str | None:
        """The address nearest to us that is no proxy of ours: what stands left of it in the headers
        was written by the client itself. None: all are ours. Where there is no header, or where
        the two do not agree, since the proxy passes one on as the client wrote it and we cannot
        know which, the proxy's own."""
        if not self._is_proxy(address):
            return None
        headers = request.headers
        listed = [a for h in headers.get_all("Forwarded") for a in forwarded(h)]
        others = [
            host_of(a)
            for h in headers.get_all("X-Forwarded-For")
            for a in h.split(",")
            if a.strip()
        ]
        named = {self._first_stranger(it) for it in (listed, others) if it}
        return named.pop() if len(named) == 1 else address

    def _first_stranger(self, listed: list[str]) -> str | None:
        for one in reversed(listed):
            if not self._is_proxy(as_written(one)):
                return as_written(one)[:64]
        return None

    def may_ask(self, request: Request) -> bool:
        """Whether `/status` is for who asks: a program, or a page of an allowed origin, under a
        name that is ours. A page elsewhere may have its own name point to our address."""
        hosts = request.headers.get_all("Host")
        origins = request.headers.get_all("Origin")
        host = host_of(hosts[0]).lower() if len(hosts) == 1 else "?."
        # A name without a dot is of a local network: nobody can have it rebound from outside.
        known = host in map(str.lower, self.settings.names) or "." not in host or is_address(host)
        return known and all(origin in self.settings.origins for origin in origins)

    def answer(self, connection: Connection, request: Request) -> Response | None:
        """Our answer to plain HTTP; None: it is for a WebSocket, or a page."""
        settings = self.settings
        return ws_http.answer(
            request, connection.origin,
            status=self.status, may_ask=self.may_ask, only_hosts=settings.only_hosts,
            front=settings.front, metrics_from=settings.metrics_from,
            has_pages=settings.pages is not None,
        )  # fmt: skip

    def handshaken(self, connection: Connection) -> None:
        connection.number = self._next
        self._next += 1
        self._by_number[connection.number] = connection
        if not self.joining:
            self._is_in(connection)
        self.owner.opened(connection.number, connection.address, share_of(connection.origin))

    def arrived(self, connection: Connection, text: bytes) -> None:
        if connection.number not in self._by_number:
            return
        self.messages_in += 1
        self._current = connection
        try:
            self.owner.received(connection.number, text)
        finally:
            self._current = None

    def written_to(self, connection: Connection) -> None:
        """Write what `connection` is told when this turn of the loop is over: at one go."""
        if not self._dirty:
            self.loop.call_soon(self._uncork)
        self._dirty.append(connection)

    def _uncork(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.uncork()

    def lost(self, connection: Connection) -> None:
        if connection not in self._all:
            return
        self._all.discard(connection)
        self._uncount(connection)
        if self._by_number.pop(connection.number, None) is not None:
            self.owner.closed(connection.number, connection.reason)
        if not self._all and self._empty is not None:
            self._empty()

    # --- TLS ----------------------------------------------------------------------------------

    async def _accept(self, sock: socket.socket, tls: ssl.SSLContext) -> None:
        """Let clients in one by one, before a byte of TLS: `create_server` would tell us of them
        only after their handshakes."""
        with sock:
            while True:
                try:
                    client, address = await self.loop.sock_accept(sock)
                except OSError:  # it was reset already, or there is no descriptor left
                    await asyncio.sleep(0.05)
                    continue
                connection = Connection(self)
                connection.origin = as_written(address[0])
                if not self.admits(connection):
                    client.close()  # no TLS yet, so no words either
                    continue
                task = self.loop.create_task(self._encrypt(connection, client, tls))
                self._handshakes[connection] = task

    async def _encrypt(
        self, connection: Connection, client: socket.socket, tls: ssl.SSLContext
    ) -> None:
        try:
            await self.loop.connect_accepted_socket(
                lambda: connection, client, ssl=tls,
                ssl_handshake_timeout=self.settings.open_within,
            )  # fmt: skip
        except (OSError, asyncio.CancelledError):  # no TLS, a wrong one, too slow, or cut off
            client.close()
            self.lost(connection)
        finally:
            self._handshakes.pop(connection, None)

    def has_admitted(self, connection: Connection) -> bool:
        return connection in self._all


__all__ = ["Owner", "ServerSettings", "ServerStatus", "SocketServer", "bind"]
