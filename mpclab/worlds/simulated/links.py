"""Links and connections of the simulated world: how they are made, end, and are cut.

The half of `SimulatedWorld` that answers link verbs. A link is set up by descriptions and
candidates as on WebRTC (see `peer_connections`), a connection to the server as on TCP
(`server_connections`).
"""

from __future__ import annotations

from mpclab.core.effects import (
    AddCandidates,
    Connect,
    Described,
    Effect,
    Event,
    HangUp,
    LinkClosed,
    LinkOpened,
    MakeAnswer,
    MakeOffer,
    TakeAnswer,
)
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SERVER, Party, Path
from mpclab.faults import draws
from mpclab.faults.link_rules import LinkRules
from mpclab.trace import rows
from mpclab.trace.log import Trace
from mpclab.worlds.simulated.host import Host
from mpclab.worlds.simulated.network import Draw, Wires
from mpclab.worlds.simulated.peer_connections import (
    End,
    Switchboard,
    describe_end,
    read_description,
)
from mpclab.worlds.simulated.queue import Happening, Parcel, Queue
from mpclab.worlds.simulated.server_connections import Connection, Sockets

SIGNALING: Path = ("signaling",)


class Plumbing:
    """What `SimulatedWorld` does about links. The attributes are the world's."""

    seed: int
    trace: Trace
    link_rules: LinkRules
    _now: int
    _background: bool
    _queue: Queue
    _wires: Wires
    _hosts: dict[Party, Host]
    _sockets: Sockets
    _switchboard: Switchboard
    _address: tuple[str, int] | None

    def _happen(self, host: Host, delay: int, event: Event, connection: int = 0) -> None:
        item = Happening(host.actor, host.life, event, self._background, connection)
        self._queue.push(self._now + delay, item)

    def _note_link(self, host: Host, event: Event) -> None:
        if host.actor == SERVER:
            return
        match event:
            case LinkOpened(_, peer, attempt) if peer != SERVER:
                self._linked(host.actor, host.base + peer, "open", attempt)
            case LinkClosed(_, peer, attempt, reason):
                other = host.base + peer if peer else SERVER
                self._linked(host.actor, other, "closed", attempt, reason)

    def _linked(
        self, actor: Party, peer: Party, state: str, attempt: int = 0, detail: str = ""
    ) -> None:
        self.trace.append(rows.Linked(self._now, actor, peer, state, attempt, detail))

    def _link_verb(self, host: Host, effect: Effect) -> None:
        actor = host.actor
        match effect:
            case Connect(path):
                self._connect(host, path)
            case HangUp(_, peer, attempt, reason):
                if actor == SERVER:
                    if (it := self._sockets.get(peer)) is not None and it.server:
                        self._hang_up_server(it, reason or "the server closed the connection")
                elif peer == SERVER:
                    self._hang_up_client(actor, reason or "closed")
                else:
                    other = host.base + peer
                    end = self._switchboard.get(actor, other)
                    if end is not None and end.attempt == attempt:
                        far = self._switchboard.drop(actor, other)
                        self._linked(actor, other, "closed", attempt, reason)
                        if far is not None:
                            self._tell_closed(far, "the peer hung up")
            case MakeOffer(path, peer, attempt):
                end = self._switchboard.make(actor, host.life, path, host.base + peer, attempt)
                sdp, candidates = describe_end(end, "offer")
                described = Described(path, peer, attempt, "offer", sdp, candidates)
                self._happen(host, 2 * MS, described)
            case MakeAnswer(path, peer, attempt, offer):
                end = self._switchboard.make(actor, host.life, path, host.base + peer, attempt)
                self._see(host, end, offer)
                sdp, candidates = describe_end(end, "answer")
                described = Described(path, peer, attempt, "answer", sdp, candidates)
                self._happen(host, 2 * MS, described)
            case TakeAnswer(_, peer, attempt, answer):
                current = self._switchboard.get(actor, host.base + peer)
                if current is not None and current.attempt == attempt:
                    self._see(host, current, answer)
                    self._try_open(current)
            case AddCandidates(_, peer, attempt, candidates):
                current = self._switchboard.get(actor, host.base + peer)
                if current is not None and current.attempt == attempt:
                    current.candidates += candidates
                    self._try_open(current)

    def _see(self, host: Host, end: End, sdp: str) -> None:
        seen = read_description(sdp)
        if seen is None:
            why = "the description cannot be read"
            peer = end.peer - host.base
            self._happen(host, 0, LinkClosed(end.path, peer, end.attempt, why))
        else:
            end.sees_fragment, end.sees_fingerprint = seen

    def _try_open(self, end: End) -> None:
        """Connectivity checks and handshakes: a few round trips, unless the way is cut."""
        far = self._switchboard.partner(end)
        if far is None or end.open or far.open:
            return
        for a, b in ((end, far), (far, end)):
            draw = Draw(draws.key(self.seed, a.actor, a.attempt, "handshake"), b.actor)
            if self.link_rules.judge(a.actor, b.actor, 0, self._now, draw).why is not None:
                return  # the parties' own deadline will tell
        end.open = far.open = True
        trips = 4 * self._wires.delay(end.actor, far.actor, "handshake")
        for a, b in ((end, far), (far, end)):
            host = self._hosts.get(a.actor)
            if host is not None and host.node is not None and host.life == a.life:
                peer = a.peer - host.base
                event = LinkOpened(a.path, peer, a.attempt, a.fingerprint, b.fingerprint)
                self._happen(host, trips, event)

    def _tell_closed(self, end: End, why: str) -> None:
        """The far side of a link is gone: this end learns it after a while."""
        host = self._hosts.get(end.actor)
        if host is not None and host.node is not None and host.life == end.life:
            self._switchboard.drop(end.actor, end.peer)
            delay = self._wires.delay(end.actor, end.peer, "notice")
            peer = end.peer - host.base
            self._happen(host, delay, LinkClosed(end.path, peer, end.attempt, why))

    def _connect(self, host: Host, path: Path) -> None:
        delay = 2 * self._wires.delay(host.actor, SERVER, "connect")
        server = self._hosts.get(SERVER)
        if self._address is None or server is None or server.node is None:
            self._happen(host, delay, LinkClosed(path, SERVER, 0, "connection refused"))
            return
        self._hang_up_client(host.actor, "connected again")
        it = self._sockets.open(host.actor, self._now + delay)
        self._happen(server, delay, LinkOpened(SIGNALING, it.number), it.number)
        self._happen(host, delay, LinkOpened(path, SERVER), it.number)

    def _hang_up_client(self, actor: Party, why: str) -> None:
        """The client's end closes; the server learns it after all that was sent."""
        it, server = self._sockets.of(actor), self._hosts.get(SERVER)
        if it is None:
            return
        self._sockets.close(it, client=True)
        if it.server and server is not None and server.node is not None:
            when = self._after_all(actor, SERVER, it)
            event = LinkClosed(SIGNALING, it.number, 0, why)
            self._happen(server, when - self._now, event, it.number)

    def _hang_up_server(self, it: Connection, why: str) -> None:
        """The server's end closes; the client learns it after all that was sent."""
        server, client = self._hosts.get(SERVER), self._hosts.get(it.actor)
        if server is not None and server.node is not None:
            self._happen(server, 0, LinkClosed(SIGNALING, it.number, 0, why))
        self._sockets.close(it, server=True)
        if it.client and client is not None and client.node is not None:
            when = self._after_all(SERVER, it.actor, it)
            event = LinkClosed(SIGNALING, SERVER, 0, why)
            self._happen(client, when - self._now, event, it.number)

    def _after_all(self, src: Party, dst: Party, it: Connection) -> int:
        """When the end of a stream reaches `dst`: not before what was sent on it."""
        delay = self._wires.delay(it.actor, SERVER, "disconnect")
        return self._wires.after_all(src, dst, max(self._now + delay, it.opens))

    def _is_stale(self, actor: Party, number: int, event: Event) -> bool:
        """Whether an event is about an end that has closed; closes the end if it says so."""
        it = self._sockets.get(number)
        if it is None or not (it.server if actor == SERVER else it.client):
            return True
        if type(event) is LinkClosed:
            self._sockets.close(it, client=actor != SERVER, server=actor == SERVER)
        return False

    def _carries(self, host: Host, parcel: Parcel) -> bool:
        """Whether the link that a frame came by is still there at this end."""
        if parcel.connection:
            it = self._sockets.get(parcel.connection)
            return it is not None and (it.server if host.actor == SERVER else it.client)
        assert host.node is not None
        if host.node.routes is None:  # no mesh: everyone is linked
            return True
        return self._switchboard.is_open(host.actor, parcel.source)

    def _reset(self, a: Party, b: Party) -> None:
        if SERVER in (a, b):
            connections = self._sockets.at_server(a or b)
            if not connections:
                raise UsageError(f"party {a or b} has no connection to the server")
            for it in connections:
                self._hang_up_server(it, "connection reset")
            return
        end = self._switchboard.get(a, b)
        if end is None or not end.open:
            raise UsageError(f"there is no open link between {a} and {b} to reset")
        far = self._switchboard.drop(a, b)
        for one in (end, far):
            if one is not None:
                self._tell_closed(one, "connection reset")
