"""A party written by others, with @noble/curves, makes keys and signs together with ours."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mpclab.crypto import frost, pedersen, schnorr
from mpclab.crypto.ciphersuites import CIPHERSUITES, Ciphersuite
from mpclab.crypto.frost import SigningCommitment
from mpclab.crypto.keys import KeyShare
from tests.foreign.node import NODE

HERE = Path(__file__).parent
FOREIGN = 3


class Noble:
    """Party 3 of 3, in a process of Node."""

    def __init__(self, suite: Ciphersuite, folder: Path) -> None:
        command = [str(NODE), str(folder / "party.mjs"), suite.name, str(FOREIGN), "2", "3"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1)

    def ask(self, command: str, **rest: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"command": command, **rest}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the foreign party ended at {command}"
        return json.loads(line)


@pytest.fixture(params=CIPHERSUITES.values(), ids=str)
def noble(request: pytest.FixtureRequest, packages: Path) -> Iterator[tuple[Ciphersuite, Noble]]:
    party = Noble(request.param, packages)
    yield request.param, party
    party.process.kill()
    for pipe in (party.process.stdin, party.process.stdout):
        assert pipe is not None
        pipe.close()
    party.process.wait(timeout=20)


def keygen(suite: Ciphersuite, noble: Noble, seed: int) -> dict[int, KeyShare]:
    """The shares of parties 1 and 2; party 3 has found the same key."""
    coins, group = random.Random(seed), suite.group
    params = pedersen.Params(suite, 2, (1, 2, FOREIGN))
    secrets, dealings = {}, {}
    for p in (1, 2):
        secrets[p], dealings[p] = pedersen.round_1(params, p, coins)
    theirs = noble.ask("deal")
    commitments = tuple(map(bytes.fromhex, theirs["commitments"]))
    dealings[FOREIGN] = pedersen.Dealing(commitments, bytes.fromhex(theirs["proof"]))
    for p, dealing in dealings.items():
        pedersen.check_dealing(params, p, dealing)
    said = [
        {"party": p, "commitments": [c.hex() for c in d.commitments], "proof": d.proof.hex()}
        for p, d in dealings.items()
        if p != FOREIGN
    ]
    from_them = {int(p): bytes.fromhex(s) for p, s in noble.ask("shares", **{"from": said}).items()}
    shares = {}
    for p in (1, 2):
        received = {d: pedersen.share_for(params, s, p) for d, s in secrets.items()}
        received[FOREIGN] = group.decode_scalar(from_them[p])
        shares[p] = pedersen.finish(params, p, dealings, received)
    to_them = {
        str(p): group.encode_scalar(pedersen.share_for(params, s, FOREIGN)).hex()
        for p, s in secrets.items()
    }
    found = noble.ask("finish", shares=to_them)
    key = shares[1].key
    assert found["commitments"][0] == key.public.hex()
    secret = group.decode_scalar(bytes.fromhex(found["share"]))
    assert group.base_mult(secret) == key.public_share(FOREIGN)
    return shares


@pytest.mark.parametrize("seed", range(4))
def test_ours_and_theirs_make_one_key_and_one_signature(
    noble: tuple[Ciphersuite, Noble], seed: int
) -> None:
    """Byte for byte: the public key, and the signature as we and as they add it up. BIP 340 keys
    and nonces are odd in half of all cases."""
    suite, foreign = noble
    shares = keygen(suite, foreign, seed)
    key, group = shares[1].key, suite.group
    for ours in (1, 2):
        message = f"signed by {ours} and {FOREIGN}".encode()
        nonces, mine = frost.commit(shares[ours], random.Random(seed))
        theirs = {name: bytes.fromhex(data) for name, data in foreign.ask("commit").items()}
        commitments = [mine, SigningCommitment(FOREIGN, **theirs)]
        listed = [
            {"party": c.identifier, "hiding": c.hiding.hex(), "binding": c.binding.hex()}
            for c in commitments
        ]
        z = {ours: frost.sign(shares[ours], nonces, message, commitments)}
        share = foreign.ask("sign", list=listed, message=message.hex())
        z[FOREIGN] = group.decode_scalar(bytes.fromhex(share))
        assert frost.verify_signature_share(key, message, commitments, FOREIGN, z[FOREIGN])
        signature = frost.aggregate(key, message, commitments, z)
        assert schnorr.verify(suite, key.public, message, signature)
        encoded = {str(p): group.encode_scalar(value).hex() for p, value in z.items()}
        added = foreign.ask("aggregate", list=listed, message=message.hex(), shares=encoded)
        assert added == signature.hex()
