"""Specifications of operations: from a kind to its parameters, its sentence and its executor.

    def dice(execution: Execution) -> Machine:
        return Dice(sides=execution.params["sides"])        # a RoundMachine of your own

    parameters = (Number("sides", low=2),)
    mpclab.register(OperationSpec("dice", dice, parameters, "throw a die of {sides}"))

`make` gets an `Execution`, which holds all that an executor may need and nothing of the session's
state, and answers with a machine (a child of the session at every party, whose output
`Finished(result)` or `Aborted(…)` ends the operation) or, where there is nothing to compute, with
the result's text.

An executor that was running when its party crashed is not started again, for most would then
contradict what they said before the crash; the operation has failed at that party, until `t` others
report the same result (fewer than `t` parties are assumed to lie, so one of them is honest). A
kind whose executor takes up its work from `ctx.stored` says `resumable=True`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol, TypeAlias

import msgspec

from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import SECOND, Party
from mpclab.core.machine import Machine
from mpclab.core.registry import Later, Registry
from mpclab.crypto.identity import Identity
from mpclab.crypto.transcript import digest
from mpclab.operations.key_rules import RuleBooks, rules_of
from mpclab.operations.parameters import Parameter, Reference
from mpclab.operations.proposal import Params, Proposal, Value
from mpclab.operations.rules import Rules

# --- what an executor gets ----------------------------------------------------------------


class Result(msgspec.Struct, frozen=True):
    """An executor's result, where text alone does not do.

    Attributes:
        text: for readers, the same at all parties.
        data: public bytes for later operations (a public key, say), the same at all parties.
        secret: this party's own (a key share, sealed): stored, and given to later executors as
            `Execution.secrets[op]`; never shown, traced or sent.
        fleeting: this party's own for as long as it is up, given to later executors as
            `Execution.fleeting[op]`: never stored either, and gone after a crash.
    """

    text: str
    data: bytes = b""
    secret: bytes = b""
    fleeting: Any = None

    def __repr__(self) -> str:
        hidden = ", secret=…" if self.secret else ""
        return f"Result({self.text!r}, data={self.data!r}{hidden})"


@dataclass(frozen=True, slots=True)
class Execution:
    """All that the executor of one committed operation may need.

    Attributes:
        op: the operation's id. `context` is the hash of its whole proposal: put it into every
            hash and signature, so that none of them means anything elsewhere.
        t: shares needed, of `n`; `members` is `(1, …, n)`.
        params: the operation's parameters by name, defaults filled in.
        keys: identity keys by party.
        results: of earlier operations, by id. `secrets` are this party's own of them, as long
            as they are not retired.
        private: this party's own numbers, for computations whose input they fit.
        deadline: µs that one round may take.
        fleeting: what earlier operations left in this party's memory, by id.
        approving: the parties whose approvals are known to have committed it.
        followed: the operations that `params` name in place of those in the proposal, whose
            secrets they replaced (`OperationSpec.follows`); part of the context.
    """

    session: str
    op: str
    proposal: Proposal
    params: Mapping[str, Any]
    me: Party
    n: int
    t: int
    identity: Identity = field(repr=False)
    keys: Mapping[Party, bytes]
    results: Mapping[str, Result]
    secrets: Mapping[str, bytes] = field(repr=False)
    private: tuple[int | Decimal, ...] = field(repr=False, default=())
    deadline: int = 10 * SECOND
    fleeting: Mapping[str, Any] = field(repr=False, default_factory=dict)
    approving: tuple[Party, ...] = ()
    followed: tuple[str, ...] = ()

    @property
    def context(self) -> bytes:
        if not self.followed:
            return self.proposal.hash
        return digest("mpclab execution with successors", self.proposal.hash, self.followed)

    @property
    def members(self) -> tuple[Party, ...]:
        return tuple(range(1, self.n + 1))


@dataclass(frozen=True, slots=True)
class Known:
    """The knowledge of a party that judges a proposal by the vote policy "validate"."""

    proposals: Mapping[str, Proposal]
    results: Mapping[str, Result]
    successor: Callable[[str], str | None] = lambda op: None
    """The operation that replaced the secrets of another since."""

    def rules_of(self, ops: Iterable[str]) -> tuple[Rules, ...]:
        """The rules of the keys that these operations made or are making, as they stand now."""

        def data_of(op: str) -> bytes | None:
            return self.results[op].data if op in self.results else None

        return rules_of([self.successor(op) or op for op in ops], self.proposals, data_of)


# --- operations ---------------------------------------------------------------------------

Make: TypeAlias = Callable[[Execution], Machine | Result | str]
Validate: TypeAlias = Callable[[Mapping[str, Any], Known], str | None]


Complete: TypeAlias = Callable[[Mapping[str, Any], Known], Mapping[str, Any]]
Facts: TypeAlias = tuple[tuple[str, str | int], ...]


def _as_given(params: Mapping[str, Any], known: Known) -> Mapping[str, Any]:
    return params


def _no_facts(data: bytes) -> Facts:
    return ()


def _accept(params: Mapping[str, Any], known: Known) -> str | None:
    return None


class RuleBook(Protocol):
    """What those agreed who made the thing that an operation uses."""

    def forbid(self, kind: str, by: Party, params: Mapping[str, Any], /) -> str | None:
        """Why `by` may not propose this; None: it may."""

    def lack(self, approving: Iterable[Party], /) -> str | None:
        """Which approvals are missing besides the policy's; None: none is."""


