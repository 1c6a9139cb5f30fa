"""The same verbs in every world: one suite, three arms."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpclab.core import Ctx, Machine, Message, Party, UsageError
from mpclab.lab import Lab, Scenario

WORLDS = ("simulated", "websocket", "webrtc")


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def lab(world: str) -> Iterator[Lab]:
    """Three parties in a session, every pair connected."""
    with Lab(parties=3, world=world, seed=7) as made:
        made.start_server(port=0)
        made.spawn()
        made.join()
        yield made


def test_what_is_proposed_and_approved_is_committed_by_all(lab: Lab) -> None:
    operation = lab.propose(by=1, kind="note", text="hello")
    assert lab.run() == (operation.outcome,)
    assert (operation.status, operation.result) == ("committed", "hello")
    views = [lab.group.session_of(party) for party in lab.parties]
    assert len({view.head for view in views}) == 1
    assert all(verdict.verdict == "ok" for verdict in lab.check())


def test_a_coin_is_the_same_everywhere(lab: Lab) -> None:
    coin = lab.propose(by=2, kind="coin")
    lab.run()
    assert coin.status == "committed"
    assert len(bytes.fromhex(coin.result)) == 32


def test_an_answer_refers_to_an_earlier_operation_by_its_number(lab: Lab) -> None:
    lab.propose(by=1, kind="note", text="shall we?")
    lab.run()
    answer = lab.propose(by=2, kind="response", to=1, text="we shall")
    lab.run()
    assert answer.result == "we shall"
    with pytest.raises(UsageError, match="no operation 9"):
        lab.propose(by=2, kind="response", to=9, text="?")


def test_one_rejection_ends_it_and_is_named(lab: Lab) -> None:
    lab.set_votes(3, "reject")
    operation = lab.propose(by=1, kind="note", text="hello")
    lab.run()
    assert operation.status == "aborted"
    assert "party 3" in operation.outcome.reason


def test_votes_are_cast_by_hand(lab: Lab) -> None:
    lab.set_votes(2, "hand")
    operation = lab.propose(by=1, kind="note", text="hello")
    lab.run(lambda: lab.state.operations[operation.id].standing.get(2) == "open", limit=5)
    assert operation.status == "undecided"
    lab.vote(2, operation, True)
    lab.run()
    assert operation.status == "committed"


def test_several_proposals_at_once_do_not_mix(lab: Lab) -> None:
    proposed = [lab.propose(by=p, kind="note", text=f"by {p}") for p in (1, 2, 3)]
    lab.run()
    assert [one.result for one in proposed] == ["by 1", "by 2", "by 3"]
    assert len({lab.group.session_of(party).head for party in lab.parties}) == 1


def test_the_mesh_outlives_the_server_and_parties_resume(lab: Lab, world: str) -> None:
    lab.stop_server(kill=True)
    assert not lab.server_status().running
    if world == "websocket":
        return  # there the server is the only way between parties
    operation = lab.propose(by=2, kind="note", text="without a server")
    lab.run()
    assert operation.status == "committed"
    lab.start_server()
    back = lambda: [len(s.members) for s in lab.server_status().sessions] == [3]  # noqa: E731
    lab.run(back, limit=20)
    assert back()


def test_a_crashed_party_takes_up_from_what_it_stored(lab: Lab) -> None:
    lab.propose(by=1, kind="note", text="before")
    lab.run()
    lab.crash(3)
    lab.restart(3)
    lab.join(timeout=40)
    operation = lab.propose(by=1, kind="note", text="after")
    lab.run(limit=40)
    assert operation.status == "committed"
    assert len(lab.group.session_of(3).history) == 2


def test_text_goes_through_the_server(lab: Lab) -> None:
    lab.tell(1, 2, "psst")
    lab.broadcast(2, "hear me")
    lab.run(lambda: len(lab.trace.notes("said")) >= 3, limit=5)
    said = [(row.actor, row.note.sender, row.note.text) for row in lab.trace.notes("said")]
    assert sorted(said) == [(1, 2, "hear me"), (2, 1, "psst"), (3, 2, "hear me")]


def test_the_status_names_members_and_their_states(lab: Lab) -> None:
    status = lab.server_status()
    (session,) = status.sessions
    assert (session.id, session.n, session.members) == (
        "lab",
        3,
        {1: "online", 2: "online", 3: "online"},
    )
    assert "🟢" in repr(status)
    lab.stop_server()
    assert repr(lab.server_status()) == "🔴 stopped"


def test_two_sessions_share_a_server(lab: Lab) -> None:
    other = lab.session("other", parties=2)
    other.spawn()
    other.join()
    assert lab.run(other.connected, limit=20) is not None
    assert other.connected()
    operation = other.propose(1, "note", {"text": "elsewhere"})
    lab.run(other.settled, limit=10)
    assert operation.status == "committed"
    assert lab.outcomes() == ()
    assert {s.id for s in lab.server_status().sessions} == {"lab", "other"}


def test_misuse_says_what_to_do_and_changes_nothing(world: str) -> None:
    with Lab(parties=3, world=world) as lab:
        with pytest.raises(UsageError, match="no server is running"):
            lab.stop_server()
        lab.spawn()
        with pytest.raises(UsageError, match="call start_server"):
            lab.join()
        lab.start_server(port=0)
        with pytest.raises(UsageError, match="already runs"):
            lab.start_server(port=0)
        with pytest.raises(UsageError, match="party 1 is already here"):
            lab.spawn(1)
        with pytest.raises(UsageError, match="use 1 to 3"):
            lab.spawn(4)
        with pytest.raises(UsageError, match="party 9 is not here"):
            lab.crash(9)
        lab.join()
        with pytest.raises(UsageError, match="did you mean 'note'"):
            lab.propose(by=1, kind="notte", text="x")
        assert lab.outcomes() == ()


class Hello(Message):
    text: str


class Shout(Machine):
    """Everyone says hello once; done when all have been heard."""

    def __init__(self) -> None:
        self.heard: dict[Party, str] = {}

    def start(self, ctx: Ctx) -> None:
        ctx.broadcast(Hello(f"I am {ctx.me}"))

    def on_message(self, ctx: Ctx, sender: Party, msg: Hello) -> None:
        self.heard[sender] = msg.text
        if len(self.heard) == ctx.n:
            ctx.output(len(self.heard))


def test_a_protocol_of_a_few_lines_runs_in_every_world(world: str) -> None:
    with Lab(parties=3, world=world, protocol=Shout) as lab:
        lab.start_server(port=0)
        lab.spawn()
        lab.join()
        done = lambda: len(lab.outputs()) == 3  # noqa: E731
        lab.run(done, limit=10)
        assert lab.outputs() == {1: ["3"], 2: ["3"], 3: ["3"]}


def test_verbs_may_be_awaited() -> None:
    async def story() -> str:
        with Lab(parties=3, seed=1) as lab:
            await lab.start_server()
            await lab.spawn()
            await lab.join()
            operation = await lab.propose(by=1, kind="note", text="hello")
            lab.run()
            return operation.status

    assert asyncio.run(story()) == "committed"


def test_one_scenario_has_the_same_outcomes_in_every_world(tmp_path: Path) -> None:
    scenario = Scenario.from_text(
        """
