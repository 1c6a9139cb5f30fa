"""Keys, signatures and secure arithmetic: what all parties compute together, in one process.

Messages go from node to node without a network: these are milliseconds of this process's time.
What follows from public values (a signature holds, a sum of commitments) is remembered by a
process; "each on its own" forgets it at every step, as if each party were a process.

Beside MPyC, which runs as it is meant to: one process a party over localhost, timed from inside.
`MPC_LARGE=1` adds 67 of 100.
"""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import Result, heading, median, show
from mpclab.core.effects import Output, Send, Started
from mpclab.core.ids import Party
from mpclab.core.machine import Machine
from mpclab.core.node import Node
from mpclab.core.rounds import Finished
from mpclab.crypto import groups
from mpclab.crypto.ciphersuites import FROST_ED25519, FROST_SECP256K1, Ciphersuite
from mpclab.crypto.identity import Identity
from mpclab.crypto.keys import trusted_dealer_keygen
from mpclab.mpc import arithmetic, dkg, envelopes, facts, messages, packages, sign
from mpclab.mpc.circuit import Circuit
from mpclab.mpc.comparison import negative
from mpclab.mpc.compute import Compute
from mpclab.mpc.evaluation import degree
from mpclab.mpc.records import KeyRecord

REMEMBERED: tuple[Any, ...] = (
    messages.genuine,
    messages.deal_hash,
    facts.one_time_flaw,
    dkg._flaw,
    dkg._group_key,
    envelopes.is_identity_key,
    groups._is_ed25519_element,
    packages.add_up,
    packages.verify_again,
)


def forget() -> None:
    for remembered in REMEMBERED:
        remembered.cache_clear()


def run_all(machines: dict[Party, Machine], *, alone: bool = False) -> dict[Party, Any]:
    """Start all, carry messages until none is left; what they finished with."""
    n = len(machines)
    nodes = {
        p: Node(p, n, machine, coins=lambda path, p=p: random.Random(p))  # type: ignore[misc]
        for p, machine in machines.items()
    }
    waiting: deque[tuple[Party, Party, Any]] = deque()
    done: dict[Party, Any] = {}

    def perform(party: Party, effects: Iterable[Any]) -> None:
        for effect in effects:
            if type(effect) is Send:
                waiting.extend((to, party, effect.frame) for to in effect.to)
            elif type(effect) is Output:
                done[party] = effect.value
        if alone:
            forget()

    forget()
    for p, node in nodes.items():
        perform(p, node.step(Started(), 0))
    while waiting:
        to, sender, frame = waiting.popleft()
        perform(to, nodes[to].deliver(sender, frame, 0))
    assert len(done) == n
    assert all(isinstance(outcome, Finished) for outcome in done.values()), done[1]
    return done


def milliseconds(work: Callable[[], object]) -> float:
    """What `work` takes of this process's time, whatever else the machine does meanwhile."""
    began = time.process_time()
    work()
    return 1e3 * (time.process_time() - began)


def identities(n: int) -> tuple[dict[Party, Identity], dict[Party, bytes]]:
    found = {p: Identity.from_seed(bytes([p]) * 32) for p in range(1, n + 1)}
    return found, {p: identity.public for p, identity in found.items()}


def keygen(n: int, t: int, suite: Ciphersuite, *, alone: bool = False) -> float:
    own, keys = identities(n)
    parties = tuple(own)
    machines: dict[Party, Machine] = {
        p: dkg.Dkg(b"bench", own[p], keys, t, parties, suite) for p in parties
    }
    return milliseconds(lambda: run_all(machines, alone=alone))


def signing(n: int, t: int, suite: Ciphersuite, *, alone: bool = False) -> float:
    own, keys = identities(n)
    shares = trusted_dealer_keygen(suite, 4242, t, tuple(own), random.Random(1))
    record = KeyRecord(suite.name, shares[1].key.commitments, tuple(own))
    machines: dict[Party, Machine] = {
        p: sign.Sign(b"bench", own[p], keys, record, shares[p], b"message") for p in own
    }
    return milliseconds(lambda: run_all(machines, alone=alone))


