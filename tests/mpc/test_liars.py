"""Whatever well-formed message a liar sends, whoever restarts and whenever: no machine falls over,
nobody honest is blamed, and no key is lost."""

from __future__ import annotations

from collections import Counter

import pytest

from mpclab.core.rounds import Aborted
from mpclab.mpc.arithmetic import KINDS as COMPUTATIONS
from mpclab.testing.cast import Cast
from mpclab.testing.key_liars import liar
from mpclab.testing.key_sweep import MACHINES, N, key_trial, operation_trial


@pytest.mark.parametrize("kind", MACHINES)
def test_no_lie_harms_a_machine_or_an_honest_name(kind: str) -> None:
    caught = 0
    for seed in range(15):
        cast = Cast(N, MACHINES[kind], cheats={3: liar(seed)}, seed=seed).run()
        assert cast.accused() <= {3, None}, (kind, seed)
        caught += 3 in cast.accused()
        for outcome in cast.outcomes().values():
            if isinstance(outcome, Aborted):
                assert set(outcome.blamed) <= {3}, (kind, seed)
    assert caught > 3


@pytest.mark.parametrize("kind", MACHINES)
def test_restarts_at_any_effect_and_random_lies_convict_the_guilty_alone(kind: str) -> None:
    count: Counter[str] = sum((operation_trial(kind, seed) for seed in range(20)), Counter())
    assert count["restarts"] > 15
    assert count["caught"] > 1
    if kind not in COMPUTATIONS:  # these end when somebody is restarted
        assert count["done"] > 1


@pytest.mark.parametrize("seed", [*range(12), 88, 7000186])
def test_a_key_outlives_liars_links_restarts_and_rivals(seed: int) -> None:
    key_trial(seed)