def _at_once(params: Mapping[str, Any]) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True)
class OperationSpec:
    """One kind of operation.

    Attributes:
        name: the kind: lower-case letters, digits, dashes.
        make: from an `Execution` to a machine, or to the result itself.
        sentence: what is proposed, for a reader; `{parameter}` is replaced.
        shown: parameters that are added to it where they are not as by default.
        validate: the vote policy "validate" asks it: None to approve, or why not.
        complete: what the proposer left out, filled in by what it knows (the newest key, say),
            before it signs; `UsageError` when nothing fits.
        facts: from a result's public bytes to what a program wants of it, by name.
        after: ids of operations whose results it needs: it starts when they have ended here.
        retires: ids of operations whose secrets it replaces. Once it is executed every party
            deletes its own of them, and of others with the same public bytes, for good.
        follows: whether it may be executed with the secrets that replaced those of an operation
            in `after`, since its result is the same or as good. A run with replaced secrets is
            given up for one with the new ones, by all, as they learn of these.
        rules: from the parameters to the rules that bind all honest parties whatever their vote
            policy, as far as what they belong to is known here. By default those of every key
            that is named.
        voters: from the parameters to the parties that it makes the voters of the agreement
            protocol (() is all members). Refused where that has no voters to change.
        fleeting: what is made of it is in memory alone (`Result.fleeting`); its executor drops that
            when it is told that it was `Copied`.
        resumable: the executor may be started again after a crash.
        held_by: from a result's public bytes to the parties that hold a secret of it.
        about: from a result's public bytes to the key that they are about. Of all results about
            one key one is in use, see `coordinator.succession`.
        certified: the executor's result is final by everybody's signatures. It reports `Ready`
            before it signs and waits for `Proceed`; it stays for as long as the result is in use,
            to show the signatures to whoever asks, and may finish after it had aborted.
    """

    name: str
    make: Make
    parameters: tuple[Parameter, ...] = ()
    sentence: str = ""
    shown: tuple[str, ...] = ()
    validate: Validate = _accept
    complete: Complete = _as_given
    facts: Callable[[bytes], Facts] = _no_facts
    after: Callable[[Mapping[str, Any]], Iterable[str]] = _at_once
    retires: Callable[[Mapping[str, Any]], Iterable[str]] = _at_once
    follows: bool = False
    rules: Callable[[Mapping[str, Any], Known], RuleBook | None] | None = None
    voters: Callable[[Mapping[str, Any]], tuple[Party, ...]] | None = None
    fleeting: bool = False
    resumable: bool = False
    held_by: Callable[[bytes], Iterable[Party]] | None = None
    about: Callable[[bytes], bytes] | None = None
    certified: bool = False

    def __post_init__(self) -> None:
        if not self.name.replace("-", "").isalnum() or self.name != self.name.lower():
            raise UsageError(
                f"operation {self.name!r}: name it with lower-case letters, digits and dashes"
            )

    def check(self, given: Mapping[str, Any]) -> Params:
        """The parameters as they are signed: complete, checked, sorted by name.

        Raises:
            UsageError: naming the parameter, and what it should be.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                hint = nearest(name, known) if known else "; it has no parameters"
                raise UsageError(f"{self.name}: parameter {name!r} is not known{hint}")
        checked: list[tuple[str, Value]] = []
        for name, parameter in sorted(known.items()):
            value = given.get(name, parameter.default)
            if value is None:
                raise UsageError(f"{self.name}: parameter {name!r} is missing")
            checked.append((name, self._checked(parameter, value)))
        return tuple(checked)

    def prepare(self, given: Mapping[str, Any], known: Known) -> Params:
        """`check` after `complete`, which sees only values that their parameters allow.

        Raises:
            UsageError: naming the parameter, and what it should be.
        """
        for parameter in self.parameters:
            if given.get(parameter.name) is not None:
                self._checked(parameter, given[parameter.name])
        return self.check(self.complete(given, known))

    def _checked(self, parameter: Parameter, value: Any) -> Value:
        try:
            return parameter.check(value)
        except ValueError as error:
            raise UsageError(f"{self.name}: parameter {parameter.name!r}: {error}") from None

    def read(self, params: Params) -> dict[str, Any]:
        """By name, as executors get them. `params` have passed `check`."""
        known = {parameter.name: parameter for parameter in self.parameters}
        return {name: known[name].read(value) for name, value in params}

    def forbidden(self, proposal: Proposal, known: Known) -> str | None:
        """Why the rules forbid what `proposal` asks for; its parameters have passed `check`."""
        params = self.read(proposal.params)
        book = self.book(params, known)
        return None if book is None else book.forbid(proposal.kind, proposal.by, params)

    def lacking(self, params: Params, known: Known, approving: Iterable[Party]) -> str | None:
        """Which approvals the rules want besides these."""
        book = self.book(self.read(params), known)
        return None if book is None else book.lack(approving)

    def book(self, params: Mapping[str, Any], known: Known) -> RuleBook | None:
        """The rules that bind an operation with these parameters, as executors get them."""
        if self.rules is not None:
            return self.rules(params, known)
        books = known.rules_of(params[name] for name in self.references)
        return RuleBooks(books) if books else None

    @property
    def references(self) -> tuple[str, ...]:
        """The names of the parameters that name earlier operations."""
        return tuple(p.name for p in self.parameters if isinstance(p, Reference))

    def describe(self, params: Params) -> str:
        """The sentence, for parameters that `check` has passed."""
        known = {parameter.name: parameter for parameter in self.parameters}
        words = {name: known[name].show(value) for name, value in params}
        if self.sentence:
            said = self.sentence.format_map(words)
            more = [
                f"{name} {words[name]}"
                for name, value in params
                if name in self.shown and value != known[name].default
            ]
            return f"{said} ({', '.join(more)})" if more else said
        shown = ", ".join(f"{name} = {word}" for name, word in words.items())
        return f"{self.name}: {shown}" if shown else self.name


class Operations(Registry[OperationSpec]):
    """A registry: kind → `OperationSpec`. A session has the standard one unless given its own."""

    def __init__(
        self,
        specs: Mapping[str, OperationSpec | Later] | Iterable[OperationSpec] = (),
        *,
        standard: bool = False,
    ) -> None:
        super().__init__(
            "operation",
            specs if isinstance(specs, Mapping) else {spec.name: spec for spec in specs},
            accepts=(lambda thing: isinstance(thing, OperationSpec)) if standard else None,
            word=lambda spec: spec.name,
        )

    def copy(self) -> Operations:
        """A registry of its own, with the same kinds."""
        return Operations(dict(self._things))
