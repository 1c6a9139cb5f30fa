"""Dolev–Strong: the rules one by one, its counts, any liars within them, and what a late message
does to it."""

from __future__ import annotations

import heapq
import random
from pathlib import Path

import pytest

from mpclab.consensus.agreement import Submit
from mpclab.consensus.dolev_strong import (
    SIGNED,
    DolevStrong,
    DolevStrongChain,
    DolevStrongSettled,
)
from mpclab.consensus.quorum import fingerprint
from mpclab.consensus.wrong import ShortChainDolevStrong
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, Party
from mpclab.core.wire import Message
from mpclab.faults.network import Delay, Network
from mpclab.lab import Scenario
from mpclab.testing.alone import Alone
from mpclab.testing.cluster import IDENTITIES, Cluster
from mpclab.trace import rows

DELTA = 100 * MS


def chain(by: str, value: bytes = b"v", op: str = "a", begun: int = 0) -> DolevStrongChain:
    """Signed by the parties of these digits, the first of which broadcasts."""
    parts = ("", int(by[0]), op, begun, fingerprint(value))
    signed = tuple((int(p), IDENTITIES[int(p)].sign(SIGNED, *parts)) for p in by)
    return DolevStrongChain(op, begun, value, signed)


def alone(me: Party = 2, n: int = 4, **options: object) -> Alone:
    return Alone(DolevStrong, me, n, delta=DELTA, **options)


def at(party: Alone, ms: int) -> Alone:
    """`party` when it is that late, and nothing has happened."""
    party.now = ms * MS
    return party


# --- published figures ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 7, 10])
@pytest.mark.parametrize("delay", [1, 10])
def test_messages_signatures_and_rounds(n: int, delay: int) -> None:
    """The sender's n − 1, one relay of each other to n − 2, and f + 1 rounds at any speed."""
    c = Cluster(DolevStrong, n, network=Network(Delay("constant", delay * MS)), delta=DELTA)
    c.submit(2, "a")
    c.run()
    assert c.sent() == {"DolevStrongChain": (n - 1) ** 2}
    signed = [len(row.to) * (1 if row.actor == 2 else 2) for row in c.world.trace.of(rows.Sent)]
    assert sum(signed) == (n - 1) + 2 * (n - 1) * (n - 2)
    rounds = (n - 1) // 2 + 1
    assert {c.parent(p).decided_at["a"] for p in c.members} == {rounds * DELTA + 1}


@pytest.mark.parametrize("liars", [1, 2, 3])
def test_it_takes_one_round_more_than_liars(liars: int) -> None:
    c = Cluster(DolevStrong, 4, liars=liars, delta=DELTA)
    c.submit(1, "a")
    c.run()
    assert {c.parent(p).decided_at["a"] for p in c.members} == {(liars + 1) * DELTA + 1}


def test_of_a_sender_of_many_values_two_are_passed_on() -> None:
    party = alone()
    said = [party.hear(1, chain("1", value)) for value in (b"v", b"w", b"x")]
    assert [len(each) for each in said] == [1, 1, 0]


def test_too_few_parties_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 3"):
        DolevStrong.check_size(2)


# --- "the sender signs its value and sends it to all" --------------------------------------------


def test_the_sender_signs_and_stores_before_it_says() -> None:
    party = alone(1)
    assert party.submit("a", b"v") == [chain("1")]
    assert party.stored_before_said()


def test_after_a_crash_it_broadcasts_the_same_value() -> None:
    party = alone(1)
    party.submit("a", b"v")
    at(party, 30).restart()
    assert party.fire("turn/a") == [chain("1", begun=30 * MS)]
    assert party.submit("a", b"w") == []


def test_the_value_of_another_waits_for_the_end_of_its_broadcast() -> None:
    party = alone(3)
    party.ask(Submit("a", b"w", 1))
    party.hear(1, chain("1"))
    party.fire("end")
    assert [d.value for d in party.decided] == [b"v"]
    assert party.timers == {"help/a": party.timers["help/a"]}


# --- chains --------------------------------------------------------------------------------------


