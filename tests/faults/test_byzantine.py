"""Byzantine parties: what each kind says, and that all of it is reproducible."""

import random

import pytest

from mpclab.consensus.hotstuff_messages import HotStuffVote
from mpclab.consensus.pbft_messages import Claim, PbftViewChange
from mpclab.core.effects import Effect, Send, Words
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SECOND, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.node import Coins, Node
from mpclab.core.variants import altered, one_field
from mpclab.core.wire import Message
from mpclab.faults.fault import AdversaryContext
from mpclab.lab import Scenario
from mpclab.signaling.peer_link import MeshSettings
from mpclab.trace import rows
from mpclab.worlds.base import Stored
from mpclab.worlds.simulated import SimulatedWorld
from tests.faults.shouting import Word, everything, heard, put, shouters
from tests.signaling.bench import Shout, all_up, app_of, city

ALL = list(range(1, 11))


def words(world: SimulatedWorld, party: Party, sender: Party = 1) -> list[Word]:
    return [word for _, who, word in everything(world, party) if who == sender]


def run(**fields: object) -> SimulatedWorld:
    world = shouters(4)
    put(world, party=1, **fields)
    world.run()
    for party in (2, 3):  # honest parties hear each other as ever
        assert heard(world, party, 4) == ALL
    assert heard(world, 1, 1) == ALL  # … and the liar knows what it thinks
    return world


def acts(world: SimulatedWorld) -> list[rows.Fault]:
    return [row for row in world.trace.of(rows.Fault) if row.phase == "act"]


# --- what each kind says ------------------------------------------------------------------------


def test_silent_says_nothing() -> None:
    world = run(kind="silent")
    assert heard(world, 2, 1) == heard(world, 3, 1) == []


def test_equivocate_tells_the_upper_half_another_story() -> None:
    world = run(kind="equivocate")
    assert heard(world, 2, 1) == heard(world, 3, 1) == ALL
    assert {w.approve for w in words(world, 2)} == {True}
    assert {w.approve for w in words(world, 3)} == {w.approve for w in words(world, 4)} == {False}
    assert acts(world)[0].text == "tells parties 3 and 4 another Word"
    assert {row.actor for row in acts(world)} == {1}


def test_equivocate_tells_whom_it_wants() -> None:
    world = run(kind="equivocate", to=[2])
    assert {w.approve for w in words(world, 2)} == {False}
    assert {w.approve for w in words(world, 3)} == {True}


def test_a_lie_is_the_same_for_all() -> None:
    world = run(kind="lie")
    assert {w.approve for p in (2, 3, 4) for w in words(world, p)} == {False}
    assert {w.approve for w in words(world, 1)} == {True}


def test_voting_twice_says_both_to_all() -> None:
    world = run(kind="vote-twice")
    for party in (2, 3, 4):
        assert [w.approve for w in words(world, party)] == [True, False] * 10


def test_a_replay_repeats_what_was_said() -> None:
    world = run(kind="replay", rate=1.0)
    got = heard(world, 2, 1)
    assert list(dict.fromkeys(got)) == ALL
    assert len(got) == 10 + 9
    ids = [row.id for row in world.trace.of(rows.Sent) if row.actor == 1]
    assert len(ids) == len(set(ids))  # each sending is a message of its own


def test_garbage_is_refused_with_blame() -> None:
    world = run(kind="garbage")
    assert heard(world, 2, 1) == []
    blamed = list(world.trace.of(rows.Blamed))
    assert {(row.actor, row.party) for row in blamed} == {(2, 1), (3, 1), (4, 1)}
    assert len(blamed) == 30


def test_send_to_some_leaves_others_out() -> None:
    world = run(kind="send-to-some", to=[2])
    assert (heard(world, 2, 1), heard(world, 3, 1)) == (ALL, [])


def test_the_last_moment_is_late() -> None:
    world = run(kind="last-moment", delay="350ms")
    arrivals = [at for at, sender, _ in everything(world, 2) if sender == 1]
    assert arrivals == [(100 * k + 360) * MS for k in ALL]


