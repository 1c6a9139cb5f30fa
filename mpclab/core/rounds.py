"""`RoundMachine`: lockstep protocols, the shape of most MPC.

In round k every participant sends one message of type `rounds[k]` to all, or a different one
to each; a round ends when a valid message from every participant is here, and then the next
begins. The base class owns what every such protocol needs: messages of the next round that
come early, lost ones (whoever lacks some asks again), duplicates, contradictions, one deadline for
each round, and the list of the missing.
(Compare `internal/round` of multi-party-sig; here a round is two methods, not a class.)
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from mpclab.core import notes
from mpclab.core.errors import MachineError, PeerFault, Strength
from mpclab.core.ids import SECOND, Party
from mpclab.core.machine import HANDLERS, Ctx, Machine
from mpclab.core.slips import check_handlers
from mpclab.core.wire import Message

R = TypeVar("R")


class Finished(msgspec.Struct, Generic[R], frozen=True):
    """The protocol is done; `result` is the machine's answer."""

    result: R


class Aborted(msgspec.Struct, frozen=True):
    """The protocol ended without a result: who is missing, who is to blame, and why."""

    reason: str
    missing: tuple[Party, ...] = ()
    blamed: tuple[Party, ...] = ()


class Ready(msgspec.Struct, frozen=True):
    """A report to our parent: we could bind ourselves now. Its ask `Proceed` lets us do it.

    `holders`: who would hold a share of the result.
    """

    holders: tuple[Party, ...] = ()


class Proceed(msgspec.Struct, frozen=True):
    """The parent's answer to `Ready`; it may never come."""


class Stored(msgspec.Struct, frozen=True):
    """The parent has stored our result: what only a restart needed may go."""


class Copied(msgspec.Struct, frozen=True):
    """The parent's word that somebody has a copy of us, who goes another way: what was drawn to be
    used once is to be used no more."""


class Again(Message, frozen=True):
    """What did you say in this round? It did not reach me."""

    round: int


_WANTED = {
    "produce": "it gives our message of round k: produce(self, ctx, k)",
    "result": "it gives the answer after the last round: result(self, ctx)",
}

AGAIN = 12
"""How often within a round's deadline the missing are asked again."""


