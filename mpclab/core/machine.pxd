cdef class Ctx:
    cdef public object _node, _seat_codec, _decode, _within, _rng
    cdef public object me, n, path
    cdef public tuple members, others
    cdef _emit(self, tuple to, msg)
