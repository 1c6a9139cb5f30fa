"""A proposal: one operation with every parameter, its id and its hash.

An operation's id follows from (session, proposer, attempt) and *not* from the content; votes are
about the hash of the whole.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.crypto.transcript import digest

Value: TypeAlias = int | str | tuple[int | str, ...]
"""A parameter on the wire; bytes are written in hexadecimal."""

Params: TypeAlias = tuple[tuple[str, Value], ...]

OP_LENGTH = 10

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # ids are read aloud: no 0/o, no 1/l/i


class Proposal(Message, frozen=True):
    """An operation that `by` asks everybody to do.

    Attributes:
        session: the session that it is for; it means nothing in another.
        attempt: a fresh text of the proposer's choice: the same wish twice is two operations.
        lamport: Lamport's clock at the proposer: greater than that of all it had heard of.
        params: the operation's parameters, sorted by name.
        deadline: how long to wait for votes, µs. Everyone counts from when it hears the proposal,
            since the clocks of parties on different machines have nothing in common.
    """

    session: str
    attempt: str
    by: Party
    lamport: int
    kind: str
    params: Params
    deadline: int

    @property
    def op(self) -> str:
        return operation_id(self.session, self.by, self.attempt)

    @property
    def hash(self) -> bytes:
        """The hash that votes are about, 32 bytes."""
        return proposal_hash(self)


@lru_cache(maxsize=4096)
def proposal_hash(p: Proposal) -> bytes:
    return digest(
        "mpclab proposal", p.session, p.attempt, p.by, p.lamport, p.kind, p.params, p.deadline
    )


def is_operation_id(text: str) -> bool:
    """Whether `text` has the form of an operation's id; there may be none of that id."""
    return len(text) == OP_LENGTH and set(text) <= set(_ALPHABET)


@lru_cache(maxsize=4096)
def operation_id(session: str, by: Party, attempt: str) -> str:
    """The id of what `by` proposes in `session` under `attempt`: 10 letters, 49 bits."""
    number = int.from_bytes(digest("mpclab operation", session, by, attempt))
    letters = []
    for _ in range(OP_LENGTH):
        number, index = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return "".join(letters)
