"""The party in plain JavaScript, written from `docs/wire.md`: its bytes are ours, it refuses what
we refuse, and among parties of ours it joins, confirms and votes, by links and by the server."""

from __future__ import annotations

import base64
import contextlib
import json
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mpclab.coordinator.messages import DecidedBatch, DecidedEntry, Fetch, SessionMessage
from mpclab.coordinator.statements import (
    AbortCertificate,
    Certificate,
    Ending,
    Refusal,
    SignedProposal,
    SignedVote,
    check_proposal,
    check_vote,
    sign_proposal,
    sign_vote,
    sign_withdrawal,
)
from mpclab.core.wire import Frame, Message, decoder
from mpclab.crypto.identity import Identity, Seal
from mpclab.crypto.transcript import digest, encode
from mpclab.lab import Lab
from mpclab.operations.proposal import Proposal
from mpclab.signaling.messages import (
    PRESENCE_LABEL,
    TEXT_LABEL,
    Member,
    Offer,
    Sealed,
    Text,
    encode_payload,
    presence_parts,
    text_parts,
)
from mpclab.signaling.negotiate import Pair, sign_offer
from mpclab.signaling.relay import Hello
from mpclab.web import packages

CLIENT = Path(__file__).parents[2] / "examples" / "plain_js"
PATIENCE = 30.0


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's folder, with what it needs installed."""
    home = tmp_path_factory.mktemp("plain") / "client"
    shutil.copytree(CLIENT, home, ignore=shutil.ignore_patterns("node_modules"))
    (home / "node_modules").symlink_to(packages.modules(CLIENT))
    return home


# --- its bytes ----------------------------------------------------------------------------------

ALICE, BOB, EVE = (Identity(bytes([i]) * 32) for i in (1, 2, 3))
KEYS = {1: ALICE.public, 2: BOB.public, 3: EVE.public}
TRANSCRIPTS: list[tuple[Any, ...]] = [
    (), (0,), (127, 128, -128, -129, 2**53 - 1, -(2**53) + 1), ("", "héllo", "\0"),
    (b"", b"\0\xff"), (("a", ("b", 1), ()), "c"), ("a",) * 40,
]  # fmt: skip
VALUES = [
    0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53, 2**64 - 1, -1, -32, -33, -128,
    -129, -32769, -(2**31) - 1, -(2**63), None, True, "", "x" * 31, "x" * 32, "x" * 300,
    "é" * 40_000, b"", b"x" * 300, b"x" * 70_000, [], [1] * 16, [1] * 66_000,
    {"a": {"b": [1]}, "type": "X"}, {str(i): i for i in range(20)},
]  # fmt: skip


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": text(value)}
    return [plain(one) for one in value] if isinstance(value, tuple) else value


def framed(message: Message, path: tuple[str, ...] = ("session",)) -> str:
    return text(Frame(1, path, message).to_bytes())


def a_proposal(attempt: str, **more: Any) -> Proposal:
    given = {"lamport": 1, "kind": "note", "params": (("text", "x"),), "deadline": 10**6, **more}
    return Proposal("s", attempt, 2, **given)


# --- what a server and peers of bad faith show to Carol, in the third seat ------------------------

OURS = b"c" * 16
SDP = "v=0\r\na=fingerprint:sha-256 AB:CD\r\n"
SPLIT, REJECTED = a_proposal("split"), a_proposal("rejected", params=(("big", 2**60),))
OTHER = a_proposal("split", params=(("text", "pay Eve"),))


def a_member(
    party: int, identity: Identity, incarnation: bytes, signer: Identity | None = None
) -> dict[str, Any]:
    parts = presence_parts("s", party, incarnation, 1)
    presence = (signer or identity).sign(PRESENCE_LABEL, *parts)
    member = Member(party, identity.public, incarnation, 1, presence)
    return {"type": "PeerJoined", "member": msgspec.to_builtins(member), "revision": 1}


def relayed(payload: Message) -> dict[str, Any]:
    return {"type": "Relayed", "sender": 2, "payload": json.loads(encode_payload(payload))}


def an_offer(attempt: int, identity: Identity = BOB, **more: Any) -> Offer:
    pair = Pair("s", 2, 3, b"2" * 16, OURS)
    given = {"epoch": 1, "nonce": b"n" * 16, "expires": 2**52, "sdp": SDP, **more}
    return sign_offer(identity, pair, attempt=attempt, **given)


