"""HotStuff, basic and chained: published counts, certificates that are real, safety, liveness."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.consensus.chained_hotstuff import ChainedGeneric, ChainedHotStuff
from mpclab.consensus.hotstuff import HotStuff, HotStuffAdvance, HotStuffPropose
from mpclab.consensus.hotstuff2 import HotStuff2
from mpclab.consensus.hotstuff_base import HotStuffBase
from mpclab.consensus.hotstuff_blocks import PAGE, BlockFetch
from mpclab.consensus.hotstuff_messages import (
    QC,
    ROOT,
    Block,
    CommonMessage,
    HotStuffNewView,
    HotStuffProof,
    HotStuffVote,
    digest_of,
)
from mpclab.core.errors import PeerFault, UsageError
from mpclab.core.ids import MS, SECOND
from mpclab.core.machine import Ctx, Machine
from mpclab.core.wire import Message
from mpclab.faults.network import Delay, Network
from mpclab.testing.alone import Alone
from mpclab.testing.cluster import AT, IDENTITIES, Cluster
from mpclab.trace import rows

BOTH: list[type[HotStuffBase]] = [HotStuff, ChainedHotStuff]


@pytest.mark.parametrize("n", [4, 7, 10, 16])
def test_basic_messages_and_delays_are_the_published_ones(n: int) -> None:
    c = Cluster(HotStuff, n)
    c.run(15)  # the NEW-VIEWs of view 1 are there
    begun = c.world.now
    assert c.sent() == {"HotStuffNewView": n - 1}
    c.submit(1, "a")
    c.run()
    count = c.sent(since=begun)
    assert count.pop("HotStuffNewView") == n - 1, "of the next view"
    assert count.total() == 7 * (n - 1)
    assert max(c.parent(p).decided_at["a"] for p in c.honest) == begun + 70 * MS


@pytest.mark.parametrize("n", [4, 7, 10, 16])
def test_chained_delays_are_the_published_ones(n: int) -> None:
    c = Cluster(ChainedHotStuff, n)
    c.run(15)
    begun = c.world.now
    c.submit(1, "a")
    c.run()
    assert c.sent("ChainedGeneric", since=begun).total() == 4 * (n - 1), "it and its three children"
    assert max(c.parent(p).decided_at["a"] for p in c.honest) == begun + 70 * MS


@pytest.mark.parametrize("n", [4, 7, 10])
def test_chained_takes_about_2n_minus_2_messages_for_each_of_many(n: int) -> None:
    c = Cluster(ChainedHotStuff, n)
    names = [f"op{k}" for k in range(40)]
    for name in names:
        c.submit(1, name)
    c.run()
    assert c.all_decided(*names)
    views = len(names) + 3  # the last needs three children
    # the next leader's vote is for itself: n − 1 votes travel in each view
    assert c.sent("ChainedGeneric", "HotStuffVote").total() == views * 2 * (n - 1)


@pytest.mark.parametrize("protocol", BOTH)
def test_too_few_parties_are_refused(protocol: type[HotStuffBase]) -> None:
    with pytest.raises(UsageError, match="at least 4"):
        protocol.check_size(3)


@pytest.mark.parametrize("protocol", BOTH)
def test_everybody_submits_and_all_hold_one_log(protocol: type[HotStuffBase]) -> None:
    c = Cluster(protocol, 7, network=Network(Delay("exponential", 20 * MS)))
    names = [f"op{k}" for k in range(21)]
    for k, name in enumerate(names):
        c.submit(k % 7 + 1, name)
    c.run_until(lambda: c.all_decided(*names))
    c.check_agreement()
    assert c.blamed() == set()


@pytest.mark.parametrize("protocol", BOTH)
def test_dead_leaders_are_passed_over(protocol: type[HotStuffBase]) -> None:
    c = Cluster(protocol, 7)
    c.crash(1, 2)
    c.submit(5, "a")
    c.run_until(lambda: c.all_decided("a"))
    c.restart(1, 2)
    c.submit(1, "b")
    c.run_until(lambda: c.all_decided("a", "b"))
    c.check_agreement()


@pytest.mark.parametrize("protocol", BOTH)
def test_one_dead_of_four_does_not_stop_it(protocol: type[HotStuffBase]) -> None:
    c = Cluster(protocol, 4)
    c.crash(3)
    names = [f"op{k}" for k in range(6)]
    for name in names:
        c.submit(4, name)
    c.run_until(lambda: c.all_decided(*names), 600_000)


@pytest.mark.parametrize("protocol", BOTH)
def test_everybody_restarts_from_the_store(protocol: type[HotStuffBase]) -> None:
    c = Cluster(protocol, 4)
    c.submit(1, "a")
    c.run_until(lambda: c.all_decided("a"))
    c.submit(2, "b")
    c.run(35)
    c.crash(*c.members)
    c.restart(*c.members)
    assert all(c.log(p)[0] == "a" for p in c.members)
    c.submit(2, "b")
    c.run_until(lambda: c.all_decided("a", "b"))
    c.check_agreement()


@pytest.mark.parametrize("protocol", BOTH)
def test_without_a_quorum_it_says_whom_it_waits_for(protocol: type[HotStuffBase]) -> None:
    c = Cluster(protocol, 4, patience=100 * MS)
    c.crash(3, 4)
    c.submit(1, "a")
    c.run(600_000)
    blocked = c.notes("blocked")
    assert blocked
    assert all(row.note.waiting_for == (3, 4) for row in blocked)
    c.restart(3, 4)
    c.run_until(lambda: c.all_decided("a"), 600_000)


def test_certificates_are_checked() -> None:
    c = Cluster(HotStuff, 4, session="s")
    c.submit(1, "a")
    c.run()
    machine = c.machine(2)
    proof: QC = machine.proof
    machine.check_qc(proof)
    forged = tuple((p, IDENTITIES[9].sign("mpclab hotstuff vote", "x")) for p, _ in proof.votes)
    for bad in (
        QC(proof.phase, proof.view, proof.block, proof.votes[:2]),
        QC(proof.phase, proof.view, proof.block, proof.votes[:1] * 3),
        QC(proof.phase, proof.view + 1, proof.block, proof.votes),
        QC("prepare", proof.view, proof.block, proof.votes),
        QC(proof.phase, proof.view, proof.block, forged),
    ):
        with pytest.raises(PeerFault):
            machine.check_qc(bad)
    machine.session = "another"
    with pytest.raises(PeerFault):
        machine.check_qc(proof)


class TwoFaced(Machine):
    """The first leader: one block to some, another to the rest, and its vote for whatever."""

    messages = HotStuffPropose | HotStuffAdvance | ChainedGeneric | CommonMessage

    def __init__(self, make: type[Message], first: frozenset[int]) -> None:
        self.make = make
        self.first = first

    def start(self, ctx: Ctx) -> None:
        phase = "prepare" if self.make is HotStuffPropose else "generic"
        genesis = QC(phase, 0, ROOT, ())
        for p in ctx.others:
            op = "x" if p in self.first else "y"
            block = Block(1, ROOT, op, b"v")
            ctx.send(p, self.make(block, genesis))
            signed = IDENTITIES[1].sign("mpclab hotstuff vote", "", phase, 1, digest_of(block))
            ctx.send(p, HotStuffVote(phase, 1, digest_of(block), signed))


@pytest.mark.parametrize(
    ("protocol", "make"), [(HotStuff, HotStuffPropose), (ChainedHotStuff, ChainedGeneric)]
)
@settings(max_examples=40, deadline=None)
@given(n=st.integers(4, 8), first=st.frozensets(st.integers(2, 8)), seed=st.integers(0, 2**32))
def test_a_two_faced_leader_splits_nobody_and_is_passed_over(
    protocol: type[HotStuffBase], make: type[Message], n: int, first: frozenset[int], seed: int
) -> None:
    net = Network(Delay("exponential", 20 * MS))
    others = {1: lambda: TwoFaced(make, first)}
    c = Cluster(protocol, n, seed=seed, network=net, others=others, patience=200 * MS)
    c.submit(2, "z")
    c.run_until(lambda: c.all_decided("z"), 600_000)
    c.run(10_000)
    c.check_agreement()
    assert c.blamed() <= {1}


@pytest.mark.parametrize("protocol", BOTH)
@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(4, 8),
    seed=st.integers(0, 2**32),
    loss=st.floats(0, 0.2),
    spread=st.integers(1, 150),
    plan=st.lists(
        st.tuples(
            st.sampled_from(["crash", "cut"]),
            st.integers(1, 8),
            st.integers(0, 4_000),
            st.integers(100, 4_000),
        ),
        max_size=4,
    ),
    ops=st.lists(st.tuples(st.integers(1, 8), st.integers(0, 5_000)), min_size=1, max_size=10),
    ordered=st.booleans(),
)
def test_one_log_whatever_happens_and_progress_when_it_stops(
    protocol: type[HotStuffBase],
    n: int,
    seed: int,
    loss: float,
    spread: int,
    plan: list[tuple[str, int, int, int]],
    ops: list[tuple[int, int]],
    ordered: bool,
) -> None:
    net = Network(Delay("uniform", 1 * MS, spread * MS), loss=loss, ordered=ordered)
    c = Cluster(protocol, n, seed=seed, network=net, patience=1_000 * MS)
    for kind, p, at, lasting in plan:
        p = (p - 1) % n + 1
        if kind == "crash":
            c.world.at(at * MS, lambda p=p: c.crash(p))  # type: ignore[misc]
            c.world.at((at + lasting) * MS, lambda p=p: c.restart(p))  # type: ignore[misc]
        else:
            groups = range(1, p + 1), range(p + 1, n + 1)
            c.world.at(at * MS, lambda g=groups: c.cut(*g))  # type: ignore[misc]
            c.world.at((at + lasting) * MS, c.heal)
    names = [f"op{k}" for k in range(len(ops))]
    for name, (p, at) in zip(names, ops, strict=True):
        p = (p - 1) % n + 1

        def submit(p: int = p, name: str = name) -> None:
            if p in c.world.actors:
                c.submit(p, name)

        c.world.at(at * MS, submit)
    c.run(9_000)
    c.check_agreement()
    c.world.network = Network(Delay("uniform", 1 * MS, spread * MS), ordered=ordered)
    for name, (p, _) in zip(names, ops, strict=True):
        c.submit((p - 1) % n + 1, name)
    c.run_until(lambda: c.all_decided(*names), 3_000_000)
    c.check_agreement()
    assert c.blamed() == set()


# --- one liar ----------------------------------------------------------------------------------


class Scripted(Machine):
    """A liar: `moves` says what it does on a message, given the context."""

    messages = HotStuffPropose | HotStuffAdvance | ChainedGeneric | CommonMessage

    def __init__(self, moves: Callable[[Ctx, int, Message], None]) -> None:
        self.moves = moves

    def on_message(self, ctx: Ctx, sender: int, msg: Message) -> None:
        self.moves(ctx, sender, msg)


def signed(p: int, phase: str, view: int, block: bytes) -> HotStuffVote:
    signature = IDENTITIES[p].sign("mpclab hotstuff vote", "", phase, view, block)
    return HotStuffVote(phase, view, block, signature)


def test_an_early_proposal_that_is_wrong_undoes_nothing_but_itself() -> None:
    """It is read in view 2, which honest parties enter by deciding view 1."""
    bad = QC("prepare", 1, bytes(32), tuple((p, bytes(64)) for p in (1, 3, 4)))

    def early(ctx: Ctx, sender: int, msg: Message) -> None:
        if isinstance(msg, HotStuffPropose) and msg.block.view == 1:
            ctx.multicast(ctx.others, HotStuffPropose(Block(2, bytes(32), "", b""), bad))

    c = Cluster(HotStuff, 4, others={2: lambda: Scripted(early)}, patience=200 * MS)
    c.submit(1, "a")
    c.run_until(lambda: c.all_decided("a"))
    c.submit(3, "b")
    c.run_until(lambda: c.all_decided("a", "b"))
    assert c.blamed() == {2}


@pytest.mark.parametrize("protocol", BOTH)
def test_a_vote_signed_for_another_phase_voids_no_certificate(
    protocol: type[HotStuffBase],
) -> None:
    def vote(ctx: Ctx, sender: int, msg: Message) -> None:
        if isinstance(msg, HotStuffPropose | ChainedGeneric):
            view, digest = msg.block.view, digest_of(msg.block)
            for phase in ("other", "commit", "generic"):
                ctx.multicast(ctx.others, signed(4, phase, view, digest))

    c = Cluster(protocol, 4, others={4: lambda: Scripted(vote)}, patience=200 * MS)
    if protocol is ChainedHotStuff:
        c.lossy(lambda src, dst: (src, dst) == (2, 1))  # so that leader 1 needs the liar's vote
    for op, by in (("a", 1), ("b", 2), ("c", 3)):
        c.submit(by, op)
    c.run_until(lambda: c.all_decided("a", "b", "c"))
    assert c.blamed() == {4}


def test_a_new_view_with_a_later_phase_does_not_frame_the_leader() -> None:
    """A leader that proposed upon a pre-commit certificate would be blamed by everybody."""

    def show(ctx: Ctx, sender: int, msg: Message) -> None:
        if isinstance(msg, HotStuffAdvance):
            ctx.multicast(ctx.others, HotStuffNewView(msg.qc.view + 1, msg.qc))

    c = Cluster(HotStuff, 4, others={4: lambda: Scripted(show)}, patience=200 * MS)
    c.submit(1, "a")
    c.run_until(lambda: c.all_decided("a"))
    c.submit(2, "b")
    c.run_until(lambda: c.all_decided("a", "b"))
    assert c.blamed() == {4}


@pytest.mark.parametrize("protocol", BOTH)
def test_new_views_of_one_party_take_one_place(protocol: type[HotStuffBase]) -> None:
    genesis = QC(protocol.PHASES[0], 0, ROOT, ())

    class Flood(Scripted):
        def start(self, ctx: Ctx) -> None:
            for view in range(400, 0, -1):
                ctx.multicast(ctx.others, HotStuffNewView(view, genesis))

    c = Cluster(protocol, 4, others={4: lambda: Flood(lambda ctx, sender, msg: None)})
    c.run(100)
    for p in c.honest:
        assert sum(4 in heard for heard in c.machine(p).new_views.values()) <= 1


@pytest.mark.parametrize("protocol", [HotStuff, ChainedHotStuff, HotStuff2])
def test_of_what_one_leader_proposes_in_a_view_one_block_is_kept(
    protocol: type[HotStuffBase],
) -> None:
    """Party 3 is locked, so that it votes for none of them."""
    three = Alone(protocol, 3)
    three.machine.locked = QC(protocol.PHASES[0], 9, b"locked" * 5, ())
    genesis = three.machine.genesis
    kind = ChainedGeneric if protocol is ChainedHotStuff else HotStuffPropose
    for k in range(20):
        three.hear(1, kind(Block(1, ROOT, "a", bytes([k])), genesis))
    assert len(three.machine.tree.waiting) == 1
    assert sum(key.startswith("block/") for key in three.disk) == 1


# --- catching up -------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize(("n", "missed"), [(4, 300), (7, 160)])
def test_catching_up_takes_messages_linear_in_what_was_missed(
    protocol: type[HotStuffBase], n: int, missed: int
) -> None:
    c = Cluster(protocol, n, network=Network(Delay("constant", 5 * MS)))
    c.cut([n], range(1, n))
    names = [f"op{k}" for k in range(missed)]
    for k, name in enumerate(names):
        c.submit(1 + k % (n - 1), name)
    c.run_until(lambda: all(len(c.log(p)) == missed for p in range(1, n)), 600_000)
    healed = c.world.now
    c.heal()
    c.run_until(lambda: c.all_decided(*names))
    sent = c.sent(since=healed)
    pages = 2 + missed // PAGE * 3 // 2  # of a chain with some empty blocks in it
    assert sent["HotStuffFetch"] <= pages
    assert sent["HotStuffBlocks"] <= pages
    assert c.blamed() == set()


def test_a_lost_page_is_asked_for_again_while_views_go_on() -> None:
    c = Cluster(HotStuff, 4, patience=100 * MS)
    c.cut([4], [1, 2, 3])
    names = [f"op{k}" for k in range(200)]
    for name in names[:80]:
        c.submit(1, name)
    c.run_until(lambda: all(len(c.log(p)) == 80 for p in (1, 2, 3)), 600_000)
    drop = iter(range(4))
    c.lossy(lambda src, dst: dst == 4 and next(drop, None) is not None)
    for name in names[80:]:
        c.submit(2, name)
    c.run_until(lambda: c.all_decided(*names), 600_000)
    c.check_agreement()


def test_requests_for_each_operation_do_not_grow_with_the_backlog() -> None:
    def requests(backlog: int) -> float:
        c = Cluster(HotStuff, 4)
        names = [f"op{k}" for k in range(backlog)]
        for k, name in enumerate(names):
            c.submit(k % 4 + 1, name)
        c.run_until(lambda: c.all_decided(*names))
        return c.sent()["HotStuffRequest"] / backlog

    assert requests(20) <= 4
    assert requests(80) <= 4


@pytest.mark.parametrize("protocol", BOTH)
def test_a_dead_leader_has_no_backlog_said_again(protocol: type[HotStuffBase]) -> None:
    c = Cluster(protocol, 7, patience=200 * MS)
    c.crash(7)
    names = [f"op{k}" for k in range(60)]
    for k, name in enumerate(names):
        c.submit(k % 6 + 1, name)
    c.run_until(lambda: c.all_decided(*names), 600_000)
    assert c.sent()["HotStuffRequest"] / len(names) <= 16


@pytest.mark.parametrize("protocol", [HotStuff, ChainedHotStuff])
def test_blocks_that_can_never_be_executed_are_forgotten(protocol: type[HotStuffBase]) -> None:
    """Views end without a decision and leave blocks behind; what is kept is what was executed."""
    delays = Network(Delay("exponential", 90 * MS), ordered=False)
    c = Cluster(protocol, 4, seed=3, network=delays, patience=200 * MS)
    ops = [f"op{k}" for k in range(12)]
    for k, op in enumerate(ops):
        c.world.at(k * 300 * MS, lambda k=k, op=op: c.submit(k % 4 + 1, op))  # type: ignore[misc]
    c.run_until(lambda: c.all_decided(*ops), 600_000)
    for p in c.members:
        tree = c.machine(p).tree
        assert all(tree.blocks[d].view > tree.height for d in tree.blocks.keys() - tree.executed)
        stored = c.world.disk(p)[AT]
        assert sum(key.startswith("block/") for key in stored) == len(tree.blocks) - 1
    forgotten = [r for r in c.world.trace.of(rows.Persisted) if r.key.startswith("block/")]
    assert len(forgotten) > sum(len(c.machine(p).tree.blocks) - 1 for p in c.members)


def test_a_certificate_that_was_kept_back_keeps_nobody_busy() -> None:
    """Leader 1 shows, long after and a hundred times, that its block of view 1 was certified, and
    not the block: it is asked for a few times, by those whom it showed that, and nobody else is."""
    block = Block(1, ROOT, "late", b"late")
    digest = digest_of(block)

    class KeepsItBack(Machine):
        def start(self, ctx: Ctx) -> None:
            ctx.set_timer("show", 30 * SECOND)

        def on_timer(self, ctx: Ctx, name: str) -> None:
            votes = []
            for p in (1, 2, 3):
                voter = ChainedHotStuff(IDENTITIES[p], {})
                votes.append((p, voter._signed("generic", 1, digest).signature))
            ctx.multicast(ctx.others, HotStuffProof(QC("generic", 1, digest, tuple(votes))))
            self.shown = getattr(self, "shown", 0) + 1
            if self.shown < 100:
                ctx.set_timer("show", SECOND)

        def on_message(self, ctx: Ctx, sender: int, msg: CommonMessage | ChainedGeneric) -> None:
            pass

    c = Cluster(ChainedHotStuff, 4, others={1: KeepsItBack})
    c.submit(2, "a")
    c.run_until(lambda: c.all_decided("a"))
    assert all(c.machine(p).tree.height > 1 for p in c.honest)
    c.run(30_000)
    shown = c.world.now
    c.run(120_000)
    assert not any(c.machine(p).busy for p in c.honest)
    assert c.sent("HotStuffWish", since=shown).total() == 0
    asked = [r for r in c.world.trace.of(rows.Sent) if r.kind == "HotStuffFetch" and r.at > shown]
    assert {to for row in asked for to in row.to} <= {1}
    assert len(asked) <= 3 * (1 + BlockFetch.OLD_TRIES)
    assert c.blamed() == set()
    c.submit(3, "b")
    c.run_until(lambda: c.all_decided("a", "b"))
