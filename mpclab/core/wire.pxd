cdef class Frame:
    cdef public object id, path, kind, msg, opened_by
    cdef public bint background, suspect
    cdef readonly object codec
    cdef object _body
    cpdef object open(self, decode)