def a_line(number: int, incarnation: bytes) -> dict[str, Any]:
    said = Text(0, number, f"line {number}", b"")
    signature = BOB.sign(TEXT_LABEL, *text_parts("s", 2, incarnation, said))
    return relayed(msgspec.structs.replace(said, signature=signature))


def a_box(seal: Seal, number: int) -> dict[str, Any]:
    names = digest("mpclab incarnations", CONTEXT)[:8]
    hello = Hello(reply=False, relay=True, nonce=b"h" * 16)
    return relayed(Sealed(names, seal.seal(number, msgspec.msgpack.encode(hello))))


_HIGH = Pair("s", 3, 2, OURS, b"2" * 16)
CONTEXT = encode("mpclab relay", *_HIGH.back.parts, *_HIGH.parts)


def news() -> list[dict[str, Any]]:
    seal, first, second = Seal(BOB, EVE.public, CONTEXT), b"2" * 16, b"3" * 16
    swapped = msgspec.structs.replace(an_offer(1), sdp=SDP.replace("AB:CD", "EE:EE"))
    return [
        a_member(1, ALICE, b"1" * 16),
        a_member(2, EVE, first),  # our own key, in another seat
        a_member(2, BOB, first, signer=EVE),
        a_member(2, BOB, first),
        a_member(2, ALICE, second),  # another identity for a seat that is taken
        relayed(swapped),
        relayed(an_offer(1, EVE)),
        relayed(msgspec.structs.replace(an_offer(1), attempt=9)),
        relayed(an_offer(1, expires=1)),  # too old, and passed over
        relayed(an_offer(1)),
        relayed(an_offer(1)),  # again
        a_line(1, first), a_line(2, first), a_line(2, first),
        a_box(seal, 1),
        # It starts anew, and counts its lines anew; the server shows its old life once more.
        {"type": "PeerLeft", "party": 2, "why": "", "gone": False, "revision": 2},
        a_member(2, BOB, second), a_line(1, second),
        a_member(2, BOB, first), a_box(seal, 1), a_box(seal, 2), a_line(1, first),
    ]  # fmt: skip


def from_peers() -> list[list[Any]]:
    doubled = a_proposal("doubled", params=(("text", "1"), ("text", "2")))
    no = [sign_vote(ALICE, REJECTED, 1, False, "🙂" * 150), sign_vote(BOB, REJECTED, 2, False)]
    asked, other = sign_proposal(BOB, REJECTED), sign_proposal(BOB, OTHER)
    yes = tuple((p, sign_vote(who, OTHER, p, True).signature) for p, who in ((1, ALICE), (2, BOB)))
    elsewhere = sign_vote(ALICE, REJECTED, 1, False)
    endings: list[Ending] = [
        AbortCertificate(asked, (), ()),
        AbortCertificate(asked, (no[0],), ()),
        AbortCertificate(asked, (no[0], no[0]), ()),
        AbortCertificate(asked, (no[0], msgspec.structs.replace(elsewhere, voter=2)), ()),
        AbortCertificate(asked, (), (sign_withdrawal(BOB, REJECTED, 2, ()),)),
        Refusal(asked, "so it is"),
        AbortCertificate(asked, tuple(no), ()),
        Certificate(other, (*yes[:1], (2, yes[0][1]))),
        Certificate(other, yes),
    ]
    said: list[Message] = [sign_proposal(BOB, one) for one in (doubled, SPLIT, REJECTED)]
    said += [DecidedBatch((DecidedEntry(ending),)) for ending in endings]
    # Votes on what nobody proposed do not push out what somebody did.
    said += [sign_vote(BOB, a_proposal(f"air {i}"), 2, True) for i in range(70)]
    return [[2, framed(one)] for one in said]


def carol() -> dict[str, Any]:
    return {
        "seed": text(bytes([3]) * 32), "incarnation": text(OURS), "op": SPLIT.op,
        "news": news(), "frames": from_peers(),
    }  # fmt: skip


