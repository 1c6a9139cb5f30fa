"""PBFT held to its paper, section by section; n = 4, f = 1, q = 3, and one replica alone.

§: Castro and Liskov, OSDI 1999. Thesis: Castro, MIT/LCS/TR-817, 2001. Every test takes the
protocol as an argument, so that `test_mutants` can show that it would fail for a wrong one.
"""

from collections.abc import Iterable

import msgspec
import pytest

from mpclab.consensus.pbft import Pbft
from mpclab.consensus.pbft_messages import (
    GENESIS,
    NULL,
    CheckpointId,
    Claim,
    PbftCheckpoint,
    PbftCommit,
    PbftExecuted,
    PbftNewView,
    PbftPrepare,
    PbftPrePrepare,
    PbftRequest,
    PbftStatus,
    PbftViewChange,
    digest_of,
    extended,
)
from mpclab.consensus.pbft_views import begun_by, genuine, sign, sign_new_view
from mpclab.core.ids import Party
from mpclab.core.wire import Message
from mpclab.testing.alone import Alone
from mpclab.testing.cluster import IDENTITIES

START = (CheckpointId(0, GENESIS),)
PATIENCE = Pbft.options_type().patience


@pytest.fixture
def pbft() -> type[Pbft]:
    return Pbft


def value(op: str) -> bytes:
    return f"value of {op}".encode() if op else b""


def digest(op: str) -> bytes:
    return digest_of(op, value(op))


def pre_prepare(view: int, seq: int, op: str) -> PbftPrePrepare:
    return PbftPrePrepare(view, seq, op, value(op))


def prepare(view: int, seq: int, op: str) -> PbftPrepare:
    return PbftPrepare(view, seq, digest(op))


def commit(view: int, seq: int, op: str) -> PbftCommit:
    return PbftCommit(view, seq, digest(op))


def request(op: str) -> PbftRequest:
    return PbftRequest(op, value(op))


def claim(seq: int, view: int, op: str) -> Claim:
    return Claim(seq, view, digest(op))


def view_change(
    party: Party,
    view: int,
    *,
    stable: int = 0,
    checkpoints: tuple[CheckpointId, ...] = START,
    prepared: tuple[Claim, ...] = (),
    accepted: tuple[Claim, ...] | None = None,
) -> PbftViewChange:
    q = prepared if accepted is None else accepted
    change = PbftViewChange(view, party, stable, checkpoints, prepared, q)
    return sign(change, IDENTITIES[party], "")


def new_view(view: int, *changes: PbftViewChange) -> PbftNewView:
    return sign_new_view(IDENTITIES[view % 4 + 1], "", view, changes)


def history(*ops: str) -> bytes:
    chain = GENESIS
    for op in ops:
        chain = extended(chain, request(op))
    return chain


def of(kind: type[Message], said: Iterable[Message]) -> list[Message]:
    return [msg for msg in said if isinstance(msg, kind)]


def run_place(replica: Alone, seq: int, op: str, view: int = 0) -> None:
    """Let a backup commit `op` at place `seq`: all that the others say of it."""
    primary = view % 4 + 1
    others = [p for p in range(1, 5) if p != replica.me]
    replica.hear(primary, pre_prepare(view, seq, op))
    for p in others:
        if p != primary:
            replica.hear(p, prepare(view, seq, op))
    for p in others:
        replica.hear(p, commit(view, seq, op))


# --- §4.1, requests ------------------------------------------------------------------------


def test_a_backup_passes_a_request_on_to_the_primary(pbft: type[Pbft]) -> None:
    """§4.1: the client sends to the primary; after a timeout it broadcasts."""
    replica = Alone(pbft, me=3)
    assert replica.submit("a", value("a")) == [request("a")]
    assert replica.said[-1][0] == (1,)
    said = replica.fire("retransmit")
    assert request("a") in said
    assert replica.said[-len(said)][0] == (1, 2, 4)


def test_an_executed_request_is_not_executed_again(pbft: type[Pbft]) -> None:
    """§4.1: exactly once. A primary may give one request two places; the second does nothing."""
    replica = Alone(pbft, me=2)
    run_place(replica, 1, "a")
    run_place(replica, 2, "a")
    run_place(replica, 3, "b")
    assert [(d.op, d.index) for d in replica.decided] == [("a", 0), ("b", 1)]
    assert replica.machine.executed == 3


def test_the_first_value_of_an_operation_counts(pbft: type[Pbft]) -> None:
    """A commit record and an abort record may both be valid: what has the first place is it."""
    replica = Alone(pbft, me=2)
    run_place(replica, 1, "a")
    other = PbftPrePrepare(0, 2, "a", b"abort a")
    replica.hear(1, other)
    for vote in (PbftPrepare, PbftCommit):
        for p in (1, 3, 4):
            replica.hear(p, vote(0, 2, digest_of("a", b"abort a")))
    assert [d.value for d in replica.decided] == [value("a")]
    assert replica.machine.executed == 2


# --- §4.2, the normal case -----------------------------------------------------------------


def test_the_primary_gives_the_next_place_and_stores_it_first(pbft: type[Pbft]) -> None:
    primary = Alone(pbft, me=1)
    assert primary.submit("a", value("a")) == [pre_prepare(0, 1, "a")]
    assert primary.stored_before_said()
    assert primary.hear(3, request("b")) == [pre_prepare(0, 2, "b")]
    assert primary.hear(4, request("b")) == []


