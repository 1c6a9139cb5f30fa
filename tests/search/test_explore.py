"""Every order of a few events: right protocols are exhausted, wrong ones are found."""

from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from mpclab.cli import main
from mpclab.consensus.registry import agreement
from mpclab.consensus.two_phase import TwoPhase
from mpclab.consensus.wrong import ForgetfulRaft, MessageCountingBracha, OneEcho, Pbft2f
from mpclab.core import UsageError
from mpclab.core.machine import Ctx
from mpclab.lab import Scenario
from mpclab.model.reduction import Reduction
from mpclab.model.states import OrderMatters
from mpclab.plots import spacetime
from mpclab.search import Counterexample, explore, walk
from mpclab.trace import Delivered, Sent


def repeats(found: Counterexample | None, tmp_path: Path) -> Scenario:
    """Whatever is found is a file that `mpclab run` repeats."""
    assert found is not None
    path = found.save(tmp_path / "found.yaml")
    again = Scenario.from_file(path)
    assert again == found.scenario
    run = again.run()
    assert run.violated
    assert run.trace.digest() == found.trace.digest()
    return again


def test_a_right_protocol_is_exhausted_and_says_to_what_bound() -> None:
    found = explore("2pc", parties=3, timers=1, reduce=False)
    assert found.exhausted
    assert found.coverage == 1
    assert found.counterexample is None
    assert found.decided > 100
    assert found.fair > 5
    assert "n=3, 1 timer: " in str(found)
    assert "states (every one)" in str(found)
    again = explore(agreement("2pc"), parties=3, timers=1, reduce=False)
    assert (again.states, again.transitions, again.depth) == (
        found.states, found.transitions, found.depth,
    )  # fmt: skip


def test_crashes_between_effects_and_losses_are_tried_too() -> None:
    calm = explore("2pc", parties=2)
    torn = explore("2pc", parties=2, crashes=1, torn=True, losses=1)
    assert torn.exhausted
    assert torn.counterexample is None
    assert torn.states > 10 * calm.states


def test_the_counterexample_is_a_shortest_one_and_can_be_drawn(tmp_path: Path) -> None:
    found = explore(OneEcho, parties=3, liars={3}, submits={1: "a", 3: "b"}).counterexample
    assert found is not None
    assert found.problem == "parties 1 and 2 end b differently"
    assert [step.what for step in found.steps] == ["submit", "deliver", "deliver"]
    kinds = Counter(type(row) for row in found.trace)
    assert kinds[Delivered] == 2
    assert kinds[Sent] >= 4  # to each of two, the one story and the other
    decided = found.trace.notes("decided")
    assert {row.actor for row in decided} >= {1, 2}
    assert len(spacetime(found.trace).collections) >= 2  # arrows and their heads
    assert len(found.picture().axes) == 1
    assert "party 3 submits b" in str(found)
    repeats(found, tmp_path)


def test_the_terminal_repeats_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = explore(OneEcho, parties=3, liars={3}, submits={1: "a", 3: "b"}).counterexample
    assert found is not None
    path = found.save(tmp_path / "found.yaml")
    assert main(["run", str(path)]) == 1
    assert "committed different values for b" in capsys.readouterr().out
    text = path.read_text(encoding="utf-8").replace("message 1 of", "message 7 of")
    path.write_text(text, encoding="utf-8")
    assert main(["run", str(path)]) == 2
    assert "no such message is under way" in capsys.readouterr().err


def test_a_vote_that_is_forgotten_makes_two_leaders(tmp_path: Path) -> None:
    bounds: dict[str, Any] = {
        "parties": 3, "timers": 2, "crashes": 1, "prevote": False, "reduce": False, "fair": 0,
    }  # fmt: skip
    found = explore(ForgetfulRaft, **bounds, submits={}).counterexample
    assert found is not None
    assert "both lead term 1" in found.problem
    assert {"crash", "restart"} <= {step.what for step in found.steps}
    repeats(found, tmp_path)


def test_messages_counted_twice_are_found(tmp_path: Path) -> None:
    found = walk(MessageCountingBracha, parties=4, liars={1}, repeats=6, runs=500).counterexample
    repeats(found, tmp_path)


def test_a_wrong_quorum_is_found_by_a_random_walk(tmp_path: Path) -> None:
    found = walk(Pbft2f, parties=4, liars={1}, runs=200).counterexample
    assert found is not None
    assert "differently" in found.problem
    repeats(found, tmp_path)


class Undecided(TwoPhase):
    """Two-phase commit whose coordinator tells nobody what it decided."""

    def on_timer(self, ctx: Ctx, name: str) -> None:
        pass


def test_right_ones_stand_the_same_walks() -> None:
    found = walk("pbft", parties=4, liars={1}, runs=40, depth=60)
    assert found.counterexample is None
    assert found.decided > 0


def test_what_never_ends_is_found_at_the_end_of_a_fair_path(tmp_path: Path) -> None:
    """A lost message is never sent again."""
    found = explore(Undecided, parties=2, losses=1)
    assert found.counterexample is not None
    assert found.counterexample.problem.endswith("though nothing goes wrong any more")
    assert found.counterexample.scenario.schedule[-1] == "and so on, fairly"
    again = repeats(found.counterexample, tmp_path)
    assert again.checks == ("termination",)
    assert explore("2pc", parties=2, losses=1).counterexample is None


