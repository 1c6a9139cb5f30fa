"""`Lab`: the same verbs in every world.

    lab = Lab(parties=4, world="webrtc")
    lab.start_server()
    lab.spawn()
    lab.join()
    note = lab.propose(by=1, kind="note", text="hello")
    lab.run()

Every verb has done its work when it returns, and may be awaited all the same. In the simulated
world time passes only inside `run` (and inside verbs that wait, such as `join`), or paced
against the wall clock after `pace()`.
"""

from __future__ import annotations

import copy
import re
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mpclab.core import notes
from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import SECOND, SERVER, STRIDE, Party, format_duration, parse_duration
from mpclab.core.machine import Machine
from mpclab.core.words import count
from mpclab.faults.plan import Injection
from mpclab.lab.breaking import end
from mpclab.lab.group import Group
from mpclab.lab.journal import Journal, Place, verb
from mpclab.lab.pace import Pacer
from mpclab.lab.replies import Done, ServerStatus, SessionStatus
from mpclab.lab.scenario import Scenario, show_fields
from mpclab.lab.travel import Branch, Checkpoint, Travel
from mpclab.lab.verbs import Verbs
from mpclab.signaling.rooms import PATH as ROOMS
from mpclab.signaling.rooms import CloseSession, FreeSeat, Rooms, build_server
from mpclab.signaling.status import RoomsSettings
from mpclab.trace.log import Trace
from mpclab.trace.rows import WORLD, Noted
from mpclab.trace.short import KEEP, ShortTrace
from mpclab.worlds.base import Build, World
from mpclab.worlds.simulated import SimulatedWorld

if TYPE_CHECKING:
    from mpclab.lab.one_session import OneSession


