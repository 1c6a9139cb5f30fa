"""The published vectors of RFC 9591 (Appendix E), of FROST's key generation, and of BIP 340."""

import csv
import hashlib
import json
from pathlib import Path

import pytest

from mpclab.crypto import feldman, frost, pedersen, schnorr, shamir
from mpclab.crypto.ciphersuites import (
    CIPHERSUITES,
    FROST_BIP340,
    FROST_ED25519,
    FROST_RISTRETTO255,
    FROST_SECP256K1,
    ciphersuite,
    expand_message_xmd,
)
from mpclab.crypto.independent import verify_independently
from mpclab.crypto.keys import GroupKey, KeyShare

VECTORS = Path(__file__).parents[1] / "data" / "vectors"


class Tape:
    """Coins that were written down beforehand."""

    def __init__(self, *chunks):
        self.chunks = list(chunks)

    def randbytes(self, n):
        chunk = self.chunks.pop(0)
        assert len(chunk) == n
        return chunk


# RFC 9591 Appendix E.1, E.2 and E.5, what goes in and what comes out. Two of three sign "test":
# secret key, coefficient, {identifier: (hiding, binding nonce randomness)}, signature.
BY_HAND = {
    FROST_ED25519: (
        "7b1c33d3f5291d85de664833beb1ad469f7fb6025a0ec78b3a790c6e13a98304",
        "178199860edd8c62f5212ee91eff1295d0d670ab4ed4506866bae57e7030b204",
        {
            1: (
                "0fd2e39e111cdc266f6c0f4d0fd45c947761f1f5d3cb583dfcb9bbaf8d4c9fec",
                "69cd85f631d5f7f2721ed5e40519b1366f340a87c2f6856363dbdcda348a7501",
            ),
            3: (
                "86d64a260059e495d0fb4fcc17ea3da7452391baa494d4b00321098ed2a0062f",
                "13e6b25afb2eba51716a9a7d44130c0dbae0004a9ef8d7b5550c8a0e07c61775",
            ),
        },
        "36282629c383bb820a88b71cae937d41f2f2adfcc3d02e55507e2fb9e2dd3cbe"
        "bd9d2b0844e49ae0f3fa935161e1419aab7b47d21a37ebeae1f17d4987b3160b",
    ),
    FROST_RISTRETTO255: (
        "1b25a55e463cfd15cf14a5d3acc3d15053f08da49c8afcf3ab265f2ebc4f970b",
        "410f8b744b19325891d73736923525a4f596c805d060dfb9c98009d34e3fec02",
        {
            1: (
                "f595a133b4d95c6e1f79887220c8b275ce6277e7f68a6640e1e7140f9be2fb5c",
                "34dd1001360e3513cb37bebfabe7be4a32c5bb91ba19fbd4360d039111f0fbdc",
            ),
            3: (
                "daa0cf42a32617786d390e0c7edfbf2efbd428037069357b5173ae61d6dd5d5e",
                "b4387e72b2e4108ce4168931cc2c7fcce5f345a5297368952c18b5fc8473f050",
            ),
        },
        "fc45655fbc66bbffad654ea4ce5fdae253a49a64ace25d9adb62010dd9fb2555"
        "2164141787162e5b4cab915b4aa45d94655dbb9ed7c378a53b980a0be220a802",
    ),
    FROST_SECP256K1: (
        "0d004150d27c3bf2a42f312683d35fac7394b1e9e318249c1bfe7f0795a83114",
        "fbf85eadae3058ea14f19148bb72b45e4399c0b16028acaf0395c9b03c823579",
        {
            1: (
                "7ea5ed09af19f6ff21040c07ec2d2adbd35b759da5a401d4c99dd26b82391cb2",
                "47acab018f116020c10cb9b9abdc7ac10aae1b48ca6e36dc15acb6ec9be5cdc5",
            ),
            3: (
                "e6cc56ccbd0502b3f6f831d91e2ebd01c4de0479e0191b66895a4ffd9b68d544",
                "7203d55eb82a5ca0d7d83674541ab55f6e76f1b85391d2c13706a89a064fd5b9",
            ),
        },
        "0205b6d04d3774c8929413e3c76024d54149c372d57aae62574ed74319b5ea14d0"
        "c65dde8492a7471437e6c2fe3da49b90d23f642b5c6dbe7e36089f096dd97324",
    ),
}


@pytest.mark.parametrize("suite", BY_HAND, ids=str)
def test_two_of_three_sign_as_in_rfc_9591(suite):
    """From the appendix's secrets and coins alone to its signature."""
    group = suite.group
    secret, coefficient, coins, signature = BY_HAND[suite]
    polynomial = [group.decode_scalar(bytes.fromhex(h)) for h in (secret, coefficient)]
    key = GroupKey(suite, feldman.commit(group, polynomial))
    shares = {i: KeyShare(i, shamir.evaluate(polynomial, i, group.order), key) for i in (1, 2, 3)}
    round_1 = {i: frost.commit(shares[i], Tape(*map(bytes.fromhex, coins[i]))) for i in coins}
    commitments = [commitment for _, commitment in round_1.values()]
    signature_shares = {
        i: frost.sign(shares[i], nonces, b"test", commitments) for i, (nonces, _) in round_1.items()
    }
    assert frost.aggregate(key, b"test", commitments, signature_shares).hex() == signature


