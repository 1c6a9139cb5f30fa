"""Pictures of a trace: each a pure function that returns the matplotlib axes it drew on.

`ax=None` makes a figure of a fitting size that pyplot does not know (`result.figure`; a
notebook shows it as it is). Nothing is shown, and no global setting changes.
"""

from mpclab.plots.dag import dag
from mpclab.plots.outcomes import outcomes
from mpclab.plots.spacetime import spacetime
from mpclab.plots.timeline import timeline
from mpclab.plots.topology import layout, topology

__all__ = ["dag", "layout", "outcomes", "spacetime", "timeline", "topology"]