def test_a_primary_that_crashes_gives_no_place_twice(pbft: type[Pbft]) -> None:
    primary = Alone(pbft, me=1)
    primary.submit("a", value("a"))
    primary.restart()
    assert of(PbftPrePrepare, primary.submit("b", value("b"))) == [pre_prepare(0, 2, "b")]


@pytest.mark.parametrize("after", range(5))
def test_a_primary_that_dies_as_it_proposes_gives_no_place_twice(
    pbft: type[Pbft], after: int
) -> None:
    primary = Alone(pbft, me=1)
    primary.tear(2, request("a"), after)
    primary.submit("b", value("b"))
    places = {(m.seq, m.op) for _, m in primary.said if isinstance(m, PbftPrePrepare)}
    assert len(places) == len({seq for seq, _ in places})


def test_a_backup_accepts_a_pre_prepare_stores_it_and_says_so(pbft: type[Pbft]) -> None:
    replica = Alone(pbft, me=2)
    assert replica.hear(1, pre_prepare(0, 1, "a")) == [prepare(0, 1, "a")]
    assert replica.stored_before_said()


def test_a_pre_prepare_of_another_view_is_not_accepted(pbft: type[Pbft]) -> None:
    """§4.2: provided that it is in view v."""
    replica = Alone(pbft, me=3)
    assert replica.hear(2, pre_prepare(1, 1, "a")) == []
    assert replica.blamed == []


def test_a_pre_prepare_of_a_backup_is_blamed(pbft: type[Pbft]) -> None:
    replica = Alone(pbft, me=2)
    assert replica.hear(3, pre_prepare(0, 1, "a")) == []
    assert replica.blamed == [3]


def test_an_invalid_value_is_not_accepted(pbft: type[Pbft]) -> None:
    replica = Alone(pbft, me=2, valid=lambda v: v != value("bad"))
    assert replica.hear(1, pre_prepare(0, 1, "bad")) == []
    assert replica.hear(3, request("bad")) == []
    assert replica.blamed == [1, 3]


def test_a_null_request_has_no_value(pbft: type[Pbft]) -> None:
    """Its digest would not cover it, and the histories of two parties would differ."""
    replica = Alone(pbft, me=2)
    replica.hear(1, PbftPrePrepare(0, 1, "", b"junk"))
    replica.hear(3, PbftExecuted(1, (PbftRequest("", b"junk"),), 1))
    assert replica.blamed == [1, 3]


def test_of_two_pre_prepares_for_one_place_the_first_is_accepted(pbft: type[Pbft]) -> None:
    """§4.2: it has not accepted one for view v and sequence number n with another digest."""
    replica = Alone(pbft, me=2)
    replica.hear(1, pre_prepare(0, 1, "a"))
    assert replica.hear(1, pre_prepare(0, 1, "b")) == []
    assert replica.blamed == [1]
    assert of(PbftPrepare, replica.restart()) == [prepare(0, 1, "a")]
    assert of(PbftPrepare, replica.hear(1, pre_prepare(0, 1, "b"))) == []


def test_places_are_between_the_watermarks(pbft: type[Pbft]) -> None:
    """§4.2: n is between h and H = h + L."""
    replica = Alone(pbft, me=2)
    assert replica.hear(1, pre_prepare(0, 0, "a")) == []
    assert replica.hear(1, pre_prepare(0, 17, "a")) == []
    assert replica.hear(1, pre_prepare(0, 16, "b")) == [prepare(0, 16, "b")]


def test_the_primary_keeps_within_the_window(pbft: type[Pbft]) -> None:
    primary = Alone(pbft, me=1)
    for k in range(20):
        primary.submit(f"op{k}", value(f"op{k}"))
    assert len(of(PbftPrePrepare, [m for _, m in primary.said])) == 16


@pytest.mark.parametrize("votes", [[], [1], [1, 1], [2]])
def test_too_few_prepares_do_not_prepare(pbft: type[Pbft], votes: list[Party]) -> None:
    """§4.2: prepared needs the pre-prepare and 2f PREPAREs from different *backups*: our own and
    one more. The primary's does not count, nor does one twice."""
    replica = Alone(pbft, me=2)
    replica.hear(1, pre_prepare(0, 1, "a"))
    for p in votes:
        replica.hear(p, prepare(0, 1, "a"))
    assert not of(PbftCommit, [m for _, m in replica.said])


def test_2f_prepares_prepare_stored_before_said(pbft: type[Pbft]) -> None:
    replica = Alone(pbft, me=2)
    replica.hear(1, pre_prepare(0, 1, "a"))
    assert replica.hear(3, prepare(0, 1, "a")) == [commit(0, 1, "a")]
    assert replica.stored_before_said()


def test_prepares_that_do_not_match_do_not_prepare(pbft: type[Pbft]) -> None:
    """§4.2: with the same view, sequence number and digest."""
    replica = Alone(pbft, me=2)
    replica.hear(1, pre_prepare(0, 1, "a"))
    for vote in (prepare(0, 1, "b"), prepare(1, 1, "a"), prepare(0, 2, "a")):
        assert replica.hear(3, vote) == []


def test_prepares_without_the_pre_prepare_do_not_prepare(pbft: type[Pbft]) -> None:
    replica = Alone(pbft, me=2)
    for p in (3, 4):
        assert replica.hear(p, prepare(0, 1, "a")) == []
    assert replica.hear(1, pre_prepare(0, 1, "a")) == [prepare(0, 1, "a"), commit(0, 1, "a")]


