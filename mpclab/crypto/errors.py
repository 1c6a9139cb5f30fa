"""The errors of this package, and who is to blame for them.

A caller's own mistake (a threshold of zero, a list of the wrong length that it made itself)
raises `ValueError`. Everything that a *peer* can cause is a `CryptoError`, so that a protocol
turns it into a verdict on that peer with one `except`:

* `EncodingError`: bytes that encode nothing; whoever sent them is to blame.
* `SealError`, `BadSignature`: not authentic; the sender *or* whoever carried the message.
* `Blamed` and its kinds: the message was authentic and wrong; `culprits` names its authors.
"""

from __future__ import annotations

from collections.abc import Iterable


class CryptoError(Exception):
    """Something that a peer sent is not acceptable."""


class EncodingError(CryptoError):
    """Bytes that are not the one valid encoding of a scalar or an element."""


class SealError(CryptoError):
    """A sealed message that does not open: altered, misdirected, replayed or not from the peer."""


class BadSignature(CryptoError):
    """A signature that does not verify."""


class Blamed(CryptoError):
    """A wrong contribution to a joint computation.

    Attributes:
        culprits: identifiers of the parties whose contributions are wrong, ascending.
    """

    def __init__(self, culprits: int | Iterable[int], reason: str) -> None:
        found = (culprits,) if isinstance(culprits, int) else tuple(sorted(culprits))
        self.culprits: tuple[int, ...] = found
        self.reason = reason
        who = "party" if len(found) == 1 else "parties"
        super().__init__(f"{reason} ({who} {', '.join(map(str, found))})")


class BadCommitment(Blamed):
    """A commitment of the wrong length, or to something that it must not commit to."""


class BadProof(Blamed):
    """A proof of possession that does not hold: the dealer may not know its own secret."""


class BadShare(Blamed):
    """A share off its author's committed polynomial, or a wrong share of a signature."""
