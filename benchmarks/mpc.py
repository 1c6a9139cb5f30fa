"""Keys, signatures and secure arithmetic: what all parties compute together, in one process.

Messages go from node to node without a network: these are milliseconds of this process's time.
What follows from public values (a signature holds, a sum of commitments) is remembered by a
process; "one party" is what a single one computes that shares with nobody: it is given again, with
nothing remembered, what it heard in a run of all.

Beside MPyC, which runs as it is meant to: one process a party over TCP on localhost, timed from
inside, by the wall at the slowest party and in CPU time of all processes; our machines are driven
alike (`tcp_party`), by turns with it. Sums and products are without checks of ranges, which MPyC
has not. `MPC_LARGE=1` adds 67 of 100.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.measure import Result, heading, least, seconds, show
from mpclab.core.effects import Output, Send, Started
from mpclab.core.ids import Party
from mpclab.core.machine import Machine
from mpclab.core.node import Node
from mpclab.core.rounds import Finished
from mpclab.core.wire import Frame
from mpclab.crypto import groups
from mpclab.crypto.ciphersuites import FROST_ED25519, FROST_SECP256K1, Ciphersuite
from mpclab.crypto.identity import Identity
from mpclab.crypto.keys import trusted_dealer_keygen
from mpclab.lab.lab import Lab
from mpclab.mpc import arithmetic, dkg, envelopes, facts, messages, packages, sign
from mpclab.mpc.circuit import Circuit
from mpclab.mpc.compute import Compute
from mpclab.mpc.records import KeyRecord

REMEMBERED: tuple[Any, ...] = (
    messages.genuine,
    messages.deal_hash,
    messages._hash,
    facts.one_time_flaw,
    dkg._flaw,
    dkg._group_key,
    envelopes.is_identity_key,
    groups._is_ed25519_element,
    packages.prepared,
    packages.add_up,
    packages.verify_again,
)


Heard: TypeAlias = "defaultdict[Party, list[tuple[Party, bytes]]]"


def forget() -> None:
    for remembered in REMEMBERED:
        remembered.cache_clear()


def run_all(machines: dict[Party, Machine], heard: Heard | None = None) -> dict[Party, Any]:
    """Start all, carry messages until none is left; what they finished with."""
    n = len(machines)
    nodes = {p: _node(p, n, machine) for p, machine in machines.items()}
    waiting: deque[tuple[Party, Party, Any]] = deque()
    done: dict[Party, Any] = {}

    def perform(party: Party, effects: Iterable[Any]) -> None:
        for effect in effects:
            if type(effect) is Send:
                waiting.extend((to, party, effect.frame) for to in effect.to)
            elif type(effect) is Output:
                done[party] = effect.value

    forget()
    for p, node in nodes.items():
        perform(p, node.step(Started(), 0))
    while waiting:
        to, sender, frame = waiting.popleft()
        if heard is not None:
            heard[to].append((sender, frame.to_bytes()))
        perform(to, nodes[to].deliver(sender, frame, 0))
    assert len(done) == n
    assert all(isinstance(outcome, Finished) for outcome in done.values()), done[1]
    return done


def _node(p: Party, n: int, machine: Machine) -> Node:
    return Node(p, n, machine, coins=lambda path: random.Random(p))


def one_party(make: Callable[[], dict[Party, Machine]]) -> float:
    """Milliseconds of the party that computes most, on its own."""
    heard: Heard = defaultdict(list)
    n = len(run_all(make(), heard))

    def alone(p: Party) -> float:
        node = _node(p, n, make()[p])
        frames = [(sender, Frame.from_bytes(data)) for sender, data in heard[p]]

        def work() -> None:
            node.step(Started(), 0)
            for sender, frame in frames:
                node.deliver(sender, frame, 0)

        forget()
        return milliseconds(work)

    chosen, runs = (list(heard)[:5], 9) if n < 50 else (list(heard)[:1], 2)
    return max(least(partial(alone, p), runs) for p in chosen)


def milliseconds(work: Callable[[], object]) -> float:
    """What `work` takes of this process's time, whatever else the machine does meanwhile."""
    began = time.process_time()
    work()
    return 1e3 * (time.process_time() - began)


