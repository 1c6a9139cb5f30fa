"""The WebSocket world: a real signaling server and real clients. Parties have no data channels,
so that everything between them is relayed by the server, sealed end to end.

On the wire each message is one text frame, `{"id": 7, "msg": {"type": "Join", …}}`; the path is
always `SIGNALING` and never sent. A frame's id makes one message of its sending and its arrival
in the trace, for all clients that live in this world.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import ssl
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from pathlib import Path as FilePath
from typing import Protocol, assert_never, runtime_checkable

import msgspec

from mpclab.core import notes
from mpclab.core.effects import (
    AddCandidates,
    Asked,
    Blame,
    CancelTimer,
    Connect,
    Delivered,
    Effect,
    HangUp,
    Lied,
    LinkClosed,
    LinkOpened,
    MakeAnswer,
    MakeOffer,
    Note,
    Output,
    Persist,
    Received,
    Route,
    Send,
    SetTimer,
    TakeAnswer,
)
from mpclab.core.errors import Strength, UsageError
from mpclab.core.ids import SERVER, Party, Path
from mpclab.core.sharing import SharedRoom
from mpclab.core.wire import Frame
from mpclab.trace.log import Trace
from mpclab.worlds.base import Build
from mpclab.worlds.host import Host
from mpclab.worlds.real import kept
from mpclab.worlds.real.addresses import is_loopback
from mpclab.worlds.real.admin import AdminSocket, Answer
from mpclab.worlds.real.backplane import Backplane, BackplaneSettings
from mpclab.worlds.real.processes import WithProcesses
from mpclab.worlds.real.store import SqliteStore
from mpclab.worlds.real.ws_client import OPEN_WITHIN, Handlers, SocketClient, check_url
from mpclab.worlds.real.ws_http import with_session
from mpclab.worlds.real.ws_server import (
    ServerSettings,
    ServerStatus,
    SocketServer,
    bind,
)
from mpclab.worlds.socket_text import SIGNALING, from_text, to_text
from mpclab.worlds.stores import Store


@runtime_checkable
class Relaying(Protocol):
    """A server's machine that clients join, and that can relay without a step."""

    def pass_on(
        self, sender: int, text: bytes, now: int
    ) -> list[tuple[tuple[int, ...], bytes]] | None:
        """The receivers and their messages for `text`; None: it takes a step."""

    @property
    def rooms(self) -> Mapping[str, object]:
        """Its rooms by session."""

    def shared_room(self, session: str) -> SharedRoom | None:
        """A room, as all servers should have it; None: there is none."""

    def connection_of(self, session: str, party: Party) -> int:
        """The connection of a member; 0: it is not here."""

    def left_out(self, sender: int, reader: int, now: int) -> bytes | None:
        """What to tell `sender`, whose message `reader` has no room for; None: it knows."""


