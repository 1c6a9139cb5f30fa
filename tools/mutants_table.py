"""docs/mutants.md: small mistakes in each protocol, and which of them its suite does not see.

python -m tools.mutants_table raft pbft      # measures some protocols; none: all

makes every mistake of some kinds (`mpclab.testing.mutants`), lets the suite of the protocol look
for it for a few seconds, and writes what it did not see to `tests/testing/survivors.json`, where
each is to have a reason. `make docs-tables` prints the document from that file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mpclab.consensus.registry import AGREEMENTS
from mpclab.testing import conformance, kill, mutants
from mpclab.testing.house import HOUSE
from tools.own_tests import seen

SURVIVORS = Path(__file__).parents[1] / "tests" / "testing" / "survivors.json"
KINDS = ("quorum", "persist", "order", "timer", "notes")
MORE = ("compare", "guard")
FURTHER = ("pbft", "raft", "hotstuff-2", "tendermint", "streamlet")
"""Those of which mistakes of the kinds `MORE` are made too."""
BUDGET = 1.5
"""Seconds of the processor beyond which a mistake counts as not seen."""


def survivors() -> dict[str, dict[str, Any]]:
    """By protocol: how many mistakes were `made` and `seen`, and those `left` with reasons."""
    return json.loads(SURVIVORS.read_text()) if SURVIVORS.exists() else {}


def kinds_of(name: str) -> tuple[str, ...]:
    """The kinds of mistakes that are made in a protocol."""
    return (*KINDS, *MORE) if name in FURTHER else KINDS


def measure(name: str, known: dict[str, Any]) -> dict[str, Any]:
    made, by_suite, own, left = 0, 0, 0, {}
    for mutant in mutants(AGREEMENTS[name], kinds=kinds_of(name)):
        made += 1
        if kill(conformance(mutant.build(), **HOUSE[name]), budget=BUDGET):
            by_suite += 1
        elif seen(name, mutant):
            own += 1
        else:
            left[mutant.key] = known.get("left", {}).get(mutant.key, "")
            print(f"{name}: {mutant} survives", flush=True)
    return {"made": made, "seen": by_suite, "own": own, "left": left}


def table() -> str:
    """docs/mutants.md."""
    found = survivors()
    lines = [
        "# Mistakes, and whether they are seen",
        "",
        "Printed by `tools/mutants_table.py` from `tests/testing/survivors.json`, which it",
        "measures; a test compares it. In a copy of each protocol one thing is wrong: a quorum is",
        "one larger or smaller, something is not stored, or sent before it is stored, a timer is",
        "not set, or nothing is noted; in "
        + ", ".join(f"`{name}`" for name in FURTHER)
        + " also: `<` is `<=`, or",
        "a test that leaves a handler early is gone.",
        "The protocol's suite (`mpclab.testing.conformance`, with",
        f"storms) looks for it for {BUDGET} seconds of the processor; where it finds nothing, the",
        "tests of that protocol alone are run with the mistake in it (`tools/own_tests.py`), for",
        "those measured last. Ten of each protocol's",
        'mistakes are made again by every `make test`; `make soak ARGS="--mutants NAME"` makes',
        "also those of the other kinds (`==` for `!=`, one half of an `and`).",
        "",
        "| protocol | mistakes | seen by the suite | by its own tests | not seen, see below |",
        "|---|---|---|---|---|",
    ]
    for name, one in found.items():
        made, suite, own = one["made"], one["seen"], one.get("own", 0)
        lines.append(f"| `{name}` | {made} | {suite} | {own or '–'} | {made - suite - own} |")
    lines += ["", "## Not seen, and why", ""]
    unmeasured = [name for name in HOUSE if name not in found]
    if unmeasured:
        which = ", ".join(f"`{name}`" for name in unmeasured)
        lines.insert(lines.index("## Not seen, and why") - 1, f"\nNot measured yet: {which}.")
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, one in found.items():
        for key, reason in one["left"].items():
            reasons.setdefault((key, reason), []).append(name)
    lines += ["| mistake | in | why |", "|---|---|---|"]
    for (key, reason), names in sorted(reasons.items()):
        where = ", ".join(f"`{name}`" for name in names)
        lines.append(f"| `{key.replace('|', '∣')}` | {where} | {reason} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    found = survivors()
    for name in sys.argv[1:] or HOUSE:
        found[name] = measure(name, found.get(name, {}))
        SURVIVORS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