def identities(n: int) -> tuple[dict[Party, Identity], dict[Party, bytes]]:
    found = {p: Identity.from_seed(bytes([p]) * 32) for p in range(1, n + 1)}
    return found, {p: identity.public for p, identity in found.items()}


def dealers(n: int, t: int, suite: Ciphersuite) -> dict[Party, Machine]:
    own, keys = identities(n)
    parties = tuple(own)
    return {p: dkg.Dkg(b"bench", own[p], keys, t, parties, suite) for p in parties}


def signers(n: int, t: int, suite: Ciphersuite) -> dict[Party, Machine]:
    own, keys = identities(n)
    shares = trusted_dealer_keygen(suite, 4242, t, tuple(own), random.Random(1))
    record = KeyRecord(suite.name, shares[1].key.commitments, tuple(own))
    return {p: sign.Sign(b"bench", own[p], keys, record, shares[p], b"message") for p in own}


def together(make: Callable[[], dict[Party, Machine]]) -> float:
    machines = make()
    return milliseconds(lambda: run_all(machines))


def computing(circuit: Circuit, given: dict[Party, tuple[int, ...]], n: int) -> float:
    parties = tuple(range(1, n + 1))
    machines: dict[Party, Machine] = {
        p: Compute(circuit, tuple(given), parties, given=given.get(p)) for p in parties
    }
    return milliseconds(lambda: run_all(machines))


def sum_1000(n: int) -> float:
    given = {p: tuple(range(1000)) for p in range(1, n + 1)}
    circuit = arithmetic.build("sum", tuple(given), tuple(given), 1000, checked=False)
    return computing(circuit, given, n)


def products_1000(n: int) -> float:
    given = {p: tuple(range(1000)) for p in (1, 2)}
    circuit = arithmetic.build("product", (1, 2), tuple(range(1, n + 1)), 1000, checked=False)
    return computing(circuit, given, n)


def one_comparison(n: int) -> float:
    circuit = arithmetic.build("compare", (1, 2), tuple(range(1, n + 1)))
    return computing(circuit, {1: (5,), 2: (7,)}, n)


MPYC = """
import os, statistics, time
from mpyc.runtime import mpc
async def timed(work):
    times = []
    for _ in range(6):
        await mpc.barrier()
        began = time.perf_counter(), time.process_time()
        await work()
        times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return [1e3 * statistics.median(column) for column in zip(*times[1:])]
async def main():
    await mpc.start()
    i64 = mpc.SecInt(64)
    async def total():
        given = mpc.input([i64(x) for x in range(1000)])
        found = given[0]
        for other in given[1:]:
            found = mpc.vector_add(found, other)
        await mpc.output(found)
    async def products():
        given = mpc.input([i64(x) for x in range(1000)], senders=[0, 1])
        await mpc.output(mpc.schur_prod(given[0], given[1]))
    async def comparison():
        a, b = mpc.input(i64(5), senders=[0, 1])
        await mpc.output(a < b)
        await mpc.output(a > b)
    found = [await timed(work) for work in (total, products, comparison)]
    with open(os.path.join(os.environ["BESIDE"], str(mpc.pid)), "w") as file:
        print(*(number for pair in found for number in pair), file=file)
    await mpc.shutdown()
mpc.run(main())
"""


def mpyc(n: int) -> list[tuple[float, float]] | None:
    """Milliseconds of sum, products and comparison: by the wall at the slowest party, and of all
    parties' CPU time; None without MPyC."""
    if importlib.util.find_spec("mpyc") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        script, results = Path(folder) / "beside.py", Path(folder) / "results"
        results.mkdir()
        script.write_text(MPYC)
        command = [sys.executable, str(script), f"-M{n}"]
        env = dict(os.environ, BESIDE=str(results))
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
        rows = [[float(x) for x in file.read_text().split()] for file in results.iterdir()]
    if len(rows) < n:
        raise RuntimeError(f"MPyC did not finish: {ended.stderr[-500:]}")
    columns = list(zip(*rows, strict=True))
    return [(max(columns[i]), sum(columns[i + 1])) for i in range(0, len(columns), 2)]