class WebSocketWorld(WithProcesses):
    """Parties and server on real sockets.

    Args:
        url: a server elsewhere, where `host_server` is not used.
        authority: a file of certificates to trust for `wss`; None: the system's.
        certificate: (certificate file, key file) of our own server, which then speaks `wss`.
        server: limits of our own server.
        folder, seed, record, trace: as in `RealWorld`.
        backplane: where our server shares its rooms with others; None: they are its own.
        state: a file in which our own server keeps what it persists; None: in memory.
    """

    name = "websocket"

    def __init__(
        self,
        *,
        url: str = "",
        authority: str | FilePath | None = None,
        certificate: tuple[str | FilePath, str | FilePath] | None = None,
        server: ServerSettings | None = None,
        folder: str | FilePath | None = None,
        seed: int = 0,
        record: bool = False,
        trace: Trace | None = None,
        state: str | FilePath | None = None,
        backplane: BackplaneSettings | None = None,
    ) -> None:
        if url:
            check_url(url)
        self._url = url
        self.trust = _trust(authority)  # what certificates of servers are checked against
        self._settings = server
        self._certificate = certificate
        self._server: SocketServer | None = None
        self._clients: dict[Party, SocketClient] = {}
        self._behind: dict[int, Party] = {}  # connection number → actor
        self._bases: dict[str, int] = {}  # session → base of its actors
        self._relaying: Relaying | None = None
        self._admin: AdminSocket | None = None
        self._shares = backplane
        self._backplane: Backplane | None = None
        self._heard = 0  # the connection whose message the server handles, or handled last
        self._bound: tuple[str, int] = ("127.0.0.1", 0)
        super().__init__(folder=folder, seed=seed, record=record, trace=trace)
        kept.hold(self)
        self._state = FilePath(state) if state is not None else None

    # --- the server -------------------------------------------------------------------------

    @property
    def server_url(self) -> str:
        """Where parties connect to, or "" while there is no server."""
        if self._server is not None and SERVER in self.actors:
            return self._server.url
        return self._url

    def server_status(self) -> ServerStatus:
        """Counters of our own server, as it is now or was when it stopped."""
        server = self._server
        return self.call(server.status) if server else ServerStatus(False, "")

    def host_server(self, build: Build, address: str = "127.0.0.1", port: int = 8080) -> str:
        if SERVER in self.actors:
            raise UsageError(f"the server already runs at {self.server_url}; stop it first")
        self.call(self._listen, address, port)
        try:
            self.host(SERVER, build)
        except BaseException:
            self.call(self._drop_server)
            raise
        return self.server_url

    def open_admin(self, path: FilePath, answer: Answer) -> None:
        """Have `answer`, called in this world's thread, answer the server's operator at a socket.

        Raises:
            UsageError: there is no such place, or another server's is there.
        """
        if self._admin is not None:
            raise UsageError(f"the operator is answered at {self._admin.path} already")
        self._admin = AdminSocket(path, answer)
        self.call(self.spawn, self._admin.listen())

    def why_not_ready(self) -> str:
        """Why nobody should be sent to our server now; "": it is ready."""
        if SERVER not in self.actors:
            return "there is no server"
        return self._backplane.why_not_ready() if self._backplane is not None else ""

    def stop_server(self, *, kill: bool = False) -> None:
        self.call(self._stop_server, kill)
        self.settle()

    def _stop_server(self, kill: bool) -> None:
        host, server = self._hosts.get(SERVER), self._server
        if host is None or not host.alive or server is None:
            raise UsageError("no server is running")
        host.end()
        self.remark(SERVER, notes.Crashed())
        self.drop_links(host, goodbye=not kill)
        self.hear_no_more()

    def restart_server(self, *, amnesia: bool = True) -> None:
        """Start a stopped server again, where it was; `amnesia`: with empty rooms."""
        if SERVER in self.actors:
            raise UsageError(f"the server already runs at {self.server_url}; stop it first")
        if self._server is None:
            raise UsageError("no server ever ran here; start one first")
        self.restart(SERVER, amnesia=amnesia)
        self.settle()

    def _listen(self, address: str, port: int) -> None:
        settings = self._settings or ServerSettings(
            # Nobody else reaches a loopback address: there the limit would count our own parties.
            per_address=0 if is_loopback(address) else 64,
        )
        if self._certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            try:
                tls.load_cert_chain(*map(str, self._certificate))
            except (OSError, ssl.SSLError) as error:
                names = " and ".join(map(str, self._certificate))
                raise UsageError(
                    f"cannot use the certificate and key in {names}: {error}"
                ) from error
            settings = dataclasses.replace(settings, tls=tls)
        sock = self._bind(address, port)
        self._bound = address, sock.getsockname()[1]
        self._behind.clear()
        self._server = server = SocketServer(self, settings)
        server.name_url(sock, address)
        self.spawn(server.listen(sock))

    def _bind(self, address: str, port: int) -> socket.socket:
        """A socket at that place, if need be when a lab that nobody holds has let go of it."""
        shared = self._settings is not None and self._settings.shared_port
        try:
            return bind(address, port, shared=shared)
        except UsageError:
            if not port:
                raise
        kept.let_go()
        try:
            return bind(address, port)
        except UsageError as error:
            if kept.holder(port) is None:
                raise
            raise UsageError(
                f"{error}. Another lab of this Python process has it: close() that one"
            ) from error

    def descriptors(self) -> list[int]:
        """Of all sockets here, as far as they are known."""
        found = self._server.descriptors() if self._server is not None else []
        for client in list(self._clients.values()):
            found += client.descriptors()
        return found

    async def _shut_down(self) -> None:
        if SERVER not in self.actors and self._server is not None and not self._server.stopped:
            self._server.abort()  # its host was about to begin
        if self._admin is not None:
            self._admin.close()
        await super()._shut_down()

    def _drop_server(self) -> None:
        if self._server is not None:
            self._server.abort()

    def _begin(self, host: Host) -> None:
        if host.actor == SERVER and (self._server is None or self._server.stopped):
            self._listen(*self._bound)  # restarted: at the same place
        super()._begin(host)
        if host.actor == SERVER and self._server is not None and host.node is not None:
            machine: object = host.node.machine(SIGNALING)
            self._relaying = machine if isinstance(machine, Relaying) else None
            self._server.joining = self._relaying is not None
            if self._shares is not None:
                self._backplane = Backplane(self._shares, self)
                self._backplane.start()

    # --- Site: what servers share ---------------------------------------------------------------

    def ask_rooms(self, ask: object) -> None:
        host = self._hosts.get(SERVER)
        if host is not None and host.alive:
            host.feed(Asked(SIGNALING, ask))

    def shared_sessions(self) -> Collection[str]:
        return self._relaying.rooms.keys() if self._relaying is not None else ()

    def shared_room(self, session: str) -> SharedRoom | None:
        return self._relaying.shared_room(session) if self._relaying is not None else None

    def deliver(self, session: str, party: Party, text: bytes) -> None:
        if self._relaying is not None and self._server is not None:
            number = self._relaying.connection_of(session, party)
            if number:
                self._server.send_one(number, text)

    def _store_of(self, actor: Party) -> Store:
        if actor == SERVER and self._state is not None:
            return SqliteStore(self._state, {"role": "signaling server"})
        return super()._store_of(actor)

    # --- Owner: what the server's sockets say ---------------------------------------------------

    def opened(self, number: int, address: tuple[str, int], origin: str) -> None:
        for actor, client in self._clients.items():
            if client.local == address:
                self._behind[number] = actor
        session = self._server.named_session(number) if self._server is not None else ""
        self._tell_server(LinkOpened(SIGNALING, number, origin=origin, session=session))

    def received(self, number: int, text: bytes) -> None:
        host = self._hosts.get(SERVER)
        if host is None or not host.alive:
            return
        self._heard = number
        if self.trace.forgets and self._passed_on(host, number, text):
            return
        try:
            frame = from_text(text)
        except msgspec.DecodeError as error:
            # Even a malformed one goes to the machine, which tells the sender so.
            frame = Frame(0, SIGNALING, body=b"null", codec="json")
            why = f"malformed frame: {error}"
            self.note(host, Blame(SIGNALING, self.actor_of(host, number), why, Strength.KNOWN))
        host.feed(Delivered(number, frame))

    def _passed_on(self, host: Host, number: int, text: bytes) -> bool:
        """Relay at once what the machine says may be; False: it wants to take a step for it."""
        node, server = host.node, self._server
        machine = self._relaying
        if machine is None or node is None or server is None or host.is_delayed:
            return False
        if not self.link_rules.quiet:
            return False
        said = machine.pass_on(number, text, self.now)
        if said is None:
            return False
        for connections, body in said:
            text = b'{"id":%d,"msg":%b}' % (node.next_id, body)
            if len(connections) == 1 and connections[0] > 0:
                if not server.send_one(connections[0], text):
                    self._missed(connections[0])
            else:
                for missed in server.send([c for c in connections if c > 0], text):
                    self._missed(missed)
                for elsewhere in [c for c in connections if c < 0]:
                    self._send_elsewhere(elsewhere, text)
            node.next_id += 1
        return True

    def _missed(self, reader: int) -> str:
        """A message did not go to `reader`: why not. If it has no room, the writer is told."""
        host, server, machine = self._hosts.get(SERVER), self._server, self._relaying
        if server is None or not server.has(reader):
            return "connection lost"
        if machine is not None and host is not None and host.node is not None:
            said = machine.left_out(self._heard, reader, self.now)
            if said is not None:
                server.send_one(self._heard, b'{"id":%d,"msg":%b}' % (host.node.next_id, said))
                host.node.next_id += 1
        return "reads too slowly"

    def closed(self, number: int, reason: str) -> None:
        self._tell_server(LinkClosed(SIGNALING, number, 0, reason))
        self._behind.pop(number, None)

    def _tell_server(self, event: LinkOpened | LinkClosed) -> None:
        host = self._hosts.get(SERVER)
        if host is not None and host.alive:
            host.feed(event)

    def actor_of(self, host: Host, number: int) -> Party:
        """At the server, who is behind a connection; strangers are negative: −1 − number."""
        if host.actor == SERVER:
            return self._behind.get(number, -1 - number)
        return super().actor_of(host, number)

    def note(self, host: Host, effect: Effect) -> None:
        super().note(host, effect)
        if type(effect) is Blame and host.actor == SERVER and not self.keeps_rows:
            # Its message broke a handler: its sender goes, and nobody else.
            if self._server is not None and effect.party is not None:
                self._server.hang_up(effect.party, effect.reason)
        if host.actor == SERVER and type(effect) is Note and isinstance(effect.note, notes.Joined):
            self._learn(effect.note)

    def _learn(self, joined: notes.Joined) -> None:
        """A party joined: from now on its rows carry its name."""
        number, session, party = joined.connection, joined.session, joined.party
        if number is None:
            return  # some other server machine
        if self._server is not None:
            self._server.joined(number)
        if number in self._behind:
            self._bases[session] = self._behind[number] - party
        else:  # it lives in another process
            self._behind[number] = self._bases.get(session, 0) + party

    # --- links ------------------------------------------------------------------------------

    def way(self, host: Host, dst: int) -> Callable[[Frame], None] | None:
        if host.actor == SERVER:
            server = self._server
            if dst < 0:
                if self._backplane is None:
                    return None

                def to_server_of(frame: Frame) -> None:
                    if not self._send_elsewhere(dst, to_text(frame)):
                        self.dropped(SERVER, self.actor_of(host, dst), frame.id, "out of touch")

                return to_server_of
            if server is None or not server.has(dst):
                return None

            def to_client(frame: Frame) -> None:
                if server.send((dst,), to_text(frame)):
                    why = self._missed(dst)
                    self.dropped(SERVER, self.actor_of(host, dst), frame.id, why)

            return to_client
        if dst != SERVER:
            return None
        client = self._clients.get(host.actor)
        if client is None:
            return None

        def to_server(frame: Frame) -> None:
            if not client.send(to_text(frame)):
                self.dropped(host.actor, SERVER, frame.id, "connection lost")

        return to_server

    def fan_out(self, host: Host, to: tuple[int, ...], frame: Frame) -> bool:
        if host.actor != SERVER or self._server is None:
            return False
        text = to_text(frame)
        for number in to:
            if number < 0:
                self._send_elsewhere(number, text)
        for number in self._server.send([n for n in to if n > 0], text):
            self.dropped(SERVER, self.actor_of(host, number), frame.id, self._missed(number))
        return True

    def _send_elsewhere(self, number: int, text: bytes) -> bool:
        """Send to a member at another server, at the cost of whoever says it; whether it goes."""
        if self._server is not None:
            self._server.charge(len(text))
        return self._backplane is not None and self._backplane.send(number, text)

    def link_verb(self, host: Host, effect: Effect) -> None:
        match effect:
            case Connect(path, url):
                self._connect(host, path, url)
            case Output(_, value) if host.actor == SERVER and self._backplane is not None:
                self._backplane.do(value)
            case HangUp(_, number, _, reason) if host.actor == SERVER:
                if self._server is not None:
                    self._server.hang_up(number, reason or "the server closed the connection")
            case HangUp(_, peer, _, reason) if peer == SERVER:
                if client := self._clients.pop(host.actor, None):
                    self._dismiss(client, reason)
            case MakeOffer(path, peer, attempt) | MakeAnswer(path, peer, attempt):
                why = "this world has no data channels"
                self.linked(host, LinkClosed(path, peer, attempt, why))
            case (
                Send() | SetTimer() | CancelTimer() | Persist() | Output() | Blame() | Note()
                | Lied() | Received() | Route() | TakeAnswer() | AddCandidates()
                | HangUp()
            ):  # fmt: skip
                pass  # not for links
            case _:
                assert_never(effect)

    def _connect(self, host: Host, path: Path, url: str) -> None:
        if old := self._clients.pop(host.actor, None):
            self._dismiss(old, "connecting anew")
        url = url or self.server_url
        if not url:
            self.linked(host, LinkClosed(path, SERVER, 0, "connection refused"))
            return
        url = with_session(url, self._owners.get(host.actor, {}).get("session", ""))

        def closed(reason: str) -> None:
            if self._clients.get(host.actor) is client:
                del self._clients[host.actor]
            if host.alive:
                self.linked(host, LinkClosed(path, SERVER, 0, reason))

        def received(text: bytes) -> None:
            try:
                frame = from_text(text)
            except msgspec.DecodeError:
                client.abort("malformed frame from the server")
                return
            host.feed(Delivered(SERVER, frame))

        handlers = Handlers(lambda: self.linked(host, LinkOpened(path, SERVER)), received, closed)
        client = self._clients[host.actor] = SocketClient(url, handlers, self.trust)
        self.spawn(client.dial())

    def answers(self, url: str) -> Future[bool]:
        """Whether a signaling server that is not ours speaks at `url`."""
        return asyncio.run_coroutine_threadsafe(self._answers(url), self.thread.loop)

    async def _answers(self, url: str) -> bool:
        heard: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def settle(answer: bool) -> None:
            if not heard.done():
                heard.set_result(answer)

        handlers = Handlers(lambda: None, lambda _: settle(True), lambda _: settle(False))
        client = SocketClient(url, handlers, self.trust)
        self.spawn(client.dial())
        try:
            async with asyncio.timeout(OPEN_WITHIN):
                spoke = await heard
        except TimeoutError:
            spoke = False
        ours = self._server is not None and self._server.serves(client.local)
        client.hang_up()
        self.spawn(client.wait_closed(), closing=True)
        return spoke and not ours

    def reset(self, a: Party, b: Party) -> None:
        """Close the link between two actors, as a middlebox would: both are told."""
        self.call(self._reset, a, b)

    def _reset(self, a: Party, b: Party) -> None:
        client = self._clients.get(a or b)
        if SERVER not in (a, b):
            raise UsageError(f"there is no open link between {a} and {b} to reset")
        if client is None:
            raise UsageError(f"actor {a or b} has no connection to the server")
        client.abort("connection reset")

    def drop_links(self, host: Host, *, goodbye: bool) -> None:
        if host.actor == SERVER:
            if self._backplane is not None:
                backplane, self._backplane = self._backplane, None
                self.spawn(backplane.stop(goodbye=goodbye), closing=True)
            if self._server is not None and goodbye:
                self.spawn(self._server.stop(), closing=True)
            elif self._server is not None:
                self._server.abort()
        elif client := self._clients.pop(host.actor, None):
            self._dismiss(client, "the party left" if goodbye else None)

    def _dismiss(self, client: SocketClient, reason: str | None) -> None:
        """Close a connection to the server; without a reason it vanishes. `close` waits for it,
        for a loop with open sockets cannot be closed."""
        if reason is None:
            client.vanish()
        else:
            client.hang_up(reason)
        self.spawn(client.wait_closed(), closing=True)


def _trust(authority: str | FilePath | None) -> ssl.SSLContext | None:
    if authority is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(authority))
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"cannot read the certificates in {authority}: {error}") from error