def test_a_backup_that_votes_for_two_is_blamed(pbft: type[Pbft]) -> None:
    for vote in (prepare, commit):
        replica = Alone(pbft, me=2)
        replica.hear(3, vote(0, 1, "a"), vote(0, 1, "b"))
        assert replica.blamed == [3]


@pytest.mark.parametrize(("votes", "done"), [([3], False), ([3, 3], False), ([3, 4], True)])
def test_2f_plus_1_commits_commit(pbft: type[Pbft], votes: list[Party], done: bool) -> None:
    """§4.2: committed-local needs prepared and 2f + 1 COMMITs, perhaps our own."""
    replica = Alone(pbft, me=2)
    replica.hear(1, pre_prepare(0, 1, "a"))
    replica.hear(3, prepare(0, 1, "a"))
    for p in votes:
        replica.hear(p, commit(0, 1, "a"))
    assert replica.log == ["a"] * done


def test_commits_without_prepared_do_not_commit(pbft: type[Pbft]) -> None:
    replica = Alone(pbft, me=2)
    replica.hear(1, pre_prepare(0, 1, "a"))
    for p in (1, 3, 4):
        replica.hear(p, commit(0, 1, "a"))
    assert replica.log == []


def test_requests_are_executed_in_order_of_their_places(pbft: type[Pbft]) -> None:
    """§4.2: after all requests with lower sequence numbers."""
    replica = Alone(pbft, me=2)
    run_place(replica, 2, "b")
    assert replica.log == []
    run_place(replica, 1, "a")
    assert replica.log == ["a", "b"]
    assert [d.index for d in replica.decided] == [0, 1]
    replica.restart()
    assert replica.log == ["a", "b"]


def test_after_a_crash_the_same_is_said_again(pbft: type[Pbft]) -> None:
    replica = Alone(pbft, me=2)
    replica.hear(1, pre_prepare(0, 1, "a"))
    replica.hear(3, prepare(0, 1, "a"))
    said = replica.restart()
    assert of(PbftPrepare, said) == [prepare(0, 1, "a")]
    assert of(PbftCommit, said) == [commit(0, 1, "a")]
    replica.hear(3, commit(0, 1, "a"))
    replica.hear(4, commit(0, 1, "a"))
    assert replica.log == ["a"], "the request itself was stored"


# --- §4.3, checkpoints ---------------------------------------------------------------------

EIGHT = [f"op{k}" for k in range(1, 9)]


def with_eight(pbft: type[Pbft], **options: int) -> Alone:
    replica = Alone(pbft, me=2, **options)
    for seq, op in enumerate(EIGHT, 1):
        run_place(replica, seq, op)
    return replica


def test_a_checkpoint_every_k_places_with_the_digest_of_the_state(pbft: type[Pbft]) -> None:
    replica = with_eight(pbft)
    checkpoints = of(PbftCheckpoint, [m for _, m in replica.said])
    assert checkpoints == [PbftCheckpoint(8, history(*EIGHT))]


@pytest.mark.parametrize(
    ("votes", "stable"),
    [([3], 0), ([3, 3], 0), ([3, 4], 8)],
)
def test_2f_plus_1_checkpoints_make_it_stable(
    pbft: type[Pbft], votes: list[Party], stable: int
) -> None:
    replica = with_eight(pbft)
    for p in votes:
        replica.hear(p, PbftCheckpoint(8, history(*EIGHT)))
    assert replica.machine.stable == stable


def test_checkpoints_of_another_state_prove_nothing(pbft: type[Pbft]) -> None:
    replica = with_eight(pbft)
    for p in (1, 3, 4):
        replica.hear(p, PbftCheckpoint(8, bytes(32)))
    assert replica.machine.stable == 0


def test_what_is_before_the_stable_checkpoint_is_discarded(pbft: type[Pbft]) -> None:
    """§4.3: all messages for places up to n; the window moves, and a crash moves it not back."""
    replica = with_eight(pbft)
    for p in (3, 4):
        replica.hear(p, PbftCheckpoint(8, history(*EIGHT)))
    assert not [key for key in replica.disk if key.startswith(("slot/", "request/"))]
    assert replica.hear(1, pre_prepare(0, 8, "x")) == []
    assert replica.hear(1, pre_prepare(0, 24, "y")) == [prepare(0, 24, "y")]
    replica.restart()
    assert replica.machine.stable == 8
    assert replica.log == EIGHT


@pytest.mark.parametrize("after", range(0, 24, 3))
def test_a_crash_amid_the_discarding_loses_nothing(pbft: type[Pbft], after: int) -> None:
    replica = with_eight(pbft)
    replica.hear(1, pre_prepare(0, 9, "late"))
    replica.hear(3, PbftCheckpoint(8, history(*EIGHT)))
    replica.tear(4, PbftCheckpoint(8, history(*EIGHT)), after)
    assert replica.log == EIGHT
    kept = replica.machine.slots.slots
    assert kept[9].accepted == {digest("late"): 0}
    stored = {key for key in replica.disk if key.startswith("request/")}
    needed = {f"request/{d.hex()}" for slot in kept.values() for d in slot.accepted}
    assert stored == needed


# --- §4.4, view changes --------------------------------------------------------------------


def leave(replica: Alone) -> PbftViewChange:
    """Let the timer for the primary expire; the VIEW-CHANGE that it sends."""
    said = of(PbftViewChange, replica.fire("progress"))
    assert len(said) == 1
    change = said[0]
    assert isinstance(change, PbftViewChange)
    return change


