"""`Journal`: what a lab's user did, and when. A simulated run is its seed and this.

A deed is named by its place: how many events the world had taken when it was done, and the time.
So a fresh lab that is given the same deeds at the same places repeats the run, row by row; and
what was clicked can be saved as a scenario.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, Protocol, TypeVar

from mpclab.core.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Doer")


CLOSED: Final = "the lab is closed; make a new one"


class Place(NamedTuple):
    """A point of a simulated run.

    Attributes:
        taken: how many events had happened.
        at: the time, µs.
        deeds: how many deeds had been done.
    """

    taken: int
    at: int
    deeds: int


@dataclass(frozen=True, slots=True)
class Deed:
    """One verb: of the lab itself (`session` ""), or of one of its sessions."""

    place: Place
    session: str
    verb: str
    args: tuple[Any, ...] = field(repr=False)  # private numbers may be among them
    kwargs: Mapping[str, Any] = field(repr=False)


class Doer(Protocol):
    """Whose verbs are written down: a lab or a group."""

    @property
    def journal(self) -> Journal: ...
    @property
    def world(self) -> Any: ...
    @property
    def called(self) -> str:
        """The name by which a deed says whose verb it is."""


class Journal:
    """The deeds of one lab, the oldest first; `refused` has the numbers of those in vain."""

    def __init__(self) -> None:
        self.deeds: list[Deed] = []
        self.refused: set[int] = set()
        self.closed = False  # whatever is done now is done in vain
        self._inside: dict[int, int] = {}  # by thread: how many verbs deep

    def __deepcopy__(self, memo: dict[int, Any]) -> Journal:
        copy = Journal()
        copy.deeds = list(self.deeds)
        copy.refused = set(self.refused)
        return copy

    @contextmanager
    def quiet(self) -> Iterator[bool]:
        """Nothing that this thread does meanwhile is written down; whether it would have been."""
        thread = threading.get_ident()
        depth = self._inside.get(thread, 0)
        self._inside[thread] = depth + 1
        try:
            yield depth == 0
        finally:
            if depth:
                self._inside[thread] = depth
            else:
                del self._inside[thread]

    def place(self, world: Any) -> Place:
        """Where the run is now."""
        return Place(getattr(world, "taken", 0), world.now, len(self.deeds))


def verb(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that changes the lab: written down when a user calls it, done at one moment.

    A verb that refuses is written down too: a refused ask leaves its row in the trace.
    """

    @wraps(method)
    def act(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        journal, world = self.journal, self.world
        if journal.closed:
            raise UsageError(CLOSED)
        with world.atomic(), journal.quiet() as ours:
            if ours:
                number = len(journal.deeds)
                journal.deeds.append(
                    Deed(journal.place(world), self.called, method.__name__, args, kwargs)
                )
            try:
                return method(self, *args, **kwargs)
            except UsageError:
                if ours:
                    journal.refused.add(number)
                raise

    return act
