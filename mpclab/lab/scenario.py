"""`Scenario`: an experiment as data, and the file that holds it.

    name: a proposer that says two things
    world: simulated              # simulated | websocket | webrtc
    parties: 4
    threshold: 3
    policy: unanimous             # unanimous | threshold(k)
    agreement: pbft               # or with options: {raft: {election_timeout: 2s, prevote: false}}
    network: {delay: "normal(250ms, 50ms)", loss: 0.0}
    votes: {3: reject}            # approve (the default) | reject | silent | validate
    operations:
      - {at: 0ms, by: 1, kind: note, text: "hello"}
    clients:                      # outside the group: see mpclab.lab.clients
      - {at: 1s, client: 1, by: 2, kind: read, timeout: 2s}
    faults:
      - {at: 100ms, for: 2s, kind: partition, groups: [[1, 2], [3, 4]]}
    checks: [agreement, validity, integrity, termination]
    until: 30s
    seed: 7

Time 0 is the moment at which the session is ready: every party has joined, every pair is
connected. Everything is checked before anything runs.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Final

from mpclab import plugins
from mpclab.check.registry import spell, unspell
from mpclab.consensus.options import Options
from mpclab.consensus.registry import agreement as agreement_named
from mpclab.consensus.registry import options as agreement_options
from mpclab.consensus.registry import word as agreement_word
from mpclab.coordinator.policy import Policy, parse_policy
from mpclab.coordinator.statements import MIN_DEADLINE
from mpclab.coordinator.voters import no_voters
from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import SECOND, Party, check_session_id, format_duration, parse_duration
from mpclab.core.numbers import number
from mpclab.faults.network import Network
from mpclab.faults.plan import Fault, parse_fault
from mpclab.lab.kinds import check_messages
from mpclab.operations import OPERATIONS, OperationSpec

WORLDS = ("simulated", "websocket", "webrtc")
TRACES = ("full", "tail", "off")
VOTES = ("approve", "reject", "silent", "validate")
DEFAULT_CHECKS = ("agreement", "validity", "integrity", "termination")
MOST_PARTIES = 9_999


_KINDS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("name", "world", "policy", "session", "mesh", "trace"), str),
    **dict.fromkeys(("parties", "threshold", "until", "seed", "patience"), int),
    **dict.fromkeys(("votes", "private"), Mapping),
    **dict.fromkeys(("operations", "clients", "faults", "checks", "plugins", "schedule"), Iterable),
    "network": Network,
}


@dataclass(frozen=True, slots=True)
class Planned:
    """One operation that the scenario will have proposed, `at` µs after the session is ready."""

    at: int
    by: Party
    kind: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call of a client outside the group: an operation, or the kind `read`; it waits for
    `timeout` µs."""

    at: int
    client: int
    by: Party
    kind: str
    timeout: int = 2 * SECOND
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scenario:
    """The declared experiment. Frozen: change one with `scenario.but(seed=8)`.

    Attributes:
        threshold: t, the number of parties needed to use a shared key; by default a majority.
        mesh: "negotiated" (join, offer, answer, confirm: the whole way) or "ready" (simulated
            world only: every pair is connected from the start, for large n).
        private: numbers of each party's own, which it puts into computations that they fit.
        trace: how much of it is kept: "full"; "tail", of messages the newest alone; "off", none of
            them. What was noted is always kept.
        patience: how long a proposal stays open, µs.
        until: how long to run at the most, µs.
        agreement_options: what the protocol lets a user set. A file says it under `agreement`,
            as above.
        schedule: what happens in the agreement protocol, line by line, and nothing else does (see
            `mpclab.lab.scheduled`). It is what `mpclab explore` writes.
        plugins: modules and files with protocols, operations, faults and checks of your own. They
            are loaded first, which runs their code (see `mpclab.plugins`).
    """

    name: str = ""
    world: str = "simulated"
    parties: int = 4
    threshold: int = 0
    policy: str = "unanimous"
    agreement: str = "direct"
    network: Network = field(default_factory=Network)
    votes: Mapping[Party, str] = field(default_factory=dict)
    private: Mapping[Party, tuple[int | Decimal, ...]] = field(default_factory=dict, repr=False)
    operations: tuple[Planned, ...] = ()
    clients: tuple[PlannedCall, ...] = ()
    faults: tuple[Fault, ...] = ()
    checks: tuple[str, ...] = DEFAULT_CHECKS
    until: int = 30 * SECOND
    seed: int = 0
    session: str = "lab"
    mesh: str = "negotiated"
    trace: str = "full"
    patience: int = 10 * SECOND
    plugins: tuple[str, ...] = ()
    schedule: tuple[str, ...] = ()
    agreement_options: Options | None = None

    def __post_init__(self) -> None:
        for name in ("until", "patience"):  # as in a file, or µs
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, parse_duration(getattr(self, name), name))
        self._check_kinds()
        plugins.load_installed()
        for plugin in self.plugins:
            plugins.load(plugin)
        # As in a file, or ready.
        object.__setattr__(self, "operations", _ready(self.operations, Planned, _planned))
        object.__setattr__(self, "clients", _ready(self.clients, PlannedCall, _planned_call))
        object.__setattr__(
            self, "faults", _ready(self.faults, Fault, partial(_fault, n=self.parties))
        )
        # A protocol and checks of one's own may be given as what they are, not by their words.
        object.__setattr__(self, "agreement", agreement_word(self.agreement))
        object.__setattr__(self, "checks", tuple(map(spell, self.checks)))
        self._check_sizes()
        for name, value, known in (
            ("world", self.world, WORLDS),
            ("mesh", self.mesh, ("negotiated", "ready")),
            ("trace", self.trace, TRACES),
        ):
            if value not in known:
                raise UsageError(f"{name}: {value!r} is not known{nearest(str(value), known)}")
        if self.mesh == "ready" and self.world != "simulated":
            raise UsageError(f"mesh: ready goes with world: simulated, not with {self.world}")
        check_session_id(self.session)
        parse_policy(self.policy, self.parties)
        protocol = agreement_named(self.agreement)
        protocol.check_size(self.parties)
        if self.agreement_options is None:
            object.__setattr__(self, "agreement_options", protocol.options_type())
        elif type(self.agreement_options) is not protocol.options_type:
            name = type(self.agreement_options).__name__
            raise UsageError(f"agreement: {name} are not the options of {self.agreement}")
        for party, vote in self.votes.items():
            self._check_party(party, f"votes: {party!r}")
            if vote not in VOTES:
                raise UsageError(f"votes.{party}: {vote!r} is not known{nearest(str(vote), VOTES)}")
        for party in self.private:
            self._check_party(party, f"private: {party!r}")
        kept = {party: _numbers(values, party) for party, values in self.private.items()}
        object.__setattr__(self, "private", kept)
        for i, planned in enumerate(self.operations):
            where = f"operations[{i}]"
            self._check_party(planned.by, f"{where}.by: {planned.by!r}")
            check_operation(planned.kind, planned.params, where)
            self._check_voters(planned.kind, where)
        for i, call in enumerate(self.clients):
            self._check_party(call.by, f"clients[{i}].by: {call.by!r}")
            check_call(call.kind, call.params, f"clients[{i}]")
            self._check_voters(call.kind, f"clients[{i}]")
        for i, fault in enumerate(self.faults):
            check_messages(fault, self.agreement, f"faults[{i}].messages")
        for where, things in (
            ("operations", self.operations), ("clients", self.clients), ("faults", self.faults),
        ):  # fmt: skip
            self._check_times(where, [thing.at for thing in things])

    def _check_times(self, where: str, times: list[int]) -> None:
        for i, at in enumerate(times):
            if at >= self.until:
                raise UsageError(
                    f"{where}[{i}].at: {format_duration(at)} is not before the end of the run "
                    f"({format_duration(self.until)}); set until to more"
                )

    def _check_kinds(self) -> None:
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise UsageError(
                    f"{name}: {value!r} cannot be; Scenario(parties=3) takes fields by name, "
                    "Scenario.parse({…}) a mapping of them"
                )

    def _check_sizes(self) -> None:
        if not 1 <= self.parties <= MOST_PARTIES:
            raise UsageError(f"parties: {self.parties!r}; use a number from 1 to {MOST_PARTIES}")
        if self.threshold == 0:
            object.__setattr__(self, "threshold", self.parties // 2 + 1)
        if self.patience < MIN_DEADLINE:
            least = format_duration(MIN_DEADLINE)
            raise UsageError(
                f"patience: {format_duration(self.patience)} is too short; use at least {least}"
            )
        if not 1 <= self.threshold <= self.parties:
            raise UsageError(
                f"threshold: {self.threshold!r} among {self.parties} parties; "
                f"use a number from 1 to {self.parties}"
            )

    def _check_voters(self, kind: str, where: str) -> None:
        protocol = agreement_named(self.agreement)
        if kind in OPERATIONS and OPERATIONS[kind].voters is not None and not protocol.revotes:
            raise UsageError(f"{where}: {kind}: {no_voters(protocol.title)}")

    def _check_party(self, party: Any, where: str) -> None:
        if not isinstance(party, int) or not 1 <= party <= self.parties:
            raise UsageError(f"{where} is not a party; use 1 to {self.parties}")

    @property
    def approval(self) -> Policy:
        return parse_policy(self.policy, self.parties)

    def but(self, **changes: Any) -> Scenario:
        """A copy with some fields changed, checked again; texts are read as in a file."""
        unknown = set(changes) - {f.name for f in dataclasses.fields(self)}
        if unknown:
            word = min(unknown)
            raise UsageError(f"{word} is not a field of a scenario{nearest(word, _KEYS)}")
        if "faults" not in changes and "parties" not in changes:
            # Kept as they are: an adversary written in Python cannot be written as a field.
            return dataclasses.replace(self, faults=()).but(**changes, faults=self.faults)
        writable = self if "faults" not in changes else dataclasses.replace(self, faults=())
        plain = {k: v for k, v in writable.as_fields(private=True).items() if k not in changes}
        if "parties" in changes and self.threshold == self.parties // 2 + 1:
            plain.pop("threshold", None)  # a majority stays a majority
        ready: dict[str, Any] = {}
        for name, value in changes.items():
            (ready if isinstance(value, Network | Options | tuple) else plain)[name] = value
        return dataclasses.replace(Scenario.parse(plain), **ready)

    player: ClassVar[Callable[..., Any]]
    """Runs a scenario. `mpclab.lab.run` puts it here, which knows worlds; a scenario is data."""

    def run(self, **options: Any) -> Any:
        """Run it to its end in its world: the `Run` that `mpclab.lab.play` gives."""
        import_module("mpclab.lab.run")  # where nobody has asked for it yet
        return type(self).player(self, **options)

    # --- the file ---

    @classmethod
    def from_file(cls, path: str | Path) -> Scenario:
        """Read a YAML (or JSON) file.

        Raises:
            UsageError: the file is not there, is not YAML, or is not a valid scenario.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{path}: is not a text file") from error
        return cls.from_text(text, str(path), Path(path).parent)

    @classmethod
    def from_text(cls, text: str, where: str = "scenario", folder: Path | None = None) -> Scenario:
        """Read a scenario from YAML text; `where` names it in errors, `folder` has its plugins."""
        import yaml

        try:
            fields = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"{where}: is not YAML: {error}") from error
        if not isinstance(fields, dict):
            raise UsageError(f"{where}: a scenario is a list of `key: value` lines")
        try:
            return cls.parse(fields, folder)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error

    @classmethod
    def parse(cls, fields: Mapping[str, Any], folder: Path | None = None) -> Scenario:
        """A scenario from plain fields, as a file's in `folder`, where its plugins are.

        Raises:
            UsageError: naming the field and, for an unknown word, the nearest known one.
        """
        plugins.load_installed()
        named = _list(fields.get("plugins", ()), "plugins")
        for plugin in named:
            plugins.load(str(plugin), folder)
        for key in fields:
            if key not in _KEYS:
                raise UsageError(f"{key!r} is not a key of a scenario{nearest(str(key), _KEYS)}")
        given = dict(fields)
        n = given.get("parties", cls.parties)
        if not isinstance(n, int):
            raise UsageError(f"parties: {n!r}; use a whole number")
        for name in ("until", "patience"):
            if name in given:
                given[name] = parse_duration(given[name], name)
        if "network" in given:
            given["network"] = Network.parse(_mapping(given["network"], "network"))
        if "votes" in given:
            given["votes"] = dict(_mapping(given["votes"], "votes"))
        if "private" in given:
            given["private"] = dict(_mapping(given["private"], "private"))
        if "operations" in given:
            given["operations"] = tuple(_list(given["operations"], "operations"))
        if "clients" in given:
            given["clients"] = tuple(_list(given["clients"], "clients"))
        if "faults" in given:
            given["faults"] = tuple(_list(given["faults"], "faults"))
        if "checks" in given:
            given["checks"] = tuple(map(spell, _list(given["checks"], "checks")))
        for name in ("threshold", "seed"):
            if not isinstance(given.get(name, 0), int):
                raise UsageError(f"{name}: {given[name]!r}; use a whole number")
        if given.get("trace") is False:
            given["trace"] = "off"  # as YAML reads the bare word
        if "agreement" in given:
            word, options = _agreement(given["agreement"])
            given["agreement"], given["agreement_options"] = word, options
        if "schedule" in given:
            given["schedule"] = tuple(map(str, _list(given["schedule"], "schedule")))
        if named:
            given["plugins"] = tuple(_found(str(plugin), folder) for plugin in named)
        for name in ("name", "policy", "agreement", "world", "session", "mesh", "trace"):
            if name in given:
                given[name] = str(given[name])
        return cls(**given)

    def as_fields(self, *, private: bool = False) -> dict[str, Any]:
        """Plain fields that `parse` reads back; the parties' private numbers only if asked for."""
        fields: dict[str, Any] = {
            "name": self.name,
            "world": self.world,
            "parties": self.parties,
            "threshold": self.threshold,
            "policy": self.policy,
            "agreement": self._agreement(),
            "network": self.network.as_fields(),
            "votes": dict(self.votes),
            "private": {party: _plain(values) for party, values in self.private.items()},
            "operations": [
                {"at": format_duration(p.at), "by": p.by, "kind": p.kind, **p.params}
                for p in self.operations
            ],
            "clients": [
                {
                    "at": format_duration(c.at),
                    "client": c.client,
                    "by": c.by,
                    "kind": c.kind,
                    "timeout": format_duration(c.timeout),
                    **c.params,
                }
                for c in self.clients
            ],
            "faults": [dict(fault.as_fields()) for fault in self.faults],
            "checks": [unspell(check) for check in self.checks],
            "until": format_duration(self.until),
            "seed": self.seed,
            "session": self.session,
            "mesh": self.mesh,
            "trace": self.trace,
            "patience": format_duration(self.patience),
            "plugins": list(self.plugins),
            "schedule": list(self.schedule),
        }
        if not private:
            del fields["private"]
        for name in ("session", "mesh", "trace"):
            if fields[name] == _DEFAULTS[name]:
                del fields[name]
        if self.patience == _DEFAULTS["patience"]:
            del fields["patience"]
        return {name: value for name, value in fields.items() if value not in ({}, [], "")}

    def _agreement(self) -> str | dict[str, Any]:
        assert self.agreement_options is not None
        options = self.agreement_options.write()
        return {self.agreement: options} if options else self.agreement

    def to_text(self, *, private: bool = False) -> str:
        """The scenario as a YAML file: keys in the order in which one reads them. The parties'
        private numbers are in it only if that is asked for."""
        import yaml

        lines = []
        for key, value in self.as_fields(private=private).items():
            rows = isinstance(value, list) and value and isinstance(value[0], dict)
            if rows or key == "schedule":
                lines.append(f"{key}:")
                lines += [f"  - {_flow(item, yaml)}" for item in value]
            else:
                lines.append(f"{key}: {_flow(value, yaml)}")
        return "\n".join(lines) + "\n"

    def to_file(self, path: str | Path, *, private: bool = False) -> None:
        """Write the file that `from_file` reads back: see `to_text`."""
        try:
            Path(path).write_text(self.to_text(private=private), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path or 'a file without a name'}: {error.strerror}") from error


_KEYS = tuple(f.name for f in dataclasses.fields(Scenario) if f.name != "agreement_options")


def show_fields(takes: Any) -> None:
    """Let `help()` and TAB show a scenario's fields where `takes` has `**fields`."""
    signature = inspect.signature(takes)
    plain = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    named = [
        inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, annotation=f.type,
            default=... if f.default is dataclasses.MISSING else f.default,
        )
        for f in dataclasses.fields(Scenario)
        if f.name in _KEYS
    ]  # fmt: skip
    takes.__signature__ = signature.replace(parameters=[*plain, *named])


