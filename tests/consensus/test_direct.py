"""`direct` alone, and the registry of protocols."""

import random

import pytest

from mpclab.consensus.agreement import Agreement, Decided, Submit
from mpclab.consensus.direct import Direct
from mpclab.consensus.registry import AGREEMENTS, agreement
from mpclab.core.effects import Asked, Effect, Output, Started
from mpclab.core.errors import UsageError
from mpclab.core.node import Node
from mpclab.crypto.identity import Identity


def node() -> Node:
    direct = Direct(Identity.from_seed(bytes(32)), {}, valid=lambda value: value != b"bad")
    made = Node(1, 3, direct, coins=lambda path: random.Random(1))
    made.step(Started(), 0)
    return made


def asked(node: Node, *asks: Submit) -> list[Effect]:
    return [effect for ask in asks for effect in node.step(Asked((), ask), 5)]


def test_what_is_submitted_is_decided_at_once_and_nothing_is_sent() -> None:
    assert asked(node(), Submit("a", b"v")) == [Output((), Decided("a", b"v", None))]


def test_twice_is_once() -> None:
    assert len(asked(node(), Submit("a", b"v"), Submit("a", b"v"), Submit("a", b"w"))) == 1


def test_what_is_not_valid_is_not_decided() -> None:
    assert asked(node(), Submit("a", b"bad")) == []
    assert len(asked(node(), Submit("a", b"bad"), Submit("a", b"v"))) == 1


def test_the_registry_knows_every_protocol_by_its_word() -> None:
    assert agreement("direct") is Direct
    for name, protocol in AGREEMENTS.items():
        assert issubclass(protocol, Agreement), name
        assert protocol.title, name
    with pytest.raises(UsageError, match="did you mean 'direct'"):
        agreement("diret")
