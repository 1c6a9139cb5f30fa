"""Mutants: a protocol with one small mistake each, to ask of its tests whether they would see it.

R. DeMillo, R. Lipton and F. Sayward, "Hints on test data selection", IEEE Computer 11(4), 1978.
The mistakes are those that agreement protocols are made of:

    quorum      a quorum one larger or smaller; ⌊n/2⌋ + 1 becomes ⌊n/2⌋
    compare     `<` for `<=`
    equal       `==` for `!=`, `in` for `not in`, `is` for `is not`
    guard       a test that leaves a handler early is gone
    half        one half of an `and` or `or` is gone
    persist     something is not stored
    order       something is sent before what justifies it is stored
    timer       a timer is not set
    notes       no notes at all

    for mutant in mutants(Raft):
        print(mutant, killed(mutant.build()))

A protocol's class and the classes it is made of may lie in several modules; a mutant is a fresh
copy of all those that follow from the mutated one. Nothing of it is left when it is forgotten.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mpclab.consensus.agreement import Agreement

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
QUORUMS = ("quorum", "enough", "majority", "needed", "threshold", "faulty")
"""In whose names a number of parties hides."""
SENDING = ("send", "multicast", "broadcast", "output")


@dataclass(frozen=True)
class Mutant:
    """One mistake, and where.

    Attributes:
        modules: the modules that are copied, in the order in which they import each other; the
            first is the mutated one.
        place: the number of the mistake among those of its kind in the module.
    """

    protocol: type[Agreement]
    modules: tuple[str, ...]
    kind: str
    place: int
    line: int
    what: str

    def __str__(self) -> str:
        home = self.modules[0].rpartition(".")[2]
        return f"{home}:{self.line} {self.kind}: {self.what}"

    @property
    def key(self) -> str:
        """A name that outlives edits elsewhere in the file: no line number in it."""
        home = self.modules[0].rpartition(".")[2]
        return f"{home} {self.kind}: {self.what}"

    def build(self) -> type[Agreement]:
        """The protocol with this mistake in it."""
        first = self.modules[0]
        tree = _parse(first)
        maker = _Mistakes(tree)
        maker.make(self.kind, self.place)
        fresh = _copies(self.modules, {first: tree})
        made: type[Agreement] = getattr(fresh[self.protocol.__module__], self.protocol.__name__)
        return made


def mutants(
    protocol: type[Agreement], modules: Sequence[str] | None = None, *, kinds: Sequence[str] = ()
) -> Iterator[Mutant]:
    """Every mutant of a protocol, those of one module after another.

    Args:
        protocol: a class in a module.
        modules: where its logic is, in the order in which they import each other, its own last; by
            default its own module and those beside it that it imports and that hold classes of
            more than messages.
        kinds: only these kinds of mistakes; all when empty.
    """
    names = tuple(modules) if modules is not None else modules_of(protocol)
    for number, name in enumerate(names):
        after = _followers(names[number:])
        tree = _parse(name)
        used = _used(tree, name, names[number + 1 :])
        for kind, place, line, what in _Mistakes(tree).found():
            if (not kinds or kind in kinds) and (used is None or _within(tree, line) in used):
                yield Mutant(protocol, after, kind, place, line, what)


def modules_of(protocol: type[Agreement]) -> tuple[str, ...]:
    """The modules of the package of `protocol` that its logic is in, its own last."""
    home = protocol.__module__
    package = home.rpartition(".")[0]
    shared = {f"{package}.{name}" for name in ("agreement", "options", "registry", "policy")}
    found: list[str] = []

    def visit(name: str) -> None:
        if name in found or name in shared:
            return
        for imported in _imports(_parse(name), package):
            visit(imported)
        found.append(name)

    visit(home)
    return tuple(name for name in found if not name.endswith(("_messages", "_attacks")))


def _imports(tree: ast.Module, package: str) -> list[str]:
    """The modules of `package` that a module imports from."""
    return [
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module is not None
        and package
        and node.module.startswith(f"{package}.")
    ]


def _followers(names: Sequence[str]) -> tuple[str, ...]:
    """The first of `names` and those after it that import it, or one that does."""
    chosen = [names[0]]
    for name in names[1:]:
        source = _parse(name)
        package = name.rpartition(".")[0]
        if set(_imports(source, package)) & set(chosen) or name == names[-1]:
            chosen.append(name)
    return tuple(chosen)


def _used(tree: ast.Module, name: str, importers: Sequence[str]) -> set[str] | None:
    """What of a module those that import it use, and what that needs; None: it is the last, all."""
    if not importers:
        return None
    used = {
        alias.name
        for importer in importers
        for node in ast.walk(_parse(importer))
        if isinstance(node, ast.ImportFrom) and node.module == name
        for alias in node.names
    }
    defined = {node.name: node for node in tree.body if isinstance(node, _DEFINITIONS)}
    todo = list(used)
    while todo:
        node = defined.get(todo.pop())
        for inner in ast.walk(node) if node is not None else ():
            if isinstance(inner, ast.Name) and inner.id in defined and inner.id not in used:
                used.add(inner.id)
                todo.append(inner.id)
    return used


def _within(tree: ast.Module, line: int) -> str:
    """The name of the class or function at the top of the module that a line is in."""
    for node in tree.body:
        if isinstance(node, _DEFINITIONS) and node.lineno <= line <= (node.end_lineno or line):
            return node.name
    return ""


_DEFINITIONS = (ast.ClassDef, ast.FunctionDef)


def _parse(name: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(name)))


_copied = 0


def _copies(names: Sequence[str], trees: dict[str, ast.Module]) -> dict[str, types.ModuleType]:
    """Fresh modules, which import each other and otherwise what their originals import."""
    global _copied
    _copied += 1
    originals = {name: sys.modules[name] for name in names}
    fresh: dict[str, types.ModuleType] = {}
    try:
        for name in names:
            module = types.ModuleType(f"{name}#{_copied}")
            module.__package__ = originals[name].__package__
            module.__file__ = originals[name].__file__
            tree = ast.fix_missing_locations(trees.get(name) or _parse(name))
            code = compile(tree, module.__file__ or name, "exec")
            sys.modules[module.__name__] = module  # where annotations are looked up
            exec(code, module.__dict__)
            sys.modules[name] = fresh[name] = module
    finally:
        sys.modules.update(originals)
    return fresh


# --- finding and making mistakes ----------------------------------------------------------------


class _Mistakes:
    """All mistakes that can be made in one module; `make` makes one of them."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.places: dict[str, list[tuple[int, str, Any]]] = {}
        self._storing = _storing_methods(tree)
        for cls in ast.walk(tree):
            if isinstance(cls, ast.ClassDef) and not _is_message(cls):
                for method in cls.body:
                    if isinstance(method, ast.FunctionDef) and not _is_told_only(method):
                        self._visit(method, method.name)
        for function in tree.body:
            if isinstance(function, ast.FunctionDef):
                self._visit(function, function.name)
        self._notes()

    def found(self) -> Iterator[tuple[str, int, int, str]]:
        for kind, places in self.places.items():
            for place, (line, what, _) in enumerate(places):
                yield kind, place, line, what

    def make(self, kind: str, place: int) -> None:
        self.places[kind][place][2]()

    def _add(self, kind: str, node: ast.AST, what: str, action: Any) -> None:
        self.places.setdefault(kind, []).append((getattr(node, "lineno", 0), what, action))

    def _visit(self, function: ast.FunctionDef, name: str) -> None:
        for node in ast.walk(function):
            match node:
                case ast.Compare(ops=[op], comparators=[right]):
                    self._compare(node, op, right, name)
                case ast.BinOp(left=ast.BinOp(op=ast.FloorDiv()), op=ast.Add(),
                               right=ast.Constant(value=1)):  # fmt: skip
                    self._add("quorum", node, f"{name}: {_text(node)} without + 1",
                              lambda node=node: setattr(node.right, "value", 0))  # fmt: skip
                case ast.Return(value=ast.expr() as value) if _counts(function.name):
                    for by in (1, -1):
                        self._add("quorum", node, f"{name}: {_text(value)} {by:+d}",
                                  lambda node=node, by=by: setattr(
                                      node, "value", _plus(node.value, by)))  # fmt: skip
                case ast.BoolOp(values=values):
                    for k in range(len(values)):
                        if any(isinstance(sub, ast.NamedExpr) for sub in ast.walk(values[k])):
                            continue  # it names what is used later
                        self._add("half", node, f"{name}: without {_text(values[k])}",
                                  lambda node=node, k=k: _drop(node.values, k))  # fmt: skip
            for body in _bodies(node):
                self._statements(body, name)

    def _compare(self, node: ast.Compare, op: ast.cmpop, right: ast.expr, name: str) -> None:
        text = _text(node)
        if _is_count(node.left) or _is_count(right):
            for by in (1, -1):
                self._add(
                    "quorum", node, f"{name}: {text} {by:+d}", lambda by=by: _add_to(node, by)
                )
        other = COMPARISONS[type(op)]
        kind = "compare" if isinstance(op, ORDERS) else "equal"
        self._add(kind, node, f"{name}: {text}", lambda: setattr(node, "ops", [other()]))

    def _statements(self, body: list[ast.stmt], name: str) -> None:
        for k, statement in enumerate(body):
            match statement:
                case ast.If(orelse=[]) if _leaves(statement) and not _binds(statement.test):
                    self._add("guard", statement, f"{name}: no if {_text(statement.test)}",
                              lambda body=body, s=statement: _replace(body, s))  # fmt: skip
                case ast.Expr(value=ast.Call() as call):
                    called = _called(call)
                    if called == "persist" or called in self._storing:
                        self._add("persist", statement, f"{name}: no {_text(call)}",
                                  lambda body=body, s=statement: _replace(body, s))  # fmt: skip
                        self._swap(body, k, statement, name)
                    elif called == "set_timer":
                        self._add("timer", statement, f"{name}: no {_text(call)}",
                                  lambda body=body, s=statement: _replace(body, s))  # fmt: skip

    def _swap(self, body: list[ast.stmt], k: int, statement: ast.stmt, name: str) -> None:
        """`statement` stores; does something after it in the same block send?"""
        for later in body[k + 1 :]:
            sends = [
                c for c in ast.walk(later) if isinstance(c, ast.Call) and _called(c) in SENDING
            ]
            if sends:
                self._add(
                    "order",
                    statement,
                    f"{name}: {_text(later)} before {_text(statement)}",
                    lambda later=later: _move(body, statement, later),
                )
                return

    def _notes(self) -> None:
        found = [
            (body, s)
            for node in ast.walk(self.tree)
            for body in _bodies(node)
            for s in body
            if isinstance(s, ast.Expr) and isinstance(s.value, ast.Call)
            and _called(s.value) == "note"
        ]  # fmt: skip
        if found:
            self._add("notes", found[0][1], "none at all",
                      lambda: _replace_all(found))  # fmt: skip


