cdef packed struct Cell:
    long long at
    int actor
    int sender
    unsigned int id

cdef class Cells:
    cdef readonly object keep
    cdef Cell* _cells
    cdef Py_ssize_t _size, _room, _limit, _gone
    cdef dict _large

    cpdef add(self, long long at, int actor, int sender, id)
    cdef _forget(self)
    cdef _reserve(self, Py_ssize_t room)
