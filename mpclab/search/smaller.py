"""Scenarios a little smaller than a given one, the greatest steps first, for `shrink`.

A step leaves something out (a party with all that names it, operations, faults, votes, options), or
makes it plainer: shorter times, rounder numbers, a calmer network, fewer checks. `size` orders
scenarios, so that shrinking ends: each step is taken only to a smaller one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SECOND, Party
from mpclab.faults.fault import Fault, a_duration, a_lasting
from mpclab.faults.network import Delay, Network
from mpclab.lab.scenario import Planned, Scenario

T = TypeVar("T")
Make: TypeAlias = Callable[[], Scenario]

CALM = Delay("constant", 10 * MS)
"""Nothing about this network is random."""


def size(scenario: Scenario) -> tuple[int, ...]:
    """What is compared, most important first: parties; operations, faults and the like; what is
    said of them; the network; how long it takes; the seed."""
    s = scenario
    network = s.network
    options = s.agreement_options.write() if s.agreement_options is not None else {}
    events = len(s.operations) + len(s.faults) + len(s.votes) + len(s.private)
    said = sum(len(fault.as_fields()) for fault in s.faults if fault.kind != "filter")
    said += sum(2 * len(planned.params) + (planned.kind != "note") for planned in s.operations)
    said += len(options) + len(s.checks) + (s.policy != "unanimous") + (s.mesh != "ready")
    said += s.threshold != s.parties // 2 + 1
    noise = 2 * network.delay.drawn + (network.loss > 0) + (network.bandwidth > 0)
    noise += not network.ordered
    times = [planned.at for planned in s.operations]
    times += [getattr(fault, f.name) or 0 for fault in s.faults for f in _times(fault)]
    detail = sum(len(str(time).rstrip("0")) for time in times)
    length = int(network.delay.typical) + int(1e6 * network.loss) + s.until + s.patience
    return (s.parties, events, said, noise, sum(times), detail, length, abs(s.seed))


def smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Those to try next, the greatest steps first. Where something cannot be left out, because
    without it there is no scenario, it is left out of this list."""
    for make in _steps(scenario):
        try:
            found = make()
        except (UsageError, ValueError, TypeError):
            continue
        if size(found) < size(scenario):
            yield found


def _steps(s: Scenario) -> Iterator[Make]:
    if s.mesh != "ready":
        yield partial(s.but, mesh="ready")  # first: then every run is several times as quick
    yield from _halves(s.faults, lambda rest: partial(s.but, faults=tuple(rest)))
    yield from _halves(s.operations, lambda rest: partial(s.but, operations=tuple(rest)))
    for p in range(s.parties, 0, -1):
        yield partial(without_party, s, p)
        if s.approval.needed < s.parties:
            yield partial(without_party, s, p, needed=s.approval.needed - 1)
    yield from _halves(tuple(s.votes), lambda rest: partial(s.but, votes=_only(s.votes, rest)))
    yield from _halves(
        tuple(s.private), lambda rest: partial(s.but, private=_only(s.private, rest))
    )
    yield from _calmer(s)
    yield from _plainer(s)
    yield from _sooner(s)
    for seed in range(min(abs(s.seed), 3)):
        yield partial(s.but, seed=seed)


def _halves(items: Sequence[T], build: Callable[[list[T]], Make]) -> Iterator[Make]:
    """Without half of the items, a quarter, …, one of them (Zeller and Hildebrandt, "Simplifying
    and isolating failure-inducing input", 2002, ddmin: the complements)."""
    chunk = len(items)
    while chunk:
        for start in range(0, len(items), chunk):
            yield build([*items[:start], *items[start + chunk :]])
        chunk //= 2


def _only(mapping: Any, keys: list[Any]) -> dict[Any, Any]:
    return {key: mapping[key] for key in keys}


def _calmer(s: Scenario) -> Iterator[Make]:
    network = s.network
    for other in (
        Network(CALM),
        Network(Delay("constant", network.delay.typical)),
        dataclasses.replace(network, loss=0.0),
        dataclasses.replace(network, bandwidth=0),
        dataclasses.replace(network, ordered=True),
        dataclasses.replace(network, delay=CALM),
        dataclasses.replace(network, delay=Delay("constant", network.delay.typical)),
        dataclasses.replace(network, delay=Delay("uniform", 1 * MS, 20 * MS)),
        dataclasses.replace(network, loss=round(network.loss / 2, 3)),
    ):
        yield partial(s.but, network=other)


