"""The effects of nodes in the simulated world: frames sent, timers set, rows written.

A corrupted actor's effects pass its filters first (`adversary`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from mpclab.core import notes
from mpclab.core.effects import (
    Blame,
    CancelTimer,
    Effect,
    Lied,
    Note,
    Output,
    Persist,
    Prompted,
    Send,
    SetTimer,
    Words,
)
from mpclab.core.ids import SERVER, Party, Path
from mpclab.faults import draws
from mpclab.trace.log import Trace
from mpclab.worlds.adversary import Adversaries
from mpclab.worlds.rows import record, record_sent
from mpclab.worlds.simulated.host import Host, Hosts
from mpclab.worlds.simulated.lifecycle import Lifecycle
from mpclab.worlds.simulated.links import Links
from mpclab.worlds.simulated.network import SimulatedNetwork
from mpclab.worlds.simulated.queue import Action, InFlight, Queue, Scheduled

HARMLESS = frozenset({Note, Lied, Output, Blame, SetTimer, CancelTimer})
"""Effects that leave nothing behind but in the trace, or in the memory that a crash wipes."""


class Effects:
    """Performs effects. To adversaries it is the world (`adversary.Site`)."""

    def __init__(
        self,
        seed: int,
        queue: Queue,
        hosts: Hosts,
        network: SimulatedNetwork,
        links: Links,
        lifecycle: Lifecycle,
        adversaries: Adversaries,
        trace: Trace,
    ) -> None:
        self.seed = seed
        self.trace = trace
        self._queue = queue
        self._hosts = hosts
        self._network = network
        self._links = links
        self._lifecycle = lifecycle
        self._adversaries = adversaries

    @property
    def now(self) -> int:
        """Time of the world, µs."""
        return self._queue.now

    def perform(self, host: Host, effects: list[Effect]) -> None:
        """Do what a node wants, or what its adversary makes of it."""
        effects = self._adversaries.filtered(self, host, effects)
        if host.torn:
            self._do(host, effects)
        else:
            self._do_all(host, effects)

    def do_later(self, actor: Party, incarnation: int, delay: int, effects: list[Effect]) -> None:
        """Let an actor do what it puts off, if it is still the same incarnation then."""
        action = Action(partial(self._do_late, actor, incarnation, effects))
        self._queue.push(self._queue.now + delay, action)

    def _do_late(self, actor: Party, incarnation: int, effects: list[Effect]) -> None:
        host = self._hosts.get(actor)
        if host is not None and host.node is not None and host.incarnation == incarnation:
            self._do(host, effects)

    def say_later(self, actor: Party, incarnation: int, delay: int, words: Words) -> None:
        """Let an actor say what it puts off, if it is still the same incarnation then."""
        self._queue.push(self._queue.now + delay, Scheduled(actor, incarnation, Prompted((words,))))

    def _do(self, host: Host, effects: list[Effect]) -> None:
        durable = [i for i, e in enumerate(effects) if type(e) not in HARMLESS] if host.torn else []
        if len(durable) > 1 and not self._queue.background:
            self._tear(host, effects, durable)
        else:
            self._do_all(host, effects)

    def _tear(self, host: Host, effects: list[Effect], durable: list[int]) -> None:
        """Crash after some of a step's durable effects; how many is drawn from the seed.

        A note belongs to the durable effect before it: nobody outside can tell them apart.
        """
        key = draws.key(self.seed, host.actor, host.incarnation, "torn")
        done = int(draws.uniform(key, 0) * len(durable))  # the last one is never done
        self._do_all(host, effects[: durable[done]] if done else [])
        self._lifecycle.crash(host, notes.Crashed(done=done, wanted=len(durable)))

    def _do_all(self, host: Host, effects: list[Effect]) -> None:
        actor = host.actor
        for effect in effects:
            kind = type(effect)
            if kind is Send:
                self._send(host, effect)  # type: ignore[arg-type]
            elif kind is SetTimer:
                timer: Any = effect
                led_to = self._queue.background and not timer.foreground
                background = timer.background or led_to
                self.set_timer(host, timer.path, timer.name, timer.at, background)
            elif kind is CancelTimer:
                self._queue.cancel_timer(actor, effect.path, effect.name)  # type: ignore[union-attr]
            else:
                record(self.trace, self._queue.now, actor, effect, host.base)
                if kind is Persist:
                    host.persist(effect)  # type: ignore[arg-type]
                elif kind is Note or kind is Output:
                    self._queue.changed = True
                else:
                    self._links.perform(host, effect)

    def set_timer(self, host: Host, path: Path, name: str, at: int, background: bool) -> None:
        """Wake a machine when its own clock shows `at`."""
        if host.skew is not None:
            at = host.skew.world(at)
        self._queue.set_timer(host.actor, path, name, at, background)

    def _send(self, host: Host, effect: Send) -> None:
        frame = effect.frame
        if self._queue.background:
            frame.background = True
        if host.actor == SERVER:
            self._send_from_server(effect)
            return
        to = effect.to
        if to != (SERVER,) and host.base:
            to = tuple(host.base + p for p in to)
        record_sent(self.trace, self._queue.now, host.actor, to, frame, effect.via)
        if effect.via in ("relay", "pieces"):
            return  # what carries it follows
        sender, connection, reachable = host.actor - host.base, 0, to
        if to == (SERVER,):
            mine = self._links.connections.of(host.actor)
            if mine is None or mine.opens > self._queue.now:
                reachable = ()
            else:
                sender = connection = mine.number
        elif effect.via == "none":
            reachable = ()
        else:
            reachable = self._links.reachable(host, to)
        if reachable is not to and len(reachable) < len(to):
            for dst in sorted(set(to).difference(reachable)):
                self._network.drop(host.actor, dst, frame.id, "no link")
        if reachable:
            in_flight = InFlight(host.actor, sender, frame, self._queue.background, connection)
            self._network.send(in_flight, reachable)

    def _send_from_server(self, effect: Send) -> None:
        """One frame for each connection: what is sent on one never comes out of another."""
        frame = effect.frame
        known = [self._links.connections.get(number) for number in effect.to]
        mine = [it for it in known if it is not None and it.server]
        actors = tuple(it.actor for it in mine)
        record_sent(self.trace, self._queue.now, SERVER, actors, frame, effect.via)
        for it in mine:
            in_flight = InFlight(SERVER, SERVER, frame, self._queue.background, it.number)
            self._network.send(in_flight, (it.actor,))
