"""Which addresses parties offer each other, and what they are told of STUN and TURN."""

import ipaddress
import socket
import time
from typing import Any

import pytest

from mpclab import Lab, UsageError
from mpclab.core.effects import Described
from mpclab.worlds.real import ChannelSettings, IceServer, WebRTCWorld, addresses
from mpclab.worlds.real.addresses import offered
from mpclab.worlds.real.data_channel import Channel
from tests.worlds.test_real_webrtc import mesh

V4, V6 = "192.0.2.7", "2001:db8::7"


@pytest.fixture
def two_families(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {socket.AF_INET: V4, socket.AF_INET6: V6}
    monkeypatch.setattr(addresses, "_outer", mine.get)


@pytest.mark.usefixtures("two_families")
@pytest.mark.parametrize(
    ("reached_by", "beyond", "expected"),
    [
        ("127.0.0.1", False, ("127.0.0.1",)),
        ("::1", False, ("::1",)),
        ("127.0.0.1", True, ("127.0.0.1", V4, V6)),
        ("10.1.2.3", False, ("10.1.2.3", V6)),
        ("10.1.2.3", True, ("10.1.2.3", V6)),
        ("fd00::5", False, ("fd00::5", V4)),
        (V4, False, (V4, V6)),
    ],
)
def test_a_party_offers_where_it_meets_its_server(
    reached_by: str, beyond: bool, expected: tuple[str, ...]
) -> None:
    assert offered(reached_by, beyond) == expected


def test_our_own_outer_address_is_none_that_peers_could_not_use() -> None:
    for family in (socket.AF_INET, socket.AF_INET6):
        mine = addresses._outer(family)
        if mine is not None:
            address = ipaddress.ip_address(mine)
            assert not address.is_loopback
            assert not address.is_link_local


@pytest.mark.parametrize(
    "told",
    [
        lambda: ChannelSettings(addresses=("localhost",)),
        lambda: ChannelSettings(relay_only=True),
        lambda: ChannelSettings(relay_only=True, ice_servers=(IceServer("stun:a:1"),)),
        lambda: IceServer("http://a"),
        lambda: IceServer("turn:a:3478"),
    ],
)
def test_what_cannot_be_is_refused(told: Any) -> None:
    with pytest.raises(UsageError):
        told()


def test_a_credential_is_not_shown() -> None:
    assert "secret" not in repr(IceServer("turn:a:3478", "me", "secret"))


def candidates(world: WebRTCWorld) -> set[str]:
    steps = [s.event for all in world.recordings.values() for one in all for s in one.steps]
    return {c.split()[4] for e in steps if isinstance(e, Described) for c in e.candidates}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_on_one_machine_loopback_is_all(address: str) -> None:
    with Lab(world="webrtc", parties=2, record=True) as lab:
        lab.start_server(0, address)
        lab.spawn()
        lab.join()
        assert isinstance(lab.world, WebRTCWorld)
        assert candidates(lab.world) == {address}
        assert lab.state.link(1, 2) == "confirmed"


def test_where_others_may_come_from_elsewhere_the_outer_address_is_offered_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        addresses, "_outer", {socket.AF_INET: "127.0.0.2", socket.AF_INET6: None}.get
    )
    with Lab(world="webrtc", parties=2, record=True) as lab:
        lab.start_server(0, "0.0.0.0")
        lab.spawn()
        lab.join()
        assert isinstance(lab.world, WebRTCWorld)
        assert candidates(lab.world) - {"127.0.0.1", "::1"}  # whatever the server is called


def test_names_that_nobody_knows_hold_no_link_up(monkeypatch: pytest.MonkeyPatch) -> None:
    add = Channel.add_candidates
    unknown = tuple(f"candidate:{k} 1 udp 2130706431 nobody-{k}.local 9 typ host" for k in range(8))

    def more(channel: Channel, found: tuple[str, ...]) -> None:
        add(channel, (*unknown, *found))

    monkeypatch.setattr(Channel, "add_candidates", more)
    began = time.monotonic()
    with mesh(2):
        assert time.monotonic() - began < 6  # one after another: 8 and more
