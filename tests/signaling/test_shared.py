"""Rooms that several servers share, as one of them has them: without a Redis."""

from mpclab.core import SECOND
from mpclab.core.effects import Asked, HangUp, Output
from mpclab.core.sharing import RoomIs, SeatClaimed, SharedRoom
from mpclab.signaling.rooms import PATH
from mpclab.signaling.status import RoomsSettings
from tests.signaling.bench import Server, of


def test_who_waited_long_for_its_seat_is_not_late_with_a_pong() -> None:
    server = Server(RoomsSettings(shared=True, ping_every=2 * SECOND, pong_within=3 * SECOND))
    server.join(1, 1)
    asked = server.node.step(Asked(PATH, RoomIs(1, "s", None, {})), server.now)
    claim = next(it.value for it in of(asked, Output))
    server.now = 9 * SECOND  # what others share answers slowly
    room = SharedRoom("1", claim.terms, {1: claim.seat}, {})
    server.node.step(Asked(PATH, SeatClaimed(1, "s", True, room, {})), server.now)
    effects = server.fire("ping", 10 * SECOND)
    assert not of(effects, HangUp)
    assert server.rooms.clients[1].session == "s"
    server.fire("ping", 15 * SECOND)
    assert 1 not in server.rooms.clients, "but one that answers none is"