def test_what_is_new_and_in_time_is_passed_on_with_a_signature_more() -> None:
    party = alone()
    assert party.hear(1, chain("1")) == [chain("12")]
    assert party.said[-1][0] == (3, 4), "not to those that have signed"
    assert party.hear(3, chain("13")) == [], "known"


@pytest.mark.parametrize(("by", "ms"), [("1", 100), ("13", 200)])
def test_a_chain_of_k_is_in_time_until_the_end_of_round_k(by: str, ms: int) -> None:
    sender = int(by[-1])
    party = at(alone(), ms)
    party.hear(sender, chain(by))
    party.fire("end")
    assert party.log == ["a"]
    late = alone()
    late.now = ms * MS + 1
    late.hear(sender, chain(by))
    assert "end" not in late.timers
    assert late.blamed == [], "the network may be slow"


def test_a_chain_of_more_rounds_than_there_are_is_not_good_for_longer() -> None:
    party = at(alone(), 201)
    party.hear(4, chain("134"))
    assert "end" not in party.timers


def test_in_the_last_round_nothing_is_passed_on() -> None:
    party = alone()
    assert party.hear(3, chain("13")) == []
    party.fire("end")
    assert party.log == ["a"]


def test_what_is_said_ahead_of_its_time_is_not_heard() -> None:
    party = alone()
    assert party.hear(1, chain("1", begun=50 * MS)) == []
    assert "end" not in party.timers


@pytest.mark.parametrize(
    ("sender", "msg"),
    [
        (3, chain("1")),
        (1, chain("11")),
        (1, DolevStrongChain("a", 0, b"v", ())),
        (1, DolevStrongChain("a", 0, b"w", chain("1").chain)),
        (1, DolevStrongChain("a", 1, b"v", chain("1").chain)),
        (1, DolevStrongChain("b", 0, b"v", chain("1").chain)),
        (3, DolevStrongChain("a", 0, b"v", (*chain("4").chain, *chain("13").chain[1:]))),
        (1, chain("1", b"not valid")),
        (1, DolevStrongSettled("a", b"not valid")),
    ],
)
def test_who_sends_what_is_no_chain_is_blamed(sender: Party, msg: Message) -> None:
    party = at(alone(valid=lambda value: value != b"not valid"), 1)
    assert party.hear(sender, msg) == []
    assert party.blamed == [sender]
    assert "end" not in party.timers


# --- "at T + (f + 1)·delta" ----------------------------------------------------------------------


def test_two_values_prove_that_the_sender_lies() -> None:
    party = alone()
    party.hear(1, chain("1"))
    party.hear(3, chain("13", b"w"))
    party.fire("end")
    assert (party.log, party.blamed) == ([], [1])


def test_the_broadcast_that_ends_first_decides_whichever_was_heard_first() -> None:
    for order in ((0, 1), (1, 0)):
        party = at(alone(), 60)
        both = [chain("1", begun=50 * MS), chain("3", b"w", begun=20 * MS)]
        for k in order:
            party.hear((1, 3)[k], both[k])
        party.fire("end")
        party.fire("end")
        assert [d.value for d in party.decided] == [b"w"]


def test_of_two_that_began_together_the_lower_sender_decides() -> None:
    party = alone()
    party.hear(3, chain("3", b"w"))
    party.hear(1, chain("1"))
    party.fire("end")
    assert [d.value for d in party.decided] == [b"v"]


# --- those that were away ------------------------------------------------------------------------


def test_what_began_before_a_party_was_up_is_not_its_to_judge() -> None:
    party = at(alone(), 30)
    party.restart()
    assert party.hear(1, chain("1")) == []
    assert "end" not in party.timers
    assert party.hear(1, chain("1", begun=30 * MS)) != []


def test_f_plus_1_that_say_the_same_are_believed() -> None:
    party = alone()
    party.hear(1, DolevStrongSettled("a", b"w"))
    party.hear(3, DolevStrongSettled("a", b"v"))
    assert party.log == []
    assert party.hear(4, DolevStrongSettled("a", b"v")) == [DolevStrongSettled("a", b"v")]
    assert [d.value for d in party.decided] == [b"v"]
    party.restart()
    assert [d.value for d in party.decided] == [b"v"]


