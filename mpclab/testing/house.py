"""How the house's own protocols take `Conformance`: what each promises, and is built with."""

from typing import Any, Final

HOUSE: Final[dict[str, dict[str, Any]]] = {
    "2pc": {"progress": False},
    "3pc": {"progress": False, "punctual": True},
    "raft": {"patience": 1_000_000, "compaction": 4},
    "pbft": {},
    "hotstuff": {},
    "chained-hotstuff": {},
    "hotstuff-2": {},
    "tendermint": {},
    "bracha": {"chooses": False},
    "ben-or": {},
}
"""Not `direct`, which agrees on nothing. Reliable broadcast (`bracha`) decides no two of rival
values, and may decide none. Three-phase commit assumes that there are no partitions."""
