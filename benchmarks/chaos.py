"""`make chaos`: a server and parties as processes, and everything that happens to processes.

For some minutes parties propose, and at random moments parties and the server are killed, stopped,
cut off, made to end between two effects (failpoints), find their disk full, and are flooded. Then
all is healed, and what they did is judged: by the checks, by the oracle that shares no code with
them, and by whether every party that is up holds the same end of every operation.

    make chaos ARGS="--seconds 600 --seed 7 --protocol pbft"

A summary says what was done and what came of it; exit status 1 when something is violated. The
seed draws the same troubles again; when exactly they strike, the machine decides.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mpclab.check.facts import approvals_needed
from mpclab.check.oracle import disagreements
from mpclab.consensus.registry import AGREEMENTS
from mpclab.coordinator.operation import End, Status
from mpclab.core.errors import UsageError
from mpclab.lab import Lab
from mpclab.worlds.real.failpoints import PLACES, VARIABLE
from mpclab.worlds.real.processes import WithProcesses

CHECKS = (
    "agreement",
    "validity",
    "integrity",
    "durability",
    "certificates",
    "blame",
    "total-order",
)
HEALED_WITHIN = 90
"""Seconds in which, all healed, every operation must end at everybody."""
_PROPOSE_EVERY = 0.25
_NEVER = resource.RLIM_INFINITY


@dataclass
class Summary:
    """What was done, and what came of it.

    Attributes:
        done: troubles by kind. `ends`: operations by status.
        rejoined: seconds from a party's start to its seat, of those restarted; where there was no
            server to join, or no way to it, from the end of that.
        violated: sentences of the judges; empty if all is well.
    """

    seed: int
    protocol: str
    done: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    rejoined: list[float] = field(default_factory=list)
    violated: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        yield f"seed {self.seed}, {self.protocol}"
        yield "done: " + ", ".join(f"{n} × {what}" for what, n in self.done.most_common())
        yield "operations: " + ", ".join(f"{n} {end}" for end, n in self.ends.most_common())
        if len(self.rejoined) > 1:
            p95 = statistics.quantiles(self.rejoined, n=20, method="inclusive")[-1]
            yield f"{len(self.rejoined)} rejoined, p95 {p95:.1f} s"
        yield from (f"VIOLATED {one}" for one in self.violated)
        yield "all promises held" if not self.violated else f"{len(self.violated)} broken"


class Server:
    """`mpclab serve`, which keeps its sessions in a file, and its port over restarts."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._state = folder / "server.sqlite"
        self._log = folder / "server.log"
        self._popen: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        words = ["serve", "--port", str(self.port), "--state", str(self._state)]
        with open(self._log, "ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "mpclab", *words], stdout=log, stderr=log
            )
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 1),
            ):
                return
            if self._popen.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"the server does not start: {self._log.read_text()[-500:]}")

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    def end(self, number: int) -> None:
        assert self._popen is not None
        self._popen.send_signal(signal.SIGCONT)
        self._popen.send_signal(number)
        self._popen.wait(30)

    @property
    def is_up(self) -> bool:
        return self._popen is not None and self._popen.poll() is None


