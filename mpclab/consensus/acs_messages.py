"""The messages of `acs`: of its broadcasts and agreements, and of those that lack some."""

from typing import Annotated, TypeAlias

import msgspec

from mpclab.core.ids import Party
from mpclab.core.wire import MAX_MESSAGE, Message

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
Bit: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1)]
Bits: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=3)]
"""A set of bits: 1 is {0}, 2 is {1}, 3 is both."""
Root: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Branch: TypeAlias = tuple[bytes, ...]
Shard: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=MAX_MESSAGE // 2 + 64)]
"""Of a batch that has one request as large as a message may be: two shards give it back."""


class AcsRequest(Message, frozen=True):
    """Get this decided."""

    op: str
    value: bytes


class AcsBatch(Message, frozen=True):
    """What a party proposes in an epoch; encoded, it is what is broadcast."""

    ops: tuple[AcsRequest, ...]


class AcsVal(Message, frozen=True):
    """VAL(h, b_j, s_j): your shard of my batch."""

    epoch: Number
    root: Root
    branch: Branch
    shard: Shard


class AcsEcho(Message, frozen=True):
    """ECHO(h, b_i, s_i): my shard of the batch of `of`."""

    epoch: Number
    of: Party
    root: Root
    branch: Branch
    shard: Shard


class AcsReady(Message, frozen=True):
    """READY(h)."""

    epoch: Number
    of: Party
    root: Root


class AcsBval(Message, frozen=True):
    """BVAL_r(b): I estimate b, or f + 1 do."""

    epoch: Number
    of: Party
    round: Number
    bit: Bit


class AcsAux(Message, frozen=True):
    """AUX_r(w): 2f + 1 said BVAL_r(w)."""

    epoch: Number
    of: Party
    round: Number
    bit: Bit


class AcsConf(Message, frozen=True):
    """CONF_r(S): n − f said AUX_r with bits of this set, and the coin may be tossed."""

    epoch: Number
    of: Party
    round: Number
    bits: Bits


class AcsPart(Message, frozen=True):
    """My part of the coin of this round, where a key tosses it."""

    epoch: Number
    of: Party
    round: Number
    part: Annotated[bytes, msgspec.Meta(max_length=1024)]


class AcsFinish(Message, frozen=True):
    """I have decided, and say this bit in every round that I say nothing else in."""

    epoch: Number
    of: Party
    bit: Bit


Word: TypeAlias = AcsEcho | AcsReady | AcsBval | AcsAux | AcsConf | AcsPart | AcsFinish
"""What a party says once in an epoch, and never otherwise."""


class AcsWords(Message, frozen=True):
    """What I said to you in an epoch."""

    words: tuple[AcsVal | Word, ...]


class AcsAgain(Message, frozen=True):
    """I am in this epoch: say again what you said in it, or how it ended."""

    epoch: Number


class AcsEnded(Message, frozen=True):
    """The operations that this epoch decided, in their order."""

    epoch: Number
    ops: tuple[AcsRequest, ...]
