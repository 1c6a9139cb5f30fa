"""`Smaller`: the least that fails in the same way, offered wherever something is violated.

It runs in a thread of its own, so that the lab goes on; what it finds is a file and a picture.
"""

from __future__ import annotations

import threading
from pathlib import Path

from matplotlib.axes import Axes

from mpclab.core.errors import UsageError
from mpclab.core.words import count
from mpclab.lab import Lab, Scenario
from mpclab.panels import controls, theme
from mpclab.panels.controller import Controller
from mpclab.search import Shrunk, shrink

FILE = "smallest.yaml"
_SECONDS = 60.0  # of CPU


class Smaller:
    """A button, how far it is, a way to end it, and what it found. `box` is the widget."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.button = controls.button(
            "Make it small", self._press, icon="compress", name="shrink",
            tip="find the smallest scenario that still fails in this way: a file and a picture",
        )  # fmt: skip
        self.words = controls.page("", "mpclab-shrunk")
        self.picture = controls.Picture("")
        self.box = controls.column(controls.row(self.button, self.words), self.picture.box)
        controls.show(self.picture.box, False)
        self._thread: threading.Thread | None = None
        self._cancelled = threading.Event()

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def refresh(self, violated: bool) -> None:
        controls.show(self.box, violated or self.is_running or bool(self.words.value))
        self.button.description = "Cancel" if self.is_running else "Make it small"

    def clear(self) -> None:
        """Another lab: what was found belongs to the one before."""
        self._cancelled.set()
        self.words.value = ""
        controls.show(self.picture.box, False)

    def _press(self) -> None:
        if self.is_running:
            self._cancelled.set()
            return
        scenario = what_was_done(self.controller.lab)
        cancelled = self._cancelled = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(scenario, cancelled), name="mpclab-shrink", daemon=True
        )
        self._thread.start()
        self.controller.wake()

    def _run(self, scenario: Scenario, cancelled: threading.Event) -> None:
        def progress(best: Scenario, tried: int) -> bool:
            parts = f"{count(best.parties, 'party')}, {count(len(best.operations), 'operation')}"
            self.words.value = (
                f'<span class="mpclab-small">{tried} runs; so far {parts}, '
                f"{count(len(best.faults), 'fault')}</span>"
            )
            return not cancelled.is_set()

        try:
            found = shrink(scenario, seconds=_SECONDS, progress=progress)
            if not cancelled.is_set() or found.run is not None:
                self._show(found)
        except UsageError as error:
            self.words.value = theme.badge(error, theme.WARN)
        except Exception as error:
            self.controller.fail(error)
        self.controller.wake()

    def _show(self, found: Shrunk) -> None:
        where = found.save(Path(FILE))
        told, _, text = str(found).partition("\n\n")

        def draw() -> Axes | None:
            return found.picture().axes[0] if found.run is not None else None

        self.picture.draw(draw, dpi=110)
        controls.show(self.picture.box, True)
        self.words.value = (
            f"{theme.escape(told)}<br>saved as <code>{where}</code>: load it above, or "
            f"<code>mpclab run {where}</code><details><summary>the file</summary>"
            f"<pre>{theme.escape(text)}</pre></details>"
        )


def what_was_done(lab: Lab) -> Scenario:
    """A lab's own scenario where it was played from one, else what was done to it by hand."""
    planned = lab.scenario.operations or lab.scenario.schedule
    return lab.scenario if planned else lab.to_scenario()
