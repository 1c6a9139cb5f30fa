"""HotStuff's tree of blocks, what of it is executed, and how missing blocks are fetched.

A block names its parent by hash, so whoever holds a certified block can take all blocks before
it from anybody, one after the other: a page is believed for its hashes, not for its sender.

Fetching costs messages linear in the blocks that are missing: one block is asked for at a time,
of the party that proved to have it, and the next only when a page brought something. When nothing
comes within a patience, all others are asked for that same block. Of old executed blocks a party
holds the views and hashes: it asks its coordinator for their values when it is asked
(`consensus.agreement.KEPT`), so that the certificate of the newest commit and the coordinator's
history are what is handed over.
"""

from array import array
from collections import deque
from collections.abc import Iterator
from typing import ClassVar

from mpclab.consensus.agreement import KEPT, Recall
from mpclab.consensus.hotstuff_messages import GENESIS, QC, ROOT, Block, HotStuffFetch, digest_of
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx

PAGE = 32
"""Blocks in one answer, at most."""
PAGE_BYTES = 128 * 1024
"""Bytes of values in one answer, at most, unless its first block alone is longer."""
_LENGTH = len(ROOT)


class OldBlocks:
    """Executed blocks before the latest, oldest first: a chain from the root.

    48 bytes each, and the names of their operations, which the backlog holds anyway. Who was away
    for as long needs all of it: a block is believed for the hashes that lead to it alone.
    """

    def __init__(self, recall: Recall) -> None:
        self._recall = recall
        self._digests = bytearray()
        self._views = array("Q")
        self._ops: list[str] = []
        self._values: dict[int, bytes] = {}  # of those that are on record otherwise, or not at all

    def add(self, digest: bytes, block: Block, *, recorded: bool) -> None:
        """The next one; `recorded`: its value is on record."""
        if (block.op or block.value) and not recorded:
            self._values[len(self._ops)] = block.value
        self._digests += digest
        self._views.append(block.view)
        self._ops.append(block.op)

    @property
    def last_view(self) -> int:
        """The view of the newest of them."""
        return self._views[-1] if self._views else 0

    def down_from(self, digest: bytes) -> Iterator[Block]:
        """The block of this hash and those before it, as far as their values are to be had."""
        for at in range(self._place(digest), -1, -1):
            op = self._ops[at]
            value = self._recall(op) if op and at not in self._values else self._values.get(at, b"")
            if value is None:
                return
            yield Block(self._views[at], self._digest(at - 1), op, value)

    def _digest(self, at: int) -> bytes:
        return bytes(self._digests[at * _LENGTH : (at + 1) * _LENGTH]) if at >= 0 else ROOT

    def _place(self, digest: bytes) -> int:
        at = self._digests.find(digest)
        while at >= 0 and at % _LENGTH:  # bytes of two neighbours
            at = self._digests.find(digest, at + 1)
        return at // _LENGTH


class BlockTree:
    """The blocks that we know, by hash.

    Attributes:
        blocks: the root, the latest executed blocks, and those that are not executed.
        tip: the last executed block.
        executed: those of `blocks` from the root to `tip`.
        recorded: those of them that a store had without a value, which is on record (`recall`).
        old: the other executed blocks.
        waiting: the other known blocks.
    """

    def __init__(self, recall: Recall = lambda op: None) -> None:
        self.recall = recall
        self._latest: deque[bytes] = deque()  # executed, the root left out
        self.recorded: set[bytes] = set()
        self.old = OldBlocks(recall)
        self.blocks: dict[bytes, Block] = {ROOT: GENESIS}
        self.tip: bytes = ROOT
        self.executed: set[bytes] = {ROOT}
        self.waiting: set[bytes] = set()

    def add(self, digest: bytes, block: Block) -> None:
        """`block` is known from now on."""
        self.blocks[digest] = block
        self.waiting.add(digest)

    def execute(self, digest: bytes) -> list[tuple[bytes, Block]]:
        """The block is executed, after its parent. The older ones whose values are left to the
        record from now on, without them: none while the record lags behind."""
        self.executed.add(digest)
        self.waiting.discard(digest)
        self._latest.append(digest)
        left = []
        while len(self._latest) > KEPT:
            old = self._latest[0]
            block = self.blocks[old]
            recorded = old in self.recorded
            if block.op and not recorded:
                if (value := self.recall(block.op)) is None:
                    break
                if recorded := value == block.value:
                    left.append((old, Block(block.view, block.parent, block.op, b"")))
            self._latest.popleft()
            self.old.add(old, block, recorded=recorded)
            self.executed.discard(old)
            self.recorded.discard(old)
            del self.blocks[old]
        return left

    def is_past(self, view: int) -> bool:
        """Whether blocks of this view are old: executed, or never to be."""
        return view <= self.old.last_view

    def whole(self, digest: bytes) -> Block | None:
        """One of `blocks` with its value."""
        block = self.blocks[digest]
        if digest not in self.recorded:
            return block
        value = self.recall(block.op)
        return None if value is None else Block(block.view, block.parent, block.op, value)

    @property
    def height(self) -> int:
        """The view of the last executed block."""
        return self.blocks[self.tip].view

    def extends(self, block: bytes, ancestor: bytes) -> bool:
        """Whether `ancestor` is on the way from `block` to the root, as far as we know it."""
        height = self.blocks[ancestor].view if ancestor in self.blocks else 0
        while block != ancestor:
            known = self.blocks.get(block)
            if known is None or known.view <= height:
                return False
            block = known.parent
        return True

    def missing(self, block: bytes) -> bytes | None:
        """The first unknown block on the way from `block` to what is executed."""
        while block not in self.executed:
            if block not in self.blocks:
                return block
            block = self.blocks[block].parent
        return None

    def branch(self, block: bytes) -> list[tuple[bytes, Block]]:
        """The known blocks from `block` down to what is executed, newest first."""
        found = []
        while block not in self.executed and block in self.blocks:
            found.append((block, self.blocks[block]))
            block = self.blocks[block].parent
        return found

    def prune(self) -> list[bytes]:
        """Forget the blocks that can never be executed any more; their hashes.

        Those are the blocks of views up to the tip's that are not on its branch. Nobody has to
        extend one: a quorum holds a certificate of the tip's view, so every leader hears of a
        later one than theirs. A lock on one gives way to such a certificate, as it did before.
        """
        height = self.height
        dead = sorted(d for d in self.waiting if self.blocks[d].view <= height)
        for digest in dead:
            del self.blocks[digest]
        self.waiting.difference_update(dead)
        return dead

    def page(self, block: bytes) -> tuple[Block, ...]:
        """`block` and its ancestors, newest first, as many as one answer takes."""
        found: list[Block] = []
        size = 0
        for whole in self._down_from(block):
            size += len(whole.value)
            if len(found) == PAGE or (found and size > PAGE_BYTES):
                break
            found.append(whole)
        return tuple(found)

    def _down_from(self, block: bytes) -> Iterator[Block]:
        while block in self.blocks and block != ROOT:
            if (whole := self.whole(block)) is None:
                return
            yield whole
            block = whole.parent
        yield from self.old.down_from(block)


