"""`bullshark`: everybody proposes in every round, and the order is read off who refers to whom.

A. Spiegelman, N. Giridharan, A. Sonnino and L. Kokoris-Kogias, "Bullshark: the partially
synchronous version", 2022 (arXiv 2209.05633), whose procedures are named; the same authors,
"Bullshark: DAG BFT protocols made practical", CCS 2022, for weak edges. The broadcast is that of
G. Danezis, L. Kokoris-Kogias, A. Sonnino and A. Spiegelman, "Narwhal and Tusk", EuroSys 2022.

* Assumes: n > 3f, at most f Byzantine, authenticated links, unforgeable signatures. Safety needs
  no timing. Progress needs partial synchrony: timeouts grow while no anchor is ordered. An honest
  party's store outlives a crash.
* Guarantees: one log, and each vertex that an honest party holds is soon in it, whoever made it.

In each *round* every party makes one *vertex*: its operations, and edges to n − f or more vertices
of the round before. Reliable broadcast **certifies** it: others acknowledge the first vertex of a
round that they hear of its source, if they hold all that it refers to; n − f acknowledgements are
its certificate. All parties so build one **DAG**, each at its pace, and no further message is sent:
in odd rounds the vertex of one party, by round-robin, is the **anchor**, and a vertex of the next
round with an edge to it is a vote. An anchor with f + 1 votes is **ordered**, with all that it
refers to and that is not ordered yet. Before it come the earlier anchors to which a path leads from
it (`Dag.anchors`). There is no view change.

Why it is safe. A vertex is certified by n − f parties, and two such sets share an honest one: so no
source has two certified vertices in a round. Any n − f vertices of a round meet any f + 1 of it,
n − f + f + 1 > n: once an anchor has f + 1 votes, every later anchor has a path to it. So whoever
did not see the votes finds the anchor when it walks back from the next one; and whether there is a
path, all see alike.

Figures that follow from this, here asserted. A round has 3n(n − 1) messages and takes three delays:
vertex, acknowledgements, certificate. Measured from when a vertex is proposed, an anchor is ordered
after two rounds (six delays), a vertex of a voting round after three, another one of an anchor's
round after four. Who rests when it is asked joins one delay later: from rest seven, thirteen when
it is not the anchor's operation.

Deviations. *Rest*: a party begins a round when it wants something ordered or acknowledged another's
vertex of that round; so nothing is sent when all is ordered. *Garbage collection* is by rounds, as
Narwhal's: an anchor orders the last `DEPTH` rounds before it, and what is older is forgotten. The
CCS paper's rule by time stamps, which is fairer to the slow, is not here. *Edges* name places, not
hashes, since each place has one certified vertex. *Votes* are looked for in the whole DAG, not in
the edges of one vertex. *Who missed something* asks: it says which vertices it holds and is sent
the others, each with its certificate; when they are forgotten it is told what was ordered, and
takes what f + 1 parties tell alike. A vertex of ours, one that we acknowledge and a certified one
are stored before anything is said of them. *What an anchor orders* is committed in parts that fit
into messages.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from mpclab.consensus.agreement import Submit, flipped, with_values
from mpclab.consensus.bullshark_base import BullsharkBase, key_of
from mpclab.consensus.bullshark_messages import (
    ACK,
    BullsharkAck,
    BullsharkCertificate,
    BullsharkCommits,
    BullsharkOp,
    BullsharkPropose,
    BullsharkStatus,
    BullsharkVertices,
    Certified,
    Commit,
    Vertex,
    digest_of,
)
from mpclab.consensus.quorum import signed_by
from mpclab.core import notes
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message

_encode = msgspec.msgpack.encode


class Bullshark(BullsharkBase):
    """One party of the paper."""

    # --- what happens -----------------------------------------------------------------------

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value) if op and self.fits(op, value):
                if self.backlog.add(op, value, own=True):
                    self.run(ctx)

    def on_message(
        self,
        ctx: Ctx,
        sender: Party,
        msg: BullsharkPropose
        | BullsharkAck
        | BullsharkCertificate
        | BullsharkStatus
        | BullsharkVertices
        | BullsharkCommits,
    ) -> None:
        match msg:
            case BullsharkPropose(vertex):
                self._on_propose(ctx, sender, vertex)
            case BullsharkAck():
                self._on_ack(ctx, sender, msg)
            case BullsharkCertificate():
                self._on_certificate(ctx, sender, msg)
            case BullsharkStatus():
                self.take_status(ctx, sender, msg)
            case BullsharkVertices(vertices):
                self.take_vertices(ctx, sender, vertices)
            case BullsharkCommits():
                self.take_commits(ctx, sender, msg)
        self.backlog.hear(sender)

    def on_timer(self, ctx: Ctx, name: str) -> None:
        self.timers.pop(name, None)
        match name:
            case "round":
                self.expired = True
            case "again":
                self.say_again(ctx)
            case "missing":
                self.ask_what_is_missing(ctx)
            case "gossip":
                ctx.multicast(ctx.rng.sample(ctx.others, self.f + 1), self.status())
                ctx.set_timer("gossip", self.GOSSIP * self.patience, background=True)
        self.run(ctx)

    def run(self, ctx: Ctx) -> None:
        """Apply what rules apply. Our own messages come back, and apply the next."""
        while self.grow(ctx):
            self.order(ctx)
        for place in sorted(self.unanswered):
            vertex, name = self.heard[place]
            if self.dag.has_history(vertex):
                self._acknowledge(ctx, vertex, name)
        self._move(ctx)
        self.watch(ctx)

    # --- rounds -----------------------------------------------------------------------------

    def _move(self, ctx: Ctx) -> None:
        """To the last round of which n − f vertices are here; then to the next, if we may."""
        full = [r for r in self.dag.rounds if self.dag.size(r) >= self.quorum]
        if (last := max(full, default=0)) > self.round:
            self._enter(ctx, last)  # the others were faster: none of ours is in it
        while self._may_leave():
            self._enter(ctx, self.round + 1)
            self._propose(ctx)

    def _may_leave(self) -> bool:
        """n − f vertices, and the anchor or its votes unless that took too long; and somebody wants
        the next round."""
        if self.round and self.dag.size(self.round) < self.quorum:
            return False
        if not (self.expired or self._is_complete(self.round)):
            return False
        # When it is hopeless we go on at the pace of the timer, which keeps no run alive.
        wanted = bool(self.backlog.pending) and (self.expired or not self.backlog.is_hopeless)
        return wanted or self.invited

    def _is_complete(self, round: int) -> bool:
        """The anchor is here; a round later, f + 1 votes for it, or too many against it."""
        if round % 2:
            return self.dag.at(self.dag.anchor(round)) is not None
        return round == 0 or self.dag.is_committed(round - 1) or self.dag.is_lost(round - 1)

    def _enter(self, ctx: Ctx, round: int) -> None:
        self.round, self.expired = round, False
        self.stop(ctx, "round")
        self.stop(ctx, "again")
        ctx.note(notes.EnteredView(view=round))
        if round % 2 and self.backlog.pending:
            self.backlog.attempt(ctx, f"round {round} begins, and it is not ordered")

    def _propose(self, ctx: Ctx) -> None:
        """create_new_vertex, once in a round: stored, then said."""
        if self.dag.anchor(self.round)[1] == ctx.me and self.round % 2:
            ctx.note(notes.BecameLeader(view=self.round))
        parents = tuple(sorted(self.dag.rounds.get(self.round - 1, ())))
        edges = [(self.round - 1, p) for p in parents]
        weak = self.dag.left_out(edges, self.round)[: ctx.n]
        self.mine = Vertex(self.round, ctx.me, self.next_ops(), parents, weak)
        self.acks = {}
        ctx.persist("mine", _encode(self.mine))
        ctx.broadcast(BullsharkPropose(self.mine))

    def next_ops(self) -> tuple[BullsharkOp, ...]:
        """What our user has waited for longest, as much as one vertex takes. What is in the DAG
        will be ordered; what was in a vertex of ours that nobody certified is said once more."""
        taken = {one.op for vertex in self.dag.unordered() for one in vertex.ops}
        found: list[BullsharkOp] = []
        size = 0
        for op, value in self.backlog.pending.items():
            if op in self.backlog.own and op not in taken:
                size += len(value)
                if len(found) == self.options.batch or (found and size > self.BLOCK_BYTES):
                    break
                found.append(BullsharkOp(op, value))
        return tuple(found)

    # --- reliable broadcast: vertex, acknowledgements, certificate --------------------------

    def is_valid(self, vertex: Vertex) -> bool:
        """Edges to n − f parties of the round before, weak ones to earlier rounds, a few; and
        operations once each, with values that fit, no more than a source may take."""
        round, parents, weak, ops = vertex.round, vertex.parents, vertex.weak, vertex.ops
        least = self.quorum if round > 1 else 0
        return (
            round > 0
            and least <= len(parents) == len(self.members.intersection(parents))
            and (round > 1 or not parents)
            and len(set(weak)) == len(weak) <= len(self.members)
            and all(0 < r < round - 1 and p in self.members for r, p in weak)
            and len({one.op for one in ops}) == len(ops) <= self.options.batch
            and (len(ops) == 1 or sum(len(one.value) for one in ops) <= self.BLOCK_BYTES)
            and all(one.op and self.fits(one.op, one.value) for one in ops)
        )

    def _on_propose(self, ctx: Ctx, sender: Party, vertex: Vertex) -> None:
        if vertex.source != sender or not self.is_valid(vertex):
            raise PeerFault(f"proposed an invalid vertex in round {vertex.round}")
        if not self.is_near(vertex.round):
            if vertex.round > self.dag.floor:
                self.ask(ctx, sender)
            return
        place, name = vertex.place, digest_of(vertex)
        if self.heard.get(place, (vertex, name))[1] != name:
            raise PeerFault(f"proposed two vertices in round {vertex.round}")
        held = self.dag.rounds.get(vertex.round, {}).get(sender)
        if held is not None and place in self.acked:
            ctx.send(sender, BullsharkVertices((held,)))  # a crash took its certificate
        elif place in self.acked:
            ctx.send(sender, self._signed(vertex.round, name))  # ours was lost
        elif vertex.round > self.dag.top + 1:
            self.ask(ctx, sender)  # what does it refer to?
        self.heard[place] = vertex, name
        proof = self.proofs.get(place)
        if proof is not None and proof.vertex == name:
            self.waiting[place] = Certified(vertex, proof.acks)
        self.run(ctx)

    def _acknowledge(self, ctx: Ctx, vertex: Vertex, name: bytes) -> None:
        """No other one of its source in this round: stored, then said. Not of a place that is taken
        in the DAG: there the certificate is stored, which may be of another vertex."""
        self.acked.add(vertex.place)
        if self.dag.at(vertex.place) is not None:
            return
        if vertex.source != ctx.me:
            ctx.persist(key_of(vertex.place), _encode(Certified(vertex, ())))
        ctx.send(vertex.source, self._signed(vertex.round, name))

    def _signed(self, round: int, name: bytes) -> BullsharkAck:
        return BullsharkAck(round, name, self.identity.sign(ACK, self.session, name))

    def _on_ack(self, ctx: Ctx, sender: Party, msg: BullsharkAck) -> None:
        if sender not in self.keys:
            return
        if not signed_by(self.keys[sender], ACK, (self.session, msg.vertex), msg.signature):
            raise PeerFault("acknowledged with a wrong signature")
        mine = self.mine
        if mine is None or msg.round != mine.round or not self.is_uncertified:
            return
        if msg.vertex != digest_of(mine):
            raise PeerFault(f"acknowledged what we did not propose in round {msg.round}")
        self.acks[sender] = msg.signature
        if len(self.acks) >= self.quorum:
            acks = tuple(sorted(self.acks.items()))
            self.waiting[mine.place] = Certified(mine, acks)
            ctx.multicast(ctx.others, BullsharkCertificate(mine.round, msg.vertex, acks))
            self.run(ctx)

    def _on_certificate(self, ctx: Ctx, sender: Party, msg: BullsharkCertificate) -> None:
        if not self.certifies(msg.vertex, msg.acks):
            return
        place = msg.round, sender
        if self.dag.holds(place) or place in self.waiting:
            return
        vertex, name = self.heard.get(place, (None, b""))
        if vertex is None or name != msg.vertex:
            self.ask(ctx, sender)
            if self.is_near(msg.round):
                self.proofs[place] = msg
        else:
            self.waiting[place] = Certified(vertex, msg.acks)
        self.run(ctx)

    # --- lies, for adversaries alone --------------------------------------------------------

    def variant(self, msg: Message, values: Mapping[bytes, bytes]) -> Message | None:
        """Another vertex, and acknowledgements of that one; other values in what was ordered."""
        match msg:
            case BullsharkPropose(vertex):
                other = self.other_vertex(vertex, values)
                return None if other is None else BullsharkPropose(other)
            case BullsharkAck(round, name):
                for vertex, heard in self.heard.values():
                    other = self.other_vertex(vertex, values)
                    if heard == name and other is not None:
                        return self._signed(round, digest_of(other))
                return self._signed(round, flipped(name))
            case BullsharkStatus():
                return msgspec.structs.replace(msg, round=msg.round + 1, commits=msg.commits + 1)
            case BullsharkCommits(first, commits):
                changed = tuple(
                    Commit(it.round, it.places, other_ops(it.ops, values)) for it in commits
                )
                return BullsharkCommits(first, changed) if changed != commits else None
        return None

    def resigned(self, msg: Message) -> Message:
        return self._signed(msg.round, msg.vertex) if isinstance(msg, BullsharkAck) else msg

    def other_vertex(self, vertex: Vertex, values: Mapping[bytes, bytes]) -> Vertex | None:
        """What its source could have proposed too: other values where there are any, else an
        operation less, or an edge less; None where it has neither."""
        if vertex.ops:
            return msgspec.structs.replace(vertex, ops=other_ops(vertex.ops, values))
        if len(vertex.parents) > self.quorum:
            return msgspec.structs.replace(vertex, parents=vertex.parents[1:])
        return msgspec.structs.replace(vertex, weak=vertex.weak[1:]) if vertex.weak else None


def other_ops(
    ops: tuple[BullsharkOp, ...], values: Mapping[bytes, bytes]
) -> tuple[BullsharkOp, ...]:
    changed = tuple(with_values(one, values) or one for one in ops)
    return changed if changed != ops else ops[1:]
