"""Three import-linter contracts that read like the design: arrows between rooms, no circle inside
one, and who may use a library.

import-linter's own `layers` contract orders packages in a line; ours form a graph (`worlds` may
import `faults` but not `signaling`, though both stand below `lab`). So `ArrowsContract` takes the
arrows themselves. It looks at direct imports and allows all that can be reached along the arrows:
when every direct import keeps to that, every indirect one does.

A contract's fields are declared as descriptions and read as plain values, hence their `Any`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

_ARROW = re.compile(r"(?P<left>\w+) ->(?P<right>( \w+,?)*)")


class ArrowsContract(Contract):
    """`left -> right, right`: the parts of `package` that each part may import.

    A part is a direct child of `package`, or `package` itself under its own name. A part that no
    arrow names breaks the contract; an arrow for a part that does not exist does not.
    """

    package: Any = fields.StringField()
    arrows: Any = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        allowed = closure(parse_arrows(self.arrows))
        inside = [m for m in graph.modules if self._part(m)]
        unnamed = sorted({self._part(m) for m in inside} - allowed.keys())
        forbidden = []
        for importer in sorted(inside):
            left = self._part(importer)
            for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                right = self._part(imported)
                if right and right != left and right not in allowed.get(left, set()):
                    forbidden += import_lines(graph, importer, imported)
        return ContractCheck(
            kept=not unnamed and not forbidden,
            metadata={"unnamed": unnamed, "forbidden": forbidden},
        )

    def render_broken_contract(self, check: ContractCheck) -> None:
        for part in check.metadata["unnamed"]:
            output.print_error(f"{part}: no arrow names it; say in pyproject.toml what it imports")
        for line in check.metadata["forbidden"]:
            output.print_error(f"against the arrows: {line}")

    def _part(self, module: str) -> str:
        """The part that `module` belongs to, "" when it is not ours."""
        if module == self.package:
            return str(self.package)
        head, _, rest = module.partition(".")
        return rest.split(".")[0] if head == self.package else ""


class OnlyInContract(Contract):
    """`externals` are imported directly by nothing outside `modules` and what lies in them."""

    externals: Any = fields.ListField(subfield=fields.StringField())
    modules: Any = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        forbidden = []
        for external in sorted(set(self.externals) & graph.modules):
            for importer in sorted(graph.find_modules_that_directly_import(external)):
                if not any(f"{importer}.".startswith(f"{home}.") for home in self.modules):
                    forbidden += import_lines(graph, importer, external)
        return ContractCheck(kept=not forbidden, metadata={"forbidden": forbidden})

    def render_broken_contract(self, check: ContractCheck) -> None:
        homes = ", ".join(self.modules)
        for line in check.metadata["forbidden"]:
            output.print_error(f"only {homes} may: {line}")


class NoCirclesContract(Contract):
    """No module of `package` imports itself by way of others, imports for types alone included.

    `known` names the circles that are still to be cut, one a line: "lab.group, lab.lab". A circle
    may shrink, and must leave the list when it is gone.
    """

    package: Any = fields.StringField()
    known: Any = fields.ListField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        prefix = f"{self.package}."
        edges = {
            module: {
                target
                for target in graph.find_modules_directly_imported_by(module)
                if target == self.package or target.startswith(prefix)
            }
            for module in graph.modules
            if module == self.package or module.startswith(prefix)
        }
        known = [{prefix + name for name in line.split(", ")} for line in self.known or ()]
        found = circles(edges)
        forbidden = [
            [
                line
                for importer in sorted(circle)
                for imported in sorted(edges[importer] & circle)
                for line in import_lines(graph, importer, imported)
            ]
            for circle in found
            if not any(circle <= allowed for allowed in known)
        ]
        cut = [
            ", ".join(sorted(name.removeprefix(prefix) for name in allowed))
            for allowed in known
            if not any(circle <= allowed for circle in found)
        ]
        return ContractCheck(
            kept=not forbidden and not cut, metadata={"forbidden": forbidden, "cut": cut}
        )

    def render_broken_contract(self, check: ContractCheck) -> None:
        for lines in check.metadata["forbidden"]:
            output.print_error("a circle:")
            for line in lines:
                output.print_error(f"    {line}")
        for names in check.metadata["cut"]:
            output.print_error(f"this circle has been cut; take it from the list: {names}")


def circles(edges: Mapping[str, set[str]]) -> list[set[str]]:
    """The largest sets of nodes each of which reaches all others: Tarjan (1972), unrolled."""
    found: list[set[str]] = []
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    for root in sorted(edges):
        if root in number:
            continue
        path: list[tuple[str, Iterator[str]]] = []
        entering: str | None = root
        while entering is not None or path:
            if entering is not None:
                number[entering] = lowest[entering] = len(number)
                stack.append(entering)
                on_stack.add(entering)
                path.append((entering, iter(sorted(edges[entering]))))
            node, targets = path[-1]
            entering = None
            for target in targets:
                if target not in number:
                    entering = target
                    break
                if target in on_stack:
                    lowest[node] = min(lowest[node], number[target])
            if entering is not None:
                continue
            path.pop()
            if path:
                lowest[path[-1][0]] = min(lowest[path[-1][0]], lowest[node])
            if lowest[node] == number[node]:
                circle: set[str] = set()
                while node not in circle:
                    circle.add(stack.pop())
                on_stack -= circle
                if len(circle) > 1:
                    found.append(circle)
    return found


def parse_arrows(lines: list[str]) -> dict[str, set[str]]:
    """`["a -> b, c"]` as `{"a": {"b", "c"}}`.

    Raises:
        ValueError: a line is not an arrow, a part has two, or an arrow leads to a part without one.
    """
    arrows: dict[str, set[str]] = {}
    for line in lines:
        match = _ARROW.fullmatch(line)
        if match is None:
            raise ValueError(f"not an arrow: {line!r}; write 'left -> right, right'")
        if match["left"] in arrows:
            raise ValueError(f"two arrows for {match['left']!r}")
        arrows[match["left"]] = set(re.findall(r"\w+", match["right"]))
    if unknown := set().union(*arrows.values()) - arrows.keys():
        raise ValueError(f"arrows lead to {sorted(unknown)}, which have none of their own")
    return arrows


def closure(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """All that each part reaches along `arrows`, itself left out unless it lies on a ring."""
    reached: dict[str, set[str]] = {}
    for start, firsts in arrows.items():
        seen: set[str] = set()
        todo = list(firsts)
        while todo:
            part = todo.pop()
            if part not in seen:
                seen.add(part)
                todo += arrows[part]
        reached[start] = seen
    return reached


def import_lines(graph: ImportGraph, importer: str, imported: str) -> list[str]:
    """Where `importer` imports `imported`, as lines that a person can go to."""
    details = graph.get_import_details(importer=importer, imported=imported)
    return [f"{importer}:{d['line_number']}: {d['line_contents']}" for d in details]
