"""Messages are joined with their arrivals by (sender, id, receiver)."""

from mpclab.trace.export import message_counts
from mpclab.trace.flights import flights
from tests.trace.rowmaker import Story


def test_a_broadcast_is_one_flight_a_receiver_each_with_its_own_end() -> None:
    story = Story(3)
    id = story.at(1).send(1, (2, 3))
    story.at(5).arrive(1, id, at=2)
    story.at(6).lose(1, id, at=3, why="partition")
    two, three = flights(story.trace)
    assert (two.receiver, two.fate, two.sent_at, two.ended_at) == (2, "delivered", 1000, 5000)
    assert (three.receiver, three.fate, three.why, three.ended_row) == (
        3,
        "dropped",
        "partition",
        2,
    )


def test_what_never_ended_is_flying() -> None:
    story = Story(2)
    story.send(1, (2,))
    assert [f.fate for f in flights(story.trace)] == ["flying"]


def test_a_message_that_no_route_carries_ends_where_it_began() -> None:
    story = Story(2)
    story.at(3).send(1, (2,), via="none")
    (flight,) = flights(story.trace)
    assert (flight.fate, flight.ended_at) == ("dropped", 3000)


def test_a_second_arrival_is_a_copy() -> None:
    story = Story(2)
    id = story.send(1, (2,))
    story.at(1).arrive(1, id, at=2)
    story.at(2).arrive(1, id, at=2)
    first, second = flights(story.trace)
    assert (first.copy, second.copy, second.ended_at) == (False, True, 2000)
    assert message_counts(story.trace)["all"] == {"sent": 1, "delivered": 2, "dropped": 0}


def test_ids_that_a_restarted_party_uses_again_are_told_apart() -> None:
    story = Story(2)
    story.send(1, (2,), "Before")
    story.at(1).arrive(1, 1, at=2)
    story._ids.clear()
    story.at(5).send(1, (2,), "After")
    story.at(6).arrive(1, 1, at=2)
    assert [(f.kind, f.fate, f.ended_at, f.copy) for f in flights(story.trace)] == [
        ("Before", "delivered", 1000, False),
        ("After", "delivered", 6000, False),
    ]


def test_one_message_split_between_link_and_relay_is_one_flight_each() -> None:
    story = Story(3)
    id = story.send(1, (2,))
    story._ids[1] -= 1
    assert story.send(1, (3,), via="relay") == id
    story.at(4).arrive(1, id, at=3)
    story.at(5).arrive(1, id, at=2)
    assert [(f.receiver, f.via, f.ended_at) for f in flights(story.trace)] == [
        (2, "link", 5000),
        (3, "relay", 4000),
    ]


def test_counts_leave_background_out_when_asked() -> None:
    story = Story(2)
    story.send(1, (2,), "Heartbeat", background=True)
    story.send(1, (2,), "Vote")
    assert set(message_counts(story.trace)) == {"Heartbeat", "Vote", "all"}
    counts = message_counts(story.trace, background=False)
    assert counts == {
        "Vote": {"sent": 1, "delivered": 0, "dropped": 0},
        "all": {"sent": 1, "delivered": 0, "dropped": 0},
    }


# --- what the relay loses -----------------------------------------------------------------------


def relayed(story: Story) -> int:
    """A message from 1 to 2, and what carries it to the server; the carrier's id."""
    story.send(1, (2,), via="relay")
    return story.send(1, (0,), "Relay")


def test_a_relayed_message_flies_while_something_could_carry_it() -> None:
    story = Story(2)
    carrier = relayed(story)
    assert flights(story.trace)[0].fate == "flying"
    story.at(1).arrive(1, carrier, at=0)
    on = story.send(0, (2,), "Relayed")
    assert flights(story.trace)[0].fate == "flying"
    story.at(2).lose(0, on, at=2, why="partition")
    lost = flights(story.trace)[0]
    assert (lost.fate, lost.why, lost.ended_at, lost.ended_row) == ("dropped", "partition", 2000, 4)


def test_a_relayed_message_that_the_server_keeps_is_lost() -> None:
    story = Story(2)
    story.at(1).arrive(1, relayed(story), at=0)
    lost = flights(story.trace)[0]
    assert (lost.fate, lost.why, lost.ended_at) == ("dropped", "lost by the relay", 1000)


def test_a_relayed_message_that_a_later_one_passed_is_lost() -> None:
    story = Story(2)
    relayed(story)
    second = story.send(1, (2,), via="relay")
    story.at(4).arrive(1, second, at=2)
    first, *_ = flights(story.trace)
    assert (first.fate, first.ended_at) == ("dropped", 4000)
