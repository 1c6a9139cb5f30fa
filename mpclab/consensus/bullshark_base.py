"""The base of Bullshark: its state and DAG, timers, who missed something asks, and the store.

Narwhal has a party ask for what a vertex refers to. So here: it says which vertices it
holds, and is sent the others, each with its certificate. Of those that are forgotten it is told
what was ordered, and takes what f + 1 parties tell alike.
"""

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from mpclab.consensus.agreement import Agreement
from mpclab.consensus.backlog import Backlog
from mpclab.consensus.bullshark_dag import DEPTH, Dag, parts
from mpclab.consensus.bullshark_history import History
from mpclab.consensus.bullshark_messages import (
    ACK,
    BullsharkCertificate,
    BullsharkCommits,
    BullsharkPropose,
    BullsharkStatus,
    BullsharkVertices,
    Certified,
    Commit,
    Place,
    Vertex,
    Votes,
    digest_of,
)
from mpclab.consensus.options import Options, count, duration
from mpclab.consensus.quorum import at_least, max_faulty, signed_by
from mpclab.core import notes
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx

_encode = msgspec.msgpack.encode


@dataclass(frozen=True, kw_only=True)
class BullsharkOptions(Options):
    """The settings of Bullshark, `batch` the same for all parties: a fuller vertex is not valid."""

    timeout: int | None = duration(
        None, "how long a round waits for its anchor, or its votes (half of patience)"
    )
    batch: int = count(16, "operations in a vertex, at most", most=256)

    @property
    def wait(self) -> int:
        """µs."""
        return self.patience // 2 if self.timeout is None else self.timeout


