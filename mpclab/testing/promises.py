"""What an honest party promises by what it says, protocol by protocol.

A promise is a question and the answer that a message gives to it: whoever is honest never gives
another one, in this life or a later one, and where the question names no party nobody does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mpclab.consensus import tendermint_messages as tendermint
from mpclab.core.ids import Party
from mpclab.core.wire import Message

Promise = tuple[tuple[Any, ...], Any]
"""A question and the answer that was given: the same question never gets another answer."""
Promises = Callable[[Party, tuple[Party, ...], Message], Iterator[Promise]]
"""From who says it to whom, and the message."""


def tendermint_promises(me: Party, to: tuple[Party, ...], msg: Message) -> Iterator[Promise]:
    match msg:
        case tendermint.TendermintProposal(height, round, block, valid_round):
            yield (("proposed", me, height, round), (block, valid_round))
        case tendermint.TendermintPrevote(height, round, name):
            yield (("prevoted", me, height, round), name)
        case tendermint.TendermintPrecommit(height, round, name):
            yield (("precommitted", me, height, round), name)
            if name != tendermint.NIL:
                yield (("prevoted by a quorum", height, round), name)
        case tendermint.TendermintPolka(height, round, block):
            yield (("prevoted by a quorum", height, round), tendermint.id_of(block))
        case tendermint.TendermintCommits(commits):
            for commit in commits:
                yield (("decided", commit.height), commit.block)
