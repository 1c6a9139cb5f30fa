"""The simulated world: virtual time, one event queue, everything drawn from one seed.

The same nodes as on real sockets, and the same effects; the host is a loop over a heap. A run
is a pure function of (seed, network, what is asked and when): two runs give the same trace,
row by row. It can run to the end, for a while, or one event at a time, and be forked.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

from mpclab.core import notes
from mpclab.core.effects import (
    Asked,
    Started,
    TimerFired,
)
from mpclab.core.errors import UsageError
from mpclab.core.ids import SERVER, Party, Path
from mpclab.core.node import Node
from mpclab.faults.link_rules import LinkRules
from mpclab.faults.network import Network
from mpclab.trace import rows
from mpclab.trace.log import Trace
from mpclab.worlds.adversary import Adversaries
from mpclab.worlds.base import Build, World, text_of
from mpclab.worlds.simulated.faults import SimulatedStage
from mpclab.worlds.simulated.host import Host, SeededCoins
from mpclab.worlds.simulated.network import Wires
from mpclab.worlds.simulated.peer_connections import Switchboard
from mpclab.worlds.simulated.queue import Action, Happening, Late, Queue, Timer, Wave
from mpclab.worlds.simulated.server_connections import Sockets


class SimulatedWorld(SimulatedStage, World):
    """Parties, server and network in virtual time.

    Args:
        seed: everything random in this world follows from it.
        network: delays, loss, bandwidth.
    """

    name = "simulated"

    def __init__(self, seed: int = 0, network: Network | None = None) -> None:
        self.seed = seed
        self.trace = Trace()
        self.link_rules = LinkRules()
        self._now = 0
        self._queue = Queue()
        self._hosts: dict[Party, Host] = {}
        self._adversaries = Adversaries()
        self._switchboard = Switchboard(seed)
        self._address: tuple[str, int] | None = None
        self._served: tuple[str, int] | None = None  # where it ran last
        self._sockets = Sockets()
        self._wires = Wires(seed, network or Network(), self.link_rules, self._queue, self.trace)
        self._background = False  # whether the event being handled is a background one
        self._news = False  # whether a step since the last look changed what a run waits for
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
        """What links are like when nothing is wrong; may be set while time goes on."""
        return self._wires.network

    @network.setter
    def network(self, network: Network) -> None:
        self._wires.network = network

    # --- nodes ----------------------------------------------------------------------------

    def host(self, actor: Party, build: Build) -> None:
        with self._lock:
            known = self._hosts.get(actor)
            if known is not None and known.node is not None:
                raise UsageError(f"party {actor} is already here")
            life = known.life + 1 if known else 1
            node = build(SeededCoins(self.seed, actor, life), {})
            node.next_id = known.frames if known else 1
            host = self._hosts[actor] = Host(actor, build, node)
            host.life = life
            self._adversaries.enter(self, host)
            self._background = False
            self._remark(actor, notes.Started())
            self._handle(host, Started())

    def host_server(self, build: Build, address: str = "127.0.0.1", port: int = 8080) -> str:
        with self._lock:
            if self._address is not None:
                raise UsageError(f"the server already runs at {self.server_url}; stop it first")
            if not 0 <= port <= 65535:
                raise UsageError(f"port {port}: use 1 to 65535, or 0 for a free one")
            self.host(SERVER, build)
            self._address = self._served = (address, port or 8080)
            return self.server_url

    @property
    def server_url(self) -> str:
        """`sim://address:port`, or "" while no server runs."""
        return "sim://{}:{}".format(*self._address) if self._address else ""

    def stop_server(self, *, kill: bool = False) -> None:
        with self._lock:
            if self._address is None:
                raise UsageError("no server is running")
            why = "connection lost" if kill else "the server stopped"
            self._address = None
            for it in self._sockets.at_server():
                self._hang_up_server(it, why)
            self._crash(self._alive(SERVER), notes.Crashed())

    def restart_server(self, *, amnesia: bool = True) -> None:
        """Start a stopped server again, where it was; `amnesia`: with empty rooms."""
        with self._lock:
            if self._address is not None:
                raise UsageError(f"the server already runs at {self.server_url}; stop it first")
            if self._served is None:
                raise UsageError("no server ever ran here; start one first")
            self._address = self._served
            self._restart(self._hosts[SERVER], amnesia=amnesia)

    def ask(self, actor: Party, path: Path, ask: Any) -> None:
        with self._lock:
            host = self._alive(actor)
            self.trace.append(rows.Asked(self._now, actor, path, text_of(ask)))
            self._background = False
            self._handle(host, Asked(path, ask))

    def look(self, actor: Party, read: Callable[[Node], Any]) -> Any:
        with self._lock:
            node = self._alive(actor).node
            assert node is not None
            return read(node)

    def crash(self, actor: Party) -> None:
        with self._lock:
            if actor == SERVER:
                self.stop_server(kill=True)
            else:
                self._crash(self._alive(actor), notes.Crashed())

    def _crash(self, host: Host, note: notes.Crashed) -> None:
        assert host.node is not None
        actor = host.actor
        host.frames = host.node.next_id
        host.node = None
        host.torn = False
        self._remark(actor, note)
        self._forget_paused(host, "crashed")
        self._queue.forget(actor)
        self._switchboard.drop_all(actor)  # nobody is told: a dead machine says nothing
        self._hang_up_client(actor, "connection lost")

    def restart(self, actor: Party, *, amnesia: bool = False) -> None:
        with self._lock:
            host = self._hosts.get(actor)
            if host is None or host.node is not None:
                raise UsageError(f"party {actor} has not crashed")
            if actor == SERVER:
                self.restart_server(amnesia=amnesia)
            else:
                self._restart(host, amnesia=amnesia)

    def _restart(self, host: Host, *, amnesia: bool) -> None:
        host.life += 1
        coins = SeededCoins(self.seed, host.actor, host.life)
        node = host.build(coins, {} if amnesia else host.stored)
        node.next_id = host.frames
        host.boot(node)
        self._adversaries.enter(self, host)
        self._background = False
        self._remark(host.actor, notes.Restarted(amnesia=amnesia))
        self._handle(host, Started())

    def remove(self, actor: Party) -> None:
        with self._lock:
            host = self._alive(actor)
            for end in self._switchboard.drop_all(actor):
                self._tell_closed(end, "the peer left")
            self._hang_up_client(actor, "connection closed")
            self._queue.forget(actor)
            self._remark(actor, notes.Removed())
            self._forget_paused(host, "gone")
            host.node = None
            del self._hosts[actor]

    def _forget_paused(self, host: Host, why: str) -> None:
        for item in host.paused or ():
            if type(item) is Wave:
                self._drop(item.parcel.source, host.actor, item.parcel.frame.id, why)
        host.paused = None

    @property
    def actors(self) -> tuple[Party, ...]:
        """The actors that are up, in the order in which they were first hosted."""
        return tuple(a for a, host in self._hosts.items() if host.node is not None)

    # --- time -----------------------------------------------------------------------------

    def at(self, time: int, action: Callable[[], None]) -> None:
        with self._lock:
            self._queue.push(max(time, self._now), Action(action))

    def step(self) -> bool:
        """Let exactly one thing happen, whenever it is due; whether there was one."""
        with self._lock:
            if self._queue.next_time is None:
                return False
            self._next()
            return True

    def run(self, until: Callable[[], bool] | None = None, *, limit: int | None = None) -> bool:
        with self._lock:
            end = None if limit is None else self._now + limit
            if until is not None and until():
                return True
            queue = self._queue
            self._news = False
            while (time := queue.next_time) is not None:
                if end is None and queue.foreground <= 0:
                    break
                if end is not None and time > end:
                    break
                self._next()
                if self._news and until is not None:
                    self._news = False
                    if until():
                        return True
            if end is not None:
                self._now = self._wires.now = max(self._now, end)
            return until() if until is not None else False

    def close(self) -> None:
        self._hosts.clear()
        self._address = None

    def _next(self) -> None:
        time, item = self._queue.pop()
        self._now = self._wires.now = time
        self._background = item.background
        if type(item) is Wave:
            actor = item.to[item.index - 1]
            host = self._hosts.get(actor)
            if host is None or host.node is None:
                self._drop(
                    item.parcel.source, actor, item.parcel.frame.id, "crashed" if host else "gone"
                )
            elif host.step or host.busy >= time or host.paused is not None:
                self._put_off(host, item.only(actor))
            else:
                self._arrive(host, item)
        elif type(item) is Action:
            self._news = True
            item.call()
        else:
            host = self._hosts.get(item.actor)
            if host is None or host.node is None:
                if type(item) is Late and type(item.item) is Wave:
                    wave = item.item
                    self._drop(wave.parcel.source, item.actor, wave.parcel.frame.id, "crashed")
            elif type(item) is Late:
                self._get_round_to(host, item)
            elif host.step or host.busy >= time or host.paused is not None:
                if type(item) is Timer:
                    event = TimerFired(item.path, item.name)
                    item = Happening(item.actor, host.life, event, item.background)
                self._put_off(host, item)
            else:
                self._happens(host, item)

    def _put_off(self, host: Host, item: Any) -> None:
        """A paused actor keeps what comes; a slow one does it after what came before."""
        if host.paused is not None:
            host.paused.append(item)
            return
        host.busy = max(host.busy, self._now) + host.step
        self._queue.push(host.busy, Late(host.actor, host.life, item, item.background))

    def _get_round_to(self, host: Host, late: Late) -> None:
        if host.paused is not None:
            host.paused.append(late.item)
        elif type(late.item) is not Wave:
            self._happens(host, late.item)
        elif late.life == host.life:
            self._arrive(host, late.item)
        else:
            lost = late.item.parcel
            self._drop(lost.source, host.actor, lost.frame.id, "crashed")

    def _happens(self, host: Host, item: Timer | Happening) -> None:
        if isinstance(item, Timer):
            self._fire(host, item.path, item.name)
        elif item.life == host.life:
            if type(item.event) is TimerFired:
                self._fire(host, item.event.path, item.event.name)
            elif not item.connection or not self._is_stale(item.actor, item.connection, item.event):
                self._note_link(host, item.event)
                self._handle(host, item.event)

    def _fire(self, host: Host, path: Path, name: str) -> None:
        assert host.node is not None
        now = host.clock(self._now)
        if host.node.timers.get((path, name), now + 1) <= now:  # else replaced while it waited
            self.trace.append(rows.Fired(self._now, host.actor, path, name))
            self._handle(host, TimerFired(path, name))

    def _arrive(self, host: Host, wave: Wave) -> None:
        node, now = host.node, self._now
        assert node is not None
        source, sender, frame, _, connection = wave.parcel
        bare = node.routes is None and not connection  # no mesh: everyone is linked
        if wave.corrupt:
            self._drop(source, host.actor, frame.id, "corrupt")
        elif not bare and not self._carries(host, wave.parcel):
            self._drop(source, host.actor, frame.id, "no link")
        else:
            self.trace.delivered(now, host.actor, source, frame.id)
            local = now if host.skew is None else host.clock(now)
            effects = node.deliver(sender, frame, local)
            if effects:
                self._perform(host, effects)
