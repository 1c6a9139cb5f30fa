"""Messages arrive, one after the other: the innermost loop of the simulated world.

It is what `Steps.take_next` does for one entry of the queue, for as long as nothing else is due and
nothing is wrong with who receives: nearly all of a run. Whatever is out of the ordinary it leaves.
`make compiled` compiles this module as it stands.
"""

from __future__ import annotations

from collections.abc import Callable

from mpclab.core.effects import Delivered, Event
from mpclab.trace.log import Trace
from mpclab.worlds.simulated.effects import Effects
from mpclab.worlds.simulated.host import Host, Hosts
from mpclab.worlds.simulated.links import Links
from mpclab.worlds.simulated.queue import Multicast, Queue


def let_arrive(
    queue: Queue,
    hosts: Hosts,
    links: Links,
    trace: Trace,
    effects: Effects,
    contained: Callable[[Host, Event], None],
    end: int | None,
    watched: bool,
) -> bool:
    """Let messages arrive until `end` (None: until only background is left).

    Args:
        contained: called where a message made a node fail.
        watched: stop where something changed that a run may wait for, or nothing is left to
            happen but what goes on behind it.

    Returns:
        Whether any message arrived.
    """
    heap, known, carries, cells = queue.heap, hosts.data, links.carries, trace.cells
    hears = None if type(trace).delivered is Trace.delivered else trace.delivered
    arrived = False
    while type(entry := heap.item) is Multicast:
        multicast, time = entry, heap.time
        if multicast.corrupt or (queue.foreground <= 0 if end is None else time > end):
            break
        index = multicast.index
        actor = multicast.to[index]
        host = known.get(actor)
        if host is None or host.odd or (node := host.node) is None:
            break
        in_flight = multicast.in_flight
        if node.routes is not None or in_flight.connection:
            if not carries(host, in_flight):
                break
        arrived = True
        multicast.index = index = index + 1
        if index < len(multicast.to):
            heap.again(multicast.times[index])
        else:
            heap.pop()
            if not multicast.background:
                queue.foreground -= 1
        queue.taken += 1
        queue.now = time
        queue.background = multicast.background
        frame = in_flight.frame
        if hears is None:
            cells.add(time, actor, in_flight.source, frame.id)
        else:  # this trace does something of its own with them
            hears(time, actor, in_flight.source, frame.id)
        done = node.take(in_flight.sender, frame, time)
        if node.contained:
            contained(host, Delivered(in_flight.sender, frame))
        if done:
            effects.perform(host, done)
        if watched and (queue.changed or queue.foreground <= 0):
            break
    return arrived
