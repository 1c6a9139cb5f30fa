"""Keys on secp256k1 that move by a public number: Taproot outputs (BIP 341), children (BIP 32).

All shares of a key x can be moved to shares of x + d by adding d to each: the shared polynomial
gets another constant term. Nobody needs anybody for it, as long as d is public.

**Why a shared BIP 340 key is always tweaked.** A Taproot output key Q can be spent by its key, or
by a script that Q commits to: Q = P + t·G with t = H(P ‖ root). In Pedersen's key generation the
last dealer chooses its term after it saw the others': it could choose it so that the agreed key
commits to a script of its own, with which it alone spends. So what is agreed is not the sum P of
the dealers' terms, but P + H(P)·G: BIP 341 recommends this for keys that several parties make
("If the spending conditions do not require a script path, the output key should commit to an
unspendable script path", "Constructing and spending Taproot outputs"). An attacker with a hidden
script would have to find P' and a root with P' + H(P' ‖ root)·G = Q, for a Q that is a hash of its
own choice. ZF frost-secp256k1-tr does the same (`post_dkg`), and its vectors are ours.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from mpclab.crypto.errors import CryptoError
from mpclab.crypto.groups import SECP256K1, Element
from mpclab.crypto.keys import GroupKey, KeyShare

_HARDENED = 2**31
MAX_DEPTH = 255


def tagged_hash(tag: str, data: bytes) -> bytes:
    """SHA-256 of `data` for one purpose (BIP 340, "Design"), 32 bytes."""
    prefix = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(prefix + prefix + data).digest()


def x_only(public: Element) -> bytes:
    """A public key as BIP 340 and Taproot outputs write it: its x coordinate, 32 bytes."""
    return public[1:]


# --- moving ---------------------------------------------------------------------------------


def move(key: GroupKey, offset: int, sign: int = 1) -> GroupKey:
    """The key of sign·x + offset, where this is the key of x."""
    group = key.suite.group
    first, *rest = key.commitments if sign == 1 else map(group.negate, key.commitments)
    public = group.add(first, group.base_mult(offset))
    if public == group.identity:
        raise CryptoError("the offset cancels the key out: use another")
    return GroupKey(key.suite, (public, *rest))


def move_share(share: KeyShare, moved: GroupKey, offset: int, sign: int = 1) -> KeyShare:
    """Our share of `moved`, which is `move(share.key, offset, sign)`."""
    secret = (sign * share.secret + offset) % share.suite.group.order
    return KeyShare(share.identifier, secret, moved)


# --- BIP 341 --------------------------------------------------------------------------------


def tweak_of(public: Element, merkle_root: bytes = b"") -> int:
    """t = H_TapTweak(x(P) ‖ root) as a scalar; an empty root commits to no script at all.

    Raises:
        CryptoError: the hash is not below the order (nobody will ever see that happen).
    """
    if len(merkle_root) not in (0, 32):
        raise ValueError(f"a Merkle root is 32 bytes or none, not {len(merkle_root)}")
    tweak = int.from_bytes(tagged_hash("TapTweak", x_only(public) + merkle_root))
    if tweak >= SECP256K1.order:
        raise CryptoError("the tweak is not below the group's order")
    return tweak


def sign_of(public: Element) -> int:
    """-1 for a key whose y is odd: BIP 341 tweaks the even one of ±P."""
    return 1 if public[0] == 2 else -1


def tweak_key(key: GroupKey, merkle_root: bytes = b"") -> GroupKey:
    """BIP 341's output key for this internal key: even(P) + t·G."""
    return move(key, tweak_of(key.public, merkle_root), sign_of(key.public))


def tweak_share(share: KeyShare, tweaked: GroupKey, merkle_root: bytes = b"") -> KeyShare:
    """Our share of `tweaked`, which is `tweak_key(share.key, merkle_root)`."""
    public = share.key.public
    return move_share(share, tweaked, tweak_of(public, merkle_root), sign_of(public))


# --- BIP 32 ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Extended:
    """A public key from which others are derived.

    Attributes:
        chain_code: 32 bytes; public here: with it and the key anyone can derive all children.
        offset: how far this key is from the one at the path's beginning.
    """

    public: Element
    chain_code: bytes
    offset: int = 0


def master(public: Element) -> Extended:
    """The beginning of every path of a shared key. Nobody knows a seed from which a chain code
    could come, so it follows from the public key."""
    return Extended(public, tagged_hash("mpclab/chain-code", public))


def child(parent: Extended, index: int) -> Extended:
    """CKDpub (BIP 32, "Public parent key → public child key"), for index < 2^31.

    Raises:
        CryptoError: there is no such child (a chance of 2^-127); use the next index.
    """
    if not 0 <= index < _HARDENED:
        raise ValueError(f"index {index}: a shared key has children 0 to {_HARDENED - 1} only")
    # "If not (normal child): let I = HMAC-SHA512(Key = cpar, Data = serP(Kpar) || ser32(i))."
    data = parent.public + index.to_bytes(4)
    hashed = hmac.new(parent.chain_code, data, hashlib.sha512).digest()
    step = int.from_bytes(hashed[:32])
    public = SECP256K1.add(SECP256K1.base_mult(step), parent.public)
    # "In case parse256(IL) ≥ n or Ki is the point at infinity, the resulting key is invalid."
    if step >= SECP256K1.order or public == SECP256K1.identity:
        raise CryptoError(f"there is no child {index}: use the next one")
    return Extended(public, hashed[32:], (parent.offset + step) % SECP256K1.order)


def parse_path(path: str) -> tuple[int, ...]:
    """The indices in a path such as `0/5`.

    Raises:
        ValueError: a hardened or malformed step, or too many of them.
    """
    steps = path.removeprefix("m/").split("/")
    if any(step.endswith(("'", "h", "H")) for step in steps):
        raise ValueError(f"{path}: hardened steps need the whole secret, which nobody has")
    if len(steps) > MAX_DEPTH or not all(s.isascii() and s.isdigit() for s in steps):
        raise ValueError(f"{path!r} is not a path such as 0/5")
    indices = tuple(map(int, steps))
    if max(indices) >= _HARDENED:
        raise ValueError(f"{path}: each step is below {_HARDENED}")
    return indices


def derive(key: GroupKey, path: tuple[int, ...]) -> tuple[GroupKey, int]:
    """The key at a path below this one, and how far it is: `move(key, offset)`."""
    found = master(key.public)
    for index in path:
        found = child(found, index)
    return move(key, found.offset), found.offset
