"""The simulated world: virtual time, one event queue, everything drawn from one seed.

The same nodes as on real sockets, and the same effects; the host is a loop over a heap. A run
is a pure function of (seed, network, what is asked and when): two runs give the same trace,
row by row. It can run to the end, for a while, or one event at a time, and be forked.

The world is made of objects that know those named before them:

    queue      what happens when; the virtual clock
    hosts      the actors: node, disk, clock
    network    when a frame arrives, or why not
    links      who is linked to whom
    lifecycle  how actors end
    effects    what nodes want done
    steps      from the queue to the nodes, and from their effects back
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from mpclab.core import notes
from mpclab.core.effects import Asked, Started
from mpclab.core.errors import UsageError
from mpclab.core.ids import SERVER, Party, Path
from mpclab.core.node import Node
from mpclab.core.wire import Frame
from mpclab.faults.fault import Filter, Tamper
from mpclab.faults.link_rules import LinkRules
from mpclab.faults.network import Network
from mpclab.trace import rows
from mpclab.trace.log import Trace
from mpclab.worlds.adversary import Adversaries
from mpclab.worlds.base import Build, World
from mpclab.worlds.clock import Skew
from mpclab.worlds.failures import who
from mpclab.worlds.rows import text_of
from mpclab.worlds.simulated.effects import Effects
from mpclab.worlds.simulated.host import Host, Hosts, SeededCoins
from mpclab.worlds.simulated.lifecycle import Lifecycle
from mpclab.worlds.simulated.links import Links
from mpclab.worlds.simulated.network import SimulatedNetwork, doubled
from mpclab.worlds.simulated.queue import Action, InFlight, Multicast, Queue
from mpclab.worlds.simulated.steps import Steps


class SimulatedWorld(World):
    """Parties, server and network in virtual time.

    Args:
        seed: everything random in this world follows from it.
        network: delays, loss, bandwidth.
        trace: where rows go; a new `Trace` unless given.
    """

    name = "simulated"

    def __init__(
        self, seed: int = 0, network: Network | None = None, *, trace: Trace | None = None
    ) -> None:
        self.seed = seed
        self.salt = ""
        """What the actors' coins follow from besides the seed: set it before they draw any."""
        self.trace = trace = Trace() if trace is None else trace
        self.link_rules = LinkRules()
        self._queue = queue = Queue()
        self._hosts = hosts = Hosts()
        self._adversaries = adversaries = Adversaries()
        self._network = wires = SimulatedNetwork(
            seed, network or Network(), self.link_rules, queue, trace
        )
        self._links = links = Links(seed, hosts, queue, wires, self.link_rules, trace)
        self._lifecycle = lifecycle = Lifecycle(seed, hosts, queue, wires, links, trace)
        self._effects = effects = Effects(
            seed, queue, hosts, wires, links, lifecycle, adversaries, trace
        )
        self._steps = Steps(hosts, queue, wires, links, lifecycle, effects, adversaries, trace)
        self._served: tuple[str, int] | None = None  # where the server ran last
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def fork(self) -> SimulatedWorld:
        """An independent copy of everything, now; time goes on in both as it is driven."""
        with self._lock:
            return copy.deepcopy(self)

    @property
    def network(self) -> Network:
        """The links when nothing is wrong; may be set while time goes on."""
        return self._network.profile

    @network.setter
    def network(self, network: Network) -> None:
        self._network.profile = network

    @property
    def now(self) -> int:
        return self._queue.now

    # --- nodes ----------------------------------------------------------------------------

    def host(self, actor: Party, build: Build) -> None:
        with self._lock:
            known = self._hosts.get(actor)
            if known is not None and known.node is not None:
                raise UsageError(f"{who(actor)} is already here")
            incarnation = known.incarnation + 1 if known else 1
            node = build(self._coins(actor, incarnation), {})
            node.next_id = known.frames if known else 1
            host = self._hosts[actor] = Host(actor, build, node)
            host.incarnation = incarnation
            self._adversaries.enter(self._effects, host)
            self._queue.background = False
            self._lifecycle.remark(actor, notes.Started())
            self._steps.handle(host, Started())

    def take_over(
        self,
        actor: Party,
        build: Build,
        node: Node,
        background: set[Any],
        disk: Mapping[Path, Mapping[str, bytes]],
    ) -> None:
        """Host a node that has lived elsewhere, as it is: its timers go on.

        Args:
            background: the (path, name) of timers that keep no run alive.
            disk: what it had stored, of which a node itself keeps a part only.
        """
        with self._lock:
            host = self._hosts[actor] = Host(actor, build, node)
            host.stored = {path: dict(items) for path, items in disk.items()}
            host.frames = node.next_id
            for (path, name), at in node.timers.items():
                self._queue.set_timer(actor, path, name, at, (path, name) in background)

    def seeded(self, actor: Party) -> SeededCoins:
        """The coins of an actor that was not born here."""
        return self._coins(actor, 0)

    def _coins(self, actor: Party, incarnation: int) -> SeededCoins:
        return SeededCoins(self.seed, actor, incarnation, self.salt)

    def carry(self, sender: Party, frame: Frame, to: Party) -> None:
        """Let a frame that was sent elsewhere be on its way here."""
        with self._lock:
            self._network.send(InFlight(sender, sender, frame, frame.background), (to,))

    def host_server(self, build: Build, address: str = "127.0.0.1", port: int = 8080) -> str:
        with self._lock:
            if self._links.connections.address is not None:
                raise UsageError(f"the server already runs at {self.server_url}; stop it first")
            if not 0 <= port <= 65535:
                raise UsageError(f"port {port}: use 1 to 65535, or 0 for a free one")
            self.host(SERVER, build)
            self._links.connections.address = self._served = (address, port or 8080)
            return self.server_url

    @property
    def server_url(self) -> str:
        """`sim://address:port`, or "" while no server runs."""
        address = self._links.connections.address
        return "sim://{}:{}".format(*address) if address else ""

    def stop_server(self, *, kill: bool = False) -> None:
        with self._lock:
            if self._links.connections.address is None:
                raise UsageError("no server is running")
            why = "connection lost" if kill else "the server stopped"
            self._links.connections.address = None
            for it in self._links.connections.at_server():
                self._links.hang_up_server(it, why)
            self._lifecycle.crash(self._hosts.running(SERVER), notes.Crashed())

    def restart_server(self, *, amnesia: bool = True) -> None:
        """Start a stopped server again, where it was; `amnesia`: with empty rooms."""
        with self._lock:
            if self._links.connections.address is not None:
                raise UsageError(f"the server already runs at {self.server_url}; stop it first")
            if self._served is None:
                raise UsageError("no server ever ran here; start one first")
            self._links.connections.address = self._served
            self._restart(self._hosts[SERVER], amnesia=amnesia)

    def ask(self, actor: Party, path: Path, ask: Any) -> None:
        with self._lock:
            host = self._hosts.running(actor)
            self.trace.append(rows.Asked(self._queue.now, actor, path, text_of(ask)))
            self._queue.background = False
            self._steps.handle(host, Asked(path, ask))

    def look(self, actor: Party, read: Callable[[Node], Any]) -> Any:
        with self._lock:
            node = self._hosts.running(actor).node
            assert node is not None
            return read(node)

    def disk(self, actor: Party) -> dict[Path, dict[str, bytes]]:
        """A copy of what an actor has stored, by path and key."""
        with self._lock:
            return {path: dict(items) for path, items in self._hosts[actor].stored.items()}

    def crash(self, actor: Party) -> None:
        with self._lock:
            if actor == SERVER:
                self.stop_server(kill=True)
            else:
                self._lifecycle.crash(self._hosts.running(actor), notes.Crashed())

    def restart(self, actor: Party, *, amnesia: bool = False) -> None:
        with self._lock:
            host = self._hosts.get(actor)
            if host is None or host.node is not None:
                raise UsageError(f"{who(actor)} has not crashed")
            if actor == SERVER:
                self.restart_server(amnesia=amnesia)
            else:
                self._restart(host, amnesia=amnesia)

    def _restart(self, host: Host, *, amnesia: bool) -> None:
        host.incarnation += 1
        coins = self._coins(host.actor, host.incarnation)
        node = host.build(coins, {} if amnesia else host.stored)
        node.next_id = host.frames
        host.boot(node)
        self._adversaries.enter(self._effects, host)
        self._queue.background = False
        self._lifecycle.remark(host.actor, notes.Restarted(amnesia=amnesia))
        self._steps.handle(host, Started())

    def hosts(self, actor: Party) -> bool:
        return actor in self._hosts

    def remove(self, actor: Party) -> None:
        with self._lock:
            self._lifecycle.remove(self._hosts.running(actor))

    @property
    def actors(self) -> tuple[Party, ...]:
        """The actors that are up, in the order in which they were first hosted."""
        return tuple(a for a, host in self._hosts.items() if host.node is not None)

    # --- time -----------------------------------------------------------------------------

    def at(self, time: int, action: Callable[[], None]) -> None:
        with self._lock:
            self._queue.push(time, Action(action))

    def step(self) -> bool:
        """Let exactly one thing happen, whenever it is due; whether there was one."""
        with self._lock:
            if self._queue.next_time is None:
                return False
            self._steps.take_next()
            return True

    def run(self, until: Callable[[], bool] | None = None, *, limit: int | None = None) -> bool:
        with self._lock:
            end = None if limit is None else self._queue.now + limit
            if until is not None and until():
                return True
            queue = self._queue
            queue.changed = False
            while (time := queue.next_time) is not None:
                if end is None and queue.foreground <= 0:
                    break
                if end is not None and time > end:
                    break
                if not self._steps.arrivals(end, watched=until is not None):
                    self._steps.take_next()
                if until is not None and (queue.changed or queue.foreground <= 0):
                    queue.changed = False
                    if until():
                        return True
            if end is not None:
                queue.advance(end)
            return until() if until is not None else False

    @property
    def taken(self) -> int:
        """How many events have happened since the world began."""
        return self._queue.taken

    def reach(self, taken: int, at: int) -> None:
        """Let events happen until `taken` have since the beginning, then time pass until `at`."""
        with self._lock:
            while self._queue.taken < taken and self._queue.next_time is not None:
                self._steps.take_next()
            self._queue.advance(at)

    def next_at(self) -> int | None:
        """When the next event is due, µs; None when nothing is left to happen."""
        with self._lock:
            return self._queue.next_time

    def atomic(self) -> AbstractContextManager[object]:
        return self._lock

    def is_idle(self) -> bool:
        return self._queue.foreground <= 0

    def carries(self) -> bool:
        with self._lock:
            return self._queue.carries

    def close(self) -> None:
        self._hosts.clear()
        self._links.connections.address = None

    # --- one message ------------------------------------------------------------------------

    def lose(self, sender: Party, id: int, receiver: Party) -> None:
        """Lose a message that is on its way."""
        with self._lock:
            self._take_out(sender, id, receiver)
            self._network.drop(sender, receiver, id, "lost by hand")

    def hold(self, sender: Party, id: int, receiver: Party, until: int) -> None:
        """Let a message that is on its way arrive at time `until`, or now if that has passed."""
        with self._lock:
            _, alone = self._take_out(sender, id, receiver)
            alone.times[0] = max(until, self.now)
            self._queue.push(alone.times[0], alone)

    def duplicate(self, sender: Party, id: int, receiver: Party, after: int = 0) -> None:
        """Let a message that is on its way arrive once more, `after` µs after the first time."""
        with self._lock:
            time, alone = self._take_out(sender, id, receiver)
            again = alone.only(receiver)
            again.times[0] = time + after
            self.trace.append(doubled(self.now, sender, receiver, id))
            self._queue.push(time, alone)
            self._queue.push(again.times[0], again)

    def _take_out(self, sender: Party, id: int, receiver: Party) -> tuple[int, Multicast]:
        found = self._queue.take_out(sender, id, receiver)
        if found is None:
            raise UsageError(
                f"message {id} of {who(sender)} is not on its way to {who(receiver)}: "
                "it has arrived, was lost, or waits at a paused party"
            )
        return found

    # --- faults -----------------------------------------------------------------------------

    def pause(self, actor: Party) -> None:
        with self._lock:
            host = self._hosts.running(actor)
            if host.paused is None:
                self._lifecycle.remark(actor, notes.Paused())
                host.paused = []
                host.check_odd()

    def resume(self, actor: Party) -> None:
        with self._lock:
            host = self._hosts.running(actor)
            if host.paused is None:
                return
            waiting, host.paused = host.paused, None
            host.check_odd()
            self._lifecycle.remark(actor, notes.Resumed())
            for item in waiting:
                self._queue.push(self._queue.now, item)

    def mark_fault(
        self,
        index: int,
        kind: str,
        phase: str,
        parties: tuple[Party, ...],
        text: str,
        *,
        byzantine: bool = False,
        life: str = "",
    ) -> None:
        with self._lock:
            self.trace.append(
                rows.Fault(self.now, rows.WORLD, index, kind, phase, parties, text, byzantine, life)
            )

    def set_filter(self, actor: Party, filter: Filter | None, handle: int = 0) -> None:
        with self._lock:
            self._adversaries.set_filter(actor, filter, handle)

    def set_tamper(self, actor: Party, tamper: Tamper | None, handle: int = 0) -> None:
        with self._lock:
            self._adversaries.set_tamper(actor, tamper, handle)
            if actor in self._hosts:
                self._adversaries.enter(self._effects, self._hosts[actor])

    def tear(self, actor: Party, on: bool = True) -> None:
        with self._lock:
            self._hosts.running(actor).torn = on

    def slow(self, actor: Party, step: int) -> None:
        with self._lock:
            host = self._hosts.running(actor)
            host.step = step
            host.check_odd()

    def skew(self, actor: Party, offset: int, drift: float) -> None:
        with self._lock:
            host = self._hosts.running(actor)
            assert host.node is not None
            host.skew = Skew(self.now, offset, drift) if offset or drift else None
            host.check_odd()
            for (path, name), at in host.node.timers.items():  # deadlines on the new clock
                background = self._queue.is_background(actor, path, name)
                if background is not None:
                    self._effects.set_timer(host, path, name, at, background)

    def reset(self, a: Party, b: Party) -> None:
        with self._lock:
            self._links.reset(a, b)