def test_a_party_that_crashes_says_no_more_of_what_it_put_off() -> None:
    world = shouters(4)
    put(world, kind="last-moment", party=1, delay="350ms")
    put(world, kind="crash", party=1, at="500ms", restart_after="10ms")
    world.run()
    assert heard(world, 2, 1) == [1, *range(5, 11)]  # 2, 3 and 4 were under way


def test_messages_narrow_a_fault_down() -> None:
    assert heard(run(kind="silent", messages=["Vote"]), 2, 1) == ALL
    assert heard(run(kind="silent", messages=["Vote", "Word"]), 2, 1) == []


def test_a_fault_lasts_as_long_as_it_says_and_through_a_restart() -> None:
    world = shouters(4)
    put(world, kind="lie", party=1, at="250ms", for_="600ms")
    put(world, kind="crash", party=1, at="450ms", restart_after="20ms")
    world.run()
    assert [(w.number, w.approve) for w in words(world, 2)] == [
        (k, k not in (3, 4, 5, 6, 7)) for k in ALL
    ]


def test_two_faults_of_one_party_add_up() -> None:
    world = shouters(4)
    put(world, kind="lie", party=1)
    put(world, kind="send-to-some", party=1, to=[2])
    world.run()
    assert {w.approve for w in words(world, 2)} == {False}
    assert words(world, 3) == []


@pytest.mark.parametrize("kind", ["replay", "garbage"])
def test_the_same_seed_gives_the_same_misdeeds(kind: str) -> None:
    digests = []
    for seed in (1, 1, 2):
        world = shouters(4, seed=seed)
        put(world, kind=kind, party=1, rate=0.5)
        world.run()
        digests.append(world.trace.digest())
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("direct", [True, False])
def test_on_a_mesh_it_lies_on_links_and_by_relay(direct: bool) -> None:
    world = city(3, mesh=MeshSettings(direct=direct))
    put(world, 3, kind="lie", party=1)
    world.run(lambda: all_up(world, 3, "link" if direct else "relay"), limit=60 * SECOND)
    world.ask(1, ("app",), Shout("hello"))
    world.run(limit=SECOND)
    assert {row.text for row in acts(world)} == {"lies in its Hi"}
    assert len("hello, version 2") in app_of(world, 2).texts
    assert len("hello") not in app_of(world, 2).texts


# --- a filter of one's own ----------------------------------------------------------------------


class EveryOther:
    """Keeps back every other message; state belongs in an object."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, effects: list[Effect], adversary: AdversaryContext) -> list[Effect]:
        kept = []
        for effect in effects:
            self.count += isinstance(effect, Send)
            if not isinstance(effect, Send) or self.count % 2:
                kept.append(effect)
        return kept


class EveryOtherWord:
    """The same, over words."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, words: Words, adversary: AdversaryContext) -> list[Words]:
        self.count += 1
        return [words] if self.count % 2 else []


def test_a_users_own_filter() -> None:
    mine = EveryOther()
    for _ in range(2):  # each run has a copy, so the second is as the first
        world = run(kind="filter", filter=mine)
        assert heard(world, 2, 1) == [1, 3, 5, 7, 9]
    assert mine.count == 0


def test_a_users_own_words() -> None:
    def louder(words: Words, adversary: AdversaryContext) -> list[Words]:
        assert isinstance(words.msg, Word)
        return [Words(words.path, words.to, Word(words.msg.number, words.msg.text.upper()))]

    world = run(kind="filter", words=louder)
    assert {w.text for w in words(world, 2)} == {"HELLO"}
    assert {w.text for w in words(world, 1)} == {"hello"}, "itself it does not deceive"


@pytest.mark.parametrize("fields", [{}, {"words": print, "filter": print}])
def test_ones_own_adversary_is_one_function(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="one of the two"):
        put(shouters(2), 2, kind="filter", party=1, **fields)


@pytest.mark.parametrize("own", [{"filter": "EveryOther"}, {"words": "EveryOtherWord"}])
def test_a_fork_has_an_adversary_of_its_own(own: dict[str, str]) -> None:
    world = shouters(4)
    put(world, kind="filter", party=1, **{k: globals()[name]() for k, name in own.items()})
    world.run(limit=350 * MS)
    fork = world.fork()
    fork.run()
    world.run()
    assert heard(fork, 2, 1) == heard(world, 2, 1) == [1, 3, 5, 7, 9]
    assert fork.trace.digest() == world.trace.digest()


