"""`shrink`: the smallest scenario that still fails in the same way.

Delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", IEEE
TSE 28(2), 2002) over a scenario's parts: steps of `smaller` are taken as long as the run fails as
the first one did. What is left is 1-minimal with regard to these steps: without any one of its
operations, faults and parties it no longer fails so (unless `seconds` ran out first).

Another number of parties draws other delays from the same seed, so that a smaller scenario may hide
its failure; a few seeds are tried for each.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpclab.check import Verdict
from mpclab.core.errors import UsageError
from mpclab.lab.run import Run
from mpclab.lab.scenario import Scenario
from mpclab.search.smaller import smaller

if TYPE_CHECKING:
    from mpclab.plots.style import Picture

SEEDS = 3
"""Seeds that are tried when a party is gone, after the scenario's own."""


@dataclass(frozen=True)
class Shrunk:
    """What `shrink` found.

    Attributes:
        scenario: the smallest one; `save` it.
        run: its run, which fails in this `way`.
        first: the scenario from which it began.
        tried: how many runs it took.
        stopped: why it ended before nothing more could be left out; "": nothing can.
    """

    scenario: Scenario
    run: Run | None = field(repr=False)
    way: str
    first: Scenario = field(repr=False)
    tried: int
    seconds: float
    stopped: str = ""

    def save(self, path: str | Path, *, private: bool = False) -> Path:
        """Write the scenario as a file for `mpclab run`; see `Scenario.to_file`."""
        self.scenario.to_file(path, private=private)
        return Path(path)

    def picture(self) -> Picture:
        """The space-time diagram of what is left; the rows that prove the failure stand out."""
        from mpclab.plots import spacetime
        from mpclab.plots.style import Picture

        if self.run is None:
            raise UsageError("the run ended in a fault of the program: there is nothing to draw")
        proof = [row for v in self.run.verdicts if v.verdict == "violated" for row in v.witnesses]
        axes = spacetime(self.run.trace, since=self.run.ready_at, highlight=proof)
        assert isinstance(axes.figure, Picture)
        return axes.figure

    def __str__(self) -> str:
        was, now = self.first, self.scenario
        counts = [
            f"{len(getattr(was, name))} → {len(getattr(now, name))} {name}"
            for name in ("operations", "faults")
        ]
        how = f"stopped: {self.stopped}" if self.stopped else "nothing more can be left out"
        return (
            f"{was.parties} → {now.parties} parties, {', '.join(counts)}, {self.tried} runs ({how})"
            f"\nstill: {self.way}\n\n{now.to_text()}"
        )


def shrink(
    what: Run | Scenario | str | Path,
    fails: Callable[[Run], Any] | None = None,
    *,
    seconds: float = 60.0,
    progress: Callable[[Scenario, int], bool | None] = lambda best, tried: None,
) -> Shrunk:
    """Make a scenario that fails as small as it can be.

    Args:
        what: a run, a scenario, or a scenario's file.
        fails: what is wrong with a run, a value that is not equal for two ways of failing; false
            when all is well. By default the first violated check and its sentence, without
            numbers. A run that ends in a fault of the program fails in that way.
        seconds: at the most, of this process's CPU; what was found until then is given.
        progress: called after each run with the smallest so far and the number of runs; `False`
            cancels, and so does Ctrl-C.

    Raises:
        UsageError: it does not fail; or it fails on real sockets alone, which no seed repeats.
    """
    scenario = _scenario(what)
    if scenario.world != "simulated":
        scenario = scenario.but(world="simulated")
    search = _Shrinking(scenario, fails, seconds, progress)
    if not search.way:
        where = (
            f" (in world {what.world} it did)" if isinstance(what, Run) and what.violated else ""
        )
        raise UsageError(f"the scenario does not fail in the simulated world{where}")
    return search.run()


def _scenario(what: Run | Scenario | str | Path) -> Scenario:
    if isinstance(what, Run):
        return what.scenario
    return what if isinstance(what, Scenario) else Scenario.from_file(what)


class _Shrinking:
    def __init__(
        self,
        scenario: Scenario,
        fails: Callable[[Run], Any] | None,
        seconds: float,
        progress: Callable[[Scenario, int], bool | None],
    ) -> None:
        self.fails = fails
        self.seconds = seconds
        self.progress = progress
        self.began = time.process_time()
        self.known: set[str] = set()
        self.tried = 0
        self.first = self.best = scenario
        self.last, self.wrong = self._play(scenario)
        self.way: Any = self.wrong[0] if self.wrong else None

    def run(self) -> Shrunk:
        stopped = ""
        try:
            stopped = self._descend()
        except KeyboardInterrupt:
            stopped = "Ctrl-C"
        spent = time.process_time() - self.began
        way = str(self.way)
        return Shrunk(self.best, self.last, way, self.first, self.tried, spent, stopped)

    def _descend(self) -> str:
        while True:
            before = self.best
            for candidate in self._candidates():
                if self.progress(self.best, self.tried) is False:
                    return "cancelled"
                if time.process_time() - self.began > self.seconds:
                    return f"{self.seconds:g} s"
                if self._fails(candidate):
                    break
            if self.best is before:
                return ""

    def _candidates(self) -> Iterator[Scenario]:
        best = self.best
        names = [self.way.split(":")[0]] if self.fails is None and ":" in str(self.way) else []
        if names and tuple(names) != best.checks and names[0] in best.checks:
            yield best.but(checks=tuple(names))
        for candidate in smaller(best):
            yield candidate
            if candidate.parties < best.parties:
                for seed in range(SEEDS):
                    yield candidate.but(seed=seed)

    def _fails(self, candidate: Scenario) -> bool:
        """Try one, and keep it when it is as bad."""
        key = repr((candidate, candidate.private))
        if key in self.known:
            return False
        self.known.add(key)
        try:
            run, wrong = self._play(candidate)
        except UsageError:
            return False  # without that, it is no scenario
        if self.way not in wrong:
            return False
        self.best, self.last = candidate, run
        return True

    def _play(self, scenario: Scenario) -> tuple[Run | None, list[Any]]:
        self.tried += 1
        try:
            run = scenario.run()
        except UsageError:
            raise
        except Exception as error:  # a fault of the program is a way to fail, too
            return None, [f"{type(error).__name__}: {plain(str(error))}"]
        if self.fails is not None:
            found = self.fails(run)
            return run, [found] if found else []
        return run, ways(run)


def ways(run: Run) -> list[str]:
    """How a run fails: its violated checks with their sentences, without what another run of the
    same failure would say differently (numbers, parties, ids)."""
    ops = [outcome.op for outcome in run.outcomes]
    return [f"{v.check}: {_kind_of(v, ops)}" for v in run.verdicts if v.verdict == "violated"]


def _kind_of(verdict: Verdict, ops: list[str]) -> str:
    sentence = verdict.sentence
    for op in ops:
        sentence = re.sub(rf"(?<!\w){re.escape(op)}(?!\w)", "an operation", sentence)
    sentence = re.split(r"[:;(]|, because", sentence, maxsplit=1)[0]
    return plain(sentence)


_SOME = re.compile(r"(nobody|(no )?part(y|ies)) (\d+)(, \d+)*( and \d+)?")


def plain(sentence: str) -> str:
    """A sentence without its numbers."""
    sentence = _SOME.sub("some", sentence)
    sentence = re.sub(r"\b[0-9a-f]{8,}\b", "…", sentence)
    return re.sub(r"\d+(\.\d+)?", "#", sentence).strip()