class Wire:
    """A party's way to the server, which can be cut (nothing passes, nobody is told) or torn."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}"
        self._whole = threading.Event()
        self._whole.set()
        self._ends: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        self._whole.wait()
        try:
            far = socket.create_connection(("127.0.0.1", self._to), 2)
        except OSError:
            near.close()
            return
        far.settimeout(None)
        self._ends |= {near, far}
        for source, target in ((near, far), (far, near)):
            threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(64 * 1024):
                self._whole.wait()
                target.sendall(data)
        for end in (source, target):
            self._ends.discard(end)
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def cut(self) -> None:
        self._whole.clear()

    def heal(self) -> None:
        self._whole.set()

    def tear(self) -> None:
        for end in list(self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.heal()
        self._listener.close()
        self.tear()


class Chaos:
    """One run.

    Args:
        parties: how many; as many as the protocol bears may be in trouble at one time.
    """

    def __init__(self, seed: int, protocol: str, parties: int, folder: Path) -> None:
        self.summary = Summary(seed, protocol)
        self._rng = random.Random(seed)
        self._server = Server(folder)
        self._wires = {p: Wire(self._server.port) for p in range(1, parties + 1)}
        self._lab = Lab(
            world="websocket", parties=parties, agreement=protocol, session=f"chaos-{seed}",
            policy=f"threshold({parties // 2 + 1})", url=f"ws://127.0.0.1:{self._server.port}",
        )  # fmt: skip
        self._lab.group.urls.update({p: wire.url for p, wire in self._wires.items()})
        self._bears = (parties - 1) // (3 if protocol in _THIRDS else 2)
        self._over: dict[int, Callable[[], None]] = {}  # party → the end of its trouble
        self._due: list[tuple[float, int]] = []
        self._server_over: tuple[float, Callable[[], None]] | None = None
        self._began: dict[int, float] = {}
        self._served_since = 0.0

    def run(self, seconds: float) -> Summary:
        lab = self._lab
        try:
            lab.spawn(process=True)
            lab.join(timeout=60)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self._step()
                lab.wait(_PROPOSE_EVERY * self._rng.random() * 2)
            self._heal()
            self._judge()
        finally:
            lab.close()
            for wire in self._wires.values():
                wire.close()
            if self._server.is_up:
                self._server.end(signal.SIGTERM)
        return self.summary

    def _step(self) -> None:
        now = time.monotonic()
        for due, party in list(self._due):
            if due <= now:
                self._due.remove((due, party))
                self._over.pop(party)()
        if self._server_over is not None and self._server_over[0] <= now:
            self._end_server_trouble()
        self._revive()
        self._note_joined()
        well = [p for p in self._wires if p not in self._over]
        with contextlib.suppress(UsageError):  # it ended just now, or has too many open
            by = self._rng.choice(well)
            self._lab.propose(by=by, kind="note", text=f"chaos {self._rng.random()}")
            self.summary.done["proposal"] += 1
        if self._rng.random() < 0.5 and len(self._over) < self._bears:
            self._trouble(self._rng.choice(well))
        if self._rng.random() < 0.08 and self._server_over is None:
            self._trouble_server()

    # --- parties ----------------------------------------------------------------------------

    def _trouble(self, party: int) -> None:
        troubles = (self._kill, self._stop, self._cut, self._tear, self._fill, self._failpoint)
        trouble = self._rng.choice(troubles)
        with contextlib.suppress(UsageError, ProcessLookupError):  # it ended by itself just now
            over = trouble(party)
            self.summary.done[trouble.__name__.strip("_")] += 1
            self._over[party] = over
            self._due.append((time.monotonic() + self._rng.uniform(0.1, 4), party))

    def _kill(self, party: int) -> Callable[[], None]:
        self._lab.crash(party)
        return lambda: self._restart(party)

    def _stop(self, party: int) -> Callable[[], None]:
        self._lab.pause(party)
        return lambda: self._if_up(self._lab.resume, party)

    def _cut(self, party: int) -> Callable[[], None]:
        self._wires[party].cut()

        def over() -> None:
            self._wires[party].heal()
            if party in self._began:
                self._began[party] = time.monotonic()

        return over

    def _tear(self, party: int) -> Callable[[], None]:
        self._wires[party].tear()
        return lambda: None

    def _fill(self, party: int) -> Callable[[], None]:
        """Its disk is full: no file grows any more."""
        pid = self._pid(party)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, _NEVER))

        def over() -> None:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (_NEVER, _NEVER))

        return over

    def _failpoint(self, party: int) -> Callable[[], None]:
        """It begins anew, and ends again between two effects."""
        self._lab.crash(party)
        place, count = self._rng.choice(PLACES), self._rng.randint(1, 60)
        os.environ[VARIABLE] = f"{place}={count}:{self._rng.choice(('kill', 'kill', 'fail'))}"
        try:
            self._restart(party)
        finally:
            del os.environ[VARIABLE]
        return lambda: None  # it is revived when it has ended

    def _restart(self, party: int) -> None:
        with contextlib.suppress(UsageError):  # it may end at once, by a failpoint
            self._began[party] = time.monotonic()
            self._lab.restart(party)

    def _revive(self) -> None:
        """Start those again that ended by themselves."""
        for party in self._wires:
            if party not in self._over and party not in self._lab.world.actors:
                self.summary.done["ended by itself"] += 1
                self._restart(party)

    def _if_up(self, verb: Callable[[int], Any], party: int) -> None:
        with contextlib.suppress(UsageError):
            verb(party)

    def _pid(self, party: int) -> int:
        assert isinstance(self._lab.world, WithProcesses)
        return self._lab.world.processes[party].pid

    def _note_joined(self) -> None:
        members = self._lab.state.links
        for party, began in list(self._began.items()):
            if members.get((party, 0)) == "open":
                self.summary.rejoined.append(time.monotonic() - max(began, self._served_since))
                del self._began[party]

    # --- the server ---------------------------------------------------------------------------

    def _trouble_server(self) -> None:
        troubles = (self._kill_server, self._stop_server, self._fill_server, self._flood)
        trouble = self._rng.choice(troubles)
        self.summary.done[trouble.__name__.strip("_").replace("_", " ")] += 1
        self._server_over = time.monotonic() + self._rng.uniform(0.1, 3), trouble()

    def _end_server_trouble(self) -> None:
        if self._server_over is not None:
            (_, over), self._server_over = self._server_over, None
            over()
        if not self._server.is_up:
            self._server.start()
        self._served_since = time.monotonic()

    def _kill_server(self) -> Callable[[], None]:
        self._server.end(self._rng.choice((signal.SIGKILL, signal.SIGTERM)))
        return self._server.start

    def _stop_server(self) -> Callable[[], None]:
        pid = self._server.pid
        os.kill(pid, signal.SIGSTOP)
        return lambda: os.kill(pid, signal.SIGCONT)

    def _fill_server(self) -> Callable[[], None]:
        """Its disk is full; who ends by that is started again on an empty one."""
        resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE, (1, _NEVER))

        def over() -> None:
            if self._server.is_up:
                resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE, (_NEVER, _NEVER))
            else:
                self._server.start()

        return over

    def _flood(self) -> Callable[[], None]:
        """Half-open connections, and garbage, as fast as they go."""
        over = threading.Event()
        word = self._rng.choice((b"", b"GET / HT", b"\x81\xff" * 500, os.urandom(300)))

        def flood() -> None:
            held: list[socket.socket] = []
            while not over.is_set():
                with contextlib.suppress(OSError):
                    held.append(socket.create_connection(("127.0.0.1", self._server.port), 1))
                    held[-1].sendall(word)
                if len(held) > 500:
                    held.pop(0).close()
            for one in held:
                one.close()

        threading.Thread(target=flood, daemon=True).start()
        return over.set

    # --- the end ------------------------------------------------------------------------------

    def _heal(self) -> None:
        for over in self._over.values():
            over()
        self._over.clear()
        self._end_server_trouble()
        for wire in self._wires.values():
            wire.heal()
        end = time.monotonic() + HEALED_WITHIN
        while time.monotonic() < end:
            self._revive()
            self._note_joined()
            self._lab.wait(0.5)
            if not self._open():
                return

    def _open(self) -> list[str]:
        """Operations that have not ended at everybody."""
        return [
            op
            for op, one in self._lab.state.operations.items()
            if any(word != "expired" for word in one.standing.values())
            and not all(
                one.standing.get(p) in _ENDED or self._has_stored_the_end(p, op)
                for p in self._wires
            )
        ]

    def _has_stored_the_end(self, party: int, op: str) -> bool:
        """A kill between the `Persist` of an end and the row that tells of it leaves no row: what
        counts is what the party will say from now on, and that is in its store."""
        assert isinstance(self._lab.world, WithProcesses)
        folder = self._lab.world.processes[party].folder
        file = folder / f"{self._lab.scenario.session}-{party}.sqlite"
        try:
            with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
                keys = (f"end/{op}", f"abort/{op}")
                found = dict(
                    db.execute("SELECT key, value FROM items WHERE key IN (?, ?)", keys).fetchall()
                )
        except sqlite3.Error:
            return False
        if keys[1] in found:
            return True
        end = found.get(keys[0])
        return end is not None and _decode_end(end).status in (Status.EXECUTED, Status.FAILED)

    def _judge(self) -> None:
        summary, lab = self.summary, self._lab
        for outcome in lab.outcomes():
            summary.ends[outcome.status] += 1
        checks = [c for c in CHECKS if c != "total-order" or summary.protocol in _ORDERED]
        verdicts = lab.check(*checks)
        summary.violated += [
            f"{v.check}: {v.sentence}" for v in verdicts if v.verdict == "violated"
        ]
        needed = approvals_needed(lab.scenario.policy, lab.scenario.parties)
        # Rows of several processes come to us out of order; their clock is one.
        lines = sorted(lab.trace.lines(), key=lambda line: int(json.loads(line).get("at", 0)))
        n = lab.scenario.parties
        summary.violated += disagreements(lines, verdicts, n=n, needed=needed)
        if missing := self._open():
            summary.violated.append(
                f"{len(missing)} operations have not ended everywhere {HEALED_WITHIN} s after the "
                f"last trouble: {', '.join(missing[:4])}"
            )


_decode_end = msgspec.msgpack.Decoder(End).decode
_ENDED = ("executed", "failed", "aborted")
_THIRDS = (
    "pbft",
    "hotstuff",
    "chained-hotstuff",
    "hotstuff-2",
    "tendermint",
    "streamlet",
    "bullshark",
    "acs",
    "bracha",
)
_ORDERED = (
    "raft",
    "paxos",
    "vr",
    "pbft",
    "hotstuff",
    "chained-hotstuff",
    "hotstuff-2",
    "tendermint",
    "streamlet",
    "bullshark",
    "acs",
)


def chaos(seconds: float, seed: int, protocol: str, parties: int = 4) -> Summary:
    """One run, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="mpclab-chaos-") as folder:
        return Chaos(seed, protocol, parties, Path(folder)).run(seconds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="of trouble (default 120)")
    parser.add_argument("--seed", type=int, default=None, help="of the troubles")
    parser.add_argument("--protocol", choices=sorted(AGREEMENTS), help="default: one by the seed")
    parser.add_argument("--parties", type=int, default=4)
    args = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if args.seed is None else args.seed
    protocol = args.protocol or random.Random(seed).choice(("raft", "pbft", "direct", "hotstuff"))
    print(f"chaos for {args.seconds:g} s: --seed {seed} --protocol {protocol}", flush=True)
    summary = chaos(args.seconds, seed, protocol, args.parties)
    print("\n".join(summary.lines()))
    return 1 if summary.violated else 0


if __name__ == "__main__":
    sys.exit(main())