def keys_and_signatures(n: int, t: int, dkg_aim: float | None, sign_aim: float | None) -> None:
    def measured(name: str, work: Callable[[], float], aim: float | None = None) -> None:
        value = least(work, 1 if n > 50 else 3)
        show(Result(f"{name} {t} of {n}", value, "ms", aim))

    make_dealers = partial(dealers, n, t, FROST_ED25519)
    make_signers = partial(signers, n, t, FROST_ED25519)
    measured("DKG, one party,", lambda: one_party(make_dealers), dkg_aim)
    measured("sign, one party,", lambda: one_party(make_signers), sign_aim)
    measured("DKG, all together,", lambda: together(make_dealers))
    if n <= 50:
        measured("DKG, secp256k1, all,", lambda: together(partial(dealers, n, t, FROST_SECP256K1)))
        measured("sign, all together,", lambda: together(make_signers))


def over_webrtc(n: int, t: int) -> None:
    """From proposing to the result at all, milliseconds: one process, real data channels between
    its parties on this machine; beside the simulated world, whose messages take no time here."""
    found: dict[str, list[float]] = {}
    for world in ("webrtc", "simulated"):
        with Lab(world=world, parties=n, threshold=t, network={"delay": "0ms"}) as lab:
            lab.start_server(port=0)
            lab.spawn()
            lab.join()
            for turn in range(6):
                for kind, more in (("dkg", {}), ("sign", {"message": f"turn {turn}"})):

                    def work(kind: str = kind, more: dict[str, str] = more) -> float:
                        lab.propose(1, kind, **more)
                        return seconds(lambda: lab.run(limit=60))

                    took = 1e3 * work()
                    if turn:  # the first imports and warms up
                        found.setdefault(f"{kind} {world}", []).append(took)
    for kind in ("dkg", "sign"):
        value, alone = min(found[f"{kind} webrtc"]), min(found[f"{kind} simulated"])
        name = f"{kind} {t} of {n}, over WebRTC, all parties"
        show(Result(name, value, "ms", peer="no network", peer_value=alone))


def over_tcp(n: int) -> list[tuple[float, float]]:
    """As `mpyc`, of our parties: see `tcp_party`."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1] % 20_000 + 10_000
    command = [sys.executable, "-m", "benchmarks.tcp_party"]
    parties = [
        subprocess.Popen([*command, str(p), str(n), str(port)], stdout=subprocess.PIPE, text=True)
        for p in range(1, n + 1)
    ]
    said = [json.loads(party.communicate(timeout=120)[0]) for party in parties]
    return [
        (max(found[name][0] for found in said), sum(found[name][1] for found in said))
        for name in said[0]
    ]


def arithmetic_beside_mpyc(n: int) -> None:
    """By turns, the least of three runs: what else the machine does strikes both."""
    names = ("sum of 1000-vectors", "1000 products", "less, equal or more, 63 bits")
    ours, theirs = [], []
    for _ in range(3):
        ours.append(over_tcp(n))
        theirs.append(mpyc(n))
    for i, name in enumerate(names):
        for j, what in enumerate(("wall", "CPU of all")):
            value = min(found[i][j] for found in ours)
            peer = min((found[i][j] for found in theirs if found is not None), default=None)
            aim = None if peer is None else peer if j == 0 else peer / 3
            row = f"{name}, {n} parties, {what}"
            show(Result(row, value, "ms", aim, peer="MPyC", peer_value=peer))
    for name, work in zip(names, (sum_1000, products_1000, one_comparison), strict=True):
        value = least(partial(work, n))
        show(Result(f"{name}, {n} parties, CPU without a network", value, "ms"))


def main() -> None:
    heading("Keys and signatures: computing, without a network")
    keys_and_signatures(5, 3, 5, 2)
    keys_and_signatures(20, 14, 30, 5)
    if os.environ.get("MPC_LARGE"):
        keys_and_signatures(100, 67, 1000, None)
    heading("The same by the wall, voted on by all: over WebRTC, and without a network")
    over_webrtc(5, 3)
    heading("Secure arithmetic: a process for each party, over TCP on this machine, as MPyC's are")
    arithmetic_beside_mpyc(3)
    arithmetic_beside_mpyc(5)


if __name__ == "__main__":
    main()
