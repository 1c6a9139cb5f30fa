"""Nonces that are prepared are used once each, whoever asks twice, restarts or turns time back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mpclab.core import UsageError
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.rounds import Aborted
from mpclab.core.wire import Message
from mpclab.crypto import frost
from mpclab.crypto.frost import Nonces
from mpclab.lab import Lab
from mpclab.lab.operation import Operation
from mpclab.mpc.nonces import Ahead, NonceTable, Pairs, Prepared, PrepareNonces
from mpclab.mpc.packages import Share
from mpclab.mpc.sign import Sign
from mpclab.trace import Sent
from tests.mpc.parties import CONTEXT, DEADLINE, IDENTITIES, KEYS, Cast
from tests.mpc.test_sign import key_for

Used = dict[tuple[int, int], set[bytes]]


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> Iterator[Used]:
    """Of every pair that anybody computed a share by, for which messages and signers."""
    found: Used = {}
    really = frost.sign_prepared

    def watched(share: Any, nonces: Nonces, attempt: frost.Attempt) -> int:
        what = attempt.message + attempt.group_commitment
        found.setdefault((nonces.hiding, nonces.binding), set()).add(what)
        return really(share, nonces, attempt)

    monkeypatch.setattr(frost, "sign_prepared", watched)
    yield found
    assert all(len(what) == 1 for what in found.values())


def lab_with(count: int = 2) -> tuple[Lab, Operation]:
    """Four parties, two of whom sign, and their prepared nonces."""
    lab = Lab(
        parties=4, threshold=2, mesh="ready", agreement="direct",
        network={"delay": "constant(10ms)"},
    )  # fmt: skip
    lab.spawn()
    lab.propose(1, "dkg")
    lab.run()
    nonces = lab.propose(1, "nonces", count=count)
    lab.run()
    return lab, nonces


def sent(lab: Lab, op: Operation) -> list[str]:
    """What was sent for an operation by its executors, in order."""
    rows = (row for row in lab.trace.of(Sent) if any(op.id in name for name in row.path))
    return [row.kind for row in rows]


def pairs_of(lab: Lab, party: Party, op: Operation) -> Pairs | None:
    kept: dict[str, Pairs] = lab.group.machine_of(party, lambda it: it.executor.fleeting)
    return kept.get(op.id)


def test_a_signature_takes_one_round_and_says_in_the_vote_by_which_nonces(used: Used) -> None:
    lab, nonces = lab_with()
    begun = lab.now
    signed = lab.propose(2, "sign-prepared", message="one")
    lab.run()
    assert lab.now - begun < 50_000, "the proposal, the votes, the shares"
    assert sent(lab, signed) == ["Share", "Share"]
    assert repr(pairs_of(lab, 2, nonces)) == "Pairs(1 left)"
    assert [key.prepared for key in lab.keys(2)] == [1]
    text = lab.state.operations[signed.id].text
    assert text.endswith(f"by prepared nonces 1 of {nonces.id}: one")
    lab.propose(3, "sign-prepared", message="two")
    assert [o.status for o in lab.run()] == ["committed"] * 4
    with pytest.raises(UsageError, match="none are left for this key; propose nonces first"):
        lab.propose(3, "sign-prepared", message="three")
    lab.propose(1, "nonces", count=1)
    lab.run()
    lab.propose(3, "sign-prepared", message="three")
    assert lab.run()[-1].result
    assert len(used) == 6


def test_two_messages_that_name_one_pair_get_a_share_of_it_once(used: Used) -> None:
    """Their proposals cross: some holders hear this one first, some that one."""
    lab, nonces = lab_with()
    for by, message in ((1, "yes"), (4, "no")):
        lab.propose(by, "sign-prepared", message=message, nonces=nonces, nonce=1)
    assert [o.status for o in lab.run()] == ["committed"] * 4
    again = lab.propose(2, "sign-prepared", message="later", nonces=nonces, nonce=1)
    lab.run()
    assert again.result
    kinds = sent(lab, again)
    assert kinds.count("Spent") == 2
    assert "Package" in kinds


def test_who_restarts_has_lost_its_pairs_and_signs_by_others(used: Used) -> None:
    lab, nonces = lab_with()
    data = lab.group.machine_of(2, lambda it: it.executor.results[nonces.id].data)
    table = NonceTable.parse(data)
    assert table is not None
    signer = table.entries(1, 2)[0].party
    lab.crash(signer)
    lab.restart(signer)
    lab.wait(1)
    assert pairs_of(lab, signer, nonces) is None
    signed = lab.propose(2, "sign-prepared", message="one")
    lab.run()
    assert signed.result
    assert "Spent" in sent(lab, signed)


def test_on_another_branch_what_is_left_is_dropped(used: Used) -> None:
    lab, nonces = lab_with()
    lab.checkpoint("prepared")
    lab.propose(2, "sign-prepared", message="here")
    lab.run()
    fork = lab.fork("prepared")
    lab.rewind("prepared")
    for other in (lab, fork):
        assert pairs_of(other, 2, nonces) is None
        other.propose(2, "sign-prepared", message="there", nonces=nonces, nonce=1)
        assert other.run()[-1].result


def test_a_copy_made_while_they_are_prepared_gets_none_of_them(used: Used) -> None:
    lab, _ = lab_with()
    lab.checkpoint("before")
    nonces = lab.propose(1, "nonces", count=1)
    lab.wait("25ms")
    assert sent(lab, nonces).count("Prepared") == 4
    fork = lab.fork()
    for other in (lab, fork):
        other.run()
    assert repr(pairs_of(lab, 2, nonces)) == "Pairs(1 left)"
    assert repr(pairs_of(fork, 2, nonces)) == "Pairs(0 left)"
    lab.crash(4)
    lab.rewind(lab.now - 1000)
    assert repr(pairs_of(lab, 2, nonces)) == "None"


# --- liars -----------------------------------------------------------------------------------


def preparing(n: int, t: int, cheats: dict[Party, Any], used: tuple[bytes, ...] = ()) -> Cast:
    record, shares = key_for(n, t)

    def make(p: Party) -> PrepareNonces:
        return PrepareNonces(
            CONTEXT, record, shares[p], 3, used=used, deadline=DEADLINE,
            present=lambda table, pairs: (table, pairs),
        )  # fmt: skip

    return Cast(n, make, cheats=cheats).run()


def test_who_hands_in_old_commitments_is_named_and_there_is_no_table() -> None:
    first: NonceTable = preparing(4, 2, {}).outcome(1)[0]
    old = Prepared(first.hiding[2], first.binding[2])

    def stale(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        return [(to, old)] if isinstance(msg, Prepared) else None

    cast = preparing(4, 2, {3: stale}, used=(*old.hiding, *old.binding))
    assert {o.blamed for o in cast.outcomes().values()} == {(3,)}
    assert "committed to before" in cast.outcome(1).reason


def test_who_commits_to_two_things_gets_no_table() -> None:
    first: NonceTable = preparing(4, 2, {}).outcome(1)[0]
    other = Prepared(first.hiding[0], first.binding[0])

    def both(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if not isinstance(msg, Prepared):
            return None
        return [((1,), other), (tuple(p for p in to if p != 1), msg)]

    cast = preparing(4, 2, {3: both})
    assert all(isinstance(o, Aborted) and not o.blamed for o in cast.outcomes().values())
    assert cast.accused() == {None}


def test_a_wrong_share_by_prepared_nonces_names_its_sender_and_costs_one_attempt(
    used: Used,
) -> None:
    record, shares = key_for(4, 2)
    made = preparing(4, 2, {})
    table: NonceTable = made.outcome(1)[0]
    entries = table.entries(1, 2)
    liar, other = (entry.party for entry in entries)

    def wrong(machine: Machine, ctx: Ctx, msg: Message, to: tuple[Party, ...]) -> Any:
        if not isinstance(msg, Share) or msg.attempt:
            return None
        return [(to, Share(0, msg.package, msg.endorsed, (1).to_bytes(32, "little")))]

    def make(p: Party) -> Sign:
        ahead = Ahead(entries, made.outcome(p)[1].take(1))
        return Sign(
            CONTEXT, IDENTITIES[p], KEYS, record, shares[p], b"m", deadline=DEADLINE, ahead=ahead
        )

    cast = Cast(4, make, cheats={liar: wrong}).run()
    assert len({o.signature for o in cast.outcomes().values()}) == 1
    assert cast.accused() == {liar}
    assert other in cast.honest
