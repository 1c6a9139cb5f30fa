"""A known attack on Streamlet: a script of a liar's own player. Honest parties never come here.

* `shorter-chain`: a leader extends a chain that is one block shorter than the longest it has seen,
  and its own branch whenever it leads again; it votes for that alone, and shows nobody a longer
  chain. Where the block that it leaves out was final at one party, its branch makes another one
  final. That honest parties vote on nothing but a longest chain is what stops it (§2.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpclab.consensus.agreement import Attack, Sayings
from mpclab.consensus.streamlet_messages import (
    Block,
    StreamletChain,
    StreamletPropose,
    digest_of,
)
from mpclab.core.ids import Party
from mpclab.core.wire import Message


def shorter_chain(player: Any, to: tuple[Party, ...], msg: Message) -> Sayings:
    branch: dict[int, StreamletPropose] = vars(player).setdefault("branch", {})  # ours, by epoch
    match msg:
        case StreamletChain():
            return []
        case StreamletPropose(block):
            if block.epoch not in branch and (parent := _under(player, branch, block)) is not None:
                proof = player.tree.links[parent].it.votes
                branch[block.epoch] = StreamletPropose(Block(parent, block.epoch, block.ops), proof)
            if block.epoch in branch:
                return _proposed(player, to, branch[block.epoch])
    return [(to, msg)]


def _under(player: Any, branch: Mapping[int, StreamletPropose], block: Block) -> bytes | None:
    """What to extend instead: the end of our branch, or the block before the last."""
    links = player.tree.links
    ours = [name for it in branch.values() if (name := digest_of(it.block)) in links]
    if ours:
        return ours[-1]
    last = links.get(block.parent)
    return last.block.parent if last is not None and last.block.parent in links else None


def _proposed(player: Any, to: tuple[Party, ...], proposal: StreamletPropose) -> Sayings:
    epoch, name = proposal.block.epoch, digest_of(proposal.block)
    vote = player._signed(epoch, name)
    # So that we count the votes for it, ours too.
    player.proposals[epoch] = name, proposal
    player.votes.setdefault(epoch, {})[player.leader(epoch)] = name, vote.signature
    return [(to, proposal), (to, vote)]


ATTACKS: Mapping[str, Attack] = {"shorter-chain": shorter_chain}
