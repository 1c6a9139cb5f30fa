"""The mistake: an anchor with f + 1 votes is ordered with its history at once, and the anchors
before it are not looked for.

Its history is the same everywhere, so the order of that seems safe. But somebody has seen f + 1
votes for an earlier anchor, and has ordered the history of that one first.
"""

from mpclab.consensus.bullshark import Bullshark
from mpclab.consensus.bullshark_dag import Dag
from mpclab.consensus.bullshark_messages import Place


class _NoWayBack(Dag):
    def anchors(self) -> list[Place]:
        return super().anchors()[-1:]  # wrong: those before it come first


class NoWayBackBullshark(Bullshark):
    """Bullshark without orderAnchors."""

    title = "Bullshark that does not walk back (wrong)"
    dags = _NoWayBack
