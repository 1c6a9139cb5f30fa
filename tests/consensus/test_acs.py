"""The common subset: the paper's figures step by step, counts, orders of events, catching up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mpclab.consensus.acs import Acs
from mpclab.consensus.acs_batches import BYTES, batch_of, fits, ops_of, united
from mpclab.consensus.acs_binary import Binary
from mpclab.consensus.acs_broadcast import shards_of
from mpclab.consensus.acs_messages import (
    AcsAgain,
    AcsAux,
    AcsBatch,
    AcsBval,
    AcsConf,
    AcsEcho,
    AcsEnded,
    AcsFinish,
    AcsPart,
    AcsReady,
    AcsRequest,
    AcsVal,
    AcsWords,
)
from mpclab.consensus.wrong import EarlyAcs
from mpclab.core.errors import PeerFault, UsageError
from mpclab.core.ids import MS, Party
from mpclab.core.node import Node
from mpclab.core.wire import MAX_MESSAGE, Message
from mpclab.crypto import merkle
from mpclab.faults.network import Delay, Network
from mpclab.testing.alone import Alone
from mpclab.testing.cluster import Cluster
from mpclab.testing.gauntlet import Gauntlet
from mpclab.testing.promises import acs_promises

A = AcsRequest("a", b"value of a")


def batch(*ops: AcsRequest) -> bytes:
    return msgspec.msgpack.encode(AcsBatch(ops))


ROOT, SHARDS, BRANCHES = shards_of(batch(A), 4, 1)


def val(to: Party, epoch: int = 0) -> AcsVal:
    return AcsVal(epoch, ROOT, BRANCHES[to - 1], SHARDS[to - 1])


def echo(by: Party, of: Party = 1) -> AcsEcho:
    return AcsEcho(0, of, ROOT, BRANCHES[by - 1], SHARDS[by - 1])


def ready(of: Party = 1) -> AcsReady:
    return AcsReady(0, of, ROOT)


def kinds(said: list[Message], *of: type) -> list[Message]:
    return [m for m in said if isinstance(m, of)]


# --- published figures ----------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "delay"), [(4, 1), (4, 40), (7, 10)])
def test_an_epoch_takes_five_delays_after_the_request(n: int, delay: int) -> None:
    """No time-out and no leader: it is as quick as the network."""
    c = Cluster(Acs, n, network=Network(Delay("constant", delay * MS)))
    c.submit(2, "a")
    c.run()
    each = dict.fromkeys(("Echo", "Ready", "Bval", "Aux", "Finish"), n * n * (n - 1))
    expected = {"Request": n - 1, "Val": n * (n - 1)} | each
    assert c.sent() == {f"Acs{kind}": count for kind, count in expected.items()}
    assert c.sent().total() == n * (n - 1) * (5 * n + 1) + n - 1
    assert {c.parent(p).decided_at["a"] for p in c.members} == {6 * delay * MS}
    c.check_agreement()


def test_a_batch_costs_three_times_its_size_and_not_n_times() -> None:
    data = batch(AcsRequest("a", bytes(30_000)))
    for n in (4, 7, 31):
        _, shards, _ = shards_of(data, n, (n - 1) // 3)
        assert sum(map(len, shards)) < 3 * (len(data) + n)


def test_who_is_silent_delays_an_epoch_by_two_rounds_of_agreement_on_its_batch() -> None:
    """Five delays for the others' batches; then all say no to the fourth, against a coin of 1."""
    c = Cluster(Acs, 4)
    c.crash(3)
    c.submit(2, "a")
    c.run_until(lambda: c.all_decided("a"))
    assert {c.parent(p).decided_at["a"] for p in c.up} == {100 * MS}


def test_too_few_parties_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 4"):
        Acs.check_size(3)


# --- reliable broadcast: Fig. 2 -------------------------------------------------------------------


def test_a_shard_is_echoed_once_and_stored_first() -> None:
    party = Alone(Acs, 2)
    assert kinds(party.hear(1, val(2)), AcsEcho) == [echo(2)]
    assert party.stored_before_said()
    other, shards, branches = shards_of(batch(), 4, 1)
    assert party.hear(1, AcsVal(0, other, branches[1], shards[1])) == []


