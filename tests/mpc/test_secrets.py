"""What must never be shown is not: traces, stores and messages hold no secret's bytes."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from mpclab.core.ids import MS, SECOND, Party
from mpclab.core.node import Node
from mpclab.crypto import frost, shamir
from mpclab.crypto.frost import Nonces
from mpclab.crypto.keys import KeyShare
from mpclab.mpc import envelopes
from mpclab.mpc.compute import Input
from mpclab.mpc.dealing import SharedKey
from mpclab.mpc.records import KeyRecord, open_share, seal_share
from mpclab.operations import input_path
from mpclab.testing.sessions import AT, Sessions, identity
from tests.mpc.parties import IDENTITIES
from tests.mpc.test_sign import key_for


def spellings(number: int) -> set[bytes]:
    """How 32 secret bytes may appear: raw and in hexadecimal, both ends first, decimal, base64."""
    found = set()
    for raw in (number.to_bytes(32, "big"), number.to_bytes(32, "little")):
        found |= {raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"=")}
    return found | {str(number).encode()}


@pytest.fixture
def secrets_drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every polynomial coefficient, nonce, one-time key and share that is made in this test."""
    drawn: list[int] = []
    polynomial, commit, ephemeral = (
        shamir.random_polynomial,
        frost.commit,
        envelopes.new_ephemeral,
    )

    def random_polynomial(*args: Any) -> Any:
        made = polynomial(*args)
        drawn.extend(c for c in made if c > 1)
        return made

    def committed(*args: Any) -> tuple[Nonces, Any]:
        nonces, commitment = commit(*args)
        drawn.extend((nonces.hiding, nonces.binding))
        return nonces, commitment

    def new_ephemeral(*args: Any) -> Any:
        made = ephemeral(*args)
        drawn.append(made.secret)
        return made

    monkeypatch.setattr(shamir, "random_polynomial", random_polynomial)
    monkeypatch.setattr(frost, "commit", committed)
    monkeypatch.setattr(envelopes, "new_ephemeral", new_ephemeral)
    return drawn


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every byte that a node sends to another."""
    sent: list[bytes] = []
    take = Node.take

    def listening(self: Node, sender: Party, frame: Any, now: int) -> Any:
        sent.append(frame.body)
        return take(self, sender, frame, now)

    monkeypatch.setattr(Node, "take", listening)
    return sent


def stored(sessions: Sessions) -> bytes:
    return b"".join(
        value
        for p in sessions.members
        for items in sessions.world.look(p, lambda node: dict(node.stored)).values()
        for value in items.values()
    )


def held(sessions: Sessions) -> list[int]:
    """The shares that all parties have."""
    shares = []
    for p in sessions.members:
        executor = sessions.session(p).executor
        for op, sealed in executor.secrets.items():
            record = KeyRecord.from_bytes(executor.results[op].data)
            shares.append(open_share(identity(p), record.key(), p, sealed).secret)
    return shares


def test_no_secret_in_traces_stores_or_messages(
    secrets_drawn: list[int], bodies: list[bytes]
) -> None:
    sessions = Sessions(3, t=2)
    key = sessions.propose(1, "dkg")
    sessions.run()
    signature = sessions.propose(2, "sign", key=key, message="hello")
    sessions.run()
    nonces = sessions.propose(1, "nonces", key=key, count=2)
    sessions.run()
    ahead = sessions.propose(2, "sign-prepared", key=key, nonces=nonces, nonce=1, message="hello")
    sessions.run()
    shares = held(sessions)
    assert len(shares) == 3
    fresh = sessions.propose(3, "refresh", key=key)
    sessions.run()
    shares += held(sessions)
    moved = sessions.propose(3, "reshare", key=fresh, members=[1, 2])
    sessions.run()
    shares += held(sessions)
    number = 271828182845904523
    total = sessions.propose(1, "sum")
    sessions.run(200 * MS)
    for p in sessions.members:
        sessions.world.ask(p, input_path("sum", total, AT), Input((number + p,)))
    sessions.run(60 * SECOND)
    for op in (key, signature, nonces, ahead, fresh, moved, total):
        assert set(sessions.statuses(op).values()) == {"executed"}

    assert len(set(shares)) == 3 + 3 + 2
    assert len(secrets_drawn) > 20
    text = "\n".join(map(repr, sessions.world.trace)).encode()
    haystack = b"\n".join([text, stored(sessions), *bodies])
    assert len(bodies) > 50
    for secret in (*shares, *secrets_drawn):
        assert not any(spelling in haystack for spelling in spellings(secret))
    for p in sessions.members:
        assert str(number + p).encode() not in haystack
        assert (number + p).to_bytes(8, "little") not in haystack
        assert identity(p).export_seed() not in haystack


def test_the_search_would_find_one(bodies: list[bytes]) -> None:
    """A secret that *is* in a trace: the search of the test above is not blind."""
    sessions = Sessions(3, t=2)
    sessions.propose(1, "note", text=str(2**200 + 17))
    sessions.run()
    text = "\n".join(map(repr, sessions.world.trace)).encode()
    haystack = b"\n".join([text, *bodies])
    assert any(spelling in haystack for spelling in spellings(2**200 + 17))


def test_reprs_hide_shares_and_inputs() -> None:
    record, shares = key_for(3, 2)
    shown = repr(SharedKey(record, shares[1])) + repr(shares) + repr(Input((4711,)))
    assert str(shares[1].secret) not in shown
    assert "4711" not in shown


def test_a_sealed_share_opens_for_its_owner_and_its_key_alone() -> None:
    _, shares = key_for(3, 2)
    sealed = seal_share(IDENTITIES[1], shares[1])
    assert open_share(IDENTITIES[1], shares[1].key, 1, sealed) == shares[1]
    other = key_for(3, 3)[1][1].key
    for who, key, owner, data in [
        (IDENTITIES[2], shares[1].key, 1, sealed),
        (IDENTITIES[1], other, 1, sealed),
        (IDENTITIES[1], shares[1].key, 2, sealed),
        (IDENTITIES[1], shares[1].key, 1, sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (IDENTITIES[1], shares[1].key, 1, b""),
    ]:
        with pytest.raises(ValueError, match="does not open"):
            open_share(who, key, owner, data)
    spoiled = KeyShare(1, shares[1].secret + 1, shares[1].key)
    with pytest.raises(ValueError, match="damaged"):
        open_share(IDENTITIES[1], shares[1].key, 1, seal_share(IDENTITIES[1], spoiled))