parties: 4
policy: threshold(3)
votes: {4: reject}
operations:
  - {at: 0ms, by: 1, kind: note, text: "one"}
  - {at: 0ms, by: 2, kind: note, text: "two"}
  - {at: 50ms, by: 3, kind: response, to: 1, text: "three"}
"""
    )
    found = set()
    for name in WORLDS:
        run = scenario.but(world=name).run()
        assert run.ok
        found.add(tuple((o.kind, o.by, o.status, o.result) for o in run.outcomes))
    assert len(found) == 1


def test_a_fork_goes_its_own_way() -> None:
    with Lab(parties=3, seed=3) as lab:
        lab.start_server()
        lab.spawn()
        lab.join()
        lab.propose(by=1, kind="note", text="hello")
        other = lab.fork()
        other.crash(2)
        other.run(limit=30)
        lab.run()
        assert lab.outcomes()[0].status == "committed"
        assert other.outcomes()[0].status == "expired"


def test_a_planned_proposal_that_cannot_be_made_is_said_and_the_run_goes_on(world: str) -> None:
    run = (
        Scenario.from_text(
            """
parties: 3
policy: threshold(2)
operations:
  - {at: 0ms, by: 1, kind: note, text: "one"}
  - {at: 200ms, by: 3, kind: note, text: "from a dead party"}
