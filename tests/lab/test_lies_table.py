"""The pair table: each lie acts on each protocol, and does no more harm than the theory allows."""

import pytest

from mpclab.consensus.registry import agreement
from tools.docs import CHECKOUT
from tools.lies_table import (
    BEARING,
    PROTOCOLS,
    Pair,
    lies,
    table,
    tried,
    tried_by_two,
    tried_in_votes,
)

PAIRS = [(protocol, kind) for protocol in PROTOCOLS for kind in lies()]


@pytest.mark.parametrize(("protocol", "kind"), PAIRS)
def test_a_lie_acts_and_harms_only_where_nobody_promised_otherwise(
    protocol: str, kind: str
) -> None:
    pair = tried(protocol, kind)
    assert pair.acts > 0
    if agreement(protocol).liars(4) > 0:
        assert pair.word == "holds"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_lie_in_votes_harms_only_where_nobody_promised_otherwise(protocol: str) -> None:
    pair = tried_in_votes(protocol)
    assert (pair.acts > 0) is not agreement(protocol).votes_inside
    if agreement(protocol).liars(4) > 0:
        assert pair.word == "holds"


@pytest.mark.parametrize("kind", lies())
def test_two_liars_of_seven_do_no_harm(kind: str) -> None:
    for protocol in BEARING:
        pair = tried_by_two(protocol, kind)
        assert pair.acts > 0
        assert pair.word == "holds"


def test_the_table_has_something_to_tell() -> None:
    words = {tried(protocol, kind).word for protocol, kind in PAIRS}
    assert {"holds", "**split**"} <= words


@pytest.mark.parametrize(
    ("pair", "word"),
    [
        (Pair(0, ("agreement",), True), "never acts"),
        (Pair(1, (), False), "holds"),
        (Pair(1, (), True), "**stuck**"),
        (Pair(1, ("blame",), True), "**split**"),
    ],
)
def test_a_pair_is_called_by_the_worst_that_came_of_it(pair: Pair, word: str) -> None:
    assert pair.word == word


def test_the_document_says_what_the_runs_gave() -> None:
    assert (CHECKOUT / "docs/lies.md").read_text() == table(), "run make docs-tables"
