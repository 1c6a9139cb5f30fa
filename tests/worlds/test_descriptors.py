"""Descriptors: as many as the system gives; where none is left, the error says how many are."""

import errno
import sys

import pytest

from mpclab.worlds.real.descriptors import MOST, explained, needed
from mpclab.worlds.real.websocket import WebSocketWorld

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such limit")


def test_a_world_may_have_as_many_as_the_system_allows() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1000, before[1]), before[1]))
        WebSocketWorld().close()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == min(hard, MOST)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_where_none_is_left_the_error_says_how_many_are_needed() -> None:
    with WebSocketWorld() as world:
        error = OSError(errno.EMFILE, "Too many open files", "some/library.py")
        world.call(world._stray, world.thread.loop, {"message": "", "exception": error})
        said = str(world.failures.pop())
        world._unraised.clear()
    assert "no descriptor is left: this process may have" in said
    assert f"0 parties here need about {needed(0, channels=False)}" in said


def test_a_mesh_needs_one_for_each_end_of_a_link() -> None:
    assert needed(16, channels=True) - needed(16, channels=False) == 240
    other = OSError(errno.ENOENT, "no such file")
    assert explained(other, 3, channels=True) is other