def test_a_view_change_says_what_was_prepared_and_accepted(pbft: type[Pbft]) -> None:
    """Thesis §3.2.4: h, C, P and Q. Place 1 is prepared, 2 only pre-prepared."""
    replica = Alone(pbft, me=2)
    replica.hear(1, pre_prepare(0, 1, "a"), pre_prepare(0, 2, "b"))
    replica.hear(3, prepare(0, 1, "a"))
    change = leave(replica)
    assert change == view_change(
        2, 1, prepared=(claim(1, 0, "a"),), accepted=(claim(1, 0, "a"), claim(2, 0, "b"))
    )
    assert genuine(change, IDENTITIES[2].public, "", 16)
    assert replica.stored_before_said()


def test_a_view_change_says_the_same_after_a_crash(pbft: type[Pbft]) -> None:
    replica = Alone(pbft, me=2)
    replica.hear(1, pre_prepare(0, 1, "a"), pre_prepare(0, 2, "b"))
    replica.hear(3, prepare(0, 1, "a"))
    replica.restart()
    replica.hear(4, request("c"))
    change = leave(replica)
    assert change.prepared == (claim(1, 0, "a"),)
    assert change.accepted == (claim(1, 0, "a"), claim(2, 0, "b"))
    assert of(PbftViewChange, replica.restart()) == [change]


def test_the_view_change_of_one_view_is_said_word_for_word(pbft: type[Pbft]) -> None:
    """What changes meanwhile, a stable checkpoint here, changes it not."""
    replica = with_eight(pbft)
    replica.submit("more", value("more"))
    change = leave(replica)
    for p in (3, 4):
        replica.hear(p, PbftCheckpoint(8, history(*EIGHT)))
    assert replica.machine.stable == 8
    assert of(PbftViewChange, replica.fire("retransmit")) == [change]
    assert of(PbftViewChange, replica.restart()) == [change]


def test_checkpoints_and_the_stable_one_are_in_the_view_change(pbft: type[Pbft]) -> None:
    replica = with_eight(pbft)
    for p in (3, 4):
        replica.hear(p, PbftCheckpoint(8, history(*EIGHT)))
    replica.submit("more", value("more"))
    change = leave(replica)
    assert (change.stable, change.checkpoints) == (8, (CheckpointId(8, history(*EIGHT)),))


def test_who_left_accepts_nothing_of_the_old_view(pbft: type[Pbft]) -> None:
    """§4.4: it stops accepting messages other than CHECKPOINT, VIEW-CHANGE and NEW-VIEW."""
    replica = Alone(pbft, me=2)
    replica.hear(1, pre_prepare(0, 1, "a"))
    assert leave(replica).prepared == ()
    for _ in range(2):
        assert replica.hear(1, pre_prepare(0, 2, "b")) == []
        assert replica.hear(3, prepare(0, 1, "a")) == []
        assert replica.hear(4, prepare(0, 1, "a")) == []
        assert not replica.machine.active
        replica.restart()  # nor after a crash


def test_what_was_not_prepared_in_the_old_view_never_is(pbft: type[Pbft]) -> None:
    """The split of honest parties: `pbft_views` tells it. PREPAREs of view 0 come when the replica
    is active in view 1."""
    replica = Alone(pbft, me=3)
    replica.hear(1, pre_prepare(0, 1, "a"))
    assert leave(replica).prepared == ()
    replica.hear(2, new_view(1, *(view_change(p, 1) for p in (2, 3, 4))))
    assert replica.machine.active
    begun = len(replica.said)
    for p in (2, 4):
        replica.hear(p, prepare(0, 1, "a"))
    for p in (1, 2, 4):
        replica.hear(p, commit(0, 1, "a"))
    assert replica.said[begun:] == []
    assert replica.log == []
    assert replica.hear(2, pre_prepare(1, 1, "b")) == [prepare(1, 1, "b")]


def test_nothing_is_accepted_of_a_view_that_has_not_begun(pbft: type[Pbft]) -> None:
    """It may choose something else for the place: only its NEW-VIEW says."""
    replica = Alone(pbft, me=3)
    replica.submit("a", value("a"))
    leave(replica)
    assert replica.hear(2, pre_prepare(1, 1, "b")) == []
    assert replica.machine.slots.prepared() + replica.machine.slots.accepted() == ()


def test_p_says_the_last_view_and_q_all_requests(pbft: type[Pbft]) -> None:
    """Thesis §3.2.4: the view number of the last prepared; each digest with its latest view."""
    replica = Alone(pbft, me=3)
    replica.hear(1, pre_prepare(0, 1, "a"))
    leave(replica)
    replica.hear(2, new_view(1, *(view_change(p, 1) for p in (1, 2, 4))))
    replica.hear(2, pre_prepare(1, 1, "b"))
    replica.hear(4, prepare(1, 1, "b"))
    replica.hear(1, view_change(1, 2))
    change = of(PbftViewChange, replica.hear(2, view_change(2, 2)))[0]
    assert isinstance(change, PbftViewChange)
    assert change.prepared == (claim(1, 1, "b"),)
    assert set(change.accepted) == {claim(1, 0, "a"), claim(1, 1, "b")}


def test_what_was_prepared_in_an_old_view_is_not_committed_there(pbft: type[Pbft]) -> None:
    replica = Alone(pbft, me=3)
    replica.hear(1, pre_prepare(0, 1, "a"))
    replica.hear(2, prepare(0, 1, "a"))
    leave(replica)
    for p in (1, 2, 4):
        replica.hear(p, commit(0, 1, "a"))
    assert replica.log == []


