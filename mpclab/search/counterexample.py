"""A run that breaks a promise: in words, as a trace to draw, and as a scenario that repeats it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mpclab.lab.run import Run
from mpclab.lab.scenario import Scenario
from mpclab.model import schedule
from mpclab.model.explorer import Explorer
from mpclab.model.fair import FairEnd
from mpclab.model.states import State, Step
from mpclab.search.subject import Subject
from mpclab.trace.log import Trace

if TYPE_CHECKING:
    from mpclab.plots.style import Picture


@dataclass(frozen=True)
class Counterexample:
    """A run that breaks a promise.

    Attributes:
        problem: the promise, and who broke it.
        steps: what happened, from the beginning.
        scenario: the same as a scenario, which `mpclab run` repeats; `save` it.
        run: its run: the trace to draw, the violated verdict.
    """

    problem: str
    steps: tuple[Step, ...]
    scenario: Scenario = field(repr=False)
    run: Run = field(repr=False)

    @property
    def trace(self) -> Trace:
        """The run as rows, to draw with `spacetime` or to show as a page."""
        return self.run.trace

    def save(self, path: str | Path) -> Path:
        """Write the scenario as a file for `mpclab run`."""
        self.scenario.to_file(path)
        return Path(path)

    def picture(self) -> Picture:
        """The space-time diagram; the rows that prove the violation stand out."""
        from mpclab.plots import spacetime
        from mpclab.plots.style import Picture

        proof = [row for v in self.run.verdicts if v.verdict == "violated" for row in v.witnesses]
        axes = spacetime(self.run.trace, highlight=proof)
        assert isinstance(axes.figure, Picture)
        return axes.figure

    def __str__(self) -> str:
        told = "\n".join(f"{i:3d}. {step.text}" for i, step in enumerate(self.steps, 1))
        return f"{self.problem}\n{told}"


def counterexample(
    asked: Subject, model: Explorer, steps: Sequence[Step], *, fairly: bool = False
) -> Counterexample:
    """The counterexample that `steps` are, without those it does not need, run once more.

    Raises:
        AssertionError: followed on fresh machines it breaks nothing, which would be a bug here.
    """
    steps = trimmed(model, steps, fairly=fairly)
    problem = _problem(model, _end(model, steps), fairly=fairly)
    lines = schedule.write(model, steps, fairly=fairly)
    checks = ["agreement", "total-order"]
    if problem.endswith("though nothing goes wrong any more"):
        checks = ["termination"]
    elif " lead term " in problem:
        checks = ["leaders"]
    elif " blames " in problem:
        checks = ["blame"]
    scenario = asked.scenario(lines, checks, problem)
    run = scenario.run()
    assert run.violated, f"a counterexample that does not repeat: {problem}\n{run!r}\n{lines}"
    return Counterexample(problem, tuple(steps), scenario, run)


def trimmed(model: Explorer, steps: Sequence[Step], *, fairly: bool = False) -> tuple[Step, ...]:
    """The steps without those that the problem does not need, the last ones first: each is left
    out, and what then cannot happen with it, where a problem of the same kind is left."""
    kind = _kind(_problem(model, _end(model, steps), fairly=fairly))
    best = tuple(steps)
    place = len(best) - 1
    while place >= 0:
        found = _without(model, best, place)
        if _kind(_problem(model, _end(model, found), fairly=fairly)) == kind:
            best = found
        place = min(place, len(best)) - 1
    return best


def _without(model: Explorer, steps: Sequence[Step], place: int) -> tuple[Step, ...]:
    state, kept = model.initial, []
    for i, step in enumerate(steps):
        if i == place:
            continue
        plain = step._replace(cut=-1, text="")
        if any(one._replace(text="") == plain for one in model.enabled(state)):
            ways = {told.cut: after for told, after, _ in model.follow(state, plain)}
            if step.cut in ways:
                state = ways[step.cut]
                kept.append(step)
    return tuple(kept)


def _end(model: Explorer, steps: Sequence[Step]) -> State:
    state = model.initial
    for step in steps:
        state, _ = model.go(state, step)
    return state


def _problem(model: Explorer, state: State, *, fairly: bool) -> str:
    found = model.problem(state)
    if not found and fairly:
        found = FairEnd(model, state).run()
    return found


def _kind(problem: str) -> str:
    return "".join(c for c in problem if not c.isdigit())
