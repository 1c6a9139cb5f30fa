"""Parties in processes of their own, which can really be killed and really be stopped.

A world has `mpclab party … --attached` forked (see `forking`) and is its party's world from then
on: crash is SIGKILL, pause is SIGSTOP, resume SIGCONT, and a restart is another process that takes
up from the same store. Over the child's standard streams go, a line each:

    in   <hex>          an ask: (path of the machine, ask), packed as `typed` does
    out  began <ns>     when the child's clock began, on the clock that all processes share
         row <json>     one row of its trace; it becomes ours, at our time
         answer <text>  the answer to an ask: nothing, or why not

The end of its input is the end of the child, so none outlives us; where the kernel can promise the
same of a child that is stopped (Linux), it does. A child's actions cannot be inspected, skewed,
slowed or corrupted from here, and faults of links strike what is sent to it, not what it sends.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path as FilePath
from typing import Any, TypeAlias

import msgspec

from mpclab.core import notes
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party, Path
from mpclab.core.node import Node
from mpclab.trace import rows
from mpclab.trace.log import Trace
from mpclab.worlds.failures import who
from mpclab.worlds.host import Host
from mpclab.worlds.real.forking import Child, Nursery
from mpclab.worlds.real.world import RealWorld
from mpclab.worlds.typed_codec import pack

Command: TypeAlias = Callable[[int], Sequence[str]]
"""The arguments of `python -m mpclab` for a party's k-th incarnation, from 1."""

PATIENCE = 20.0
"""Seconds that a child may take to begin, or to answer."""
GOODBYE = 3.0
"""Seconds that a child may take to leave when its input has ended."""

_decode = msgspec.json.Decoder(rows.Row).decode


