"""`mpclab keys`: identity keys in files and keyrings, shares in the store of a party at rest."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import keyring
import pytest
from keyring.backends import fail
from keyrings.alt.file import PlaintextKeyring

from mpclab.cli.main import main
from mpclab.core.errors import UsageError
from mpclab.crypto import backup
from mpclab.crypto.primitives import primitives
from mpclab.lab import Lab
from mpclab.lab.keys import how_kept, keep_in_keyring, load_key
from mpclab.worlds.real.store import SqliteStore

WORDS = "correct horse battery staple"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id takes a second and 256 MiB; here it is not what is tested."""
    import hashlib

    def key(passphrase: bytes, salt: bytes) -> bytes:
        return hashlib.sha256(salt + passphrase).digest()

    monkeypatch.setattr(primitives, "password_key", key)


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """A keyring that is a dict, in place of the system's."""
    entries: dict[tuple[str, str], str] = {}
    fake, errors = ModuleType("keyring"), ModuleType("keyring.errors")

    class KeyringError(Exception):
        pass

    def set_password(service: str, name: str, password: str) -> None:
        if "locked" in entries.values():
            raise KeyringError("locked")
        entries[service, name] = password

    fake.set_password = set_password  # type: ignore[attr-defined]
    fake.get_password = lambda service, name: entries.get((service, name))  # type: ignore[attr-defined]
    errors.KeyringError = KeyringError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", fake)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    return entries


def test_an_identity_moves_under_a_passphrase_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "me.key"
    assert main(["keys", "show", str(file)]) == 0
    public = load_key(file).public
    assert public.hex() in capsys.readouterr().out
    monkeypatch.setenv("MPCLAB_PASSPHRASE", WORDS)
    assert main(["keys", "seal", str(file)]) == 0
    assert how_kept(file) == "a passphrase"
    assert load_key(file).public == public
    monkeypatch.setenv("MPCLAB_PASSPHRASE", "another one")
    assert main(["keys", "open", str(file)]) == 2
    assert "another passphrase" in capsys.readouterr().err
    monkeypatch.setenv("MPCLAB_PASSPHRASE", WORDS)
    assert main(["keys", "open", str(file)]) == 0
    assert how_kept(file) == "nothing"
    assert load_key(file).public == public


def test_an_identity_moves_to_the_keyring(
    tmp_path: Path, ring: dict[tuple[str, str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "me.key"
    identity = load_key(file)
    assert main(["keys", "keyring", str(file)]) == 0
    assert how_kept(file) == "the system's keyring"
    assert identity.export_seed().hex() not in file.read_text()
    assert load_key(file) == identity
    assert "protected by the system's keyring" in capsys.readouterr().out
    [name] = ring
    for entry, why in (
        ("00" * 32, "holds another key"),
        ("no key", "is not a key of ours"),
    ):
        ring[name] = entry
        with pytest.raises(UsageError, match=why):
            load_key(file)
    ring.clear()
    with pytest.raises(UsageError, match="has no key"):
        load_key(file)
    ring["other", "entry"] = "locked"
    with pytest.raises(UsageError, match="keyring: locked"):
        keep_in_keyring(tmp_path / "other.key")
    assert how_kept(tmp_path / "other.key") == "nothing"


def test_an_identity_moves_to_a_keyring_of_the_keyring_library(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ring = PlaintextKeyring()
    ring.file_path = str(tmp_path / "ring.cfg")
    file, before = tmp_path / "me.key", keyring.get_keyring()
    identity = load_key(file)
    seed = identity.export_seed().hex()
    keyring.set_keyring(ring)
    try:
        assert main(["keys", "keyring", str(file)]) == 0
        assert seed not in file.read_text()
        assert ring.get_password("mpclab", identity.public.hex()) == seed
        assert load_key(file) == identity
        assert main(["keys", "show", str(file)]) == 0
        assert "protected by the system's keyring" in capsys.readouterr().out
        ring.delete_password("mpclab", identity.public.hex())
        with pytest.raises(UsageError, match="has no key"):
            load_key(file)
        keyring.set_keyring(fail.Keyring())  # what there is where there is no desktop
        with pytest.raises(UsageError, match="the system's keyring: No recommended backend"):
            keep_in_keyring(tmp_path / "other.key")
        assert how_kept(tmp_path / "other.key") == "nothing"
    finally:
        keyring.set_keyring(before)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty: the key that it held is lost"),
        (b"\n", "is empty"),
        (b"abc", "is not a key of ours, or damaged"),
        (b"\xff" * 32, "is not a key of ours, or damaged"),
        (backup.MAGIC + b"short", "cut short"),
    ],
)
def test_a_damaged_identity_file_says_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, why: str
) -> None:
    monkeypatch.setenv("MPCLAB_PASSPHRASE", WORDS)
    file = tmp_path / "me.key"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(UsageError, match=why):
        load_key(file)


def test_shares_are_cared_for_while_nobody_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    at = [str(store), "--session", "vault", "--id", "2"]
    monkeypatch.setenv("MPCLAB_BACKUP_PASSPHRASE", WORDS)

    def opened() -> Lab:
        lab = Lab(world="websocket", parties=3, threshold=2, session="vault", store=store)
        lab.start_server(port=0)
        lab.spawn()
        lab.join()
        return lab

    with opened() as lab:
        key = lab.propose(1, "dkg", name="treasury", rules={"starts": "pay "})
        lab.run(limit=60)
        public = key.data["public_key"]
        assert main(["keys", "list", *at]) == 0  # while it runs
        said = capsys.readouterr()
        assert "'treasury'" in said.out
        assert "party 2 is running: this is what it has stored so far" in said.err
        assert main(["keys", "delete", *at, "treasury"]) == 2
        assert "is running, and would not hear of it: end it first" in capsys.readouterr().err
    assert main(["keys", "list", *at]) == 0
    listed = capsys.readouterr()
    assert not listed.err
    said = listed.out
    assert "'treasury'" in said
    assert public in said
    assert "2 of 3 (1, 2, 3), a share here; of messages that start with 'pay '" in said
    file = tmp_path / "share"
    assert main(["keys", "export", *at, "treasury", str(file)]) == 0
    assert main(["keys", "delete", *at, public]) == 0
    capsys.readouterr()
    main(["keys", "list", *at])
    assert "no share here" in capsys.readouterr().out
    assert main(["keys", "delete", *at, "treasury"]) == 2
    assert "holds no share" in capsys.readouterr().err
    with opened() as lab:
        assert [info.holds for p in (1, 2) for info in lab.keys(p)] == [True, False]
    assert main(["keys", "import", *at, str(file)]) == 0
    with opened() as lab:
        assert [info.holds for info in lab.keys(2)] == [True]
        op = lab.propose(2, "sign", key="treasury", message="pay 5")
        lab.run(limit=60)
        assert op.data["public_key"] == public
    for arguments, why in (
        (
            ["list", str(store), "--session", "vault", "--id", "7"],
            "no such store; there are v",
        ),
        (["export", *at, "savings", str(file)], "no such key; this party knows treasury"),
        (["list", *at, "--key", str(store / "vault-1.key")], "holds another key"),
    ):
        assert main(["keys", *arguments]) == 2
        assert why in capsys.readouterr().err
    kept = SqliteStore(store / "vault-2.sqlite")
    kept.put(("session",), "bound/a", b"1")  # as trial versions wrote it
    kept.close()
    assert main(["keys", "list", *at]) == 2
    assert "of a trial version of mpclab" in capsys.readouterr().err
