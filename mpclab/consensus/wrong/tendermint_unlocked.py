"""The mistake: a party prevotes for whatever valid block is proposed, whatever it is locked on.

"A prevote binds nobody, only precommits decide" sounds enough. But q precommits may have reached
one party alone, which decided. The next proposer, who heard too few prevotes to know of the block,
proposes another in good faith; only those who are locked can keep it from being decided too. No
liar is needed, nor a crash: a few late messages are.
"""

from mpclab.consensus.tendermint import Tendermint


class UnlockedTendermint(Tendermint):
    """Tendermint without the lock of lines 23 and 29."""

    title = "Tendermint that does not mind its lock (wrong)"

    def may_prevote(self, name: bytes, valid_round: int) -> bool:
        return True  # wrong: lockedRound ≤ vr ∨ lockedValue = v
