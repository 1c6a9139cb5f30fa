"""Real traces to draw: a small voting protocol in the simulated world, with things going wrong."""

import contextlib
import hashlib
from collections.abc import Callable

import msgspec

from mpclab.core import MS, Ctx, Machine, Message, Node, Party, notes
from mpclab.faults.link_rules import Delivery, Draw
from mpclab.faults.network import Delay, Network
from mpclab.trace import WORLD, Fault, Linked, Noted, Trace
from mpclab.worlds.simulated import SimulatedWorld


class Proposal(Message):
    op: str
    text: str


class Vote(Message):
    op: str
    approve: bool
    value: str


class Certificate(Message):
    op: str


class Propose(msgspec.Struct, frozen=True):
    op: str
    text: str


class Ballot(Machine):
    """Propose, vote, certify, commit when everyone approved; abort at the first rejection."""

    def __init__(self, mood: str = "approve") -> None:
        self.mood = mood
        self.votes: dict[str, dict[Party, bool]] = {}
        self.values: dict[str, str] = {}
        self.done: set[str] = set()
        self.certificates: dict[str, set[Party]] = {}

    def on_ask(self, ctx: Ctx, ask: Propose) -> None:
        ctx.note(notes.Proposed(op=ask.op, kind="note", by=ctx.me, text=ask.text))
        ctx.broadcast(Proposal(ask.op, ask.text))

    def on_message(self, ctx: Ctx, sender: Party, msg: Proposal | Vote | Certificate) -> None:
        match msg:
            case Proposal(op, text):
                if sender != ctx.me:
                    ctx.note(notes.Heard(op=op, kind="note", by=sender))
                self.values[op] = hashlib.sha256(text.encode()).hexdigest()[:12]
                ctx.set_timer(f"deadline {op}", 400 * MS)
                ctx.note(notes.Phase(phase="voting", op=op))
                if self.mood != "silent":
                    yes = self.mood != "reject"
                    reason = "" if yes else "too expensive"
                    ctx.note(notes.Voted(op=op, approve=yes, reason=reason))
                    ctx.broadcast(Vote(op, yes, self.values[op]))
            case Vote(op, approve):
                votes = self.votes.setdefault(op, {})
                votes[sender] = approve
                if op in self.done:
                    return
                if not approve:
                    self.abort(ctx, op, f"party {sender} rejected")
                elif len(votes) == ctx.n:
                    ctx.note(notes.Certified(op=op, approvals=sorted(votes)))
                    ctx.note(notes.Phase(phase="certified", op=op))
                    ctx.broadcast(Certificate(op))
            case Certificate(op):
                held = self.certificates.setdefault(op, set())
                held.add(sender)
                if 2 * len(held) > ctx.n and op not in self.done and op in self.values:
                    self.done.add(op)
                    ctx.cancel_timer(f"deadline {op}")
                    value = self.values[op]
                    ctx.note(
                        notes.Committed(
                            op=op,
                            kind="note",
                            index=len(self.done) - 1,
                            head=value[::-1],
                            value=value,
                        )
                    )
                    ctx.note(notes.Executed(op=op, result="noted"))
                    ctx.note(notes.Phase(phase="idle", op=op))

    def on_timer(self, ctx: Ctx, name: str) -> None:
        op = name.split()[1]
        missing = [p for p in ctx.members if p not in self.votes.get(op, {})]
        self.abort(ctx, op, f"no vote of {', '.join(map(str, missing))} in time")

    def abort(self, ctx: Ctx, op: str, reason: str) -> None:
        if op not in self.done:
            self.done.add(op)
            ctx.cancel_timer(f"deadline {op}")
            ctx.note(notes.Aborted(op=op, reason=reason, rejected=[], missing=[]))
            ctx.note(notes.Phase(phase="idle", op=op))


class _Cut:
    """No message crosses between the groups."""

    def __init__(self, *groups: set[Party]) -> None:
        self.groups = groups

    def judge(
        self, src: Party, dst: Party, size: int, now: int, draw: Draw, delivery: Delivery
    ) -> Delivery:
        apart = any((src in g) != (dst in g) for g in self.groups)
        return delivery._replace(why="partition") if apart else delivery


def party(me: Party, n: int, mood: str = "approve") -> Callable[..., Node]:
    return lambda coins, stored: Node(me, n, Ballot(mood), at=("session",), coins=coins)


def world(
    n: int,
    moods: dict[Party, str] | None = None,
    seed: int = 1,
    loss: float = 0.0,
    delay: Delay | None = None,
) -> SimulatedWorld:
    network = Network(delay=delay or Delay("normal", 40 * MS, 10 * MS), loss=loss)
    made = SimulatedWorld(seed=seed, network=network)
    for me in range(1, n + 1):
        made.host(me, party(me, n, (moods or {}).get(me, "approve")))
    return made


def propose(lab: SimulatedWorld, by: Party, op: str, text: str, at: int = 0) -> None:
    lab.at(at * MS, lambda: lab.ask(by, ("session",), Propose(op, text)))


