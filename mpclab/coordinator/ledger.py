"""`Ledger`: what one party knows in a session, shared by the parts that the session has.

The first gate writes votes into it, the second what was decided, the executor results; catch-up
and the views read it. Each of them gets the ledger, and none of them another's state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mpclab.coordinator.history import History
from mpclab.coordinator.inventory import Inventory
from mpclab.coordinator.operation import Operation, Status
from mpclab.coordinator.policy import Policy
from mpclab.coordinator.statements import (
    AbortCertificate,
    Certificate,
    Ending,
    Evidence,
    Refusal,
    Value,
    check_proposal,
    value_from_bytes,
    verify_abort,
    verify_certificate,
)
from mpclab.coordinator.succession import Succession
from mpclab.core.ids import Party
from mpclab.crypto.identity import Identity
from mpclab.operations import Known, Operations, Result
from mpclab.operations.proposal import Proposal

REMEMBERED = 256


class Ledger:
    """Operations, their history and results, the members' keys, the clock, the evidence.

    Attributes:
        operations: all that this party has heard of, by id, in the order of hearing.
        pending: those among them that something is still wanted for.
        decided: the ids of those that have ended for good, committed or aborted.
        expired: those that have expired where nothing decides them any more (`direct`, `bracha`).
        results: public results by operation.
        succession: which of several operations' secrets are in use.
        keys: identity keys by party, 32 bytes each, as far as they are known.
        clock: Lamport's.
        broadcasts: proposals and votes are broadcast here; not so where the agreement protocol
            has the vote inside.
        ordered: the agreement protocol says which of two certificates of one operation holds.
    """

    def __init__(
        self,
        session: str,
        policy: Policy,
        identity: Identity,
        keys: dict[Party, bytes],
        kinds: Operations,
    ) -> None:
        self.session = session
        self.policy = policy
        self.identity = identity
        self.keys = dict(keys)
        self.kinds = kinds
        self.me: Party = 0  # known from the start on
        self.broadcasts = True
        self.ordered = False
        self.operations: dict[str, Operation] = {}
        self.pending: dict[str, Operation] = {}
        self.history = History(session)
        self.decided = Inventory()
        self.expired: dict[str, None] = {}
        self.results: dict[str, Result] = {}
        self.succession = Succession(kinds, self.operations, self.results)
        self.evidence: list[Evidence] = []
        self.clock = 0
        self._values: dict[bytes, Value] = {}  # those found valid, the latest

    def undecided(self, by: Party) -> int:
        """How many proposals of `by` wait for their end here."""
        waiting = (Status.OPEN, Status.EXPIRED)
        return sum(o.status in waiting and o.by == by for o in self.pending.values())

    def unheard(self) -> list[Operation]:
        """Operations whose votes are here, and whose proposal is not."""
        return [o for o in self.pending.values() if o.status is Status.UNHEARD]

    def known(self) -> Known:
        """What those who judge or complete a proposal may know."""
        return Known(_Proposals(self.operations), self.results, self.succession.successor)

    # --- what others show -----------------------------------------------------------------

    def verify(self, ending: Ending) -> None:
        """Raise `InvalidStatement` unless `ending` holds, as far as signatures can tell."""
        match ending:
            case Certificate():
                verify_certificate(ending, self.session, self.policy, self.keys)
            case AbortCertificate():
                verify_abort(ending, self.session, self.policy, self.keys, ordered=self.ordered)
            case Refusal():
                check_proposal(ending.signed, self.session, self.keys)

    def value(self, data: bytes) -> Value:
        """The certificate that an agreement protocol carries as `data`, verified.

        Raises:
            InvalidStatement: it is malformed, or does not hold.
        """
        value = self._values.get(data)
        if value is None:
            value = value_from_bytes(data)
            self.verify(value)
            self.remember(data, value)
        return value

    def remember(self, data: bytes, value: Value) -> None:
        """`value` holds; `data` is its bytes."""
        self._values[data] = value
        if len(self._values) > REMEMBERED:
            del self._values[next(iter(self._values))]


class _Proposals(Mapping[str, Proposal]):
    """The proposals that were heard, by id, without a copy of all of them."""

    def __init__(self, operations: Mapping[str, Operation]) -> None:
        self._operations = operations

    def __getitem__(self, op: str) -> Proposal:
        signed = self._operations[op].signed
        if signed is None:
            raise KeyError(op)
        return signed.proposal

    def __iter__(self) -> Iterator[str]:
        return (op for op, o in self._operations.items() if o.signed is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)