faults:
  - {at: 100ms, kind: crash, party: 3}
until: 15s
patience: 3s
"""
        )
        .but(world=world)
        .run()
    )
    assert [o.status for o in run.outcomes] == ["committed"]
    (row,) = run.trace.notes("could-not")
    assert "party 3" in row.note.reason


@pytest.mark.parametrize("name", ["websocket", "webrtc"])
def test_a_real_run_replays_to_the_same_effects(name: str) -> None:
    with Lab(parties=3, world=name, record=True) as lab:
        lab.start_server(port=0)
        lab.spawn()
        lab.join()
        lab.propose(by=1, kind="coin")
        lab.run()
        lab.crash(2)
        lab.restart(2)
        lab.join()
        lab.set_votes(3, "reject")
        lab.propose(by=2, kind="note", text="again")
        lab.run()
        assert lab.outcomes()[1].status == "aborted"
        done = lab.replay()
    assert "5 nodes replayed" in done.what  # three parties, one of them twice, and the server


def test_a_simulated_run_repeats_from_its_seed_instead() -> None:
    with Lab(parties=2) as lab, pytest.raises(UsageError, match="from its seed"):
        lab.replay()


@pytest.mark.parametrize("name", ["websocket", "webrtc"])
def test_a_session_is_taken_up_the_next_day(name: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with Lab(parties=3, threshold=2, world=name, store=store) as first:
        first.start_server(port=0)
        first.spawn()
        first.join()
        key = first.propose(by=1, kind="dkg")
        first.run()
        assert key.status == "committed"
    with Lab(parties=3, threshold=2, world=name, store=store) as second:
        second.start_server(port=0)
        second.spawn()
        second.join()
        signed = second.propose(by=2, kind="sign", key=key.id, message="good morning")
        second.run()
        assert signed.status == "committed"
        assert len(signed.result) == 128


def test_private_numbers_go_into_computations_and_nowhere_else(world: str) -> None:
    with Lab(parties=3, world=world, seed=5) as lab:
        lab.start_server(port=0)
        lab.spawn()
        for party, salary in ((1, 48_211_003), (2, 61_977_001)):
            lab.set_private(party, salary)
        lab.join()
        lab.set_private(3, 55_123_009)
        total = lab.propose(by=1, kind="sum")
        lab.run()
        assert "165311013" in total.result.replace(",", "").replace(" ", "")
        text = b"".join(lab.trace.lines())
        for secret in (b"48211003", b"61977001", b"55123009"):
            assert secret not in text
        lab.set_private(3)
        wanted = lab.propose(by=2, kind="sum")
        asked = lambda: any(row.actor == 3 for row in lab.trace.notes("input-wanted"))  # noqa: E731
        lab.run(asked, limit=10)
        lab.give(3, wanted, 7)
        lab.run()
        assert "110188011" in wanted.result.replace(",", "").replace(" ", "")


def test_a_party_that_lost_everything_gets_its_share_of_a_refreshed_key_back() -> None:
    with Lab(parties=5, threshold=3, policy="threshold(4)", seed=6) as lab:
        lab.start_server()
        lab.spawn()
        lab.join()
        key = lab.propose(by=1, kind="dkg")
        lab.run()
        fresh = lab.propose(by=3, kind="refresh", key=key.id)
        lab.run()
        lab.crash(2)
        lab.restart(2, amnesia=True)
        lab.join()
        lab.run()
        assert fresh.result, "party 2 learns from the others how the refresh ended"
        repaired = lab.propose(by=1, kind="repair", key=fresh.id, party=2)
        lab.run()
        assert repaired.result
        signed = lab.propose(by=2, kind="sign", key=fresh.id, message="I am back")
        lab.run()
        assert len(signed.result) == 128
