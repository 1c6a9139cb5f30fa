"""Clients outside the group: they ask a party, and each call ends ok, failed or unknown.

That is how Jepsen sees a system: an operation is invoked at one time and returns at another, and
one that timed out may have happened, may still happen, or never will. A client's request and the
answer travel as the scenario's network has it, for as long as its rule says, and may be lost; the
party that it asks may be down, or go down before it answers. Nothing of a client runs at a party.
Among real parties a request takes no socket of its own: the lab hands it over and reads the answer
in the trace, which the parties here write, in this process or in their own; only what they say to
each other is on the network.

* `failed`: it did not happen and never will: it was aborted, or refused.
* `ok`: it is in the history of the party that answered, or, of a read, this is what is there.
* `unknown`: no answer within the client's time-out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from mpclab.coordinator.messages import Propose, ReadHistory
from mpclab.core import notes
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, Party, Path
from mpclab.faults import draws
from mpclab.lab.scenario import Scenario
from mpclab.operations.proposal import operation_id
from mpclab.trace.calls import READ
from mpclab.trace.rows import WORLD, Noted
from mpclab.worlds.base import World

LOOK = 2 * MS
"""How often it is looked whether a party has answered."""


class Asked(Protocol):
    """A session's parties, as far as their clients care: see `mpclab.lab.group`."""

    world: World
    scenario: Scenario
    base: int
    app: Path

    @property
    def called(self) -> str:
        """The session's id."""


@dataclass(slots=True)
class Call:
    """One call under way. `op`: the operation's id, or the read's name."""

    client: int
    number: int
    party: Party
    op: str
    seen: int = 0  # rows of the trace that were looked through
    over: bool = False
    answered: bool = False


class Clients:
    """The clients of one session.

    Args:
        group: whose parties they ask.
    """

    def __init__(self, group: Asked) -> None:
        self.group = group
        self.made: dict[int, int] = {}  # calls, by client
        self.open: set[tuple[int, int]] = set()
        """The calls that have not ended: whose, and which."""

    @property
    def idle(self) -> bool:
        """Whether every call has ended."""
        return not self.open

    def call(
        self, client: int, party: Party, kind: str, params: Mapping[str, Any], timeout: int
    ) -> None:
        """Let `client` ask `party` for an operation, or to read; it waits for `timeout` µs."""
        world, s = self.group.world, self.group.scenario
        number = self.made[client] = self.made.get(client, 0) + 1
        attempt = f"client {client}.{number}"
        op = attempt if kind == READ else operation_id(s.session, party, attempt)
        call = Call(client, number, party, op, seen=len(world.trace.rows))
        text = str(next(iter(params.values()), "")) if kind != READ else ""
        self._note(notes.Invoked(client, number, party, kind, op, text))
        self.open.add((client, number))
        ask = ReadHistory(op) if kind == READ else Propose(kind, dict(params), attempt, s.patience)
        world.at(world.now + timeout, partial(self._end, call, "unknown", "no answer in time"))
        self._travel(call, "there", partial(self._arrive, call, ask))

    def _travel(self, call: Call, way: str, then: Callable[[], None]) -> None:
        """Let a request or an answer be on its way, or be lost."""
        world, s = self.group.world, self.group.scenario
        delay = 0
        if world.name == "simulated":  # real ones have a network of their own
            key = draws.key(s.seed, "client", call.client, call.number, way)
            if draws.uniform(key, 1) < s.network.loss:
                return
            delay = s.network.delay.sample(key, 0)
        world.at(world.now + delay, then)

    def _arrive(self, call: Call, ask: Any) -> None:
        group = self.group
        actor = group.base + call.party
        if call.over or actor not in group.world.actors:
            return
        try:
            group.world.ask(actor, group.app, ask)
        except UsageError as error:
            self._travel(call, "back", partial(self._end, call, "failed", str(error)))
            return
        self._look(call)

    def _look(self, call: Call) -> None:
        """Has the party answered, or gone down with the call?"""
        world = self.group.world
        rows, actor = world.trace.rows, self.group.base + call.party
        while call.seen < len(rows) and not call.answered:
            row = rows[call.seen]
            call.seen += 1
            if type(row) is not Noted or row.actor != actor:
                continue
            match row.note:
                case notes.Crashed() if not row.path:
                    call.answered = True  # with its connection: nobody tells
                case notes.ReadAnswered(read, records, last) if read == call.op:
                    self._answer(call, "ok", "", records, last)
                case notes.Executed(op, result) if op == call.op:
                    self._answer(call, "ok", result)
                case notes.Failed(op, reason) if op == call.op:
                    self._answer(call, "ok", f"committed, and failed: {reason}")
                case notes.Aborted(op, reason) if op == call.op:
                    self._answer(call, "failed", reason)
        if not (call.answered or call.over):
            world.at(world.now + LOOK, partial(self._look, call))

    def _answer(self, call: Call, end: str, text: str, records: int = 0, last: str = "") -> None:
        call.answered = True
        self._travel(call, "back", partial(self._end, call, end, text, records, last))

    def _end(self, call: Call, end: str, text: str, records: int = 0, last: str = "") -> None:
        if not call.over:
            call.over = True
            self._note(notes.Returned(call.client, call.number, call.op, end, text, records, last))
            self.open.discard((call.client, call.number))

    def _note(self, note: notes.AnyNote) -> None:
        world = self.group.world
        path = (self.group.called,) if self.group.base else ()
        world.trace.append(Noted(world.now, WORLD, path, note))
