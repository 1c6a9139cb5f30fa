"""Who is given up, when no answer comes: aioice's questions at our pace."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from mpclab.worlds.real import consent


class Clock:
    """A loop of which only the time is looked at."""

    now = 0.0
    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.meanwhile()
        self.now += seconds


class Asked(consent._Connection):
    """A connection whose peer answers as told: a time until the question is over, and how."""

    def __init__(self, clock: Clock, answers: list[Callable[["Asked"], bool]]) -> None:
        super().__init__(ice_controlling=True)
        self.clock, self.answers = clock, answers

    async def _answers(self) -> bool:
        return self.answers.pop(0)(self)


def no(link: Asked) -> bool:
    link.clock.now += consent.stun.RETRY_RTO
    return False


def yes(_: Asked) -> bool:
    return True


def late(link: Asked) -> bool:
    link.clock.now += 0.3  # our loop did not read its sockets
    return no(link)


def while_it_sends(link: Asked) -> bool:
    link.data_received(b"more", 1)
    return no(link)


def over_after(
    monkeypatch: pytest.MonkeyPatch, *answers: Callable[[Asked], bool], sent: bool = False
) -> Asked:
    """A link that was given up, at what time of its clock and with which answers not given; the
    peer `sent` something at the beginning."""
    clock = Clock()
    stand_in = SimpleNamespace(get_running_loop=lambda: clock, sleep=clock.sleep)
    monkeypatch.setattr(consent, "asyncio", stand_in)
    monkeypatch.setattr(consent, "PACE", consent.Pace())
    link = Asked(clock, list(answers))

    def says() -> None:
        if sent and clock.now == 0.0:
            link.data_received(b"the last", 1)

    clock.meanwhile = says
    asyncio.run(link.query_consent())
    return link


@pytest.mark.parametrize(
    "before", [(), (no, no, no, yes), (late,) * 5, (while_it_sends,) * 5, (no, no, while_it_sends)]
)
def test_a_peer_is_given_up_after_four_questions_that_were_in_time(
    before: tuple[Callable[[Asked], bool], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not over_after(monkeypatch, *before, no, no, no, no).answers


def test_a_dead_peer_is_noticed_within_three_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2.2 < over_after(monkeypatch, no, no, no, no).clock.now < 3.0


def test_one_that_had_just_sent_something_is_noticed_a_question_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert 2.6 < over_after(monkeypatch, no, no, no, no, sent=True).clock.now < 3.6


def test_consent_is_over_after_its_time_whatever_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    link = over_after(monkeypatch, *(while_it_sends,) * 100)
    assert 30 <= link.clock.now < 32
