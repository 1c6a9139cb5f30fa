"""A key's life outside the protocols: listed, backed up, taken back, deleted, brought along."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from mpclab.core.errors import UsageError
from mpclab.crypto.groups import ED25519, SECP256K1
from mpclab.lab import Lab
from mpclab.lab.keys import load_key, seal_key
from mpclab.mpc.records import ShareBackup, restore

WORDS = "correct horse battery staple"


def ready(**options: object) -> Lab:
    lab = Lab(parties=3, threshold=2, seed=1, **options)
    lab.start_server()
    lab.spawn()
    lab.join()
    return lab


def test_a_share_is_backed_up_deleted_and_taken_back(tmp_path: Path) -> None:
    with ready() as lab:
        key = lab.propose(1, "dkg", name="treasury")
        lab.run()
        [info] = lab.keys(1)
        assert (info.op, info.name, info.threshold, info.holders) == (
            key.id,
            "treasury",
            2,
            (1, 2, 3),
        )
        assert info.public == key.data["public_key"]
        file = tmp_path / "share"
        lab.export_share(2, key.id, file, WORDS)
        assert file.stat().st_mode & 0o077 == 0
        with pytest.raises(UsageError, match="exists"):
            lab.export_share(2, key.id, file, WORDS)
        for p in (2, 3):
            assert lab.keys(p)[0].holds
            lab.delete_share(p, key.id)
            assert not lab.keys(p)[0].holds
        with pytest.raises(UsageError, match="holds no share"):
            lab.delete_share(2, key.id)
        with pytest.raises(UsageError, match="another passphrase"):
            lab.restore_share(2, file, "another one")
        with pytest.raises(UsageError, match="share of party 2"):
            lab.restore_share(3, file, WORDS)
        lab.restore_share(2, file, WORDS)
        lab.crash(2)
        lab.restart(2)
        lab.join()
        op = lab.propose(3, "sign", key="treasury", message="by 1 and 2")
        lab.run()
        assert op.result == op.data["signature"]
        record, share = restore(file.read_bytes(), WORDS)
        assert str(share.secret) not in repr(ShareBackup(record, 2, b"secret"))


def test_a_backup_from_before_a_refresh_is_refused(tmp_path: Path) -> None:
    with ready() as lab:
        key = lab.propose(1, "dkg")
        lab.run()
        lab.export_share(1, key.id, tmp_path / "old", WORDS)
        fresh = lab.propose(2, "refresh")
        lab.run()
        assert [info.op for info in lab.keys(1)] == [fresh.id]
        with pytest.raises(UsageError, match=f"replaced by those of {fresh.id}"):
            lab.restore_share(1, tmp_path / "old", WORDS)
        with pytest.raises(UsageError, match="8 characters"):
            lab.export_share(1, fresh.id, tmp_path / "new", "short")
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("curve", ["ed25519", "secp256k1", "bip340"])
def test_a_key_that_one_party_knows_is_shared(curve: str) -> None:
    group = ED25519 if curve == "ed25519" else SECP256K1
    secret = group.encode_scalar(4242)
    with ready() as lab:
        op = lab.propose(2, "import", curve=curve, public=group.base_mult(4242), name="old")
        lab.run(until=lambda: bool(lab.trace.notes("input-wanted")))
        with pytest.raises(UsageError, match="not this secret"):
            lab.give_secret(op, group.encode_scalar(4243))
        lab.give_secret(op, secret)
        lab.run()
        assert op.data["public_key"] == group.base_mult(4242).hex()
        signed = lab.propose(3, "sign", key="old", message="m")
        lab.run()
        if curve == "ed25519":
            public = ed25519.Ed25519PublicKey.from_public_bytes(group.base_mult(4242))
            public.verify(bytes.fromhex(signed.result), b"m")
        assert signed.status == "committed"
        assert signed.result
        rows = "".join(map(repr, lab.trace))
        assert secret.hex() not in rows
        assert "4242" not in rows.replace(group.base_mult(4242).hex(), "")


def test_an_identity_key_opens_with_its_passphrase_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "one.key"
    identity = load_key(file)
    with pytest.raises(UsageError, match="8 characters"):
        seal_key(file, "short")
    seal_key(file, WORDS)
    assert identity.export_seed().hex().encode() not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0
    monkeypatch.setenv("MPCLAB_PASSPHRASE", WORDS)
    assert load_key(file) == identity
    monkeypatch.setenv("MPCLAB_PASSPHRASE", "something else")
    with pytest.raises(UsageError, match="another passphrase"):
        load_key(file)
    monkeypatch.delenv("MPCLAB_PASSPHRASE")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(UsageError, match="is sealed"):
        load_key(file)


def test_the_newest_key_is_never_one_that_was_replaced() -> None:
    with Lab(parties=3, threshold=2, seed=3) as lab:
        lab.start_server()
        lab.spawn()
        lab.join()
        lab.propose(1, "dkg", name="gold")
        lab.run()
        fresh = lab.propose(1, "refresh")
        late = lab.propose(2, "repair", party=2)  # newer, and of the shares that go
        lab.run()
        assert (fresh.status, late.status) == ("committed", "committed")
        for named in ({}, {"key": "gold"}):
            signature = lab.propose(3, "sign", message="hello", **named)
            lab.run()
            assert signature.data is not None
            assert not signature.outcome.reason


def test_the_newest_key_goes_by_the_operation_that_made_it() -> None:
    """The refresh that was overtaken goes by the other's key, at those alone who saw it end."""
    with Lab(parties=3, threshold=2, seed=3) as lab:
        lab.start_server()
        lab.spawn()
        lab.join()
        lab.propose(1, "dkg")
        lab.run()
        both = [lab.propose(party, "refresh") for party in (1, 2)]
        lab.run()
        (winner,) = [op for op in both if not op.outcome.reason]
        signature = lab.propose(3, "sign", message="hello")
        lab.run()
        known = lab.group.machine_of(3, lambda m: m.ledger.operations[signature.id].signed)
        assert dict(known.proposal.params)["key"] == winner.id
        assert signature.data is not None
