"""Propose → vote → commit → execute, with keys and signatures: the whole way, in one session."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from coincurve import PublicKeyXOnly

from mpclab.core.errors import UsageError
from mpclab.core.ids import MS
from mpclab.crypto import formats, taproot
from mpclab.mpc.exports import PRINCIPAL, SignatureRecord
from mpclab.mpc.records import KeyRecord
from mpclab.operations import OPERATIONS
from mpclab.testing.sessions import Sessions


def done(sessions: Sessions, op: str) -> Any:
    """The one result that all parties have."""
    sessions.run()
    assert set(sessions.statuses(op).values()) == {"executed"}, sessions.at(1, op)
    results = {sessions.session(p).executor.results[op] for p in sessions.up}
    assert len(results) == 1
    return results.pop()


def signed(sessions: Sessions, by: int, **params: Any) -> SignatureRecord:
    record = SignatureRecord.from_bytes(done(sessions, sessions.propose(by, "sign", **params)).data)
    assert record.verify()
    return record


@pytest.mark.parametrize("curve", ["ed25519", "secp256k1", "bip340"])
def test_a_key_that_nobody_holds_signs(curve: str) -> None:
    sessions = Sessions(5, t=3)
    key = sessions.propose(1, "dkg", curve=curve)
    made = KeyRecord.from_bytes(done(sessions, key).data)
    record = signed(sessions, 2, key=key, message="hello")
    assert record.record == made
    assert sessions.session(1).executor.secrets.keys() == {key}


def test_a_signature_waits_for_the_key_it_needs() -> None:
    sessions = Sessions(3, t=2)
    key = sessions.propose(1, "dkg")
    sessions.run(30 * MS)
    op = sessions.propose(2, "sign", key=key, message="at once")
    assert SignatureRecord.from_bytes(done(sessions, op).data).verify()


def test_refreshed_and_reshared_the_key_stays() -> None:
    sessions = Sessions(5, t=3)
    key = sessions.propose(1, "dkg")
    public = KeyRecord.from_bytes(done(sessions, key).data).public
    fresh = sessions.propose(2, "refresh", key=key)
    assert KeyRecord.from_bytes(done(sessions, fresh).data).public == public
    assert sessions.session(1).executor.secrets.keys() == {fresh}
    fewer = sessions.propose(
        3, "reshare", key=fresh, members=[2, 4], threshold=2, dealers=[1, 2, 3]
    )
    moved = KeyRecord.from_bytes(done(sessions, fewer).data)
    assert (moved.public, moved.holders, moved.threshold) == (public, (2, 4), 2)
    assert signed(sessions, 1, key=fewer, message="still the same").record.public == public
    assert fewer not in sessions.session(1).executor.secrets


def test_a_lost_share_is_repaired_and_signs() -> None:
    sessions = Sessions(3, t=2)
    key = sessions.propose(1, "dkg")
    done(sessions, key)
    sessions.world.crash(2)
    sessions.world.restart(2, amnesia=True)
    sessions.run()
    assert set(sessions.statuses(key).values()) == {"executed"}  # the others told it the key
    assert key not in sessions.session(2).executor.secrets
    mended = sessions.propose(1, "repair", key=key, party=2)
    done(sessions, mended)
    assert mended in sessions.session(2).executor.secrets
    assert signed(sessions, 3, key=mended, message="with 2 again")


def test_a_chain_of_beacon_values() -> None:
    sessions = Sessions(4, t=3)
    key = sessions.propose(1, "dkg", members=[1, 2, 3])
    first = sessions.propose(2, "beacon", key=key)
    second = sessions.propose(3, "beacon", key=key, after=first)
    assert done(sessions, first).text.startswith("value 1: ")
    assert done(sessions, second).text.startswith("value 2: ")
    again = sessions.propose(4, "beacon", key=key, after=first)
    sessions.run()
    assert set(sessions.statuses(again).values()) == {"failed"}
    assert f"value 2 is known, by operation {second}" in sessions.at(1, again).reason
    assert done(sessions, sessions.propose(4, "beacon")).text.startswith("value 3: ")


def test_who_validates_rejects_a_beacon_value_that_is_known() -> None:
    sessions = Sessions(3, t=2, votes=dict.fromkeys((1, 2, 3), "validate"))
    done(sessions, sessions.propose(1, "dkg"))
    first = sessions.propose(2, "beacon")
    done(sessions, first)
    done(sessions, sessions.propose(2, "beacon"))
    again = sessions.propose(2, "beacon", after=first)
    sessions.run()
    assert "is known, by operation" in sessions.at(1, again).reason


DIGEST = hashlib.sha256(b"a transaction").digest()


@pytest.mark.parametrize(
    ("message", "signed_bytes", "text"),
    [
        ("pay 5", b"pay 5", "pay 5"),
        (DIGEST, DIGEST, f"hex:{DIGEST.hex()}"),
        (f"hex:{DIGEST.hex().upper()}", DIGEST, f"hex:{DIGEST.hex()}"),
        (f"sha256:{DIGEST.hex()}", DIGEST, f"sha256:{DIGEST.hex()}"),
        (DIGEST.hex(), DIGEST.hex().encode(), DIGEST.hex()),
    ],
)
def test_what_is_signed_is_what_voters_see(message: Any, signed_bytes: bytes, text: str) -> None:
    sessions = Sessions(3, t=2)
    key = sessions.propose(1, "dkg", curve="bip340")
    public = KeyRecord.from_bytes(done(sessions, key).data).public
    op = sessions.propose(2, "sign", message=message)
    signature = SignatureRecord.from_bytes(done(sessions, op).data)
    assert signature.verify()
    assert PublicKeyXOnly(public[1:]).verify(signature.signature, signed_bytes)
    assert sessions.at(3, op).text == f"sign with key {key}: {text}"


def test_a_file_is_signed_as_it_is_or_by_its_hash(tmp_path: Path) -> None:
    check = OPERATIONS["sign"].check
    (tmp_path / "note.txt").write_text("a note")
    (tmp_path / "picture").write_bytes(b"\x00\xff")
    (tmp_path / "large").write_bytes(bytes(20_000))
    (tmp_path / "sly").write_text("hex:00ff")
    messages = {
        name: dict(check({"message": tmp_path / name}))["message"]
        for name in ("note.txt", "picture", "sly")
    }
    sly = f"hex:{b'hex:00ff'.hex()}"
    assert messages == {"note.txt": "a note", "picture": "hex:00ff", "sly": sly}
    digest = hashlib.sha512(bytes(20_000)).hexdigest()
    with pytest.raises(UsageError, match=f"its hash is sha512:{digest}"):
        check({"message": tmp_path / "large"})
    for wrong in ("hex:0", "sha256:00", "hex:", tmp_path / "none", 7):
        with pytest.raises(UsageError, match="message"):
            check({"message": wrong})


@pytest.mark.parametrize("namespace", ["a b", 'a"b', "é", "a,b", "git*", "\\"])
def test_a_namespace_that_openssh_cannot_read_is_refused_before_the_vote(namespace: str) -> None:
    with pytest.raises(UsageError, match="namespace"):
        OPERATIONS["sign"].check({"message": "m", "format": "ssh", "namespace": namespace})


def test_an_ssh_signature_on_a_hash_is_one_on_the_file() -> None:
    sessions = Sessions(3, t=2)
    done(sessions, sessions.propose(1, "dkg"))
    digest = hashlib.sha512(b"a large file").hexdigest()
    op = sessions.propose(1, "sign", message=f"sha512:{digest}", format="ssh", namespace="git")
    found = SignatureRecord.from_bytes(done(sessions, op).data)
    assert found.payload == formats.sshsig_payload("git", b"a large file")
    assert "(format ssh, namespace git)" in sessions.at(2, op).text
    wrong = sessions.propose(1, "sign", message=f"sha256:{DIGEST.hex()}", format="ssh")
    sessions.run()
    assert "sha512" in sessions.at(2, wrong).reason


def test_a_key_is_meant_by_its_name_through_all_that_renews_it() -> None:
    sessions = Sessions(3, t=2)
    with pytest.raises(UsageError, match="propose dkg first"):
        sessions.propose(1, "sign", message="m")
    treasury = sessions.propose(1, "dkg", name="treasury")
    done(sessions, treasury)
    fresh = sessions.propose(2, "refresh", key="treasury")
    done(sessions, fresh)
    other = sessions.propose(1, "dkg", name="other")
    done(sessions, other)
    by_name = sessions.propose(3, "sign", key="treasury", message="m")
    newest = sessions.propose(3, "sign", message="m")
    keys = {op: dict(sessions.at(3, op).params)["key"] for op in (by_name, newest)}
    assert keys == {by_name: fresh, newest: other}
    done(sessions, by_name)
    done(sessions, newest)


@pytest.mark.parametrize("root", ["", "ab" * 32])
def test_a_derived_and_tweaked_key_signs_for_itself(root: str) -> None:
    sessions = Sessions(3, t=2)
    key = sessions.propose(1, "dkg", curve="bip340")
    whole = KeyRecord.from_bytes(done(sessions, key).data).key()
    op = sessions.propose(1, "sign", message="m", derive="0/5", taproot=root)
    found = SignatureRecord.from_bytes(done(sessions, op).data)
    expected, _ = taproot.derive(whole, (0, 5))
    if root:
        expected = taproot.tweak_key(expected, bytes.fromhex(root))
    assert found.record.public == expected.public
    assert PublicKeyXOnly(expected.public[1:]).verify(found.signature, b"m")
    assert "derive 0/5" in sessions.at(2, op).text
    facts = dict(sessions.notes("executed", op)[0].note.facts)
    assert facts["x_only"] == expected.public[1:].hex()
    assert facts["signature"] == found.signature.hex()
    hardened = sessions.propose(1, "sign", message="m", derive="0'")
    sessions.run()
    assert "hardened" in sessions.at(1, hardened).reason


def test_two_signings_at_once() -> None:
    sessions = Sessions(4, t=2)
    key = sessions.propose(1, "dkg")
    done(sessions, key)
    ops = [sessions.propose(p, "sign", key=key, message=f"message {p}") for p in (1, 2, 3)]
    for p, op in zip((1, 2, 3), ops, strict=True):
        record = SignatureRecord.from_bytes(done(sessions, op).data)
        assert record.message == f"message {p}".encode()
        assert record.verify()


def test_all_restart_and_sign_with_the_same_key() -> None:
    sessions = Sessions(3, t=2)
    key = sessions.propose(1, "dkg")
    done(sessions, key)
    for p in sessions.members:
        sessions.world.crash(p)
    for p in sessions.members:
        sessions.world.restart(p)
    sessions.run()
    assert signed(sessions, 3, key=key, message="the next day")


@pytest.mark.parametrize("at", range(20, 84, 8))
def test_whenever_a_party_restarts_all_have_the_key_or_none(at: int) -> None:
    sessions = Sessions(3, t=2)
    key = sessions.propose(1, "dkg")
    sessions.world.at(at * MS, lambda: sessions.world.crash(2))
    sessions.world.at((at + 300) * MS, lambda: sessions.world.restart(2))
    sessions.run()
    (status,) = set(sessions.statuses(key).values())
    executors = [sessions.session(p).executor for p in sessions.members]
    assert {key in executor.secrets for executor in executors} == {status == "executed"}
    assert len({executor.results.get(key) for executor in executors}) == 1


def test_a_crashed_holder_is_done_without() -> None:
    sessions = Sessions(5, t=3, policy="threshold(4)")
    key = sessions.propose(1, "dkg")
    done(sessions, key)
    sessions.world.crash(5)
    assert signed(sessions, 1, key=key, message="without 5")


def test_a_key_that_was_never_made_is_refused_with_a_reason() -> None:
    sessions = Sessions(3, t=2)
    note = sessions.propose(1, "note")
    sessions.run()
    with pytest.raises(UsageError, match="is a note, which makes no key"):
        sessions.propose(1, "sign", key=note, message="m")
    with pytest.raises(UsageError, match=r"no key called 'abc' was made here; propose dkg with"):
        sessions.propose(1, "sign", key="abc", message="m")
    sessions.propose(1, "dkg", name="tresor")
    with pytest.raises(UsageError, match=r"'tresor', which operation \w+ makes"):
        sessions.propose(1, "sign", key="tresor", message="m")
    sessions.run()
    with pytest.raises(UsageError, match=r"no key called 'tresro' was made here; .*tresor"):
        sessions.propose(1, "sign", key="tresro", message="m")
    op = sessions.propose(1, "sign", key="2345678923", message="m")  # which others may know
    sessions.run()
    assert set(sessions.statuses(op).values()) == {"failed"}
    with pytest.raises(UsageError, match="curve"):
        sessions.propose(1, "dkg", curve="ed25591")


def test_validate_rejects_a_signature_without_a_key() -> None:
    sessions = Sessions(3, t=2, votes={2: "validate"})
    op = sessions.propose(1, "sign", key="nskeyabcde", message="m")
    sessions.run()
    assert set(sessions.statuses(op).values()) == {"aborted"}


def run(*command: str, folder: Path, stdin: bytes = b"") -> str:
    ended = subprocess.run(command, cwd=folder, input=stdin, capture_output=True, timeout=20)
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout.decode()


def write(record: SignatureRecord, folder: Path) -> None:
    for name, content in record.files().items():
        (folder / name).write_bytes(content)


def test_openssl_accepts_the_signature(tmp_path: Path) -> None:
    sessions = Sessions(3, t=2)
    key = sessions.propose(1, "dkg")
    write(signed(sessions, 1, key=key, message="hello"), tmp_path)
    words = "openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in message -sigfile message.bin"
    assert "Verified Successfully" in run(*words.split(), folder=tmp_path)


def test_ssh_keygen_accepts_the_signature(tmp_path: Path) -> None:
    sessions = Sessions(3, t=2)
    key = sessions.propose(1, "dkg")
    record = signed(sessions, 1, key=key, message="hello", format="ssh")
    write(record, tmp_path)
    words = f"ssh-keygen -Y verify -f allowed_signers -I {PRINCIPAL} -n file -s message.sig"
    assert "Good" in run(*words.split(), folder=tmp_path, stdin=b"hello")


def test_the_same_run_whatever_the_hash_seed() -> None:
    code = (
        "from mpclab.testing.sessions import Sessions; import hashlib\n"
        "s = Sessions(4, t=2)\n"
        "key = s.propose(1, 'dkg'); s.run()\n"
        "s.propose(2, 'sign', key=key, message='m'); s.propose(3, 'refresh', key=key); s.run()\n"
        "print(hashlib.sha256(repr(list(s.world.trace)).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            check=True, capture_output=True, timeout=60,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


def test_a_session_is_light_until_something_is_computed() -> None:
    code = (
        "import sys, mpclab.coordinator.session; "
        "heavy = [m for m in sys.modules if m.startswith(('mpclab.mpc.d', 'coincurve'))]; "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
