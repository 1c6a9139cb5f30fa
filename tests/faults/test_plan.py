"""Faults as data: what is written is read back, and bad input is refused, by field."""

from typing import Any

import pytest
from hypothesis import given

from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, SECOND
from mpclab.faults.plan import KINDS, Fault, aimed_at, parse_fault
from tests.faults.plans import faults


@given(faults())
def test_a_fault_reads_what_it_writes(fault: Fault) -> None:
    fields = fault.as_fields()
    assert parse_fault(fields, 5, 0) == fault
    assert parse_fault(fields, 5, 0).as_fields() == fields


@given(faults())
def test_a_fault_says_what_it_does_and_to_whom(fault: Fault) -> None:
    assert fault.sentence()
    assert fault.when().startswith(("at ", "from "))
    assert set(fault.parties()) <= set(range(6))
    if hasattr(fault, "party"):
        assert fault.parties() == (fault.party,)
        assert f"party {fault.party}" in fault.sentence()


def test_the_scenario_of_the_documentation() -> None:
    plan = [
        parse_fault(fields, 4, i)
        for i, fields in enumerate(
            [
                {"at": "0ms", "kind": "equivocate", "party": 1},
                {"at": "100ms", "for": "2s", "kind": "partition", "groups": [[1, 2], [3, 4]]},
                {"at": "300ms", "kind": "crash", "party": 2, "restart_after": "1s"},
            ]
        )
    ]
    assert [(f.at, f.lasts) for f in plan] == [
        (0, None),
        (100 * MS, 2 * SECOND),
        (300 * MS, SECOND),
    ]
    assert [f.when() + ", " + f.sentence() for f in plan] == [
        "from 0ms on, party 1 tells half of the others another story",
        "from 100ms to 2100ms, parties 1 and 2 | parties 3 and 4 cannot hear each other",
        "from 300ms to 1300ms, party 2 crashes",
    ]
    assert aimed_at(plan) == (1, 2, 3, 4)


def test_every_kind_has_one_line_for_a_menu() -> None:
    assert len(KINDS) >= 30
    for kind, cls in KINDS.items():
        assert cls.kind == kind
        assert cls.doc().endswith((".", "`.")), kind


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "faults[2].kind is missing; known: adaptive, "),
        (
            {"kind": "partiton"},
            "faults[2].kind: 'partiton' is not a fault; did you mean 'partition'?",
        ),
        ({"kind": "crash"}, "faults[2].party is missing; crash needs it"),
        ({"kind": "crash", "party": 5}, "faults[2].party: there is no party 5; use 1 to 4"),
        ({"kind": "crash", "party": 0}, "faults[2].party: there is no party 0"),
        ({"kind": "crash", "party": "two"}, "faults[2].party: 'two' is not a party"),
        ({"kind": "crash", "party": True}, "faults[2].party: True is not a party"),
        ({"kind": "crash", "party": 1, "at": "-5ms"}, "faults[2].at: '-5ms' is not a duration"),
        ({"kind": "crash", "party": 1, "for": "0ms"}, "faults[2].for: nothing lasts 0"),
        (
            {"kind": "crash", "party": 1, "restart_affter": "1s"},
            "faults[2].restart_affter is not known; did you mean 'restart_after'?",
        ),
        (
            {"kind": "crash", "party": 1, "for": "1s", "restart_after": "2s"},
            "faults[2].restart_after: 'for' says already",
        ),
        ({"kind": "crash", "party": 1, "amnesia": True}, "faults[2].amnesia: the party never"),
        ({"kind": "crash", "party": 1, "amnesia": "yes"}, "faults[2].amnesia: 'yes'; write true"),
        ({"kind": "restart", "party": 1, "for": "1s"}, "faults[2].for is not known"),
        ({"kind": "leave", "party": 1, "for": "1s"}, "faults[2].for: a party that left does"),
        ({"kind": "skew", "party": 1}, "faults[2]: say offset"),
        ({"kind": "skew", "party": 1, "drift": -1}, "faults[2].drift: -1 is not a drift"),
        (
            {"kind": "partition", "groups": [[1, 3], [2, 3]]},
            "faults[2].groups: party 3 is named twice",
        ),
        ({"kind": "partition", "groups": [[1, 2, 3, 4]]}, "faults[2].groups: one group of all"),
        ({"kind": "partition", "groups": [[1], []]}, "faults[2].groups: a group is empty"),
        ({"kind": "partition", "groups": [1, 2]}, "write a list of groups"),
        ({"kind": "partition", "groups": [[1], [9]]}, "faults[2].groups: there is no party 9"),
        ({"kind": "partition"}, "faults[2]: say groups, isolated or shape"),
        ({"kind": "partition", "isolated": 1, "shape": "ring"}, "faults[2].shape: isolated says"),
        ({"kind": "partition", "shape": "rng"}, "'rng' is not a shape; did you mean 'ring'?"),
        ({"kind": "partition", "shape": "ring", "one_way": True}, "faults[2].one_way: a ring has"),
        ({"kind": "loss"}, "faults[2].rate is missing"),
        ({"kind": "loss", "rate": 1.2}, "faults[2].rate: 1.2 is not a probability; use 0 to 1"),
        ({"kind": "loss", "rate": "3%"}, "faults[2].rate: '3%' is not a number"),
        ({"kind": "loss", "rate": 0.9, "burst": 3}, "faults[2].rate: 0.9 is too much for bursts"),
        ({"kind": "loss", "rate": 0.1, "from": []}, "faults[2].from: the list is empty"),
        ({"kind": "loss", "rate": 0.1, "to": [2, 2]}, "faults[2].to: party 2 is named twice"),
        ({"kind": "loss", "rate": 0.1, "to": "servr"}, "did you mean 'server'?"),
        ({"kind": "delay", "delay": "gaus(1ms)"}, "faults[2].delay: 'gaus' is not a distribution"),
        ({"kind": "bandwidth", "bytes_per_second": 0}, "faults[2].bytes_per_second: 0; use 1 to"),
        ({"kind": "duplicate", "copies": 1}, "faults[2].copies: 1; use 2 to 100"),
        ({"kind": "reset", "between": [1]}, "faults[2].between: name the two ends"),
        (
            {"kind": "filter", "party": 1, "filter": "rm"},
            "faults[2].filter: 'rm' is not a function",
        ),
        (
            {"kind": "equivocate", "party": 1, "messages": ""},
            "faults[2].messages: '' is not a word",
        ),
    ],
)
def test_bad_input_is_refused_by_field(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_fault(fields, 4, 2)
    assert words in str(caught.value)


@pytest.mark.parametrize(("shape", "n"), [("halves", 1), ("bridge", 2), ("ring", 3)])
def test_a_shape_needs_enough_parties(shape: str, n: int) -> None:
    with pytest.raises(UsageError, match=f"shape: {shape} needs {n + 1} parties"):
        parse_fault({"kind": "partition", "shape": shape}, n)


def test_a_filter_cannot_be_written_to_a_file() -> None:
    fault = parse_fault({"kind": "filter", "party": 1, "filter": lambda effects, _: effects}, 4)
    with pytest.raises(UsageError, match="cannot go into a file"):
        fault.as_fields()