def check_carol(told: dict[str, Any]) -> None:
    heard = told["heard"]
    assert [detail["reason"] for what, detail in heard if what == "blamed"] == [
        "it has our own key", "a presence that it did not sign", "another key than it had before",
        *["an Offer that party 2 did not sign"] * 3, "an offer that came before",
        "a line of text that it did not sign, or that came before",
        "a box that was opened or passed over before",
        "a line of text that it did not sign, or that came before",
        "a proposal with two values of one name",
        *["an abort by 0 parties, which are too few", "an abort by 1 parties, which are too few"],
        "an abort by 1 parties, which are too few", "a vote that party 2 did not sign",
        "an abort by a withdrawal that party 2 did not sign",
        "a refusal by a protocol that there is not", "a vote that party 2 did not sign",
        f"proposed two things under one id, {SPLIT.op}",
    ]  # fmt: skip
    assert told["dialled"] == [SDP]
    assert [d["text"] for what, d in heard if what == "said"] == ["line 1", "line 2", "line 1"]
    # What is shown is what is signed, also of the version that was committed in the end.
    proposed = [(d["hash"], d["params"]) for what, d in heard if what == "proposed"]
    assert proposed[:3] == [
        (SPLIT.hash.hex(), {"text": "x"}), (REJECTED.hash.hex(), {"big": str(2**60)}),
        (OTHER.hash.hex(), {"text": "pay Eve"}),
    ]  # fmt: skip
    ends = {d["op"]: (what, d["hash"]) for what, d in heard if what in ("committed", "aborted")}
    assert ends[SPLIT.op] == ("committed", OTHER.hash.hex())
    assert ends[REJECTED.op] == ("aborted", REJECTED.hash.hex())
    assert "is not what was shown" in told["wrong"]
    assert told["twice"][0] == 10
    assert "a vote is final" in told["twice"][1]
    assert told["unheard"] == 64
    assert (told["sent"], told["backlog"]) == (20, 30)