def computing(circuit: Circuit, given: dict[Party, tuple[int, ...]], n: int) -> float:
    parties = tuple(range(1, n + 1))
    machines: dict[Party, Machine] = {
        p: Compute(circuit, tuple(given), parties, given=given.get(p)) for p in parties
    }
    return milliseconds(lambda: run_all(machines))


def sum_1000(n: int) -> float:
    given = {p: tuple(range(1000)) for p in range(1, n + 1)}
    return computing(arithmetic.build("sum", tuple(given), tuple(given), 1000), given, n)


def products_1000(n: int) -> float:
    given = {p: tuple(range(1000)) for p in (1, 2)}
    circuit = arithmetic.build("product", (1, 2), tuple(range(1, n + 1)), 1000)
    return computing(circuit, given, n)


def one_comparison(n: int) -> float:
    circuit = Circuit()
    difference = circuit.input(1) - circuit.input(2)
    contributors = tuple(range(1, degree(n) + 2))
    circuit.output(circuit.open(negative(circuit, difference, contributors)))
    return computing(circuit, {1: (5,), 2: (7,)}, n)


MPYC = """
import asyncio, statistics, sys, time
from mpyc.runtime import mpc
async def timed(work):
    times = []
    for _ in range(6):
        await mpc.barrier()
        began = time.perf_counter()
        await work()
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times[1:])
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
    found = [await timed(work) for work in (total, products, comparison)]
    if mpc.pid == 0:
        print("RESULT", *found)
    await mpc.shutdown()
mpc.run(main())
"""


def mpyc(n: int) -> list[float] | None:
    """Milliseconds of sum, products and comparison (wall clock); None without MPyC."""
    if importlib.util.find_spec("mpyc") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "beside.py"
        script.write_text(MPYC)
        command = [sys.executable, str(script), f"-M{n}"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    for line in ended.stdout.splitlines():
        if line.startswith("RESULT"):
            return [float(word) for word in line.split()[1:]]
    raise RuntimeError(f"MPyC did not finish: {ended.stderr[-500:]}")


def keys_and_signatures(n: int, t: int, dkg_aim: float | None, sign_aim: float | None) -> None:
    def measured(name: str, work: Callable[[], float], aim: float | None = None) -> None:
        value = work() if n > 50 else median(work)
        show(Result(f"{name} {t} of {n}", value, "ms", aim))

    measured("DKG, Ed25519,", lambda: keygen(n, t, FROST_ED25519), dkg_aim)
    measured("DKG, secp256k1,", lambda: keygen(n, t, FROST_SECP256K1))
    measured("sign, Ed25519,", lambda: signing(n, t, FROST_ED25519), sign_aim)
    if n <= 50:
        each = ", each on its own,"
        measured(f"DKG, Ed25519{each}", lambda: keygen(n, t, FROST_ED25519, alone=True))
        measured(f"sign, Ed25519{each}", lambda: signing(n, t, FROST_ED25519, alone=True))


def arithmetic_beside_mpyc(n: int) -> None:
    peer: list[float | None] = list(mpyc(n) or ()) or [None] * 3
    works = {
        "sum of 1000-vectors": sum_1000,
        "1000 products": products_1000,
        "one comparison, 64 bits": one_comparison,
    }
    for (name, work), theirs in zip(works.items(), peer, strict=True):
        value = median(partial(work, n), 5)
        show(Result(f"{name}, {n} parties", value, "ms", theirs, peer="MPyC", peer_value=theirs))


def main() -> None:
    heading("Keys and signatures: computing of all parties together")
    keys_and_signatures(5, 3, None, 5)
    keys_and_signatures(20, 14, 300, None)
    if os.environ.get("MPC_LARGE"):
        keys_and_signatures(100, 67, None, None)
    heading("Secure arithmetic: computing of all parties together; MPyC over localhost")
    arithmetic_beside_mpyc(3)
    arithmetic_beside_mpyc(5)


if __name__ == "__main__":
    main()
