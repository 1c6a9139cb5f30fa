"""A node that raised what it should not: one error for all worlds."""

from __future__ import annotations

from mpclab.core.effects import Asked, Delivered, Event, TimerFired
from mpclab.core.ids import SERVER, Party
from mpclab.trace import rows
from mpclab.worlds.base import text_of
from mpclab.worlds.recording import Recording, describe_error


class NodeFailed(RuntimeError):
    """A node raised what it should not: a bug. It was stopped; the others go on.

    Attributes:
        actor: whose node it was.
        event: what it failed on.
        recording: its inputs up to this one, to be replayed; None where nothing is recorded.
    """

    def __init__(self, actor: Party, at: int, event: Event, error: BaseException) -> None:
        super().__init__(
            f"{who(actor)} failed at {at / 1000:.3f} ms on {_brief(event)}: {describe_error(error)}"
        )
        self.actor = actor
        self.event = event
        self.recording: Recording | None = None


def who(actor: Party) -> str:
    """How to call an actor."""
    if actor == rows.WORLD:
        return "the experiment"
    return "the server" if actor == SERVER else f"party {actor}"


def _brief(event: Event) -> str:
    match event:
        case Delivered(sender, frame):
            return f"{frame} from {sender}"
        case TimerFired(path, name):
            return f"timer {name!r} of {'/'.join(path) or 'its top'}"
        case Asked(path, ask):
            return f"an ask of {'/'.join(path) or 'its top'}: {text_of(ask)}"
    return type(event).__name__
