"""Real data channels: set-up, fingerprints, limits, faults, and the ends of links."""

import asyncio
import re

import pytest

from mpclab import Lab
from mpclab.core import MS, SECOND, Party
from mpclab.core.effects import Described, HangUp
from mpclab.faults.link_rules import Delivery, Draw, LinkRules
from mpclab.trace import rows
from mpclab.worlds.real import consent, data_channel
from mpclab.worlds.real.webrtc import WebRTCWorld
from mpclab.worlds.real.websocket import WebSocketWorld
from mpclab.worlds.real.world import RealWorld
from tests.worlds.stations import STATION, TALK, Say, Station, party, switch
from tests.worlds.test_real_host import LIMIT, heard, meshed


def mesh(n: int, world: WebRTCWorld | None = None) -> WebRTCWorld:
    """A world in which n stations are all connected."""
    world = world or WebRTCWorld(record=True)
    try:
        world.host_server(switch, port=0)
        for p in range(1, n + 1):
            world.host(p, party(p, n))
        everyone = tuple(range(1, n + 1))
        assert world.run(lambda: meshed(world, *everyone), limit=LIMIT)
    except BaseException:
        world.close()
        raise
    return world


def station(world: RealWorld, actor: Party) -> Station:
    machine: Station = world.look(actor, lambda node: node.machine(STATION))
    return machine


def test_messages_arrive_once_in_order_and_pair_up_in_the_trace() -> None:
    with mesh(4) as world:
        for number in range(50):
            world.ask(1, TALK, Say(f"m{number}"))
        everyone = (1, 2, 3, 4)
        assert world.run(lambda: all(len(heard(world, p)) == 50 for p in everyone), limit=LIMIT)
        for p in everyone:
            assert heard(world, p) == [(1, f"m{number}") for number in range(50)]
        sent = world.trace.sent()
        arrived = list(world.trace.of(rows.Delivered))
        said = {key: row for key, row in sent.items() if row.kind == "Say"}
        assert len(said) == 50
        for key, row in said.items():
            got = [d for d in arrived if (d.sender, d.id) == key]
            assert sorted(d.actor for d in got) == [2, 3, 4] == sorted(row.to)
            assert all(row.at <= d.at < row.at + 10 * SECOND for d in got)
        assert all((d.sender, d.id) in sent for d in arrived)
        assert not world.failures


def test_fingerprints_are_those_of_the_certificates_in_use() -> None:
    with mesh(3) as world:
        own = {p: world._certificates[p].fingerprint for p in (1, 2, 3)}
        assert len(set(own.values())) == 3
        for p in (1, 2, 3):
            for peer, opened in station(world, p).up.items():
                assert opened.local_fingerprint == own[p]
                assert opened.remote_fingerprint == own[peer]
                assert re.fullmatch(r"([0-9A-F]{2}:){31}[0-9A-F]{2}", opened.remote_fingerprint)
        world.crash(3)
        world.restart(3)
        assert world.run(lambda: 3 in world._certificates, limit=LIMIT)
        assert world._certificates[3].fingerprint != own[3]


def test_descriptions_hold_no_candidates_and_only_our_addresses() -> None:
    with mesh(2) as world:
        described = [
            step.event
            for recording in (*world.recordings[1], *world.recordings[2])
            for step in recording.steps
            if isinstance(step.event, Described)
        ]
    assert sorted(d.kind for d in described) == ["answer", "offer"]
    for description in described:
        assert "a=candidate" not in description.sdp
        assert "end-of-candidates" not in description.sdp
        assert "mpc" not in description.sdp  # the session's name is nobody's business
        assert "127.0.0.1" not in description.sdp  # nor are our addresses
        assert "m=application 9 " in description.sdp
        assert description.candidates
        assert all(" 127.0.0.1 " in line for line in description.candidates)


def test_the_channel_is_called_after_the_session() -> None:
    with mesh(2) as world:
        channel = world._open[1, 2]
        assert channel._channel.label == "mpc-test"
        assert channel._channel.ordered
        assert channel._channel.maxRetransmits is None


def test_a_tampered_fingerprint_never_opens() -> None:
    """Who swaps the fingerprint on the way gets no link, and the parties are told."""

    def tamper(effects: list[object], adversary: object) -> list[object]:
        from mpclab.core.effects import MakeAnswer

        def other(effect: object) -> object:
            if not isinstance(effect, MakeAnswer):
                return effect
            offer = re.sub(r"sha-256 ..:", "sha-256 00:", effect.offer)
            return MakeAnswer(effect.path, effect.peer, effect.attempt, offer)

        return [other(effect) for effect in effects]

    with WebRTCWorld() as world:
        world.host_server(switch, port=0)
        world.host(1, party(1, 2))
        world.set_filter(1, tamper)  # type: ignore[arg-type]
        world.host(2, party(2, 2))
        assert world.run(lambda: bool(station(world, 1).down), limit=LIMIT)
        assert not station(world, 1).up
        assert not [
            r
            for r in world.trace.of(rows.Linked)
            if r.actor == 1 and r.state == "open" and r.peer == 2
        ]


