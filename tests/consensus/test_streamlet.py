"""Streamlet: the paper's rules one by one, counts and delays, catching up; "longest" left out."""

from __future__ import annotations

import pytest

from mpclab.consensus.streamlet import Streamlet, leader_of
from mpclab.consensus.streamlet_chain import PAGE
from mpclab.consensus.streamlet_messages import (
    ROOT,
    VOTE,
    Block,
    Notarised,
    StreamletChain,
    StreamletPropose,
    StreamletRequest,
    StreamletStatus,
    StreamletVote,
    Votes,
    digest_of,
)
from mpclab.consensus.wrong import AnyChainStreamlet, AnyEpochsStreamlet
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, Party
from mpclab.core.wire import Message
from mpclab.faults.network import Delay, Network
from mpclab.testing.alone import Alone
from mpclab.testing.cluster import IDENTITIES, Cluster
from mpclab.testing.gauntlet import gauntlet
from mpclab.testing.promises import PROMISES

DELTA = Streamlet.options_type().patience // 4


def block(epoch: int, parent: Block | None = None, op: str = "") -> Block:
    ops = (StreamletRequest(op, f"value of {op}".encode()),) if op else ()
    return Block(ROOT if parent is None else digest_of(parent), epoch, ops)


def vote(p: Party, one: Block, session: str = "") -> StreamletVote:
    name = digest_of(one)
    return StreamletVote(one.epoch, name, IDENTITIES[p].sign(VOTE, session, name))


def votes(one: Block, by: str = "124", session: str = "") -> Votes:
    return tuple((int(p), vote(int(p), one, session).signature) for p in by)


def notarised(one: Block, by: str = "124") -> Notarised:
    return Notarised(one, votes(one, by))


def voted(said: list[Message]) -> list[tuple[int, bytes]]:
    return [(m.epoch, m.block) for m in said if isinstance(m, StreamletVote)]


def hear_proposal(party: Alone, one: Block, proof: Votes = ()) -> list[Message]:
    return party.hear(leader_of("", one.epoch, party.n), StreamletPropose(one, proof))


B1 = block(1, op="a")
B2 = block(2, B1, op="b")
B3 = block(3, B2)


def in_epoch(epoch: int, me: Party = 3) -> Alone:
    """A party that wants something all the time and has seen nothing but time pass."""
    party = Alone(Streamlet, me)
    party.submit("z", b"value of z")
    while party.machine.epoch < epoch:
        party.fire("epoch")
    return party


def leads(epoch: int) -> Party:
    return leader_of("", epoch, 4)


# --- published figures ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 7, 10])
@pytest.mark.parametrize("delay", [1, 10])
def test_messages_are_those_of_two_epochs_and_the_time_is_delta_s(n: int, delay: int) -> None:
    """Two blocks in a row, however quick the network is: 2Δ + 2δ."""
    c = Cluster(Streamlet, n, network=Network(Delay("constant", delay * MS)))
    c.submit(leader_of("", 2, n), "a")
    c.run()
    assert c.sent() == {
        "StreamletRequest": n - 1,
        "StreamletPropose": 2 * (n - 1),
        "StreamletVote": 2 * n * (n - 1),
    }
    assert max(c.parent(p).decided_at["a"] for p in c.members) == 2 * DELTA + 2 * delay * MS


def test_leaders_are_drawn_and_all_have_their_turns() -> None:
    drawn = [leader_of("session", epoch, 4) for epoch in range(1, 400)]
    assert min(map(drawn.count, (1, 2, 3, 4))) > 70
    assert drawn != [leader_of("another", epoch, 4) for epoch in range(1, 400)]


def test_a_block_takes_a_batch() -> None:
    c = Cluster(Streamlet, 4, batch=8)
    names = [f"op{k}" for k in range(17)]
    for op in names:
        c.submit(leads(1), op)
    c.run()
    assert c.all_decided(*names)
    assert c.sent()["StreamletPropose"] <= 3 * 5, "one, eight, eight, and what makes them final"


