"""The duties of every agreement protocol, as a suite that yours inherits in one line.

    from mpclab.testing import conformance
    TestMine = conformance(Mine)                        # pytest collects it

A protocol that cannot go on without everyone (two-phase commit) says `progress=False`; what it is
to be built with goes into `options`. The suite knows a protocol by its messages and outputs alone:
it loses, delays and reorders, cuts the parties apart, crashes them between two steps and in the
middle of one, lets several submit rival values for one operation, and asks in the end for one
record, for everything that was submitted, and for the notes without which no check and no picture
can say what happened.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar, get_args

from mpclab.consensus.agreement import Agreement, Submit
from mpclab.consensus.registry import AGREEMENTS
from mpclab.core.ids import MS, SECOND, Party
from mpclab.core.node import Node
from mpclab.core.notes import BecameLeader, Blocked, Decided, EnteredView, Phase, Round
from mpclab.core.wire import Message
from mpclab.faults.network import Delay, Network
from mpclab.faults.plan import parse_fault, schedule
from mpclab.testing.cluster import AT, IDENTITIES, Cluster, smallest
from mpclab.testing.sessions import Sessions
from mpclab.testing.storms import storm
from mpclab.testing.sweep import contest, duel, trial
from mpclab.trace import rows

SIZES = (4, 5, 7)
DUELS = 20
"""How many for each seed of the random trials."""
BRISK = 300 * MS
"""A patience that makes little of a simulated minute."""


def submit(c: Cluster, op: str, by: Party, value: bytes | None = None) -> None:
    """As the coordinator does: the proposer alone, or everyone."""
    for p in c.members if c.protocol.everyone_submits else (by,):
        if p in c.world.actors:
            c.submit(p, op, value)


class Conformance:
    """Subclass with a `protocol`, or call `conformance`."""

    protocol: ClassVar[type[Agreement]]
    progress: ClassVar[bool] = True
    """Whether a minority that is away stops nobody."""
    rivals: ClassVar[bool] = True
    """Whether several values are submitted for one operation. Two honest parties may submit two:
    each puts the approvals that *it* holds beside the same proposal."""
    chooses: ClassVar[bool] = True
    """Whether it must come to one of them in the end. A broadcast that does not may come to none,
    and never to two."""
    waits: ClassVar[bool] = True
    """Whether it decides nothing while fewer than half are up."""
    seeds: ClassVar[range] = range(30)
    """Of the random trials; as many again with crashes in the middle of steps."""
    tells: ClassVar[tuple[str, ...]] = ()
    """Steps that a quiet run notes: the note's word, and the phase if it is one."""
    options: ClassVar[dict[str, Any]] = {}

    # --- building -------------------------------------------------------------------------------

    def cluster(self, n: int = 4, **how: Any) -> Cluster:
        options = {"patience": BRISK, **self.options, **how}
        return Cluster(self.protocol, smallest(self.protocol, n), **options)

    @classmethod
    def word(cls) -> str:
        """The word of the house's protocol of this name, of which it may be a mutant; else ""."""
        same = (w for w, one in AGREEMENTS.items() if one.__name__ == cls.protocol.__name__)
        return next(same, "")

    @property
    def punctual(self) -> bool:
        """Whether it assumes that every message arrives in time: no partition, no loss."""
        return self.protocol.synchronous

    @property
    def contested(self) -> bool:
        """Whether several parties submit values of their own for one operation."""
        inside = self.protocol.everyone_submits or self.protocol.votes_inside
        return self.rivals and not inside

    # --- what it says of itself -----------------------------------------------------------------

    def test_it_says_what_it_is(self) -> None:
        assert self.protocol.title, "give the class a title: what a menu calls it"
        assert self.protocol.__doc__, "give the class a docstring"
        for n in SIZES:
            n = smallest(self.protocol, n)
            assert 0 <= self.protocol.liars(n) <= (n - 1) // 2
        self.protocol.decode()

    # --- while nothing goes wrong ---------------------------------------------------------------

    def test_what_one_submits_all_decide(self) -> None:
        for n in SIZES:
            c = self.cluster(n)
            submit(c, "a", by=c.n)
            c.run_until(lambda c=c: c.all_decided("a"))  # type: ignore[misc]
            c.check_agreement()
            assert c.blamed() == set()

    def test_twice_submitted_is_once_decided(self) -> None:
        c = self.cluster()
        for _ in range(2):
            submit(c, "a", by=2)
        c.run(10_000)
        submit(c, "a", by=2)
        c.run(10_000)
        assert all(c.log(p) == ["a"] for p in c.members), c.story()

    def test_what_is_not_valid_is_never_decided(self) -> None:
        c = self.cluster(valid=lambda value: value != b"bad")
        for p in c.members:
            c.submit(p, "a", b"bad")
        c.run(20_000)
        assert not any(c.log(p) for p in c.members), c.story()
        submit(c, "b", by=3)
        c.run_until(lambda: c.all_decided("b"))

    def test_no_value_is_decided_under_the_id_of_another(self) -> None:
        c = self.cluster(names=lambda value: value[: len(value) // 3].decode())
        for p in c.members:
            c.submit(p, "mine", b"yours" * 3)
        c.run(20_000)
        assert not any(c.log(p) for p in c.members), c.story()
        submit(c, "mine", by=2)
        c.run_until(lambda: c.all_decided("mine"))

    def test_what_one_finds_invalid_it_helps_nobody_to_decide(self) -> None:
        """Whoever sends it: every party asks for itself whether a value is valid."""
        n = smallest(self.protocol, 4)
        options = {"patience": BRISK, **self.options}
        keys = {p: IDENTITIES[p].public for p in range(1, n + 1)}

        def easily_pleased() -> Agreement:
            return self.protocol(IDENTITIES[1], keys, **options)

        c = self.cluster(n, others={1: easily_pleased}, valid=lambda value: value != b"bad")
        c.world.ask(1, AT, Submit("a", b"bad"))
        c.run(20_000)
        assert not any(c.log(p) for p in c.honest), c.story()

    def test_many_at_once_are_decided_without_gaps(self) -> None:
        c = self.cluster(network=Network(Delay("exponential", 15 * MS)))
        names = [f"op{k}" for k in range(16)]
        for k, op in enumerate(names):
            submit(c, op, by=k % c.n + 1)
        c.run_until(lambda: c.all_decided(*names))
        c.check_agreement()

    def test_rival_values_for_one_operation_leave_one(self) -> None:
        if not self.contested:
            return
        for seed in range(8):
            c = self.cluster(seed=seed, network=Network(Delay("exponential", 20 * MS)))
            for p in c.members:
                c.submit(p, "a", b"rival" * p)
            if self.chooses:
                c.run_until(lambda c=c: c.all_decided("a"))  # type: ignore[misc]
            c.run(20_000)
            c.check_agreement()

    # --- crashes and partitions -----------------------------------------------------------------

    def test_what_was_decided_is_told_again_after_a_restart(self) -> None:
        c = self.cluster()
        for op in ("a", "b"):
            submit(c, op, by=1)
            c.run_until(lambda op=op: c.all_decided(op))  # type: ignore[misc]
        c.run(5_000)
        before = sorted(c.log(3))
        c.crash(3)
        c.restart(3)
        c.run_until(lambda: sorted(c.log(3)) == before)
        c.check_agreement()

    def test_all_crash_and_come_back_with_what_they_decided(self) -> None:
        c = self.cluster()
        submit(c, "a", by=1)
        c.run_until(lambda: c.all_decided("a"))
        c.crash(*c.members)
        c.restart(*c.members)
        c.run_until(lambda: c.all_decided("a"))
        submit(c, "b", by=2)
        c.run_until(lambda: c.all_decided("a", "b"))
        c.check_agreement()

    def test_whoever_was_away_for_long_takes_up_all_and_keeps_it(self) -> None:
        """More than any log keeps as it came: what is cut off, taken over and stored anew is the
        same after all have crashed."""
        c = self.cluster()
        names = [f"op{k}" for k in range(12)]
        is_log = self.progress and self.protocol.orders  # others leave that to the coordinator
        for k, op in enumerate(names):
            if k == 1 and is_log:
                c.crash(c.n)
            if k == 11 and is_log:
                c.restart(c.n)
            submit(c, op, by=1 + k % 2)
            c.run_until(lambda op=op: c.all_decided(op))  # type: ignore[misc]
        c.run_until(lambda: c.all_decided(*names))
        before = {p: set(c.log(p)) for p in c.members}
        c.crash(*c.members)
        c.restart(*c.members)
        c.run_until(lambda: all(before[p] <= set(c.log(p)) for p in c.members))
        c.check_agreement()

    def test_two_halves_never_decide_apart(self) -> None:
        """A quorum of just a half lets both sides go their own way."""
        if self.punctual:
            return
        for seed in range(6):
            c = self.cluster(4, seed=seed)
            half = c.n // 2
            c.run(50 * seed)
            c.cut(range(1, half + 1), range(half + 1, c.n + 1))
            for p in (1, c.n) if self.contested else ():
                c.submit(p, "a", b"rival" * p)
            submit(c, "mine", by=1)
            submit(c, "yours", by=c.n)
            c.run(8_000)
            c.check_agreement()
            c.heal()
            c.run(20_000)
            c.check_agreement()

    def test_a_proposer_that_vanishes_leaves_its_value_or_none(self) -> None:
        """A later proposer takes over a value that may have been decided with its help."""
        if not (self.contested and self.progress and self.chooses):
            return
        for seed in range(12):
            c = self.cluster(5, seed=seed, network=Network(Delay("uniform", 5 * MS, 60 * MS)))
            c.submit(1, "a", b"first" * 3)
            c.run(20 + 26 * seed)
            c.crash(1)
            c.submit(2, "a", b"second" * 5)
            c.run_until(lambda c=c: c.all_decided("a"))  # type: ignore[misc]
            c.restart(1)
            c.run_until(lambda c=c: c.all_decided("a"))  # type: ignore[misc]
            c.check_agreement()

    def test_one_that_decided_and_was_cut_off_agrees_with_the_rest(self) -> None:
        """Everything that one party hears may be lost on the way to the others."""
        if not (self.contested and self.progress and self.chooses) or self.punctual:
            return
        for seed in range(12):
            c = self.cluster(5, seed=seed, network=Network(Delay("uniform", 5 * MS, 60 * MS)))
            c.submit(1, "a", b"first" * 3)
            c.run(20 + 26 * seed)
            c.cut((1,), range(2, c.n + 1))
            c.submit(3, "a", b"second" * 5)
            c.run(10_000)
            c.check_agreement()
            c.heal()
            c.run_until(lambda c=c: c.all_decided("a"))  # type: ignore[misc]
            c.check_agreement()

    def test_what_is_lost_is_said_again(self) -> None:
        """Each kind of message in turn does not reach one party for a while."""
        for kind in self.kinds():
            for party in (1, 2, 3):
                c = self.cluster()
                lost = {"kind": "loss", "rate": 1.0, "messages": [kind], "to": [party],
                        "for": "200ms"}  # fmt: skip
                schedule(parse_fault(lost, c.n), c.world)
                c.run(1)
                submit(c, "a", by=2)
                c.run_until(lambda c=c: c.all_decided("a"), 120_000)  # type: ignore[misc]
                assert c.blamed() == set(), kind

    def kinds(self) -> list[str]:
        """The kinds of messages of the protocol."""
        types = self.protocol._message_types()
        classes = get_args(types) or (types,)
        return [cls.__name__ for cls in classes if cls is not Message]

    # --- where the vote is inside ---------------------------------------------------------------

    def test_as_many_approvals_as_are_needed_commit(self) -> None:
        if not self.protocol.votes_inside:
            return
        for needed in (3, 4):
            for against in (0, 1, 2):
                c = self.cluster(4, needed=needed)
                for p in range(c.n - against + 1, c.n + 1):
                    c.parent(p).vote = False
                submit(c, "a", by=1)
                c.run_until(lambda c=c: all(map(c.settled, ["a"])), 60_000)  # type: ignore[misc]
                c.check_agreement()
                assert bool(c.log(1)) is (c.n - against >= needed), (needed, against)

    def test_one_that_has_not_voted_gives_nothing_up_that_others_may_commit(self) -> None:
        """Three of four are enough; the fourth has not voted, and hears nothing more."""
        if not self.protocol.votes_inside or self.punctual:
            return
        for vote in (None, False):
            c = self.cluster(4, needed=3)
            c.parent(4).vote = vote
            submit(c, "a", by=1)
            c.run(15)
            c.cut([4], [1, 2, 3])
            c.run(10_000)
            assert all(c.log(p) == ["a"] for p in (1, 2, 3)), c.story()
            assert not c.parent(4).refused, c.story()
            c.heal()
            c.run_until(lambda c=c: c.log(4) == ["a"])  # type: ignore[misc]
            c.check_agreement()

    def test_without_a_majority_nothing_is_decided(self) -> None:
        c = self.cluster(5)
        c.run(1_000)
        away = range(c.n // 2 + 1, c.n + 1)  # leaves less than half
        c.crash(*away)
        submit(c, "a", by=1)
        c.run(10_000)
        assert not (self.waits and any(c.log(p) for p in c.up)), c.story()
        c.restart(*away)
        submit(c, "a", by=1)
        c.run_until(lambda: bool(c.parent(1).decided or c.parent(1).refused))
        c.check_agreement()

    def test_a_minority_that_is_away_stops_nobody(self) -> None:
        if not self.progress:
            return
        c = self.cluster(5)
        c.run(1_000)
        faulty = self.protocol.liars(c.n) or (c.n - 1) // 2
        c.crash(*range(1, faulty + 1))
        submit(c, "a", by=c.n)
        c.run_until(lambda: c.all_decided("a"))

    def test_restarts_between_any_two_steps_leave_one_value(self) -> None:
        """What one has said, it says again after a crash, wherever that falls."""
        for seed in () if self.punctual else range(DUELS * len(self.seeds)):
            problem = duel(self.protocol, seed, rivals=self.contested, options=self.options)
            assert not problem, f"duel {seed}: {problem}"

    # --- at random ------------------------------------------------------------------------------

    def test_random_trials_end_well(self) -> None:
        for seed in () if self.punctual else self.seeds:
            self.judge(seed)

    def test_crashes_in_the_middle_of_a_step_do_no_harm(self) -> None:
        for seed in () if self.punctual else self.seeds:
            self.judge(seed, torn=True)

    def test_late_messages_crashes_and_liars_at_once_do_no_harm(self) -> None:
        """See `mpclab.testing.storms`; what a protocol that is punctual meets are crashes."""
        options = {k: v for k, v in self.options.items() if k != "patience"}
        for seed in range(2 * len(self.seeds)):
            run = storm(self.word(), seed, protocol=self.protocol, **options)
            assert not run.problems, f"storm {seed}: {run.problems[0]}"

    def test_contested_places_are_agreed_on(self) -> None:
        for seed in () if self.punctual else range(4 * len(self.seeds)):
            problem = contest(self.protocol, seed, rivals=self.contested, options=self.options)
            assert not problem, f"contest {seed}: {problem}"

    def judge(self, seed: int, *, torn: bool = False) -> None:
        """One random trial (see `mpclab.testing.sweep`)."""
        found = trial(
            self.protocol, seed, torn=torn, rivals=self.contested, options=self.options,
            ends=self.progress, chooses=self.chooses,
        )  # fmt: skip
        assert not found.problem, f"seed {seed}, torn={torn}: {found.problem}\n{found.story}"

    # --- what checks, plots and replays need ------------------------------------------------------

    def test_it_notes_what_it_decides(self) -> None:
        c = self.cluster()
        submit(c, "a", by=1)
        c.run_until(lambda: c.all_decided("a"))
        noted = {r.actor for r in c.world.trace.of(rows.Noted)
                 if isinstance(r.note, Decided) and r.note.op == "a"}  # fmt: skip
        assert noted == set(c.members), "note Decided(op=…, index=…) beside each output Decided"

    def test_it_notes_how_far_it_is(self) -> None:
        c = self.cluster()
        submit(c, "a", by=1)
        c.run_until(lambda: c.all_decided("a"))
        steps = (Phase, Round, EnteredView, BecameLeader)
        noted = [r for r in c.world.trace.of(rows.Noted) if isinstance(r.note, steps)]
        assert noted, "note the steps of the protocol: Phase, Round, EnteredView or BecameLeader"
        told = {" ".join((r.word, getattr(r.note, "phase", ""))).strip() for r in noted}
        assert set(self.tells) <= told, f"not told: {sorted(set(self.tells) - told)}"

    def test_it_notes_whom_it_waits_for(self) -> None:
        c = self.cluster(5)
        c.run(1_000)
        c.crash(*range(2, c.n + 1))
        submit(c, "a", by=1)
        c.run(600_000)
        blocked = [r.note for r in c.world.trace.of(rows.Noted) if isinstance(r.note, Blocked)]
        settled = c.parent(1).refused or not self.waits
        assert settled or any(note.op == "a" for note in blocked), (
            "note Blocked(op=…, waiting_for=…, why=…) when an operation does not come forward"
        )
        assert all(note.why for note in blocked)

    def test_it_can_be_copied_and_the_copy_goes_its_own_way(self) -> None:
        c = self.cluster()
        c.run(5)
        assert isinstance(copy.deepcopy(c.world.look(1, lambda node: node)), Node)
        fork = c.world.fork()
        submit(c, "a", by=1)
        c.run_until(lambda: c.all_decided("a"))
        assert fork.look(1, lambda node: node.machine(AT[:-1])).decided == []

    def test_two_runs_of_one_seed_are_the_same(self) -> None:
        def digest() -> str:
            c = self.cluster(5, seed=3, network=Network(Delay("exponential", 20 * MS)))
            submit(c, "a", by=1)
            submit(c, "b", by=2)
            c.run(20_000)
            return c.world.trace.digest()

        assert digest() == digest(), "time, coins and order come from the context alone"

    # --- under the coordinator ------------------------------------------------------------------

    def test_an_approved_operation_is_committed_everywhere(self) -> None:
        for policy in ("unanimous", "threshold(3)"):
            s = Sessions(smallest(self.protocol, 4), policy=policy, agreement=self.protocol)
            op = s.propose(2)
            s.run(20 * SECOND)
            assert set(s.statuses(op).values()) == {"executed"}
            assert len(s.heads()) == 1
            assert s.blames() == []

    def test_a_rejected_operation_is_aborted_everywhere(self) -> None:
        s = Sessions(smallest(self.protocol, 4), agreement=self.protocol, votes={3: "reject"})
        op = s.propose(1)
        s.run(30 * SECOND)
        assert set(s.statuses(op).values()) == {"aborted"}
        assert s.blames() == []

    def test_all_propose_at_once_and_hold_one_history(self) -> None:
        s = Sessions(
            smallest(self.protocol, 4), agreement=self.protocol,
            network=Network(Delay("exponential", 20 * MS)),
        )  # fmt: skip
        ops = [s.propose(p, text=f"from {p}") for p in s.members]
        s.run(40 * SECOND)
        for op in ops:
            assert set(s.statuses(op).values()) == {"executed"}
        assert len(s.heads()) == 1
        assert s.blames() == []


def conformance(
    protocol: type[Agreement],
    *,
    progress: bool = True,
    rivals: bool = True,
    waits: bool = True,
    chooses: bool = True,
    seeds: range = range(30),
    tells: tuple[str, ...] = (),
    **options: Any,
) -> type[Conformance]:
    """The suite for one protocol, as a class that pytest collects when its name begins with Test.

    Args:
        progress: whether a minority that is away stops nobody.
        rivals: whether several values are submitted for one operation.
        chooses: whether it must come to one of them in the end.
        waits: whether it decides nothing while fewer than half are up.
        seeds: of the random trials.
        tells: steps that a quiet run notes.
        options: what the protocol is built with.
    """
    fields = {
        "protocol": protocol,
        "progress": progress,
        "rivals": rivals,
        "waits": waits,
        "chooses": chooses,
        "seeds": seeds,
        "tells": tells,
        "options": options,
    }
    return type(f"Test{protocol.__name__}", (Conformance,), fields)
