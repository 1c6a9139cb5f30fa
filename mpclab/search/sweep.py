"""`sweep`: one scenario many times, with other values and other seeds, on all the cores there are.

    found = sweep(scenario, over={"network.loss": [0, 0.1, 0.3], "parties": [4, 7]}, seeds=20)
    found.frame                                   # a row for each run, a pandas DataFrame
    found.picture("network.loss", "parties")      # the part of runs that fail, cell by cell
    found.failing({"network.loss": 0.3}).run()    # the first run that fails there

Runs share nothing, so they may be anywhere: in processes of this machine, or on a Dask cluster
whose client is given. With a `store` every result is a line of a file as soon as it is there, and a
sweep that was stopped goes on from what is in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import multiprocessing
import os
import queue
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mpclab.core.errors import UsageError, nearest
from mpclab.lab.scenario import Scenario
from mpclab.search.shrink import ways

if TYPE_CHECKING:
    from mpclab.plots.style import Picture

AHEAD = 4
"""Runs for each worker that are handed out before others come back."""

Point = dict[str, Any]
"""A value for each key that is swept over."""


class Client(Protocol):
    """What takes runs: a `dask.distributed.Client`, or any executor of `concurrent.futures`."""

    def submit(self, call: Callable[..., Any], /, *args: Any) -> Any: ...


@dataclass(frozen=True)
class Sweep:
    """The results of a sweep.

    Attributes:
        scenario: the one that was varied; `over`: by what.
        rows: one for each run that was done: its point, its seed, and what came of it.
        total: how many runs were asked for.
        stopped: why some were not done.
    """

    scenario: Scenario = field(repr=False)
    over: Mapping[str, Sequence[Any]]
    rows: tuple[Point, ...] = field(repr=False)
    total: int
    seconds: float
    stopped: str = ""

    @property
    def frame(self) -> Any:
        """A `pandas.DataFrame`, one row a run, in the order of points and seeds."""
        import pandas

        return pandas.DataFrame(list(self.rows))

    def rates(self, *keys: str, value: str = "fails") -> Any:
        """The mean of `value` for each point of `keys`: a `pandas.Series`."""
        return self.frame.groupby(list(keys or self.over))[value].mean()

    def picture(self, x: str, y: str = "", *, value: str = "fails") -> Picture:
        """The phase diagram: the mean of `value` in each cell of `x` and `y`."""
        from mpclab.plots.phases import phases

        return phases(self.frame, x, y, value=value)

    def failing(self, point: Mapping[str, Any] | None = None) -> Scenario | None:
        """The scenario of the first run that failed, where `point` has its values; None: none."""
        for row in self.rows:
            if row["fails"] and all(row[k] == v for k, v in (point or {}).items()):
                return at(self.scenario, {k: row[k] for k in self.over}, row["seed"])
        return None

    def __str__(self) -> str:
        fails = sum(row["fails"] for row in self.rows)
        words = f"{len(self.rows)} of {self.total} runs, {fails} of them fail"
        return f"{words} (stopped: {self.stopped})" if self.stopped else words


def sweep(
    scenario: Scenario | str | Path,
    over: Mapping[str, Iterable[Any]],
    *,
    seeds: int | Iterable[int] = 10,
    client: Client | None = None,
    processes: int | None = None,
    store: str | Path | None = None,
    progress: Callable[[int, int], bool | None] = lambda done, total: None,
) -> Sweep:
    """Run `scenario` for every combination of the values of `over`, with every seed.

    Args:
        over: values by key; a key within a key is written with a dot: `network.loss`,
            `agreement.raft.prevote`, `faults.0.rate`.
        seeds: these, or so many from 0 on.
        client: a `dask.distributed.Client`, whose workers have mpclab.
        processes: on this machine, where no client is given; by default one for each core. 0: no
            others, which a protocol needs that is written in a notebook's cell.
        store: a file for the results, a line of JSON each. What is in it is not run again.
        progress: called with how many runs are done, of how many; `False` stops, and so does
            Ctrl-C.

    Raises:
        UsageError: a key that a scenario does not have, a value that it cannot have; nothing was
            run.
    """
    base = scenario if isinstance(scenario, Scenario) else Scenario.from_file(scenario)
    values = {key: list(found) for key, found in over.items()}
    chosen = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    points = [dict(zip(values, one, strict=True)) for one in itertools.product(*values.values())]
    for point in points:
        at(base, point, 0)  # all of them can be run, or none is
    began = time.perf_counter()
    jobs = [(point, seed) for point in points for seed in chosen]
    kept = _Store(store, base)
    missing = [job for job in jobs if kept.key(*job) not in kept.rows]
    stopped = ""
    done = len(jobs) - len(missing)
    if progress(done, len(jobs)) is False:
        stopped, missing = "cancelled", []
    try:
        with contextlib.closing(_results(base, missing, client, processes)) as results:
            for point, seed, row in results:
                kept.add(point, seed, row)
                done += 1
                if progress(done, len(jobs)) is False:
                    stopped = "cancelled"
                    break
    except KeyboardInterrupt:
        stopped = "Ctrl-C"
    rows = [kept.rows[key] for job in jobs if (key := kept.key(*job)) in kept.rows]
    stopped = stopped if len(rows) < len(jobs) else ""
    return Sweep(base, values, tuple(rows), len(jobs), time.perf_counter() - began, stopped)


def at(scenario: Scenario, point: Mapping[str, Any], seed: int) -> Scenario:
    """The scenario with the values of a point, and a seed.

    Raises:
        UsageError: it cannot have them.
    """
    fields = scenario.as_fields(private=True)
    if scenario.threshold == scenario.parties // 2 + 1:
        fields.pop("threshold", None)  # a majority stays a majority
    for key, value in point.items():
        _put(fields, key.split("."), value, key)
    return Scenario.parse({**fields, "seed": seed})


def _put(fields: Any, names: list[str], value: Any, key: str) -> None:
    """Set a field within fields."""
    name, *rest = names
    if isinstance(fields, list):
        if not name.isdigit() or int(name) >= len(fields):
            raise UsageError(f"over: {key!r}: there is no number {name}")
        if rest:
            _put(fields[int(name)], rest, value, key)
        else:
            fields[int(name)] = value
    elif rest:
        inner = fields.setdefault(name, {})
        if isinstance(inner, str):  # `agreement: raft` with no option yet
            if inner != rest[0]:
                raise UsageError(f"over: {key!r}: {name} is {inner}{nearest(rest[0], [inner])}")
            inner = fields[name] = {inner: {}}
        _put(inner, rest, value, key)
    else:
        fields[name] = value


def run_one(text: str, seed: int) -> dict[str, Any]:
    """Run the scenario of a text with a seed, in whatever process; what came of it, plain."""
    began = time.perf_counter()
    scenario = Scenario.parse({**json.loads(text), "seed": seed})
    try:
        run = scenario.run()
    except Exception as error:  # a fault of the program is a result, too
        failed = f"{type(error).__name__}: {error}"
        return {"fails": True, "how": failed[:300], "seconds": time.perf_counter() - began}
    status = [outcome.status for outcome in run.outcomes]
    took = [
        outcome.committed_at_ms - (outcome.proposed_at_ms or 0.0)
        for outcome in run.outcomes
        if outcome.committed_at_ms is not None
    ]
    found = ways(run)
    return {
        "fails": bool(found),
        "how": found[0] if found else "",
        "committed": status.count("committed") / len(status) if status else 0.0,
        "commit_ms": sorted(took)[len(took) // 2] if took else None,
        "messages": run.messages["sent"],
        "digest": run.trace.digest()[:16],
        "seconds": time.perf_counter() - began,
    }


def _results(
    base: Scenario, jobs: list[tuple[Point, int]], client: Client | None, processes: int | None
) -> Generator[tuple[Point, int, dict[str, Any]]]:
    """The results of jobs as they come."""
    if not jobs:
        return
    texts = [
        (json.dumps(at(base, point, seed).as_fields(private=True)), seed) for point, seed in jobs
    ]
    if client is None and processes == 0:
        for job, (text, seed) in zip(jobs, texts, strict=True):
            yield (*job, run_one(text, seed))
        return
    with contextlib.ExitStack() as stack:
        if client is None:
            workers = processes or os.cpu_count() or 1
            # Fresh processes: a fork would inherit a lab's threads and their locks.
            spawn = multiprocessing.get_context("spawn")
            client = stack.enter_context(ProcessPoolExecutor(workers, mp_context=spawn))
        else:
            cores: dict[str, int] = getattr(client, "nthreads", dict)()
            workers = sum(cores.values()) if cores else os.cpu_count() or 1
        finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        waiting = iter(enumerate(texts))
        running: dict[Any, int] = {}

        def hand_out(count: int) -> None:
            for place, text in itertools.islice(waiting, count):
                future = client.submit(run_one, *text)
                running[future] = place
                future.add_done_callback(finished.put)

        try:
            hand_out(AHEAD * workers)
            while running:
                future = finished.get()
                place = running.pop(future)
                hand_out(1)
                yield (*jobs[place], future.result())
        finally:
            for future in running:
                future.cancel()


class _Store:
    """The results so far, by point and seed, in memory and in a file."""

    def __init__(self, path: str | Path | None, scenario: Scenario) -> None:
        self.path = Path(path) if path is not None else None
        fields = {**scenario.as_fields(private=True), "seed": 0}
        self.mark = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]
        self.rows: dict[str, dict[str, Any]] = {}
        if self.path is not None and self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):  # cut off by whoever stopped it
                    kept = json.loads(line)
                    if kept.get("of") == self.mark:
                        self.rows[kept["key"]] = kept["row"]

    def key(self, point: Point, seed: int) -> str:
        return json.dumps([point, seed], sort_keys=True)

    def add(self, point: Point, seed: int, row: dict[str, Any]) -> None:
        key = self.key(point, seed)
        self.rows[key] = {**point, "seed": seed, **row}
        if self.path is not None:
            kept = {"of": self.mark, "key": key, "row": self.rows[key]}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(kept) + "\n")
