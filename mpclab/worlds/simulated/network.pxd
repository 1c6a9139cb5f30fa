cimport cython
from mpclab.worlds.simulated.queue cimport InFlight, Multicast, Queue

cdef class Stream:
    cdef public object state, profile
    cdef public Py_ssize_t count, first, ahead
    cdef public tuple to
    cdef public list delays, lost
    cpdef draw(self, profile, tuple to, Py_ssize_t most)

cdef class SimulatedNetwork:
    cdef public object profile
    cdef object _seed, _link_rules, _trace
    cdef Queue _queue
    cdef dict _last, _busy, _counts, _streams
    cdef object _drawn, _most

    @cython.locals(stream=Stream)
    cpdef send(self, InFlight in_flight, tuple to)
    @cython.locals(times=list, receivers=list, order=list)
    cdef _few(self, InFlight in_flight, Stream stream, tuple to)
