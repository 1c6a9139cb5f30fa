"""Streamlet's notarised blocks: the longest chain of them, and the part of it that is final.

Only blocks whose ancestors are all notarised and here are in the tree, so that each leaf ends a
notarised chain. Of what is not final, no more is kept than can still become so.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpclab.consensus.agreement import Recall
from mpclab.consensus.streamlet_final import FinalChain, OldBlock
from mpclab.consensus.streamlet_messages import GENESIS, ROOT, Block, Notarised

PAGE = 16
"""Blocks in one answer, at most."""
PAGE_BYTES = 128 * 1024
"""Bytes of values in one answer, at most, unless its first block alone is longer."""


@dataclass(frozen=True, slots=True)
class Link:
    """A notarised block and its height, which is its parent's plus one."""

    it: Notarised
    height: int

    @property
    def block(self) -> Block:
        return self.it.block


class NotarisedTree:
    """The notarised blocks by hash.

    Attributes:
        links: the latest final blocks, and those that may become final.
        final: the final chain.
        proof: the hash of the block that made the last final one final. It may be on no longest
            chain.
        waiting: the hashes of the other blocks, parents before their children.
        longest: the hash of the last block of a longest notarised chain.
    """

    def __init__(self, recall: Recall = lambda op: None) -> None:
        self.links: dict[bytes, Link] = {ROOT: Link(Notarised(GENESIS, ()), 0)}
        self.final = FinalChain(recall)
        self.proof: bytes = ROOT
        self.waiting: dict[bytes, None] = {}
        self.longest: bytes = ROOT

    @property
    def tip(self) -> bytes:
        """The last final block."""
        return self.final.name(self.height)

    @property
    def height(self) -> int:
        """Of the last final block."""
        return self.final.height

    def epoch(self, block: bytes) -> int:
        return self.links[block].block.epoch

    def is_longest(self, block: bytes) -> bool:
        """Whether it is the end of one of the longest notarised chains."""
        return self.links[block].height == self.links[self.longest].height

    def add(self, block: bytes, it: Notarised) -> bool:
        """A notarised block; False when its parent is not here, or it can never become final."""
        parent = self.links.get(it.block.parent)
        if parent is None or block in self.links or parent.height < self.height:
            return False
        self.links[block] = Link(it, parent.height + 1)
        self.waiting[block] = None
        if parent.height + 1 > self.links[self.longest].height:
            self.longest = block
        return True

    def finalised_by(self, block: bytes) -> bytes | None:
        """What is final since `block` is notarised: with two blocks before it of the two epochs
        before its own, all up to its parent (§2.1: three adjacent blocks with consecutive epoch
        numbers)."""
        third = self.links[block].block
        second = self.links[third.parent].block
        if second == GENESIS or self.links[third.parent].height <= self.height:
            return None
        first = self.links[second.parent].block
        return third.parent if self.are_in_a_row(first, second, third) else None

    def are_in_a_row(self, first: Block, second: Block, third: Block) -> bool:
        """Whether adjacent blocks have consecutive epochs."""
        return third.epoch == second.epoch + 1 == first.epoch + 2

    def branch(self, block: bytes) -> list[tuple[bytes, Notarised]]:
        """The blocks from the last final one, exclusive, to `block`."""
        found = []
        while (link := self.links[block]).height > self.height:
            found.append((block, link.it))
            block = link.block.parent
        return found[::-1]

    def finalise(self, branch: list[tuple[bytes, Notarised]], proof: bytes) -> list[bytes]:
        """These are final, in order, by `proof`; the hashes of the blocks that can never become
        it, since they do not extend the last of them."""
        self.proof = proof
        for block, it in branch:
            self.final.add(block, it)
            del self.waiting[block]
        alive = {self.tip}
        dead = []
        for block in list(self.waiting):
            if self.links[block].block.parent in alive:
                alive.add(block)
            else:
                dead.append(block)
                del self.waiting[block], self.links[block]
        if self.longest not in self.links:
            self.longest = max(alive, key=lambda block: (self.links[block].height, block))
        return dead

    def resume(self) -> None:
        """Go on from the last block that was put into `final`."""
        self.links = {self.tip: Link(self.final.at(self.height), self.height)}
        self.longest = self.proof = self.tip

    def leave_old(self) -> list[tuple[int, bytes, Notarised | OldBlock]]:
        """Leave the values of old final blocks to the record; the heights and hashes of these, and
        what is kept of each."""
        begun = self.final.old
        left = [(at, self.final.name(at), kept) for at, kept in self.final.leave_old()]
        for at in range(begun - 1, self.final.old - 1):
            self.links.pop(self.final.name(at), None)
        return left

    def _is_final(self, block: bytes) -> bool:
        height = self.links[block].height
        return height <= self.height and self.final.name(height) == block

    def after(self, block: bytes, height: int) -> tuple[Notarised, ...]:
        """A page of our longest chain, and what proves the final part of it, for a party of which
        `height` blocks are final: what comes after `block`, or after these where `block` is not on
        the chain."""
        branch = [it for _, it in self.branch(self.longest)]
        begin = min(height, self.height)
        if block in self.links:
            at = self.links[block].height
            if self._is_final(block) or (self.height < at and self._is_on_longest(block)):
                begin = at
        found: list[Notarised] = []
        size = 0
        for at in range(begin + 1, self.height + len(branch) + 1):
            final = at <= self.height
            it = self.final.at(at) if final else branch[at - self.height - 1]
            size += sum(len(one.value) for one in it.block.ops)
            if found and (size > PAGE_BYTES or len(found) == PAGE):
                break
            found.append(it)
        if height < self.height <= begin + len(found):
            found.append(self.links[self.proof].it)
        return tuple(found)

    def _is_on_longest(self, block: bytes) -> bool:
        return any(name == block for name, _ in self.branch(self.longest))
