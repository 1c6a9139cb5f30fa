"""How actors of the simulated world end: what a crash takes with it, and what it leaves."""

from __future__ import annotations

from typing import NoReturn

from mpclab.core import notes
from mpclab.core.effects import Event
from mpclab.core.ids import Party
from mpclab.trace import rows
from mpclab.trace.log import Trace
from mpclab.worlds.failures import NodeFailed
from mpclab.worlds.simulated.host import Host, Hosts
from mpclab.worlds.simulated.links import Links
from mpclab.worlds.simulated.network import SimulatedNetwork
from mpclab.worlds.simulated.queue import Multicast, Queue


class Lifecycle:
    """Ends incarnations, and says so in the trace."""

    def __init__(
        self,
        seed: int,
        hosts: Hosts,
        queue: Queue,
        network: SimulatedNetwork,
        links: Links,
        trace: Trace,
    ) -> None:
        self._seed = seed
        self._hosts = hosts
        self._queue = queue
        self._network = network
        self._links = links
        self._trace = trace

    def crash(self, host: Host, note: notes.Crashed) -> None:
        """Stop a node between two effects; only what it persisted is left."""
        assert host.node is not None
        host.frames = host.node.next_id
        host.node = None
        host.torn = False
        self.remark(host.actor, note)
        self._drop_paused(host, "crashed")
        self._queue.forget(host.actor)
        self._links.vanish(host.actor)

    def fail(self, host: Host, event: Event, error: Exception) -> NoReturn:
        """Stop a node with a bug in it, and say so to who drives the world.

        Raises:
            NodeFailed: always.
        """
        failure = NodeFailed(host.actor, self._queue.now, event, error, self._seed)
        self.remark(host.actor, notes.Broken(error=str(failure)))
        if host.node is not None:
            self.crash(host, notes.Crashed())
        raise failure from error

    def remove(self, host: Host) -> None:
        """Stop hosting an actor for good."""
        self._links.leave(host.actor)
        self._queue.forget(host.actor)
        self.remark(host.actor, notes.Removed())
        self._drop_paused(host, "gone")
        host.node = None
        del self._hosts[host.actor]

    def remark(self, actor: Party, note: notes.AnyNote) -> None:
        """Write a note of the host itself about an actor."""
        self._trace.append(rows.Noted(self._queue.now, actor, (), note))
        self._queue.changed = True

    def _drop_paused(self, host: Host, why: str) -> None:
        for item in host.paused or ():
            if type(item) is Multicast:
                lost = item.in_flight
                self._network.drop(lost.source, host.actor, lost.frame.id, why)
        host.paused = None