@pytest.mark.parametrize("offer", ["", "v=0", "m=application x", "a=fingerprint:sha-256\r\n" * 3])
def test_an_offer_that_cannot_be_read_closes_that_link_alone(offer: str) -> None:
    from mpclab.core.effects import MakeAnswer

    def garble(effects: list[object], adversary: object) -> list[object]:
        return [
            MakeAnswer(e.path, e.peer, e.attempt, offer) if isinstance(e, MakeAnswer) else e
            for e in effects
        ]

    with mesh(2) as world:
        world.set_filter(2, garble)  # type: ignore[arg-type]
        world.host(3, party(3, 3))
        assert world.run(lambda: bool(station(world, 2).down), limit=LIMIT)
        (closed,) = station(world, 2).down
        assert closed.peer == 3
        assert closed.reason
        assert world.run(lambda: 1 in station(world, 3).up, limit=LIMIT)
        assert meshed(world, 1, 2)
        assert not world.failures


def test_hanging_up_tells_the_other_side_once() -> None:
    with mesh(2) as world:
        world.ask(1, STATION, HangUp(STATION, 2, 1, "enough"))
        assert world.run(lambda: bool(station(world, 2).down), limit=LIMIT)
        assert [(e.peer, e.attempt) for e in station(world, 2).down] == [(1, 1)]
        assert not station(world, 1).down
        world.ask(2, TALK, Say("anyone?"))
        (dropped,) = world.trace.of(rows.Dropped)
        assert (dropped.actor, dropped.sender, dropped.why) == (1, 2, "no link")


def test_a_removed_party_says_goodbye_and_a_crashed_one_is_missed_later() -> None:
    settings = data_channel.ChannelSettings(consent_every=0.1, consent_lost=2)
    with mesh(3, WebRTCWorld(channels=settings)) as world:
        world.remove(3)
        assert world.run(lambda: 3 not in station(world, 1).up, limit=LIMIT)
        left = world.now
        world.crash(2)
        assert 2 in station(world, 1).up
        assert world.run(lambda: 2 not in station(world, 1).up, limit=LIMIT)
        assert 50 * MS < world.now - left < 15 * SECOND
        assert not world.failures


def test_reset_closes_one_link_at_both_ends() -> None:
    with mesh(3) as world:
        world.reset(1, 2)
        assert world.run(
            lambda: 2 not in station(world, 1).up and 1 not in station(world, 2).up, limit=LIMIT
        )
        assert station(world, 1).down[0].reason == "connection reset"
        assert meshed(world, 1, 3)
        assert meshed(world, 2, 3)


def test_a_burst_to_a_peer_that_reads_waits_its_turn() -> None:
    with mesh(2) as world:
        for k in range(100):
            world.ask(1, TALK, Say(f"{k}", bytes(100_000)))
        assert world.run(lambda: len(heard(world, 2)) == 100, limit=LIMIT)
        assert heard(world, 2) == [(1, f"{k}") for k in range(100)]
        assert not station(world, 1).down


def test_a_peer_that_takes_nothing_for_long_loses_its_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(data_channel, "STUCK_AFTER", 0.3)
    with mesh(2) as world:

        async def deaf(data: bytes) -> None:
            """Party 2's machine lives and answers, but its channel takes nothing any more."""

        def freeze() -> None:
            for channel in world._channels[2].values():
                assert channel._pc.sctp is not None
                channel._pc.sctp._handle_data = deaf  # type: ignore[method-assign]

        world.call(freeze)
        for _ in range(20):
            world.ask(1, TALK, Say("x", bytes(40_000)))
        assert world.run(lambda: bool(station(world, 1).down), limit=LIMIT)
        assert station(world, 1).down[0].reason == "the peer does not read"
        assert heard(world, 2) == []


def test_what_waits_for_a_peer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_channel, "MAX_WAITING", 1_000_000)
    with mesh(2) as world:
        world.ask(1, TALK, Say("x", bytes(2_000_000)))
        assert world.run(lambda: bool(station(world, 1).down), limit=LIMIT)
        assert station(world, 1).down[0].reason == "more than 1000000 bytes wait for the peer"


