"""Kinds of error, told apart by who is to blame.

`UsageError`: our caller erred. Nothing changed, and the message says what to do.
`PeerFault`: another party erred. Raised inside a handler; the node turns it into `Blame`.
`MachineError`: the class of a machine asks for something impossible: a bug of its author.
Anything else is a bug too: the run stops and says where.
"""

import difflib
import enum
from collections.abc import Iterable


class MpclabError(Exception):
    """Base of every error that mpclab raises on purpose."""


class UsageError(MpclabError, ValueError):
    """The caller asked for something impossible; nothing was changed."""


class MachineError(MpclabError, TypeError):
    """A machine does what none can: a handler of another shape, a message that does not travel.

    Its author's bug, found when the class is first seated or when it acts. Never blamed on a peer.
    """


class StateError(MpclabError, RuntimeError):
    """What an earlier life of this party stored cannot be taken up. No peer is at fault."""


class Strength(enum.StrEnum):
    """How much an accusation is worth."""

    PROOF = "proof"  # anyone can verify it: a signature under two contradicting values
    KNOWN = "known"  # I am sure, but cannot convince others
    SUSPECT = "suspect"  # this party, or whatever carried its message
    SOMEONE = "someone"  # something is wrong and nobody can be named


class PeerFault(MpclabError):
    """A peer's message breaks the protocol. The node discards the handler's effects.

    Args:
        reason: what is wrong, in words that a reader of the trace understands.
        party: the culprit; by default the sender of the message being handled.
        strength: what the accusation is worth.
    """

    def __init__(
        self, reason: str, *, party: int | None = None, strength: Strength = Strength.KNOWN
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.party = party
        self.strength = strength


def nearest(word: str, words: Iterable[str]) -> str:
    """A hint for an unknown word: `"; did you mean 'x'?"`, else the list of what is known."""
    known = sorted(words)
    if not known:
        return "; there are none yet"
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
