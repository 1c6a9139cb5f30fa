"""The interface of worlds is closed: a verb that one forgets is found before it is needed."""

import pytest

from mpclab.faults.fault import FaultTarget
from mpclab.worlds.base import World
from mpclab.worlds.real.webrtc import WebRTCWorld
from mpclab.worlds.real.websocket import WebSocketWorld
from mpclab.worlds.simulated import SimulatedWorld

WITH_DEFAULTS = {"tear", "corruptible"}
"""What only some worlds can do, or all do alike."""


@pytest.mark.parametrize("world", [SimulatedWorld, WebSocketWorld, WebRTCWorld])
def test_every_world_has_every_verb(world: type[World]) -> None:
    assert world.__abstractmethods__ == frozenset()


def test_a_world_that_forgets_a_verb_cannot_be_made() -> None:
    verbs = set(World.__abstractmethods__)
    assert verbs >= set(FaultTarget.__abstractmethods__) - WITH_DEFAULTS
    for forgotten in sorted(verbs):
        others = {verb: getattr(SimulatedWorld, verb) for verb in verbs - {forgotten}}
        with pytest.raises(TypeError, match=forgotten):
            type("Forgetful", (World,), others)()
