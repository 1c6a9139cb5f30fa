"""`Controller`: what the panels of one lab share. The lab, one worker thread, one ticker.

A button hands its verb to the worker and returns, so that nothing freezes while a mesh is set
up. The ticker reads the trace's new rows about eight times a second, folds them into a state,
and has each panel paint what changed: panels pull, no machine knows of them. Both are daemon
threads: neither keeps a kernel from exiting (a ThreadPoolExecutor's would, being joined there).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from mpclab.core.errors import UsageError
from mpclab.core.notes import NotAdmitted
from mpclab.core.words import count
from mpclab.lab import Lab, Scenario
from mpclab.lab.one_session import OneSession
from mpclab.panels.sentences import is_background
from mpclab.trace.fold import State
from mpclab.trace.rows import Asked, Delivered, Dropped, Fired, Noted, Row, Sent

TICK: Final = 0.125  # seconds
QUIET: Final = 1.0
"""How often (s) panels are painted while nothing but heartbeats comes: clocks and counts go on."""
SIMULATED_PORT: Final = 8080

log = logging.getLogger("mpclab.panels")
log.addHandler(logging.NullHandler())  # else a thread's log line lands in some cell

_controllers: weakref.WeakKeyDictionary[Lab, Controller] = weakref.WeakKeyDictionary()


@dataclass(slots=True)
class Tick:
    """The news for a panel, about eight times a second.

    Attributes:
        rows: those that came since the last tick, of which `first` is the number of the first.
        state: the fold over all rows so far. Read it, never change it.
        needs_redraw: something came that is worth a new picture: not heartbeats alone.
        is_new: the lab is another one than at the last tick, or this is the panel's first.
        clock: seconds, for what is done every so often.
    """

    lab: Lab
    state: State
    rows: list[Row]
    first: int
    needs_redraw: bool
    is_new: bool
    clock: float


class Painted(Protocol):
    """A panel as a controller needs it."""

    @property
    def controller(self) -> Controller: ...

    def paint(self, now: Tick) -> None:
        """Set what changed since the last tick."""

    def redraw(self) -> None:
        """Draw the picture anew at the next tick."""

    @property
    def is_behind(self) -> bool:
        """Whether it shows less than the trace has, and will catch up at a later tick."""


class Controller:
    """The lab of some panels. `lab` is the current one: switching worlds replaces it.

    Args:
        lab: the lab to show.
        owned: the controller made it, and closes it when the last panel is closed.
    """

    def __init__(self, lab: Lab, *, owned: bool = False) -> None:
        self.lab = lab
        self.session = ""  # which of its sessions is shown; "": the first
        self._view: OneSession | None = None
        self.owned = owned
        self.state = State()
        self.busy = ""  # what the worker is doing, in words
        self.error = ""
        self.said = ""
        self.interrupted = threading.Event()  # a verb that takes long looks at it
        self.highlight: tuple[int, ...] = ()  # rows that a verdict names
        self.kinds: set[str] = set()  # of messages seen, heartbeats left out
        self.panels: list[Painted] = []
        self._new: set[int] = set()  # panels that have not seen this lab yet, by id
        self._cursor = (0, 0)
        self._trace = lab.trace
        self._background: set[tuple[int, int]] = set()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        self._ticker: threading.Thread | None = None
        self._painting = threading.RLock()
        self._starting = threading.Lock()
        self._wake = threading.Event()
        self._pending = 0
        self._unpainted: list[Row] = []  # heartbeats: they wait for the next painting
        self._painted = 0.0
        _controllers[lab] = self

    # --- panels -------------------------------------------------------------------------------

    def attach(self, panel: Painted) -> None:
        """Paint `panel` from now on."""
        with self._painting:
            self.panels.append(panel)
            self._new.add(id(panel))
        self._start()
        self.tick(only=panel)

    def detach(self, panel: Painted) -> None:
        """Stop painting it. When none is left, the ticker stops, and a lab of ours is closed."""
        with self._painting:
            if panel in self.panels:
                self.panels.remove(panel)
        if not self.panels:
            self._wake.set()
            if self.owned:
                self._jobs.put(self._close_lab)
            self._jobs.put(None)

    def _close_lab(self) -> None:
        self.lab.close()

    # --- sessions -----------------------------------------------------------------------------

    @property
    def shown(self) -> Lab:
        """The lab as panels see it: where it has several sessions, with one of them in front."""
        lab = self.lab
        if len(lab.groups) == 1:
            return lab
        name = self.session if self.session in lab.groups else lab.scenario.session
        if self._view is None or self._view.whole is not lab or self._view.called != name:
            self._view = lab.of(name)
        return cast(Lab, self._view)  # it answers to all that a lab does

    def choose(self, session: str) -> None:
        """Show another of the lab's sessions from now on."""
        with self._painting:
            if session != self.shown.scenario.session:
                self.said = ""  # it was said of the other
            self.session = session
        self.wake()

    # --- verbs --------------------------------------------------------------------------------

    def do(
        self,
        doing: str,
        verb: Callable[[Lab], Any],
        then: Callable[[Any], None] | None = None,
    ) -> None:
        """Have the worker do `verb(lab)`; what it answers is said, what it raises is shown."""
        self._pending += 1
        self._jobs.put(lambda: self._work(doing, verb, then))
        self._start()
        self._wake.set()

    def ask(self, verb: Callable[[Lab], Any], then: Callable[[Any], None]) -> None:
        """Have the worker read something for a panel, without a word about it. What it gives is
        shown at the next tick; `then` may `wake` where that is worth one."""
        self._jobs.put(lambda: self._read(verb, then))
        self._start()

    def _work(self, doing: str, verb: Callable[[Lab], Any], then: Any) -> None:
        self.busy = doing
        self._wake.set()
        try:
            answer = verb(self.shown)
            self.error = ""
            if answer is not None:
                self.said = str(answer)
            if then is not None:
                then(answer)
        except Exception as error:
            self.fail(error)
        finally:
            self._pending -= 1
            self.busy = "" if self._pending == 0 else "…"
            self._wake.set()

    def _read(self, verb: Callable[[Lab], Any], then: Callable[[Any], None]) -> None:
        try:
            then(verb(self.shown))
        except UsageError:
            pass  # what was to be read is gone: the next tick says so
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Show an error in the banner; of a bug, log the whole of it."""
        if isinstance(error, UsageError):
            self.error = str(error)
        else:
            self.error = f"{type(error).__name__}: {error}"
            log.error("a verb failed", exc_info=error)
        self._wake.set()

    def wake(self) -> None:
        """Tick now rather than in a moment."""
        self._wake.set()
        self._start()

    def dismiss(self) -> None:
        """The error was read."""
        self.error = ""
        self._wake.set()

    # --- another lab --------------------------------------------------------------------------

    def renew(self, **changes: Any) -> str:
        """Close the lab and put a new one in its place, with some fields changed.

        A server that runs is started again on its port. Called by verbs, in the worker.

        Raises:
            UsageError: the fields cannot be; the old lab is still there.
        """
        scenario = self.lab.scenario.but(**changes)
        return self.start_over(scenario)

    def start_over(self, scenario: Scenario) -> str:
        """As `renew`, with a scenario of its own."""
        before = self.lab
        port = port_of(before)
        speed = before.speed or 1.0
        fresh = Lab(scenario)
        before.close()
        self.adopt(fresh)
        words = f"a new lab: {scenario.world}, {count(scenario.parties, 'party')}"
        if scenario.world == "simulated":
            fresh.pace(speed)
        if port is not None and scenario.mesh == "negotiated":
            try:
                fresh.start_server(port)
            except UsageError:  # a virtual port may be taken in the real world
                fresh.start_server(0)
            words += f"; the server runs again at {fresh.world.server_url}"
        return words

    def adopt(self, lab: Lab) -> None:
        """Show another lab from now on."""
        with self._painting:
            self.lab, self.session = lab, ""
            self.owned = True
            self._begin()
            _controllers[lab] = self
        self._wake.set()

    def _begin(self) -> None:
        """Read the lab's trace from its beginning."""
        self._trace = self.shown.trace
        self.state = State()
        self.highlight = ()
        self._cursor = (0, 0)
        self._unpainted = []
        self._background.clear()
        self.kinds = set()
        self._new.update(id(panel) for panel in self.panels)

    # --- painting -----------------------------------------------------------------------------

    def tick(self, only: Painted | None = None, *, asked: bool = True) -> None:
        """Read what is new, and have every panel paint it: at once where somebody `asked` or
        something happened, else now and then."""
        with self._painting:
            if only is not None:  # a panel that came late must not take the others' news
                self._paint(only, [], needs_redraw=False)
                return
            if self.shown.trace is not self._trace:  # time was turned back, or another session
                self._begin()
            rows, self._cursor = self._trace.since(self._cursor)
            needs_redraw = False
            for one in rows:
                needs_redraw = self._is_worth_drawing(one) or needs_redraw
                self.state.apply(one)
            self._unpainted += rows
            quiet = not (asked or needs_redraw or self._new)
            if quiet and time.monotonic() - self._painted < QUIET and not self._is_behind():
                return
            rows, self._unpainted, self._painted = self._unpainted, [], time.monotonic()
            for panel in list(self.panels):
                self._paint(panel, rows, needs_redraw)

    def _paint(self, panel: Painted, rows: list[Row], needs_redraw: bool) -> None:
        is_new = id(panel) in self._new
        self._new.discard(id(panel))
        panel.paint(
            Tick(
                self.shown, self.state, rows, self.state.rows - len(rows),
                needs_redraw or is_new, is_new, time.monotonic(),
            )
        )  # fmt: skip

    def _is_worth_drawing(self, row: Row) -> bool:
        match row:
            case Sent(actor=actor, id=id, kind=kind):
                if is_background(row):
                    self._background.add((actor, id))
                    return False
                self.kinds.add(kind)
            case Delivered(sender=sender, id=id) | Dropped(sender=sender, id=id):
                return (sender, id) not in self._background
            case Noted(note=NotAdmitted()):
                self.ask(_raise_refusal, lambda _: None)
                return True
            case Fired() | Asked():
                return False
        return True

    def _start(self) -> None:
        if self._worker is None or not self._worker.is_alive():
            self._worker = threading.Thread(target=self._work_on, name="mpclab-worker", daemon=True)
            self._worker.start()
        with self._starting:
            if self._ticker is None or not self._ticker.is_alive():
                self._ticker = threading.Thread(
                    target=self._tick_on, name="mpclab-ticker", daemon=True
                )
                self._ticker.start()

    def _work_on(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _tick_on(self) -> None:
        asked = True
        while self.panels:
            over = self.lab.closed and self._pending == 0
            self.tick(asked=asked or over)
            if over and self._is_over():
                return  # the next verb, or a panel that is told to redraw, starts it again
            asked = self._wake.wait(TICK)
            self._wake.clear()

    def _is_over(self) -> bool:
        """Whether the ticker may end: decided where nobody can be told that it still runs."""
        with self._starting:
            if self._pending or self._wake.is_set() or self._is_behind():
                return False
            self._ticker = None
            return True

    def _is_behind(self) -> bool:
        return any(panel.is_behind for panel in self.panels)


def controller_of(source: Controller | Lab | Painted | None, fields: dict[str, Any]) -> Controller:
    """The controller of a lab or of another panel, or a new one with a lab of its own."""
    if isinstance(source, Controller):
        return source
    if source is None:
        lab = Lab(**fields)
        _tidy_up()
        controller = Controller(lab, owned=True)
        _made_here(controller)
        if controller.lab.scenario.world == "simulated":
            controller.lab.pace(1.0)
        return controller
    if fields:
        raise UsageError("give a lab, or the fields of a new one, not both")
    if isinstance(source, Lab):
        return _controllers.get(source) or Controller(source)
    shared = getattr(source, "controller", None)
    if not isinstance(shared, Controller):
        raise UsageError(f"{source!r} is neither a lab nor a panel")
    return shared


_in_cell: dict[str, list[tuple[str, weakref.ref[Controller]]]] = {}


def _running_cell() -> tuple[str, str]:
    """The notebook's cell that runs now, and this run of it; empty outside of notebooks."""
    try:
        from IPython import get_ipython

        parent = get_ipython().get_parent()
        return str(parent["metadata"]["cellId"]), str(parent["header"]["msg_id"])
    except (ImportError, AttributeError, KeyError, TypeError):
        return "", ""


def _tidy_up() -> None:
    """A cell that is run again closes what it made before: its server would hold the port."""
    cell, run = _running_cell()
    for before, made in _in_cell.pop(cell, []) if cell else []:
        controller = made()
        if controller is None or not controller.owned:
            continue
        if before == run:
            _in_cell.setdefault(cell, []).append((before, made))
            continue
        for panel in list(controller.panels):
            controller.detach(panel)


def _made_here(controller: Controller) -> None:
    cell, run = _running_cell()
    if cell:
        _in_cell.setdefault(cell, []).append((run, weakref.ref(controller)))


def port_of(lab: Lab) -> int | None:
    """The port of the lab's own server; None while none runs."""
    if lab.closed or lab.url or not lab.world.server_url:
        return None
    return int(lab.world.server_url.rpartition(":")[2])


def _raise_refusal(lab: Lab) -> None:
    lab.group.connected()
