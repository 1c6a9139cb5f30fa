"""All that a protocol of one's own has to say to be tested as thoroughly as the house's."""

from paxos_lab import Synod

from mpclab.testing import conformance

TestSynod = conformance(Synod)
