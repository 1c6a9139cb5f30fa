"""What nodes of the simulated world want done: frames sent, timers set, rows written.

The part of `SimulatedWorld` between `Node.step` and the queue. A corrupted actor's effects pass
its filters first (`adversary`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from mpclab.core import notes
from mpclab.core.effects import (
    Blame,
    CancelTimer,
    Effect,
    Event,
    Note,
    Output,
    Persist,
    Prompted,
    Send,
    SetTimer,
    Words,
)
from mpclab.core.errors import UsageError
from mpclab.core.ids import SERVER, Party, Path
from mpclab.faults import draws
from mpclab.trace import rows
from mpclab.worlds.adversary import Adversaries
from mpclab.worlds.base import record
from mpclab.worlds.simulated.host import Host
from mpclab.worlds.simulated.links import Plumbing
from mpclab.worlds.simulated.queue import Action, Happening, Parcel

_WORDS = frozenset({Note, Output, Blame, SetTimer, CancelTimer})
"""Effects that leave nothing behind but in the trace, or in the memory that a crash wipes."""


class Performing(Plumbing):
    """What `SimulatedWorld` does about effects. The attributes are the world's."""

    _adversaries: Adversaries
    _news: bool

    def _crash(self, host: Host, note: notes.Crashed) -> None:
        raise NotImplementedError

    @property
    def now(self) -> int:
        return self._now

    def _alive(self, actor: Party) -> Host:
        host = self._hosts.get(actor)
        if host is None or host.node is None:
            who = "the server" if actor == SERVER else f"party {actor}"
            raise UsageError(f"{who} is not running")
        return host

    def _handle(self, host: Host, event: Event) -> None:
        assert host.node is not None
        node = host.node
        try:
            effects = node.step(event, host.clock(self._now))
        except UsageError:
            self._perform(host, node.out)  # what others did before one refused
            raise
        if effects:
            self._perform(host, effects)

    def _perform(self, host: Host, effects: list[Effect]) -> None:
        self._do(host, self._adversaries.filtered(self, host, effects))

    def do_later(self, actor: Party, life: int, delay: int, effects: list[Effect]) -> None:
        """Let an actor do what it puts off, if it still lives the same life then."""
        action = Action(partial(self._do_late, actor, life, effects))
        self._queue.push(self._now + delay, action)

    def _do_late(self, actor: Party, life: int, effects: list[Effect]) -> None:
        host = self._hosts.get(actor)
        if host is not None and host.node is not None and host.life == life:
            self._do(host, effects)

    def say_later(self, actor: Party, life: int, delay: int, words: Words) -> None:
        """Let an actor say what it puts off, if it still lives the same life then."""
        self._queue.push(self._now + delay, Happening(actor, life, Prompted((words,))))

    def _do(self, host: Host, effects: list[Effect]) -> None:
        deeds = [i for i, e in enumerate(effects) if type(e) not in _WORDS] if host.torn else []
        if len(deeds) > 1 and not self._background:
            self._tear(host, effects, deeds)
        else:
            self._do_all(host, effects)

    def _tear(self, host: Host, effects: list[Effect], deeds: list[int]) -> None:
        """Crash after some of a step's deeds; how many is drawn from the seed.

        What a party notes belongs to the deed before it: nobody outside can tell them apart.
        """
        key = draws.key(self.seed, host.actor, host.life, "torn")
        done = int(draws.uniform(key, 0) * len(deeds))  # the last one is never done
        self._do_all(host, effects[: deeds[done]] if done else [])
        self._crash(host, notes.Crashed(done=done, wanted=len(deeds)))

    def _do_all(self, host: Host, effects: list[Effect]) -> None:
        actor = host.actor
        for effect in effects:
            kind = type(effect)
            if kind is Send:
                self._send(host, effect)  # type: ignore[arg-type]
            elif kind is SetTimer:
                timer: Any = effect
                background = timer.background or self._background
                self._set_timer(host, timer.path, timer.name, timer.at, background)
            elif kind is CancelTimer:
                self._queue.cancel_timer(actor, effect.path, effect.name)  # type: ignore[union-attr]
            else:
                record(self.trace, self._now, actor, effect, host.base)
                if kind is Persist:
                    host.persist(effect)  # type: ignore[arg-type]
                elif kind is Note or kind is Output:
                    self._news = True
                else:
                    self._link_verb(host, effect)

    def _set_timer(self, host: Host, path: Path, name: str, at: int, background: bool) -> None:
        if host.skew is not None:
            at = max(self._now, host.skew.world(at))
        self._queue.set_timer(host.actor, path, name, at, background)

    def _send(self, host: Host, effect: Send) -> None:
        frame = effect.frame
        frame.background = frame.background or self._background
        if host.actor == SERVER:
            self._send_from_server(effect)
            return
        to = effect.to
        if to != (SERVER,) and host.base:
            to = tuple(host.base + p for p in to)
        record(self.trace, self._now, host.actor, Send(to, frame, effect.via))
        if effect.via == "relay":
            return
        sender, connection, reachable = host.actor - host.base, 0, to
        if to == (SERVER,):
            mine = self._sockets.of(host.actor)
            if mine is None or mine.opens > self._now:
                reachable = ()
            else:
                sender = connection = mine.number
        elif effect.via == "none":
            reachable = ()
        elif host.node is not None and host.node.routes is not None:
            reachable = tuple(p for p in to if self._switchboard.is_open(host.actor, p))
        if len(reachable) < len(to):
            for dst in sorted(set(to).difference(reachable)):
                self._drop(host.actor, dst, frame.id, "no link")
        if reachable:
            parcel = Parcel(host.actor, sender, frame, self._background, connection)
            self._wires.send(parcel, reachable)

    def _send_from_server(self, effect: Send) -> None:
        """One parcel for each connection: what is sent on one never comes out of another."""
        frame = effect.frame
        known = [self._sockets.get(number) for number in effect.to]
        mine = [it for it in known if it is not None and it.server]
        record(self.trace, self._now, SERVER, Send(tuple(it.actor for it in mine), frame))
        for it in mine:
            parcel = Parcel(SERVER, SERVER, frame, self._background, it.number)
            self._wires.send(parcel, (it.actor,))

    def _remark(self, actor: Party, note: notes.AnyNote) -> None:
        """What the host itself has to say of an actor."""
        self.trace.append(rows.Noted(self._now, actor, (), note))
        self._news = True

    def _drop(self, src: Party, dst: Party, id: int, why: str) -> None:
        self._wires.drop(src, dst, id, why)
