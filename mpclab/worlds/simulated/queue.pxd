from mpclab.core.wire cimport Frame
from mpclab.worlds.simulated.heap cimport Heap

cdef class InFlight:
    cdef public object source, sender, connection
    cdef public Frame frame
    cdef public bint background

cdef class Multicast:
    cdef public InFlight in_flight
    cdef public list to, times
    cdef public Py_ssize_t index
    cdef public bint background, corrupt

cdef class Queue:
    cdef public long long now
    cdef public bint background, changed
    cdef public long long foreground, taken, _number
    cdef public Heap heap
    cdef public dict _timers
    cpdef push(self, time, item)
