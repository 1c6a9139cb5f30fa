"""Approval policies: pure, and never of two minds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.coordinator.policy import TallyResult, parse_policy
from mpclab.core.errors import UsageError


@pytest.mark.parametrize("text", ["unanimous", "threshold(1)", "threshold( 3 )", " threshold(5) "])
def test_policies_are_read_and_written(text: str) -> None:
    policy = parse_policy(text, 5)
    assert parse_policy(str(policy), 5) == policy
    assert policy.needed == {"unanimous": 5}.get(text, 0) or 1 <= policy.needed <= 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unanimos", "did you mean 'unanimous'"),
        ("threshold(0)", "use 1 to 5"),
        ("threshold(6)", "use 1 to 5"),
        ("threshold(-1)", "is not known"),
        ("threshold", "is not known"),
        ("", "is not known"),
    ],
)
def test_other_policies_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_policy(text, 5)


@given(st.data())
def test_a_standing_is_what_counting_all_futures_says(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 6))
    policy = parse_policy(f"threshold({data.draw(st.integers(1, n))})", n)
    votes = data.draw(st.dictionaries(st.integers(1, n), st.booleans()))
    silent = n - len(votes)
    yes = sum(votes.values())
    futures = {yes + more >= policy.needed for more in range(silent + 1)}
    expected = {
        (True,): TallyResult.ENOUGH,
        (False,): TallyResult.IMPOSSIBLE,
        (False, True): TallyResult.NOT_YET,
    }[tuple(sorted(futures))]
    assert policy.result(votes) is expected
    assert policy.judge(yes, len(votes) - yes) is expected


@given(st.data())
def test_a_verdict_never_changes(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 6))
    policy = parse_policy(f"threshold({data.draw(st.integers(1, n))})", n)
    votes = [(p, data.draw(st.booleans())) for p in data.draw(st.permutations(range(1, n + 1)))]
    verdicts = [policy.result(dict(votes[:k])) for k in range(n + 1)]
    final = [v for v in verdicts if v is not TallyResult.NOT_YET]
    assert len(set(final)) == 1, "once all have voted there is a verdict, and it was the first"
    assert verdicts == [TallyResult.NOT_YET] * (n + 1 - len(final)) + final


def test_strangers_do_not_count() -> None:
    policy = parse_policy("threshold(2)", 3)
    assert policy.result({1: True, 0: True, 4: True, 9: True}) is TallyResult.NOT_YET
    assert policy.result({1: True, 0: False, 4: False, 9: False}) is TallyResult.NOT_YET