def test_a_block_holds_values_of_so_many_bytes_or_a_single_one() -> None:
    sizes = {"a": 2 * Streamlet.BLOCK_BYTES, "b": Streamlet.BLOCK_BYTES - 1, "c": 1, "d": 1}
    leader = Alone(Streamlet, leads(1))
    for op, size in sizes.items():
        leader.machine.backlog.add(op, b"x" * size)
    blocks: list[str] = []
    while len("".join(blocks)) < 4:
        ops = leader.machine._next_ops(set("".join(blocks)))
        assert leader.machine.is_valid(ops)
        blocks.append("".join(one.op for one in ops))
    assert blocks == ["a", "bc", "d"]


def test_too_few_parties_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 4"):
        Streamlet.check_size(3)


# --- propose -------------------------------------------------------------------------------------


def test_the_leader_extends_a_longest_notarised_chain_and_shows_its_votes() -> None:
    leader = Alone(Streamlet, leads(4))
    leader.hear(1, StreamletChain((notarised(B1), notarised(B2))))
    leader.submit("c", b"value of c")
    while leader.machine.epoch < 4:
        leader.fire("epoch")
    (proposal,) = [
        m for _, m in leader.said if isinstance(m, StreamletPropose) and m.block.epoch == 4
    ]
    assert proposal.block.parent == digest_of(B2)
    assert proposal.proof == votes(B2)
    assert [one.op for one in proposal.block.ops] == ["c"], "`b` stands in the chain already"


def test_only_the_leader_of_an_epoch_proposes_and_once() -> None:
    party = in_epoch(1)
    stranger = next(p for p in (1, 2, 4) if p != leads(1))
    assert voted(party.hear(stranger, StreamletPropose(B1, ()))) == []
    hear_proposal(party, B1)
    hear_proposal(party, block(1, op="x"))
    assert party.blamed == [stranger, leads(1)]


def test_after_a_crash_a_proposal_is_the_same() -> None:
    leader = Alone(Streamlet, leads(1))
    said = leader.submit("a", b"value of a")
    proposal = next(m for m in said if isinstance(m, StreamletPropose))
    again = leader.restart()
    assert proposal in again
    others = leader.submit("b", b"value of b")
    assert not [m for m in others if isinstance(m, StreamletPropose)]


# --- vote ----------------------------------------------------------------------------------------


def test_a_vote_is_for_the_first_block_of_the_leader() -> None:
    party = in_epoch(1)
    assert voted(hear_proposal(party, B1)) == [(1, digest_of(B1))]
    assert party.stored_before_said()
    assert voted(hear_proposal(party, block(1, op="x"))) == []


def test_a_vote_is_given_once_in_an_epoch_also_after_a_crash() -> None:
    party = in_epoch(1)
    hear_proposal(party, B1)
    assert voted(party.restart()) == [(1, digest_of(B1))], "the same is said again"
    assert voted(hear_proposal(party, block(1, op="x"))) == []


def test_a_vote_is_for_a_longest_chain_only_and_the_leader_is_shown_it() -> None:
    party = in_epoch(4)
    party.hear(1, StreamletChain((notarised(B1), notarised(B2))))
    said = hear_proposal(party, block(4, B1, op="x"), votes(B1))
    assert voted(said) == []
    assert StreamletChain((notarised(B2),)) in said
    equal = block(4, B2, op="x")
    other = in_epoch(4)
    other.hear(1, StreamletChain((notarised(B1), notarised(B2))))
    assert voted(hear_proposal(other, equal, votes(B2))) == [(4, digest_of(equal))]


def test_a_crash_between_a_block_and_what_it_makes_final_costs_nothing() -> None:
    for after in range(6):
        party = in_epoch(1)
        party.hear(1, StreamletChain((notarised(B1),)))
        party.tear(1, StreamletChain((notarised(B2),)), after)
        assert party.log == (["a"] if digest_of(B2) in party.machine.tree.links else [])
        party.hear(1, StreamletChain((notarised(B2),)))
        assert party.log == ["a"]


