"""OpenSSL and OpenSSH, run as programs, accept what a group of parties signed."""

import random
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key

from mpclab.crypto import formats, frost, pedersen
from mpclab.crypto.ciphersuites import FROST_ED25519
from mpclab.crypto.groups import ED25519, SECP256K1
from mpclab.crypto.ristretto import RISTRETTO255

MESSAGE = b"we agreed on this\n"


def program(name):
    """The path of a program these tests are about; its absence is a failure, not a skip."""
    path = shutil.which(name)
    assert path, f"{name} is not installed: install the package 'openssl' or 'openssh-client'"
    return path


def run(*command, stdin=b""):
    return subprocess.run(
        [*map(str, command)], input=stdin, capture_output=True, timeout=20, check=False
    )


@pytest.fixture(scope="module")
def group():
    """Two of three parties that generated a key together, and their way to sign."""
    params = pedersen.Params(FROST_ED25519, 2, (1, 2, 3), b"test")
    coins = random.Random(1)
    first = {i: pedersen.round_1(params, i, coins) for i in params.identifiers}
    dealings = {i: dealing for i, (_, dealing) in first.items()}
    shares = {
        j: pedersen.finish(
            params,
            j,
            dealings,
            {i: pedersen.share_for(params, s, j) for i, (s, _) in first.items()},
        )
        for j in params.identifiers
    }

    def sign(message):
        round_1 = {i: frost.commit(shares[i], coins) for i in (1, 3)}
        commitments = [c for _, c in round_1.values()]
        parts = {
            i: frost.sign(shares[i], nonces, message, commitments)
            for i, (nonces, _) in round_1.items()
        }
        return frost.aggregate(shares[1].key, message, commitments, parts)

    return shares[1].key.public, sign


@pytest.mark.parametrize(("message", "valid"), [(MESSAGE, True), (MESSAGE + b"!", False)])
def test_openssl_accepts_the_group_signature(group, tmp_path, message, valid):
    public, sign = group
    (tmp_path / "key.pem").write_text(formats.pem(ED25519, public))
    (tmp_path / "signature").write_bytes(sign(MESSAGE))
    (tmp_path / "message").write_bytes(message)
    done = run(
        program("openssl"), "pkeyutl", "-verify", "-rawin", "-pubin",
        "-inkey", tmp_path / "key.pem",
        "-sigfile", tmp_path / "signature",
        "-in", tmp_path / "message",
    )  # fmt: skip
    assert (done.returncode == 0) == valid, done.stderr
    assert (b"Signature Verified Successfully" in done.stdout) == valid


@pytest.mark.parametrize(
    ("message", "principal", "namespace", "valid"),
    [
        (MESSAGE, "group@mpclab", "file", True),
        (MESSAGE + b"!", "group@mpclab", "file", False),
        (MESSAGE, "somebody@else", "file", False),
        (MESSAGE, "group@mpclab", "git", False),
    ],
)
def test_ssh_keygen_accepts_the_group_signature(
    group, tmp_path, message, principal, namespace, valid
):
    public, sign = group
    signature = sign(formats.sshsig_payload("file", MESSAGE))
    (tmp_path / "signature.sig").write_text(formats.sshsig_armour("file", public, signature))
    line = formats.allowed_signers_line("group@mpclab", public, "file")
    (tmp_path / "allowed_signers").write_text(line + "\n")
    done = run(
        program("ssh-keygen"), "-Y", "verify",
        "-f", tmp_path / "allowed_signers",
        "-I", principal, "-n", namespace,
        "-s", tmp_path / "signature.sig",
        stdin=message,
    )  # fmt: skip
    assert (done.returncode == 0) == valid, done.stderr
    assert (b'Good "file" signature' in done.stdout) == valid


def test_a_signature_on_the_bare_message_is_no_sshsig(group, tmp_path):
    """The parties must sign the wrapped payload: a plain signature can not be repacked."""
    public, sign = group
    (tmp_path / "signature.sig").write_text(formats.sshsig_armour("file", public, sign(MESSAGE)))
    (tmp_path / "allowed_signers").write_text(formats.allowed_signers_line("me", public, "file"))
    done = run(
        program("ssh-keygen"), "-Y", "verify", "-f", tmp_path / "allowed_signers",
        "-I", "me", "-n", "file", "-s", tmp_path / "signature.sig", stdin=MESSAGE,
    )  # fmt: skip
    assert done.returncode != 0


@pytest.mark.parametrize("group_of_key", [ED25519, SECP256K1], ids=str)
def test_openssl_reads_the_public_key(group_of_key):
    public = group_of_key.base_mult(77)
    done = run(
        program("openssl"), "pkey", "-pubin", "-noout", "-text",
        stdin=formats.pem(group_of_key, public).encode(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode().replace(":", "").replace("\n", "").replace(" ", "")
    assert public[-32:].hex() in shown


def test_keys_read_back(group):
    public, _ = group
    assert load_pem_public_key(formats.pem(ED25519, public).encode()).public_bytes_raw() == public
    line = formats.ssh_public_key(public, "a comment")
    assert line.endswith(" a comment")
    assert load_ssh_public_key(line.encode()).public_bytes_raw() == public


def test_there_is_no_standard_form_of_a_ristretto_key():
    with pytest.raises(ValueError, match="no standard form"):
        formats.pem(RISTRETTO255, RISTRETTO255.generator)


@pytest.mark.parametrize("word", ["", "two words", 'quo"te', "line\nbreak", "ünicode"])
def test_nothing_is_smuggled_into_an_allowed_signers_file(word, group):
    with pytest.raises(ValueError, match="allowed_signers"):
        formats.allowed_signers_line(word, group[0], "file")
    with pytest.raises(ValueError, match="allowed_signers"):
        formats.allowed_signers_line("me", group[0], word)


def test_lengths_are_checked(group):
    with pytest.raises(ValueError, match="32 bytes"):
        formats.sshsig_armour("file", SECP256K1.generator, bytes(64))
    with pytest.raises(ValueError, match="namespace"):
        formats.sshsig_payload("", MESSAGE)