def load(path):
    return json.loads((VECTORS / path).read_text())


@pytest.mark.parametrize(
    ("suite", "file"),
    [
        (FROST_ED25519, "frost-ed25519-sha512.json"),
        (FROST_RISTRETTO255, "frost-ristretto255-sha512.json"),
        (FROST_SECP256K1, "frost-secp256k1-sha256.json"),
    ],
    ids=str,
)
def test_every_intermediate_value_is_that_of_rfc_9591(suite, file):
    data = load(f"rfc9591/{file}")
    group = suite.group
    inputs = data["inputs"]
    message = bytes.fromhex(inputs["message"])
    polynomial = [
        group.decode_scalar(bytes.fromhex(h))
        for h in (inputs["group_secret_key"], *inputs["share_polynomial_coefficients"])
    ]
    key = GroupKey(suite, feldman.commit(group, polynomial))
    assert key.public.hex() == inputs["group_public_key"]
    shares = {}
    for entry in inputs["participant_shares"]:
        i = entry["identifier"]
        shares[i] = KeyShare(i, shamir.evaluate(polynomial, i, group.order), key)
        assert group.encode_scalar(shares[i].secret).hex() == entry["participant_share"]
        shares[i].check()
    nonces, commitments = {}, []
    first = data["round_one_outputs"]["outputs"]
    for entry in first:
        i = entry["identifier"]
        coins = Tape(
            bytes.fromhex(entry["hiding_nonce_randomness"]),
            bytes.fromhex(entry["binding_nonce_randomness"]),
        )
        nonces[i], commitment = frost.commit(shares[i], coins)
        assert group.encode_scalar(nonces[i].hiding).hex() == entry["hiding_nonce"]
        assert group.encode_scalar(nonces[i].binding).hex() == entry["binding_nonce"]
        assert commitment.hiding.hex() == entry["hiding_nonce_commitment"]
        assert commitment.binding.hex() == entry["binding_nonce_commitment"]
        commitments.append(commitment)
    factors = frost.compute_binding_factors(suite, key.public, commitments, message)
    for entry in first:
        factor = group.encode_scalar(factors[entry["identifier"]])
        assert factor.hex() == entry["binding_factor"]
    signature_shares = {}
    for entry in data["round_two_outputs"]["outputs"]:
        i = entry["identifier"]
        signature_shares[i] = frost.sign(shares[i], nonces[i], message, commitments)
        assert group.encode_scalar(signature_shares[i]).hex() == entry["sig_share"]
        assert frost.verify_signature_share(key, message, commitments, i, signature_shares[i])
    signature = frost.aggregate(key, message, commitments, signature_shares)
    assert signature.hex() == data["final_output"]["sig"]


ZF = {
    FROST_ED25519: "ed25519",
    FROST_RISTRETTO255: "ristretto255",
    FROST_SECP256K1: "secp256k1",
    FROST_BIP340: "secp256k1-tr",
}
each_zf = pytest.mark.parametrize(("suite", "folder"), ZF.items(), ids=str)


@each_zf
@pytest.mark.parametrize("name", ["vectors", "vectors-big-identifier"])
def test_signing_is_that_of_zf_frost(suite, folder, name):
    """From shares and coins: nonces, binding factors, signature shares and the signature."""
    data = load(f"zf/{folder}/{name}.json")
    group, inputs = suite.group, data["inputs"]
    message = bytes.fromhex(inputs["message"])
    secrets = (inputs["group_secret_key"], *inputs["share_polynomial_coefficients"])
    polynomial = [group.decode_scalar(bytes.fromhex(h)) for h in secrets]
    key = GroupKey(suite, feldman.commit(group, polynomial))
    assert key.public.hex() == inputs["verifying_key_key"]
    shares, nonces, commitments = {}, {}, []
    for entry in inputs["participant_shares"]:
        i = entry["identifier"]
        secret = group.decode_scalar(bytes.fromhex(entry["participant_share"]))
        shares[i] = KeyShare(i, secret, key)
        shares[i].check()
    first = data["round_one_outputs"]["outputs"]
    for entry in first:
        i = entry["identifier"]
        coins = [bytes.fromhex(entry[f"{kind}_nonce_randomness"]) for kind in ("hiding", "binding")]
        nonces[i], commitment = frost.commit(shares[i], Tape(*coins))
        assert commitment.hiding.hex() == entry["hiding_nonce_commitment"]
        assert commitment.binding.hex() == entry["binding_nonce_commitment"]
        commitments.append(commitment)
    factors = frost.compute_binding_factors(suite, key.public, commitments, message)
    assert {i: group.encode_scalar(f).hex() for i, f in factors.items()} == {
        entry["identifier"]: entry["binding_factor"] for entry in first
    }
    signature_shares = {}
    for entry in data["round_two_outputs"]["outputs"]:
        i = entry["identifier"]
        signature_shares[i] = frost.sign(shares[i], nonces[i], message, commitments)
        assert group.encode_scalar(signature_shares[i]).hex() == entry["sig_share"]
    signature = frost.aggregate(key, message, commitments, signature_shares)
    assert signature.hex() == data["final_output"]["sig"]