def test_what_was_seen_notarised_is_seen_also_after_a_crash() -> None:
    party = in_epoch(4)
    party.hear(1, StreamletChain((notarised(B1), notarised(B2))))
    party.restart()
    party.submit("z", b"value of z")
    while party.machine.epoch < 4:
        party.fire("epoch")
    assert voted(hear_proposal(party, block(4, B1, op="x"), votes(B1))) == []


def test_the_votes_in_a_proposal_notarise_its_parent() -> None:
    """Somebody may have kept them from us: this is part of the paper's echo."""
    party = in_epoch(1)
    hear_proposal(party, B1)
    party.fire("epoch")
    assert voted(hear_proposal(party, B2, votes(B1))) == [(2, digest_of(B2))]


def test_who_lacks_the_parent_asks_for_it_and_votes_then() -> None:
    party = in_epoch(2)
    said = hear_proposal(party, B2, votes(B1))
    assert voted(said) == []
    assert StreamletStatus(2, 0, ROOT) in said
    assert voted(party.hear(leads(2), StreamletChain((notarised(B1),)))) == [(2, digest_of(B2))]


@pytest.mark.parametrize("by", ["12", "122", "1", ""])
def test_a_parent_needs_votes_of_two_thirds(by: str) -> None:
    party = in_epoch(2)
    hear_proposal(party, B1)
    assert voted(hear_proposal(party, B2, votes(B1, by))) == []
    assert party.blamed == [leads(2)]


@pytest.mark.parametrize(
    "ops",
    [
        (StreamletRequest("", b"x"),),
        (StreamletRequest("a", b"x"), StreamletRequest("a", b"y")),
        (StreamletRequest("a", b"bad"),),
        tuple(StreamletRequest(f"op{k}", b"x") for k in range(17)),
        tuple(StreamletRequest(op, b"x" * 2**16) for op in "abc"),
    ],
)
def test_an_invalid_block_gets_no_vote_and_its_leader_the_blame(
    ops: tuple[StreamletRequest, ...],
) -> None:
    party = Alone(Streamlet, 3, valid=lambda value: value != b"bad")
    party.submit("z", b"value of z")
    assert voted(hear_proposal(party, Block(ROOT, 1, ops))) == []
    assert party.blamed == [leads(1)]


# --- notarised, and final ------------------------------------------------------------------------


def test_votes_of_two_thirds_notarise_and_three_in_a_row_are_final_up_to_the_second() -> None:
    party = in_epoch(1)
    for one, parent in ((B1, None), (B2, B1)):
        while party.machine.epoch < one.epoch:
            party.fire("epoch")
        hear_proposal(party, one, votes(parent) if parent else ())
        party.hear(1, vote(1, one))
        assert digest_of(one) not in party.machine.tree.links, "two of four"
        assert party.log == []
        party.hear(4, vote(4, one))
        assert digest_of(one) in party.machine.tree.links
    assert party.log == ["a"], "genesis is of epoch 0: three in a row"
    party.hear(1, StreamletChain((notarised(B3),)))
    assert party.log == ["a", "b"]


def test_three_blocks_with_a_gap_are_not_final() -> None:
    party = in_epoch(1)
    late = block(4, B1, op="b")
    later = block(5, late)
    party.hear(1, StreamletChain((notarised(B1), notarised(late), notarised(later))))
    assert party.log == []
    party.hear(1, StreamletChain((notarised(block(6, later)),)))
    assert party.log == ["a", "b"], "4, 5 and 6 make all of 1, 4 and 5 final"


def test_a_vote_is_signed_and_one_of_an_epoch() -> None:
    party = in_epoch(1)
    party.hear(4, StreamletVote(1, digest_of(B1), vote(2, B1).signature))
    party.hear(4, vote(4, B1), vote(4, block(1, op="x")))
    assert party.blamed == [4, 4]
    other = Alone(Streamlet, 2, session="another")
    other.hear(3, vote(3, B1))
    assert other.blamed == [3]


