"""A plan of faults: read from a scenario, put on the world's agenda, injected by hand.

    faults:
      - {at: 100ms, for: 2s, kind: partition, groups: [[1, 2], [3, 4]]}
      - {at: 300ms, kind: crash, party: 2, restart_after: 1s}
      - {at: 0ms, kind: loss, rate: 0.3, from: [1], to: [2, 3], both: true}
      - {at: 0ms, kind: equivocate, party: 1}

`KINDS` lists all kinds by name; `KINDS[name].doc()` says each in one line.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import Party
from mpclab.faults.fault import KINDS, Fault, FaultTarget

__all__ = [
    "KINDS",
    "Fault",
    "FaultTarget",
    "Injection",
    "aimed_at",
    "heal_all",
    "inject",
    "parse_fault",
    "schedule",
]


def parse_fault(fields: Mapping[str, Any], n: int, index: int | None = None) -> Fault:
    """Read one entry of a scenario's `faults`, for parties `1..n`.

    Raises:
        UsageError: naming the field (`faults[2].groups`) that is unknown, missing or wrong.
    """
    prefix = "fault" if index is None else f"faults[{index}]"
    kind = fields.get("kind")
    if kind is None:
        raise UsageError(f"{prefix}.kind is missing; known: {', '.join(sorted(KINDS))}")
    if kind not in KINDS:
        raise UsageError(f"{prefix}.kind: {kind!r} is not a fault{nearest(str(kind), KINDS)}")
    return KINDS[kind].parse(fields, n, prefix)


def schedule(
    fault: Fault, target: FaultTarget, index: int | None = None, *, origin: int = 0
) -> "Injection":
    """Let `fault` begin and end at its times, counted from `origin`, µs of the world's clock.
    `index` is its number in the run, if it has one.

    A fault that cannot act when its time comes (the party to be paused has crashed) says so in
    the trace, and the run goes on.
    """
    number = target.link_rules.number(index)
    begins = origin + fault.at
    target.at(begins, partial(_begin, fault, target, number))
    if fault.lasts is not None:
        target.at(begins + fault.lasts, partial(_end, fault, target, number))
    return Injection(fault, target, number)


def inject(fault: Fault, target: FaultTarget, index: int | None = None) -> "Injection":
    """Let `fault` begin now, whatever its `at` says, and last as long as it says."""
    number = target.link_rules.number(index)
    _begin(fault, target, number)
    if fault.lasts is not None:
        target.at(target.now + fault.lasts, partial(_end, fault, target, number))
    return Injection(fault, target, number)


class Injection:
    """A fault on a target: `heal()` ends it before its time.

    Attributes:
        healer: who ends it when asked to, where somebody writes down what is done.
    """

    def __init__(self, fault: Fault, target: FaultTarget, index: int) -> None:
        self.fault = fault
        self.index = index
        self.healer: Callable[[Injection], object] | None = None
        self._target = target

    def heal(self) -> None:
        """End the fault now; ending it twice is fine."""
        if self.healer is None:
            self.end()
        else:
            self.healer(self)

    def end(self) -> None:
        """`heal`, unwritten."""
        _end(self.fault, self._target, self.index)

    @property
    def active(self) -> bool:
        """Whether it has begun and not ended."""
        return self.index in self._target.link_rules.active

    def __repr__(self) -> str:
        rules = self._target.link_rules
        word = "active" if self.active else "over" if self.index in rules.ended else "not begun"
        return f"{self.fault.sentence()} ({word})"


def heal_all(target: FaultTarget) -> None:
    """End every fault that is active now."""
    for index, fault in list(target.link_rules.active.items()):
        _end(fault, target, index)


def aimed_at(faults: Iterable[Fault]) -> tuple[Party, ...]:
    """All parties that some of `faults` name."""
    return tuple(sorted({p for fault in faults for p in fault.parties()}))


def _begin(fault: Fault, target: FaultTarget, index: int) -> None:
    if index in target.link_rules.ended:
        return  # healed before it began
    try:
        fault.ready(target)
    except UsageError as error:
        _mark(fault, target, index, "act", f"does not happen: {error}")
        return
    # The row comes first: what follows from the fault follows it in the trace.
    _mark(fault, target, index, "begin", fault.sentence())
    target.link_rules.active[index] = fault
    try:
        fault.begin(target, index)
    except UsageError as error:
        _mark(fault, target, index, "act", f"does not happen: {error}")
        _end(fault, target, index)
    if fault.momentary:
        _end(fault, target, index)


def _end(fault: Fault, target: FaultTarget, index: int) -> None:
    target.link_rules.ended.add(index)
    if target.link_rules.active.pop(index, None) is None:
        return
    _mark(fault, target, index, "end", fault.sentence())
    try:
        fault.end(target, index)
    except UsageError as error:
        _mark(fault, target, index, "act", f"could not be healed: {error}")


def _mark(fault: Fault, target: FaultTarget, index: int, phase: str, text: str) -> None:
    life = fault.life if phase == "begin" else "up" if phase == "end" and fault.life else ""
    target.mark_fault(
        index, fault.word, phase, fault.parties(), text, byzantine=fault.byzantine, life=life
    )
