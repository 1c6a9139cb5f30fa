"""The same keys and signatures over simulated links, a real server's relay and data channels."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpclab.core.errors import UsageError
from mpclab.crypto.identity import Identity
from mpclab.lab import Lab
from mpclab.mpc.compute import Input
from mpclab.mpc.exports import SignatureRecord
from mpclab.mpc.records import KeyRecord, open_share
from mpclab.operations import input_path
from mpclab.trace.rows import Blamed

WORLDS = ["simulated", "websocket", "webrtc"]


@pytest.mark.parametrize("world", WORLDS)
def test_from_an_empty_session_to_a_verified_signature(world: str) -> None:
    with Lab(parties=3, threshold=2, world=world, seed=7) as lab:
        lab.start_server(0)
        lab.spawn(1, 2, 3)
        lab.join()
        key = lab.propose(1, "dkg")
        lab.run(limit=20)
        op = lab.propose(2, "sign", key=key.id, message="hello")
        (made, signed) = lab.run(limit=20)
        assert (made.status, signed.status) == ("committed", "committed")
        session = lab.world.look(1, lambda node: node.machine(("session",)))
        record = SignatureRecord.from_bytes(session.executor.results[op.id].data)
        assert record.verify()
        assert signed.result == record.signature.hex()


@pytest.mark.parametrize("world", WORLDS)
def test_salaries_are_compared_and_not_told(world: str) -> None:
    with Lab(parties=3, threshold=2, world=world, seed=7) as lab:
        lab.start_server(0)
        lab.spawn(1, 2, 3)
        lab.join()
        op = lab.propose(3, "auction")
        path = input_path("auction", op.id)
        for party, bid in {1: 730001, 2: 920003, 3: 810007}.items():

            def asked(party: int = party, bid: int = bid) -> bool:
                try:
                    lab.world.ask(party, path, Input((bid,)))
                except UsageError:
                    return False  # its executor has not begun yet
                return True

            lab.run(until=asked, limit=20)
        (outcome,) = lab.run(limit=20)
        assert outcome.result == "party 2 wins and pays 810007"
        text = "\n".join(map(repr, lab.trace))
        assert "730001" not in text
        assert "920003" not in text


@pytest.mark.parametrize("world", ["websocket", "webrtc"])
def test_the_next_day_the_same_key_signs(world: str, tmp_path: Path) -> None:
    """Everything is closed and started again from what the parties' stores hold."""
    identities = {p: Identity.from_seed(bytes([p, 77]) * 16) for p in (1, 2, 3)}

    def opened() -> Lab:
        lab = Lab(parties=3, threshold=2, world=world, seed=7, store=tmp_path)
        lab.group.given.update(identities)
        lab.start_server(0)
        lab.spawn()
        lab.join()
        return lab

    with opened() as lab:
        key = lab.propose(1, "dkg").id
        (made,) = lab.run(limit=20)
        assert made.result.startswith("ed25519 key")
    with opened() as lab:
        op = lab.propose(2, "sign", key=key, message="the next day")
        lab.run(limit=20)
        session = lab.world.look(3, lambda node: node.machine(("session",)))
        assert SignatureRecord.from_bytes(session.executor.results[op.id].data).verify()
        shares = [
            open_share(identities[p], record.key(), p, sealed).secret
            for p in (1, 2, 3)
            for record, sealed in [_held(lab, p, key)]
        ]
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert kept
    for secret in shares:
        assert secret.to_bytes(32, "little") not in kept
        assert secret.to_bytes(32, "big") not in kept


def _held(lab: Lab, party: int, key: str) -> tuple[KeyRecord, bytes]:
    executor = lab.world.look(party, lambda node: node.machine(("session",)).executor)
    return KeyRecord.from_bytes(executor.results[key].data), executor.secrets[key]


def test_a_slot_belongs_to_its_key_until_its_user_says_otherwise(tmp_path: Path) -> None:
    """Party 2's key and state are gone; who comes in its place is let in by the others on purpose
    alone, and then asks for a share of its own."""
    store = tmp_path / "store"

    def lab() -> Lab:
        return Lab(parties=3, threshold=2, world="websocket", store=store)

    with lab() as one:
        one.start_server(0)
        one.spawn()
        one.join()
        key = one.propose(1, "dkg")
        one.run(limit=20)
    (store / "lab-2.key").unlink()
    (store / "lab-2.sqlite").unlink()
    with lab() as two:
        two.start_server(0)
        two.spawn()
        with pytest.raises(UsageError, match=r"party 2 came with another key .*accept_key\(2\)"):
            two.join(timeout=1)
        with pytest.raises(UsageError, match="its key"):
            two.accept_key(2, b"short")
        two.accept_key(2)
        two.join()
        moved = two.propose(1, "reshare", key=key.id, dealers=[1, 3])
        two.run(limit=20)
        assert moved.status == "committed"


@pytest.mark.parametrize("world", ["simulated", "websocket"])
def test_an_auction_of_fourteen_is_the_same_in_all_worlds(world: str) -> None:
    bids = {p: (p * 7 % 11 + 0.5,) for p in range(1, 15)}
    with Lab(parties=14, world=world, seed=7) as lab:
        lab.start_server(0)
        lab.spawn()
        lab.join(timeout=120)
        for party, bid in bids.items():
            lab.set_private(party, *bid)
        lab.propose(1, "auction", decimals=1)
        (outcome,) = lab.run(limit=120)
        assert outcome.result == "party 3 wins and pays 10.5"
        assert not {row.party for row in lab.trace.of(Blamed)}
