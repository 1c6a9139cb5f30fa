"""Labs that nobody holds let go; forked children hold nothing; an interrupted close goes on."""

import gc
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpclab import Lab, UsageError
from mpclab.lab import lab as lab_module
from mpclab.worlds.real import kept
from mpclab.worlds.real.websocket import WebSocketWorld


@pytest.fixture
def port() -> Iterator[int]:
    """One that was free a moment ago."""
    with Lab(world="websocket", parties=2) as lab:
        lab.start_server(0)
        port = int(lab.world.server_url.rpartition(":")[2])
    yield port
    kept.let_go()


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("mpclab")]


def test_the_same_cell_can_be_run_again(port: int) -> None:
    for _ in range(3):
        lab = Lab(world="websocket", parties=2)
        lab.start_server(port)
        lab.spawn()
        lab.join()
    forgotten = weakref.ref(lab)
    del lab
    kept.let_go()
    assert forgotten() is None
    assert threads() == []


def test_a_lab_that_somebody_holds_is_named_as_the_one_that_has_the_port(port: int) -> None:
    with Lab(world="websocket", parties=2) as first, Lab(world="webrtc", parties=2) as second:
        first.start_server(port)
        with pytest.raises(UsageError, match=r"Another lab of this Python process has it: close"):
            second.start_server(port)
        first.close()
        second.start_server(port)


def test_a_constructor_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise UsageError("no")

    before = threads()
    monkeypatch.setattr(lab_module, "Group", fails)
    with pytest.raises(UsageError, match=r"^no$"):
        Lab(world="websocket", parties=2)
    gc.collect()
    kept.let_go()
    assert threads() == before


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_holds_no_port_and_no_connection(port: int) -> None:
    with Lab(world="webrtc", parties=2) as lab:
        lab.start_server(port)
        lab.spawn()
        lab.join()
        read, write = os.pipe()
        child = os.fork()
        if child == 0:  # lives until we let it
            try:
                lab.close()
                os.read(read, 1)
            finally:
                os._exit(0)
        try:
            lab.stop_server()
            lab.start_server(port)
            lab.join()
        finally:
            os.write(write, b".")
            _, status = os.waitpid(child, 0)
            os.close(read)
            os.close(write)
        assert status == 0


def test_a_close_that_was_interrupted_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world = WebSocketWorld()
    thread = world.thread._thread

    def interrupted(timeout: float | None = None) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        world.close()
    world.close()
    assert not thread.is_alive()
    assert world.loop.is_closed()
    with pytest.raises(UsageError, match="closed"):
        world.call(int)


@pytest.mark.filterwarnings("error:unclosed:ResourceWarning")
def test_a_server_that_was_about_to_begin_ends_with_its_world() -> None:
    world = WebSocketWorld()
    world.call(world._listen, "127.0.0.1", 0)  # another thread had come as far as this
    world.close()
    assert world._server is not None
    assert world._server.stopped


def test_a_world_that_closes_while_its_nursery_begins_starts_nobody() -> None:
    world = WebSocketWorld()
    begun = threading.Event()
    said: list[str] = []

    def spawn() -> None:
        begun.set()
        try:
            world.host_processes({1: (lambda _: ["party"], Path("/nowhere"))})
        except UsageError as error:
            said.append(str(error))

    thread = threading.Thread(target=spawn)
    thread.start()
    begun.wait()
    world.close()
    thread.join()
    assert len(said) == 1
    assert world.processes == {}