def test_who_was_not_heard_of_is_told_until_it_says_that_it_knows() -> None:
    party = alone()
    party.hear(1, chain("1"))
    party.hear(3, chain("13"))
    assert party.fire("end") == [DolevStrongSettled("a", b"v")]
    assert party.said[-1][0] == (4,)
    assert party.fire("help/a") == [DolevStrongSettled("a", b"v")]
    party.hear(4, DolevStrongSettled("a", b"v"))
    assert party.fire("help/a") == []
    assert party.timers == {}


def test_another_meaning_of_what_is_decided_is_objected_to_now_and_then() -> None:
    party = alone()
    party.hear(1, chain("1"))
    party.fire("end")
    assert party.hear(3, chain("3", b"w", begun=party.now)) == [DolevStrongSettled("a", b"v")]
    assert party.said[-1][0] == (1, 3, 4)
    assert party.hear(3, chain("3", begun=party.now)) == []


def test_who_passes_on_another_meaning_is_told_each_time() -> None:
    """It was down, and must not believe a liar who had everybody object while it was."""
    party = alone()
    party.hear(1, chain("1"))
    party.fire("end")
    party.hear(3, chain("3", b"w", begun=party.now))
    relayed = chain("34", b"w", begun=party.now)
    assert party.hear(4, relayed) == [DolevStrongSettled("a", b"v")]
    assert party.said[-1][0] == (4,)


def test_who_passes_on_another_broadcast_is_told_how_ours_ended() -> None:
    """4 passed both on, but crashed in between: of the first it knows nothing any more."""
    party = alone(5, 5)
    party.hear(1, chain("1"))
    for relay in ("12", "13", "14"):
        party.hear(int(relay[1]), chain(relay))
    at(party, 90).hear(4, chain("34", b"w", begun=80 * MS))
    assert party.fire("end") == [DolevStrongSettled("a", b"v")]
    assert party.said[-1][0] == (4,)


def test_claims_of_one_liar_are_bounded() -> None:
    party = alone()
    for k in range(300):
        party.hear(1, DolevStrongSettled(f"ghost{k}", b"boo"))
    assert len(party.machine.claims[1]) == DolevStrong.CLAIMS


@pytest.mark.parametrize("takes", [10, 100])
def test_a_party_that_was_down_hears_of_it_and_agrees(takes: int) -> None:
    """It broadcasts a value of its own, less than a round after one that it knows nothing of."""
    network = Network(Delay("constant", takes * MS))
    c = Cluster(DolevStrong, 5, delta=DELTA, patience=300 * MS, network=network)
    c.crash(4)
    c.submit(1, "a", b"v")
    c.world.at(40 * MS, lambda: c.restart(4))
    c.world.at(41 * MS, lambda: c.submit(4, "a", b"w"))
    c.run_until(lambda: c.all_decided("a"))
    c.run(5_000)
    c.check_agreement()


# --- any liars, any timing within delta ----------------------------------------------------------