@pytest.mark.parametrize(
    ("sender", "msg"),
    [
        (1, val(3)),
        (3, echo(4)),
        (3, AcsEcho(0, 1, ROOT, BRANCHES[2], b"another" + SHARDS[2])),
        (3, AcsEcho(0, 9, ROOT, BRANCHES[2], SHARDS[2])),
        (3, AcsRequest("a", b"not valid")),
        (1, AcsVal(0, ROOT, BRANCHES[1], bytes(MAX_MESSAGE // 2 + 65))),
        (3, AcsReady(0, 1, bytes(33))),
        (3, AcsPart(0, 1, 3, bytes(1025))),
    ],
)
def test_what_proves_nothing_is_blamed(sender: Party, msg: Message) -> None:
    party = Alone(Acs, 2, valid=lambda value: value != b"not valid")
    assert party.hear(sender, msg) == []
    assert party.blamed == [sender]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ready(), AcsReady(0, 1, bytes(32))),
        (AcsAux(0, 1, 1, 0), AcsAux(0, 1, 1, 1)),
        (AcsConf(0, 1, 1, 1), AcsConf(0, 1, 1, 3)),
        (AcsFinish(0, 1, 0), AcsFinish(0, 1, 1)),
    ],
)
def test_who_says_two_things_once_is_blamed(first: Message, second: Message) -> None:
    party = Alone(Acs, 2)
    party.hear(3, first, first)
    assert party.blamed == []
    party.hear(3, second)
    assert party.blamed == [3]


def test_n_minus_f_echoes_make_ready() -> None:
    party = Alone(Acs, 2)
    assert kinds(party.hear(1, echo(1)) + party.hear(3, echo(3)), AcsReady) == []
    assert kinds(party.hear(4, echo(4)), AcsReady) == [ready()]


def test_f_plus_1_readies_make_ready() -> None:
    party = Alone(Acs, 2)
    assert kinds(party.hear(1, ready()), AcsReady) == []
    assert kinds(party.hear(3, ready()), AcsReady) == [ready()]


def test_2f_plus_1_readies_and_n_minus_2f_shards_deliver_and_say_yes() -> None:
    party = Alone(Acs, 2)
    party.hear(1, ready())
    party.hear(3, ready())  # and our own
    assert kinds(party.hear(3, echo(3)), AcsBval) == []
    assert kinds(party.hear(4, echo(4)), AcsBval) == [AcsBval(0, 1, 1, 1)]
    assert party.machine.backlog.pending == {"a": A.value}, "what is valid here is wanted here"


def test_a_batch_that_is_not_valid_is_not_said_yes_to() -> None:
    party = Alone(Acs, 2, valid=lambda value: value != A.value)
    party.hear(1, ready(), echo(1))
    said = party.hear(3, ready(), echo(3))
    assert kinds(said, AcsReady)
    assert kinds(said, AcsBval) == []


def test_shards_that_are_no_code_word_are_never_ready() -> None:
    """Every shard is in the tree of its root, and no batch gives them all."""
    wrong = [*SHARDS[:3], b"x" * len(SHARDS[3])]
    root, branches = merkle.tree(wrong)
    party = Alone(Acs, 2)
    for p in (1, 3, 4):
        said = party.hear(p, AcsEcho(0, 1, root, branches[p - 1], wrong[p - 1]))
    assert kinds(said, AcsReady) == []
    assert party.blamed == []


# --- binary agreement: Fig. 11 --------------------------------------------------------------------


class Voter:
    """An agreement of four, and what it said."""

    def __init__(self, coin: int | None = 1, estimate: int | None = 1) -> None:
        self.it, self.coin = Binary(4, 1), coin
        self.said: dict[tuple[str, int], set[int]] = {}
        if estimate is not None:
            self.it.begin(1, 1 << estimate, self.say)

    def say(self, step: Any, round: int, bits: int) -> None:
        mine = self.said.setdefault((step, round), set())
        if not mine or step == "bval":
            mine.add(bits)
            self.it.hear(1, step, round, bits)

    def hear(self, step: Any, round: int, *words: int) -> Voter:
        for party, bits in enumerate(words, 2):
            if bits:
                self.it.hear(party, step, round, bits)
        for _ in range(3):
            self.it.advance(self.say, lambda round: self.coin)
        return self


def test_f_plus_1_make_a_bval_and_2f_plus_1_an_aux() -> None:
    v = Voter(estimate=0).hear("bval", 1, 2)
    assert v.said == {("bval", 1): {1}}
    v.hear("bval", 1, 0, 2)
    assert v.said["bval", 1] == {1, 2}
    assert v.said["aux", 1] == {2}, "two others and now we"


def test_an_aux_of_a_bit_that_is_nobodys_counts_for_nothing() -> None:
    v = Voter().hear("bval", 1, 2, 2).hear("aux", 1, 1, 2)
    assert v.it.decision is None
    assert v.hear("aux", 1, 0, 0, 2).it.decision == 1


@pytest.mark.parametrize(("coin", "estimate"), [(1, 0), (0, 1)])
def test_while_all_know_the_coin_it_is_not_asked_for(coin: int, estimate: int) -> None:
    v = Voter(coin, estimate).hear("bval", 1, *[1 << estimate] * 3)
    v.hear("aux", 1, *[1 << estimate] * 3)
    assert (v.it.decision, v.said["bval", 2]) == (None, {1 << estimate})
    assert ("conf", 1) not in v.said


