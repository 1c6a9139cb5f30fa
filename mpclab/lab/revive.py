"""A recorded real run taken on in the simulated world, from any moment of it.

Each party's node is fed what it got, up to that moment, and what it then holds goes on in virtual
time: its session with all below it, its timers, what it stored, and the messages that were on
their way. Signaling and links stay behind: in the future that begins here every pair is linked.
Coins are new from there on and others in each copy, and nonces of a signature in the middle are
drawn again: the keys are real, and nonces that went into two signatures give them away. Within a
copy coins are seeded, and its own branches repeat them: their signatures are not to be given out.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from itertools import islice
from typing import Any

from mpclab.coordinator.session import Session
from mpclab.core import notes
from mpclab.core.effects import Effect, Persist, Send, SetTimer
from mpclab.core.errors import UsageError
from mpclab.core.ids import SERVER, Party, Path, format_duration
from mpclab.core.node import Node
from mpclab.core.rounds import Copied
from mpclab.core.wire import Frame
from mpclab.lab.journal import Place
from mpclab.lab.kin import Kin
from mpclab.lab.scenario import Scenario
from mpclab.mpc.nonces import PrepareNonces
from mpclab.mpc.roast import Roast
from mpclab.mpc.sign import Sign
from mpclab.trace.flights import flights
from mpclab.trace.fold import CRASHED, LEFT, PAUSED, fold
from mpclab.trace.log import Trace
from mpclab.trace.rows import WORLD, Delivered, Noted, Row
from mpclab.worlds.recording import Recording, relive
from mpclab.worlds.simulated import SimulatedWorld


def twin(real: Kin) -> Scenario:
    """The scenario of the simulated lab in which a real one goes on."""
    return real.scenario.but(world="simulated", mesh="ready", operations=(), faults=())


def revive(
    real: Kin,
    made: Kin,
    at: Place | int | None,
    before: int | None = None,
    after: int | None = None,
) -> None:
    """Let the parties of `made`, a new lab of `twin(real)`, hold what those of `real` held at `at`
    (µs; None: now), or just before or after a row of the trace was written.

    Raises:
        UsageError: nothing was recorded, a recording ended before, or a party had not joined yet.
    """
    recordings: dict[Party, list[Recording]] = getattr(real.world, "recordings", {})
    if not getattr(real.world, "record", False):
        raise UsageError(
            "only a simulated lab can be copied as it is; a real one that was made with "
            "record=True goes on in a simulated copy"
        )
    number = after if before is None else before
    if number is not None:
        row = next(islice(real.trace, number, None), None)
        if row is None:
            raise UsageError(f"row {number}: the trace has the rows 0 to {len(real.trace) - 1}")
        at = row.at if after is not None else _began(recordings.get(row.actor, ()), row.at) - 1
    now = at if isinstance(at, int) else real.now if at is None else at.at
    prefix = _rows_until(real.trace, _next_step(recordings, now))
    state = fold(prefix)
    world, group = made.world, made.group
    assert isinstance(world, SimulatedWorld)
    for row in prefix:
        if type(row) is Delivered:
            world.trace.delivered(row.at, row.actor, row.sender, row.id)
        else:
            world.trace.append(row)
    world.reach(0, now)
    world.salt = f" {secrets.token_hex(16)}"
    group.given = dict(real.group.identities)
    group.votes, group.private = dict(real.group.votes), dict(real.group.private)
    frames: dict[tuple[Party, int], Frame] = {}
    for party in real.group.everyone:
        life = state.parties[party].life if party in state.parties else LEFT
        recording = _living(recordings.get(party, ()), now)
        if recording is None or life == LEFT:
            continue
        if recording.full:
            raise UsageError(f"the recording of party {party} was full before")
        number = recordings[party].index(recording)
        node, wanted = relive(recording, real.group.incarnations[party][number], now)
        if node.machine(group.app) is None:
            raise UsageError(
                f"party {party} was not in its session yet at {format_duration(now)}; "
                "fork at a later time"
            )
        frames.update(_sent(party, wanted))
        group.identity(party)
        background = {(e.path, e.name) for e in wanted if type(e) is SetTimer and e.background}
        part = node.part(group.app, world.seeded(party))
        disk = _disk(recording, wanted, group.app)
        world.take_over(party, group.builder(party), part, background, disk)
        group.arrived(party)
        for path in _with_nonces(part, group.app):
            world.ask(party, path, Copied())
        if life == CRASHED:
            world.crash(party)
        elif life == PAUSED:
            world.pause(party)
    for flight in flights(world.trace):
        frame = frames.get((flight.sender, flight.id))
        if flight.fate == "flying" and frame is not None and _is_of(flight.path, group.app):
            world.carry(flight.sender, frame, flight.receiver)
    world.trace.append(
        Noted(now, WORLD, (), notes.Remark("simulated from here on; every pair is linked"))
    )


def _with_nonces(node: Node, app: Path) -> list[Path]:
    """Who may hold nonces in a session."""
    session = node.machine(app)
    running = session.executor.running if isinstance(session, Session) else ()
    paths = [(*app, child) for child in running]
    return [p for p in paths if isinstance(node.machine(p), PrepareNonces | Roast | Sign)]


def _disk(
    recording: Recording, wanted: Iterable[Effect], app: Path
) -> dict[Path, dict[str, bytes]]:
    """What a party had stored by then, at and below `app`."""
    found = {path: dict(items) for path, items in recording.stored.items()}
    for effect in wanted:
        if type(effect) is Persist:
            items = found.setdefault(effect.path, {})
            if effect.value is None:
                items.pop(effect.key, None)
            else:
                items[effect.key] = effect.value
    return {path: items for path, items in found.items() if path[: len(app)] == app}


def _living(recordings: Iterable[Recording], now: int) -> Recording | None:
    """The incarnation that had begun last by then."""
    begun = [one for one in recordings if one.steps and one.steps[0].now <= now]
    return begun[-1] if begun else None


def _began(recordings: Iterable[Recording], at: int) -> int:
    """When the step began that wrote a row at `at`: a little before, on a real clock."""
    begun = (step.now for one in recordings for step in one.steps if step.now <= at)
    return max(begun, default=at)


def _next_step(recordings: dict[Party, list[Recording]], now: int) -> int | None:
    """When the first step after `now` was taken: rows before it belong to those until then."""
    later = (
        step.now
        for actor, all_of_it in recordings.items()
        for one in all_of_it
        for step in one.steps
        if actor != SERVER and step.now > now
    )
    return min(later, default=None)


def _rows_until(trace: Trace, end: int | None) -> list[Row]:
    return [row for row in trace if end is None or row.at < end]


def _sent(party: Party, wanted: Iterable[Effect]) -> dict[tuple[Party, int], Frame]:
    return {(party, e.frame.id): e.frame for e in wanted if type(e) is Send}


def _is_of(path: Path, app: Path) -> Any:
    return path[: len(app)] == app
