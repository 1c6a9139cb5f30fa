"""A node that raised what it should not: one error for all worlds."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path as FilePath

from mpclab.core.effects import Asked, Delivered, Event, TimerFired
from mpclab.core.errors import StateError
from mpclab.core.ids import SERVER, STRIDE, Party
from mpclab.core.node import Node
from mpclab.trace import rows
from mpclab.worlds.adversary import Adversaries
from mpclab.worlds.recording import Recording, describe_error
from mpclab.worlds.rows import text_of


class NodeFailed(RuntimeError):
    """A node raised what it should not: a bug. It was stopped; the others go on.

    Attributes:
        actor: whose node it was.
        at: when, µs since the world began.
        event: what it failed on.
        seed: of the world.
        recording: its inputs up to this one, to be replayed; None where nothing is recorded.

    Args:
        store: the file from which it took up what an earlier life had stored, where there is one.
    """

    def __init__(
        self,
        actor: Party,
        at: int,
        event: Event,
        error: BaseException,
        seed: int,
        store: FilePath | None = None,
    ) -> None:
        if isinstance(error, StateError) and store is not None:
            text = (
                f"{who(actor)} cannot go on: what {store} keeps cannot be taken up: {error}; "
                f"nothing of it was changed: take a copy that is whole, or another place to begin "
                f"with nothing"
            )
        else:
            text = (
                f"{who(actor)} failed at {at / 1000:.3f} ms on {_brief(event)} (seed {seed}): "
                f"{describe_error(error)}"
            )
        super().__init__(text)
        self.actor = actor
        self.at = at
        self.event = event
        self.seed = seed
        self.recording: Recording | None = None
        self.__cause__ = error


def a_bug_among(
    node: Node, here: Container[Party], base: Party, adversaries: Adversaries
) -> Exception | None:
    """The failure that a message caused in this step though its sender is as honest as we are.

    Where both sides of a failure run here and nobody ever corrupted the sender, no peer can be at
    fault: the machine is. `here`: the actors that this world hosts; `base` of the party's session.
    """
    for party, error in node.contained:
        actor = base + party
        if node.me != SERVER and party != SERVER and actor in here:
            if not adversaries.ever_held(actor):
                return error
    return None


def who(actor: Party) -> str:
    """How to call an actor."""
    if actor == rows.WORLD:
        return "the experiment"
    if actor == SERVER:
        return "the server"
    session, party = divmod(actor, STRIDE)
    return f"party {party}" + (f" of the lab's session {session + 1}" if session else "")


def _brief(event: Event) -> str:
    match event:
        case Delivered(sender, frame):
            return f"{frame} from {sender}"
        case TimerFired(path, name):
            return f"timer {name!r} of {'/'.join(path) or 'its top'}"
        case Asked(path, ask):
            return f"an ask of {'/'.join(path) or 'its top'}: {text_of(ask)}"
    return type(event).__name__
