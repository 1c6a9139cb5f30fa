"""Links and connections of the simulated world: how they are made, end, and are cut.

A link is set up by descriptions and candidates as on WebRTC (see `peer_connections`), a
connection to the server as on TCP (`server_connections`).
"""

from __future__ import annotations

from typing import assert_never

from mpclab.core.effects import (
    AddCandidates,
    Asked,
    Blame,
    CancelTimer,
    Connect,
    Delivered,
    Described,
    Effect,
    Event,
    HangUp,
    Lied,
    LinkClosed,
    LinkOpened,
    MakeAnswer,
    MakeOffer,
    Note,
    Output,
    Persist,
    Prompted,
    Received,
    Route,
    Send,
    SetTimer,
    Started,
    TakeAnswer,
    TimerFired,
)
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SERVER, Party, Path
from mpclab.faults import draws
from mpclab.faults.link_rules import LinkRules
from mpclab.trace import rows
from mpclab.trace.log import Trace
from mpclab.worlds.simulated.host import Host, Hosts
from mpclab.worlds.simulated.network import Draw, SimulatedNetwork
from mpclab.worlds.simulated.peer_connections import (
    End,
    PeerConnections,
    describe_end,
    read_description,
)
from mpclab.worlds.simulated.queue import InFlight, Queue, Scheduled
from mpclab.worlds.simulated.server_connections import Connection, ServerConnections

SIGNALING: Path = ("signaling",)


