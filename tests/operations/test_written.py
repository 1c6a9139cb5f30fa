"""A function in a cell as an operation; computations among some; security that is voted on."""

from __future__ import annotations

import importlib
import linecache
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mpclab import computation
from mpclab.core.effects import Words
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.lab import Lab
from mpclab.mpc.circuit import P
from mpclab.mpc.compute import Part, Told, pack, unpack
from mpclab.operations import OPERATIONS
from mpclab.operations.own import meaning_of, source_of
from mpclab.testing.sessions import Sessions

GIVEN = {1: 52, 2: 48, 3: 61, 4: 175, 5: 39}


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    yield
    for word in ("spread", "above-the-mean"):
        OPERATIONS.unregister(word)


def ready(parties: int = 5, **options: Any) -> Lab:
    lab = Lab(parties=parties, seed=1, **options)
    lab.start_server()
    lab.spawn()
    lab.join()
    for p in range(1, parties + 1):
        lab.set_private(p, GIVEN[p])
    return lab


def texts(lab: Lab, op: str, parties: tuple[Party, ...]) -> set[str]:
    """The result as these parties have it."""
    return {lab.group.machine_of(p, lambda s: s.executor.results[op].text) for p in parties}


def test_a_function_in_a_cell_can_be_proposed() -> None:
    @computation(low=0, high=1000)
    def above_the_mean(salaries: Any) -> Any:
        """How many earn more than the mean."""
        mean = sum(salaries) // len(salaries)
        return {"mean": mean, "above": sum(salary > mean for salary in salaries)}

    with ready() as lab:
        op = lab.propose(1, "above-the-mean")
        lab.run()
        assert op.result == "mean 75, above 1"
        assert op.data == {"mean": "75", "above": "1"}
        text = lab.state.operations[op.id].text
        assert text.startswith("How many earn more than the mean (function ")


def test_who_has_another_function_of_that_name_rejects() -> None:
    @computation(name="spread")
    def first(v: Any) -> Any:
        return v[0] - v[1]

    theirs = OPERATIONS.copy()

    @computation(name="spread")
    def second(v: Any) -> Any:
        return v[1] - v[0]

    s = Sessions(3, policy="threshold(2)")
    for p in (2, 3):
        s.session(p).ledger.kinds = theirs
    op = s.propose(1, "spread")
    s.run()
    assert "another function by 'spread'" in s.session(2).ledger.operations[op].mine.reason
    assert "executed" not in s.statuses(op).values()


def meanings(*texts: str) -> list[str]:
    """Of `f` in each of these, typed where no source is kept."""
    found = []
    for text in texts:
        names: dict[str, Any] = {}
        exec(text, names)
        found.append(meaning_of(names["f"], source_of(names["f"])))
    return found


def test_a_function_means_its_bounds_too_and_what_it_uses() -> None:
    def f(v: Any) -> Any:
        return v[0] + v[1]

    source = source_of(f)
    assert meaning_of(f, source, 1, 0, "0", "9") != meaning_of(f, source, 1, 0, "0", "99")
    same, again, other_name, inner, inner_other = meanings(
        "def f(v): return sum(v)",
        "def f(v): return sum(v)",
        "def f(v): return max(v)",
        "def f(v): return sum(x > 1 for x in v)",
        "def f(v): return sum(x < 1 for x in v)",
    )
    assert same == again
    assert len({same, other_name, inner, inner_other}) == 4
    limits = meanings(
        "L = 1\ndef f(v): return sum(x > L for x in v)",
        "L = 2\ndef f(v): return sum(x > L for x in v)",
        "def g(x): return x + 1\ndef f(v): return g(v[0])",
        "def g(x): return x - 1\ndef f(v): return g(v[0])",
    )
    assert len(set(limits)) == 4


def test_a_function_means_what_its_tables_defaults_and_classes_say() -> None:
    pairs = [
        ("K = {1: 1}\ndef f(v): return v[0] + K[1]", "K = {1: 2}\ndef f(v): return v[0] + K[1]"),
        ("def f(v, k=1): return v[0] + k", "def f(v, k=2): return v[0] + k"),
        ("K = 1\ndef f(v, k=K): return v[0] + k", "K = 2\ndef f(v, k=K): return v[0] + k"),
        ("K = {1, 2}\ndef f(v): return v[0] + len(K)", "K = {1}\ndef f(v): return v[0] + len(K)"),
        ("from math import floor as g\ndef f(v): return g(v)",
         "from math import ceil as g\ndef f(v): return g(v)"),
    ]  # fmt: skip
    for one, other in pairs:
        first, second = meanings(one, other)
        assert first != second, one
        assert len(first) == 40


