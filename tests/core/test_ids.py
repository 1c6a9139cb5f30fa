"""Durations and ids are read exactly, and what is wrong is named."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.core import MS, SECOND, UsageError
from mpclab.core.errors import nearest
from mpclab.core.ids import check_session_id, format_duration, new_id, parse_duration


@pytest.mark.parametrize(
    ("text", "us"),
    [("250ms", 250 * MS), ("1.5s", 1_500 * MS), ("2min", 120 * SECOND), ("80us", 80), (0, 0)],
)
def test_durations_are_microseconds(text: str, us: int) -> None:
    assert parse_duration(text) == us


@given(st.integers(0, 10**12))
def test_what_is_formatted_is_read_back(us: int) -> None:
    assert parse_duration(format_duration(us)) == us


@pytest.mark.parametrize("text", ["", "5", "-1s", "1 hour", "1e3ms", 7])
def test_other_durations_are_refused_by_field(text: str) -> None:
    with pytest.raises(UsageError, match=r"until: .*not a duration"):
        parse_duration(text, "until")


def test_generated_ids_are_valid_and_differ() -> None:
    rng = random.Random(1)
    ids = {check_session_id(new_id(rng)) for _ in range(500)}
    assert len(ids) == 500


@pytest.mark.parametrize("text", ["", "a b", "-a", "x" * 65, "a/b", "ü"])
def test_other_session_ids_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="session id"):
        check_session_id(text)


def test_an_unknown_word_gets_a_hint() -> None:
    assert nearest("unanimos", ["unanimous", "threshold"]) == "; did you mean 'unanimous'?"
    assert nearest("zzz", ["b", "a"]) == "; known: a, b"
