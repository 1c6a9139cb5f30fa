"""`Fault`: something declared to go wrong, at a time, for a while; and the `FaultTarget` that it
acts on.

A fault is frozen data: it can be written in a scenario file, compared, and read back. All that
changes while it is active lives in the world (rules of links, filters, crashed parties),
so a simulated world can be forked in the middle of one.
"""

from __future__ import annotations

import dataclasses
import inspect
import random
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

from mpclab.core.effects import Effect, Words
from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import SERVER, Party, format_duration, parse_duration
from mpclab.core.node import Node
from mpclab.core.registry import Later, Registry
from mpclab.faults.link_rules import LinkRules

Filter: TypeAlias = Callable[[list[Effect], "AdversaryContext"], list[Effect]]
"""From the effects that a corrupted party's honest node wanted to those that its host performs."""

Tamper: TypeAlias = Callable[[Words, "AdversaryContext"], Iterable[Words]]
"""From a message that a corrupted party's honest machine wanted to send to those that it sends,
before they are put on links or sealed for the relay."""


class AdversaryContext(Protocol):
    """An adversary's view of its own party, and its possible acts there; valid during one call."""

    @property
    def me(self) -> Party: ...
    @property
    def n(self) -> int: ...
    @property
    def now(self) -> int:
        """Time of the world, µs."""

    @property
    def node(self) -> Node:
        """The party's own node, its secrets included: corrupting it yields them."""

    @property
    def common(self) -> dict[str, Any]:
        """What liars of one run share, at once and unseen."""

    def draw(self, *key: int | str) -> float:
        """A number in (0, 1), the same for the same key; no key: the next one."""

    def number(self) -> int:
        """A fresh number for a frame that the honest node never made."""

    def remark(self, text: str) -> None:
        """A row of the trace that says what was done: "tells party 3 another Vote"."""

    def later(self, delay: int, effects: list[Effect]) -> None:
        """Perform `effects` in `delay` µs, unless the party has crashed meanwhile."""

    def say(self, delay: int, words: Words) -> None:
        """Say `words` in `delay` µs, unless the party has crashed meanwhile."""


class FaultTarget(Protocol):
    """The verbs that a world offers to faults. An impossible one raises `UsageError`; a world
    that leaves a verb out cannot be made."""

    link_rules: LinkRules

    @property
    @abstractmethod
    def now(self) -> int: ...
    @property
    @abstractmethod
    def actors(self) -> tuple[Party, ...]:
        """Those that are up."""

    @abstractmethod
    def at(self, time: int, action: Callable[[], None]) -> None: ...
    @abstractmethod
    def mark_fault(
        self,
        index: int,
        kind: str,
        phase: str,
        parties: tuple[Party, ...],
        text: str,
        *,
        byzantine: bool = False,
        life: str = "",
    ) -> None:
        """Write the trace's row: phase is begin, end, or act (with what happened in `text`)."""

    @abstractmethod
    def crash(self, actor: Party) -> None: ...
    @abstractmethod
    def tear(self, actor: Party, on: bool = True) -> None:
        """Let the actor crash in the middle of its next step; `on=False`: no longer."""

    @abstractmethod
    def restart(self, actor: Party, *, amnesia: bool = False) -> None: ...
    @abstractmethod
    def remove(self, actor: Party) -> None: ...
    @abstractmethod
    def pause(self, actor: Party) -> None: ...
    @abstractmethod
    def resume(self, actor: Party) -> None: ...
    @abstractmethod
    def slow(self, actor: Party, step: int) -> None:
        """From now on each step of the actor takes `step` µs of its time; 0: none."""

    @abstractmethod
    def skew(self, actor: Party, offset: int, drift: float) -> None:
        """Set the actor's clock ahead by `offset` µs, running 1 + `drift` times as fast."""

    @abstractmethod
    def reset(self, a: Party, b: Party) -> None:
        """Close the link between two actors, once."""

    @abstractmethod
    def corruptible(self, actor: Party) -> None:
        """Raise `UsageError` where nobody can speak for `actor` here; for most one can."""

    @abstractmethod
    def set_filter(self, actor: Party, filter: Filter | None, handle: int = 0) -> None:
        """Put what the actor's node does through `filter`; filters of several handles are
        applied in the order of the handles."""

    @abstractmethod
    def set_tamper(self, actor: Party, tamper: Tamper | None, handle: int = 0) -> None:
        """Put what the actor's machines say through `tamper`, by the handles in order."""

    @abstractmethod
    def stop_server(self, *, kill: bool = False) -> None: ...
    @abstractmethod
    def restart_server(self, *, amnesia: bool = True) -> None:
        """Start the server again at its old address; with `amnesia`, with empty rooms."""


# --- reading and writing fields -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a field in the scenario, for messages, and what is valid there."""

    field: str
    n: int

    def wrong(self, problem: str) -> UsageError:
        return UsageError(f"{self.field}: {problem}")