def tossed(coin: int | None, *confs: int, values: int = 2) -> Voter:
    """Round 3, the first in which the coin is not known."""
    v = Voter(coin, None)
    v.it.begin(3, 2, v.say)
    return v.hear("bval", 3, *[values] * 3).hear("aux", 3, 2, 2).hear("conf", 3, *confs)


def test_the_coin_is_tossed_when_n_minus_f_have_confirmed_what_they_saw() -> None:
    assert tossed(1, 2).it.decision is None
    assert tossed(1, 2).said["conf", 3] == {2}
    assert tossed(1, 2, 2).it.decision == 1


def test_one_bit_that_the_coin_does_not_show_is_kept() -> None:
    v = tossed(0, 2, 2)
    assert (v.it.decision, v.it.round, v.said["bval", 4]) == (None, 4, {2})


def test_of_two_bits_the_coins_is_taken() -> None:
    v = tossed(0, 3, 2, values=3)
    assert (v.it.decision, v.said["bval", 4]) == (None, {1})


def test_while_the_coin_is_in_the_air_it_waits() -> None:
    v = tossed(None, 2, 2)
    assert (v.it.decision, v.it.round) == (None, 3)


def test_who_has_finished_says_the_same_in_every_step_and_f_plus_1_are_believed() -> None:
    v = Voter(0)
    v.it.finish(2, 1)
    v.hear("bval", 1, 0, 2)
    assert v.said["aux", 1] == {2}
    v.it.finish(3, 1)
    assert v.hear("bval", 1).it.decision == 1
    with pytest.raises(PeerFault, match="two bits"):
        v.it.finish(3, 0)


def test_rounds_far_ahead_are_not_listened_to() -> None:
    v = Voter().hear("bval", 40, 2, 2, 2)
    assert not any(round == 40 for _, round in v.it.heard)


# --- the common subset: Fig. 4 --------------------------------------------------------------------


def test_n_minus_f_that_are_in_say_no_to_the_rest() -> None:
    party = Alone(Acs, 2)
    said: list[Message] = []
    for of in (1, 3, 4):
        for p in (1, 3):
            said += party.hear(p, AcsFinish(0, of, 1))
    assert AcsBval(0, 2, 1, 0) in said
    assert party.machine.now == 0, "one agreement goes on, and the batches are not here"


def take_in(party: Alone, of: Party, data: bytes) -> None:
    """Two others say that the batch of `of` is in, and show it."""
    root, shards, branches = shards_of(data, 4, 1)
    for p in (1, 3):
        party.hear(p, AcsFinish(0, of, 1), AcsReady(0, of, root))
        party.hear(p, AcsEcho(0, of, root, branches[p - 1], shards[p - 1]))


B = AcsRequest("b", b"value of b")
BATCHES = {1: batch(A), 2: batch(B), 3: batch(), 4: batch()}


def test_an_epoch_ends_when_all_agreements_have_and_the_batches_are_here() -> None:
    party = Alone(Acs, 2)
    for of in (1, 3, 4):
        take_in(party, of, BATCHES[of])
    party.hear(1, AcsFinish(0, 2, 0))
    assert (party.log, party.machine.now) == ([], 0)
    party.hear(3, AcsFinish(0, 2, 0))
    assert (party.log, party.machine.now) == (["a"], 1)
    assert party.disk["epoch/0"] == msgspec.msgpack.encode((A,))


@pytest.mark.parametrize("protocol", [Acs, EarlyAcs])
def test_who_does_not_wait_for_all_agreements_is_split(protocol: type[Acs]) -> None:
    """All four batches are in, and two parties hear of them in another order."""
    logs = set()
    for order in ((1, 3, 4, 2), (1, 2, 3, 4)):
        party = Alone(protocol, 2)
        for of in order:
            take_in(party, of, BATCHES[of])
        logs.add(tuple(party.log))
    assert len(logs) == (1 if protocol is Acs else 2)


def test_a_batch_holds_so_many_operations_and_bytes_or_a_single_one() -> None:
    pending = {"a": b"x" * 2 * BYTES, "b": b"x" * (BYTES - 1), "c": b"x", "d": b"x"}
    found = []
    while pending:
        ops = ops_of(batch_of(pending, 2)) or ()
        assert fits(ops, 2)
        found.append("".join(one.op for one in ops))
        pending = {op: value for op, value in pending.items() if op not in found[-1]}
    assert found == ["a", "bc", "d"]
    assert not fits((A, A), 2)
    assert not fits((A, AcsRequest("b", b"")), 1)
    assert not fits((A, AcsRequest("b", bytes(BYTES))), 2)