@pytest.mark.parametrize("inside", [False, True])
def test_a_function_means_what_the_modules_that_it_uses_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    line = "import rates_of_ours"
    source = f"{'' if inside else line}\ndef f(v):\n    {line if inside else 'pass'}\n"
    source += "    return v[0] * rates_of_ours.RATE"
    found = []
    for rate in (1, 2):
        (tmp_path / "rates_of_ours.py").write_text(f"RATE = {rate}{' ' * rate}\n")
        monkeypatch.delitem(sys.modules, "rates_of_ours", raising=False)
        linecache.clearcache()
        importlib.invalidate_caches()
        importlib.import_module("rates_of_ours")
        found += meanings(source)
    assert found[0] != found[1]
    monkeypatch.delitem(sys.modules, "rates_of_ours")


def test_what_parties_cannot_compare_is_refused_by_a_sentence() -> None:
    class Table:
        rate = 3

    table = Table()
    with pytest.raises(UsageError, match="table is Table, which two parties cannot compare"):

        @computation
        def priced(v: Any) -> Any:
            return v[0] * table.rate


def test_what_cannot_be_computed_is_refused_where_it_is_written() -> None:
    with pytest.raises(UsageError, match="use select"):

        @computation
        def spread(v: Any) -> Any:
            return v[0] if v[0] > v[1] else v[1]


def test_one_for_five_is_written_and_fails_for_three_by_a_sentence() -> None:
    @computation(name="spread")
    def fifth(v: Any) -> Any:
        return v[4] - v[0]

    with ready() as lab:
        done = lab.propose(1, "spread")
        lab.run()
        few = lab.propose(1, "spread", members=[1, 2, 3])
        lab.run()
        assert done.result == str(GIVEN[5] - GIVEN[1])
        assert few.outcome.parties[1].reason == "fifth, with 3 inputs: list index out of range"


@pytest.mark.parametrize(
    ("kind", "more", "result"),
    [
        ("median", {}, "52"),
        ("sort", {}, "39, 48, 52, 61, 175"),
        ("histogram", {"edges": [40, 60]}, "below 40 1, from 40 2, from 60 2"),
        ("median", {"members": [1, 3, 4]}, "61"),
        ("sum", {"members": [1, 3, 4], "security": "malicious"}, "288"),
        ("sum", {"members": [1, 3, 4, 5], "security": "identifiable"}, "327"),
    ],
)
def test_what_the_house_knows(kind: str, more: dict[str, Any], result: str) -> None:
    with ready() as lab:
        op = lab.propose(2, kind, **more)
        lab.run()
        assert op.result == result
        assert {o.status for o in op.outcome.parties.values()} == {"executed"}
        for name, value in more.items():
            if name in ("members", "security"):
                assert name in lab.state.operations[op.id].text, value


def test_who_is_only_told_believes_no_single_one() -> None:
    def says_more(words: Words, adversary: Any) -> list[Words]:
        if isinstance(words.msg, Told):
            return [Words(words.path, words.to, Told(pack([999])))]
        return [words]

    with ready() as lab:
        lab.inject(kind="filter", party=1, words=says_more)
        op = lab.propose(2, "sum", members=[1, 2, 3])
        lab.run()
        assert texts(lab, op.id, (2, 4, 5)) == {"161"}


def test_a_lie_that_changes_a_result_unseen_is_seen_where_that_was_agreed_on() -> None:
    """It follows the protocol but for one number: the last product that it shares is one too large,
    and so is its share of the result; of three its part in the product counts once."""

    def adds_one(words: Words, adversary: Any) -> list[Words]:
        if isinstance(words.msg, Part) and words.msg.round in (2, 3):
            first, *rest = unpack(words.msg.data)
            msg = Part(words.msg.round, pack([(first + 1) % P, *rest]))
            return [Words(words.path, words.to, msg)]
        return [words]

    with ready(3) as lab:
        lab.inject(kind="filter", party=3, words=adds_one)
        trusting = lab.propose(1, "product", ranges="unchecked")
        lab.run()
        assert texts(lab, trusting.id, (1, 2)) == {str(52 * 48 * 61 + 1)}
        careful = lab.propose(1, "product", ranges="unchecked", security="malicious")
        lab.run()
        assert careful.result == ""
        assert {careful.outcome.parties[p].status for p in (1, 2)} == {"failed"}
