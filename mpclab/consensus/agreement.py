"""The interface of every agreement protocol: submit a value, learn what was decided.

A value is opaque bytes (an operation with its certificate of approval). `valid` judges it, a
pure function: an honest party never accepts a value that is not valid (external validity,
Cachin, Kursawe, Petzold and Shoup 2001).

Several values for one operation. An operation may have more than one valid value, for instance
(operation, certificate of approval) and (operation, certificate of abort). A log protocol (raft,
paxos, vr, pbft, hotstuff, chained-hotstuff, hotstuff-2, tendermint, streamlet, bullshark, acs)
orders them all alike and decides the first: `Decided(op, value, index)` comes once, with the value
that got the first place in the log; any later value for `op` is skipped at every party, and takes
no index. So whoever wants an outcome submits its value, and takes what `Decided.value` says, which
may be another's. A second `Submit` for an operation that is open or decided here changes nothing.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeAlias, TypeVar

import msgspec

from mpclab.consensus.options import Options
from mpclab.consensus.quorum import fingerprint
from mpclab.core.ids import Party
from mpclab.core.machine import Machine
from mpclab.core.variants import altered
from mpclab.core.wire import Message
from mpclab.crypto.identity import Identity

Valid: TypeAlias = Callable[[bytes], bool]
Recall: TypeAlias = Callable[[str], bytes | None]
M = TypeVar("M", bound=Message)
Sayings: TypeAlias = list[tuple[tuple[Party, ...], Message]]
"""Messages with their receivers."""
Attack: TypeAlias = Callable[[Any, tuple[Party, ...], Message], Sayings]
"""From a liar's machine and the message that it wants to send to these others, what it says
instead. It may change that machine, which is the liar's own. Liars that use one attack collude:
each plays the part that its place gives it."""


class Submit(msgspec.Struct, frozen=True):
    """Ask: get `value` decided under the operation's id `op`. Any party may; twice is once.

    `rank`: 0 for the party that proposed it. The others submit too when nothing comes of it; the
    k-th in line after the proposer says k, and a protocol in which each submission is costly
    (bracha) lets them have their turns one after the other.
    """

    op: str
    value: bytes
    rank: int = 0


class Oppose(msgspec.Struct, frozen=True):
    """Ask, where everyone submits and the protocol `refuses`: we hold no certificate for `op` and
    will not wait longer.

    Answered, like a `Submit`, by `Decided` or `Refused`.
    """

    op: str
    reason: str


class Decided(msgspec.Struct, frozen=True):
    """Output: everyone's record says `value` for `op`.

    `index` is its place in the log, from 0; None where the protocol orders nothing.
    `approvals` are the signed approvals by party, where the vote was inside (2pc, 3pc).
    Once in each life of a party: after a restart what is known to be decided is told again,
    since the crash may have come before the record was kept.
    """

    op: str
    value: bytes
    index: int | None = None
    approvals: tuple[tuple[Party, bytes], ...] = ()


class Refused(msgspec.Struct, frozen=True):
    """Output: everyone's record says that `op` will not be done.

    `rejected` and `missing`: who voted no and who was silent, where the protocol knows.
    """

    op: str
    reason: str
    rejected: tuple[Party, ...] = ()
    missing: tuple[Party, ...] = ()


class Read(msgspec.Struct, frozen=True):
    """Ask, where the protocol `reads`: when may we say what is decided, so that nothing is missing
    that was decided when this was asked? Answered by `Readable`, or never: who asks has a time-out
    of its own. `read`: a name for it, used once in this life of the party."""

    read: str


class Readable(msgspec.Struct, frozen=True):
    """Output: `read` may be answered now, from the first `places` of the log or more."""

    read: str
    places: int


class Learnt(msgspec.Struct, frozen=True):
    """Ask: this is how an operation of party `by` ended, as enough others say. Never answered.

    A party that was away may hear it from the coordinators before its protocol does. A protocol
    without a log takes it as its own decision, and never announces another one later. A log comes
    to each place by its own means, and may leave it.
    """

    outcome: Decided | Refused
    by: Party


class VoteWanted(msgspec.Struct, frozen=True):
    """Output, where the protocol's own first phase is the vote (2pc, 3pc): answer by `Cast`."""

    op: str
    value: bytes
    by: Party


class Cast(msgspec.Struct, frozen=True):
    """Ask: our vote on `op`. With `approve`, `signature` is our signed approval, 64 bytes."""

    op: str
    approve: bool
    reason: str = ""
    signature: bytes = b""


KEPT = 64
"""Of so many decisions, the latest, a log that `recall`s keeps the values itself.

An older one is left to the caller's record, if that has the very bytes: a record that was learnt
from others may hold another certificate of the same proposal, whose hash is not what parties voted
for. Then, and where nobody keeps a record (a protocol alone), the log goes on keeping it. So what
catches a party up is the log's own proof (a certificate of the newest commit, or f + 1 parties that
say the same) together with the history of the coordinators that tell it.
"""


