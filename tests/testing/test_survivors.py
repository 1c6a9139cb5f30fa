"""Mistakes that the suite of `mpclab.testing` does not see in its time, which a claim of the
protocol's own tests does: what `docs/mutants.md` refers to. Each holds for the protocol itself."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, get_args
from unittest import mock

import pytest

from mpclab.consensus.hotstuff_messages import QC, ROOT, Block, HotStuffProof, HotStuffVote
from mpclab.consensus.raft_messages import RaftAppendEntriesResponse
from mpclab.consensus.registry import AGREEMENTS
from mpclab.core.errors import PeerFault
from mpclab.testing.alone import Alone
from mpclab.testing.cluster import AT, IDENTITIES, Cluster
from mpclab.testing.mutants import Mutant, mutants
from tests.consensus import test_raft_paper as raft_paper
from tests.consensus import test_raft_reads as raft_reads
from tests.consensus import test_raft_voters as raft_voters
from tools.mutants_table import survivors

Claim = Callable[[type[Any]], None]

KEEPS_TERM = (
    "raft persist: _keep_term: no ctx.persist('term', msgspec.msgpack.encode((self.term, se…"
)
SETS_TERM = "raft persist: _set_term: no self._keep_term(ctx)"
SNAPSHOT = (
    "raft_log persist: _snapshot: no ctx.persist('snapshot', _encode(Mark(index, term, self.ke…"
)
PLACES = "raft_log persist: _snapshot: no ctx.persist(f'{name}/{place}', _encode(entry))"
COMPACTS = "raft_log persist: compact: no self._snapshot(ctx, index, term, count, before[-1])"
CONFIGURES = "raft_log persist: _add: no self.configurations.append((self.last, voters))"
CONFIRMS = "raft_reads quorum: is_confirmed: reached >= self.needed"
ASKS = "raft timer: _ask_to_read: no ctx.set_timer('read', self.election[0], foreground=True)"
VOTES = "hotstuff_base persist: vote: no self.keep(ctx)"
CERTIFIES = "hotstuff_base quorum: check_qc: len(parties) < self.quorum -1"
ANSWERS = "two_phase quorum: _answer: self.enough == ctx.n +1"


def message(protocol: type[Any], name: str) -> Any:
    """A kind of message of a protocol: a copy of it may have copies of these."""
    return next(c for c in get_args(protocol._message_types()) if c.__name__ == name)


def a_leader_of_an_old_term_takes_nothing_back(protocol: type[Any]) -> None:
    """Raft, §5.1 and Fig. 2. What is confirmed in term 5 may be committed: after a crash, too,
    nothing of term 3 takes its place."""
    alone = raft_paper.server(protocol, 2)
    alone.hear(2, raft_paper.append(5, 0, 0, raft_paper.entry(5, "new")))
    alone.restart()
    said = alone.hear(3, raft_paper.append(3, 0, 0, raft_paper.entry(3, "old")))
    assert [m.ok for m in said if isinstance(m, RaftAppendEntriesResponse)] == [False]
    assert raft_paper.log_of(alone) == [(5, "new")]


def one_vote_in_a_view_wherever_it_crashes(protocol: type[Any]) -> None:
    """HotStuff, §4.2: a vote is stored before it is said."""
    name = "ChainedGeneric" if protocol.__name__ == "ChainedHotStuff" else "HotStuffPropose"
    proposal, genesis = message(protocol, name), QC(protocol.PHASES[0], 0, ROOT, ())
    for after in range(10):
        three = Alone(protocol, 3)
        three.tear(1, proposal(Block(1, ROOT, "a", b"one"), genesis), after)
        three.hear(1, proposal(Block(1, ROOT, "a", b"other"), genesis))
        votes = [m for _, m in three.said if isinstance(m, HotStuffVote)]
        assert len({vote.block for vote in votes if vote.view == 1}) <= 1


def fewer_votes_certify_nothing(protocol: type[Any]) -> None:
    """HotStuff: n - f of them make a certificate, and one less does not."""
    replica = Alone(protocol, 1)
    phase, voters = protocol.PHASES[-1], (2, 3, 4)
    signed = [(p, protocol(IDENTITIES[p], {})._signed(phase, 1, ROOT).signature) for p in voters]
    assert replica.machine.check_qc(QC(phase, 1, ROOT, tuple(signed)))
    with pytest.raises(PeerFault):
        replica.machine.check_qc(QC(phase, 1, ROOT, tuple(signed[:2])))
    replica.hear(4, HotStuffProof(QC(phase, 1, ROOT, tuple(signed[:2]))))
    assert replica.blamed == [4]


def who_has_not_voted_and_is_asked_ends_it(protocol: type[Any]) -> None:
    """Two-phase commit, cooperative termination: who has not voted Yes may abort, and says why."""
    inquiry, prepare = message(protocol, "AtomicInquiry"), message(protocol, "AtomicPrepare")
    two = Alone(protocol, 2)
    assert ended(two.hear(3, inquiry("a", 1))) == [(False, "party 2 had not heard of it")]
    two = Alone(protocol, 2)
    two.hear(1, prepare("a", b"value of a"))
    why = "party 2 had not voted when asked how it ended"
    assert ended(two.hear(3, inquiry("a", 1))) == [(False, why)]


LETS_GO = {
    "pbft_log": ("pbft", "KEPT_VALUES", (
        "pbft_log persist: add: no ctx.persist(f'done/{self._old}', None)",
    )),
    "hotstuff_blocks": ("hotstuff-2", "KEPT", (
        "hotstuff_base persist: _run: no ctx.persist(f'old/{old.hex()}', _encode(without_value))",
        "hotstuff_base persist: _run: no ctx.persist(f'block/{old.hex()}', None)",
    )),
    "tendermint_base": ("tendermint", "KEPT", (
        "tendermint_base persist: take_decision: no ctx.persist(f'height/{old}', None)",
    )),
    "streamlet_final": ("streamlet", "KEPT", ()),
    "raft_history": ("raft", "KEPT", (
        "raft_log persist: leave_old: no ctx.persist(f'old/{place}', "
        "_encode(self.history.stored(p…",
        "raft_log persist: leave_old: no ctx.persist(f'done/{place}', None)",
    )),
}  # fmt: skip


def what_is_left_to_the_record_is_stored_once_and_found_again(protocol: type[Any]) -> None:
    """`agreement.KEPT`: of old decisions a log stores the id, and its caller the value."""
    _, _, copy = protocol.__module__.partition("#")
    ops = [f"op{k}" for k in range(8)]
    with contextlib.ExitStack() as stack:
        for home, (_, kept, _) in LETS_GO.items():
            name = f"mpclab.consensus.{home}"
            module = sys.modules.get(f"{name}#{copy}") or importlib.import_module(name)
            stack.enter_context(mock.patch.object(module, kept, 2))
        options = {"compaction": 2} if protocol.title == "Raft" else {}
        c = Cluster(protocol, 4, recall=lambda op: op.encode() * 3, **options)
        for op in ops:
            c.submit(1, op)
            c.run_until(lambda op=op: c.all_decided(op))  # type: ignore[misc]
        values = [op.encode() * 3 for op in ops]
        stored = c.world.disk(2)[AT]
        whole = [d for key, d in stored.items() if key.startswith(("done/", "block/", "height/"))]
        there = [value for value in values if any(value in data for data in whole)]
        assert not {*values[:3]} & {*there}
        c.crash(2)
        c.restart(2)
        c.run_until(lambda: c.all_decided(*ops))
        assert c.log(2) == ops


def ended(said: list[Any]) -> list[tuple[bool, str]]:
    return [(m.commit, m.reason) for m in said if type(m).__name__ == "AtomicOutcome"]


SEEN: list[tuple[str, str, Claim]] = [
    ("raft", KEEPS_TERM, raft_paper.test_one_vote_a_term_first_come_first_served),
    ("raft", KEEPS_TERM, a_leader_of_an_old_term_takes_nothing_back),
    ("raft", SETS_TERM, raft_paper.test_one_vote_a_term_first_come_first_served),
    ("raft", SETS_TERM, a_leader_of_an_old_term_takes_nothing_back),
    ("raft", SNAPSHOT, raft_paper.test_applied_entries_become_a_snapshot),
    ("raft", PLACES, raft_paper.test_applied_entries_become_a_snapshot),
    ("raft", COMPACTS, raft_paper.test_applied_entries_become_a_snapshot),
    ("raft", CONFIGURES, raft_voters.test_a_change_needs_a_majority_of_the_old_and_one_of_the_new),
    (
        "raft",
        f"{CONFIRMS} +1",
        raft_reads.test_a_read_waits_until_an_entry_of_the_term_is_committed,
    ),
    (
        "raft",
        f"{CONFIRMS} -1",
        raft_reads.test_a_majority_answers_a_heartbeat_that_was_sent_after_the_read,
    ),
    ("raft", ASKS, raft_reads.test_a_lost_question_is_asked_again_and_in_the_end_no_more),
    ("hotstuff", VOTES, one_vote_in_a_view_wherever_it_crashes),
    ("chained-hotstuff", VOTES, one_vote_in_a_view_wherever_it_crashes),
    ("hotstuff", CERTIFIES, fewer_votes_certify_nothing),
    ("chained-hotstuff", CERTIFIES, fewer_votes_certify_nothing),
    ("hotstuff-2", CERTIFIES, fewer_votes_certify_nothing),
    *(
        (name, key, what_is_left_to_the_record_is_stored_once_and_found_again)
        for name, _, keys in LETS_GO.values()
        for key in keys
    ),
    ("2pc", ANSWERS, who_has_not_voted_and_is_asked_ends_it),
]


@cache
def all_of(name: str) -> list[Mutant]:
    return list(mutants(AGREEMENTS[name], kinds=("persist", "quorum", "timer")))


@pytest.mark.parametrize(("name", "key", "claim"), SEEN)
def test_a_claim_sees_what_the_suite_does_not(name: str, key: str, claim: Claim) -> None:
    claim(AGREEMENTS[name])
    made = [mutant for mutant in all_of(name) if mutant.key == key]
    assert made, "no such mistake is made any more"
    for mutant in made:
        with pytest.raises((Exception, pytest.fail.Exception)):
            claim(mutant.build())


def test_the_document_refers_to_these() -> None:
    told = {
        (name, key)
        for name, found in survivors().items()
        for key, why in found["left"].items()
        if "test_survivors" in why
    }
    assert told == {(name, key) for name, key, _ in SEEN}
