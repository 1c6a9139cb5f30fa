"""A party whole: it joins, gets ready, runs its application, leaves and comes back."""

from __future__ import annotations

from typing import Any

import pytest

from mpclab.core import SECOND, Party, UsageError
from mpclab.core.peers import Introduced, PeerDown, PeerUp
from mpclab.signaling.party import (
    JoinSession,
    LeaveSession,
    PartyConfig,
    Shout,
    Tell,
    build_party,
)
from mpclab.signaling.peer_link import MeshSettings
from mpclab.signaling.rooms import build_server
from mpclab.trace import rows
from mpclab.worlds.simulated import SimulatedWorld
from tests.signaling.bench import Eager, Greeter, all_up, app_of, blames, city, config, identity


def outputs(world: SimulatedWorld, party: Party) -> list[str]:
    return [r.text for r in world.trace.of(rows.Output) if r.actor == party and r.path == ()]


def keys(n: int) -> dict[Party, bytes]:
    return {p: identity(p).public for p in range(1, n + 1)}


def test_a_party_joins_and_is_ready_when_all_are_reachable() -> None:
    world = city(3)
    world.run()
    for party in (1, 2, 3):
        said = outputs(world, party)
        others = ", ".join(str(p) for p in (1, 2, 3) if p != party)
        assert said[0].startswith(f"Joined(session=s, party={party}, created=")
        assert said[1:] == [f"Ready(peers=({others}))"]
    assert sum("created=True" in outputs(world, p)[0] for p in (1, 2, 3)) == 1


def test_a_session_of_one_is_ready_at_once() -> None:
    world = city(1)
    world.run()
    assert outputs(world, 1) == ["Joined(session=s, party=1, created=True)", "Ready(peers=())"]
    assert app_of(world, 1) is not None


@pytest.mark.parametrize(("app", "early"), [(Greeter, False), (Eager, True)])
def test_the_application_begins_when_it_says(app: type[Greeter], early: bool) -> None:
    world = city(3, app=app)
    world.crash(3)
    world.run(limit=5 * SECOND)
    assert (app_of(world, 1) is not None) is early
    world.restart(3)
    assert world.run(lambda: all_up(world, 3), limit=20 * SECOND)
    news = app_of(world, 1).news
    assert {type(n): n.party for n in news if n.party == 3} == {Introduced: 3, PeerUp: 3}


def test_the_application_hears_of_every_loss_and_return() -> None:
    world = city(2)
    world.run()
    world.crash(2)
    world.run(limit=20 * SECOND)
    assert isinstance(app_of(world, 1).news[-1], PeerDown)
    world.restart(2)
    world.run(limit=20 * SECOND)
    assert app_of(world, 1).news[-1] == PeerUp(2, "link")
    assert [text for text in outputs(world, 1) if text.startswith("Ready")] == [
        "Ready(peers=(2))"
    ] * 2


def test_lines_of_text_go_to_one_or_to_all() -> None:
    world = city(3)
    world.run()
    world.ask(1, (), Tell(2, "only you"))
    world.ask(3, (), Shout("everyone"))
    world.run()
    assert sorted(outputs(world, 2)[2:]) == [
        "Said(sender=1, text=only you, to_all=False)",
        "Said(sender=3, text=everyone, to_all=True)",
    ]
    assert outputs(world, 1)[2:] == ["Said(sender=3, text=everyone, to_all=True)"]
    assert outputs(world, 3)[2:] == []
    said = sorted((n.actor, n.note.text) for n in world.trace.notes("said"))
    assert said == [(1, "everyone"), (2, "everyone"), (2, "only you")]


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (Tell(1, "me"), "no party 1 to tell; others are 2, 3"),
        (Tell(9, "x"), "no party 9"),
        (Shout(""), "a text has 1 to"),
        (Shout("\ud800"), "half of a character"),
        (JoinSession(), "is in session 's'"),
        ("dance", "does not know str"),
    ],
)
def test_what_cannot_be_done_is_said_to_the_asker(ask: Any, why: str) -> None:
    world = city(3)
    world.run()
    with pytest.raises(UsageError, match=why):
        world.ask(1, (), ask)