class Agreement(Machine):
    """Base of the family. Takes `Submit` (`Cast`, `Learnt`, `Read`); outputs `Decided`, `Refused`
    (`Readable`).

    Args:
        identity: this party's signing key, for protocols that sign.
        keys: every member's identity key, 32 bytes each, by party. The caller's own mapping, which
            may still grow as members are introduced.
        valid: the external validity predicate.
        names: the id of the operation that a value is for. With it nobody can get one operation's
            value decided under the id of another, which then could never be decided itself.
        changes: from a value to the parties that it makes the voters, for protocols in which some
            members vote and all follow (`revotes`); () for other values.
        means: what a value says. Two values with one meaning differ in their proofs alone, and a
            protocol without an order may decide the one here and the other there; two meanings
            contradict each other. Without it each value means itself.
        lacks: from an operation and the parties that approve it to what it lacks although they
            are `needed` (somebody whose approval a rule wants), or "". Asked where the vote is
            inside.
        recall: the value that the caller keeps on record as the end of an operation, or None. A log
            asks for old values instead of keeping them as well (`KEPT`).
        session: the session's id, which signatures are bound to.
        needed: how many approvals commit, where the vote is inside; all, unless told otherwise.
        options: what this protocol lets a user set, an `options_type`.
        settings: single options by name, over `options`: `patience=500 * MS`.
    """

    title: ClassVar[str] = ""
    options_type: ClassVar[type[Options]] = Options
    """The class of the user's settings, which reads, writes and lists them (`registry.options`)."""
    votes_inside: ClassVar[bool] = False
    """The first phase is the vote: submit at once and answer `VoteWanted`."""
    everyone_submits: ClassVar[bool] = False
    """Every party submits as soon as it can (direct, ben-or), or opposes (ben-or). Otherwise the
    proposer submits, and others only when that comes to nothing."""

    orders: ClassVar[bool] = False
    """Decides in the order of a log, each operation at a place of its own, and whatever valid
    value of an operation comes first is the only one. So it can also carry the certificate that
    an operation is aborted."""
    exclusive: ClassVar[bool] = False
    """Never decides two meanings of one operation, at whichever parties, though it may decide
    neither where values contradict each other. So it can carry a certificate of abort as well,
    without an order."""
    refuses: ClassVar[bool] = False
    """Decides itself that an operation will not be done, and says `Refused` everywhere. Where an
    operation is neither ordered nor refused, nobody can promise that it will not be committed."""

    synchronous: ClassVar[bool] = False
    """Its promises hold only while every message arrives in time, by clocks that agree: a cut, a
    loss or a delay beyond what it is told breaks them, and not only its progress. What tries
    protocols at random keeps this promise about the network for it."""
    reads: ClassVar[bool] = False
    """Answers `Read`: says when everything that was decided before it is decided here."""
    revotes: ClassVar[bool] = False
    """Has voters that an operation can change."""

    @classmethod
    def liars(cls, n: int) -> int:
        """How many of `n` parties may lie, and not only crash, without harm to the others.

        A party that catches up believes a record that one more than these tell alike.
        """
        return (n - 1) // 3

    def __init__(
        self,
        identity: Identity,
        keys: Mapping[Party, bytes],
        *,
        valid: Valid = lambda value: True,
        session: str = "",
        needed: int | None = None,
        names: Callable[[bytes], str] | None = None,
        changes: Callable[[bytes], tuple[Party, ...]] = lambda value: (),
        means: Callable[[bytes], bytes] = fingerprint,
        lacks: Callable[[str, Iterable[Party]], str] = lambda op, approving: "",
        recall: Recall = lambda op: None,
        options: Options | None = None,
        **settings: Any,
    ) -> None:
        self.identity = identity
        self.keys = keys
        self.valid = valid
        self.options = dataclasses.replace(options or self.options_type(), **settings)
        self.patience = self.options.patience
        self.session = session
        self.needed = needed
        self.names = names
        self.changes = changes
        self.means = means
        self.lacks = lacks
        self.recall = recall

    def fits(self, op: str, value: bytes) -> bool:
        """Whether `value` may be decided under the id `op`."""
        return self.valid(value) and (self.names is None or self.names(value) == op)

    @classmethod
    def check_size(cls, n: int) -> None:
        """Raise `UsageError` when `n` parties are too few for this protocol."""

    # --- lies, for adversaries alone --------------------------------------------------------

    attacks: ClassVar[Mapping[str, Attack]] = {}
    """Known attacks on this protocol, by name: scripts of a liar's machine."""
    unvaried: ClassVar[tuple[type[Message], ...]] = ()
    """Messages that cannot be said otherwise: certificates of others' signatures, and questions.
    `variant` gives None for them, always."""

    def variant(self, msg: Message, values: Mapping[bytes, bytes]) -> Message | None:
        """For adversaries alone: what this party could have said instead of `msg`, so that it
        passes at honest parties (well formed, and signed by us where messages are signed).

        A protocol overrides it for each message that holds a digest or a signature. The same
        arguments always give the same answer, so that a party which tells another story tells
        the *same* other story in all its messages.

        Args:
            msg: a message of this machine.
            values: for each value of our own operations, another one that is valid too; may be
                empty.

        Returns:
            None when there is nothing else to say.
        """
        if isinstance(msg, self.unvaried):
            return None
        others = {**values, **{fingerprint(v): fingerprint(w) for v, w in values.items()}}
        return with_values(msg, others) or altered(msg)

    def resigned(self, msg: Message) -> Message:
        """For adversaries alone: `msg`, in which something was changed, signed by us again where
        it holds our signature."""
        return msg


def with_values(msg: M, instead: Mapping[bytes, bytes]) -> M | None:
    """`msg` with something else where a field holds what `instead` names; None where none does."""
    changed = {
        name: instead[old]
        for name in msg.__struct_fields__
        if isinstance(old := getattr(msg, name), bytes) and old in instead
    }
    return msgspec.structs.replace(msg, **changed) if changed else None


def flipped(data: bytes) -> bytes:
    """Other bytes of the same length."""
    return bytes([data[0] ^ 1]) + data[1:] if data else b"\x01"
