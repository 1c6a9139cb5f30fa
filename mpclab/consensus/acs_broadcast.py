"""Reliable broadcast with erasure codes (AVID), one sender's batch in one epoch.

C. Cachin and S. Tessaro, "Asynchronous verifiable information dispersal", SRDS 2005, as in Fig. 2
of the HoneyBadgerBFT paper, whose steps are quoted. Bracha's broadcast, but that nobody sends the
whole batch: n shards of it travel, any n − 2f of which give it back, each with its branch of a
Merkle tree. So a batch costs a party about three times its size, and not n times.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from mpclab.consensus.quorum import Tally
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.crypto import erasure, merkle


@lru_cache(maxsize=64)
def shards_of(
    batch: bytes, n: int, f: int
) -> tuple[bytes, tuple[bytes, ...], tuple[merkle.Branch, ...]]:
    """The root, the shards, and their branches."""
    shards = erasure.encode(batch, n - 2 * f, n)
    root, branches = merkle.tree(shards)
    return root, shards, branches


@dataclass(slots=True)
class Broadcast:
    """What we heard of one broadcast.

    Attributes:
        echoes: by root and party, the shards that came with a right branch.
        echoed: which root each party echoed.
        torn: roots whose shards are no code word: their sender lies.
        batch: delivered.
    """

    n: int
    f: int
    echoes: dict[bytes, dict[Party, bytes]] = field(default_factory=dict)
    echoed: dict[Party, bytes] = field(default_factory=dict)
    readies: Tally = field(default_factory=Tally)
    torn: set[bytes] = field(default_factory=set)
    batch: bytes | None = None

    def check(self, party: Party, root: bytes, branch: tuple[bytes, ...], shard: bytes) -> None:
        """Raise `PeerFault` unless this is the party's shard under that root."""
        if not merkle.is_leaf(root, branch, self.n, party - 1, shard):
            raise PeerFault("showed a shard that is not in the tree of its root")

    def echo(self, party: Party, root: bytes, shard: bytes) -> None:
        if self.echoed.setdefault(party, root) != root:
            raise PeerFault("echoed two roots of one broadcast")
        self.echoes.setdefault(root, {})[party] = shard

    def ready(self, party: Party, root: bytes) -> None:
        if not self.readies.add(party, root):
            raise PeerFault("was ready for two roots of one broadcast")

    def is_ready(self, root: bytes) -> bool:
        """Whether to say READY(h): "upon receiving valid ECHO messages from N − f distinct parties
        … recompute Merkle root h′ and if h′ ≠ h then abort", or "upon receiving f + 1 matching
        READY"."""
        if self.readies.count(root) > self.f:
            return True
        enough = len(self.echoes.get(root, ())) >= self.n - self.f
        return enough and self.value(root) is not None

    def deliver(self, root: bytes) -> None:
        """ "Upon receiving 2f + 1 matching READY, wait for N − 2f ECHO messages, then decode." """
        if self.batch is None and self.readies.count(root) > 2 * self.f:
            self.batch = self.value(root)

    def value(self, root: bytes) -> bytes | None:
        """The batch under a root, if enough shards of it are here and they fit together."""
        shards = {p - 1: shard for p, shard in self.echoes.get(root, {}).items()}
        k = self.n - 2 * self.f
        if len(shards) < k or root in self.torn:
            return None
        batch = erasure.decode(shards, k)
        if batch is None or shards_of(batch, self.n, self.f)[0] != root:
            self.torn.add(root)
            return None
        return batch
