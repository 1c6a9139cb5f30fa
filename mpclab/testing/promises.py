"""What an honest party promises by what it says: it never contradicts that, in this life or a later
one.

A promise is a question with the answer that was given. Most questions are one party's (how did it
vote in view 3?); of some every honest party gives the same answer (who leads term 2?). Nothing here
is shared with `mpclab.check`, nor with the protocols but for the names of their messages: a mutant
of a protocol speaks with copies of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from mpclab.consensus import tendermint_messages as tendermint
from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.crypto.transcript import digest

Promise: TypeAlias = tuple[tuple[Any, ...], Any]
"""A question and the answer that was given: the same question never gets another answer."""

Promises: TypeAlias = Callable[[Party, tuple[Party, ...], Any], Iterator[Promise]]
"""From who says it to whom, and the message."""

NEITHER = 2
"""Ben-Or's "?"."""
RANKS = {"asked": 0, "uncertain": 1, "ready": 2, "committed": 3, "aborted": 3}
"""3pc: the states of a party, none of which is followed by one before it."""


class Broken(Exception):
    """A promise was broken."""


def _pbft(me: Party, to: tuple[Party, ...], msg: Any) -> Iterator[Promise]:
    match type(msg).__name__:
        case "PbftPrePrepare":
            yield (("proposed", me, msg.view, msg.seq), (msg.op, msg.value))
        case "PbftPrepare":
            yield (("prepared", me, msg.view, msg.seq), msg.digest)
        case "PbftCommit":
            yield (("committed", me, msg.view, msg.seq), msg.digest)
            yield (("prepared by a quorum", msg.view, msg.seq), msg.digest)
        case "PbftCheckpoint":
            yield (("history", msg.seq), msg.digest)
        case "PbftViewChange":
            yield (("left", me, msg.view), msg)
        case "PbftNewView":
            yield (("began", me, msg.view), msg)  # or shows how it began


def _raft(me: Party, to: tuple[Party, ...], msg: Any) -> Iterator[Promise]:
    match type(msg).__name__:
        case "RaftRequestVote" if not msg.pre:
            yield (("voted", me, msg.term), me)
        case "RaftRequestVoteResponse" if msg.granted and not msg.pre:
            yield (("voted", me, msg.term), to[0])
        case "RaftAppendEntries":
            yield (("leads", msg.term), me)
            prev_term = msg.prev_term
            for index, entry in enumerate(msg.entries, msg.prev + 1):
                # §5.3, Log Matching: one entry for an index and a term, and one before it
                yield (("entry", index, entry.term), (entry.op, entry.value, prev_term))
                prev_term = entry.term
        case "RaftHeartbeat" | "RaftInstallSnapshot":
            yield (("leads", msg.term), me)


def _paxos(me: Party, to: tuple[Party, ...], msg: Any) -> Iterator[Promise]:
    match type(msg).__name__:
        case "PaxosPrepare" | "PaxosLead":
            yield (("owns", msg.ballot), me)
        case "PaxosAccept":
            yield (("owns", msg.ballot), me)
            yield (("proposed", msg.ballot, msg.slot), msg.command)
        case "PaxosChosen":
            for slot, command in enumerate(msg.commands, msg.first):
                yield (("chosen", slot), command)


def _vr(me: Party, to: tuple[Party, ...], msg: Any) -> Iterator[Promise]:
    match type(msg).__name__:
        case "VrPrepare":
            yield (("leads", msg.view), me)
            yield (("prepared", msg.view, msg.number), msg.command)
        case "VrCommit":
            yield (("leads", msg.view), me)
        case "VrStartView":
            yield (("leads", msg.view), me)
            for number, command in enumerate(msg.entries, msg.commit + 1):
                yield (("prepared", msg.view, number), command)
        case "VrNewState":
            for number, command in enumerate(msg.commands, msg.number + 1):
                yield (("committed", number), command)


def _hotstuff(me: Party, to: tuple[Party, ...], msg: Any) -> Iterator[Promise]:
    match type(msg).__name__:
        case "HotStuffVote":
            yield (("voted", me, msg.view, msg.phase), msg.block)
        case "HotStuffPropose" | "ChainedGeneric":
            yield (("proposed", me, msg.block.view), msg.block)
        case "HotStuffAdvance":
            # any two certificates of one view share an honest voter
            yield (("certified", msg.qc.view), msg.qc.block)