class BlockFetch:
    """The missing blocks, and the parties that we asked for them.

    Attributes:
        goal: the certificate whose block we cannot use yet, since blocks before it are missing.
        source: who showed it.
        target: the one block that we asked for and do not have.
        tries: how often in a row nothing came.
        dead: blocks of views that are over, which nobody gave us; the latest.
    """

    TRIES: ClassVar = 32
    """After so many tries the next ones keep no run going."""
    OLD_TRIES: ClassVar = 3
    """Tries for a block of a view that is over: it is forgotten everywhere, unless parties lied
    more than HotStuff bears. It is asked of who shows its certificate, who has a reason to give
    it, and of nobody else; once it was not to be had it is not asked for again. So a liar that
    shows old certificates has to say more about them than we do."""
    DEAD: ClassVar = 64

    def __init__(self, tree: BlockTree, patience: int) -> None:
        self.tree = tree
        self.patience = patience
        self.goal: QC | None = None
        self.source: Party = 0
        self.target: bytes | None = None
        self.tries = 0
        self.dead: dict[bytes, None] = {}

    @property
    def urgent(self) -> bool:
        """Whether the goal may lead to what is to be executed: its view is after the tip's."""
        return self.goal is not None and self.goal.view > self.tree.height

    def want(self, ctx: Ctx, source: Party) -> None:
        """Ask `source` for the first missing block of `goal`, unless it is asked for already."""
        missing = None if self.goal is None else self.tree.missing(self.goal.block)
        if missing is None or missing == self.target:
            return
        if missing in self.dead and not self.urgent:
            self.goal = None
            return
        self.source, self.target, self.tries = source, missing, 0
        if source != ctx.me:
            ctx.send(source, HotStuffFetch(missing))
        ctx.set_timer("fetch", self.patience, background=not self.urgent)

    def again(self, ctx: Ctx) -> None:
        """Nothing came for a patience: ask all others for the same block."""
        self.target = None if self.goal is None else self.tree.missing(self.goal.block)
        if self.target is not None:
            self.tries += 1
            if not self.urgent and self.tries > self.OLD_TRIES:
                self.dead[self.target] = None
                if len(self.dead) > self.DEAD:
                    del self.dead[next(iter(self.dead))]
                self.goal = self.target = None
                return
            asked = ctx.others if self.urgent else [p for p in (self.source,) if p != ctx.me]
            ctx.multicast(asked, HotStuffFetch(self.target))
            background = self.tries > self.TRIES or not self.urgent
            ctx.set_timer("fetch", self.patience, background=background)

    def matching(self, blocks: tuple[Block, ...]) -> list[tuple[bytes, Block]]:
        """Those of a page that we asked for, with their hashes: the target, and each block that
        the one before it names as its parent."""
        found: list[tuple[bytes, Block]] = []
        wanted = self.target
        for block in blocks:
            if wanted is None or wanted in self.tree.blocks or digest_of(block) != wanted:
                break
            if self.tree.is_past(block.view):
                break  # it leads to no block that we could execute
            found.append((wanted, block))
            wanted = block.parent
        return found

    def done(self, ctx: Ctx) -> None:
        """Nothing is missing any more."""
        if self.target is not None:
            ctx.cancel_timer("fetch")
        self.goal = self.target = None
