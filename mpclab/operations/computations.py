"""Arithmetic on private inputs, of which only the result is opened.

A private input never travels in a proposal: each party's user gives it by asking the machine, at
`input_path(kind, op)`, with `Input(values)`, when it has noted `input-wanted`. The machines are
imported when something is executed: a session is light until then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mpclab.core.errors import UsageError
from mpclab.core.ids import SECOND, Path
from mpclab.core.machine import Machine
from mpclab.core.wire import MAX_MESSAGE
from mpclab.operations.parameters import Number, Text
from mpclab.operations.spec import Execution, OperationSpec, Result


def input_path(kind: str, op: str, at: Path = ("session",)) -> Path:
    """Where the machine of a running computation is: `world.ask(actor, path, Input((5,)))`."""
    return (*at, f"{kind}-{op}")


def _compute(kind: str) -> Callable[[Execution], Machine]:
    def make(execution: Execution) -> Machine:
        from mpclab.mpc import arithmetic
        from mpclab.mpc.compute import Compute

        params, members = execution.params, execution.members
        length = params.get("length", 1)
        inputs = members
        if kind == "compare":
            inputs = (params["first"], params["second"])
            if inputs[0] == inputs[1] or not set(inputs) <= set(members):
                raise UsageError("compare: name two different members")
        places = params["decimals"]
        checked = params.get("ranges", CHECKED) == CHECKED
        circuit = arithmetic.build(kind, inputs, members, length, checked=checked)
        if (size := arithmetic.largest_message(circuit, members)) > MAX_MESSAGE:
            raise UsageError(
                f"{kind}: {len(members)} parties would send messages of {size} bytes; "
                f"{MAX_MESSAGE} are the most"
            )
        return Compute(
            circuit,
            inputs,
            members,
            check=partial(arithmetic.check_input, kind, len(inputs), length, places=places),
            places=places,
            plausible=partial(arithmetic.check_result, kind, inputs),
            given=execution.private or None,
            # A round's work grows with the square of the parties, who may share a machine.
            deadline=execution.deadline * -(-len(members) // 10),
            patience=params["wait"] * SECOND,
            present=lambda result: Result(arithmetic.words(kind, inputs, result, places)),
        )

    return make


_WAIT = Number("wait", default=60, low=1, high=3600, help="seconds to wait for the inputs")
_PLACES = Number("decimals", default=0, high=9, help="decimal places that numbers may have")
_LENGTH = Number("length", default=1, low=1, high=4096, help="numbers that each party gives")
CHECKED = "checked"
_RANGES = Text(
    "ranges",
    default=CHECKED,
    choices=(CHECKED, "unchecked"),
    help="unchecked: one may give a number that is out of range",
)

COMPUTATIONS = (
    OperationSpec(
        "sum",
        _compute("sum"),
        (_LENGTH, _PLACES, _RANGES, _WAIT),
        sentence="add up everyone's private numbers",
        shown=("ranges",),
    ),
    OperationSpec(
        "mean",
        _compute("mean"),
        (_LENGTH, _PLACES, _RANGES, _WAIT),
        sentence="find the mean of everyone's private numbers",
        shown=("ranges",),
    ),
    OperationSpec(
        "product",
        _compute("product"),
        (_LENGTH, _PLACES, _RANGES, _WAIT),
        sentence="multiply everyone's private numbers",
        shown=("ranges",),
    ),
    OperationSpec(
        "compare",
        _compute("compare"),
        (
            Number("first", low=1, help="a party"),
            Number("second", low=1, help="another"),
            _PLACES,
            _WAIT,
        ),
        sentence="compare the private numbers of parties {first} and {second}",
    ),
    OperationSpec(
        "max", _compute("max"), (_PLACES, _WAIT), sentence="find the greatest of everyone's numbers"
    ),
    OperationSpec(
        "auction",
        _compute("auction"),
        (_PLACES, _WAIT),
        sentence="a sealed-bid auction: the highest bid wins and pays the second highest",
    ),
)