def test_votes_for_a_view_count_that_came_before_its_new_view(pbft: type[Pbft]) -> None:
    """Unordered links: the others may be quicker than the NEW-VIEW."""
    replica = Alone(pbft, me=3)
    replica.hear(4, prepare(1, 1, "b"))
    replica.hear(2, new_view(1, *(view_change(p, 1) for p in (1, 2, 4))))
    assert replica.hear(2, pre_prepare(1, 1, "b")) == [prepare(1, 1, "b"), commit(1, 1, "b")]


@pytest.mark.parametrize(
    ("changes", "begins"),
    [([1], False), ([1, 1], False), ([1, 3], True)],
)
def test_the_new_primary_begins_with_2f_plus_1_view_changes(
    pbft: type[Pbft], changes: list[Party], begins: bool
) -> None:
    """§4.4: 2f from other replicas, and its own."""
    primary = Alone(pbft, me=2)
    primary.hear(3, request("a"))
    leave(primary)
    said: list[Message] = []
    for p in changes:
        said += primary.hear(p, view_change(p, 1))
    assert bool(of(PbftNewView, said)) == begins
    assert primary.machine.active == begins


def test_a_new_view_is_stored_before_it_is_said_and_never_another(pbft: type[Pbft]) -> None:
    primary = Alone(pbft, me=2)
    primary.hear(3, request("a"))
    leave(primary)
    primary.hear(1, view_change(1, 1))
    last = view_change(3, 1)
    for after in range(8):
        trial = Alone(pbft, me=2, stored=primary.disk)
        trial.hear(1, view_change(1, 1))
        trial.tear(3, last, after)
        began = of(PbftNewView, [m for _, m in trial.said])
        trial.hear(1, view_change(1, 1))
        trial.hear(4, view_change(4, 1))
        trial.hear(3, last)
        began += of(PbftNewView, [m for _, m in trial.said])
        assert began, after
        assert len(set(began)) == 1, f"torn after {after} effects it begins in another way"


def test_others_view_changes_of_another_view_do_not_count(pbft: type[Pbft]) -> None:
    primary = Alone(pbft, me=2)
    primary.hear(3, request("a"))
    leave(primary)
    assert not of(PbftNewView, primary.hear(1, view_change(1, 1)))
    assert not of(PbftNewView, primary.hear(3, view_change(3, 2)))


def test_a_backup_enters_a_new_view_and_prepares_what_it_chose(pbft: type[Pbft]) -> None:
    """§4.4: as if the primary had sent the PRE-PREPAREs; a null request fills a gap."""
    replica = Alone(pbft, me=3)
    for seq, op in ((1, "a"), (3, "c")):
        replica.hear(1, pre_prepare(0, seq, op))
    prepared = (claim(1, 0, "a"), claim(3, 0, "c"))
    changes = [view_change(p, 1, prepared=prepared) for p in (1, 2, 4)]
    said = of(PbftPrepare, replica.hear(2, new_view(1, *changes)))
    assert said == [prepare(1, 1, "a"), PbftPrepare(1, 2, NULL), prepare(1, 3, "c")]


def test_a_primary_goes_on_after_what_its_new_view_chose(pbft: type[Pbft]) -> None:
    primary = Alone(pbft, me=2)
    primary.hear(1, pre_prepare(0, 1, "a"))
    primary.hear(3, request("b"))
    leave(primary)
    changes = [view_change(p, 1, prepared=(claim(1, 0, "a"),)) for p in (1, 3)]
    said = primary.hear(1, changes[0]) + primary.hear(3, changes[1])
    assert of(PbftPrePrepare, said) == [pre_prepare(1, 2, "b")]
    assert not of(PbftPrepare, said), "the primary sends none"
    primary.restart()
    assert of(PbftPrePrepare, primary.submit("c", value("c"))) == [pre_prepare(1, 3, "c")]


@pytest.mark.parametrize("crash", [False, True])
def test_a_new_primary_may_not_propose_against_its_new_view(pbft: type[Pbft], crash: bool) -> None:
    """Also where the place was beyond the backup's window when the view began, or it crashed."""
    chosen = tuple(claim(seq, 0, "a") for seq in range(9, 25))
    other = CheckpointId(8, history(*EIGHT))
    changes = [
        view_change(p, 1, stable=8, checkpoints=(other,), prepared=chosen) for p in (1, 2, 4)
    ]
    replica = Alone(pbft, me=3)
    replica.hear(2, new_view(1, *changes))
    if crash:
        replica.restart()
    for place in (8, 12, 20, 24):
        assert replica.hear(2, pre_prepare(1, place, "b")) == []
    assert set(replica.blamed) == {2}


def test_what_a_new_view_chose_beyond_the_window_is_taken_when_it_moves(
    pbft: type[Pbft],
) -> None:
    start = CheckpointId(8, history(*EIGHT))
    chosen = tuple(claim(seq, 0, "a") for seq in (17, 20))
    changes = [
        view_change(p, 1, stable=8, checkpoints=(start,), prepared=chosen) for p in (1, 2, 4)
    ]
    replica = Alone(pbft, me=3)
    said = replica.hear(2, new_view(1, *changes))
    replica.hear(2, request("a"))
    assert not [m for m in of(PbftPrepare, said) if m == prepare(1, 20, "a")]
    for p in (1, 4):
        said = replica.hear(p, PbftExecuted(1, tuple(map(request, EIGHT)), 8))
    assert replica.machine.stable == 8
    begun = [m for _, m in replica.said]
    assert prepare(1, 17, "a") in begun
    assert prepare(1, 20, "a") in begun


