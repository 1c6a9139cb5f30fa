"""`cells.py` in C: see there."""

from libc.limits cimport UINT_MAX
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

SIZE = sizeof(Cell)
cdef Py_ssize_t _MOST = (<Py_ssize_t> 1) << 62


cdef class Cells:
    def __cinit__(self, keep=None):
        self._cells = NULL

    def __init__(self, keep=None):
        self.keep = keep
        self._size = self._room = self._gone = 0
        self._limit = _MOST if keep is None else 2 * keep or 4096
        self._large = {}

    def __dealloc__(self):
        free(self._cells)

    def __reduce__(self):
        kept = (<char*> self._cells)[: self._size * sizeof(Cell)] if self._size else b""
        return Cells, (self.keep,), (self._gone, kept, dict(self._large))

    def __setstate__(self, state):
        cdef bytes kept
        self._gone, kept, self._large = state
        if kept:
            self._reserve(len(kept) // sizeof(Cell))
            memcpy(self._cells, <char*> kept, len(kept))
            self._size = len(kept) // sizeof(Cell)

    cdef _reserve(self, Py_ssize_t room):
        cdef Cell* grown = <Cell*> realloc(self._cells, room * sizeof(Cell))
        if grown is NULL:
            raise MemoryError
        self._cells, self._room = grown, room

    cpdef add(self, long long at, int actor, int sender, id):
        cdef Cell* cell
        if self._size == self._room:
            self._reserve(self._room + (self._room >> 3) + 64)
        cell = &self._cells[self._size]
        cell.at, cell.actor, cell.sender = at, actor, sender
        if 0 <= id < UINT_MAX:
            cell.id = id
        else:
            cell.id = UINT_MAX
            self._large[self._gone + self._size] = id
        self._size += 1
        if self._size > self._limit:
            self._forget()

    cdef _forget(self):
        cdef Py_ssize_t cut = self._size - (self.keep or 1)
        memmove(self._cells, self._cells + cut, (self._size - cut) * sizeof(Cell))
        self._size -= cut
        self._gone += cut
        self._large = {number: id for number, id in self._large.items() if number >= self._gone}

    def __len__(self):
        return self._gone + self._size

    @property
    def bytes(self):
        return self._room * sizeof(Cell)

    @property
    def end(self):
        return self._cells[self._size - 1].at if self._size else 0

    def read(self, first, last):
        # Copied at once: to make tuples may run the collector, and with it other threads, by
        # whose appending cells are moved and forgotten.
        cdef Py_ssize_t begin = max(first, self.gone), end = min(last, self._gone + self._size)
        cdef Py_ssize_t number
        cdef dict large = self._large
        cdef bytes copied
        cdef Cell* cells
        cdef Cell cell
        some = []
        if begin >= end:
            return iter(some)
        number = begin - self._gone
        copied = (<char*> &self._cells[number])[: (end - begin) * sizeof(Cell)]
        cells = <Cell*> <char*> copied
        for number in range(begin, end):
            cell = cells[number - begin]
            id = cell.id if cell.id != UINT_MAX else large[number]
            some.append((cell.at, cell.actor, cell.sender, id))
        return iter(some)

    @property
    def gone(self):
        return self._gone + (self._size if self.keep == 0 else 0)