class BullsharkBase(Agreement):
    """The state of one party, and what it owes to others who missed something."""

    title = "Bullshark"
    orders = True
    options_type = BullsharkOptions
    options: BullsharkOptions
    unvaried = (BullsharkCertificate, BullsharkVertices)
    archives = frozenset({"vertex", "commit", "old"})

    BLOCK_BYTES: ClassVar = 128 * 1024
    """Bytes of values in a vertex, at most, unless it has one operation alone."""
    REACH: ClassVar = DEPTH
    """What is of so many rounds beyond the last one that we know of is kept."""
    SPAN: ClassVar = 1024
    """Rounds that a status tells of, at most. It is `DEPTH` and a few, unless no anchor is ordered
    for long."""
    PAGE: ClassVar = 64
    """Vertices or commits in one answer, at most; and 128 KiB of values, about."""
    PAGE_BYTES: ClassVar = 128 * 1024
    GOSSIP: ClassVar = 5
    """Patiences between asking a few others whether we missed anything."""
    TRIES: ClassVar = 12
    """Pairs of rounds, or retransmissions, in vain before we count an operation as blocked."""

    f: int
    quorum: int
    """n − f."""
    members: frozenset[Party]

    dags: ClassVar[type[Dag]] = Dag
    dag: Dag
    ordered: History
    """What is ordered."""
    round: int
    """Where we are. Our vertex may be of an earlier one, when the others were faster."""
    expired: bool
    """We have waited long enough for the anchor of this round, or its votes."""
    mine: Vertex | None
    """Our last vertex."""
    acks: dict[Party, bytes]
    """Who acknowledged it."""
    heard: dict[Place, tuple[Vertex, bytes]]
    """The first vertex that each source proposed in a round, and its hash."""
    acked: set[Place]
    """Those that we acknowledged, or need not."""
    proofs: dict[Place, BullsharkCertificate]
    """Certificates of vertices that did not come."""
    waiting: dict[Place, Certified]
    """Certified vertices of which not the whole history is here."""
    shown: dict[Party, BullsharkCommits]
    """The last commits that each party told of."""
    asked: dict[Party, int]
    """Until when we ask each party nothing more."""
    backlog: Backlog
    timers: dict[str, bool]
    """Those that are set, and whether they keep the run going."""

    @classmethod
    def check_size(cls, n: int) -> None:
        at_least(n, 4, cls.title, "n > 3f, and with fewer nobody may lie")

    def start(self, ctx: Ctx) -> None:
        self.f = max_faulty(ctx.n)
        self.quorum = ctx.n - self.f
        self.members = frozenset(ctx.members)
        self.dag = self.dags(ctx.n, self.f)
        self.ordered = History(self.recall)
        self.round = 0
        self.expired, self.mine = False, None
        self.acks, self.heard, self.proofs, self.waiting = {}, {}, {}, {}
        self.acked = set()
        self.shown, self.asked, self.timers = {}, {}, {}
        self.backlog = Backlog(max(self.TRIES, ctx.n))  # f anchors in a row may be dead
        if ctx.stored:
            self._recover(ctx)
        ctx.set_timer("gossip", self.GOSSIP * self.patience, background=True)

    def run(self, ctx: Ctx) -> None:
        """Apply what rules apply."""
        raise NotImplementedError

    # --- what is known ----------------------------------------------------------------------

    @property
    def invited(self) -> bool:
        """Whether somebody has begun the next round."""
        return any(round > self.round for round, _ in self.acked)

    @property
    def is_uncertified(self) -> bool:
        """Whether our last vertex has not enough acknowledgements yet."""
        place = (0, 0) if self.mine is None else self.mine.place
        return not self.dag.holds(place) and place not in self.waiting

    def is_near(self, round: int) -> bool:
        """Whether what is of this round is kept."""
        return self.dag.floor < round <= max(self.dag.top, self.round) + self.REACH

    def certifies(self, name: bytes, acks: Votes) -> bool:
        """Whether these certify a vertex; False when we do not know a party's key yet.

        Raises:
            PeerFault: they do not.
        """
        parties = {p for p, _ in acks}
        parts = self.session, name
        if (
            len(parties) != len(acks)
            or len(parties) < self.quorum
            or not parties <= self.members
            or not all(signed_by(self.keys[p], ACK, parts, s) for p, s in acks if p in self.keys)
        ):
            raise PeerFault("showed a vertex that n - f parties did not acknowledge")
        return parties <= self.keys.keys()

    # --- the DAG, and its order -------------------------------------------------------------

    def grow(self, ctx: Ctx) -> bool:
        """Add the certified vertices whose history is here; whether there were any."""
        grown = False
        for place, it in sorted(self.waiting.items()):
            if not self.dag.has_history(it.vertex):
                continue
            del self.waiting[place]
            self.proofs.pop(place, None)
            if not self.dag.holds(place):
                ctx.persist(key_of(place), _encode(it))
                self.add(ctx, it)
                grown = True
        return grown

    def add(self, ctx: Ctx, it: Certified) -> None:
        """r_deliver: its history is here."""
        vertex = it.vertex
        self.dag.add(it)
        for one in vertex.ops:  # somebody waits for them, so we all go on
            self.backlog.add(one.op, one.value)
        ctx.note(
            notes.VertexAdded(
                round=vertex.round, source=vertex.source,
                anchor=vertex.round % 2 == 1 and vertex.place == self.dag.anchor(vertex.round),
                parents=vertex.parents, weak=vertex.weak, ops=tuple(one.op for one in vertex.ops),
            )
        )  # fmt: skip

    def order(self, ctx: Ctx) -> None:
        """try_ordering: the anchors with enough votes, and those that a path leads to."""
        for anchor in self.dag.anchors():
            for vertices in parts(self.dag.history(anchor), self.BLOCK_BYTES):
                places = tuple(vertex.place for vertex in vertices)
                ops = tuple(one for vertex in vertices for one in vertex.ops)
                self.commit_next(ctx, Commit(anchor[0], places, ops))

    def commit_next(self, ctx: Ctx, commit: Commit) -> None:
        """The next anchor is ordered, with its history, or a part of that is."""
        self.ordered.add(ctx, commit)
        _, source = self.dag.anchor(commit.round)
        ctx.note(notes.AnchorOrdered(round=commit.round, source=source, vertices=commit.places))
        for one in commit.ops:
            if one.op not in self.backlog.done:  # it may stand in two vertices
                self.backlog.decide(ctx, one.op, one.value)
        self._forget(ctx, self.dag.order(commit.round, commit.places))

    def _forget(self, ctx: Ctx, dead: list[Vertex]) -> None:
        """What is below the floor, these vertices among it: nobody orders it any more."""
        for vertex in dead:
            for one in vertex.ops:
                self.backlog.forget(one.op)
        for kept in (self.heard, self.waiting, self.proofs):
            for place in [place for place in kept if place[0] <= self.dag.floor]:
                del kept[place]
        old = {place for place in self.acked if place[0] <= self.dag.floor}
        self.acked -= old
        for place in sorted(old.union(vertex.place for vertex in dead)):
            ctx.persist(key_of(place), None)

    # --- timers -----------------------------------------------------------------------------

    def watch(self, ctx: Ctx) -> None:
        """While something is wanted a round must not last for ever; and what may have been lost is
        said again. What our user can do without keeps no run alive."""
        wanted = bool(self.backlog.pending)
        alive = wanted and not self.backlog.is_hopeless
        if (wanted or self.invited) and not self.expired:
            vain = max(0, self.round - self.dag.last) // (2 * len(self.members))
            self._arm(ctx, "round", self.options.wait << min(vain, 6), alive)
        else:
            self.stop(ctx, "round")
        if wanted or self.is_uncertified or self.lacks_something:
            self._arm(ctx, "again", self.patience // 2 if alive else 4 * self.patience, alive)
        else:
            self.stop(ctx, "again")
        if self.lacks_something and (wanted or self.invited):
            self._arm(ctx, "missing", self.patience // 8, alive)
        else:
            self.stop(ctx, "missing")

    @property
    def unanswered(self) -> set[Place]:
        """The vertices that we did not acknowledge: we lack what they refer to."""
        return self.heard.keys() - self.acked

    @property
    def lacks_something(self) -> bool:
        """Whether we know of vertices that are not here."""
        return bool(self.unanswered or self.proofs or self.waiting)

    def _arm(self, ctx: Ctx, timer: str, delay: int, alive: bool) -> None:
        if self.timers.get(timer) is not alive:
            self.timers[timer] = alive
            ctx.set_timer(timer, delay, background=not alive, foreground=alive)

    def stop(self, ctx: Ctx, timer: str) -> None:
        if self.timers.pop(timer, None) is not None:
            ctx.cancel_timer(timer)

    def say_again(self, ctx: Ctx) -> None:
        """The round does not end: what may have been lost."""
        if self.backlog.pending:
            self.backlog.attempt(ctx, f"round {self.round} has no quorum of {self.quorum}")
        self.repeat(ctx)
        ctx.multicast(ctx.others, self.status())

    def repeat(self, ctx: Ctx) -> None:
        """Our vertex, to those who did not acknowledge it."""
        if self.mine is not None and self.is_uncertified:
            silent = [p for p in ctx.others if p not in self.acks]
            ctx.multicast(silent, BullsharkPropose(self.mine))
            if ctx.me not in self.acks:
                ctx.send(ctx.me, BullsharkPropose(self.mine))

    # --- who missed something asks ----------------------------------------------------------

    def status(self) -> BullsharkStatus:
        dag = self.dag
        return BullsharkStatus(self.round, len(self.ordered), dag.floor + 1, dag.held(self.SPAN))

    def ask_what_is_missing(self, ctx: Ctx) -> None:
        """Of those who must know: a source may show its certificate to one of us alone, and whoever
        refers to that vertex has it."""
        places = self.unanswered | self.proofs.keys() | self.waiting.keys()
        for source in sorted({source for _, source in places}):
            self.ask(ctx, source)

    def ask(self, ctx: Ctx, party: Party) -> None:
        """`party` knows something that we lack: what? Not too often."""
        if party != ctx.me and ctx.now >= self.asked.get(party, 0):
            self.asked[party] = ctx.now + self.patience // 4
            ctx.send(party, self.status())

    def take_status(self, ctx: Ctx, sender: Party, msg: BullsharkStatus) -> None:
        """Tell `sender` what it lacks of what we know."""
        if len(msg.held) > self.SPAN or any(len(row) > len(self.members) for row in msg.held):
            raise PeerFault("says that it holds more than there can be")
        if sender == ctx.me:
            return
        size = self.PAGE, self.PAGE_BYTES
        if msg.commits < len(self.ordered) and msg.first <= self.dag.floor:
            if commits := self.ordered.page(msg.commits, *size):
                ctx.send(sender, BullsharkCommits(msg.commits, commits))
        elif vertices := self.dag.page(msg.first, msg.held, *size):
            ctx.send(sender, BullsharkVertices(vertices))
        if sender not in self.acks:
            self.repeat(ctx)
        if msg.round > self.round or msg.commits > len(self.ordered):
            self.ask(ctx, sender)

    def take_vertices(self, ctx: Ctx, sender: Party, vertices: tuple[Certified, ...]) -> None:
        """Add what can be added, the earlier rounds first."""
        new = [
            it
            for it in vertices[: self.PAGE]
            if not self.dag.holds(it.vertex.place) and self.certifies(digest_of(it.vertex), it.acks)
        ]
        grown = 0
        for it in new:
            if self.is_near(it.vertex.round):
                self.waiting[it.vertex.place] = it
                grown += self.grow(ctx)
        if grown:
            self.order(ctx)
            ctx.send(sender, self.status())  # is there more?
        self.run(ctx)

    def take_commits(self, ctx: Ctx, sender: Party, msg: BullsharkCommits) -> None:
        """What f + 1 parties tell alike, one honest party tells."""
        if len(msg.commits) > self.PAGE or not self._are_in_order(msg.commits):
            raise PeerFault("told of commits that are not in order")
        self.shown[sender] = msg
        begun = len(self.ordered)
        while (commit := self._told_alike(len(self.ordered))) is not None:
            self.commit_next(ctx, commit)
        if new := len(self.ordered) - begun:
            ctx.note(notes.CaughtUp(records=new, source=sender))
            ctx.multicast(sorted(self.shown), self.status())
            self.shown = {}
        self.run(ctx)

    def _are_in_order(self, commits: tuple[Commit, ...]) -> bool:
        """Each of an anchor's round, and of the same one until that anchor itself is ordered."""
        return all(commit.round % 2 for commit in commits) and all(
            one.round < other.round
            if self.dag.anchor(one.round) in one.places
            else one.round == other.round
            for one, other in itertools.pairwise(commits)
        )

    def _told_alike(self, number: int) -> Commit | None:
        told = Counter(
            msg.commits[number - msg.first]
            for msg in self.shown.values()
            if 0 <= number - msg.first < len(msg.commits)
        )
        return next((commit for commit, times in told.items() if times > self.f), None)

    # --- the store --------------------------------------------------------------------------

    def _recover(self, ctx: Ctx) -> None:
        for commit in self.ordered.recover(ctx):
            for one in commit.ops:
                if one.op not in self.backlog.done:
                    self.backlog.decide(ctx, one.op, one.value)
            self.dag.order(commit.round, commit.places)
        certified: list[Certified] = []
        for key, data in ctx.stored.items():
            if key.startswith("vertex/"):
                it = msgspec.msgpack.decode(data, type=Certified)
                if it.vertex.round <= self.dag.floor:
                    ctx.persist(key, None)
                    continue
                self.heard[it.vertex.place] = it.vertex, digest_of(it.vertex)
                self.acked.add(it.vertex.place)
                if it.acks:
                    certified.append(it)
        for it in sorted(certified, key=lambda it: it.vertex.place):
            self.add(ctx, it)
        self.order(ctx)  # the crash came before we stored that
        if (mine := ctx.stored.get("mine")) is not None:
            self.mine = msgspec.msgpack.decode(mine, type=Vertex)
            self.round = self.mine.round
            if self.is_uncertified:
                ctx.broadcast(BullsharkPropose(self.mine))  # what we may have said is said again
        ctx.multicast(ctx.others, self.status())
        self.run(ctx)


def key_of(place: Place) -> str:
    """What a vertex is stored under."""
    return f"vertex/{place[0]}/{place[1]}"
