cimport cython
from mpclab.core.wire cimport Frame

cdef class Seat:
    cdef public object ctx, decode, machine, on_message

cdef class Handling:
    cdef public object me, n, coins, now, next_id, tamper, overhear
    cdef public object _carrier, _pieces, _fifo, _teller
    cdef public Frame _cause
    cdef public bint suspect, _asked
    cdef public tuple members, others
    cdef public list out, contained
    cdef public dict stored, timers, routes, heard, _seats

    @cython.locals(seat=Seat, out=list)
    cdef list take(self, sender, Frame frame, now)
    @cython.locals(out=list, mark=Py_ssize_t, queued=Py_ssize_t)
    cdef _receive(self, Seat seat, sender, Frame frame)
    @cython.locals(out=list)
    cdef _absorb(self, Py_ssize_t mark)
    @cython.locals(seat=Seat)
    cpdef _drain(self)