# --- another story ------------------------------------------------------------------------------


class Inner(Message, frozen=True):
    op: str
    value: bytes


class Outer(Message, frozen=True):
    index: int
    inner: Inner


class Plain(Message, frozen=True):
    op: str
    signature: bytes


@pytest.mark.parametrize(
    ("msg", "other"),
    [
        (Word(3, "hi", True), Word(3, "hi", False)),
        (Inner("k3", b"\x01\x02"), Inner("k3", b"\x00\x02")),
        (Outer(2, Inner("k3", b"\x01")), Outer(2, Inner("k3", b"\x00"))),
        (Plain("k3", b"s"), None),
    ],
)
def test_the_first_thing_that_can_be_said_otherwise_is(msg: Message, other: object) -> None:
    assert altered(msg) == other


class Signed(Message, frozen=True):
    text: str
    seal: int


class Signer(Machine):
    """Seals what it says; `restated` seals another story as well as the first."""

    def __init__(self, key: int) -> None:
        self.key = key
        self.heard: dict[Party, str] = {}

    def start(self, ctx: Ctx) -> None:
        ctx.broadcast(self.signed("yes"))

    def signed(self, text: str) -> Signed:
        return Signed(text, len(text) * self.key)

    def on_message(self, ctx: Ctx, sender: Party, msg: Signed) -> None:
        assert msg.seal == len(msg.text) * sender
        self.heard[sender] = msg.text

    def restated(self, msg: Signed, story: int) -> Signed:
        return self.signed("certainly not")


def test_a_machine_may_tell_how_it_would_say_another_thing() -> None:
    """The hook `restated`: an equivocating party signs its second story properly."""

    def build(party: Party) -> "object":
        def make(coins: Coins, stored: Stored) -> Node:
            return Node(party, 3, Signer(party), coins=coins, stored=stored)

        return make

    world = SimulatedWorld(1)
    put(world, 3, kind="equivocate", party=1, to=[3])
    world.run()
    for party in (1, 2, 3):
        world.host(party, build(party))  # type: ignore[arg-type]
    world.run()
    said = {p: world.look(p, lambda node: node.machine(()).heard[1]) for p in (1, 2, 3)}  # type: ignore[union-attr]
    assert said == {1: "yes", 2: "yes", 3: "certainly not"}


# --- one field ----------------------------------------------------------------------------------


def test_one_field_changes_one_place_however_deep_and_no_signature() -> None:
    claim = Claim(3, 1, b"d")
    change = PbftViewChange(2, 1, 0, (), (claim,), (claim,), b"signed")
    draw = random.Random(1)
    seen = set()
    for _ in range(200):
        other = one_field(change, draw.randrange)
        assert other is not None
        assert other != change
        assert other.signature == b"signed"
        differing = [f for f in change.__struct_fields__ if getattr(other, f) != getattr(change, f)]
        assert len(differing) == 1
        seen.add(differing[0])
    assert seen == {"view", "party", "stable", "prepared", "accepted"}


def test_one_field_may_be_lent_by_what_was_said_before() -> None:
    old, new = (HotStuffVote(phase, view, b"", b"") for phase, view in (("commit", 1), ("x", 7)))
    draw = random.Random(2)
    found = {one_field(new, draw.randrange, [old]).phase for _ in range(200)}
    assert "commit" in found


@pytest.mark.parametrize("protocol", ["pbft", "hotstuff", "chained-hotstuff", "bracha"])
def test_a_changed_field_is_signed_again_and_harms_nobody(protocol: str) -> None:
    played = Scenario.parse(
        {
            "agreement": protocol, "policy": "threshold(3)", "mesh": "ready", "patience": "2s",
            "operations": [{"at": "0ms", "by": p, "kind": "note", "text": "x"} for p in (1, 2)],
            "faults": [{"kind": "one-field", "party": 1, "rate": 0.4}],
            "until": "60s", "seed": 3,
        }
    ).run()  # fmt: skip
    assert list(played.trace.of(rows.Lied))
    assert played.outcomes[1].status == "committed"
    assert not played.violated
