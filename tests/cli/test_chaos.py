"""`make chaos`, for some seconds: what happens to processes breaks no promise."""

import sys

import pytest

from benchmarks.chaos import Summary, chaos

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of other processes")


def test_seconds_of_chaos_break_no_promise() -> None:
    summary = chaos(8, seed=5, protocol="raft")
    assert not summary.violated, "\n".join(summary.lines())
    assert summary.ends["committed"] > 0
    assert summary.done.total() > summary.done["proposal"]


def test_the_summary_says_what_was_done_and_what_broke() -> None:
    summary = Summary(7, "raft")
    summary.done.update({"kill": 3, "proposal": 9})
    summary.ends["committed"] = 9
    summary.rejoined += [1.0, 2.0]
    assert "\n".join(summary.lines()).count("\n") == 4
    summary.violated.append("agreement: parties 1 and 2 differ")
    assert "VIOLATED agreement" in "\n".join(summary.lines())
