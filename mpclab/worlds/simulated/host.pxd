from mpclab.core.handling cimport Handling

cdef class Host:
    cdef public object actor, base, build, paused, skew, busy, step
    cdef public Handling node
    cdef public dict stored
    cdef public bint torn, odd
    cdef public object frames, incarnation, drawn
