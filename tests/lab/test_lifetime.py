"""A lab that ends, or that nobody holds any more, leaves nothing behind."""

from __future__ import annotations

import gc
import socket
import threading

import pytest

from mpclab.core import UsageError
from mpclab.lab import Lab


def threads() -> set[str]:
    return {t.name for t in threading.enumerate() if t.name.startswith("mpclab")}


def test_a_cell_that_makes_a_lab_can_be_run_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    before = threads()
    for _ in range(3):
        lab = Lab(world="websocket", parties=2)
        lab.start_server(port)
        lab.spawn()
        lab.join()
    assert len(threads() - before) == 1
    del lab
    gc.collect()
    assert threads() == before


def test_the_slots_of_a_closed_lab_are_free() -> None:
    with Lab(world="websocket", parties=2) as home:
        url = home.start_server(0).url
        for k in range(2):
            with Lab(world="websocket", url=url, parties=2, session="cell") as lab:
                lab.spawn()
                lab.join()
                lab.propose(by=1, kind="note", text=f"run {k}")
                assert lab.run()[0].status == "committed"


def test_a_lab_that_is_paced_and_dropped_stands_still() -> None:
    before = threads()
    lab = Lab(parties=2)
    lab.pace(1.0)
    assert threads() - before
    del lab
    gc.collect()
    assert threads() == before


def test_closing_twice_is_fine_and_nothing_is_made_of_what_is_refused() -> None:
    before = threads()
    lab = Lab(world="websocket", parties=2)
    lab.close()
    lab.close()
    assert lab.closed
    with pytest.raises(UsageError):
        Lab(world="websocket", parties=2, store="/dev/null/x")
    with pytest.raises(UsageError, match="the websocket world has no option 'colour'"):
        Lab(world="websocket", parties=2, options={"colour": 3})
    with pytest.raises(UsageError, match="channels are ChannelSettings, not 3"):
        Lab(world="webrtc", parties=2, options={"channels": 3})
    gc.collect()
    assert threads() == before
