"""The phase diagram of a sweep as buttons: a click on a cell opens a run that failed there."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from mpclab.core.errors import UsageError
from mpclab.lab import Run, Scenario
from mpclab.panels import controls
from mpclab.plots import spacetime
from mpclab.search.sweep import Client, Sweep, sweep

_COLOURS = ("#e6f4ea", "#fff3bf", "#ffd8a8", "#ffa8a8", "#e03131")
"""From no failure to nothing but failures. Every cell also says its number."""


class PhaseDiagram:
    """A grid of cells, one for each pair of values, with the part of runs that fail.

    Displaying it in a notebook shows it; `.widget` is the ipywidget.

    Attributes:
        scenario, run: those of the cell that was clicked last; None before, or where none failed.
    """

    def __init__(self, found: Sweep, x: str, y: str = "") -> None:
        for key in (x, *([y] if y else [])):
            if key not in found.over:
                raise UsageError(f"{key} was not swept over; there is {', '.join(found.over)}")
        self.found = found
        self.scenario: Scenario | None = None
        self.run: Run | None = None
        self.said = controls.page("A click on a cell opens a run that failed there.")
        self.picture = widgets.Output()
        self.cells: dict[tuple[Any, Any], Any] = {}
        columns: Sequence[Any] = found.over[x]
        rows: Sequence[Any] = found.over[y] if y else [None]
        head = [widgets.Label(f"{y} ↓  {x} →" if y else f"{x} →")]
        grid = head + [widgets.Label(str(one)) for one in columns]
        for row in rows:
            grid.append(widgets.Label("" if row is None else str(row)))
            for column in columns:
                point = {x: column} | ({y: row} if y else {})
                grid.append(self._cell(point, (column, row)))
        layout = widgets.Layout(
            grid_template_columns=f"max-content repeat({len(columns)}, 72px)", grid_gap="2px"
        )
        table = widgets.GridBox(grid, layout=layout)
        self.widget = widgets.VBox([table, self.said, self.picture])

    def _cell(self, point: Mapping[str, Any], place: tuple[Any, Any]) -> Any:
        rows = [r for r in self.found.rows if all(r[k] == v for k, v in point.items())]
        fails = sum(row["fails"] for row in rows)
        rate = fails / len(rows) if rows else 0.0
        words = ", ".join(f"{k} = {v}" for k, v in point.items())
        button = widgets.Button(
            description=f"{rate:.0%}" if rows else "–",
            tooltip=f"{words}: {fails} of {len(rows)} runs fail",
            layout=widgets.Layout(width="70px"),
        )
        button.style.button_color = _COLOURS[min(4, int(rate * 4 + 0.999))]
        button.on_click(lambda _: self.open(point))
        self.cells[place] = button
        return button

    def open(self, point: Mapping[str, Any]) -> None:
        """Run the first scenario that failed at `point` once more, and show it."""
        self.scenario = self.found.failing(point)
        self.picture.clear_output()
        words = ", ".join(f"{k} = {v}" for k, v in point.items())
        if self.scenario is None:
            self.run = None
            self.said.value = html.escape(f"{words}: no run failed")
            return
        self.run = self.scenario.run()
        bad = [v for v in self.run.verdicts if v.verdict == "violated"]
        lines = [f"{words}, seed {self.scenario.seed}", *map(str, bad)]
        self.said.value = "<br>".join(map(html.escape, lines))
        proof = [row for v in bad for row in v.witnesses]
        figure = spacetime(self.run.trace, since=self.run.ready_at, highlight=proof).figure
        self.picture.append_display_data(figure)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)


class SweepPanel:
    """A sweep behind a progress bar with a button that stops it; then its phase diagram.

    Attributes:
        found: what came of it, once it has ended.
        thread: where it runs, so that the kernel hears the button.
    """

    def __init__(
        self,
        scenario: Scenario,
        over: Mapping[str, Sequence[Any]],
        *,
        seeds: int = 10,
        client: Client | None = None,
        processes: int | None = None,
        store: str | None = None,
    ) -> None:
        self.found: Sweep | None = None
        self.thread: threading.Thread | None = None
        self._stopped = False
        self.bar = widgets.IntProgress(min=0, max=1)
        self.count = widgets.Label("")
        self.stop = widgets.Button(description="Stop")
        self.stop.on_click(lambda _: self.end())
        self.start = widgets.Button(description="Run", button_style="primary")
        self.start.on_click(lambda _: self.go())
        self.below = widgets.VBox([])
        bar = widgets.HBox([self.start, self.stop, self.bar, self.count])
        self.widget = widgets.VBox([bar, self.below])
        self._over = dict(over)
        self._sweep: Callable[[], Sweep] = lambda: sweep(
            scenario, over, seeds=seeds, client=client, processes=processes, store=store,
            progress=self._progress,
        )  # fmt: skip

    def go(self) -> None:
        """Begin; what a `store` has is not run again."""
        if self.thread is None or not self.thread.is_alive():
            self._stopped = False
            self.thread = threading.Thread(target=self._run, name="sweep", daemon=True)
            self.thread.start()

    def _run(self) -> None:
        try:
            self.found = self._sweep()
        except Exception as error:
            self.count.value = f"{type(error).__name__}: {error}"
            return
        self.count.value = str(self.found)
        x, *rest = self._over
        self.below.children = (PhaseDiagram(self.found, x, *rest[:1]).widget,)

    def end(self) -> None:
        """Let no further run begin."""
        self._stopped = True

    def _progress(self, done: int, total: int) -> bool:
        self.bar.max, self.bar.value = total, done
        self.count.value = f"{done} of {total} runs"
        return not self._stopped

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)
