cdef struct Entry:
    long long time
    long long number
    Py_ssize_t place  # of the item in `_items`

cdef class Heap:
    cdef readonly long long time
    cdef readonly long long number
    cdef readonly object item
    cdef Entry* _entries
    cdef Py_ssize_t _size, _room
    cdef list _items  # where the garbage collector sees them
    cdef list _free

    cdef _look(self)
    cdef void _sink(self, Entry entry) noexcept
    cpdef push(self, long long time, long long number, item)
    cpdef pop(self)
    cpdef again(self, long long time)