class Links:
    """Performs link effects, and knows who is linked to whom.

    Attributes:
        peers: the ends of links between parties.
        connections: those to the signaling server.
    """

    def __init__(
        self,
        seed: int,
        hosts: Hosts,
        queue: Queue,
        network: SimulatedNetwork,
        link_rules: LinkRules,
        trace: Trace,
    ) -> None:
        self.peers = PeerConnections(seed)
        self.connections = ServerConnections()
        self._seed = seed
        self._hosts = hosts
        self._queue = queue
        self._network = network
        self._link_rules = link_rules
        self._trace = trace

    # --- what nodes want done -----------------------------------------------------------------

    def perform(self, host: Host, effect: Effect) -> None:
        """Do what a link effect says; other effects are not for links."""
        actor = host.actor
        match effect:
            case Connect(path):
                self._connect(host, path)
            case HangUp(_, peer, attempt, reason):
                if actor == SERVER:
                    if (it := self.connections.get(peer)) is not None and it.server:
                        self.hang_up_server(it, reason or "the server closed the connection")
                elif peer == SERVER:
                    self.hang_up_client(actor, reason or "closed")
                else:
                    other = host.base + peer
                    end = self.peers.get(actor, other)
                    if end is not None and end.attempt == attempt:
                        far = self.peers.drop(actor, other)
                        self._linked(actor, other, "closed", attempt, reason)
                        if far is not None:
                            self._tell_closed(far, "the peer hung up")
            case MakeOffer(path, peer, attempt):
                end = self.peers.make(actor, host.incarnation, path, host.base + peer, attempt)
                sdp, candidates = describe_end(end, "offer")
                described = Described(path, peer, attempt, "offer", sdp, candidates)
                self._schedule(host, 2 * MS, described)
            case MakeAnswer(path, peer, attempt, offer):
                end = self.peers.make(actor, host.incarnation, path, host.base + peer, attempt)
                self._see(host, end, offer)
                sdp, candidates = describe_end(end, "answer")
                described = Described(path, peer, attempt, "answer", sdp, candidates)
                self._schedule(host, 2 * MS, described)
            case TakeAnswer(_, peer, attempt, answer):
                current = self.peers.get(actor, host.base + peer)
                if current is not None and current.attempt == attempt:
                    self._see(host, current, answer)
                    self._try_open(current)
            case AddCandidates(_, peer, attempt, candidates):
                current = self.peers.get(actor, host.base + peer)
                if current is not None and current.attempt == attempt:
                    current.candidates += candidates
                    self._try_open(current)
            case (
                Send() | SetTimer() | CancelTimer() | Persist() | Output() | Blame() | Note()
                | Lied() | Received() | Route()
            ):  # fmt: skip
                pass  # not for links
            case _:
                assert_never(effect)

    def _see(self, host: Host, end: End, sdp: str) -> None:
        seen = read_description(sdp)
        if seen is None:
            why = "the description cannot be read"
            peer = end.peer - host.base
            self._schedule(host, 0, LinkClosed(end.path, peer, end.attempt, why))
        else:
            end.sees_fragment, end.sees_fingerprint = seen

    def _try_open(self, end: End) -> None:
        """Connectivity checks and handshakes: a few round trips, unless the way is cut."""
        far = self.peers.partner(end)
        if far is None or end.open or far.open:
            return
        for a, b in ((end, far), (far, end)):
            draw = Draw(draws.key(self._seed, a.actor, a.attempt, "handshake"), b.actor)
            if self._link_rules.judge(a.actor, b.actor, 0, self._queue.now, draw).why is not None:
                return  # the parties' own deadline will tell
        end.open = far.open = True
        trips = 4 * self._network.delay(end.actor, far.actor, "handshake")
        for a, b in ((end, far), (far, end)):
            host = self._hosts.get(a.actor)
            if host is not None and host.node is not None and host.incarnation == a.incarnation:
                peer = a.peer - host.base
                event = LinkOpened(a.path, peer, a.attempt, a.fingerprint, b.fingerprint)
                self._schedule(host, trips, event)

    def _tell_closed(self, end: End, why: str) -> None:
        """The far side of a link is gone: this end learns it after a while."""
        host = self._hosts.get(end.actor)
        if host is not None and host.node is not None and host.incarnation == end.incarnation:
            self.peers.drop(end.actor, end.peer)
            delay = self._network.delay(end.actor, end.peer, "notice")
            peer = end.peer - host.base
            self._schedule(host, delay, LinkClosed(end.path, peer, end.attempt, why))

    def _connect(self, host: Host, path: Path) -> None:
        delay = 2 * self._network.delay(host.actor, SERVER, "connect")
        server = self._hosts.get(SERVER)
        if self.connections.address is None or server is None or server.node is None:
            self._schedule(host, delay, LinkClosed(path, SERVER, 0, "connection refused"))
            return
        self.hang_up_client(host.actor, "connected again")
        it = self.connections.open(host.actor, self._queue.now + delay)
        self._schedule(server, delay, LinkOpened(SIGNALING, it.number), it.number)
        self._schedule(host, delay, LinkOpened(path, SERVER), it.number)

    def hang_up_client(self, actor: Party, why: str) -> None:
        """The client's end closes; the server learns it after all that was sent."""
        it, server = self.connections.of(actor), self._hosts.get(SERVER)
        if it is None:
            return
        self.connections.close(it, client=True)
        if it.server and server is not None and server.node is not None:
            when = self._after_all(actor, SERVER, it)
            event = LinkClosed(SIGNALING, it.number, 0, why)
            self._schedule(server, when - self._queue.now, event, it.number)

    def hang_up_server(self, it: Connection, why: str) -> None:
        """The server's end closes; the client learns it after all that was sent."""
        server, client = self._hosts.get(SERVER), self._hosts.get(it.actor)
        if server is not None and server.node is not None:
            self._schedule(server, 0, LinkClosed(SIGNALING, it.number, 0, why))
        self.connections.close(it, server=True)
        if it.client and client is not None and client.node is not None:
            when = self._after_all(SERVER, it.actor, it)
            event = LinkClosed(SIGNALING, SERVER, 0, why)
            self._schedule(client, when - self._queue.now, event, it.number)

    def _after_all(self, src: Party, dst: Party, it: Connection) -> int:
        """When the end of a stream reaches `dst`: not before what was sent on it."""
        delay = self._network.delay(it.actor, SERVER, "disconnect")
        return self._network.after_all(src, dst, max(self._queue.now + delay, it.opens))

    # --- what the rest of the world asks ------------------------------------------------------

    def reachable(self, host: Host, to: tuple[Party, ...]) -> tuple[Party, ...]:
        """Those of `to` to whom a party has an open link."""
        assert host.node is not None
        if host.node.routes is None:  # no mesh: everyone is linked
            return to
        is_open = self.peers.is_open
        return tuple([p for p in to if is_open(host.actor, p)])

    def vanish(self, actor: Party) -> None:
        """Drop all links of an actor and tell no party: a dead machine says nothing."""
        self.peers.drop_all(actor)
        self.hang_up_client(actor, "connection lost")

    def leave(self, actor: Party) -> None:
        """Close all links of an actor properly."""
        for end in self.peers.drop_all(actor):
            self._tell_closed(end, "the peer left")
        self.hang_up_client(actor, "connection closed")

    def noted(self, host: Host, event: Event) -> None:
        """Append the row of a link event that a party is about to hear of."""
        if host.actor == SERVER:
            return
        match event:
            case LinkOpened(_, peer, attempt) if peer != SERVER:
                self._linked(host.actor, host.base + peer, "open", attempt)
            case LinkClosed(_, peer, attempt, reason):
                other = host.base + peer if peer else SERVER
                self._linked(host.actor, other, "closed", attempt, reason)
            case (
                Started() | Delivered() | TimerFired() | Asked() | Prompted() | Described()
                | LinkOpened()
            ):  # fmt: skip
                pass
            case _:
                assert_never(event)

    def is_stale(self, actor: Party, number: int, event: Event) -> bool:
        """Whether an event is about an end that has closed; closes the end if it says so."""
        it = self.connections.get(number)
        if it is None or not (it.server if actor == SERVER else it.client):
            return True
        if type(event) is LinkClosed:
            self.connections.close(it, client=actor != SERVER, server=actor == SERVER)
        return False

    def carries(self, host: Host, in_flight: InFlight) -> bool:
        """Whether the link that a frame came by is still there at this end."""
        if in_flight.connection:
            it = self.connections.get(in_flight.connection)
            return it is not None and (it.server if host.actor == SERVER else it.client)
        assert host.node is not None
        if host.node.routes is None:  # no mesh: everyone is linked
            return True
        return self.peers.is_open(host.actor, in_flight.source)

    def reset(self, a: Party, b: Party) -> None:
        """Cut the link between two actors, as a middlebox would: both are told."""
        if SERVER in (a, b):
            connections = self.connections.at_server(a or b)
            if not connections:
                raise UsageError(f"party {a or b} has no connection to the server")
            for it in connections:
                self.hang_up_server(it, "connection reset")
            return
        end = self.peers.get(a, b)
        if end is None or not end.open:
            raise UsageError(f"there is no open link between {a} and {b} to reset")
        far = self.peers.drop(a, b)
        for one in (end, far):
            if one is not None:
                self._tell_closed(one, "connection reset")

    # --- rows and events ----------------------------------------------------------------------

    def _linked(
        self, actor: Party, peer: Party, state: str, attempt: int = 0, detail: str = ""
    ) -> None:
        self._trace.append(rows.Linked(self._queue.now, actor, peer, state, attempt, detail))

    def _schedule(self, host: Host, delay: int, event: Event, connection: int = 0) -> None:
        item = Scheduled(host.actor, host.incarnation, event, self._queue.background, connection)
        self._queue.push(self._queue.now + delay, item)
