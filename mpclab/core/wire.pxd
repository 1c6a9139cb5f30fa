cdef class Frame:
    cdef public object id, path, kind, msg, opened_by
    cdef public bint background, suspect
    cdef object _body, _codec
    cpdef object open(self, decode)