def test_what_can_never_be_final_is_forgotten() -> None:
    party = in_epoch(1)
    fork = block(3, B1, op="x")
    party.hear(1, StreamletChain((notarised(B1), notarised(fork))))
    party.hear(3, StreamletChain((notarised(block(4, B1, op="y")),)))
    chain = [block(5, fork), block(6, block(5, fork)), block(7, block(6, block(5, fork)))]
    party.hear(1, StreamletChain(tuple(map(notarised, chain))))
    assert party.log == ["a", "x"]
    assert sum(key.startswith("block/") for key in party.disk) == 5, "not of epoch 4"
    assert len(party.machine.tree.links) == 6
    party.restart()
    assert party.log == ["a", "x"]


def test_what_one_party_makes_us_keep_is_bounded() -> None:
    party = in_epoch(1)
    for epoch in range(2, 60):
        party.hear(3, vote(3, block(epoch)))
        if leads(epoch) == 3:
            party.hear(3, StreamletPropose(block(epoch), ()))
    assert party.machine.epoch == 1, "one party that is further moves nobody"
    assert len(party.machine.votes) + len(party.machine.proposals) <= 3 * Streamlet.REACH


def test_f_plus_1_parties_in_a_later_epoch_are_followed() -> None:
    party = in_epoch(1)
    party.hear(3, vote(3, block(40)))
    party.hear(4, StreamletStatus(30, 0, ROOT))
    assert party.machine.epoch == 30


def test_what_made_a_block_final_is_shown_also_when_it_is_on_no_longest_chain() -> None:
    """Block 2 made block 1 final; few saw it, and the chain went on without it."""
    holder = in_epoch(8)
    longer = block(5, B1, op="x")
    holder.hear(1, StreamletChain((notarised(B1), notarised(B2))))
    holder.hear(1, StreamletChain((notarised(longer), notarised(block(7, longer)))))
    assert holder.log == ["a"]
    late = in_epoch(8)
    late.hear(1, StreamletChain(tuple(map(notarised, (B1, longer, block(7, longer))))))
    assert late.log == []
    (shown,) = holder.hear(4, late.machine.status())
    late.hear(4, shown)
    assert late.log == ["a"]
    holder.restart()
    assert shown in holder.hear(4, StreamletStatus(8, 0, digest_of(block(7, longer))))


# --- the whole -----------------------------------------------------------------------------------


def test_epochs_double_while_nothing_is_final() -> None:
    party = in_epoch(Streamlet.GRACE)
    begun = party.now
    party.fire("epoch")
    assert party.now - begun == 4 * DELTA


def test_dead_leaders_cost_their_epochs_and_catch_up() -> None:
    c = Cluster(Streamlet, 4, patience=200 * MS)
    c.crash(leads(2))
    alive = [p for p in c.members if p != leads(2)]
    names = [f"op{k}" for k in range(6)]
    for k, op in enumerate(names):
        c.submit(alive[k % 3], op)
    c.run_until(lambda: c.all_decided(*names), 600_000)
    c.restart(leads(2))
    c.submit(leads(2), "late")
    c.run_until(lambda: c.all_decided(*names, "late"), 600_000)
    c.check_agreement()
    assert c.blamed() == set()


def test_catching_up_takes_messages_linear_in_what_was_missed() -> None:
    c = Cluster(Streamlet, 4, batch=1, patience=200 * MS)
    c.cut([4], [1, 2, 3])
    names = [f"op{k}" for k in range(40)]
    for k, op in enumerate(names):
        c.submit(1 + k % 3, op)
    c.run_until(lambda: all(len(c.log(p)) == 40 for p in (1, 2, 3)), 6_000_000)
    blocks, healed = len(c.machine(1).tree.final), c.world.now
    c.heal()
    c.run_until(lambda: c.all_decided(*names), 600_000)
    assert c.sent(since=healed)["StreamletChain"] <= 6 + 3 * blocks // PAGE
    assert c.blamed() == set()


