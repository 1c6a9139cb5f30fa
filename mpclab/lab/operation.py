"""`Operation`: what `lab.propose` gives, to be followed by its status and outcome."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from mpclab.core.ids import Party
from mpclab.lab.outcome import Outcome, Outcomes


class Operation:
    """An operation that was proposed: follow it by `status` and `outcome`.

    Attributes:
        id: its id, the same at every party.
    """

    def __init__(self, outcomes: Callable[[], Outcomes], id: str, kind: str, by: Party) -> None:
        self._outcomes = outcomes
        self.id = id
        self.kind = kind
        self.by = by

    @property
    def outcome(self) -> Outcome | None:
        """The outcome so far; None until its proposer has said so in the trace."""
        return next((o for o in self._outcomes() if o.op == self.id), None)

    @property
    def status(self) -> str:
        """committed, aborted or undecided."""
        outcome = self.outcome
        return outcome.status if outcome else "undecided"

    @property
    def result(self) -> str:
        """The result of executing it, as text; "" before that."""
        outcome = self.outcome
        return outcome.result if outcome else ""

    @property
    def data(self) -> dict[str, str | int]:
        """The result of executing it, for programs: see `Outcome.data`."""
        outcome = self.outcome
        return outcome.data if outcome else {}

    def __await__(self) -> Generator[Any, None, Operation]:
        yield from ()
        return self

    def __repr__(self) -> str:
        outcome = self.outcome
        return repr(outcome) if outcome else f"{self.kind} by party {self.by}: proposed"