class Lab(Verbs):
    """A signaling server, parties, a network, and what goes wrong, in one of three worlds.

    Args:
        scenario: where to start from; every field of `Scenario` can also be given by name
            (`Lab(parties=5, world="webrtc", policy="threshold(3)")`).
        protocol: a machine class (or a function without arguments that makes one) to run at
            every party instead of the coordinator.
        url: a signaling server elsewhere, for the real worlds; then none is started here.
        store: a folder (made when missing) where parties of the real worlds keep their keys and
            what they persist, so that a session can be taken up tomorrow; without one all is
            kept in memory.
        record: keep every input of the nodes of a real world, up to a bound, so that they can be
            replayed. Recordings hold **all that parties knew**, their secrets included.
        options: what else the class of a real world takes: `trace`, `authority`, `channels`, …

    Raises:
        UsageError: a field that is unknown or cannot be, before anything is started.
    """

    def __init__(
        self,
        scenario: Scenario | None = None,
        *,
        protocol: Callable[[], Machine] | None = None,
        url: str = "",
        store: str | Path | None = None,
        record: bool = False,
        options: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        if scenario is not None and not isinstance(scenario, Scenario):
            raise UsageError(
                f"a lab is made from a scenario or from fields, not from {scenario!r}: "
                "Lab(Scenario.from_file(…)) or Lab(parties=4)"
            )
        _check_protocol(protocol)
        self.scenario = (scenario or Scenario()).but(**fields)
        self.url = url
        self._store = Path(store) if store is not None else None
        if self._store is not None:
            try:
                self._store.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise UsageError(
                    f"cannot keep parties' state in {store}: {error.strerror or error}"
                ) from error
        more = {"record": record, **(options or {})}
        try:
            self.world: World = make_world(self.scenario, url, store, **more)
        except TypeError as error:
            name = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            if name is None or name[1] not in (options or {}):
                raise
            raise UsageError(
                f"the {self.scenario.world} world has no option {name[1]!r}"
            ) from error
        self.groups: dict[str, Group] = {}
        if not isinstance(self.world, SimulatedWorld):
            # A lab that nobody holds any more, as when its cell is run again, frees its port.
            weakref.finalize(self, _free, self.world, self.groups).atexit = False
        self.journal = Journal()
        self.group = Group(
            self.world, self.scenario, protocol=protocol, store=self._store, journal=self.journal
        )
        self.groups[self.scenario.session] = self.group
        self._started: float | None = None
        self._pacer: Pacer | None = None
        self._closed = False
        self._last_port = 8080
        self._server = build_server(self._rooms())
        self.travel = Travel(self)

    # --- what is there ---

    @property
    def trace(self) -> Trace:
        """The rows of everything that happened so far."""
        return self.world.trace

    @property
    def now(self) -> int:
        """Time since the world began, in µs."""
        return self.world.now

    @property
    def speed(self) -> float:
        """How fast simulated time passes by itself: virtual seconds a second; 0: it stands."""
        return self._pacer.speed if self._pacer is not None else 0.0

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def called(self) -> str:
        return ""

    @property
    def injections(self) -> tuple[Injection, ...]:
        """Every fault put here by `inject` and `nemesis`, healed or not, in any session."""
        every = (one for group in self.groups.values() for one in group.injections)
        return tuple(sorted(every, key=lambda one: one.index))

    # --- the signaling server ---

    @verb
    def start_server(self, port: int | None = None, address: str = "127.0.0.1") -> ServerStatus:
        """Start the signaling server; its status.

        `port` is 8080 unless told otherwise (0: a free one), and after a stop the one before.

        Raises:
            UsageError: the port is in use (and which one is free), or it runs already.
        """
        if self.url:
            raise UsageError(f"this lab uses the server at {self.url}; it starts none of its own")
        if self.server_status().running:
            raise UsageError(f"the server already runs at {self.world.server_url}; stop it first")
        url = self.world.host_server(
            self._server, address, self._last_port if port is None else port
        )
        self._last_port = int(url.rpartition(":")[2])
        self._started = time.monotonic()
        return self.server_status()

    def _rooms(self) -> RoomsSettings:
        if self.scenario.world == "simulated":
            return RoomsSettings()
        every = 2 * SECOND  # a dead path to the server is noticed within 6 s
        if self.scenario.world == "webrtc":
            return RoomsSettings(ping_every=every)
        # Every message goes through the server.
        return RoomsSettings(rate=2_000, burst=4_000, ping_every=every)

    @verb
    def stop_server(self, *, kill: bool = False) -> Done:
        """Stop the server; with `kill` it says goodbye to nobody. Meshes outlive it."""
        if not self.server_status().running:
            raise UsageError("no server is running; there is nothing to stop")
        self.world.stop_server(kill=kill)
        self._started = None
        return Done("the signaling server was killed" if kill else "the signaling server stopped")

    def server_status(self) -> ServerStatus:
        """🟢 or 🔴, url, uptime, connections, sessions with their members, messages, errors."""
        if not self.world.server_url or self.url:
            return ServerStatus(False, self.url)
        seen = self.world.look(SERVER, _read_rooms)
        uptime = time.monotonic() - self._started if self._started is not None else 0.0
        sessions = tuple(
            SessionStatus(
                s.session, s.n, s.t, s.policy, {m.party: m.state for m in s.members}, s.access
            )
            for s in seen.sessions
        )
        return ServerStatus(
            True, self.world.server_url, uptime, seen.connections, sessions, seen.relayed,
            seen.errors,
        )  # fmt: skip

    @verb
    def close_session(self, session: str) -> Done:
        """As the server's operator: end a session; its members are told.

        Raises:
            UsageError: no server runs here, or it has no such session.
        """
        self._ask_server(CloseSession(session))
        return Done(f"session {session} was closed")

    @verb
    def free_seat(self, session: str, party: Party) -> Done:
        """As the server's operator: free a party's seat, for whatever key comes next.

        Raises:
            UsageError: no server runs here, or nobody has that seat.
        """
        self._ask_server(FreeSeat(session, party))
        return Done(f"the seat of party {party} in {session} is free")

    def _ask_server(self, ask: CloseSession | FreeSeat) -> None:
        if not isinstance(ask.session, str):
            raise UsageError(f"session {ask.session!r}: write its name")
        if isinstance(ask, FreeSeat) and type(ask.party) is not int:
            raise UsageError(f"party {ask.party!r}: write its number")
        if not self.server_status().running:
            raise UsageError("no server is running here")
        self.world.ask(SERVER, ROOMS, ask)

    # --- parties ---

    @verb
    def session(self, id: str, /, **fields: Any) -> Group:
        """Another session on the same server, with parties of its own. One in which nobody has
        been yet takes new fields."""
        known = self.groups.get(id)
        if known is not None and (known is self.group or known.identities or not fields):
            return known
        scenario = self.scenario.but(session=id, operations=(), faults=(), **fields)
        base = STRIDE * len(self.groups) if known is None else known.base
        group = Group(self.world, scenario, base=base, store=self._store, journal=self.journal)
        self.groups[id] = group
        self.group.shares = True
        return group

    def of(self, session: str) -> OneSession:
        """The same verbs for another of its sessions: `lab.of("tea").propose(1, text="hello")`.

        Raises:
            UsageError: there is no such session; `lab.session(id)` makes one.
        """
        if not isinstance(session, str):
            raise UsageError(f"session {session!r}: write its name")
        if session not in self.groups:
            raise UsageError(f"there is no session {session!r}{nearest(session, self.groups)}")
        from mpclab.lab.one_session import OneSession  # few runs have a second session

        return OneSession(self, session)

    # --- faults ---

    @verb
    def heal(self, injection: Injection | None = None) -> Done:
        """End one fault, or all that `inject` began in any session."""
        return end(injection, self.injections)

    # --- verdicts ---

    def replay(self) -> Done:
        """Feed what each node of a real world got to a fresh node, and compare all its effects.

        Raises:
            UsageError: a simulated world (its seed repeats it), nothing was recorded, or the
                first difference.
        """
        if not isinstance(self.world, SimulatedWorld):
            return self._replay()
        raise UsageError("a simulated run repeats from its seed; there is nothing to replay")

    def _replay(self) -> Done:
        from mpclab.worlds.real.world import RealWorld
        from mpclab.worlds.recording import replay

        assert isinstance(self.world, RealWorld)
        if not self.world.record:
            raise UsageError("nothing was recorded; make the lab with record=True")
        steps = nodes = 0
        for actor, recordings in self.world.recordings.items():
            for recording, build in zip(recordings, self._incarnations(actor), strict=True):
                difference = replay(recording, build)
                if difference is not None:
                    raise UsageError(f"actor {actor} does not replay: {difference}")
                steps += len(recording.steps)
                nodes += 1
        return Done(f"{nodes} nodes replayed, {steps} inputs, the same effects")

    def _incarnations(self, actor: Party) -> Sequence[Build]:
        if actor == SERVER:
            return [self._server] * len(self.world.recordings[SERVER])  # type: ignore[attr-defined]
        group = next(g for g in self.groups.values() if g.base == actor // STRIDE * STRIDE)
        return group.incarnations[actor - group.base]

    # --- time ---

    def pace(self, speed: float = 1.0) -> Done:
        """Let simulated time pass by itself, `speed` virtual seconds a second; 0 stops it."""
        if speed:
            self._check_open()
        if isinstance(self.world, SimulatedWorld):
            if self._pacer is not None:
                self._pacer.stop()
                self._pacer = None
            if speed > 0:
                self._pacer = Pacer(self.world, speed)
                weakref.finalize(self, self._pacer.stop).atexit = False
        return Done(f"time passes at {speed:g} × the wall clock" if speed else "time stands still")

    def step(self) -> Done:
        """Let exactly one thing happen (simulated world)."""
        if not isinstance(self.world, SimulatedWorld):
            raise UsageError("only simulated time can be stepped; this world runs by itself")
        self._check_open()
        happened = self.world.step()
        return Done("one step" if happened else "nothing is left to happen")

    @verb
    def lose(self, sender: Party, id: int, to: Party) -> Done:
        """Lose message `id` of `sender` on its way to `to` (simulated world)."""
        self._simulated("a message be lost by hand").lose(sender, id, to)
        return Done(f"message {id} of party {sender} to party {to} is lost")

    @verb
    def hold(self, sender: Party, id: int, to: Party, lasts: int | str = "1s") -> Done:
        """Let a message on its way arrive only so long from now (simulated world)."""
        world = self._simulated("a message be held by hand")
        held = parse_duration(lasts) if isinstance(lasts, str) else lasts
        world.hold(sender, id, to, world.now + held)
        return Done(f"message {id} of party {sender} reaches party {to} in {format_duration(held)}")

    @verb
    def duplicate(self, sender: Party, id: int, to: Party) -> Done:
        """Let a message on its way arrive twice (simulated world)."""
        self._simulated("a message be sent twice by hand").duplicate(sender, id, to)
        return Done(f"message {id} of party {sender} reaches party {to} twice")

    # --- back, and off on another way ---

    def checkpoint(self, name: str = "") -> Checkpoint:
        """Name this moment, to come back to it by `rewind` (simulated world)."""
        self._simulated("a moment be kept")
        self._check_open()
        with self.world.atomic():
            return self.travel.checkpoint(name)

    def rewind(self, to: Checkpoint | str | int, *, branch: str = "") -> Done:
        """Be again as at a checkpoint or a time: `"1.5s"`, or µs as `lab.now` (simulated world).

        The clock is stopped. What came after is not lost: it stays as a branch, to which
        `switch` returns. `branch` names the one that begins here.

        Raises:
            UsageError: no such moment, or the run cannot be repeated up to it.
        """
        self._simulated("time be turned back; lab.fork(at) takes a recorded run on")
        self.pace(0)
        return self._return(self.travel.find(to), branch)

    def rewind_before(self, row: int, *, branch: str = "") -> Done:
        """Be as just before a row of the trace was written: before that message was sent, say."""
        self._simulated("time be turned back")
        self.pace(0)
        return self._return(self.travel.place_of(row), branch)

    def rewind_after(self, row: int, *, branch: str = "") -> Done:
        """Be as just after a row of the trace was written: with that message on its way, say."""
        self._simulated("time be turned back")
        self.pace(0)
        return self._return(self.travel.place_of(row, after=True), branch)

    def _return(self, to: Place | int, branch: str) -> Done:
        past = self.travel.at(to)
        place = past.journal.place(past.world)
        turns = place != self.journal.place(self.world)
        if turns:
            self.travel.leave(place, branch)
        self.travel.forget_after(place)
        self._become(past)
        if turns:
            self._forget_fleeting()
        return Done(f"it is {format_duration(self.now)} again, on {self.travel.current!r}")

    @property
    def branches(self) -> dict[str, Branch]:
        """Every way that this run went since it began, by name; `switch` goes to the end of one."""
        return self.travel.branches

    @property
    def branch_count(self) -> int:
        """How many branches there are."""
        return len(self.travel)

    @property
    def branch(self) -> str:
        """The name of the way that is gone now."""
        return self.travel.current

    @property
    def checkpoints(self) -> dict[str, Checkpoint]:
        """The moments named by `checkpoint`, by name."""
        return dict(self.travel.checkpoints)

    def switch(self, branch: str) -> Done:
        """Be as at the end of another branch, with the clock stopped."""
        self.pace(0)
        if branch == self.travel.current:
            return Done(f"this is {branch!r}")
        there = self.travel.end_of(branch)
        self.travel.switch(branch)
        self.travel.forget_all()
        self._become(there)
        return Done(f"on {branch!r}, at {format_duration(self.now)}")

    def rename_branch(self, old: str, new: str) -> Done:
        """Give a branch another name."""
        self.travel.rename(old, new)
        return Done(f"{old!r} is {new!r} now")

    def fork(
        self,
        at: Checkpoint | str | int | None = None,
        *,
        branch: str = "",
        before: int | None = None,
        after: int | None = None,
    ) -> Lab:
        """An independent lab, as this one is now: try both futures.

        In a real world that was made with `record=True`, the copy is a simulated lab: its parties
        hold what the real ones held, all pairs are linked, and virtual time goes on from there.

        Args:
            at: as it was then: a checkpoint, or a time (`"1.5s"`, or µs).
            branch: as it was at the end of that branch.
            before: as it was just before that row of the trace was written.
            after: as it was just after it.
        """
        made = self._forked(at, branch, before, after)
        made._forget_fleeting()
        return made

    def _forked(
        self, at: Checkpoint | str | int | None, branch: str, before: int | None, after: int | None
    ) -> Lab:
        if not isinstance(self.world, SimulatedWorld):
            from mpclab.lab.revive import revive, twin

            taken_on = Lab(twin(self))
            when = self.travel.find(at) if at is not None else None
            revive(self, taken_on, when, before, after)
            taken_on.travel.begin_here()
            return taken_on
        if before is not None:
            return self.travel.at(self.travel.place_of(before))
        if after is not None:
            return self.travel.at(self.travel.place_of(after, after=True))
        if branch:
            return self.travel.end_of(branch)
        if at is not None:
            return self.travel.at(self.travel.find(at))
        self.pace(0)
        return self.copied()

    def _forget_fleeting(self) -> None:
        for group in self.groups.values():
            group.forget_fleeting()

    def copied(self) -> Lab:
        """An independent copy, whose clock stands; this one's goes on."""
        assert isinstance(self.world, SimulatedWorld)
        with self.world.atomic():
            memo: dict[int, Any] = {id(self._pacer): None, id(self.travel): None}
            made = Lab.__new__(Lab)
            memo[id(self)] = made
            made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        made.travel = Travel(made)
        return made

    def anew(self) -> Lab:
        """A lab with the same seed, in which nothing has been done yet."""
        return Lab(self.scenario, protocol=self.group.protocol)

    def _become(self, other: Lab) -> None:
        """Be as `other` is, and stay the same object: so do sessions and handles to operations."""
        memo: dict[int, Any] = {id(other): self, id(other.travel): self.travel, id(None): None}
        for session, group in other.groups.items():
            if session in self.groups:
                memo[id(group)] = self.groups[session]
        with self.world.atomic():
            states = {s: g.__dict__ for s, g in other.groups.items() if s in self.groups}
            lab, groups = copy.deepcopy((other.__dict__, states), memo)
            for session, state in groups.items():
                self.groups[session].__dict__.update(state)
            self.__dict__.update(lab)

    def _simulated(self, what: str) -> SimulatedWorld:
        if not isinstance(self.world, SimulatedWorld):
            raise UsageError(
                f"only in the simulated world can {what}; this one is {self.world.name}"
            )
        return self.world

    @verb
    def mark(self, what: str) -> int:
        """A remark of the experiment's own in the trace; returns its time."""
        now = self.world.now
        self.trace.append(Noted(now, WORLD, (), notes.Remark(what)))
        return now

    def let_pass(self, until: Callable[[], bool] | None, limit: int) -> bool:
        """Let time pass until that holds, so many µs at the most; whether it holds."""
        if self._pacer is not None:
            return self._pacer.wait(until, limit)
        return self.world.run(until, limit=limit)

    def close(self) -> Done:
        """Stop everything; free every port and thread. Closing twice is fine.

        Parties whose keys end with the lab, since there is no store, give their slots in sessions
        at a server elsewhere up; those that can come back keep them.
        """
        if self.url and self._store is None and not self._closed:
            for group in self.groups.values():
                if group.joined:
                    with suppress(UsageError):
                        group.leave(*group.joined)
        self._closed = self.journal.closed = True
        self.pace(0)
        _free(self.world, self.groups)
        return Done("the lab is closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        s = self.scenario
        return (
            f"Lab({s.world}, {count(s.parties, 'party')}, threshold {s.threshold}, {s.policy}, "
            f"{s.agreement}, session {s.session!r})"
        )


show_fields(Lab)


def _free(world: World, groups: Mapping[str, Group]) -> None:
    """End a lab's world, and what its groups keep outside of it."""
    thread = getattr(world, "thread", None)
    if thread is not None and thread.is_current():  # where the garbage was collected
        from mpclab.worlds.real import kept

        kept.close_elsewhere(partial(_free, world, groups))
        return
    world.close()
    for group in groups.values():
        group.close()


def _check_protocol(protocol: object) -> None:
    """Say at once what is wrong with a machine class, and not when its first party starts."""
    if isinstance(protocol, type) and issubclass(protocol, Machine):
        protocol.decode()
    elif isinstance(protocol, Machine):
        name = type(protocol).__name__
        raise UsageError(f"protocol: one {name} cannot be every party; give the class: {name}")
    elif protocol is not None and (isinstance(protocol, type) or not callable(protocol)):
        raise UsageError(f"protocol: {protocol!r}; give a Machine class, or a function making one")


def make_world(
    scenario: Scenario, url: str = "", store: str | Path | None = None, **options: Any
) -> World:
    """The world that a scenario names; sockets are imported only where they are used."""
    if scenario.trace != "full":
        options = {"trace": ShortTrace(KEEP if scenario.trace == "tail" else 0), **options}
    if scenario.world == "simulated":
        if url or store:
            raise UsageError("a simulated world has its own server and stores; leave them out")
        if other := sorted(options.keys() - {"trace", "record"}):  # it is recorded by its seed
            raise UsageError(f"the simulated world has no option {other[0]!r}")
        return SimulatedWorld(scenario.seed, scenario.network, trace=options.get("trace"))
    if scenario.world == "websocket":
        from mpclab.worlds.real.websocket import WebSocketWorld

        return WebSocketWorld(url=url, folder=store, seed=scenario.seed, **options)
    from mpclab.worlds.real.webrtc import WebRTCWorld

    return WebRTCWorld(url=url, folder=store, seed=scenario.seed, **options)


def _read_rooms(node: Any) -> Any:
    rooms = node.machine(("signaling",))
    assert isinstance(rooms, Rooms)
    return rooms.status()