class Colluders:
    """`liars` share their keys, and show any chain that they can make to anyone at any time; what
    honest parties say takes up to delta. Party 1 lies and broadcasts."""

    def __init__(self, protocol: type[DolevStrong], seed: int, n: int, liars: int) -> None:
        draw = self.draw = random.Random(seed)
        self.rounds, self.posted = liars + 1, 0
        self.liars = [1, *draw.sample(range(2, n + 1), liars - 1)]
        self.honest = {
            p: Alone(protocol, p, n, delta=DELTA, liars=liars)
            for p in range(1, n + 1)
            if p not in self.liars
        }
        self.queue: list[tuple[int, int, Party, Party, DolevStrongChain]] = []
        self.known = [DolevStrongChain("a", 0, value, ()) for value in (b"v", b"w")]
        for _ in range(draw.randint(1, 8)):
            self.lie(0)

    def lie(self, now: int) -> None:
        draw = self.draw
        base = draw.choice(self.known)
        signers = [p for p, _ in base.chain]
        rest = [p for p in self.liars if p not in signers and p != 1]
        more = ([] if signers else [1]) + draw.sample(rest, draw.randint(0, len(rest)))
        if not more:
            return
        parts = ("", 1, "a", 0, fingerprint(base.value))
        signed = tuple((p, IDENTITIES[p].sign(SIGNED, *parts)) for p in more)
        made = DolevStrongChain("a", 0, base.value, (*base.chain, *signed))
        when = draw.randint(1, self.rounds) * DELTA - draw.choice((0, 0, 1, DELTA // 2))
        for p in draw.sample(sorted(self.honest), draw.randint(1, len(self.honest))):
            self.post(max(now, when), p, more[-1], made)

    def post(self, at: int, to: Party, sender: Party, msg: DolevStrongChain) -> None:
        heapq.heappush(
            self.queue, (at, len(self.queue) + self.draw.randrange(10**6), to, sender, msg)
        )

    def play(self) -> set[bytes | None]:
        """How it ended at the honest."""
        while self.queue:
            now, _, to, sender, msg = heapq.heappop(self.queue)
            self.honest[to].now = now
            for said in self.honest[to].hear(sender, msg):
                assert isinstance(said, DolevStrongChain)
                self.known.append(said)
                for p in self.honest[to].said[-1][0]:
                    if p in self.honest:
                        self.post(now + self.draw.choice((1, DELTA // 2, DELTA)), p, to, said)
                if self.draw.random() < 0.5:
                    self.lie(now)
        for party in self.honest.values():
            if "end" in party.timers:
                party.fire("end")
        return {p.decided[0].value if p.decided else None for p in self.honest.values()}


@pytest.mark.parametrize(("n", "liars"), [(4, 1), (4, 2), (5, 2), (5, 3), (7, 4)])
def test_no_liars_split_the_honest_however_many(n: int, liars: int) -> None:
    ends = [Colluders(DolevStrong, seed, n, liars).play() for seed in range(40)]
    assert all(len(each) == 1 for each in ends)
    assert {len(each & {None}) for each in ends} == {0, 1}, "with a value, and without one"


def test_chains_one_signature_short_are_shown_to_one_party_at_the_last_moment() -> None:
    for n, liars in ((4, 1), (5, 2)):
        ends = [Colluders(ShortChainDolevStrong, seed, n, liars).play() for seed in range(60)]
        assert any(len(each) > 1 for each in ends)


# --- what it rests on ----------------------------------------------------------------------------


def test_a_single_late_relay_splits_two_honest_parties() -> None:
    """The sender lies, party 2 is honest and slow: 3 hears too late that there are two values."""
    two, three = alone(2), alone(3)
    two.hear(1, chain("1"))
    [relay] = three.hear(1, chain("1", b"w"))
    two.hear(3, relay)
    three.now = 201 * MS  # where 2's own relay is 1 ms late
    two.fire("end")
    three.fire("end")
    three.hear(2, chain("12"))
    assert (two.log, three.log) == ([], ["a"])


EXAMPLE = Path(__file__).parents[2] / "examples" / "late_relay.yaml"


def test_a_late_relay_splits_a_session_and_the_verdict_says_what_was_assumed() -> None:
    """Without the delay all three honest parties know the proposer for a liar, and agree."""
    late = Scenario.from_file(EXAMPLE)
    run = late.run()
    [verdict] = [v for v in run.verdicts if v.check == "agreement"]
    assert verdict.verdict == "violated"
    assert "assumed was that every message arrives within 100ms" in verdict.sentence
    assert [o.status for o in run.outcomes] == ["split"]
    in_time = late.but(faults=[f for f in late.faults if "DolevStrong" not in str(f)]).run()
    assert {v.verdict for v in in_time.verdicts} == {"ok"}
    assert [o.status for o in in_time.outcomes] == ["committed"]


def test_a_party_that_hears_everything_late_does_not_decide_by_itself() -> None:
    c = Cluster(DolevStrong, 4, delta=DELTA, patience=400 * MS)
    c.lossy(lambda src, dst: dst == 4)
    c.submit(1, "a")
    c.run(300)
    assert [c.log(p) for p in c.members] == [["a"], ["a"], ["a"], []]
    c.heal()
    c.run(2_000)
    assert c.log(4) == ["a"], "the others tell it, who did not hear of it"
    c.check_agreement()