Read: TypeAlias = Callable[[Any, Where], Any]


def the(
    read: Read, default: Any = dataclasses.MISSING, write: Callable[[Any], Any] = lambda x: x
) -> Any:
    """A field of a fault: how to read it from a scenario and to write it back."""
    return dataclasses.field(default=default, metadata={"read": read, "write": write})


def a_duration(value: Any, where: Where) -> int:
    return parse_duration(value, where.field)


def a_lasting(value: Any, where: Where) -> int:
    lasting = parse_duration(value, where.field)
    if lasting == 0:
        raise where.wrong("nothing lasts 0; leave it out for a fault that lasts to the end")
    return lasting


def a_bool(value: Any, where: Where) -> bool:
    if not isinstance(value, bool):
        raise where.wrong(f"{value!r}; write true or false")
    return value


def a_number(low: float, high: float, what: str) -> Read:
    def read(value: Any, where: Where) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise where.wrong(f"{value!r} is not a number")
        if not low <= value <= high:
            raise where.wrong(f"{value} is not {what}; use {low:g} to {high:g}")
        return value

    return read


a_rate = a_number(0, 1, "a probability")


def a_count(low: int, high: int) -> Read:
    def read(value: Any, where: Where) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise where.wrong(f"{value!r} is not a whole number")
        if not low <= value <= high:
            raise where.wrong(f"{value}; use {low} to {high}")
        return value

    return read


def a_party(value: Any, where: Where) -> Party:
    if isinstance(value, bool) or not isinstance(value, int):
        raise where.wrong(f"{value!r} is not a party; write a number from 1 to {where.n}")
    if not 1 <= value <= where.n:
        raise where.wrong(f"there is no party {value}; use 1 to {where.n}")
    return value


def a_place(value: Any, where: Where) -> Party:
    """A party, or the word `server`."""
    if value == "server":
        return SERVER
    if isinstance(value, str):
        raise where.wrong(
            f"{value!r} is neither a party nor the server{nearest(value, ['server'])}"
        )
    return a_party(value, where)


def several(read: Read) -> Read:
    """A list without repetitions; one item may stand for a list of one."""

    def read_all(value: Any, where: Where) -> tuple[Any, ...]:
        items = value if isinstance(value, list | tuple) else [value]
        if not items:
            raise where.wrong("the list is empty; leave it out to mean all")
        seen: list[Any] = []
        for item in items:
            one = read(item, where)
            if one in seen:
                raise where.wrong(f"{place_name(one)} is named twice")
            seen.append(one)
        return tuple(seen)

    return read_all


def write_places(places: tuple[Party, ...] | None) -> list[Party | str] | None:
    return None if places is None else ["server" if p == SERVER else p for p in places]


def a_word(value: Any, where: Where) -> str:
    if not isinstance(value, str) or not value:
        raise where.wrong(f"{value!r} is not a word")
    return value


some_words = several(a_word)


def place_name(place: Any) -> str:
    if not isinstance(place, int):
        return repr(place)
    return "the server" if place == SERVER else f"party {place}"


def names(places: Iterable[Party]) -> str:
    """`party 2`, `parties 1, 2 and 3`, `party 2 and the server`."""
    each = sorted(places)
    parties = [str(p) for p in each if p != SERVER]
    words = []
    if len(parties) == 1:
        words = [f"party {parties[0]}"]
    elif parties:
        words = [f"parties {', '.join(parties[:-1])} and {parties[-1]}"]
    if SERVER in each:
        words.append("the server")
    return " and ".join(words) or "nobody"


