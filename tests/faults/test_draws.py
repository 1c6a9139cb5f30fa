"""Keyed draws: pure functions of their key, uniform, and the same alone and in bulk."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.core.ids import MS
from mpclab.faults import draws
from mpclab.faults.network import Delay

keys = st.integers(0, 2**64 - 1)
lanes = st.lists(st.integers(0, 2**40), min_size=1, max_size=50)

SHAPES = [
    Delay("constant", 20 * MS),
    Delay("uniform", 10 * MS, 30 * MS),
    Delay("normal", 250 * MS, 50 * MS),
    Delay("exponential", 80 * MS),
    Delay("pareto", 10 * MS, 1.5),
]


@given(keys, lanes)
def test_many_at_once_are_the_same_numbers(base: int, lanes: list[int]) -> None:
    assert draws.uniforms(base, lanes).tolist() == [draws.uniform(base, lane) for lane in lanes]


@given(keys, st.integers(0, 2**62))
def test_draws_lie_strictly_inside_the_unit_interval(base: int, lane: int) -> None:
    assert 0 < draws.uniform(base, lane) < 1


@pytest.mark.parametrize("delay", SHAPES, ids=str)
def test_delays_are_the_same_alone_and_at_once(delay: Delay) -> None:
    many = np.arange(1, 400, dtype=np.int64)
    alone = [delay.sample(12345, lane) for lane in many.tolist()]
    assert delay.samples(12345, many).tolist() == pytest.approx(alone, abs=1)  # sin, cos, log: 1 µs


@given(st.lists(st.integers(0, 2**60) | st.text(max_size=5), min_size=1, max_size=4))
def test_the_order_of_a_keys_parts_counts(parts: list[int | str]) -> None:
    other = [*parts[1:], parts[0]]
    if other != parts:
        assert draws.key(*parts) != draws.key(*other)


def test_streams_are_uniform_and_independent() -> None:
    """Two streams with neighbouring keys: right mean and variance, no correlation."""
    count = 20_000
    a = draws.uniforms(draws.key(7, 1), range(count))
    b = draws.uniforms(draws.key(7, 2), range(count))
    for stream in (a, b):
        assert stream.mean() == pytest.approx(1 / 2, abs=0.01)
        assert stream.var() == pytest.approx(1 / 12, abs=0.003)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.03
    assert abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 0.03


def test_keys_do_not_depend_on_the_hash_seed() -> None:
    program = "from mpclab.faults.draws import key; print(key(7, 'session/vote', 3))"
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert said == {f"{draws.key(7, 'session/vote', 3)}\n"}
