"""Arithmetic on private inputs, of which only the result is opened.

A private input never travels in a proposal: each party's user gives it by asking the machine, at
`input_path(kind, op)`, with `Input(values)`, when it has noted `input-wanted`. The machines are
imported when something is executed: a session is light until then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from mpclab.core import numbers
from mpclab.core.errors import UsageError
from mpclab.core.ids import SECOND, Party, Path
from mpclab.core.machine import Machine
from mpclab.core.wire import MAX_MESSAGE
from mpclab.operations.members import members_of
from mpclab.operations.parameters import Number, Numbers, Text
from mpclab.operations.spec import Execution, OperationSpec, Result

if TYPE_CHECKING:
    from mpclab.mpc.circuit import Circuit
    from mpclab.mpc.computation import Computation


def input_path(kind: str, op: str, at: Path = ("session",)) -> Path:
    """Where the machine of a running computation is: `world.ask(actor, path, Input((5,)))`."""
    return (*at, f"{kind}-{op}")


def _build(execution: Execution, kind: str, inputs: tuple[Party, ...]) -> Circuit:
    from mpclab.mpc import arithmetic

    params = execution.params
    checked = params.get("ranges", CHECKED) == CHECKED
    members = members_of(execution, "members")
    return arithmetic.build(kind, inputs, members, params.get("length", 1), checked=checked)


def _compute(kind: str) -> Callable[[Execution], Machine]:
    def make(execution: Execution) -> Machine:
        from mpclab.mpc import arithmetic

        params, members = execution.params, members_of(execution, "members")
        inputs, length, places = members, params.get("length", 1), params["decimals"]
        if kind == "compare":
            inputs = (params["first"], params["second"])
            if inputs[0] == inputs[1] or not set(inputs) <= set(members):
                raise UsageError("compare: name two different members")
        return computing(
            execution,
            _build(execution, kind, inputs),
            inputs,
            check=partial(arithmetic.check_input, kind, len(inputs), length, places=places),
            places=places,
            plausible=partial(arithmetic.check_result, kind, inputs),
            present=lambda result: Result(arithmetic.words(kind, inputs, result, places)),
        )

    return make


def computing(
    execution: Execution,
    circuit: Circuit,
    inputs: tuple[Party, ...],
    *,
    check: Callable[[tuple[numbers.Number, ...]], None],
    places: int,
    plausible: Callable[[list[int]], None],
    present: Callable[[list[int]], Result],
) -> Machine:
    """The machine that evaluates a circuit, as the parameters `members`, `security` and `wait`
    want it.

    Raises:
        UsageError: somebody would have to send too much at once.
    """
    from mpclab.mpc.compute import Compute
    from mpclab.mpc.identifiable import Identifiable
    from mpclab.mpc.verified import verified

    params, members = execution.params, members_of(execution, "members")
    security = params["security"]
    make: Callable[..., Computation] = Compute
    if security == "malicious":
        circuit = verified(circuit)
    elif security == "identifiable":
        make = partial(
            Identifiable,
            context=execution.context,
            identity=execution.identity,
            keys=execution.keys,
        )
    machine = make(
        circuit,
        inputs,
        members,
        check=check,
        places=places,
        plausible=plausible,
        given=execution.private or None,
        # A round's work grows with the square of the parties, who may share a machine.
        deadline=execution.deadline * -(-len(members) // 10),
        patience=params["wait"] * SECOND,
        present=present,
    )
    if (size := machine.largest_message()) > MAX_MESSAGE:
        raise UsageError(
            f"{execution.proposal.kind}: {len(members)} parties would send messages of {size} "
            f"bytes; {MAX_MESSAGE} are the most"
        )
    return machine


_WAIT = Number("wait", default=60, low=1, high=3600, help="seconds to wait for the inputs")
_MEMBERS = Numbers("members", default=(), low=1, help="who computes; none named: all")
_SECURITY = Text(
    "security",
    default="semi-honest",
    choices=("semi-honest", "malicious", "identifiable"),
    help="malicious: who deviates ends it, and cannot change the result unseen; identifiable: and "
    "is named, if fewer than a third do",
)
COMMON = (_MEMBERS, _SECURITY, _WAIT)
SHOWN = ("members", "security", "ranges")
PLACES = Number("decimals", default=0, high=9, help="decimal places that numbers may have")
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
        (_LENGTH, PLACES, _RANGES, *COMMON),
        sentence="add up everyone's private numbers",
        shown=SHOWN,
    ),
    OperationSpec(
        "mean",
        _compute("mean"),
        (_LENGTH, PLACES, _RANGES, *COMMON),
        sentence="find the mean of everyone's private numbers",
        shown=SHOWN,
    ),
    OperationSpec(
        "product",
        _compute("product"),
        (_LENGTH, PLACES, _RANGES, *COMMON),
        sentence="multiply everyone's private numbers",
        shown=SHOWN,
    ),
    OperationSpec(
        "compare",
        _compute("compare"),
        (
            Number("first", low=1, help="a party"),
            Number("second", low=1, help="another"),
            PLACES,
            *COMMON,
        ),
        sentence="compare the private numbers of parties {first} and {second}",
        shown=SHOWN,
    ),
    OperationSpec(
        "max",
        _compute("max"),
        (PLACES, *COMMON),
        sentence="find the greatest of everyone's numbers",
        shown=SHOWN,
    ),
    OperationSpec(
        "auction",
        _compute("auction"),
        (PLACES, *COMMON),
        sentence="a sealed-bid auction: the highest bid wins and pays the second highest",
        shown=SHOWN,
    ),
)

BY_KIND = {spec.name: spec for spec in COMPUTATIONS}