# --- the base ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Base of all faults. Subclasses say `kind`, their fields, and what begins and ends.

    Attributes:
        at: when it begins, µs since the run began.
        for_: how long it lasts, µs; None: to the end.
    """

    kind: ClassVar[str] = ""
    momentary: ClassVar[bool] = False
    """It happens once and lasts no time (a restart, a reset)."""
    byzantine: ClassVar[bool] = False
    """While it holds, those it aims at are no longer honest."""

    at: int = the(a_duration, 0, format_duration)
    for_: int | None = the(a_lasting, None, format_duration)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__dict__.get("kind"):
            KINDS.register(cls)

    def __deepcopy__(self, memo: dict[int, Any]) -> Fault:
        return self

    # --- for subclasses ---

    def ready(self, target: FaultTarget) -> None:
        """Raise `UsageError` when it cannot act now."""

    def begin(self, target: FaultTarget, index: int) -> None:
        """Let it act; `index` is its number in the run, and the handle of its rules."""
        raise NotImplementedError

    def end(self, target: FaultTarget, index: int) -> None:
        """Heal it."""

    def parties(self) -> tuple[Party, ...]:
        """Those it aims at; empty: all alike."""
        return ()

    def sentence(self) -> str:
        """The fault in plain words, without its times."""
        return self.kind

    @property
    def word(self) -> str:
        """Its name in the trace: the kind, or more exactly."""
        return self.kind

    @property
    def life(self) -> str:
        """How it leaves those it aims at: up, paused, crashed, left; "" for links and servers."""
        return ""

    def check(self, where: Callable[[str], Where]) -> None:
        """Raise `UsageError` where fields contradict each other; `where(name)` gives a place."""

    # --- for everyone ---

    @property
    def lasts(self) -> int | None:
        """µs; None: to the end."""
        return self.for_

    def when(self) -> str:
        """`at 300ms`, `from 100ms to 2.1s`, `from 0ms on`."""
        if self.momentary:
            return f"at {format_duration(self.at)}"
        if self.lasts is None:
            return f"from {format_duration(self.at)} on"
        return f"from {format_duration(self.at)} to {format_duration(self.at + self.lasts)}"

    def as_fields(self) -> dict[str, Any]:
        """The fields that `parse_fault` reads back; defaults left out."""
        fields: dict[str, Any] = {"at": format_duration(self.at)}
        if self.for_ is not None:
            fields["for"] = format_duration(self.for_)
        fields["kind"] = self.kind
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name not in ("at", "for_") and value != field.default:
                fields[field.name.rstrip("_")] = field.metadata["write"](value)
        return fields

    @classmethod
    def parse(cls, fields: Mapping[str, Any], n: int, prefix: str) -> Fault:
        """Read the fields of this kind; `prefix` is `faults[2]`."""
        specs = {f.name.rstrip("_"): f for f in dataclasses.fields(cls)}
        if cls.momentary:
            del specs["for"]
        for name in fields:
            if name != "kind" and name not in specs:
                raise UsageError(f"{prefix}.{name} is not known{nearest(str(name), specs)}")
        given = {}
        for name, field in specs.items():
            if name in fields:
                given[field.name] = field.metadata["read"](
                    fields[name], Where(f"{prefix}.{name}", n)
                )
            elif field.default is dataclasses.MISSING:
                raise UsageError(f"{prefix}.{name} is missing; {cls.kind} needs it")
        fault = cls(**given)
        fault.check(lambda name: Where(f"{prefix}.{name}" if name else prefix, n))
        return fault

    @classmethod
    def draw(cls, rng: random.Random, n: int) -> dict[str, Any] | None:
        """Random fields for a nemesis, beyond when, how long and whom; None: never drawn.

        By default a fault is drawn when nothing but its party must be said.
        """
        needed = {f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING}
        return {} if needed <= {"party"} else None

    @classmethod
    def doc(cls) -> str:
        """One line for a menu."""
        return (inspect.getdoc(cls) or cls.kind).splitlines()[0]


_HOMES = {
    "nodes": {
        "crash": "Crash",
        "restart": "Restart",
        "pause": "Pause",
        "slow": "Slow",
        "skew": "Skew",
        "leave": "Leave",
    },
    "byzantine": {
        "silent": "Silent",
        "equivocate": "Equivocate",
        "lie": "Lie",
        "vote-twice": "VoteTwice",
        "replay": "Replay",
        "garbage": "Garbage",
        "send-to-some": "SendToSome",
        "last-moment": "LastMoment",
        "filter": "Custom",
    },
    "links": {
        "delay": "ExtraDelay",
        "jitter": "Jitter",
        "bandwidth": "Bandwidth",
        "reorder": "Reorder",
        "hold": "Hold",
        "loss": "Loss",
        "duplicate": "Duplicate",
        "corrupt": "Corrupt",
        "no-link": "NoLink",
        "reset": "Reset",
    },
    "partitions": {
        "partition": "Partition",
    },
    "schemes": {
        "flood": "Flood",
        "adaptive": "Adaptive",
        "attack": "KnownAttack",
        "one-field": "OneField",
    },
    "server": {
        "server-stop": "Stop",
        "server-kill": "Kill",
        "server-restart": "ServerRestart",
        "server-slow": "ServerSlow",
        "server-drop": "Withhold",
        "server-forge": "Forge",
        "server-replay": "ServerReplay",
        "server-swap-fingerprints": "SwapFingerprints",
    },
}
"""The kinds of the house, by the module in which each is a class."""

KINDS: Registry[type[Fault]] = Registry(
    "fault",
    {
        word: Later(f"mpclab.faults.{module}", name)
        for module, kinds in _HOMES.items()
        for word, name in kinds.items()
    },
    accepts=lambda thing: isinstance(thing, type) and issubclass(thing, Fault) and bool(thing.kind),
    word=lambda cls: cls.kind,
)
"""Every kind of fault by its word in a scenario file. A subclass with a `kind` registers itself."""
