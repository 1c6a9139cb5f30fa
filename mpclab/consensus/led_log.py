"""The base of logs with a leader (`paxos`, `vr`): what they owe to their users, whoever leads.

None of this is needed for safety. What a user wants is handed to the leader and said again, a
leader that is gone is noticed by a timer, and who lacks something that is decided asks for it.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mpclab.consensus.agreement import Agreement, Submit
from mpclab.consensus.backlog import Backlog
from mpclab.consensus.decided_log import Command, DecidedLog, next_command
from mpclab.consensus.options import Options, count, duration
from mpclab.consensus.quorum import majority
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message


@dataclass(frozen=True, kw_only=True)
class LedOptions(Options):
    """The settings of a log with a leader."""

    election_timeout: int | None = duration(
        None, "the least time without a leader before another takes over; at random up to twice "
        "that; half of the patience unless set",
    )  # fmt: skip
    heartbeat: int | None = duration(
        None, "between two heartbeats; a quarter of the election timeout unless set"
    )
    window: int = count(8, "how many places a leader may be ahead of what is decided", most=64)
    batch: int = count(16, "operations in one place, at most", most=256)

    @property
    def timeout(self) -> int:
        """The least election timeout, µs."""
        return self.patience // 2 if self.election_timeout is None else self.election_timeout

    @property
    def beat(self) -> int:
        """Between two heartbeats, µs."""
        return self.timeout // 4 if self.heartbeat is None else self.heartbeat


class LedLog(Agreement):
    """A party that wants operations decided, and knows who leads."""

    orders = True
    options_type = LedOptions
    options: LedOptions
    archives = frozenset({"chosen", "old"})

    OPEN: ClassVar = 256
    """Undecided operations that we keep for others."""
    TRIES: ClassVar = 8
    """Attempts at an operation before we count it as blocked."""
    MOST_BACKOFF: ClassVar = 8
    """How often an election timeout is doubled at most, as a factor."""

    quorum: int
    """f + 1 of 2f + 1: a majority."""
    log: DecidedLog
    """What we know to be decided: all before the first place that we do not know."""
    leader: Party
    """Who leads or tries to, as far as we know; 0 is nobody."""
    backoff: int
    """The factor of our election timeouts."""
    fruitless: int
    """How often we asked the leader for something since we last learnt a decision."""
    asked: tuple[int, int]
    """From which place on we last asked for decisions, and when, µs."""
    watching: bool
    """The retry timer is set."""
    backlog: Backlog

    @classmethod
    def liars(cls, n: int) -> int:
        return 0

    def begin(self, ctx: Ctx) -> None:
        """Start, with what is stored."""
        self.quorum = majority(ctx.n)
        self.log = DecidedLog(self.recall)
        self.backlog = Backlog(self.TRIES)
        self.leader, self.backoff, self.fruitless = 0, 1, 0
        self.asked, self.watching = (-1, 0), False
        for command in self.log.recover(ctx.stored):
            self.decide(ctx, command)

    # --- what a protocol says of itself -------------------------------------------------------

    @abstractmethod
    def request(self, op: str, value: bytes) -> Message:
        """What asks a leader for an operation."""

    @abstractmethod
    def question(self, first: int) -> Message:
        """What asks for the decisions from place `first` on."""

    @property
    @abstractmethod
    def leads(self) -> bool:
        """Whether we do."""

    @property
    @abstractmethod
    def waiting(self) -> list[Command]:
        """As the leader: what we proposed and is not decided."""

    @property
    @abstractmethod
    def is_settled(self) -> bool:
        """Whether nothing is wanted, or on its way, that we know of."""

    @abstractmethod
    def propose(self, ctx: Ctx) -> None:
        """As the leader: give places to what is pending."""

    @abstractmethod
    def take_over(self, ctx: Ctx) -> None:
        """Try to have another leader, or to become it."""

    @abstractmethod
    def say_again(self, ctx: Ctx) -> None:
        """What may have been lost of what we said last. Also to those who answered, so that we hear
        who is there."""

    # --- who leads ----------------------------------------------------------------------------

    def wait(self, ctx: Ctx) -> None:
        """Restart the election timer, with a random timeout."""
        least = self.options.timeout
        timeout = self.backoff * (least + ctx.rng.randrange(least + 1))
        idle = self.is_settled or self.backlog.is_hopeless
        ctx.set_timer("election", timeout, background=idle)

    def wait_longer(self) -> None:
        """Too few answered in time: the timeout is too short."""
        self.backoff = min(2 * self.backoff, self.MOST_BACKOFF)

    # --- requests -----------------------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value) if op and self.fits(op, value):
                self._want(ctx, op, value, own=True)

    def take_request(self, ctx: Ctx, op: str, value: bytes) -> None:
        """Somebody takes us for the leader."""
        if not op or not self.fits(op, value):
            raise PeerFault(f"requested a value of {op!r} that is not valid")
        if len(self.backlog.pending) < self.OPEN:
            self._want(ctx, op, value)

    def _want(self, ctx: Ctx, op: str, value: bytes, *, own: bool = False) -> None:
        new = op not in self.backlog.pending
        if self.backlog.add(op, value, own=own) and new:  # else two could send it to and fro
            self.watch(ctx)
            self.push(ctx, op)

    def push(self, ctx: Ctx, only: str = "") -> None:
        """Have our pending operations proposed, by us or by the leader; where there is none yet,
        take over."""
        if self.leads:
            self.propose(ctx)
        elif self.leader not in (0, ctx.me):
            for op, value in self.backlog.pending.items():
                if only in ("", op):
                    ctx.send(self.leader, self.request(op, value))
        elif not self.leader and self.backlog.pending:
            self.take_over(ctx)

    def push_again(self, ctx: Ctx) -> None:
        """As a follower: ask the leader once more; after 8, 16, 32, … times in vain it is heard,
        and leads nowhere."""
        self.fruitless += 1
        if self.fruitless >= self.TRIES and self.fruitless & (self.fruitless - 1) == 0:
            self.take_over(ctx)
        else:
            self.push(ctx)

    def new_command(self) -> Command:
        """The operations that have waited longest and stand in no place yet."""
        ops = {op for command in self.waiting for op, _ in command}
        return next_command(self.backlog.pending, ops, self.options.batch)

    def check(self, command: Command) -> None:
        """Raise `PeerFault` for a command that nobody may propose."""
        if len(dict(command)) != len(command):
            raise PeerFault("proposed an operation twice in one command")
        for op, value in command:
            if not op or not self.fits(op, value):
                raise PeerFault(f"proposed a value of {op!r} that is not valid")

    # --- saying it again ----------------------------------------------------------------------

    def watch(self, ctx: Ctx) -> None:
        """While something is wanted or proposed: say it again, now and then."""
        if not self.watching and (self.backlog.pending or self.waiting):
            self.watching = True
            hopeless = self.backlog.is_hopeless
            alive = bool(self.backlog.pending) and not hopeless
            ctx.set_timer("retry", self.options.timeout, background=hopeless, foreground=alive)

    def retry(self, ctx: Ctx) -> None:
        """The retry timer rings."""
        self.watching = False
        if self.backlog.pending:
            self.backlog.attempt(ctx, f"no majority of {self.quorum} has accepted it")
        self.say_again(ctx)
        self.watch(ctx)

    # --- what is decided ----------------------------------------------------------------------

    def decide(self, ctx: Ctx, command: Command) -> None:
        """The next place holds it, and that is stored."""
        self.fruitless = 0
        for op, value in command:
            self.backlog.decide(ctx, op, value)  # once: it may stand in two places
        if self.watching and not (self.backlog.pending or self.waiting):
            self.watching = False
            ctx.cancel_timer("retry")

    def learn_from(self, ctx: Ctx, party: Party) -> None:
        """Ask for what we lack; again when nothing of it came in time."""
        first, at = self.asked
        if first != len(self.log) or ctx.now - at >= self.options.timeout:
            self.asked = len(self.log), ctx.now
            ctx.send(party, self.question(len(self.log)))


def retold(command: Command, values: Mapping[bytes, bytes]) -> Command:
    """For adversaries alone: the command with other values; where there are none, one operation
    less."""
    other = tuple((op, values.get(value, value)) for op, value in command)
    return other if other != command else command[1:]
