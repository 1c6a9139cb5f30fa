"""`docs/wire-vectors.json`: what a client of another make can compare itself with, without us.

Bytes are in base64, also where they are among parts: `{"bytes": "…"}`. All of it follows from the
seeds that it names.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec

from mpclab.coordinator.messages import DecidedBatch, DecidedEntry
from mpclab.coordinator.statements import Certificate, SignedProposal, sign_proposal, sign_vote
from mpclab.core.wire import Frame, Message
from mpclab.crypto.identity import Identity, Seal
from mpclab.crypto.transcript import Part, digest, encode
from mpclab.operations.proposal import Proposal, operation_id
from mpclab.signaling.messages import (
    JOIN_LABEL,
    PRESENCE_LABEL,
    TEXT_LABEL,
    Join,
    Text,
    join_parts,
    presence_parts,
    text_parts,
)
from mpclab.signaling.negotiate import Pair, sign_confirm

SEEDS = {1: bytes([1]) * 32, 2: bytes([2]) * 32}
_ONE, _TWO = (Identity(seed) for seed in SEEDS.values())
_SESSION = "vectors"
_INCARNATION = b"i" * 16


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def plain(value: Any) -> Any:
    """Parts of a transcript as JSON has them."""
    if isinstance(value, bytes):
        return {"bytes": text(value)}
    return [plain(one) for one in value] if isinstance(value, tuple) else value


def framed(message: Message) -> str:
    return text(Frame(1, ("session",), message).to_bytes())


def vectors() -> str:
    """The file."""
    proposal = Proposal(_SESSION, "tea", 2, 1, "note", (("text", "tea at four?"),), 60_000_000)
    signed = sign_proposal(_TWO, proposal)
    made = {
        "seeds": {str(party): text(seed) for party, seed in SEEDS.items()},
        "keys": {"1": text(_ONE.public), "2": text(_TWO.public)},
        "transcripts": _transcripts(),
        "hashes": _hashes(),
        "signatures": _signatures(proposal),
        "seal": _seal(),
        "join": _join(),
        "messagepack": _messagepack(),
        "vote": _vote(signed),
        "refused": _refused(signed),
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _transcripts() -> list[dict[str, Any]]:
    rows: list[tuple[Part, ...]] = [
        (), (0,), (127, 128, -128, -129, 2**53 - 1, -(2**53) + 1), ("", "héllo", "\0"),
        (b"", b"\0\xff"), (("a", ("b", 1), ()), "c"),
    ]  # fmt: skip
    return [{"parts": plain(parts), "bytes": text(encode(*parts))} for parts in rows]


def _hashes() -> list[dict[str, Any]]:
    rows: list[tuple[str, tuple[Part, ...]]] = [("label", (1, "x")), ("mpclab sdp", ("v=0\r\n",))]
    return [{"label": la, "parts": plain(p), "hash": text(digest(la, *p))} for la, p in rows]


def _signatures(proposal: Proposal) -> list[dict[str, Any]]:
    """By the first party, all that the table of signatures in wire.md has for a client that joins,
    confirms and votes."""
    pair = Pair(_SESSION, 1, 2, _INCARNATION, b"j" * 16)
    line = Text(2, 1, "hello", b"")
    confirmed = (b"h" * 32, "AB:CD", "EF:01")
    rows: list[tuple[str, tuple[Part, ...]]] = [
        (PRESENCE_LABEL, presence_parts(_SESSION, 1, _INCARNATION, 1)),
        (JOIN_LABEL, join_parts(b"n" * 16, _unsigned())),
        (TEXT_LABEL, text_parts(_SESSION, 1, _INCARNATION, line)),
        ("mpclab confirm", (*pair.parts, *confirmed)),
        ("mpclab proposal signature", (proposal.hash,)),
        ("mpclab approval", (_SESSION, proposal.op, proposal.hash)),
        ("mpclab rejection", (_SESSION, proposal.op, proposal.hash, "not today")),
    ]
    made = [
        {"label": label, "parts": plain(parts), "signature": text(_ONE.sign(label, *parts))}
        for label, parts in rows
    ]
    assert text(sign_confirm(_ONE, pair, *confirmed).signature) == made[3]["signature"]
    return made


def _seal() -> dict[str, Any]:
    """What the second party sealed for the first."""
    seal = Seal(_TWO, _ONE.public, b"context")
    numbers = (1, 2, 7)
    boxes = [seal.seal(number, b"box %d" % number) for number in numbers]
    stranger = Seal(Identity(bytes([3]) * 32), _ONE.public, b"context").seal(9, b"stranger")
    torn = boxes[2][:-1] + bytes([boxes[2][-1] ^ 1])
    return {
        "context": text(b"context"),
        "boxes": [
            {"box": text(box), "plaintext": text(b"box %d" % number)}
            for box, number in zip(boxes, numbers, strict=True)
        ],
        "refused": [text(box) for box in (boxes[1], torn, stranger, b"short")],
    }  # fmt: skip


def _unsigned() -> Join:
    presence = _ONE.sign(PRESENCE_LABEL, *presence_parts(_SESSION, 1, _INCARNATION, 1))
    return Join(
        _SESSION, 1, 2, 2, "unanimous", _ONE.public, _INCARNATION, 1, presence, b"",
        agreement="direct",
    )  # fmt: skip


def _join() -> dict[str, Any]:
    """The answer to a challenge."""
    nonce = b"n" * 16
    join = _unsigned()
    signature = _ONE.sign(JOIN_LABEL, *join_parts(nonce, join))
    answer = msgspec.to_builtins(msgspec.structs.replace(join, signature=signature))
    return {
        "challenge": {"type": "Challenge", "nonce": text(nonce), "version": 1},
        "incarnation": text(_INCARNATION), "epoch": 1, "answer": answer,
    }  # fmt: skip


def _messagepack() -> list[dict[str, Any]]:
    values: list[Any] = [
        0, 127, 128, 255, 256, 65535, 65536, 2**32, 2**53 - 1, -1, -32, -33, -129, -32769, None,
        True, "", "x" * 31, "x" * 32, "é" * 300, [1] * 16, {"a": {"b": [1]}, "type": "X"},
    ]  # fmt: skip
    return [{"value": v, "bytes": text(msgspec.msgpack.encode(v))} for v in values]


def _vote(signed: SignedProposal) -> dict[str, Any]:
    """A proposal of the second party, what the first says to it, and the certificate of both."""
    proposal = signed.proposal
    yes = [sign_vote(who, proposal, p, True) for p, who in ((1, _ONE), (2, _TWO))]
    approvals = tuple((vote.voter, vote.signature) for vote in yes)
    return {
        "op": operation_id(_SESSION, 2, "tea"), "hash": text(proposal.hash),
        "proposed": framed(signed), "approved": text(msgspec.msgpack.encode(yes[0])),
        "other": framed(yes[1]),
        "decided": framed(DecidedBatch((DecidedEntry(Certificate(signed, approvals)),))),
    }  # fmt: skip


def _refused(signed: SignedProposal) -> dict[str, list[str]]:
    """What must not be believed: frames of a session, and texts of a server."""
    forged = msgspec.structs.replace(signed, signature=_ONE.sign("mpclab proposal signature", b"x"))
    vote = sign_vote(_ONE, signed.proposal, 2, True)  # the first in the name of the second
    nested = msgspec.msgpack.encode([1, ["session"], b"\x91" * 5_000])
    return {
        "frames": [framed(forged), framed(vote), text(b"\xc1"), text(nested)],
        "texts": ['{"type":"Ping"}', '{"type":"constructor"}', '{"type":"Ping","revision":-1}',
                  '{"type":"Ping","revision":1,"more":1}', "[]"],
    }  # fmt: skip
