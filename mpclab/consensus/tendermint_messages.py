"""Tendermint's messages, and what its votes name a block by."""

from typing import Annotated, TypeAlias

import msgspec

from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.crypto.transcript import digest

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""A height or a round, from 0. Larger ones are malformed."""
MaybeRound: TypeAlias = Annotated[int, msgspec.Meta(ge=-1, lt=2**53)]
"""A round, or -1 for none."""

Votes: TypeAlias = tuple[tuple[Party, bytes], ...]
"""Who voted, with the signatures."""

NIL = b""
"""What a vote for no block names."""

PREVOTE, PRECOMMIT = "mpclab tendermint prevote", "mpclab tendermint precommit"
"""The labels under which votes are signed."""


class TendermintRequest(Message, frozen=True):
    """Get this decided."""

    op: str
    value: bytes


Block: TypeAlias = tuple[TendermintRequest, ...]
"""A value of the paper: operations, in order, each once."""


class TendermintProposal(Message, frozen=True):
    """⟨PROPOSAL, h, round, v, validRound⟩, and the 2f + 1 PREVOTEs of the valid round."""

    height: Number
    round: Number
    block: Block
    valid_round: MaybeRound
    proof: Votes


class TendermintPrevote(Message, frozen=True):
    """⟨PREVOTE, h, round, id(v) or nil⟩."""

    height: Number
    round: Number
    id: bytes
    signature: bytes


class TendermintPrecommit(Message, frozen=True):
    """⟨PRECOMMIT, h, round, id(v) or nil⟩."""

    height: Number
    round: Number
    id: bytes
    signature: bytes


class TendermintPolka(Message, frozen=True):
    """A proposal with 2f + 1 PREVOTEs for it, shown to a party that has not heard of them."""

    height: Number
    round: Number
    block: Block
    prevotes: Votes


class TendermintCommit(Message, frozen=True):
    """A proposal with 2f + 1 PRECOMMITs for it: decided."""

    height: Number
    round: Number
    block: Block
    precommits: Votes


class TendermintCommits(Message, frozen=True):
    """What was decided at heights in a row."""

    commits: tuple[TendermintCommit, ...]


class TendermintPrecommits(Message, frozen=True):
    """2f + 1 PRECOMMITs of a round, for one block or for several: it is over (line 47).

    Each with its voter and what it names; shown to a party that has not come so far.
    """

    height: Number
    round: Number
    votes: tuple[tuple[Party, bytes, bytes], ...]


class TendermintStatus(Message, frozen=True):
    """I am in this round, and know of no later valid value than that of `valid_round`."""

    height: Number
    round: Number
    valid_round: MaybeRound


def id_of(block: Block) -> bytes:
    """id(v) of the paper, 32 bytes."""
    return digest("mpclab tendermint block", *((one.op, one.value) for one in block))
