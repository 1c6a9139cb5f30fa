"""The mistake: in the last round a chain may be one signature short.

"Nobody has to pass it on any more, so the receiver's own signature makes it full." But of f
signatures all may be liars': they show such a chain to one party alone, at the last moment, and
nobody else ever hears of it. The f + 1st signature is the one that shows that an honest party had
the value when there was time to tell everybody.
"""

from mpclab.consensus.dolev_strong import DolevStrong


class ShortChainDolevStrong(DolevStrong):
    """Dolev–Strong that counts the receiver among the signers."""

    title = "Dolev-Strong with short chains (wrong)"

    def rounds_of(self, signatures: int) -> int:
        return super().rounds_of(signatures + (signatures == self.f))  # wrong: one is missing
