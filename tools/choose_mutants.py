"""Choose mistakes that the suite of a protocol sees quickly: `tests/testing/mutants.json`.

python -m tools.choose_mutants raft pbft      # some protocols; none: all
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

from mpclab.consensus.registry import AGREEMENTS
from mpclab.testing import conformance, kill, mutants
from mpclab.testing.house import HOUSE

CHOSEN = Path(__file__).parents[1] / "tests" / "testing" / "mutants.json"
WANTED = 13
OF_ONE_KIND = 5


def choose(name: str) -> list[str]:
    """The keys of some mutants of a protocol that are seen within half a second."""
    every = list(mutants(AGREEMENTS[name]))
    random.Random(5).shuffle(every)
    chosen: list[str] = []
    kinds: Counter[str] = Counter()
    for mutant in every:
        if len(chosen) == WANTED:
            break
        if kinds[mutant.kind] == OF_ONE_KIND or mutant.key in chosen:
            continue
        begun = time.process_time()
        seen = kill(conformance(mutant.build(), **HOUSE[name]), budget=0.6)
        if seen and time.process_time() - begun < 0.5:
            chosen.append(mutant.key)
            kinds[mutant.kind] += 1
    return chosen


def main() -> None:
    found = json.loads(CHOSEN.read_text()) if CHOSEN.exists() else {}
    for name in sys.argv[1:] or HOUSE:
        found[name] = choose(name)
        print(f"{name}: {len(found[name])}", flush=True)
        CHOSEN.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