@pytest.mark.parametrize("asked", ["a", "b"])
def test_a_request_that_a_new_view_chose_is_asked_for(pbft: type[Pbft], asked: str) -> None:
    """A3 of the thesis: without the request itself nothing is prepared."""
    replica = Alone(pbft, me=3)
    changes = [view_change(p, 1, prepared=(claim(1, 0, "a"),)) for p in (1, 2, 4)]
    said = replica.hear(2, new_view(1, *changes))
    assert not of(PbftPrepare, said)
    assert [m.wanted for m in said if isinstance(m, PbftStatus)] == [(digest("a"),)]
    replica.hear(4, prepare(1, 1, "a"))
    replica.hear(1, prepare(1, 1, "a"))
    assert not of(PbftCommit, [m for _, m in replica.said])
    answer = replica.hear(1, request(asked))
    both = [prepare(1, 1, "a"), commit(1, 1, "a")] if asked == "a" else []
    assert of(PbftPrepare, answer) + of(PbftCommit, answer) == both


def bad_new_views() -> dict[str, PbftNewView]:
    good = [view_change(p, 1) for p in (1, 2, 4)]
    forged = PbftViewChange(1, 3, 0, START, (), (), bytes(64))
    return {
        "too few": new_view(1, *good[:2]),
        "one twice": new_view(1, good[0], good[0], good[1]),
        "of another view": new_view(1, *good[:2], view_change(4, 5)),
        "a forged one": new_view(1, *good[:2], forged),
        "an absurd one": new_view(1, *good[:2], view_change(4, 1, prepared=(claim(1, 1, "a"),))),
        "nothing follows": new_view(
            1, *good[:2], view_change(4, 1, prepared=(claim(1, 0, "a"),), accepted=())
        ),
    }


@pytest.mark.parametrize("name", sorted(bad_new_views()))
def test_a_new_view_that_does_not_follow_is_proof_against_its_primary(
    pbft: type[Pbft], name: str
) -> None:
    replica = Alone(pbft, me=3)
    assert replica.hear(4, bad_new_views()[name]) == []
    assert replica.blamed == [2], "whoever shows it"
    assert replica.machine.view == 0


def test_a_new_view_that_its_primary_did_not_sign_is_not_entered(pbft: type[Pbft]) -> None:
    replica = Alone(pbft, me=3)
    good = new_view(1, *(view_change(p, 1) for p in (1, 2, 4)))
    forged = sign_new_view(IDENTITIES[4], "", 1, good.changes)
    assert not begun_by(forged, IDENTITIES[2].public, "")
    assert replica.hear(4, forged) == []
    assert replica.blamed == [4]
    replica.hear(4, good)
    assert replica.machine.view == 1, "whoever shows it"


@pytest.mark.parametrize("whose", [1, 2, 4])
def test_who_shows_a_new_view_with_a_word_changed_frames_nobody(
    pbft: type[Pbft], whose: int
) -> None:
    """Its primary signed all that the VIEW-CHANGEs say, and not their signatures alone."""
    replica = Alone(pbft, me=3)
    good = new_view(1, *(view_change(p, 1) for p in (1, 2, 4)))
    changes = tuple(
        msgspec.structs.replace(c, stable=8) if c.party == whose else c for c in good.changes
    )
    assert replica.hear(4, msgspec.structs.replace(good, changes=changes)) == []
    assert replica.blamed == [4]


def test_a_view_change_that_is_not_its_senders_is_blamed(pbft: type[Pbft]) -> None:
    replica = Alone(pbft, me=2)
    replica.hear(3, view_change(4, 1))
    replica.hear(3, PbftViewChange(1, 3, 0, START, (), (), bytes(64)))
    replica.hear(4, view_change(4, 1, prepared=(claim(17, 0, "a"),)))
    assert replica.blamed == [3, 3, 4]


def test_how_a_view_began_is_remembered_and_shown(pbft: type[Pbft]) -> None:
    """Or a replica that missed it could not enter, once all who know crashed."""
    replica = Alone(pbft, me=3)
    begun = new_view(1, *(view_change(p, 1) for p in (1, 2, 4)))
    replica.hear(2, begun)
    replica.restart()
    assert (replica.machine.view, replica.machine.active) == (1, True)
    assert replica.hear(1, view_change(1, 1)) == [begun]
    assert begun in replica.hear(4, PbftStatus(0, True, 0, 0, ()))


@pytest.mark.parametrize("after", range(6))
def test_a_crash_amid_a_new_view_forgets_nothing_of_it(pbft: type[Pbft], after: int) -> None:
    replica = Alone(pbft, me=3)
    replica.hear(1, pre_prepare(0, 1, "a"))
    changes = [view_change(p, 1, prepared=(claim(1, 0, "a"),)) for p in (1, 2, 4)]
    replica.tear(2, new_view(1, *changes), after)
    replica.hear(2, new_view(1, *changes))
    assert replica.machine.active
    assert prepare(1, 1, "a") in [m for _, m in replica.said]
    assert replica.machine.slots.slots[1].accepted == {digest("a"): 1}


