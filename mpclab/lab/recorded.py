"""What was done to a lab by hand, as a scenario that does it again.

Proposals, faults, crashes and pauses are taken over with their times, counted from the first of
them. Left out are what a scenario cannot say: votes by hand, messages lost by hand, other sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from mpclab.core.ids import SECOND, format_duration, parse_duration
from mpclab.faults.fault import Fault
from mpclab.faults.plan import Injection, parse_fault
from mpclab.lab.group import Group
from mpclab.lab.journal import Journal
from mpclab.lab.operation import Operation
from mpclab.lab.outcome import Outcomes
from mpclab.lab.scenario import Scenario

_AFTER = 10 * SECOND  # that a run goes on after the last deed, at the least


class Handled(Protocol):
    """A lab, or one of its sessions, to which something was done."""

    journal: Journal
    group: Group

    @property
    def scenario(self) -> Scenario: ...
    def outcomes(self) -> Outcomes: ...


def scenario_of(lab: Handled) -> Scenario:
    """The settings, how the parties vote now, and what was done to them."""
    session = lab.scenario.session
    operations: list[dict[str, Any]] = []
    faults: list[dict[str, Any]] = []
    open_ones: dict[tuple[str, Any], dict[str, Any]] = {}
    begun = [
        deed
        for number, deed in enumerate(lab.journal.deeds)
        if deed.session in ("", session) and deed.verb in _KEPT
        and number not in lab.journal.refused
    ]  # fmt: skip
    origin = begun[0].place.at if begun else 0
    ids = [outcome.op for outcome in lab.outcomes()]
    injected = list(lab.group.injections)
    for deed in begun:
        at = deed.place.at - origin
        match deed.verb, deed.args:
            case "propose", (by, kind, params, *_):
                operations.append(_planned(at, by, kind, params, ids))
            case (("crash" | "pause"), (party,)):
                fault = {"at": format_duration(at), "kind": deed.verb, "party": party}
                faults.append(fault)
                open_ones[deed.verb, party] = fault
            case (("restart" | "resume"), (party,)):
                _end(open_ones, ("crash" if deed.verb == "restart" else "pause", party), at)
            case "inject", given:
                wanted = _fault(given, deed.kwargs, lab.scenario.parties)
                one = next((each for each in injected if each.fault == wanted), None)
                faults.append({**wanted.as_fields(), "at": format_duration(at)})
                if one is not None:
                    injected.remove(one)  # its like may come again
                    if "for" not in faults[-1]:
                        open_ones["inject", one.index] = faults[-1]
            case "heal", given:
                which = given[0] if given else deed.kwargs.get("injection")
                for key in list(open_ones):
                    if key[0] == "inject" and (
                        which is None or (isinstance(which, Injection) and which.index == key[1])
                    ):
                        _end(open_ones, key, at)
            case _:
                pass  # its arguments were given by name
    last = max((deed.place.at - origin for deed in begun), default=0)
    votes = {p: v for p, v in lab.group.votes.items() if v not in ("approve", "hand")}
    return lab.scenario.but(
        votes=votes, operations=operations, faults=faults,
        until=format_duration(max(lab.scenario.until, last + _AFTER)),
    )  # fmt: skip


_KEPT = ("propose", "crash", "pause", "restart", "resume", "inject", "heal")


def _planned(at: int, by: int, kind: str, params: Mapping[str, Any], ids: list[str]) -> Any:
    """A proposal; operations that it refers to are named by their number."""
    plain = {}
    for name, value in params.items():
        named = value.id if isinstance(value, Operation) else value
        plain[name] = ids.index(named) + 1 if named in ids else named
    return {"at": format_duration(at), "by": by, "kind": kind, **plain}


def _fault(given: tuple[Any, ...], more: Mapping[str, Any], n: int) -> Fault:
    fault = given[0] if given else {}
    if isinstance(fault, Fault):
        return fault
    named = {"kind": fault} if isinstance(fault, str) else dict(fault)
    fields = {key.rstrip("_"): value for key, value in {**named, **more}.items()}
    return parse_fault(fields, n)


def _end(open_ones: dict[tuple[str, Any], dict[str, Any]], key: tuple[str, Any], at: int) -> None:
    fault = open_ones.pop(key, None)
    if fault is None:
        return
    began = parse_duration(fault["at"])
    word = "restart_after" if key[0] == "crash" else "for"
    fault[word] = format_duration(max(1, at - began))
