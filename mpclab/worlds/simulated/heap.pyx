"""`heap.py` in C: see there."""

from libc.stdlib cimport free, realloc


cdef inline bint _before(Entry* a, Entry* b) noexcept:
    return a.time < b.time or (a.time == b.time and a.number < b.number)


cdef class Heap:
    def __cinit__(self):
        self._entries = NULL
        self._size = self._room = 0
        self._items = []
        self._free = []

    def __init__(self, entries=()):
        for time, number, item in entries:
            self.push(time, number, item)

    def __dealloc__(self):
        free(self._entries)

    def __reduce__(self):
        # Equal entries in any order make heaps that behave alike.
        return Heap, (), self.entries()

    def __setstate__(self, entries):
        for time, number, item in entries:
            self.push(time, number, item)

    def __len__(self):
        return self._size

    cdef _look(self):
        if self._size:
            self.time = self._entries[0].time
            self.number = self._entries[0].number
            self.item = self._items[self._entries[0].place]
        else:
            self.time = self.number = 0
            self.item = None

    cpdef push(self, long long time, long long number, item):
        cdef Entry entry
        cdef Entry* grown
        cdef Py_ssize_t at, parent
        if self._size == self._room:
            grown = <Entry*> realloc(self._entries, (2 * self._room + 16) * sizeof(Entry))
            if grown is NULL:
                raise MemoryError
            self._entries, self._room = grown, 2 * self._room + 16
        entry.time, entry.number = time, number
        if self._free:
            entry.place = self._free.pop()
            self._items[entry.place] = item
        else:
            entry.place = len(self._items)
            self._items.append(item)
        at = self._size
        self._size += 1
        while at:
            parent = (at - 1) >> 1
            if not _before(&entry, &self._entries[parent]):
                break
            self._entries[at] = self._entries[parent]
            at = parent
        self._entries[at] = entry
        self._look()

    cdef void _sink(self, Entry entry) noexcept:
        """Put `entry` in the place of the first, and let it sink to where it belongs."""
        cdef Py_ssize_t at = 0, child
        cdef Entry* entries = self._entries
        while True:
            child = 2 * at + 1
            if child >= self._size:
                break
            if child + 1 < self._size and _before(&entries[child + 1], &entries[child]):
                child += 1
            if not _before(&entries[child], &entry):
                break
            entries[at] = entries[child]
            at = child
        entries[at] = entry

    cpdef pop(self):
        cdef Py_ssize_t place
        if not self._size:
            raise IndexError("pop from an empty heap")
        place = self._entries[0].place
        self._items[place] = None
        self._free.append(place)
        self._size -= 1
        if self._size:
            self._sink(self._entries[self._size])
        self._look()

    cpdef again(self, long long time):
        cdef Entry entry
        if not self._size:
            raise IndexError("an empty heap has no first entry")
        entry = self._entries[0]
        entry.time = time
        self._sink(entry)
        self._look()

    def entries(self):
        return [
            (self._entries[at].time, self._entries[at].number, self._items[self._entries[at].place])
            for at in range(self._size)
        ]