@pytest.mark.parametrize("after", range(8))
def test_a_crash_amid_leaving_leaves_nobody_half_in_a_view(pbft: type[Pbft], after: int) -> None:
    """Who said that it left view 1 votes there no more, whatever of it was stored."""
    replica = Alone(pbft, me=3)
    replica.hear(1, view_change(1, 1))
    replica.hear(4, view_change(4, 1))
    replica.hear(1, view_change(1, 2))
    replica.tear(4, view_change(4, 2), after)
    left = view_change(3, 2) in [m for _, m in replica.said]
    said = replica.hear(2, new_view(1, *(view_change(p, 1) for p in (1, 2, 4))))
    said += replica.hear(2, pre_prepare(1, 1, "a"))
    assert (prepare(1, 1, "a") in said) != left
    assert left or after < 2


# --- thesis §3.2.4, what a new view begins with --------------------------------------------

A0, A1, A2 = (claim(1, view, "a") for view in range(3))
B2 = claim(1, 2, "b")
LATER = CheckpointId(8, history(*EIGHT))


def begins_with(pbft: type[Pbft], *changes: PbftViewChange) -> list[str] | None:
    """What a new view of these begins with, from its start on; None: more are needed."""
    names = {digest("a"): "a", digest("b"): "b", NULL: "null"}
    decision = Alone(pbft).machine.now.decide(changes)
    if decision is None:
        return None
    start, chosen = decision
    assert [c.seq for c in chosen] == list(range(start.seq + 1, start.seq + 1 + len(chosen)))
    return [str(start.seq), *(names[c.digest] for c in chosen)]


def test_nothing_prepared_begins_empty(pbft: type[Pbft]) -> None:
    assert begins_with(pbft, *(view_change(p, 5) for p in (1, 2, 3))) == ["0"]
    assert begins_with(pbft, *(view_change(p, 5) for p in (1, 2))) is None


def test_what_may_be_committed_is_chosen(pbft: type[Pbft]) -> None:
    """A: of any quorum that prepared it one honest party is among these."""
    two = [view_change(p, 5, prepared=(A0,)) for p in (1, 2)]
    assert begins_with(pbft, *two, view_change(3, 5)) == ["0", "a"]


def test_what_was_prepared_later_is_chosen(pbft: type[Pbft]) -> None:
    """A1: no other request was prepared there later."""
    earlier = view_change(1, 5, prepared=(A0,))
    two = [view_change(p, 5, prepared=(B2,)) for p in (2, 3)]
    assert begins_with(pbft, earlier, *two) == ["0", "b"]


def test_what_somebody_prepared_otherwise_later_is_not_chosen(pbft: type[Pbft]) -> None:
    """A1 holds for 2f + 1: not for `a` here, since party 2 prepared `b` later, or says so."""
    one = view_change(1, 5, prepared=(A1,))
    two = view_change(2, 5, prepared=(B2,), accepted=(A1, B2))
    assert begins_with(pbft, one, two, view_change(3, 5)) is None
    assert begins_with(pbft, one, two, view_change(3, 5), view_change(4, 5)) == ["0", "a"]


def test_what_somebody_prepared_otherwise_in_that_view_is_not_chosen(pbft: type[Pbft]) -> None:
    """A1: nor another digest in the same view."""
    one = view_change(1, 5, prepared=(A2,))
    two = view_change(2, 5, accepted=(A2,))
    liar = view_change(4, 5, prepared=(B2,))
    assert begins_with(pbft, one, two, liar) is None
    assert begins_with(pbft, one, two, view_change(3, 5), liar) == ["0", "a"]


@pytest.mark.parametrize("accepted", [(), (A1,)])
def test_a_claim_that_no_honest_party_vouches_for_is_not_chosen(
    pbft: type[Pbft], accepted: tuple[Claim, ...]
) -> None:
    """A2: f + 1 accepted this request in that view or a later one."""
    claimed = view_change(1, 5, prepared=(A2,))
    two = view_change(2, 5, accepted=accepted)
    assert begins_with(pbft, claimed, two, view_change(3, 5)) is None, "wait for another"
    assert begins_with(pbft, claimed, two, view_change(3, 5), view_change(4, 5)) == ["0"]


def test_a_gap_is_filled_with_a_null_request(pbft: type[Pbft]) -> None:
    """B: 2f + 1 prepared nothing there."""
    two = [view_change(p, 5, prepared=(claim(2, 0, "b"),)) for p in (1, 2)]
    assert begins_with(pbft, *two, view_change(3, 5)) == ["0", "null", "b"]


def test_who_is_beyond_a_place_says_nothing_of_it(pbft: type[Pbft]) -> None:
    """B asks those whose stable checkpoint is before the place: with the others it is gone."""
    ahead = view_change(1, 5, stable=8, checkpoints=(LATER,))
    claimed = view_change(2, 5, prepared=(A0,))
    others = [view_change(p, 5) for p in (3, 4)]
    assert begins_with(pbft, ahead, claimed, *others) is None


def test_a_view_starts_where_an_honest_party_is_and_a_quorum_can_go(pbft: type[Pbft]) -> None:
    """f + 1 hold the checkpoint; 2f + 1 have no later stable one."""
    ahead = view_change(1, 5, stable=8, checkpoints=(LATER,))
    there = view_change(2, 5, checkpoints=(*START, LATER))
    assert begins_with(pbft, there, view_change(3, 5), view_change(4, 5)) == ["0"]
    assert begins_with(pbft, ahead, view_change(3, 5), view_change(4, 5)) is None
    assert begins_with(pbft, ahead, there, view_change(4, 5)) == ["8"]


# --- §4.5.2 and thesis §2.3.5, liveness ----------------------------------------------------


