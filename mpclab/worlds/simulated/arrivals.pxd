cimport cython
from mpclab.core.handling cimport Handling
from mpclab.core.wire cimport Frame
from mpclab.trace.cells cimport Cells
from mpclab.worlds.simulated.effects cimport Effects
from mpclab.worlds.simulated.heap cimport Heap
from mpclab.worlds.simulated.host cimport Host
from mpclab.worlds.simulated.queue cimport InFlight, Multicast, Queue

@cython.locals(
    heap=Heap, known=dict, cells=Cells, arrived=bint, multicast=Multicast, time="long long",
    host=Host, node=Handling, index=Py_ssize_t, frame=Frame, in_flight=InFlight, done=list)
cpdef bint let_arrive(
    Queue queue, hosts, links, trace, Effects effects, contained, end, bint watched) except *
