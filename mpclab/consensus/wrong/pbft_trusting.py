"""The mistake: a NEW-VIEW is believed for its primary's signature; what it shows is not checked.

"Its primary has verified the VIEW-CHANGEs" sounds enough. But a primary that lies cuts out what
others had prepared, begins with an empty log, and gives places away that somebody decided.
"""

from mpclab.consensus.pbft import Pbft
from mpclab.consensus.pbft_messages import PbftViewChange
from mpclab.consensus.pbft_views import View


class TrustingView(View):
    """A view that begins as its primary says."""

    def is_said(self, change: PbftViewChange) -> bool:
        return True  # wrong: §4.4, a backup verifies the VIEW-CHANGEs


class TrustingPbft(Pbft):
    """PBFT that trusts the primary of a new view."""

    title = "PBFT that trusts a new view's primary (wrong)"
    view_type = TrustingView