def quiet(n: int = 5, delay: Delay | None = None) -> Trace:
    """One operation, nothing wrong."""
    lab = world(n, delay=delay)
    propose(lab, 2, "k3f9", "hello")
    lab.run(limit=5000 * MS)
    return lab.trace


def busy(n: int = 5) -> Trace:
    """Three operations; one is rejected."""
    lab = world(n, {}, seed=4)
    propose(lab, 1, "k3f9", "pay Alice 10")
    propose(lab, 3, "m2x7", "rotate the key", 90)
    lab.at(
        200 * MS,
        lambda: lab.look(2, lambda node: setattr(node.machine(("session",)), "mood", "reject")),
    )
    propose(lab, 2, "q8wd", "pay Bob 2000", 260)
    lab.run(limit=5000 * MS)
    return lab.trace


def broken(n: int = 5) -> Trace:
    """Loss, a partition that heals, a crash with restart."""
    lab = world(n, seed=3, loss=0.04)
    trace = lab.trace
    propose(lab, 1, "k3f9", "pay Alice 10")
    propose(lab, 2, "m2x7", "rotate the key", 180)
    propose(lab, 1, "q8wd", "pay Bob 2000", 700)

    def cut() -> None:
        lab.link_rules.rules[1] = _Cut({1, 2})
        trace.append(Fault(lab.now, -1, 1, "partition", "begin", (), "1, 2 | the others"))

    def heal() -> None:
        del lab.link_rules.rules[1]
        trace.append(Fault(lab.now, -1, 1, "partition", "end", (), ""))

    def crash() -> None:
        lab.crash(min(4, n))
        trace.append(
            Fault(lab.now, -1, 2, "crash", "begin", (min(4, n),), f"party {min(4, n)} crashes")
        )

    def restart() -> None:
        trace.append(Fault(lab.now, -1, 2, "crash", "end", (min(4, n),), ""))
        lab.restart(min(4, n))

    lab.at(200 * MS, cut)
    lab.at(420 * MS, heal)
    lab.at(330 * MS, crash)
    lab.at(560 * MS, restart)
    lab.run(limit=5000 * MS)
    return trace


def disagreement(n: int = 4) -> Trace:
    """The last party is told something else, and commits it."""
    lab = world(n, seed=6)
    lab.trace.append(Fault(0, -1, 1, "equivocate", "begin", (1,), "party 1 says two things"))
    propose(lab, 1, "k3f9", "pay Alice 10")

    def lie() -> None:
        lab.look(n, lambda node: node.machine(("session",)).values.update(k3f9="beefbeefbeef"))

    lab.at(110 * MS, lie)
    lab.run(limit=5000 * MS)
    return lab.trace


def meshed(n: int = 5) -> Trace:
    """Links in every state, and a server, by hand."""
    trace = Trace()
    trace.append(Noted(0, 0, ("signaling",), notes.Opened("s1", n, 2)))
    for p in range(1, n + 1):
        trace.append(Noted(1000 * p, 0, ("signaling",), notes.Joined("s1", p)))
    at = 1000 * n
    for a in range(1, n + 1):
        for b in range(a + 1, n + 1):
            at += 700
            state = "relay" if (a * 7 + b) % 5 == 0 else "confirmed"
            if (a, b) == (1, n):
                state = "dialing"
            if (a, b) == (2, n):
                state = "closed"
            trace.append(Linked(at, a, b, state))
            trace.append(Linked(at + 50, b, a, state))
    if n > 3:
        trace.append(Noted(at + 100, 3, (), notes.Crashed()))
        trace.append(Noted(at + 110, 4, (), notes.Paused()))
    trace.append(Noted(at + 200, 2, ("raft",), notes.BecameLeader(term=3)))
    return trace


def called() -> Trace:
    """Three parties, and two clients that call them: one has four calls under way at a time."""
    trace = quiet(3)
    ends = (("ok", 60), ("failed", 70), ("unknown", 200), ("", 0))
    for call, (end, took) in enumerate(ends, 1):
        kind, op = ("read", "") if call % 2 else ("note", f"op{call}")
        at = call * 20 * MS
        for client in (1, 2) if call == 1 else (2,):
            begun = notes.Invoked(client, call, 1 + call % 3, kind, op, "tea" if op else "")
            trace.append(Noted(at, WORLD, (), begun))
            if end:
                over = notes.Returned(client, call, op, end, f"so it is {end}", records=call)
                trace.append(Noted(at + took * MS, WORLD, (), over))
    return trace


def whole_lab(n: int = 4) -> Trace:
    """The real thing: server, mesh, coordinator; two operations that are committed."""
    from mpclab.lab import Lab

    lab = Lab(parties=n, world="simulated")
    with contextlib.closing(lab):
        lab.start_server()
        lab.spawn()
        lab.join()
        for kind, fields in (("note", {"text": "hello"}), ("coin", {})):
            lab.propose(by=1, kind=kind, **fields)
            lab.run()
        return lab.trace