@each_zf
def test_key_generation_is_that_of_zf_frost(suite, folder):
    """Each party's proof is accepted, and the shares that were dealt make its signing share."""
    inputs = load(f"zf/{folder}/vectors_dkg.json")["inputs"]
    group = suite.group
    params = pedersen.Params(suite, 2, (1, 2, 3))
    dealings = {}
    for i in params.identifiers:
        own = inputs[str(i)]
        dealings[i] = pedersen.Dealing(
            tuple(map(bytes.fromhex, own["vss_commitments"])),
            bytes.fromhex(own["proof_of_knowledge"]),
        )
        pedersen.check_dealing(params, i, dealings[i])
    for i in params.identifiers:
        own = inputs[str(i)]
        polynomial = tuple(
            group.decode_scalar(bytes.fromhex(own[name])) for name in ("signing_key", "coefficient")
        )
        assert feldman.commit(group, polynomial) == dealings[i].commitments
        secret = pedersen.Secret(polynomial)
        shares = {
            int(dealer): group.decode_scalar(bytes.fromhex(share))
            for dealer, share in own["signing_shares"].items()
        }
        shares[i] = pedersen.share_for(params, secret, i)
        mine = pedersen.finish(params, i, dealings, shares)
        assert group.encode_scalar(mine.secret).hex() == own["signing_share"]
        assert mine.key.public_share(i).hex() == own["verifying_share"]
        assert mine.key.public.hex() == inputs["verifying_key"]
        mine.check()


def test_an_odd_bip_340_key_signs_as_others_do():
    """Shares and signature that @noble/curves 2.4.0 makes for a key whose y is odd; libsecp256k1
    accepts the signature. The published vectors hold an even key only."""
    group = FROST_BIP340.group

    def sha(text):
        return hashlib.sha256(text.encode()).digest()

    polynomial = (4201, int.from_bytes(sha("coefficient")) % group.order)
    key = GroupKey(FROST_BIP340, feldman.commit(group, polynomial))
    assert key.public[0] == 3
    first = {}
    for i in (1, 3):
        share = KeyShare(i, shamir.evaluate(polynomial, i, group.order), key)
        first[i] = share, *frost.commit(share, Tape(sha(f"{i} hiding"), sha(f"{i} binding")))
    listed = [commitment for _, _, commitment in first.values()]
    z = {
        i: frost.sign(share, nonces, b"odd key", listed) for i, (share, nonces, _) in first.items()
    }
    assert {i: group.encode_scalar(value).hex() for i, value in z.items()} == {
        1: "8a9e8044645f96deb92c3678cd2ac598e3b0a2a425988dc5d765af0d69463c8e",
        3: "29ec8a00f4417ec67a1570ac1c96499cfa3f1b9adbe63839243bf1a4c706eb56",
    }
    assert frost.aggregate(key, b"odd key", listed, z).hex() == (
        "9776ac7be35cae44dbecac1534e0580297f52547cf25c1282e6adbd7ce6ac884"
        "b48b0a4558a115a53341a724e9c10f35ddefbe3f017ec5fefba1a0b2304d27e4"
    )


def bip340():
    with (VECTORS / "bip340" / "test-vectors.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("vector", bip340(), ids=lambda v: f"index {v['index']}")
def test_bip_340_signatures_verify_as_published(vector):
    element = b"\x02" + bytes.fromhex(vector["public key"])
    message, signature = bytes.fromhex(vector["message"]), bytes.fromhex(vector["signature"])
    valid = vector["verification result"] == "TRUE"
    assert schnorr.verify(FROST_BIP340, element, message, signature) == valid
    assert verify_independently(FROST_BIP340, element, message, signature) == valid


def test_expand_message_is_that_of_rfc_9380():
    """RFC 9380 Appendix K.1, SHA-256, message "abc", 32 bytes."""
    tag = b"QUUX-V01-CS02-with-expander-SHA256-128"
    assert expand_message_xmd(b"abc", tag, 0x20).hex() == (
        "d8ccab23b5985ccea865c6c97b6e5b8350e794e603b4b97902f53a8a0d605615"
    )
    with pytest.raises(ValueError, match="too many"):
        expand_message_xmd(b"", tag, 32 * 255 + 1)


def test_ciphersuites_are_found_by_name():
    assert all(ciphersuite(name) is suite for name, suite in CIPHERSUITES.items())
    with pytest.raises(ValueError, match="secp256k1"):
        ciphersuite("FROST(rot13)")