def test_it_says_whom_it_waits_for() -> None:
    c = Cluster(Streamlet, 4, patience=40 * MS)
    c.crash(3, 4)
    c.submit(1, "a")
    c.run(20_000)
    assert {row.note.waiting_for for row in c.notes("blocked")} == {(3, 4)}
    c.restart(3, 4)
    c.run_until(lambda: c.all_decided("a"), 600_000)


@pytest.mark.parametrize("seed", range(2))
def test_one_log_on_bad_links(seed: int) -> None:
    c = Cluster(
        Streamlet, 7, seed=seed, patience=300 * MS,
        network=Network(Delay("exponential", 40 * MS), loss=0.1, ordered=seed % 2 == 0),
    )  # fmt: skip
    names = [f"op{k}" for k in range(7)]
    for k, op in enumerate(names):
        c.submit(k % 7 + 1, op)
    c.run_until(lambda: c.all_decided(*names), 600_000)
    c.check_agreement()
    assert c.blamed() == set()


# --- what "longest" is for -----------------------------------------------------------------------

UNLUCKY = "unlucky 527"
"""A session in which party 4 is drawn for each of the first five epochs."""


def first_decided(protocol: type[Streamlet]) -> set[str]:
    """Three honest parties and a liar, 4, which leads five epochs. It shows blocks 1 and 2 to
    parties 1 and 2 and their votes to party 1, which decides `a`; then to parties 2 and 3 a chain
    without them, of blocks 3, 4 and 5."""
    parties = {p: Alone(protocol, p, session=UNLUCKY) for p in (1, 2, 3)}
    for p in parties.values():
        p.submit("z", b"value of z")
    c3 = block(3, op="c")
    c4 = block(4, c3)
    plan = [
        (B1, (1, 2), (1, 2)),
        (B2, (1, 2), (1,)),
        (c3, (2, 3), (2, 3)),
        (c4, (2, 3), (2, 3)),
        (block(5, c4), (2, 3), (2, 3)),
    ]
    proofs: dict[bytes, Votes] = {ROOT: ()}
    for one, shown, told in plan:
        if one.parent not in proofs:
            break  # its parent has not enough votes to be shown
        said: list[tuple[Party, Message]] = [(4, vote(4, one, UNLUCKY))]
        for p in shown:
            while parties[p].machine.epoch < one.epoch:
                parties[p].fire("epoch")
            answer = parties[p].hear(4, StreamletPropose(one, proofs[one.parent]))
            said += [(p, m) for m in answer if voted([m]) == [(one.epoch, digest_of(one))]]
        for p in told:
            for src, msg in said:
                if src != p:
                    parties[p].hear(src, msg)
        if len(said) == 3:
            proofs[digest_of(one)] = votes(one, "".join(str(p) for p, _ in said), UNLUCKY)
    return {party.log[0] for party in parties.values() if party.log}


def test_extending_any_notarised_chain_splits_the_log() -> None:
    assert [leader_of(UNLUCKY, epoch, 4) for epoch in range(1, 6)] == [4] * 5
    assert first_decided(Streamlet) == {"a"}
    assert first_decided(AnyChainStreamlet) == {"a", "c"}


def test_orders_of_events_split_nobody() -> None:
    assert not any(gauntlet(Streamlet, k, promises=PROMISES["streamlet"]) for k in range(2))


def test_long_orders_of_events_split_what_takes_any_three_in_a_row() -> None:
    """Of the first 250 of them that one does; `tests/lab/test_attacks.py` has the other mistake."""
    found = gauntlet(AnyEpochsStreamlet, 148, promises=PROMISES["streamlet"], long=True)
    assert found == "place 0 holds ('a', b'a|0') and ('a', b'a|1')"
    assert gauntlet(Streamlet, 148, promises=PROMISES["streamlet"], long=True) == ""
