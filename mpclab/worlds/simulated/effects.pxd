cimport cython
from mpclab.core.wire cimport Frame
from mpclab.worlds.simulated.host cimport Host
from mpclab.worlds.simulated.network cimport SimulatedNetwork
from mpclab.worlds.simulated.queue cimport Queue

cdef class Effects:
    cdef public object seed, trace
    cdef object _hosts, _links, _lifecycle, _adversaries
    cdef Queue _queue
    cdef SimulatedNetwork _network

    cpdef perform(self, Host host, list effects)
    cdef _do_all(self, Host host, list effects)
    @cython.locals(frame=Frame, to=tuple, reachable=tuple)
    cdef _send(self, Host host, effect)
