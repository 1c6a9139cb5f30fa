"""A short trace keeps what was noted and the newest messages; verdicts are what they were."""

from __future__ import annotations

import copy
import random
from dataclasses import replace

import pytest

from mpclab.consensus.registry import AGREEMENTS
from mpclab.core import UsageError, notes
from mpclab.lab import Lab, Run, Scenario, play
from mpclab.testing import experiments
from mpclab.trace import Delivered, Dropped, Noted, Row, Sent, Trace
from mpclab.trace.short import GONE, ShortTrace


def _random_rows(seed: int, count: int) -> list[Row]:
    rng = random.Random(seed)
    made: list[Row] = []
    for at in range(count):
        match rng.randrange(5):
            case 0:
                made.append(Sent(at, 1, at, (2, 3), ("x",), "Word", 9))
            case 1:
                made.append(Noted(at, 2, (), notes.Decided(op=f"op{at}")))
            case 2:
                made.append(Dropped(at, 3, 1, at, "loss"))
            case _:
                made.append(Delivered(at, 2, 1, rng.choice((at, 2**32 + at))))
    return made


@pytest.mark.parametrize("keep", [0, 1, 7, 10_000])
def test_what_is_kept_is_a_part_of_the_whole_in_its_order(keep: int) -> None:
    rows = _random_rows(keep, 500)
    whole, short = Trace(), ShortTrace(keep)
    seen: list[Row] = []
    cursor = (0, 0)
    for row in rows:
        whole.append(row)
        short.append(row)
        if row.at % 5 == 0:
            news, cursor = short.since(cursor)
            seen += news
    news, cursor = short.since(cursor)
    seen += news
    kept = [row for row in short if row is not GONE]
    left = iter(rows)
    assert all(row in left for row in kept)  # in order, and none twice
    assert [row for row in kept if type(row) is Noted] == whole.notes("decided")
    traffic = [row for row in rows if type(row) in (Sent, Dropped)]
    newest = traffic[max(0, len(traffic) - keep) :]
    assert [row for row in kept if type(row) in (Sent, Dropped)] == newest
    arrived = [row for row in rows if type(row) is Delivered]
    mine = [row for row in kept if type(row) is Delivered]
    assert arrived[len(arrived) - len(mine) :] == mine
    assert min(keep, len(arrived)) <= len(mine) <= 2 * keep
    if keep >= 7:  # who polls often enough misses nothing
        assert [row for row in seen if row is not GONE] == rows
    assert (short.deliveries, short.end, short.whole) == (len(arrived), whole.end, False)
    assert short.sendings == 2 * sum(type(row) is Sent for row in rows)


def test_a_copy_goes_its_own_way() -> None:
    rows = _random_rows(1, 100)
    short = ShortTrace(5)
    for row in rows[:50]:
        short.append(row)
    other = copy.deepcopy(short)
    for row in rows[50:]:
        other.append(row)
    before = list(short)
    for row in rows[50:]:
        short.append(row)
    assert len(before) < len(list(short))
    assert list(short) == list(other)


@pytest.mark.parametrize("protocol", AGREEMENTS)
def test_outcomes_and_verdicts_are_those_of_the_whole_trace(protocol: str) -> None:
    def told(run: Run) -> dict[str, str]:
        return {v.check: str(v.verdict) for v in run.verdicts}

    for seed in range(1 if protocol == "bullshark" else 2):  # whose runs are long
        scenario = experiments.draw(seed, protocol)
        whole = play(scenario)
        for mode in ("tail", "off"):
            run = play(scenario.but(trace=mode))
            assert repr(run.outcomes) == repr(whole.outcomes)
            assert run.trace.deliveries == whole.trace.deliveries
            for check, verdict in told(run).items():
                gone = [
                    v for v in run.verdicts if v.check == check and "did not keep" in v.sentence
                ]
                assert gone or verdict == told(whole)[check], (seed, mode, check)


def test_a_scenario_says_how_much_is_kept() -> None:
    scenario = Scenario.from_text("parties: 4\ntrace: off\nmesh: ready\n")
    assert scenario.trace == "off"
    assert Scenario.from_text(scenario.to_text()) == scenario
    assert "trace" not in replace(scenario, trace="full").to_text()
    with pytest.raises(UsageError, match="trace: 'tial' is not known; did you mean 'tail'"):
        Scenario.from_text("trace: tial")


def test_a_lab_without_messages_holds_none() -> None:
    with Lab(parties=4, trace="off", mesh="ready") as lab:
        lab.spawn()
        lab.join()
        operation = lab.propose(by=1, text="hello")
        lab.run()
        assert operation.status == "committed"
        assert lab.trace.deliveries > 12
        assert not list(lab.trace.of(Sent, Delivered))
        assert [v.verdict for v in lab.check("agreement", "integrity")] == ["ok", "ok"]


def test_the_end_is_known_when_no_delivery_is_kept() -> None:
    trace = ShortTrace(0)
    for at in range(1, 10_000):
        trace.delivered(at, 1, 2, at)
        assert trace.end == at
