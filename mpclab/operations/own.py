"""`@computation`: a function of secret numbers, in a cell or a module, that can be proposed.

    from mpclab import computation

    @computation(low=0, high=1_000_000)
    def above_the_mean(salaries):
        mean = sum(salaries) / len(salaries)
        return sum(salary > mean for salary in salaries)

    lab.propose(by=1, kind="above-the-mean")

What such a function may do with secret numbers stands in `mpc.program`. All parties must have the
same one: a digest of its source, of its bounds, and of the numbers, texts and functions that it
uses from around it is a parameter, signed with the proposal, and whoever has another function of
that name rejects, however it votes. Of a class or a module that it uses the source is compared, as
a whole, and not what that uses in turn; of what Python and mpclab bring along, the name.
"""

from __future__ import annotations

import dis
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
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
DIGITS = 40
"""Of the digest that says what a function means: two with the same one are not to be had."""


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
    """A function's source; of one that has none, typed into an interpreter, what it does."""
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return "".join(
            repr((code.co_code, code.co_names, code.co_varnames, _constants(code)))
            for code in _codes(function.__code__)
        )


def meaning_of(function: Written, source: str, *fixed: object) -> str:
    """A digest of a function's source, of what is `fixed` beside it, and of the numbers, texts and
    functions that it uses from around it: 40 hexadecimal digits.

    Raises:
        UsageError: it uses something that two parties could not compare.
    """
    parts, seen, waiting = [source, repr(fixed)], {function}, [function]
    while waiting:
        user = waiting.pop()
        parts += [f"{name} = {_plain(name, value)}" for name, value in _defaults(user)]
        for name, value in sorted(_used(user).items()):
            if isinstance(value, FunctionType) and not _is_of_mpclab(value):
                if value not in seen:
                    seen.add(value)
                    waiting.append(value)
                    parts.append(f"{name}: {source_of(value)}")
            elif isinstance(value, type) and "<locals>" not in value.__qualname__:
                parts.append(f"{name}: {value.__module__}.{value.__qualname__}"
                             f"{_written(value, value.__module__)}")  # fmt: skip
            elif isinstance(value, ModuleType):
                parts.append(f"{name}: {value.__name__}{_written(value, value.__name__)}")
            elif isinstance(value, BuiltinFunctionType | FunctionType):
                parts.append(f"{name}: {value.__module__}.{value.__qualname__}")
            else:
                parts.append(f"{name} = {_plain(name, value)}")
    return digest("mpclab computation", tuple(part.encode() for part in parts)).hex()[:DIGITS]


def _is_of_mpclab(value: object) -> bool:
    return str(getattr(value, "__module__", "")).split(".")[0] == "mpclab"


def _written(value: type | ModuleType, module: str) -> str:
    """The source of a class or a module of the user's own."""
    if module.split(".")[0] in {*sys.stdlib_module_names, "mpclab"} - {"__main__"}:
        return ""
    try:
        return ": " + inspect.getsource(value)
    except (OSError, TypeError) as error:
        what = "module" if isinstance(value, ModuleType) else "class"
        raise UsageError(
            f"{value.__name__}: a {what} without a source is not compared between parties"
        ) from error


def _defaults(function: Written) -> list[tuple[str, object]]:
    """What a parameter is when nobody gives it: its source names it, and does not say its value."""
    named = inspect.signature(function).parameters.values()
    return [(p.name, p.default) for p in named if p.default is not p.empty]


def _plain(name: str, value: object) -> str:
    """A number, a text, or what is made of these, as a text that is the same at all parties."""
    if isinstance(value, float):
        value = float(value)  # NumPy's is one, and is written otherwise by each of its versions
    if isinstance(value, list | tuple):
        return f"({', '.join(_plain(name, each) for each in value)})"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(_plain(name, each) for each in value))}}}"
    if isinstance(value, dict):
        pairs = (f"{_plain(name, key)}: {_plain(name, each)}" for key, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    if value is None or isinstance(value, int | float | str | bytes | Decimal | range):
        return repr(value)
    if isinstance(value, FunctionType | BuiltinFunctionType | type) and (
        _is_of_mpclab(value) or value.__module__ == "builtins"
    ):
        return f"{value.__module__}.{value.__qualname__}"
    raise UsageError(
        f"{name} is {type(value).__name__}, which two parties cannot compare: use numbers, texts, "
        f"lists of them, or functions"
    )


def _codes(code: CodeType) -> list[CodeType]:
    """A function's code and that of all that is written in it."""
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return [code, *(each for one in inner for each in _codes(one))]


def _constants(code: CodeType) -> list[object]:
    return [const for const in code.co_consts if not isinstance(const, CodeType)]


def _used(function: Written) -> dict[str, object]:
    """What a function uses from around it, by name, as it is now."""
    names = {
        step.argval
        for code in _codes(function.__code__)
        for step in dis.get_instructions(code)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    found = {name: function.__globals__[name] for name in names if name in function.__globals__}
    imported = (
        step.argval
        for code in _codes(function.__code__)
        for step in dis.get_instructions(code)
        if step.opname == "IMPORT_NAME"
    )
    found |= {f"import {name}": sys.modules[name] for name in imported if name in sys.modules}
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        try:
            found[name] = cell.cell_contents
        except ValueError:  # it has no value yet
            continue
    return found


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
        UsageError: the function does with secret numbers what cannot be done, tried with three; or
            uses something that parties cannot compare.
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
    source = source_of(function)
    said = sentence or (inspect.getdoc(function) or "").partition("\n")[0].rstrip(".") or kind

    def ours() -> str:
        bounds = (str(low), str(high))
        return meaning_of(function, source, numbers, decimals, *bounds)

    ours()  # said here, not where it is voted on

    def complete(params: Mapping[str, Any], known: Known) -> Mapping[str, Any]:
        return {**params, "function": ours()}

    def same(params: Mapping[str, Any], known: Known) -> _Same:
        try:
            return _Same(kind, ours(), params["function"])
        except UsageError as error:  # something that it uses was changed since
            return _Same(kind, f"unknown: {error}", params["function"])

    def make(execution: Execution) -> Machine:
        return machine_of(execution, function, numbers, decimals, low, high)

    OPERATIONS.register(
        OperationSpec(
            kind,
            make,
            (
                Text(
                    "function", default="", empty=True, longest=DIGITS, help="filled in: a digest"
                ),
                *COMMON,
            ),
            sentence=said.replace("{", "{{").replace("}", "}}"),
            shown=(*SHOWN, "function"),
            complete=complete,
            rules=same,
            facts=facts_of,
        )
    )
    return function
