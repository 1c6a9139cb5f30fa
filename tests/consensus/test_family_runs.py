"""A few of the many short runs of each protocol; `make soak` does as many as one likes."""

import pytest

from mpclab.consensus.hotstuff import HotStuff
from mpclab.consensus.registry import AGREEMENTS
from mpclab.consensus.wrong import Pbft2f
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.testing import family
from mpclab.testing.family import Plan, Run, family_run, plan_of

OURS = (
    "2pc", "3pc", "ben-or", "bracha", "chained-hotstuff", "direct", "hotstuff", "pbft", "raft",
    "tendermint",
)  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_many_short_runs_keep_every_promise(name: str) -> None:
    for seed in range(40):
        assert family_run(name, seed).problems == [], f"{name}, seed {seed}"


def test_the_runs_cover_what_they_are_for() -> None:
    plans = [plan_of("hotstuff", seed) for seed in range(60)]
    assert any(plan.liars and plan.crashes for plan in plans), "a liar beside a crash"
    assert any(plan.cuts and plan.late for plan in plans)
    assert any(after is not None for plan in plans for *_, after in plan.crashes), "torn steps"
    assert sum(family_run("hotstuff", seed).lies for seed in range(10)) > 20


def test_a_run_is_a_function_of_its_seed() -> None:
    first, again = family_run("bracha", 5), family_run("bracha", 5)
    assert (first.messages, first.decided, first.now) == (again.messages, again.decided, again.now)


def test_every_protocol_of_the_registry_is_swept() -> None:
    assert set(OURS) <= set(AGREEMENTS)


def problems(monkeypatch: pytest.MonkeyPatch, protocol: type, seeds: range) -> list[str]:
    monkeypatch.setattr(family, "agreement", lambda name: protocol)
    return [problem for seed in seeds for problem in family_run("mine", seed).problems]


class Frames(HotStuff):
    """Accuses whoever wants another view."""

    def take_wish(self, ctx: Ctx, sender: Party, view: int) -> None:
        super().take_wish(ctx, sender, view)
        ctx.blame(sender, "is impatient")


def test_wrong_protocols_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    assert any("accuses" in p for p in problems(monkeypatch, Frames, range(20)))
    assert problems(monkeypatch, Pbft2f, range(60))


def test_a_plan_of_ones_own_is_run_as_it_is() -> None:
    plan = Plan(4, 0.0, 0.0, 5_000, (), (), (), ((0, "op0", 1),), frozenset())
    run = Run("hotstuff", 1, plan).play()
    assert run.problems == []
    assert {p: list(held) for p, held in run.decided.items()} == {p: ["op0"] for p in range(1, 5)}