show_fields(Scenario.but)
_DEFAULTS = {f.name: f.default for f in dataclasses.fields(Scenario)}


def _found(plugin: str, folder: Path | None) -> str:
    """A plugin as it is found from anywhere: a file by its whole path."""
    is_file = plugin.endswith(".py") or "/" in plugin
    return str(((folder or Path()) / plugin).resolve()) if is_file else plugin


def _agreement(given: Any) -> tuple[str, Options | None]:
    """A protocol's word, or `{word: {option: value, …}}`."""
    if not isinstance(given, Mapping):
        return agreement_word(given), None
    if len(given) != 1:
        raise UsageError(f"agreement: write one protocol, {{name: {{option: …}}}}, not {given!r}")
    [(name, settings)] = given.items()
    options = _mapping({} if settings is None else settings, f"agreement.{name}")
    return str(name), agreement_options(str(name), options)


def _flow(value: Any, yaml: Any) -> str:
    text: str = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}: write {{key: value, …}}, not {value!r}")
    return value


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise UsageError(f"{where}: write a list, not {value!r}")
    return value


def _numbers(value: Any, party: Any) -> tuple[int | Decimal, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    from mpclab.mpc.arithmetic import check_private

    try:
        found = tuple(map(number, values))
        check_private(found)
    except UsageError as error:
        raise UsageError(f"private.{party}: {error}; write a number, or a list of them") from None
    return found


def _plain(values: tuple[int | Decimal, ...]) -> list[int | float]:
    return [value if isinstance(value, int) else float(value) for value in values]


def _ready(items: Any, ready: type, read: Callable[[Any, int], Any]) -> tuple[Any, ...]:
    return tuple(item if isinstance(item, ready) else read(item, i) for i, item in enumerate(items))


def _fault(item: Any, i: int, n: int) -> Fault:
    return parse_fault(_mapping(item, f"faults[{i}]"), n, i)


def _planned(item: Any, i: int) -> Planned:
    fields = dict(_mapping(item, f"operations[{i}]"))
    missing = [key for key in ("by", "kind") if key not in fields]
    if missing:
        raise UsageError(f"operations[{i}]: {missing[0]!r} is missing")
    at = parse_duration(fields.pop("at", 0), f"operations[{i}].at")
    by, kind = fields.pop("by"), str(fields.pop("kind"))
    check_operation(kind, fields, f"operations[{i}]")
    return Planned(at, by, kind, fields)


def _planned_call(item: Any, i: int) -> PlannedCall:
    where = f"clients[{i}]"
    fields = dict(_mapping(item, where))
    for key in ("client", "by", "kind"):
        if key not in fields:
            raise UsageError(f"{where}: {key!r} is missing")
    at = parse_duration(fields.pop("at", 0), f"{where}.at")
    timeout = parse_duration(fields.pop("timeout", "2s"), f"{where}.timeout")
    client, by, kind = fields.pop("client"), fields.pop("by"), str(fields.pop("kind"))
    if not isinstance(client, int):
        raise UsageError(f"{where}.client: {client!r}; use a whole number")
    check_call(kind, fields, where)
    return PlannedCall(at, client, by, kind, timeout, fields)


def check_call(kind: str, params: Mapping[str, Any], where: str) -> None:
    """Raise `UsageError`, naming the place, unless a client may call `kind` with `params`."""
    if kind != "read":
        check_operation(kind, params, where)
    elif params:
        raise UsageError(f"{where}: read has no {min(params)!r}")


def check_operation(kind: str, params: Mapping[str, Any], where: str) -> None:
    """Raise `UsageError`, naming the place, unless `kind` may be proposed with `params`.

    A parameter that refers to an earlier operation may be its number instead of its id.
    """
    try:
        spec = OPERATIONS[kind]
        numbered = {k: f"operation {v}" for k, v in params.items() if _is_number(spec, k, v)}
        spec.check({**params, **numbered})
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def _is_number(spec: OperationSpec, name: str, value: Any) -> bool:
    return name in spec.references and isinstance(value, int)
