"""The mistake: a new primary takes the longest log, whatever view it is of.

"The longest log has everything" sounds enough. But a primary that was cut off writes on in its old
view, and nobody answers; meanwhile the others change the view and commit other commands. When it is
back and the view changes again, its log is the longest, and what was committed is lost. §4.2 takes
the log of the latest *normal* view, and the longest only of those.
"""

from mpclab.consensus.vr import ViewstampedReplication
from mpclab.consensus.vr_messages import VrDoViewChange


class LongestLogVr(ViewstampedReplication):
    """Viewstamped Replication that prefers length to views."""

    title = "Viewstamped Replication that takes the longest log (wrong)"

    def rank(self, report: VrDoViewChange) -> tuple[int, int]:
        return report.number, report.normal  # wrong: the last normal view comes first
