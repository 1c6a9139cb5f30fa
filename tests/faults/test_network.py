"""What a network is: distributions with the moments they name, and clear errors."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.core.errors import UsageError
from mpclab.core.ids import MS
from mpclab.faults.network import Delay, Network, parse_delay

MANY = np.arange(20_000, dtype=np.int64)


@pytest.mark.parametrize(
    ("text", "mean", "deviation"),
    [
        ("20ms", 20, 0),
        ("uniform(10ms, 30ms)", 20, 20 / math.sqrt(12)),
        ("normal(250ms, 50ms)", 250, 50),
        ("exponential(80ms)", 80, 80),
        ("pareto(10ms, 4)", 10 * 4 / 3, 10 * math.sqrt(4 / (3**2 * 2))),
    ],
)
def test_a_distribution_has_its_mean_and_deviation(
    text: str, mean: float, deviation: float
) -> None:
    drawn = parse_delay(text).samples(99, MANY) / MS
    assert drawn.mean() == pytest.approx(mean, rel=0.03)
    assert drawn.std() == pytest.approx(deviation, rel=0.1)


@pytest.mark.parametrize(
    "text",
    ["20ms", "uniform(10ms, 30ms)", "normal(90ms, 9ms)", "exponential(8ms)", "pareto(1ms, 2)"],
)
def test_typical_is_the_median(text: str) -> None:
    delay = parse_delay(text)
    assert np.median(delay.samples(5, MANY)) == pytest.approx(delay.typical, rel=0.05)


def test_a_normal_delay_is_never_negative() -> None:
    assert parse_delay("normal(1ms, 50ms)").samples(1, MANY).min() == 0


us = st.integers(1, 10**9)
delays = st.one_of(
    st.builds(lambda a: Delay("constant", a), us),
    st.builds(lambda a, b: Delay("uniform", min(a, b), max(a, b)), us, us),
    st.builds(lambda a, b: Delay("normal", a, b), us, us),
    st.builds(lambda a: Delay("exponential", a), us),
    st.builds(lambda a, b: Delay("pareto", a, b / 4), us, st.integers(1, 40)),
)


@given(delays)
def test_a_delay_reads_what_it_writes(delay: Delay) -> None:
    assert parse_delay(str(delay)) == delay


@given(
    delays,
    st.floats(0, 1),
    st.integers(0, 10**9),
    st.booleans(),
)
def test_a_network_reads_what_it_writes(
    delay: Delay, loss: float, bandwidth: int, ordered: bool
) -> None:
    network = Network(delay, loss, bandwidth, ordered)
    assert Network.parse(network.as_fields()) == network


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dealy": "1ms"}, "network.dealy is not known; did you mean 'delay'?"),
        ({"delay": "gauss(1ms, 2ms)"}, "network.delay: 'gauss' is not a distribution"),
        ({"delay": "normal(1ms)"}, "network.delay: write normal(mean, deviation)"),
        ({"delay": "uniform(3ms, 2ms)"}, "runs backwards"),
        ({"delay": "pareto(3ms, 0)"}, "the shape of a pareto is a number above 0"),
        ({"delay": "-3ms"}, "network.delay: '-3ms' is not a duration"),
        ({"loss": 1.5}, "network.loss: 1.5 is not a probability"),
        ({"loss": "much"}, "network.loss: 'much' is of the wrong type"),
        ({"bandwidth": -1}, "network.bandwidth: -1"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Network.parse(fields)
    assert words in str(caught.value)
