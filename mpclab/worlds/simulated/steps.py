"""From the queue to nodes: each entry steps a node, waits for a slow or paused one, or is lost."""

from __future__ import annotations

from mpclab.core.effects import Asked, Delivered, Event, TimerFired
from mpclab.core.errors import UsageError
from mpclab.core.ids import Path
from mpclab.trace import rows
from mpclab.trace.log import Trace
from mpclab.worlds.adversary import Adversaries
from mpclab.worlds.failures import a_bug_among
from mpclab.worlds.simulated.arrivals import let_arrive
from mpclab.worlds.simulated.effects import Effects
from mpclab.worlds.simulated.host import Host, Hosts
from mpclab.worlds.simulated.lifecycle import Lifecycle
from mpclab.worlds.simulated.links import Links
from mpclab.worlds.simulated.network import SimulatedNetwork
from mpclab.worlds.simulated.queue import Action, Deferred, Multicast, Queue, Scheduled, Timer


class Steps:
    """Takes the queue's entries one by one."""

    def __init__(
        self,
        hosts: Hosts,
        queue: Queue,
        network: SimulatedNetwork,
        links: Links,
        lifecycle: Lifecycle,
        effects: Effects,
        adversaries: Adversaries,
        trace: Trace,
    ) -> None:
        self._lifecycle = lifecycle
        self._adversaries = adversaries
        self._hosts = hosts
        self._queue = queue
        self._network = network
        self._links = links
        self._effects = effects
        self._trace = trace

    def handle(self, host: Host, event: Event) -> None:
        """Step a node, and perform what it answers.

        Raises:
            UsageError: an ask that cannot be done.
            NodeFailed: the node has a bug; it is stopped.
        """
        assert host.node is not None
        node = host.node
        try:
            effects = node.step(event, host.clock(self._queue.now))
        except Exception as error:
            if type(event) is Asked and isinstance(error, UsageError):
                self._effects.perform(host, node.out)  # what others did before one refused
                raise
            self._lifecycle.fail(host, event, error)
        if node.contained:
            self.handle_contained(host, event)
        if effects:
            self._effects.perform(host, effects)

    def handle_contained(self, host: Host, event: Event) -> None:
        """A peer's message made a node fail: a bug if that peer runs here and is honest."""
        assert host.node is not None
        bug = a_bug_among(host.node, self._hosts, host.base, self._adversaries)
        if bug is not None:
            self._lifecycle.fail(host, event, bug)

    def arrivals(self, end: int | None, *, watched: bool) -> bool:
        """Let messages arrive as long as nothing is out of the ordinary; see `arrivals`."""
        return let_arrive(
            self._queue, self._hosts, self._links, self._trace, self._effects,
            self.handle_contained, end, watched,
        )  # fmt: skip

    def take_next(self) -> None:
        """Let the entry that is due next happen."""
        item = self._queue.pop()
        if type(item) is Multicast:
            self._take_frame(item)
        elif type(item) is Action:
            self._queue.changed = True
            item.call()
        else:
            host = self._hosts.get(item.actor)
            if host is None or host.node is None:
                if type(item) is Deferred and type(item.item) is Multicast:
                    self._lose(item.item)
            elif type(item) is Deferred:
                self._take_deferred(host, item)
            elif self._is_busy(host):
                if type(item) is Timer:
                    event = TimerFired(item.path, item.name)
                    item = Scheduled(item.actor, host.incarnation, event, item.background)
                self._defer(host, item)
            else:
                self._take_event(host, item)

    def _take_frame(self, multicast: Multicast) -> None:
        actor = multicast.to[multicast.index - 1]
        host = self._hosts.get(actor)
        if host is None or host.node is None:
            lost = multicast.in_flight
            self._network.drop(lost.source, actor, lost.frame.id, "crashed" if host else "gone")
        elif self._is_busy(host):
            self._defer(host, multicast.only(actor))
        else:
            self._arrive(host, multicast)

    # --- slow and paused actors -----------------------------------------------------------------

    def _is_busy(self, host: Host) -> bool:
        return bool(host.step) or host.busy >= self._queue.now or host.paused is not None

    def _defer(self, host: Host, item: Multicast | Scheduled) -> None:
        """A paused actor keeps what comes; a slow one does it after what came before."""
        if host.paused is not None:
            host.paused.append(item)
            return
        host.busy = max(host.busy, self._queue.now) + host.step
        host.odd = True
        self._queue.push(host.busy, Deferred(host.actor, host.incarnation, item, item.background))

    def _take_deferred(self, host: Host, deferred: Deferred) -> None:
        if host.paused is not None:
            host.paused.append(deferred.item)
        elif type(deferred.item) is not Multicast:
            self._take_event(host, deferred.item)
        elif deferred.incarnation == host.incarnation:
            self._arrive(host, deferred.item)
        else:
            self._lose(deferred.item)

    def _lose(self, multicast: Multicast) -> None:
        """A frame was with an actor that crashed before it came to it."""
        lost, (actor,) = multicast.in_flight, multicast.to
        self._network.drop(lost.source, actor, lost.frame.id, "crashed")

    # --- steps ------------------------------------------------------------------------------------

    def _take_event(self, host: Host, item: Timer | Scheduled) -> None:
        if isinstance(item, Timer):
            self._fire(host, item.path, item.name)
        elif item.incarnation == host.incarnation:
            if type(item.event) is TimerFired:
                self._fire(host, item.event.path, item.event.name)
            elif not item.connection or not self._links.is_stale(
                item.actor, item.connection, item.event
            ):
                self._links.noted(host, item.event)
                self.handle(host, item.event)

    def _fire(self, host: Host, path: Path, name: str) -> None:
        assert host.node is not None
        now = host.clock(self._queue.now)
        if host.node.timers.get((path, name), now + 1) <= now:  # else replaced while it waited
            self._trace.append(rows.Fired(self._queue.now, host.actor, path, name))
            self.handle(host, TimerFired(path, name))

    def _arrive(self, host: Host, multicast: Multicast) -> None:
        node, now = host.node, self._queue.now
        assert node is not None
        in_flight = multicast.in_flight
        source, frame = in_flight.source, in_flight.frame
        meshless = node.routes is None and not in_flight.connection  # everyone is linked
        if multicast.corrupt:
            self._network.drop(source, host.actor, frame.id, "corrupt")
        elif not meshless and not self._links.carries(host, in_flight):
            self._network.drop(source, host.actor, frame.id, "no link")
        else:
            self._trace.delivered(now, host.actor, source, frame.id)
            local = now if host.skew is None else host.clock(now)
            effects = node.deliver(in_flight.sender, frame, local)
            if node.contained:
                self.handle_contained(host, Delivered(in_flight.sender, frame))
            if effects:
                self._effects.perform(host, effects)