class RoundMachine(Machine):
    """Subclass with `rounds = (Commitment, Reveal)`, `produce`, `check` and `result`.

    Args:
        participants: those that take part; all members by default.
        deadline: microseconds that each round may take.

    With `stores = True` what we say in a round is stored before it is sent, and said again to the
    letter after a restart: for protocols in which two different words convict their author. What
    is stored must not be a secret.
    """

    stores: ClassVar[bool] = False
    rounds: ClassVar[tuple[type[Message], ...]] = ()

    def __init__(
        self, participants: tuple[Party, ...] | None = None, deadline: int = 10 * SECOND
    ) -> None:
        self.decode()  # a class without rounds hears of it here
        self.participants = participants or ()
        self.deadline = deadline
        self.round = 0
        self.received: list[dict[Party, Any]] = [{} for _ in self.rounds]
        self.said: list[Message | Mapping[Party, Message] | None] = []
        self.outcome: Finished[Any] | Aborted | None = None

    # --- what a protocol says of itself ---

    def produce(self, ctx: Ctx, k: int) -> Message | Mapping[Party, Message] | None:
        """Our message of round `k`: one for all, or one for each; None to stay silent."""
        raise NotImplementedError

    def check(self, ctx: Ctx, k: int, sender: Party, msg: Any) -> None:
        """Raise `PeerFault` when `msg` is wrong. Called when round `k` has begun."""

    def result(self, ctx: Ctx) -> Any:
        """The answer, once the last round is complete. `PeerFault` aborts and blames."""
        raise NotImplementedError

    def on_fault(self, ctx: Ctx, fault: PeerFault, sender: Party) -> None:
        """Handle a wrong message: by default the protocol ends, and its sender is named."""
        party = sender if fault.party is None else fault.party
        ctx.blame(party, fault.reason, fault.strength)
        self._end(ctx, Aborted(f"party {party}: {fault.reason}", blamed=(party,)))

    # --- the machinery ---

    @classmethod
    def _check_class(cls) -> None:
        super()._check_class()
        check_handlers(cls, RoundMachine, ("produce", "check", "result", "on_fault", *HANDLERS))
        name, rounds = cls.__name__, typing.cast(Any, cls.rounds)
        if not isinstance(rounds, tuple) or not rounds:
            raise MachineError(
                f"{name}.rounds is {rounds!r}; name the message class of each round in a tuple, "
                f"as in rounds = (Commitment, Reveal), or rounds = (Vote,) for a single one"
            )
        if len(set(rounds)) < len(rounds):
            raise MachineError(f"{name}.rounds names a class twice; give each round its own")
        for method in ("produce", "result"):
            if getattr(cls, method) is getattr(RoundMachine, method):
                raise MachineError(f"{name} has no {method}; {_WANTED[method]}")

    @classmethod
    def _message_types(cls) -> Any:
        types: Any = cls.rounds[0]
        for other in (*cls.rounds[1:], Again):
            types = types | other
        return types

    def start(self, ctx: Ctx) -> None:
        if not hasattr(self, "received"):
            raise MachineError(
                f"{type(self).__name__}.__init__ never calls super().__init__(), which counts the "
                f"rounds; call it first"
            )
        if not self.participants:
            self.participants = ctx.members
        if ctx.me in self.participants:
            self._begin(ctx)

    def on_message(self, ctx: Ctx, sender: Party, msg: Any) -> None:
        if isinstance(msg, Again):
            self._repeat(ctx, sender, msg.round)
            return
        if self.outcome is not None:
            return
        if sender not in self.participants:
            raise PeerFault(f"{type(msg).__name__} from a party that does not take part")
        k = self.rounds.index(type(msg))
        if (known := self.received[k].get(sender)) is not None:
            if known == msg:
                return
            self.on_fault(
                ctx,
                PeerFault(f"sent two different {type(msg).__name__}s", strength=Strength.KNOWN),
                sender,
            )
            return
        if k > self.round + 1 and not self.stores:  # a restarted party may be that far behind
            raise PeerFault(f"{type(msg).__name__} two rounds early")
        if k == self.round and not self._passes(ctx, k, sender, msg):
            return
        self.received[k][sender] = msg
        if k == self.round:
            self._advance(ctx)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        if self.outcome is not None:
            return
        got = self.received[self.round]
        missing = tuple(p for p in self.participants if p not in got)
        if name == "again":
            ctx.set_timer("again", self.deadline // AGAIN)
            ctx.multicast([p for p in missing if p != ctx.me], Again(self.round))
        elif name == "deadline":
            what = self.rounds[self.round].__name__
            self._end(ctx, Aborted(f"no {what} from {_names(missing)} in time", missing=missing))

    def _repeat(self, ctx: Ctx, sender: Party, k: int) -> None:
        """Say again what we said in round `k`; who is done may be asked as well."""
        if sender not in self.participants or not 0 <= k < len(self.said):
            return
        said = self.said[k]
        msg = said.get(sender) if isinstance(said, Mapping) else said
        if msg is not None:
            ctx.send(sender, msg)

    def _passes(self, ctx: Ctx, k: int, sender: Party, msg: Any) -> bool:
        try:
            self.check(ctx, k, sender, msg)
        except PeerFault as fault:
            self.on_fault(ctx, fault, sender)
            return False
        return True

    def _begin(self, ctx: Ctx) -> None:
        ctx.set_timer("deadline", self.deadline)
        ctx.note(notes.Round(round=self.round + 1, of=len(self.rounds)))
        ctx.set_timer("again", self.deadline // AGAIN)
        mine = self._word(ctx, self.round)
        wanted = self.rounds[self.round]
        for one in mine.values() if isinstance(mine, Mapping) else (mine,):
            if one is not None and type(one) is not wanted:
                raise MachineError(
                    f"{type(self).__name__}.produce gives {one!r:.80} in round {self.round}; that "
                    f"round sends {wanted.__name__}"
                )
        self.said.append(mine)
        if isinstance(mine, Mapping):
            for party, msg in mine.items():
                ctx.send(party, msg)
        elif mine is not None:
            ctx.multicast(self.participants, mine)

    def _word(self, ctx: Ctx, k: int) -> Message | Mapping[Party, Message] | None:
        """Our message of round k, now or as sent in an earlier incarnation."""
        if not self.stores:
            return self.produce(ctx, k)
        if (data := ctx.stored.get(f"said/{k}")) is not None:
            return type(self).decode()(data)
        mine = self.produce(ctx, k)
        if not isinstance(mine, Message):
            raise MachineError(f"{type(self).__name__} stores what it says: one message for all")
        ctx.persist(f"said/{k}", msgspec.msgpack.encode(mine))
        return mine

    def _advance(self, ctx: Ctx) -> None:
        while self.outcome is None and len(self.received[self.round]) == len(self.participants):
            if self.round + 1 == len(self.rounds):
                try:
                    self._end(ctx, Finished(self.result(ctx)))
                except PeerFault as fault:
                    self.on_fault(ctx, fault, ctx.me)
                return
            self.round += 1
            self._begin(ctx)
            early = self.received[self.round]
            for sender in [p for p in self.participants if p in early]:
                if not self._passes(ctx, self.round, sender, early[sender]):
                    del early[sender]

    def _end(self, ctx: Ctx, outcome: Finished[Any] | Aborted) -> None:
        if self.outcome is None:
            self.outcome = outcome
            ctx.cancel_timer("deadline")
            ctx.cancel_timer("again")
            ctx.output(outcome)


def _names(parties: tuple[Party, ...]) -> str:
    return f"part{'y' if len(parties) == 1 else 'ies'} {', '.join(map(str, parties))}"