def _bracha(me: Party, to: tuple[Party, ...], msg: Any) -> Iterator[Promise]:
    match type(msg).__name__:
        case "BrachaInit":
            yield (("dealt", me, msg.op), msg.value)
        case "BrachaEcho":
            yield (("echoed", me, msg.dealer, msg.op), msg.value)
        case "BrachaReady":
            # the first honest one comes from a quorum of ECHOs, and two of these share an honest
            yield (("ready", msg.dealer, msg.op), msg.digest)


def acs_promises(me: Party, to: tuple[Party, ...], msg: Any) -> Iterator[Promise]:
    match type(msg).__name__:
        case "AcsVal":
            yield (("dealt", me, msg.epoch), msg.root)
        case "AcsEcho":
            yield (("echoed", me, msg.epoch, msg.of), msg.root)
        case "AcsReady":  # the first honest one comes from n − f ECHOs, as in `bracha`
            yield (("ready", msg.epoch, msg.of), msg.root)
        case "AcsAux":
            yield (("aux", me, msg.epoch, msg.of, msg.round), msg.bit)
        case "AcsConf":
            yield (("conf", me, msg.epoch, msg.of, msg.round), msg.bits)
        case "AcsFinish":
            yield (("finished", msg.epoch, msg.of), msg.bit)
        case "AcsEnded":
            yield (("ended", msg.epoch), msg.ops)


def _dolev_strong(me: Party, to: tuple[Party, ...], msg: Any) -> Iterator[Promise]:
    match type(msg).__name__:
        case "DolevStrongChain":
            if len(msg.chain) == 1:
                yield (("broadcast", me, msg.op), msg.value)
        case "DolevStrongSettled":
            yield (("settled", me, msg.op), msg.value)


def _ben_or(me: Party, to: tuple[Party, ...], msg: Any) -> Iterator[Promise]:
    match type(msg).__name__:
        case "BenOrReport":
            yield (("reported", me, msg.op, msg.round), msg.bit)
        case "BenOrProposal":
            yield (("proposed", me, msg.op, msg.round), msg.bit)
            if msg.bit != NEITHER:  # a majority reported it
                yield (("carried", msg.op, msg.round), msg.bit)
        case "BenOrSettled":
            yield (("settled", msg.op), msg.bit)


def _atomic(me: Party, to: tuple[Party, ...], msg: Any) -> Iterator[Promise]:
    match type(msg).__name__:
        case "AtomicPrepare":
            yield (("asked", msg.op), (me, msg.value))
        case "AtomicVote":
            yield (("voted", me, msg.op), (msg.approve, msg.signature))
        case "AtomicOutcome":
            yield (("ended", msg.op), msg.commit)


def tendermint_promises(me: Party, to: tuple[Party, ...], msg: Any) -> Iterator[Promise]:
    match type(msg).__name__:
        case "TendermintProposal":
            about = (msg.height, msg.round)
            yield (("proposed", me, *about), (msg.block, msg.valid_round))
        case "TendermintPrevote":
            yield (("prevoted", me, msg.height, msg.round), msg.id)
        case "TendermintPrecommit":
            yield (("precommitted", me, msg.height, msg.round), msg.id)
            if msg.id != tendermint.NIL:
                yield (("prevoted by a quorum", msg.height, msg.round), msg.id)
        case "TendermintPolka":
            yield (("prevoted by a quorum", msg.height, msg.round), tendermint.id_of(msg.block))
        case "TendermintCommits":
            for commit in msg.commits:
                yield (("decided", commit.height), commit.block)


def _streamlet(me: Party, to: tuple[Party, ...], msg: Any) -> Iterator[Promise]:
    match type(msg).__name__:
        case "StreamletPropose":
            yield (("proposed", me, msg.block.epoch), msg.block)
        case "StreamletVote":
            yield (("voted", me, msg.epoch), msg.block)
        case "StreamletChain":
            for one in msg.chain:  # any two certificates of one epoch share an honest voter
                yield (("notarised", one.block.epoch), one.block)