def _storing_methods(tree: ast.Module) -> set[str]:
    """The methods that store: their names say so, or they do little else."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            calls = [_called(c) for c in ast.walk(node) if isinstance(c, ast.Call)]
            if "persist" in calls and not set(calls) & {*SENDING, "set_timer", "note"}:
                names.add(node.name)
    return names


def _is_message(cls: ast.ClassDef) -> bool:
    bases = {
        base.id if isinstance(base, ast.Name) else getattr(base, "attr", "") for base in cls.bases
    }
    return bool(bases & {"Message", "Struct", "Options", "NamedTuple"})


def _is_told_only(method: ast.FunctionDef) -> bool:
    """Whether it serves adversaries, menus or readers, and no run of honest parties."""
    return method.name in (
        "variant",
        "settings",
        "resigned",
        "check_size",
        "liars",
        "__repr__",
        "__str__",
    )


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def _counts(name: str) -> bool:
    return any(word in name.lower() for word in QUORUMS)


def _is_count(node: ast.expr) -> bool:
    """Whether an expression is a number of parties: `self.quorum`, `quorum(n)`, `2 * f + 1`."""
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return _counts(name)
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
            return _counts(name)
        case ast.BinOp(left=left, right=right):
            return _is_count(left) or _is_count(right)
    return False


def _text(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else text[:57] + "…"


def _plus(value: ast.expr, by: int) -> ast.BinOp:
    sign = ast.Add() if by > 0 else ast.Sub()
    return ast.BinOp(left=value, op=sign, right=ast.Constant(value=abs(by)))


def _add_to(node: ast.Compare, by: int) -> None:
    if _is_count(node.comparators[0]):
        node.comparators = [_plus(node.comparators[0], by)]
    else:
        node.left = _plus(node.left, by)


def _drop(values: list[ast.expr], k: int) -> None:
    del values[k]
    if len(values) == 1:  # `and` of one is that one
        values.append(copy.deepcopy(values[0]))


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        body = getattr(node, name, None)
        if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
            yield body


def _leaves(statement: ast.If) -> bool:
    """Whether the block only leaves: returns, raises or goes on to the next round of a loop."""
    return (
        isinstance(statement.body[-1], ast.Return | ast.Raise | ast.Continue)
        and len(statement.body) <= 2
    )


def _binds(test: ast.expr) -> bool:
    return any(isinstance(node, ast.NamedExpr) for node in ast.walk(test))


def _replace(body: list[ast.stmt], statement: ast.stmt) -> None:
    body[body.index(statement)] = ast.Pass()


def _replace_all(found: Sequence[tuple[list[ast.stmt], ast.stmt]]) -> None:
    for body, statement in found:
        _replace(body, statement)


def _move(body: list[ast.stmt], statement: ast.stmt, after: ast.stmt) -> None:
    body.remove(statement)
    body.insert(body.index(after) + 1, statement)
