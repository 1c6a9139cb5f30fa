"""What the tests of a protocol are made of, for mpclab's own and for yours.

`Cluster` runs agreement machines on the simulated network, `Sessions` whole coordinators; `trial`
is one random run of a log protocol, `storm` a rougher and quicker one, and `twins_of` a Byzantine
party made of two honest ones.
"""

from mpclab.testing.cluster import Cluster
from mpclab.testing.sessions import Sessions
from mpclab.testing.storms import first_failure, storm
from mpclab.testing.sweep import trial
from mpclab.testing.twins import twins_of

__all__ = ["Cluster", "Sessions", "first_failure", "storm", "trial", "twins_of"]
