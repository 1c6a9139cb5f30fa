"""What the papers say, section by section, of HotStuff, Bracha, Ben-Or, 2PC and 3PC.

Each test names the place that it holds the protocol to; the machine's docstring says where it
departs from it.
"""

from __future__ import annotations

from typing import Any

import pytest

from mpclab.consensus.agreement import Oppose
from mpclab.consensus.benor import NEITHER, BenOr, BenOrProposal, BenOrReport
from mpclab.consensus.bracha import Bracha, BrachaEcho, BrachaInit, BrachaReady
from mpclab.consensus.chained_hotstuff import ChainedGeneric, ChainedHotStuff
from mpclab.consensus.hotstuff import HotStuff, HotStuffAdvance, HotStuffPropose
from mpclab.consensus.hotstuff_messages import (
    QC,
    ROOT,
    Block,
    HotStuffNewView,
    HotStuffVote,
    digest_of,
)
from mpclab.consensus.quorum import fingerprint
from mpclab.consensus.three_phase import ThreePhase
from mpclab.consensus.two_phase import TwoPhase
from mpclab.core.ids import MS
from mpclab.core.machine import Ctx, Machine
from mpclab.core.wire import Message
from mpclab.testing.cluster import IDENTITIES, Cluster
from mpclab.trace import rows


class Puppet(Machine):
    """A party that says what the test says, once each: `lines` by time in ms."""

    def __init__(self, *lines: tuple[int, tuple[int, ...], Message]) -> None:
        self.lines = lines

    def start(self, ctx: Ctx) -> None:
        for k, (at, _, _) in enumerate(self.lines):
            ctx.set_timer(str(k), at * MS)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        _, to, msg = self.lines[int(name)]
        ctx.multicast(to, msg)

    def on_message(self, ctx: Ctx, sender: int, msg: Any) -> None:
        """It does not listen."""


def puppet(protocol: type, *lines: tuple[int, tuple[int, ...], Message]) -> Any:
    return lambda: type("Of", (Puppet,), {"messages": protocol._message_types()})(*lines)  # type: ignore[attr-defined]


def said(c: Cluster, party: int, kind: str) -> list[rows.Sent]:
    return [r for r in c.world.trace.of(rows.Sent) if r.actor == party and r.kind == kind]


# --- HotStuff: Yin et al., PODC 2019 -----------------------------------------------------------


def vote(p: int, phase: str, view: int, block: bytes) -> bytes:
    return IDENTITIES[p].sign("mpclab hotstuff vote", "", phase, view, block)


def certificate(phase: str, view: int, block: bytes, voters: tuple[int, ...] = (1, 2, 3)) -> QC:
    return QC(phase, view, block, tuple((p, vote(p, phase, view, block)) for p in voters))


GENESIS = QC("prepare", 0, ROOT, ())
A, B = Block(1, ROOT, "a", b"a"), Block(5, ROOT, "b", b"b")


def test_hotstuff_alg_2_line_4_a_leader_waits_for_n_minus_f_new_views() -> None:
    def proposes(*silent: int) -> bool:
        others = {p: puppet(HotStuff) for p in silent}
        c = Cluster(HotStuff, 4, others=others, patience=10**6 * MS)
        c.submit(1, "a")
        c.run(1_000)
        return bool(said(c, 1, "HotStuffPropose"))

    assert proposes(4)
    assert not proposes(3, 4)


def test_hotstuff_alg_2_the_three_phases_follow_each_other() -> None:
    c = Cluster(HotStuff, 4)
    c.submit(1, "a")
    c.run()
    phases = [row.note.phase for row in c.notes("phase") if row.actor == 2]  # type: ignore[union-attr]
    assert phases == ["prepare", "pre-commit", "commit"]


def locked_on_a(*lines: tuple[int, tuple[int, ...], Message]) -> Cluster:
    """Parties 2 to 4 are locked on A in view 1; its leader, a puppet, then leads view 5."""
    shown = [
        (5, (2, 3, 4), HotStuffPropose(A, GENESIS)),
        (30, (2, 3, 4), HotStuffAdvance(certificate("prepare", 1, digest_of(A)))),
        (60, (2, 3, 4), HotStuffAdvance(certificate("pre-commit", 1, digest_of(A)))),
    ]
    return Cluster(HotStuff, 4, others={1: puppet(HotStuff, *shown, *lines)}, patience=10**6 * MS)


def test_hotstuff_alg_1_safenode_a_locked_party_votes_against_no_decision() -> None:
    c = locked_on_a((100, (2, 3, 4), HotStuffNewView(5, GENESIS)))
    c.run(90)
    assert c.machine(2).locked.view == 1
    machine = c.machine(2)
    assert not machine.is_safe(digest_of(B), GENESIS), "B forks from the root, upon nothing newer"


