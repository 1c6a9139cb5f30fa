"""Computations that are written as functions of secret numbers (see `mpc.program`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, TypeAlias

from mpclab.core.errors import UsageError
from mpclab.core.machine import Machine
from mpclab.operations.computations import COMMON, PLACES, SHOWN, computing
from mpclab.operations.members import members_of
from mpclab.operations.parameters import Numbers
from mpclab.operations.spec import Execution, Facts, OperationSpec, Result

Written: TypeAlias = Callable[..., Any]
Plain: TypeAlias = int | float | Decimal


def machine_of(
    execution: Execution, function: Written, numbers: int, places: int, low: Plain, high: Plain
) -> Machine:
    from mpclab.mpc.program import check_given, compiled

    inputs = members_of(execution, "members")
    program = compiled(function, inputs, numbers=numbers, places=places, low=low, high=high)

    def present(result: list[int]) -> Result:
        return Result(program.words(result), json.dumps(program.said(result)).encode())

    return computing(
        execution,
        program.circuit,
        inputs,
        check=partial(check_given, numbers=numbers, places=places, low=low, high=high),
        places=places,
        plausible=program.check,
        present=present,
    )


def facts_of(data: bytes) -> Facts:
    return tuple((str(name), str(value)) for name, value in json.loads(data))


def _house(written: Callable[[Mapping[str, Any]], Written]) -> Callable[[Execution], Machine]:
    def make(execution: Execution) -> Machine:
        from mpclab.mpc.arithmetic import LARGEST

        places = execution.params["decimals"]
        bound = Decimal(LARGEST).scaleb(-places) if places else LARGEST
        return machine_of(execution, written(execution.params), 1, places, -bound, bound)

    return make


def _sorted(params: Mapping[str, Any]) -> Written:
    from mpclab.mpc.program import sort

    return sort


def _median(params: Mapping[str, Any]) -> Written:
    from mpclab.mpc.program import median

    return median


def _histogram(params: Mapping[str, Any]) -> Written:
    from mpclab.mpc.program import histogram

    edges = params["edges"]
    if list(edges) != sorted(set(edges)) or not edges:
        raise UsageError("edges: name some numbers, from the least to the greatest")
    names = [f"below {edges[0]}", *(f"from {edge}" for edge in edges)]
    return lambda values: dict(zip(names, histogram(values, edges), strict=True))


WRITTEN_COMPUTATIONS = (
    OperationSpec(
        "median",
        _house(_median),
        (PLACES, *COMMON),
        sentence="find the median of everyone's private numbers",
        shown=SHOWN,
        facts=facts_of,
    ),
    OperationSpec(
        "sort",
        _house(_sorted),
        (PLACES, *COMMON),
        sentence="put everyone's private numbers in order, without saying whose is which",
        shown=SHOWN,
        facts=facts_of,
    ),
    OperationSpec(
        "histogram",
        _house(_histogram),
        (Numbers("edges", low=-(2**53), help="where a class ends and the next begins"), PLACES,
         *COMMON),
        sentence="count how many private numbers lie between {edges}",
        shown=SHOWN,
        facts=facts_of,
    ),
)  # fmt: skip

BY_KIND = {spec.name: spec for spec in WRITTEN_COMPUTATIONS}
