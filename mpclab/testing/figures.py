"""Experiments behind published figures: what the tests hold to, and `make bench` prints."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec

from mpclab.consensus.benor import BenOr
from mpclab.consensus.raft import Raft
from mpclab.consensus.raft_messages import (
    RaftAppendEntries,
    RaftAppendEntriesResponse,
    RaftEntry,
    RaftHeartbeat,
    RaftHeartbeatResponse,
    RaftRequestVote,
    RaftRequestVoteResponse,
)
from mpclab.core.ids import MS, SECOND, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.notes import BecameLeader, Phase
from mpclab.faults.network import Delay, Network
from mpclab.testing.cluster import Cluster


def leader(c: Cluster) -> int:
    """The leader of the latest term."""
    return max((term, who) for term, who in _leaders(c))[1]


def _leaders(c: Cluster) -> list[tuple[int, Party]]:
    """(term or view, party) for each time that one became the leader."""
    return [
        (row.note.term or row.note.view or 0, row.actor)
        for row in c.notes("became-leader")
        if isinstance(row.note, BecameLeader)
    ]


def elect(c: Cluster) -> int:
    """Run until there is a leader that all know of; who it is."""
    c.run_until(lambda: bool(c.notes("became-leader")))
    c.run(200)
    return leader(c)


def check_leaders(c: Cluster) -> None:
    """No term has two."""
    by_term: dict[int, set[int]] = defaultdict(set)
    for term, who in _leaders(c):
        by_term[term].add(who)
    assert all(len(who) == 1 for who in by_term.values()), f"two leaders in a term {by_term}"


class DyingLeader(Machine):
    """The old leader's last act: a heartbeat to all at once."""

    messages = (
        RaftHeartbeat
        | RaftHeartbeatResponse
        | RaftRequestVote
        | RaftRequestVoteResponse
        | RaftAppendEntries
        | RaftAppendEntriesResponse
    )

    def start(self, ctx: Ctx) -> None:
        ctx.multicast(ctx.others, RaftHeartbeat(1, 0))


WIRE = Network(Delay("constant", 3 * MS))


class SlowDisk(Raft):
    """A vote is on the voter's disk before it travels: 9 ms of the 15 (§9.3 gives their sum; how
    wire and disk share them is our choice)."""

    disk = 9 * MS

    def _answer(self, ctx: Ctx, to: int, msg: RaftRequestVoteResponse) -> None:
        ctx.set_timer(f"disk {to} {msg.term} {int(msg.granted)}", self.disk)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        if name.startswith("disk"):
            to, term, granted = map(int, name.split()[1:])
            ctx.send(to, RaftRequestVoteResponse(term, bool(granted), False))
        else:
            super().on_timer(ctx, name)


def downtimes(trials: int, randomness: int, limit_ms: int = 10_500) -> list[float]:
    """Fig. 16, ms: five servers whose logs have different lengths; the leader is crashed at a
    random moment of its heartbeat interval (half of the election timeout), after a heartbeat
    that it sent to all at once."""
    times = []
    entry = msgspec.msgpack.encode(RaftEntry(1, "", b""))
    stored = {
        p: {"term": msgspec.msgpack.encode((1, 5))} | {f"log/{k}": entry for k in range(1, p + 1)}
        for p in (1, 2, 3, 4)
    }
    for seed in range(trials):
        c = Cluster(
            SlowDisk, 5, seed=seed, network=WIRE, stored=stored, others={5: DyingLeader},
            prevote=False, election_timeout=150 * MS, election_spread=randomness * MS,
            heartbeat=75 * MS,
        )  # fmt: skip
        c.crash(5)
        crashed = (seed * 7919 % 75) * MS
        c.world.run(lambda c=c: bool(c.notes("became-leader")), limit=limit_ms * MS)  # type: ignore[misc]
        times.append((c.world.now - crashed) / MS)
        check_leaders(c)
    return times


class Split(BenOr):
    """Begins with 1 at the odd parties and with 0 at the even ones, without being asked."""

    def start(self, ctx: Ctx) -> None:
        super().start(ctx)
        if "a" not in self.instances:
            it = self._find(ctx, "a")
            it.value = b"a"
            self._report(ctx, "a", it, ctx.me % 2)


def rounds_until_somebody_decides(n: int, seed: int, **options: Any) -> int:
    """Ben-Or with split inputs and a fair scheduler."""
    net = Network(Delay("uniform", 100 * MS, 101 * MS), ordered=False)
    c = Cluster(Split, n, seed=seed, network=net, patience=10_000 * SECOND, **options)

    def deciding() -> list[int]:
        notes = [row.note for row in c.notes("phase")]
        return [n.round or 0 for n in notes if isinstance(n, Phase) and n.phase == "decide"]

    assert c.world.run(lambda: bool(deciding()))
    return min(deciding())