def test_hotstuff_alg_1_safenode_a_newer_certificate_unlocks() -> None:
    c = locked_on_a()
    c.run(90)
    newer = certificate("prepare", 4, digest_of(B))
    assert c.machine(2).is_safe(digest_of(B), newer), "liveness rule: justify.viewNumber > lockedQC"


def test_hotstuff_alg_2_line_17_a_prepare_certificate_moves_high_and_not_the_lock() -> None:
    c = locked_on_a()
    c.run(50)
    assert (c.machine(2).high.view, c.machine(2).locked.view) == (1, 0)


def test_hotstuff_sec_4_1_one_vote_in_each_phase_of_a_view() -> None:
    other = Block(1, ROOT, "other", b"o")
    lines = [(5, (2,), HotStuffPropose(A, GENESIS)), (25, (2,), HotStuffPropose(other, GENESIS))]
    c = Cluster(HotStuff, 4, others={1: puppet(HotStuff, *lines)}, patience=10**6 * MS)
    c.run(200)
    assert len(said(c, 2, "HotStuffVote")) == 1


def test_hotstuff_sec_5_three_consecutive_views_decide_and_a_gap_does_not() -> None:
    def chain(*views: int) -> list[str]:
        parent, justify = ROOT, QC("generic", 0, ROOT, ())
        lines: list[tuple[int, tuple[int, ...], Message]] = []
        for k, view in enumerate(views):
            block = Block(view, parent, f"op{k}", b"v")
            lines.append((20 + 20 * k, (4,), ChainedGeneric(block, justify)))
            parent = digest_of(block)
            justify = certificate("generic", view, parent)
        c = Cluster(
            ChainedHotStuff, 4, others={1: puppet(ChainedHotStuff, *lines)}, patience=10**6 * MS
        )
        c.run(1_000)
        return c.log(4)

    assert chain(1, 2, 3, 4) == ["op0"], "COMMIT of b needs b, b′ and b″ in consecutive views"
    assert chain(1, 2, 4) == [], "a gap"


# --- Bracha: Information and Computation 1987, Fig. 1 ------------------------------------------


def broadcast(n: int, *lines: tuple[int, tuple[int, ...], Message], liars: int = 1) -> Cluster:
    """Puppets are the last `liars` parties; the first of them says the lines."""
    others = {n - liars + 1: puppet(Bracha, *lines)}
    others |= {p: puppet(Bracha) for p in range(n - liars + 2, n + 1)}
    return Cluster(Bracha, n, others=others, patience=10**6 * MS)


def test_bracha_fig_1_init_is_echoed_once() -> None:
    c = broadcast(4, (5, (1, 2), BrachaInit("a", b"x")), (20, (1,), BrachaInit("a", b"x")))
    c.run(200)
    assert len(said(c, 1, "BrachaEcho")) == 1


@pytest.mark.parametrize(("n", "echoes"), [(4, 3), (7, 5), (10, 7)])
def test_bracha_fig_1_ready_after_more_than_n_plus_f_half_echoes(n: int, echoes: int) -> None:
    """(n + f)/2 < echoes: any two such sets share an honest party."""
    f = (n - 1) // 3

    def is_ready(count: int) -> bool:
        others = {
            p: puppet(Bracha, (5, (1,), BrachaEcho(n, "a", b"x")))
            for p in range(n - count + 1, n + 1)
        }
        c = Cluster(Bracha, n, others=others, patience=10**6 * MS)
        c.run(200)
        return bool(said(c, 1, "BrachaReady"))

    assert 2 * echoes > n + f >= 2 * (echoes - 1)
    assert is_ready(echoes)
    assert not is_ready(echoes - 1)


@pytest.mark.parametrize("n", [4, 7, 10])
def test_bracha_fig_1_f_plus_1_readies_are_joined_and_2f_plus_1_deliver(n: int) -> None:
    f = (n - 1) // 3
    ready = BrachaReady(n, "a", fingerprint(b"x"))

    def heard(count: int) -> tuple[bool, bool]:
        others = {p: puppet(Bracha, (5, (1,), ready)) for p in range(n - count + 1, n + 1)}
        others[n] = puppet(Bracha, (5, (1,), ready), (6, (1,), BrachaEcho(n, "a", b"x")))
        c = Cluster(Bracha, n, others=others, patience=10**6 * MS)
        c.run(200)
        return bool(said(c, 1, "BrachaReady")), c.log(1) == ["a"]

    assert heard(f) == (False, False)
    assert heard(f + 1)[0], "one of them is honest"
    assert not heard(2 * f - 1)[1]
    assert heard(2 * f + 1) == (True, True)


# --- Ben-Or: PODC 1983, protocol A -------------------------------------------------------------


