"""The mistake: three notarised blocks in a row make the second final, whatever their epochs are.

In an epoch between two of them another block may have been notarised at the height of the second,
unseen by most. Both chains are then equally long, everybody may extend either, and each grows to
three blocks in a row. No such epoch is left where the three have consecutive ones.
"""

from mpclab.consensus.streamlet import Streamlet
from mpclab.consensus.streamlet_chain import NotarisedTree
from mpclab.consensus.streamlet_messages import Block


class _AnyEpochs(NotarisedTree):
    def are_in_a_row(self, first: Block, second: Block, third: Block) -> bool:
        return True  # wrong: their epochs must be consecutive


class AnyEpochsStreamlet(Streamlet):
    """Streamlet without "consecutive"."""

    title = "Streamlet with gaps in what is final (wrong)"
    trees = _AnyEpochs