class PartyProcess:
    """One party, and the process that it is in now.

    Args:
        folder: where it keeps its store; emptied when it forgets.
    """

    def __init__(
        self,
        world: RealWorld,
        actor: Party,
        command: Command,
        folder: FilePath,
        nursery: Nursery,
    ) -> None:
        self._nursery = nursery
        self.actor = actor
        self.command = command
        self.folder = folder
        self.incarnation = 0
        self.paused = False
        self._world = world
        self._popen: Child | None = None
        self._reader: threading.Thread | None = None
        self._ready = threading.Event()  # it has begun, or never will
        self._begun = False
        self._ahead = 0  # µs to add to the child's times
        self._news: deque[rows.Row] = deque()
        self._answers: queue.Queue[str] = queue.Queue()
        self._asking = threading.Lock()

    @property
    def alive(self) -> bool:
        return self._popen is not None

    @property
    def pid(self) -> int:
        """The process that the party is in."""
        return self._running().pid

    def _running(self) -> Child:
        if self._popen is None:
            raise UsageError(f"{who(self.actor)} is not running")
        return self._popen

    # --- in the world's thread ----------------------------------------------------------------

    def start(self) -> None:
        """Begin the next incarnation. On Linux no child outlives us."""
        self.incarnation += 1
        self._ready.clear()
        self._begun = False
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            popen = self._nursery.start(self.command(self.incarnation), self._complaints)
        except OSError as error:
            self._ready.set()
            why = error.strerror or str(error)
            raise UsageError(f"{who(self.actor)} did not start: {why}") from error
        self._popen = popen
        self._reader = threading.Thread(target=self._read, args=(popen,), daemon=True)
        self._reader.start()

    def kill(self) -> None:
        """SIGKILL, and take in what it had said."""
        popen = self._running()
        popen.kill()
        self._over(popen)
        self._world.remark(self.actor, notes.Crashed())

    def forget(self) -> None:
        """Remove what it has stored."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def pause(self) -> None:
        popen = self._running()
        if not self.paused:
            self.paused = True
            popen.send_signal(signal.SIGSTOP)
            _wait_stopped(popen.pid)
            self._world.remark(self.actor, notes.Paused())

    def resume(self) -> None:
        popen = self._running()
        if self.paused:
            self.paused = False
            self._world.remark(self.actor, notes.Resumed())
            popen.send_signal(signal.SIGCONT)

    def drain(self) -> None:
        """Make the child's rows ours."""
        while self._news:
            row = self._news.popleft()
            # That it started is ours to say: it may be a restart.
            started = isinstance(row, rows.Noted) and isinstance(row.note, notes.Started)

            if row.actor == self.actor and not started:
                at = max(0, row.at + self._ahead)
                self._world.trace.append(msgspec.structs.replace(row, at=at))
                self._world.stepped()

    def _ended(self, popen: Child) -> None:
        """The child has closed its output: it ends, and if nobody wanted that, it crashed."""
        if popen is self._popen:
            self._over(popen)
            self._world.remark(self.actor, notes.Crashed(why=self.complaint()))

    def _over(self, popen: Child) -> None:
        popen.wait()
        if self._reader is not None:
            self._reader.join()
        self.drain()
        with contextlib.suppress(OSError):  # what was not flushed is nobody's any more
            assert popen.stdin is not None
            popen.stdin.close()
        self._popen, self.paused = None, False

    # --- in any other thread ------------------------------------------------------------------

    def wait(self) -> None:
        """Until it has begun.

        Raises:
            UsageError: it ended before, or does not begin; says what it complained of.
        """
        self._ready.wait(PATIENCE)
        if not self._begun:
            raise UsageError(f"{who(self.actor)} did not start: {self.complaint()}")

    def ask(self, path: Path, ask: Any) -> None:
        """Put `ask` to a machine of the child; raises what it says against it."""
        popen = self._running()
        if self.paused:
            raise UsageError(f"{who(self.actor)} is paused")
        with self._asking:
            self.wait()
            while not self._answers.empty():
                self._answers.get()
            assert popen.stdin is not None
            try:
                popen.stdin.write(pack((path, ask)).hex().encode() + b"\n")
                popen.stdin.flush()
                answer = self._answers.get(timeout=PATIENCE)
            except (OSError, queue.Empty) as error:
                raise UsageError(f"{who(self.actor)} does not answer") from error
        self._world.call(self.drain)  # what it did comes before the answer
        if answer:
            raise UsageError(answer)

    def leave(self) -> None:
        """End the child's input, and so the child; kill it if that takes too long."""
        popen = self._popen
        if popen is None:
            return
        with contextlib.suppress(OSError):
            assert popen.stdin is not None
            popen.stdin.close()
        try:
            popen.wait(0 if self.paused else GOODBYE)
        except subprocess.TimeoutExpired:
            popen.kill()
        popen.wait()

    def complaint(self) -> str:
        """The last line that it wrote on its standard error."""
        try:
            lines = self._complaints.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it said nothing"

    @property
    def _complaints(self) -> FilePath:
        return self.folder.with_name(f"{self.folder.name}.stderr")

    # --- in its own thread --------------------------------------------------------------------

    def _read(self, popen: Child) -> None:
        assert popen.stdout is not None
        with popen.stdout as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # killed in the middle of it
                word, _, rest = line.strip().partition(b" ")
                match word:
                    case b"began":
                        self._ahead = self._world.since(int(rest))
                        self._begun = True
                        self._ready.set()
                    case b"row":
                        self._news.append(_decode(rest))
                        self._soon(self.drain)
                    case b"answer":
                        self._answers.put(rest.decode())
        self._ready.set()
        self._answers.put(f"{who(self.actor)} has ended")
        self._soon(partial(self._ended, popen))

    def _soon(self, action: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the world is closed
            self._world.thread.loop.call_soon_threadsafe(action)


def _wait_stopped(pid: int) -> None:
    """Until a process that was told to stop has."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return
    with contextlib.suppress(OSError):  # not our own child; it has ended
        while True:
            words = FilePath(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
            if words.rpartition(") ")[2][:1] in "TtZX":
                return
            time.sleep(0.001)


class WithProcesses(RealWorld):
    """A real world some of whose parties are processes."""

    def __init__(
        self,
        *,
        folder: str | FilePath | None = None,
        seed: int = 0,
        record: bool = False,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(folder=folder, seed=seed, record=record, trace=trace)
        self.processes: dict[Party, PartyProcess] = {}
        self._nursery = Nursery(channels=self.name == "webrtc")

    def host_processes(self, wanted: Mapping[Party, tuple[Command, FilePath]]) -> None:
        """Start parties in processes of their own, side by side, and wait until all have begun.

        Args:
            wanted: by actor, its command and the folder for its store.

        Raises:
            UsageError: one cannot start here; says why. Those that have begun stay.
        """
        if os.name != "posix":
            raise UsageError("parties as processes need POSIX signals; spawn without process=True")
        for actor in wanted:
            if actor in self.actors:
                raise UsageError(f"{who(actor)} is already here")
        self._open_nursery()
        started: list[PartyProcess] = []
        failed: UsageError | None = None
        for actor, (command, folder) in wanted.items():
            known = self.processes.get(actor)
            process = PartyProcess(self, actor, command, folder, self._nursery)
            process.incarnation = known.incarnation if known else 0
            self.processes[actor] = process
            started.append(process)
            self.call(self._start, process)
        for process in started:
            try:
                process.wait()
            except UsageError as error:
                failed = failed or error
                self.processes.pop(process.actor, None)
                process.leave()
        if failed is not None:
            raise failed

    def _start(self, process: PartyProcess) -> None:
        self.remark(process.actor, notes.Started())
        process.start()

    def _open_nursery(self) -> None:
        """Have it begin, but not in the world's thread, which has others to serve."""
        if not self.is_mine():
            try:
                self._nursery.open()
            except OSError as error:
                raise UsageError(f"no party can be started: {error}") from error

    # --- the verbs, for those in processes ------------------------------------------------------

    @property
    def actors(self) -> tuple[Party, ...]:
        return (*super().actors, *(a for a, process in self.processes.items() if process.alive))

    def ask(self, actor: Party, path: Path, ask: Any) -> None:
        if process := self.processes.get(actor):
            process.ask(path, ask)
        else:
            super().ask(actor, path, ask)

    def look(self, actor: Party, read: Callable[[Node], Any]) -> Any:
        self._not_a_process(actor, "be looked into")
        return super().look(actor, read)

    def crash(self, actor: Party) -> None:
        if process := self.processes.get(actor):
            self.call(process.kill)
        else:
            super().crash(actor)

    def restart(self, actor: Party, *, amnesia: bool = False) -> None:
        process = self.processes.get(actor)
        if process is None:
            super().restart(actor, amnesia=amnesia)
            return

        def start() -> None:
            if process.alive:
                raise UsageError(f"{who(actor)} has not crashed")
            if amnesia:
                process.forget()
            self.remark(actor, notes.Restarted(amnesia=amnesia))
            process.start()

        self._open_nursery()
        self.call(start)
        if not self.is_mine():
            process.wait()

    def pause(self, actor: Party) -> None:
        if process := self.processes.get(actor):
            self.call(process.pause)
        else:
            super().pause(actor)

    def resume(self, actor: Party) -> None:
        if process := self.processes.get(actor):
            self.call(process.resume)
        else:
            super().resume(actor)

    def hosts(self, actor: Party) -> bool:
        return actor in self.processes or super().hosts(actor)

    def remove(self, actor: Party) -> None:
        process = self.processes.get(actor)
        if process is None:
            super().remove(actor)
            return
        if not process.alive:
            raise UsageError(f"{who(actor)} is not running")
        del self.processes[actor]
        self.call(self.remark, actor, notes.Removed())
        if not self.is_mine():
            process.leave()
        elif process.alive:
            os.kill(process.pid, signal.SIGKILL)

    def corruptible(self, actor: Party) -> None:
        self._not_a_process(actor, "be corrupted")

    def alive(self, actor: Party) -> Host:
        self._not_a_process(actor, "do this")
        return super().alive(actor)

    def _not_a_process(self, actor: Party, what: str) -> None:
        if actor in self.processes:
            raise UsageError(f"{who(actor)} is a process of its own, which cannot {what} from here")

    def close(self) -> None:
        processes = [self.processes.pop(actor) for actor in list(self.processes)]
        leaving = [threading.Thread(target=process.leave) for process in processes]
        for thread in leaving:
            thread.start()
        for thread in leaving:
            thread.join()
        self._nursery.close()
        super().close()