@pytest.mark.parametrize("direct", [True, False])
def test_a_party_leaves_and_joins_again(direct: bool) -> None:
    world = city(3, mesh=MeshSettings(direct=direct))
    world.run()
    world.ask(2, (), LeaveSession())
    world.run(limit=3 * SECOND)
    assert outputs(world, 2)[-1] == "Left()"
    assert isinstance(app_of(world, 1).news[-1], PeerDown)
    assert [n.note.why for n in world.trace.notes("left")] == ["left"]
    world.run(limit=30 * SECOND)
    assert len(world.trace.notes("joined")) == 3  # it does not come back by itself
    world.ask(2, (), JoinSession())
    via = "link" if direct else "relay"
    assert world.run(lambda: all_up(world, 3, via), limit=20 * SECOND)
    assert blames(world) == []


def test_a_refused_party_says_why_and_may_try_again() -> None:
    world = city(2)
    world.run()
    world.remove(2)
    world.run(limit=SECOND)
    other = PartyConfig("s", 2, 3, 1, "unanimous", identity(2))
    world.host(2, build_party(other, lambda _: Greeter()))
    world.run(limit=SECOND)
    refused = [t for t in outputs(world, 2) if t.startswith("Refused")]
    assert refused == ["Refused(reason=n = 3, but this session has n = 2, hint=use 2)"]
    world.ask(2, (), JoinSession())
    world.run(limit=SECOND)
    assert [t for t in outputs(world, 2) if t.startswith("Refused")] == refused * 2


def test_who_wants_the_slot_of_a_gone_party_comes_in_when_it_is_free() -> None:
    world = city(2)
    world.run()
    world.remove(2)
    world.run(limit=SECOND)
    stranger = PartyConfig("s", 2, 2, 1, "unanimous", identity(77))
    world.host(2, build_party(stranger, lambda _: Greeter()))
    world.run(limit=SECOND)
    assert not [t for t in outputs(world, 2) if t.startswith("Refused")]
    world.run(limit=30 * SECOND)  # a slot is kept for a while, and not for ever
    assert len([t for t in outputs(world, 2) if t.startswith("Joined")]) == 2


def test_parties_with_a_roster_do_not_know_strangers() -> None:
    world = SimulatedWorld(1)
    world.host_server(build_server())
    world.host(1, build_party(config(1, 2, roster=keys(2)), lambda _: Eager()))
    stranger = PartyConfig("s", 2, 2, 1, "unanimous", identity(77))
    world.host(2, build_party(stranger, lambda _: Eager()))
    world.run(limit=30 * SECOND)
    assert {(b.actor, b.party, b.reason.split(":")[0]) for b in blames(world)} == {
        (1, 2, "came with another key than before")
    }
    assert not all_up(world, 2)
    assert "PeerUp" not in str(app_of(world, 1).news)


def test_each_start_is_a_new_life_and_the_epoch_is_kept() -> None:
    world = city(1)
    world.run()
    incarnations = set()
    for start in range(1, 4):
        membership = world.look(1, lambda node: node.machine(("mesh",)).membership)
        assert membership.epoch == start
        incarnations.add(membership.incarnation)
        world.crash(1)
        world.restart(1)
        world.run(limit=SECOND)
    assert len(incarnations) == 3
    world.crash(1)
    world.restart(1, amnesia=True)
    membership = world.look(1, lambda node: node.machine(("mesh",)).membership)
    assert membership.epoch == 1
    assert membership.incarnation not in incarnations


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"session": "a b"}, "session id"),
        ({"n": 0, "t": 0, "party": 0}, "n: 0 parties"),
        ({"t": 4}, "t: a threshold of 4"),
        ({"party": 4}, "party: id 4"),
        ({"mode": "maybe"}, "mode: 'maybe'"),
        ({"roster": keys(2)}, "roster: it must name"),
        ({"roster": keys(2) | {3: b"?" * 32}, "party": 3}, "another key for party 3"),
        ({"roster": keys(3) | {3: keys(3)[2]}}, "two parties have one key"),
    ],
)
def test_a_wrong_configuration_is_refused_before_anything_runs(
    fields: dict[str, Any], why: str
) -> None:
    good: dict[str, Any] = {
        "session": "s", "party": 1, "n": 3, "t": 2, "policy": "unanimous",
        "identity": identity(1),
    }  # fmt: skip
    PartyConfig(**good)
    if "party" in fields:
        good["identity"] = identity(fields["party"])
    with pytest.raises(UsageError, match=why):
        PartyConfig(**(good | fields))


def test_no_secret_is_in_the_trace() -> None:
    world = city(3, mesh=MeshSettings(direct=False))
    world.run()
    everything = b"".join(world.trace.lines())
    for party in (1, 2, 3):
        seed = identity(party).export_seed()
        assert seed not in everything
        assert seed.hex().encode() not in everything
    assert repr(config(1, 2)).count(identity(1).export_seed().hex()) == 0
