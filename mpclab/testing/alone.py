"""One agreement machine alone: what it says, stores and gives out when it hears something.

For tests that hold a protocol to its paper, sentence by sentence:

    replica = Alone(Pbft, me=2)
    assert replica.hear(1, PbftPrePrepare(0, 1, "a", value)) == [PbftPrepare(0, 1, digest)]
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from mpclab.consensus.agreement import Agreement, Decided, Submit
from mpclab.core.effects import (
    Asked,
    Blame,
    Delivered,
    Effect,
    Event,
    Output,
    Persist,
    Send,
    Started,
)
from mpclab.core.effects import TimerFired as Timer
from mpclab.core.ids import Party
from mpclab.core.node import Node
from mpclab.core.wire import Frame, Message
from mpclab.testing.cluster import AT, IDENTITIES


class Alone:
    """Party `me` of `n`, which runs `protocol`; the test speaks for all others.

    Attributes:
        said: every message that it sent to others, with the receivers, oldest first.
        effects: what its last step did.
        disk: what it has stored.
        decided: what it gave out, in this life.
        blamed: whom it blamed.
    """

    def __init__(
        self,
        protocol: type[Agreement],
        me: Party = 1,
        n: int = 4,
        *,
        stored: Mapping[str, bytes] | None = None,
        **options: Any,
    ) -> None:
        self.protocol, self.me, self.n, self.options = protocol, me, n, options
        self.now = 0
        self.disk = dict(stored or {})
        self.said: list[tuple[tuple[Party, ...], Message]] = []
        self.blamed: list[Party | None] = []
        self.lives = 0
        self._begin()

    def _begin(self) -> None:
        keys = {p: IDENTITIES[p].public for p in range(1, self.n + 1)}
        machine = self.protocol(IDENTITIES[self.me], keys, **self.options)
        self.lives += 1
        coins = random.Random(self.lives)
        self.node = Node(
            self.me, self.n, machine, coins=lambda path: coins, at=AT, stored={AT: self.disk}
        )
        self.decided: list[Decided] = []
        self._step(Started())

    def _step(self, event: Event, dies: int | None = None) -> list[Message]:
        begun = len(self.said)
        self.effects: list[Effect] = self.node.step(event, self.now)[:dies]
        for _, error in self.node.contained:
            raise error
        for effect in self.effects:
            match effect:
                case Send(to, frame):
                    assert frame.msg is not None
                    self.said.append((to, frame.msg))
                case Persist(_, key, None):
                    self.disk.pop(key, None)
                case Persist(_, key, bytes() as value):
                    self.disk[key] = value
                case Output(_, Decided() as decided):
                    self.decided.append(decided)
                case Blame(_, party):
                    self.blamed.append(party)
        return [msg for _, msg in self.said[begun:]]

    # --- what happens to it ---

    def hear(self, sender: Party, *messages: Message) -> list[Message]:
        """Deliver the messages, in order; what it says to others then."""
        said: list[Message] = []
        for msg in messages:
            said += self._step(Delivered(sender, _framed(msg)))
        return said

    def submit(self, op: str, value: bytes) -> list[Message]:
        """Our own user wants `value` decided under `op`."""
        return self.ask(Submit(op, value))

    def ask(self, ask: Any) -> list[Message]:
        """Our own user asks for something; what it says to others then."""
        return self._step(Asked(AT, ask))

    def fire(self, name: str) -> list[Message]:
        """Let the time come for which the timer `name` is set."""
        at = self.node.timers[AT, name]
        self.now = max(self.now, at)
        return self._step(Timer(AT, name))

    def restart(self) -> list[Message]:
        """Crash, and begin again with what is stored; what it says then."""
        begun = len(self.said)
        self._begin()
        return [msg for _, msg in self.said[begun:]]

    def tear(self, sender: Party, msg: Message, after: int) -> list[Message]:
        """Deliver `msg`, crash after so many effects, and begin again; what it says then."""
        self._step(Delivered(sender, _framed(msg)), after)
        return self.restart()

    # --- what it is like ---

    @property
    def machine(self) -> Any:
        """The machine, to look at."""
        return self.node.machine(AT)

    @property
    def log(self) -> list[str]:
        """The operations that it decided, in order."""
        return [d.op for d in self.decided]

    @property
    def timers(self) -> dict[str, int]:
        """The timers that run, and when they fire, µs."""
        return {name: at for (_, name), at in self.node.timers.items()}

    def stored_before_said(self) -> bool:
        """Whether its last step stored all that it stored before it said anything."""
        kinds = [type(e) for e in self.effects if isinstance(e, Persist | Send)]
        return kinds == sorted(kinds, key=lambda kind: kind is Send)


def _framed(msg: Message) -> Frame:
    frame = Frame(0, AT, msg)
    frame.suspect = True  # so that in strict mode a handler that raises has done nothing
    return frame