def _plainer(s: Scenario) -> Iterator[Make]:
    yield partial(s.but, policy="unanimous")
    if s.approval.needed < s.parties:
        yield partial(s.but, policy=f"threshold({s.approval.needed - 1})")
    yield partial(s.but, threshold=0)
    if s.agreement_options is not None:
        default = type(s.agreement_options)()
        yield partial(s.but, agreement_options=default)
        for name, value in vars(default).items():
            options = dataclasses.replace(s.agreement_options, **{name: value})
            yield partial(s.but, agreement_options=options)
    for k, planned in enumerate(s.operations):
        for other in (
            Planned(planned.at, planned.by, "note", {"text": "a"}),
            dataclasses.replace(planned, by=1),
        ):
            operations = (*s.operations[:k], other, *s.operations[k + 1 :])
            yield partial(s.but, operations=operations)
    for k, fault in enumerate(s.faults):
        for field in dataclasses.fields(fault):
            if field.default is not dataclasses.MISSING and field.name not in ("at", "for_"):
                yield _with(s, k, fault, field.name, field.default)


def _sooner(s: Scenario) -> Iterator[Make]:
    yield partial(s.but, patience="10s")
    for until in (1 * SECOND, 5 * SECOND, 10 * SECOND, 20 * SECOND, 30 * SECOND):
        if until < s.until:
            yield partial(s.but, until=f"{until}us")
    earliest = min([p.at for p in s.operations] + [f.at for f in s.faults], default=0)
    if earliest:
        yield partial(_earlier, s, earliest)
    for k, planned in enumerate(s.operations):
        for at in _shorter(planned.at):
            other = dataclasses.replace(planned, at=at)
            operations = (*s.operations[:k], other, *s.operations[k + 1 :])
            yield partial(s.but, operations=operations)
    for k, fault in enumerate(s.faults):
        for field in _times(fault):
            for time in _shorter(getattr(fault, field.name) or 0):
                yield _with(s, k, fault, field.name, time)


def _earlier(s: Scenario, by: int) -> Scenario:
    operations = tuple(dataclasses.replace(p, at=p.at - by) for p in s.operations)
    faults = tuple(dataclasses.replace(f, at=f.at - by) for f in s.faults)
    return s.but(operations=operations, faults=faults)


def _with(s: Scenario, k: int, fault: Fault, name: str, value: Any) -> Make:
    def make() -> Scenario:
        other = dataclasses.replace(fault, **{name: value})
        # Written and read back, so that what no file could say is not made.
        other = type(fault).parse(other.as_fields(), s.parties, f"faults[{k}]")
        return s.but(faults=(*s.faults[:k], other, *s.faults[k + 1 :]))

    return make


def _times(fault: Fault) -> list[dataclasses.Field[Any]]:
    return [f for f in dataclasses.fields(fault) if f.metadata["read"] in (a_duration, a_lasting)]


def _shorter(time: int) -> Iterator[int]:
    """0, half, and rounder: whole seconds, tenths, hundredths, milliseconds."""
    if time:
        yield 0
        for unit in (SECOND, 100 * MS, 10 * MS, MS):
            if 0 < (rounded := time // unit * unit) < time:
                yield rounded
                break
        if time >= 2 * MS:
            yield time // 2 // MS * MS
        if time > 10 * MS:
            yield time - max(MS, time // 8 // MS * MS)


# --- one party less ---------------------------------------------------------------------------

_PARTIES = ("party", "as", "isolated")
_LISTS = ("from", "to", "between")


def without_party(s: Scenario, gone: Party, *, needed: int | None = None) -> Scenario:
    """The scenario without one party: those above it move down; what it alone did goes too.
    `needed`: how many approvals its policy asks for then.

    Raises:
        UsageError: without it there is no scenario.
    """

    def moved(p: Any) -> Any:
        return p - 1 if isinstance(p, int) and p > gone else p

    fields = s.as_fields(private=True)
    fields["parties"] = s.parties - 1
    if s.threshold == s.parties // 2 + 1:
        fields.pop("threshold", None)
    else:
        fields["threshold"] = min(s.threshold, s.parties - 1)
    if s.approval.needed == s.parties:
        fields["policy"] = "unanimous"
    elif needed is not None:
        fields["policy"] = f"threshold({needed})"
    for name in ("votes", "private"):
        if name in fields:
            fields[name] = {moved(p): v for p, v in fields[name].items() if p != gone}
    fields["operations"] = [
        {**one, "by": moved(one["by"]) if one["by"] != gone else 1}
        for one in fields.get("operations", ())
    ]
    faults = (_fault_without(dict(fault.as_fields()), gone, moved) for fault in s.faults)
    fields["faults"] = [fault for fault in faults if fault is not None]
    return Scenario.parse(fields)


def _fault_without(
    fields: dict[str, Any], gone: Party, moved: Callable[[Any], Any]
) -> dict[str, Any] | None:
    for name in _PARTIES:
        if name in fields:
            if fields[name] == gone:
                return None
            fields[name] = moved(fields[name])
    for name in _LISTS:
        if isinstance(fields.get(name), list):
            fields[name] = [moved(p) for p in fields[name] if p != gone]
            if not fields[name]:
                return None
    if isinstance(fields.get("groups"), list):
        left = [[moved(p) for p in group if p != gone] for group in fields["groups"]]
        fields["groups"] = [group for group in left if group]
    return fields