def ben_or(bits: tuple[int, int], *proposals: int) -> list[rows.Noted]:
    """Party 1 of 3 begins with 1; 2 and 3 report `bits`, and then propose."""
    lines = {
        2: [(15, (1,), BenOrReport("a", 1, bits[0]))],
        3: [(30, (1,), BenOrReport("a", 1, bits[1]))],
    }
    for p, bit in zip((2, 3), proposals, strict=False):
        lines[p].append((60 + p, (1,), BenOrProposal("a", 1, bit)))
    others = {p: puppet(BenOr, *each) for p, each in lines.items()}
    c = Cluster(BenOr, 3, others=others, patience=10**6 * MS)
    c.submit(1, "a")
    c.run(1_000)
    return [row for row in c.world.trace.of(rows.Sent) if row.actor == 1]  # type: ignore[misc]


def texts(sent: Any, kind: str) -> list[str]:
    return [row.text for row in sent if row.kind == kind]


def test_ben_or_step_2_more_than_half_of_all_reports_make_a_proposal() -> None:
    assert "bit=1" in texts(ben_or((1, 1)), "BenOrProposal")[0]


def test_ben_or_step_2_otherwise_it_proposes_neither() -> None:
    assert f"bit={NEITHER}" in texts(ben_or((0, 0)), "BenOrProposal")[0]


def test_ben_or_step_3_one_proposal_is_adopted() -> None:
    """n = 3, t = 1: one D-message of v makes x := v, and t + 1 decide."""
    second = texts(ben_or((0, 0), 0), "BenOrReport")[1]
    assert "round=2" in second
    assert "bit=0" in second


def test_ben_or_validity_equal_inputs_decide_in_one_round() -> None:
    c = Cluster(BenOr, 5)
    for p in c.members:
        c.world.ask(p, ("session",), Oppose("a", "no"))
    c.run()
    rounds = [row.note.round for row in c.notes("phase") if row.note.phase == "decide"]  # type: ignore[union-attr]
    assert set(rounds) == {1}


# --- 2PC: Gray and Lamport 2006, §3; 3PC: Bernstein et al. 1987, §7 ----------------------------


def test_two_phase_sec_3_2_takes_3n_minus_3_messages_and_three_delays() -> None:
    for n in (3, 5, 8):
        c = Cluster(TwoPhase, n)
        c.submit(1, "a")
        c.run()
        assert c.sent().total() == 3 * n - 3
        assert max(c.parent(p).decided_at["a"] for p in range(2, n + 1)) == 30 * MS


def test_two_phase_sec_3_1_one_no_aborts() -> None:
    c = Cluster(TwoPhase, 4, votes={3: False})
    c.submit(1, "a")
    c.run()
    assert all(c.parent(p).refused and not c.log(p) for p in c.members)


def test_two_phase_sec_7_4_an_uncertain_party_waits_for_a_dead_coordinator() -> None:
    c = Cluster(TwoPhase, 3, patience=100 * MS)
    c.submit(1, "a")
    c.run(15)  # all have approved, nobody knows
    c.crash(1)
    c.run(60_000)
    assert not any(c.log(p) or c.parent(p).refused for p in (2, 3))
    assert c.notes("blocked")
    c.restart(1)
    c.run_until(lambda: c.settled("a"))
    c.check_agreement()


def test_three_phase_sec_7_5_tr3_only_uncertain_parties_abort_without_the_coordinator() -> None:
    c = Cluster(ThreePhase, 4, patience=100 * MS)
    c.submit(1, "a")
    c.run(15)
    c.crash(1)
    c.run_until(lambda: c.settled("a"))
    assert all(c.parent(p).refused for p in (2, 3, 4))


def test_three_phase_sec_7_5_tr4_one_that_is_ready_makes_them_commit() -> None:
    c = Cluster(ThreePhase, 4, patience=100 * MS)
    c.submit(1, "a")
    c.run(35)  # the pre-commit has arrived
    c.crash(1)
    c.run_until(lambda: c.settled("a"))
    assert all(c.log(p) == ["a"] for p in (2, 3, 4))


def test_three_phase_takes_5n_minus_5_messages_and_five_delays() -> None:
    c = Cluster(ThreePhase, 5)
    c.submit(1, "a")
    c.run()
    assert c.sent().total() == 5 * 4
    assert max(c.parent(p).decided_at["a"] for p in range(2, 6)) == 50 * MS


def test_votes_are_signed_over_phase_view_and_block() -> None:
    """HotStuff §4: ⟨type, viewNumber, node⟩ is what a partial signature covers."""
    c = Cluster(HotStuff, 4)
    machine = c.machine(2)
    digest = digest_of(A)
    good = HotStuffVote("prepare", 1, digest, vote(1, "prepare", 1, digest))
    assert machine.check_vote(1, good)