class Rule:
    """A fault that is the same for every message from party 1."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery

    def judge(
        self, src: Party, dst: Party, size: int, now: int, draw: Draw, delivery: Delivery
    ) -> Delivery:
        return self.delivery if src == 1 and dst == 2 else delivery


def test_faults_at_the_border() -> None:
    with mesh(2) as world:
        link_rules: LinkRules = world.link_rules
        for delivery, text in ((Delivery(why="loss"), "lost"), (Delivery(corrupt=True), "flipped")):
            link_rules.rules[1] = Rule(delivery)
            world.ask(1, TALK, Say(text))
        assert [row.why for row in world.trace.of(rows.Dropped)] == ["loss", "corrupt"]
        link_rules.rules[1] = Rule(Delivery(copies=2))
        world.ask(1, TALK, Say("twice"))
        link_rules.rules[1] = Rule(Delivery(delay=80 * MS))
        asked = world.now
        world.ask(1, TALK, Say("late"))
        link_rules.rules[1] = Rule(Delivery(delay=10 * MS))
        world.ask(1, TALK, Say("behind"))
        link_rules.rules[1] = Rule(Delivery(delay=10 * MS, unordered=True))
        world.ask(1, TALK, Say("ahead"))
        link_rules.rules.clear()
        world.ask(1, TALK, Say("last"))
        assert world.run(lambda: len(heard(world, 2)) == 6, limit=LIMIT)
        assert world.now - asked >= 80 * MS
        assert [text for _, text in heard(world, 2)] == [
            "twice", "twice", "ahead", "late", "behind", "last"
        ]  # fmt: skip
        assert world.call(lambda: world._delays._queues) == {}


def test_nothing_is_left_behind() -> None:
    """Also when links are closed in the middle of their set-up."""
    for moment in range(0, 40, 4):
        world = WebRTCWorld()
        world.host_server(switch, port=0)
        for p in (1, 2, 3):
            world.host(p, party(p, 3))
        world.run(limit=moment * MS)
        world.remove(2)
        world.crash(3)
        world.close()
        assert world.failures == []
        assert world.loop.is_closed()
        assert not asyncio.all_tasks(world.loop)


def test_a_world_without_channels_says_so() -> None:
    with WebSocketWorld() as world:
        world.host_server(switch, port=0)
        for p in (1, 2):
            world.host(p, party(p, 2))
        assert world.run(lambda: bool(station(world, 2).down), limit=LIMIT)
        (closed,) = station(world, 2).down
        assert (closed.peer, closed.reason) == (1, "this world has no data channels")


def test_bytes_that_are_no_frame_are_blamed_and_harm_nothing() -> None:
    with mesh(2) as world:
        for data in (b"", b"\x00", b"\xc1" * 50, b"\x93\x01\x90\xc4\x00" + b"x"):
            world.call(lambda data=data: world._open[1, 2]._channel.send(data))
        world.ask(1, TALK, Say("well"))
        assert world.run(lambda: heard(world, 2) == [(1, "well")], limit=LIMIT)
        blamed = list(world.trace.of(rows.Blamed))
        assert [row.party for row in blamed] == [1] * 4
        assert all(row.reason.startswith("malformed frame") for row in blamed)


def test_other_users_of_aioice_keep_their_addresses() -> None:
    import aioice.ice

    data_channel.prepare(data_channel.ChannelSettings())
    mine = aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True)
    assert mine == data_channel._all_addresses(use_ipv4=True, use_ipv6=True)


def test_connections_of_others_have_certificates_of_their_own() -> None:
    import aiortc.rtcpeerconnection as connections

    data_channel.prepare(data_channel.ChannelSettings())
    mine = data_channel.Certificate.generateCertificate()
    made = connections.RTCCertificate.generateCertificate  # type: ignore[attr-defined]
    with data_channel._given(mine):
        assert made() is mine
    assert made() is not mine
    assert made() is not made()


def test_many_links_ask_for_consent_less_often_and_few_as_often_as_told() -> None:
    for links, interval in ((8 * 7, 0.5), (20 * 19, 3.39), (30 * 29, 7.77), (60 * 59, 8.0)):
        assert pytest.approx(interval, abs=0.01) == consent.Pace(every=0.5, links=links).interval


def test_links_are_counted_until_they_are_gone() -> None:
    before = consent.PACE.links
    with mesh(3):
        assert consent.PACE.links == before + 6
    assert consent.PACE.links == before


def test_offers_wait_their_turn_and_none_is_thrown_away() -> None:
    settings = data_channel.ChannelSettings(at_once=1, patience=30.0)
    with Lab(world="webrtc", parties=5, options={"channels": settings}) as lab:
        lab.start_server(0)
        lab.spawn()
        lab.join()
        lab.run(lambda: all(kind == "confirmed" for kind in lab.state.pairs.values()), limit=60)
        assert set(lab.state.pairs.values()) == {"confirmed"}
        assert not lab.trace.notes("link-failed")
