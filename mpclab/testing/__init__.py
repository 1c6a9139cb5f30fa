"""Building blocks for the tests of a protocol, mpclab's own and yours.

`conformance(MyProtocol)` is a whole suite in one line; `mutants(MyProtocol)` are its small
mistakes, and `kill` says whether the suite sees one. `Alone` is one machine to which a test says
everything, `Cluster` runs agreement machines on the simulated network, `Sessions` whole
coordinators; `trial`, `contest` and `storm` are random runs, and `twins_of` makes a Byzantine party
of two honest ones.
"""

from mpclab.testing.alone import Alone
from mpclab.testing.cluster import Cluster
from mpclab.testing.conformance import Conformance, conformance
from mpclab.testing.gauntlet import gauntlet
from mpclab.testing.kill import kill
from mpclab.testing.mutants import Mutant, mutants
from mpclab.testing.plans import plan_of
from mpclab.testing.sessions import Sessions
from mpclab.testing.storms import Storm, first_failure, shrunk, storm
from mpclab.testing.sweep import contest, trial
from mpclab.testing.twins import twins_of

__all__ = [
    "Alone",
    "Cluster",
    "Conformance",
    "Mutant",
    "Sessions",
    "Storm",
    "conformance",
    "contest",
    "first_failure",
    "gauntlet",
    "kill",
    "mutants",
    "plan_of",
    "shrunk",
    "storm",
    "trial",
    "twins_of",
]