def test_f_plus_1_view_changes_are_joined_at_the_first_view(pbft: type[Pbft]) -> None:
    replica = Alone(pbft, me=2)
    assert replica.hear(3, view_change(3, 7)) == []
    said = replica.hear(4, view_change(4, 5))
    assert [m.view for m in said if isinstance(m, PbftViewChange)] == [5]
    assert replica.machine.view == 5


def test_who_is_alone_does_not_run_ahead(pbft: type[Pbft]) -> None:
    """§4.5.2: it waits for 2f + 1 VIEW-CHANGEs before it starts the timer for the next view."""
    replica = Alone(pbft, me=4)
    replica.submit("a", value("a"))
    leave(replica)
    assert "progress" not in replica.timers
    replica.hear(1, view_change(1, 1))
    assert "progress" not in replica.timers
    replica.hear(3, view_change(3, 1))
    assert replica.timers["progress"] == replica.now + 2 * PATIENCE, "twice as long"
    assert leave(replica).view == 2


def test_timeouts_double_until_something_is_executed(pbft: type[Pbft]) -> None:
    replica = Alone(pbft, me=4)
    replica.submit("a", value("a"))
    assert replica.timers["progress"] == PATIENCE
    leave(replica)
    changes = [view_change(p, 1) for p in (1, 2, 3)]
    replica.hear(2, new_view(1, *changes))
    assert replica.timers["progress"] == replica.now + 2 * PATIENCE
    run_place(replica, 1, "b", view=1)
    assert replica.timers["progress"] == replica.now + PATIENCE


def test_the_timer_runs_only_while_something_waits(pbft: type[Pbft]) -> None:
    replica = Alone(pbft, me=2)
    assert "progress" not in replica.timers
    run_place(replica, 1, "a")
    assert "progress" not in replica.timers


def test_a_primary_that_starves_one_request_is_left(pbft: type[Pbft]) -> None:
    """Thesis §2.3.5: fairness. Others are executed all the time, so no timer expires."""

    class Impatient(pbft):  # type: ignore[misc, valid-type]
        OVERTAKEN = 5

    replica = Alone(Impatient, me=2)
    replica.submit("starved", value("starved"))
    for seq in range(1, 6):
        run_place(replica, seq, f"op{seq}")
        assert replica.machine.active
    run_place(replica, 6, "op6")
    assert not replica.machine.active


def test_an_idle_primary_that_caught_up_proposes_where_nothing_is(pbft: type[Pbft]) -> None:
    """It raised an assertion once: the places that it had used were behind its window."""
    primary = Alone(pbft, me=1)
    for p in (2, 3):
        primary.hear(p, PbftExecuted(1, tuple(map(request, EIGHT)), 10))
    for p in (2, 3):
        primary.hear(p, PbftCheckpoint(8, history(*EIGHT)))
    assert primary.machine.stable == 8
    assert of(PbftPrePrepare, primary.submit("a", value("a"))) == [pre_prepare(0, 9, "a")]


# --- thesis §5.2, what was lost ------------------------------------------------------------


def test_a_status_is_answered_with_what_was_missed(pbft: type[Pbft]) -> None:
    replica = with_eight(pbft)
    run_place(replica, 9, "nine")
    replica.hear(1, pre_prepare(0, 10, "ten"))
    said = replica.hear(4, PbftStatus(0, True, 0, 8, ()))
    assert PbftExecuted(9, (request("nine"),), 9) in said
    assert PbftCheckpoint(8, history(*EIGHT)) in said
    assert prepare(0, 10, "ten") in said
    assert replica.hear(4, PbftStatus(0, True, 8, 9, (digest("ten"),))) == [
        request("ten"),
        prepare(0, 10, "ten"),
    ]


def test_one_party_is_not_believed_and_f_plus_1_are(pbft: type[Pbft]) -> None:
    replica = Alone(pbft, me=2)
    replica.hear(4, PbftExecuted(1, (request("lie"),), 1))
    replica.hear(4, PbftExecuted(1, (request("lie"),), 1))
    assert replica.log == []
    replica.hear(1, PbftExecuted(1, (request("a"), request("b")), 2))
    assert replica.log == []
    replica.hear(3, PbftExecuted(1, (request("a"), request("c")), 2))
    assert replica.log == ["a"]


def test_one_party_is_believed_where_it_leads_to_the_start_of_the_view(
    pbft: type[Pbft],
) -> None:
    """f + 1 vouch for the digest, so one honest party has it; perhaps it alone."""
    start = CheckpointId(8, history(*EIGHT))
    changes = [view_change(p, 1, checkpoints=(*START, start)) for p in (1, 2)]
    replica = Alone(pbft, me=3)
    replica.hear(2, new_view(1, *changes, view_change(4, 1)))
    assert replica.machine.now.start == start
    wrong = [request("lie"), *map(request, EIGHT[1:])]
    replica.hear(1, PbftExecuted(1, tuple(wrong), 8))
    assert replica.log == []
    replica.hear(2, PbftExecuted(1, tuple(map(request, EIGHT)), 8))
    assert replica.log == EIGHT
    assert replica.machine.stable == 8


def test_a_claim_of_an_absurd_place_costs_no_time(pbft: type[Pbft]) -> None:
    """It kept every honest party counting to 2**50."""
    far = 2**50
    lie = view_change(
        4, 1, stable=far, checkpoints=(CheckpointId(far, b""),), prepared=(claim(far + 1, 0, "a"),)
    )
    replica = Alone(pbft, me=3)
    replica.hear(2, new_view(1, *(view_change(p, 1) for p in (1, 2, 3)), lie))
    assert replica.machine.view == 1
