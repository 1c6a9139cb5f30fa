"""How the house's own protocols take `Conformance`: what each promises, and is built with."""

from typing import Any, Final

TOLD: Final[dict[str, tuple[str, ...]]] = {
    "2pc": ("phase prepare", "phase commit"),
    "3pc": ("phase prepare", "phase pre-commit"),
    "raft": ("phase candidate", "became-leader"),
    "paxos": ("phase prepare", "became-leader", "entered-view"),
    "vr": ("entered-view", "became-leader"),
    "pbft": ("entered-view", "became-leader", "phase prepared"),
    "hotstuff": ("entered-view", "became-leader", "phase pre-commit"),
    "chained-hotstuff": ("entered-view", "became-leader"),
    "hotstuff-2": ("entered-view", "became-leader"),
    "tendermint": ("phase propose", "phase precommit"),
    "streamlet": ("entered-view", "became-leader"),
    "acs": ("phase batch", "phase subset"),
    "dolev-strong": ("phase broadcast", "phase relay"),
    "bullshark": ("entered-view", "became-leader"),
    "bracha": ("phase init", "phase ready"),
    "ben-or": ("phase report", "phase decide"),
}
"""What a quiet run of each tells of its steps."""
_BUILT: Final[dict[str, dict[str, Any]]] = {
    "2pc": {"progress": False},
    "3pc": {"progress": False},
    "raft": {"patience": 1_000_000, "compaction": 4},
    "dolev-strong": {"waits": False, "delta": 300_000},
    "bracha": {"chooses": False},
}
HOUSE: Final[dict[str, dict[str, Any]]] = {
    name: {"tells": told, **_BUILT.get(name, {})} for name, told in TOLD.items()
}
"""Not `direct`, which agrees on nothing. Reliable broadcast (`bracha`) decides no two of rival
values, and may decide none. `dolev-strong` takes silence for an answer."""