def test_batches_are_united_in_order_each_operation_once() -> None:
    b, c = AcsRequest("b", b"1"), AcsRequest("c", b"2")
    other = AcsRequest("b", b"another value")
    assert united([batch(b, A), b"no batch", batch(c, other)], {"a"}) == (b, c)


def test_nobody_is_always_first() -> None:
    c = Cluster(Acs, 4)
    for k in range(4):
        for p in c.members:
            c.submit(p, f"{k} of {p}")
        c.run()
    firsts = [c.log(1)[4 * k][-1] for k in range(4)]
    assert len(set(firsts)) > 1


# --- crashes and stragglers -----------------------------------------------------------------------


def test_after_a_crash_the_same_is_said() -> None:
    party = Alone(Acs, 2)
    party.submit("b", b"value of b")
    party.hear(1, val(2))
    party.hear(3, echo(3), ready())
    before = {(to, m) for to, m in party.said if not isinstance(m, AcsRequest)}
    again = party.restart()
    assert {m for _, m in before} <= {*again, *(m for _, m in before if isinstance(m, AcsAgain))}
    assert party.hear(1, val(2)) == []


def test_a_crash_between_the_last_yes_and_the_no_to_the_rest_loses_nothing() -> None:
    for after in range(8):
        party = Alone(Acs, 2)
        yes = [(p, AcsFinish(0, of, 1)) for of in (1, 3, 4) for p in (1, 3)]
        for p, finish in yes[:-1]:
            party.hear(p, finish)
        said = party.tear(*yes[-1], after)
        for p, finish in yes:
            said += party.hear(p, finish)
        assert AcsBval(0, 2, 1, 0) in said, f"after {after} effects"


def test_who_lacks_something_is_told_all_our_words_once_in_a_patience() -> None:
    party = Alone(Acs, 2)
    party.hear(1, val(2))
    party.hear(3, echo(3))
    assert party.hear(3, AcsAgain(0)) == [AcsWords((echo(2),))]
    assert party.hear(3, AcsAgain(0)) == []


def test_large_words_go_in_several_messages() -> None:
    """One shard is at most half a message, and of n batches a party has as many."""
    party = Alone(Acs, 2)
    shard = bytes(MAX_MESSAGE // 2)
    root, branches = merkle.tree([shard] * 4)
    for p in (1, 3, 4):
        party.hear(p, AcsVal(0, root, branches[1], shard))
    told = party.hear(3, AcsAgain(0))
    words = [word for each in told if isinstance(each, AcsWords) for word in each.words]
    assert len(told) > 2
    assert [word.of for word in words if isinstance(word, AcsEcho)] == [1, 3, 2, 4]


def test_who_is_behind_believes_f_plus_1() -> None:
    party = Alone(Acs, 2)
    party.hear(1, AcsEnded(0, ()))
    party.hear(3, AcsEnded(0, (A,)))
    assert party.machine.now == 0
    assert party.hear(4, AcsEnded(0, (A,))) == [AcsAgain(1)]
    assert party.log == ["a"]
    party.restart()
    assert (party.log, party.machine.now) == (["a"], 1)


def test_words_of_the_epoch_before_are_kept_and_older_ones_are_not() -> None:
    party = Alone(Acs, 2)
    party.hear(1, val(2))
    for epoch in (0, 1, 2):
        said = len([key for key in party.disk if key.startswith("said/0/")])
        assert said == (1 if epoch < 2 else 0)
        for p in (1, 3):
            party.hear(p, AcsEnded(epoch, ()))


def test_a_liar_alone_begins_no_epoch() -> None:
    party = Alone(Acs, 2)
    party.hear(1, val(2))
    for of in (1, 3, 4):
        party.hear(1, echo(1, of))
    assert party.machine.epochs[0].batch is None
    party.hear(3, AcsVal(0, ROOT, BRANCHES[1], SHARDS[1]))
    assert party.machine.epochs[0].batch is not None, "of two one is honest"


def test_a_party_that_was_away_for_many_epochs_takes_them_up_page_by_page() -> None:
    c = Cluster(Acs, 4, patience=300 * MS)
    c.crash(4)
    for k in range(20):
        c.submit(1, f"op{k}")
        c.run_until(lambda k=k: c.all_decided(f"op{k}"))  # type: ignore[misc]
    c.restart(4)
    c.run_until(lambda: len(c.log(4)) == 20)
    c.check_agreement()


# --- any order of events --------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots of each step are what takes time."""
    monkeypatch.setattr(Node, "strict", False)


@pytest.mark.usefixtures("quick")
def test_in_any_order_of_events_it_is_one_log_and_every_promise_is_kept() -> None:
    ended = 0
    for seed in range(16):
        run = Gauntlet(Acs, seed, promises=acs_promises)
        assert not run.run(), f"seed {seed}: {run.problem}"
        ended += bool(run.log)
    assert ended > 3