def _bullshark(me: Party, to: tuple[Party, ...], msg: Any) -> Iterator[Promise]:
    match type(msg).__name__:
        case "BullsharkPropose":
            yield (("proposed", me, msg.vertex.round), msg.vertex)
        case "BullsharkAck":
            yield (("acknowledged", me, to[0], msg.round), msg.vertex)
        case "BullsharkCertificate":
            yield (("certified", me, msg.round), msg.vertex)
        case "BullsharkVertices":
            for one in msg.vertices:  # two certificates share an honest party
                yield (("in the DAG", one.vertex.round, one.vertex.source), one.vertex)
        case "BullsharkCommits":
            for number, commit in enumerate(msg.commits, msg.first):
                yield (("ordered", number), commit)


PROMISES: dict[str, Promises] = {
    "2pc": _atomic,
    "3pc": _atomic,
    "raft": _raft,
    "paxos": _paxos,
    "vr": _vr,
    "pbft": _pbft,
    "hotstuff": _hotstuff,
    "chained-hotstuff": _hotstuff,
    "hotstuff-2": _hotstuff,
    "tendermint": tendermint_promises,
    "streamlet": _streamlet,
    "acs": acs_promises,
    "dolev-strong": _dolev_strong,
    "bullshark": _bullshark,
    "bracha": _bracha,
    "ben-or": _ben_or,
}
"""What the messages of a protocol promise, by its word."""


class Statements:
    """What the honest parties of one run have said so far."""

    def __init__(self, protocol: str) -> None:
        self.promises = PROMISES.get(protocol)
        self.answers: dict[tuple[Any, ...], Any] = {}
        # PBFT, VR: the latest view that each has left for; Paxos: the highest ballot it promised
        self.left: dict[Party, int] = {}
        self.ranks: dict[tuple[Party, str], int] = {}  # 3pc: how far each has come

    def said(self, me: Party, to: tuple[Party, ...], msg: Message) -> None:
        """An honest party says `msg`.

        Raises:
            Broken: it, or another, had promised otherwise.
        """
        if self.promises is None:
            return
        for question, answer in self.promises(me, to, msg):
            known = self.answers.setdefault(question, answer)
            if known is not answer and known != answer:
                raise Broken(f"{_told(question)}: {_short(known)} and {_short(answer)}")
        self._never_back(me, msg)

    def _never_back(self, me: Party, msg: Any) -> None:
        match type(msg).__name__:
            case "PbftViewChange":
                self.left[me] = max(msg.view, self.left.get(me, 0))
            case "PbftPrepare" | "PbftCommit" if msg.view < self.left.get(me, 0):
                raise Broken(f"party {me} votes in view {msg.view}, which it had left: {msg}")
            case "VrStartViewChange" | "VrDoViewChange":
                self.left[me] = max(msg.view, self.left.get(me, 0))
            case "VrPrepareOk" if msg.view < self.left.get(me, 0):
                raise Broken(f"party {me} takes part in a view that it had left: {msg}")
            case "PaxosPromise":
                self.left[me] = max(msg.ballot, self.left.get(me, 0))
            case "PaxosAccepted" if msg.ballot < self.left.get(me, 0):
                raise Broken(f"party {me} accepts under a ballot below its promise: {msg}")
            case "ThreePhaseState" | "ThreePhaseAck":
                rank = RANKS[getattr(msg, "state", "ready")]
                if rank < self.ranks.get((me, msg.op), 0):
                    raise Broken(f"party {me} has gone back in {msg.op}: {msg!r:.90}")
                self.ranks[me, msg.op] = rank


def _told(question: tuple[Any, ...]) -> str:
    word, *about = question
    return f"{word} {_short(tuple(about))}"


def _short(value: Any) -> str:
    """In so few letters that two different ones can be told apart."""
    match value:
        case tuple():
            return f"({', '.join(map(_short, value))})"
        case bytes():
            return digest("told", value)[:3].hex()
        case int() | str() | None:
            return str(value)
    return _short(repr(value).encode())


__all__ = [
    "PROMISES",
    "Broken",
    "Promise",
    "Promises",
    "Statements",
    "acs_promises",
    "tendermint_promises",
]
