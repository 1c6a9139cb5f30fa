"""Propose → vote → commit → execute, with keys and signatures: the whole way, in one session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mpclab.core.errors import UsageError
from mpclab.core.ids import MS
from mpclab.mpc.exports import PRINCIPAL, SignatureRecord
from mpclab.mpc.records import KeyRecord
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
    assert done(sessions, again) == done(sessions, second)


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


def test_a_key_that_was_never_made_fails_with_a_reason() -> None:
    sessions = Sessions(3, t=2)
    note = sessions.propose(1, "note")
    sessions.run()
    op = sessions.propose(1, "sign", key=note, message="m")
    sessions.run()
    assert set(sessions.statuses(op).values()) == {"failed"}
    with pytest.raises(UsageError, match="curve"):
        sessions.propose(1, "dkg", curve="ed25591")


def test_validate_rejects_a_signature_without_a_key() -> None:
    sessions = Sessions(3, t=2, votes={2: "validate"})
    op = sessions.propose(1, "sign", key="nosuchkey", message="m")
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