def run(client: Path, tmp_path: Path, cases: dict[str, Any]) -> dict[str, Any]:
    file = tmp_path / "cases.json"
    file.write_text(json.dumps(cases))
    script = Path(__file__).parent / "plain.mjs"
    command = [*packages.node(), str(script), str(client), str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def test_its_bytes_are_ours_and_it_refuses_what_we_refuse(client: Path, tmp_path: Path) -> None:
    ours, theirs = Seal(ALICE, BOB.public, b"context"), Seal(BOB, ALICE.public, b"context")
    boxes = [theirs.seal(i, b"box %d" % i) for i in (1, 2, 2, 9, 5)]
    boxes += [boxes[3][:-1] + b"x", b"short", Seal(EVE, ALICE.public, b"context").seal(99, b"eve")]
    good, other = a_proposal("good"), a_proposal("good", kind="other")
    forged = SignedProposal(
        a_proposal("forged"), sign_proposal(EVE, a_proposal("forged")).signature
    )
    vote = sign_vote(EVE, good, 3, True)
    frames: list[str] = [
        framed(forged),
        framed(sign_proposal(BOB, Proposal("t", "x", 2, 1, "note", (), 10**6))),
        framed(sign_proposal(BOB, a_proposal("late", deadline=1))),
        framed(sign_proposal(BOB, good)),
        framed(sign_proposal(BOB, other)),
        framed(msgspec.structs.replace(vote, voter=2)),
        framed(msgspec.structs.replace(vote, approve=False)),
        framed(vote),
        framed(sign_vote(EVE, good, 3, False, "changed my mind")),
        framed(sign_vote(BOB, good, 2, True)),
        text(b"\xc1"),
        text(msgspec.msgpack.encode([1, ["session"], b"\x91" * 5_000])),
        text(msgspec.msgpack.encode([1, ["session"], msgspec.msgpack.encode({"type": "Fetch"})])),
    ]
    nested = b"\x91" * 100_000 + b"\x01"
    hostile = [
        b"", b"\xc1", b"\xd9\xff", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff\x01", nested,
        b"\x81" * 50_000, b"\xa1\xff", b"\xcb" + b"\0" * 8, b"\x01\x02",
        msgspec.msgpack.encode({"type": "__proto__"}), msgspec.msgpack.encode({"type": "toString"}),
        msgspec.msgpack.encode(Fetch("x")) + b"\0",
        msgspec.msgpack.encode({"type": "Beat", "more": 1}),
        msgspec.msgpack.encode({"type": "Beat", "constructor": 1}),
    ]  # fmt: skip
    cases = {
        "seed": text(bytes([1]) * 32), "peer": text(BOB.public), "context": text(b"context"),
        "keys": {str(party): text(key) for party, key in KEYS.items()},
        "transcripts": [plain(parts) for parts in TRANSCRIPTS],
        "signatures": [
            [text(key), label, plain(parts), text(BOB.sign("label", "x", 1))]
            for key, label, parts in (
                (BOB.public, "label", ("x", 1)), (EVE.public, "label", ("x", 1)),
                (BOB.public, "other", ("x", 1)), (BOB.public, "label", ("x", "1")),
            )
        ],
        "plaintext": text(b"from alice"), "boxes": [text(box) for box in boxes],
        "packed": [text(msgspec.msgpack.encode(value)) for value in VALUES],
        "hostile": [text(data) for data in hostile], "frames": frames,
        "texts": ['{"type":"Ping","revision":1}', '{"type":"Ping"}', '{"type":"constructor"}',
                  '{"type":"Ping","revision":-1}', '{"type":"Ping","revision":1,"more":1}', "[]"],
        "descriptions": ["", "a=fingerprint:SHA-256 ab:cd\r\na=fingerprint:sha-1 00:11\r\n"],
    }  # fmt: skip
    told = run(client, tmp_path, {**cases, "carol": carol()})
    check_carol(told)

    assert told["transcripts"] == [encode(*parts).hex() for parts in TRANSCRIPTS]
    assert told["digest"] == digest("label", 1, "x").hex()
    assert told["signature"] == text(ALICE.sign("label", "x", 2))
    assert told["verified"] == [True, False, False, False]
    assert told["sealed"] == text(ours.seal(1, b"from alice"))
    opened = [base64.b64decode(one) if "Error" not in one else None for one in told["opened"]]
    assert opened == [b"box 1", b"box 2", None, b"box 9", None, None, None, None]
    for value, again in zip(VALUES, told["packed"], strict=True):
        assert msgspec.msgpack.decode(base64.b64decode(again)) == value
    assert all(one.startswith("Error: ") for one in told["hostile"]), told["hostile"]
    assert [one.startswith("Error") for one in told["texts"]] == [False, *[True] * 5]
    assert told["prints"][0].startswith("Error")
    assert told["prints"][1] == [["sha-1", "00:11"], ["sha-256", "AB:CD"]]

    # One proposal of Bob's stands, approved by two, and its other version is a proof against him.
    assert told["operations"][0] == {
        "op": good.op, "hash": good.hash.hex(), "votes": [3, 2], "ended": "committed",
    }  # fmt: skip
    blamed = [reason for what, reason in told["blames"] if what == "blamed"]
    expected = [
        "a proposal that party 2 did not sign", "a proposal for another session",
        "a proposal out of bounds", f"proposed two things under one id, {good.op}",
        "a vote that party 2 did not sign", "a vote that party 3 did not sign",
        f"voted both ways on {good.op}", "MessagePack of a kind", "MessagePack nested too deeply",
        "malformed message: no op",
    ]  # fmt: skip
    assert len(blamed) == len(expected), blamed
    assert all(reason.startswith(start) for reason, start in zip(blamed, expected, strict=True))

    # What it says itself is what our parties take.
    proposed = decoder(SessionMessage)(base64.b64decode(told["proposed"]))
    voted = decoder(SessionMessage)(base64.b64decode(told["vote"]))
    assert isinstance(proposed, SignedProposal)
    assert isinstance(voted, SignedVote)
    check_proposal(proposed, "s", KEYS)
    check_vote(voted, "s", KEYS)
    assert voted.proposal_hash == proposed.proposal.hash
    assert proposed.proposal.params == (("a", 7), ("text", "héllo"))
    assert proposed.op == voted.op


def test_it_passes_its_own_test_by_the_documented_vectors(client: Path) -> None:
    vectors = CLIENT.parents[1] / "docs" / "wire-vectors.json"
    ran = subprocess.run(
        [*packages.node(), "test.mjs"], cwd=client, env={"WIRE_VECTORS": str(vectors)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
    assert "pass 7" in ran.stdout


# --- among our parties --------------------------------------------------------------------------


class Terminal:
    """The client in a process of its own: what it tells, and what it is told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[dict[str, Any]] = []
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):  # closed, or killed in the middle of a line
            for line in self.process.stdout:
                self._lines.put(json.loads(line))

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first event, of those that came already too, for which it holds."""
        deadline = time.monotonic() + PATIENCE
        looked = 0
        while True:
            for event in self.said[looked:]:
                if holds(event):
                    return event
            looked = len(self.said)
            try:
                self.said.append(self._lines.get(timeout=deadline - time.monotonic()))
            except (queue.Empty, ValueError):
                raise AssertionError(f"it never came to pass: {self.said}") from None

    def event(self, what: str, **fields: Any) -> dict[str, Any]:
        return self.until(lambda e: e["what"] == what and fields.items() <= e.items())

    def do(self, **wish: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(wish) + "\n")
        self.process.stdin.flush()


@contextmanager
def terminal(client: Path, url: str, lab: Lab, party: int, *more: str) -> Iterator[Terminal]:
    scenario = lab.scenario
    words = ["--session", scenario.session, "--party", str(party), "--parties"]
    words += [str(scenario.parties), "--threshold", str(scenario.threshold)]
    words += ["--policy", scenario.policy, "--agreement", scenario.agreement, *more]
    command = [*packages.node(), str(client / "node.mjs"), url, *words]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        told = Terminal(process)
        try:
            yield told
        finally:
            process.kill()
            told.reader.join()


@pytest.mark.parametrize(
    ("world", "agreement", "party", "way"),
    [
        ("webrtc", "direct", 1, "link"),  # it offers
        ("webrtc", "pbft", 4, "link"),  # it answers, and its silence in pbft is borne
        ("websocket", "raft", 2, "relay"),  # all by the server, sealed
    ],
)
def test_it_joins_confirms_and_votes(
    client: Path, tmp_path: Path, world: str, agreement: str, party: int, way: str
) -> None:
    n = 4 if agreement == "pbft" else 3
    with Lab(
        world=world, session="plain", parties=n, threshold=2, agreement=agreement
    ) as lab:  # fmt: skip
        url = lab.start_server(0).url
        ours = [p for p in range(1, n + 1) if p != party]
        lab.spawn(*ours)
        lab.join(wait=False)
        store = str(tmp_path / "store.json")
        with terminal(client, url, lab, party, "--store", store) as js:
            for other in ours:
                js.event("peer", party=other, via=way)
            op = lab.propose(by=ours[0], kind="note", text="wörd").id
            heard = js.event("proposed", op=op)
            assert heard["params"] == {"text": "wörd"}
            assert not any(e["what"] == "committed" for e in js.said)  # without its vote nothing is
            js.do(approve=op)
            told = js.event("committed", op=op)
            if agreement == "direct":  # two processes on one store would vote both ways
                with terminal(
                    client, url, lab, party, "--store", str(tmp_path / "." / "store.json")
                ) as twin:
                    assert twin.process.wait(PATIENCE) == 3
                    assert twin.said == []
            js.do(approve=op)
            assert "a vote is final" in js.event("error")["reason"]
            js.do(propose="note", params={"text": "from afar"})
            mine = js.event("proposed", by=party)["op"]
            js.event("committed", op=mine)
            rejected = lab.propose(by=ours[0], kind="note", text="never").id
            js.event("proposed", op=rejected)
            js.do(reject=rejected, reason="no")
            outcomes = {o.op: o for o in lab.run()}
            assert [outcomes[o].status for o in (op, mine, rejected)] == [
                "committed", "committed", "aborted",
            ]  # fmt: skip
            assert outcomes[mine].by == party
            # One certificate, with its approval in it; one hash of the whole proposal.
            record = lab.world.look(ours[0], lambda node: _certificate(node, op))
            assert party in [p for p, _ in record.approvals]
            assert record.signed.proposal.hash.hex() == heard["hash"] == told["hash"]
            assert [v for v in lab.check() if v.verdict == "violated"] == []
            assert not any(e["what"] == "blamed" for e in js.said)
        if agreement != "direct":
            return
        # It is killed, and comes back in another incarnation as the same party.
        with terminal(client, url, lab, party, "--store", store, "--votes", "approve") as js:
            for other in ours:
                js.event("peer", party=other, via=way)
            op = lab.propose(by=ours[1], kind="note", text="again").id
            js.event("committed", op=op)


def _certificate(node: Any, op: str) -> Certificate:
    certificate: Certificate = node.machine(("session",)).history[op].certificate
    return certificate