def test_four_replicas_of_pbft_are_exhausted_in_one_order() -> None:
    """All orders of their 27 messages lead to the same, and that is found out first."""
    found = explore("pbft", parties=4)
    assert found.reduced
    assert found.exhausted
    assert found.states < 100
    assert found.fair == 1


@pytest.mark.parametrize(
    ("protocol", "bounds"),
    [
        ("2pc", {"parties": 3}),
        ("3pc", {"parties": 2}),
        ("direct", {"parties": 3, "submits": {1: "a", 2: "a", 3: "a"}}),
        (OneEcho, {"parties": 3, "liars": {3}, "submits": {1: "a", 3: "b"}}),
    ],
)
def test_the_reduction_finds_what_the_whole_finds(protocol: Any, bounds: dict[str, Any]) -> None:
    """Fewer states, the same verdict, the same ends of fair paths."""
    small = explore(protocol, **bounds)
    whole = explore(protocol, **bounds, reduce=False)
    exact = explore(protocol, **bounds, reduce=False, exact=True)
    assert small.reduced
    assert not whole.reduced
    if exact.exhausted:
        assert small.states <= whole.states <= exact.states
    problems = {f.counterexample.problem if f.counterexample else "" for f in (small, whole, exact)}
    assert len(problems) == 1


def test_a_protocol_that_minds_the_order_is_not_simplified() -> None:
    class FirstHeard(OneEcho):
        """Decides as it was told first, once it was told by two."""

        def start(self, ctx: Ctx) -> None:
            super().start(ctx)
            self.told: dict[int, bytes] = {}

        def on_message(self, ctx: Ctx, sender: int, msg: Any) -> None:
            self.told[sender] = msg.value
            if len(self.told) == 2:
                first, *_ = self.told.values()
                self._decide(ctx, msg.op, first)

        on_message.__annotations__ = OneEcho.on_message.__annotations__

    submits = {1: "a", 2: "a|1"}
    whole = explore(FirstHeard, parties=3, submits=submits, exact=True, fair=0).counterexample
    found = explore(FirstHeard, parties=3, submits=submits, fair=0).counterexample
    assert whole is not None
    assert found is not None
    assert found.problem == whole.problem


def test_one_seed_is_one_walk() -> None:
    one, two = (walk(Pbft2f, parties=4, liars={1}, runs=50, seed=9) for _ in range(2))
    assert str(one) == str(two)


@pytest.mark.parametrize(
    ("bounds", "why"),
    [({"budget": 20}, "20 states"), ({"depth": 3}, "3 events"), ({"seconds": 0.0}, "0 s")],
)
def test_what_was_not_tried_is_said(bounds: dict[str, float], why: str) -> None:
    found = explore("2pc", parties=3, timers=1, reduce=False, **bounds)  # type: ignore[arg-type]
    assert not found.exhausted
    assert found.coverage < 1
    assert why in found.stopped
    assert "not all" in str(found)


def test_it_can_be_cancelled() -> None:
    found = explore("2pc", parties=3, reduce=False, progress=lambda *_: False)
    assert found.stopped == "cancelled"


def test_a_scenario_says_what_may_happen() -> None:
    fields = {
        "parties": 3, "agreement": "2pc", "faults": [{"kind": "crash", "party": 1, "torn": True}],
        "operations": [{"by": 2, "kind": "note", "text": "hello"}],
    }  # fmt: skip
    found = explore(Scenario.parse(fields))
    assert found.bounds == "n=3, 1 crash (torn)"
    assert found.exhausted
    assert found.counterexample is None


def test_parties_that_are_not_there_are_refused() -> None:
    with pytest.raises(UsageError, match="party 9: use 1 to 3"):
        explore("2pc", parties=3, submits={9: "a"})
    with pytest.raises(UsageError, match="write an operation's name"):
        explore("2pc", parties=3, submits={1: "a|x"})


def test_the_terminal_explores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "2pc", "--parties", "2", "--crashes", "1", "--torn"]) == 0
    assert "n=2, 1 crash (torn)" in capsys.readouterr().out
    found = tmp_path / "found.yaml"
    told = ["--liar", "3", "--submit", "1=a", "--submit", "3=b", "--to", str(found)]
    assert main(["explore", "wrong-direct", *told]) == 1
    assert "parties 1 and 2 end b differently" in capsys.readouterr().out
    assert main(["run", str(found)]) == 1
    assert main(["explore", "wrong-direct", "--submit", "a"]) == 2


def test_an_order_that_matters_while_it_reduces_is_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be found before the first state is visited: it is with two rivals in Paxos."""
    told = []

    class Sees(Reduction):
        def __init__(self, model: Any, **options: Any) -> None:
            told.append(model.exact)
            if not model.exact:
                raise OrderMatters("party 1")
            super().__init__(model, **options)

    monkeypatch.setattr(import_module("mpclab.search.explore"), "Reduction", Sees)
    assert explore("2pc", parties=2).exhausted
    assert told == [False, True]
