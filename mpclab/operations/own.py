"""`@computation`: a function of secret numbers, in a cell or a module, that can be proposed.

    from mpclab import computation

    @computation(low=0, high=1_000_000)
    def above_the_mean(salaries):
        mean = sum(salaries) / len(salaries)
        return sum(salary > mean for salary in salaries)

    lab.propose(by=1, kind="above-the-mean")

What such a function may do with secret numbers stands in `mpc.program`. All parties must have the
same one: a digest of its source is a parameter, signed with the proposal, and whoever has another
function of that name rejects, however it votes.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, overload

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.core.machine import Machine
from mpclab.crypto.transcript import digest
from mpclab.operations.computations import COMMON, SHOWN
from mpclab.operations.parameters import Text
from mpclab.operations.registry import OPERATIONS
from mpclab.operations.spec import Execution, Known, OperationSpec
from mpclab.operations.written import Plain, Written, facts_of, machine_of

F = TypeVar("F", bound=Written)


@dataclass(frozen=True, slots=True)
class _Same:
    """A rule: the proposer means the function that we have."""

    kind: str
    ours: str
    theirs: str

    def forbid(self, kind: str, by: Party, params: Mapping[str, Any]) -> str | None:
        if self.ours == self.theirs:
            return None
        return f"party {by} means another function by {self.kind!r} than there is here"

    def lack(self, approving: Iterable[Party]) -> str | None:
        return None


def source_of(function: Written) -> str:
    """A digest of a function's source, 16 hexadecimal digits."""
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):  # typed into an interpreter
        text = repr((function.__code__.co_code, function.__code__.co_consts))
    return digest("mpclab computation", text.encode()).hex()[:16]


@overload
def computation(function: F) -> F: ...
@overload
def computation(
    *,
    name: str = ...,
    sentence: str = ...,
    numbers: int = ...,
    decimals: int = ...,
    low: Plain = ...,
    high: Plain = ...,
) -> Callable[[F], F]: ...
def computation(
    function: Written | None = None,
    *,
    name: str = "",
    sentence: str = "",
    numbers: int = 1,
    decimals: int = 0,
    low: Plain = -(2**30),
    high: Plain = 2**30,
) -> Any:
    """Make a function of everybody's secret numbers an operation that can be proposed.

    Args:
        name: the operation's; by default the function's, with dashes.
        sentence: for those who vote; by default the first line of what the function says of itself.
        numbers: how many each party gives. `decimals`: places that they may have.
        low, high: the bounds of each; who gives another number ends it.

    Raises:
        UsageError: the function does with secret numbers what cannot be done; tried with three.
    """
    if function is None:
        return partial(
            computation, name=name, sentence=sentence, numbers=numbers, decimals=decimals,
            low=low, high=high,
        )  # fmt: skip
    from mpclab.mpc.program import compiled

    try:
        compiled(function, (1, 2, 3), numbers=numbers, places=decimals, low=low, high=high)
    except UsageError as error:
        if not isinstance(error.__cause__, LookupError):  # it may be for more than three
            raise
    kind = name or function.__name__.replace("_", "-").lower()
    ours = source_of(function)
    said = sentence or (inspect.getdoc(function) or "").partition("\n")[0].rstrip(".") or kind

    def complete(params: Mapping[str, Any], known: Known) -> Mapping[str, Any]:
        return {**params, "function": ours}

    def make(execution: Execution) -> Machine:
        return machine_of(execution, function, numbers, decimals, low, high)

    OPERATIONS.register(
        OperationSpec(
            kind,
            make,
            (
                Text("function", default="", empty=True, longest=16, help="filled in: a digest"),
                *COMMON,
            ),
            sentence=said.replace("{", "{{").replace("}", "}}"),
            shown=(*SHOWN, "function"),
            complete=complete,
            rules=lambda params, known: _Same(kind, ours, params["function"]),
            facts=facts_of,
        )
    )
    return function
