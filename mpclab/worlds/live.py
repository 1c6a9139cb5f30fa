"""The base of the worlds where time is real: hosts of nodes, their faults, their effects.

Subclasses bring a loop that lets things happen later, say where parties keep what they persist,
carry frames and open links: `worlds.real` by sockets, in a thread of its own; `worlds.browser` by
the page of a tab.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mpclab.core import notes
from mpclab.core.effects import (
    Asked,
    CancelTimer,
    Effect,
    Event,
    LinkClosed,
    LinkOpened,
    Output,
    Persist,
    Prompted,
    Send,
    SetTimer,
    Words,
)
from mpclab.core.errors import UsageError
from mpclab.core.ids import SERVER, Party, Path
from mpclab.core.node import Node
from mpclab.core.telling import HearRows, Told, Unheard
from mpclab.core.wire import Frame
from mpclab.faults.fault import Filter, Tamper
from mpclab.faults.link_rules import LinkRules
from mpclab.trace import rows
from mpclab.trace.log import Trace
from mpclab.trace.tail import TailTrace
from mpclab.worlds.adversary import Adversaries
from mpclab.worlds.base import Build, World
from mpclab.worlds.clock import Skew
from mpclab.worlds.delays import DelayQueues
from mpclab.worlds.failures import NodeFailed, a_bug_among, who
from mpclab.worlds.host import Host, Loop, Timer
from mpclab.worlds.recording import Recording
from mpclab.worlds.rows import record, text_of
from mpclab.worlds.socket_text import SIGNALING
from mpclab.worlds.stores import Store
from mpclab.worlds.told import Ears, pieces
from mpclab.worlds.turns import Turns

T = TypeVar("T")

SLOW_AGAIN = 10.0
"""Seconds until it is said again that this machine is too slow."""
QUIET = 0.1
"""A run without an end is over when nothing happened for this long (s) and no timer is set."""


class LiveWorld(World):
    """Nodes in real time.

    Args:
        loop: lets things happen later.
        seed: of the coins of *faults* (which frames are lost); nodes' coins come from the
            operating system.
        record: keep every input of every node, up to a bound, so that all can be replayed.
            Recordings hold **all that parties knew**, their secrets included.
        trace: where rows go, instead of a new `Trace`; a `TailTrace` where memory must not grow
            with what happens.
    """

    def __init__(
        self, loop: Loop, *, seed: int = 0, record: bool = False, trace: Trace | None = None
    ) -> None:
        self.loop = loop
        self.turns = Turns(loop)
        self.record = record
        self.trace = Trace() if trace is None else trace
        self.keeps_rows = not isinstance(self.trace, TailTrace)  # all of them, for checks
        self.link_rules = LinkRules()
        self.recordings: dict[Party, list[Recording]] = {}
        self.failures: list[NodeFailed] = []
        self.adversaries = Adversaries()
        self.seed = seed
        self.first_frame = 1  # of a party's first incarnation here; a process may be a later one
        self._hosts: dict[Party, Host] = {}
        self._owners: dict[Party, Mapping[str, str]] = {}  # of stores
        self._delays = DelayQueues(self, seed)
        self.began = time.monotonic_ns()
        self._last_step = time.monotonic()
        self._actions: set[Timer] = set()
        self._unraised: deque[NodeFailed] = deque()
        self._slow_at = 0.0  # when we last said so
        self._slowest = 0.0  # seconds, then
        self._ears = Ears(lambda: self.trace, lambda: self.now)
        self._told: dict[Party, tuple[int, int]] = {}  # who tells → where in the trace it is
        self._hears: dict[str, int] = {}  # sessions of which our server hears → their base

    # --- the World interface ---------------------------------------------------------------

    @property
    def now(self) -> int:
        return (time.monotonic_ns() - self.began) // 1000

    @property
    def actors(self) -> tuple[Party, ...]:
        """The actors that are up, in the order in which they were first hosted."""
        return tuple(actor for actor, host in self._hosts.items() if host.alive)

    def host(self, actor: Party, build: Build) -> None:
        self.call(self._host, actor, build)

    def _host(self, actor: Party, build: Build) -> None:
        known = self._hosts.get(actor)
        if known is not None and known.alive:
            raise UsageError(f"{who(actor)} is already here")
        if known is not None:
            known.store.close()
        host = self._hosts[actor] = Host(self, actor, build, self._store_of(actor))
        host.frames = self.first_frame
        if known is not None:
            host.incarnation, host.frames = known.incarnation, known.frames
        self.remark(actor, notes.Started())
        self._begin(host)

    def bind_store(self, actor: Party, owner: Mapping[str, str]) -> None:
        self._owners[actor] = owner

    def _begin(self, host: Host) -> None:
        try:
            host.begin()
        finally:
            if host.recording is not None:
                self.recordings.setdefault(host.actor, []).append(host.recording)
        if host.actor == SERVER:
            for session in sorted(self._hears):
                host.feed(Asked(SIGNALING, HearRows(session, True)))

    def ask(self, actor: Party, path: Path, ask: Any) -> None:
        self.call(self._ask, actor, path, ask)

    def _ask(self, actor: Party, path: Path, ask: Any) -> None:
        host = self.alive(actor)
        if host.paused is not None:
            raise UsageError(f"{who(actor)} is paused")
        self.trace.append(rows.Asked(self.now, actor, path, text_of(ask)))
        event = Asked(path, ask)
        host.ask(event)
        if self._unraised and self._unraised[-1].event is event:
            raise self._unraised.pop()

    def look(self, actor: Party, read: Callable[[Node], Any]) -> Any:
        def read_it() -> Any:
            node = self.alive(actor).node
            assert node is not None
            return read(node)

        return self.call(read_it)

    def crash(self, actor: Party) -> None:
        self.call(self._crash, actor)

    def _crash(self, actor: Party) -> None:
        host = self.alive(actor)
        host.end()
        self.remark(actor, notes.Crashed())
        self.drop_links(host, goodbye=False)
        if actor == SERVER:
            self.hear_no_more()

    def restart(self, actor: Party, *, amnesia: bool = False) -> None:
        self.call(self._restart, actor, amnesia)

    def _restart(self, actor: Party, amnesia: bool) -> None:
        host = self._hosts.get(actor)
        if host is None or host.alive:
            raise UsageError(f"{who(actor)} has not crashed")
        if amnesia:
            host.store.clear()
        self.remark(actor, notes.Restarted(amnesia=amnesia))
        self._begin(host)

    def hosts(self, actor: Party) -> bool:
        return actor in self._hosts

    def remove(self, actor: Party) -> None:
        self.call(self._remove, actor)
        self.settle()

    def _remove(self, actor: Party) -> None:
        host = self.alive(actor)
        host.end()
        self.remark(actor, notes.Removed())
        self.drop_links(host, goodbye=True)
        host.store.close()
        del self._hosts[actor]

    def remark(self, actor: Party, note: notes.AnyNote) -> None:
        """Write a note of the host itself about an actor."""
        self.trace.append(rows.Noted(self.now, actor, (), note))
        self.stepped()

    # --- time ---------------------------------------------------------------------------------

    def at(self, time: int, action: Callable[[], None]) -> None:
        def set_it() -> None:
            def act() -> None:
                self._actions.discard(handle)
                action()
                self.stepped()

            handle = self.loop.call_later(max(0, time - self.now) / 1e6, act)
            self._actions.add(handle)

        self.call(set_it)

    def is_idle(self) -> bool:
        return self.call(self._idle)

    def _idle(self) -> bool:
        foreground = any(
            not background
            for host in self._hosts.values()
            for _, background in host.timers.values()
        )
        behind = any(host.is_behind for host in self._hosts.values())
        busy = foreground or behind or self._actions or self._delays.holding
        return not busy and time.monotonic() - self._last_step >= QUIET

    # --- faults ------------------------------------------------------------------------------

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
        row = rows.Fault(self.now, rows.WORLD, index, kind, phase, parties, text, byzantine, life)
        self.call(self.trace.append, row)

    def pause(self, actor: Party) -> None:
        """The party does nothing until `resume`; what arrives waits."""

        def pause_it() -> None:
            host = self.alive(actor)
            if host.paused is None:
                host.pause()
                self.remark(actor, notes.Paused())

        self.call(pause_it)

    def resume(self, actor: Party) -> None:
        """The party goes on with what arrived meanwhile."""

        def resume_it() -> None:
            host = self.alive(actor)
            if host.paused is not None:
                self.remark(actor, notes.Resumed())
                host.resume()

        self.call(resume_it)

    def slow(self, actor: Party, step: int) -> None:
        """From now on each step of the actor takes `step` µs; 0: no time."""

        def slow_it() -> None:
            self.alive(actor).cost = step

        self.call(slow_it)

    def skew(self, actor: Party, offset: int, drift: float) -> None:
        """Set the actor's clock ahead by `offset` µs, running 1 + `drift` times as fast."""
        wrong = Skew(self.now, offset, drift) if offset or drift else None
        self.call(lambda: self.alive(actor).set_skew(wrong))

    def set_filter(self, actor: Party, filter: Filter | None, handle: int = 0) -> None:
        """Put what an actor does through `filter`, in all its incarnations; None ends that."""
        self.call(self.adversaries.set_filter, actor, filter, handle)

    def set_tamper(self, actor: Party, tamper: Tamper | None, handle: int = 0) -> None:
        """Put what an actor says through `tamper`, in all its incarnations; None ends that."""

        def set_it() -> None:
            self.adversaries.set_tamper(actor, tamper, handle)
            if actor in self._hosts:
                self.adversaries.enter(self, self._hosts[actor])

        self.call(set_it)

    def tell(self, actor: Party) -> None:
        """Have an actor tell those who want it what the trace has of it since the last time."""
        self.call(self._tell, actor)

    def _tell(self, actor: Party) -> None:
        host = self.alive(actor)
        if host.paused is not None:
            return
        news, self._told[actor] = self.trace.since(self._told.get(actor, (0, 0)))
        for told in pieces(actor, news, self.now):
            host.ask(Asked((), told))

    def hear_at_server(self, session: str, base: Party, wanted: bool) -> None:
        """Have our server, now and whenever it begins again, hear what members of a session tell of
        themselves; they are the actors from `base` on. Not `wanted`: not any more."""
        self.call(self._hear_at_server, session, base, wanted)

    def _hear_at_server(self, session: str, base: Party, wanted: bool) -> None:
        if wanted == (session in self._hears):
            return
        if wanted:
            self._hears[session] = base
        else:
            del self._hears[session]
        if (server := self._hosts.get(SERVER)) is not None:
            server.feed(Asked(SIGNALING, HearRows(session, wanted)))

    def hear_no_more(self) -> None:
        """Our server is gone, and who told it of itself is not heard any more."""
        for base in sorted(self._hears.values()):
            self._ears.lose(base)

    def stepped(self) -> None:
        """Something happened that somebody may have waited for."""
        self._last_step = time.monotonic()

    def is_slow(self, host: Host, seconds: float) -> None:
        """A host is behind its time: say so once in a while."""
        now = time.monotonic()
        if seconds >= 1 and now - self._slow_at >= SLOW_AGAIN:
            self._slow_at, self._slowest = now, seconds
            behind = {"behind_ms": round(1000 * seconds)}
            self.remark(host.actor, notes.Remark("this machine is too slow", behind))

    def slowness(self) -> str:
        """Words about this machine for whoever waited in vain; "": it has the time."""
        if not self._slow_at or time.monotonic() - self._slow_at > 6 * SLOW_AGAIN:
            return ""
        return f"; this machine is too slow for it, and was {self._slowest:.1f} s behind"

    # --- steps, for hosts ------------------------------------------------------------------

    def alive(self, actor: Party) -> Host:
        """The host of an actor that runs."""
        host = self._hosts.get(actor)
        if host is None or not host.alive:
            raise UsageError(f"{who(actor)} is not running")
        return host

    def bug_in(self, host: Host) -> Exception | None:
        """The failure of the last step for which only the machine is to blame, or None."""
        assert host.node is not None
        return a_bug_among(host.node, self._hosts, host.base, self.adversaries)

    def failed(self, host: Host, event: Event, error: Exception) -> None:
        """A bug: stop this node, keep the error for `run`, let the others go on."""
        failure = NodeFailed(host.actor, self.now, event, error, self.seed, host.store.file)
        failure.recording = host.recording
        self.failures.append(failure)
        self._unraised.append(failure)
        self.remark(host.actor, notes.Broken(error=str(failure)))
        if host.alive:
            self._crash(host.actor)

    def do_later(self, actor: Party, incarnation: int, delay: int, effects: list[Effect]) -> None:
        """Let an actor do what it puts off, if it is still the same incarnation then."""
        self._later(actor, incarnation, delay, lambda host: host.perform(effects))

    def say_later(self, actor: Party, incarnation: int, delay: int, words: Words) -> None:
        """Let an actor say what it puts off, if it is still the same incarnation then."""
        self._later(actor, incarnation, delay, lambda host: host.feed(Prompted((words,))))

    def _later(
        self, actor: Party, incarnation: int, delay: int, act: Callable[[Host], None]
    ) -> None:
        def act_now() -> None:
            host = self._hosts.get(actor)
            if host is not None and host.incarnation == incarnation:
                act(host)

        self.at(self.now + delay, act_now)

    # --- effects ---------------------------------------------------------------------------

    def perform(self, host: Host, effect: Effect) -> None:
        """Do what a node wants."""
        kind = type(effect)
        if kind is Send:
            self.send(host, effect)  # type: ignore[arg-type]
        elif kind is SetTimer:
            host.set_timer(effect)  # type: ignore[arg-type]
        elif kind is CancelTimer:
            host.cancel_timer(effect.path, effect.name)  # type: ignore[union-attr]
        else:
            if kind is Persist:
                host.store.put(effect.path, effect.key, effect.value)  # type: ignore[union-attr]
            self.note(host, effect)
            self.link_verb(host, effect)

    def note(self, host: Host, effect: Effect) -> None:
        """Append the row of an effect."""
        if type(effect) is Output and type(effect.value) in (Told, Unheard):
            news = effect.value
            base = self._hears.get(news.session) if news.session else host.base
            if base is not None:  # else it is of a session that is not heard any more
                self._ears.hear(base, news)
            self.stepped()
            return
        record(self.trace, self.now, host.actor, effect, host.base)

    def send(self, host: Host, effect: Send) -> None:
        """A frame leaves a party: its row, and if it goes by link, the way to the link."""
        actors = tuple([self.actor_of(host, dst) for dst in effect.to])
        self.note(host, Send(actors, effect.frame, effect.via))
        if effect.via == "link":
            self._delays.transmit(host, effect.to, effect.frame)
        elif effect.via == "none":
            for dst in actors:
                self.dropped(host.actor, dst, effect.frame.id, "no link")

    def dropped(self, src: Party, dst: Party, id: int, why: str) -> None:
        self.trace.append(rows.Dropped(self.now, dst, src, id, why))

    def linked(self, host: Host, event: LinkOpened | LinkClosed) -> None:
        """A link of a party came up or went away: its row, and the party is told."""
        state, detail = "open", ""
        if type(event) is LinkClosed:
            state, detail = "closed", event.reason
        peer = self.actor_of(host, event.peer)
        self.trace.append(rows.Linked(self.now, host.actor, peer, state, event.attempt, detail))
        host.feed(event)

    # --- what a subclass says ----------------------------------------------------------------

    def actor_of(self, host: Host, number: int) -> Party:
        """The actor whom `host` knows by `number`: a party of its session, or 0, the server."""
        return host.base + number if number != SERVER else SERVER

    def way(self, host: Host, dst: int) -> Callable[[Frame], None] | None:
        """A function that puts a frame on the link from `host` to `dst`; None: no link."""
        return None

    def fan_out(self, host: Host, to: tuple[int, ...], frame: Frame) -> bool:
        """Send to several at once where no fault is active; False: not supported."""
        return False

    def link_verb(self, host: Host, effect: Effect) -> None:
        """Open, answer or close a link."""

    def drop_links(self, host: Host, *, goodbye: bool) -> None:
        """Close all links of an actor; without goodbye: as a machine that lost its power."""

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """`function(*args)` where nodes run; its result, or what it raised."""
        return function(*args)

    def settle(self) -> None:
        """Wait until what is being closed is closed."""

    def _store_of(self, actor: Party) -> Store:
        """Where an actor keeps what it persists."""
        raise NotImplementedError
