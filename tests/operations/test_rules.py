"""Rules of a key: agreed with it, shown, and kept by every honest party whatever it votes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mpclab.consensus.registry import AGREEMENTS
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, Party
from mpclab.crypto.formats import sshsig_payload
from mpclab.lab.lab import Lab
from mpclab.mpc.records import KeyRecord
from mpclab.operations import OPERATIONS, share_of
from mpclab.operations.parameters import Reference
from mpclab.operations.rules import Rules, RulesParameter
from mpclab.operations.spec import Execution, OperationSpec
from mpclab.testing.sessions import Sessions

PAYMENTS = {"proposers": [1, 3], "starts": "pay ", "operations": ["sign", "refresh", "reshare"]}


def made(s: Sessions, kind: str, by: Party = 1, **params: Any) -> str:
    op = s.propose(by, kind, **params)
    s.run()
    assert set(s.statuses(op).values()) == {"executed"}
    return op


def record(s: Sessions, op: str) -> KeyRecord:
    return KeyRecord.from_bytes(s.session(1).executor.results[op].data)


def without_rules(s: Sessions, *parties: Party) -> None:
    """These run a client that knows of no rules."""
    kinds = OPERATIONS.copy()
    for name in ("sign", "beacon", "refresh"):
        kinds.register(replace(OPERATIONS[name], rules=lambda params, known: None))
    for p in parties:
        s.session(p).ledger.kinds = kinds


@pytest.mark.parametrize(
    ("by", "kind", "params", "why"),
    [
        (2, "sign", {"message": "pay 5 to Eve"}, "let 1, 3 propose, not 2"),
        (1, "sign", {"message": "owe 5 to Eve"}, "start with 'pay '"),
        (1, "sign", {"message": "sha256:" + 64 * "0"}, "start with 'pay '"),
        (1, "sign", {"message": b"\x00pay "}, "start with 'pay '"),
        (1, "beacon", {}, "allow refresh, reshare, sign, not beacon"),
    ],
)
def test_what_rules_forbid_is_neither_proposed_nor_approved_nor_done(
    by: Party, kind: str, params: dict[str, Any], why: str
) -> None:
    s = Sessions(3, t=2, policy="threshold(1)")
    key = made(s, "dkg", rules=PAYMENTS)
    with pytest.raises(UsageError, match=why):
        s.propose(by, kind, key=key, **params)
    # Its proposer alone is enough for the session's policy, and knows of no rules.
    without_rules(s, by)
    op = s.propose(by, kind, key=key, **params)
    s.run()
    others = [p for p in s.members if p != by]
    assert {s.statuses(op)[p] for p in s.members} == {"failed"}
    assert all(why in s.at(p, op).reason for p in others)
    assert all(
        not vote.approve for p in others if (vote := s.session(p).ledger.operations[op].mine)
    )


def _peek(execution: Execution) -> str:
    return f"share {share_of(execution, execution.params['key']) is not None}"


def with_peek(s: Sessions, **options: Any) -> None:
    kinds = OPERATIONS.copy()
    after = {"after": lambda params: (params["key"],), **options}
    kinds.register(OperationSpec("peek", _peek, (Reference("key"),), **after))
    for p in s.members:
        s.session(p).ledger.kinds = kinds


def test_rules_bind_every_kind_of_operation_that_names_the_key() -> None:
    s = Sessions(4, t=2, policy="threshold(2)")
    with_peek(s)
    assert s.at(2, made(s, "peek", key=made(s, "dkg"))).result == "share True"
    kept = made(s, "dkg", rules={"operations": ["sign"]})
    with pytest.raises(UsageError, match="allow sign, not peek"):
        s.propose(1, "peek", key=kept)
    wanted = made(s, "dkg", rules={"approvers": [4]})
    s.set_votes(4, "silent")
    op = s.propose(1, "peek", key=wanted)
    s.run()
    assert not {"executed", "failed"} & set(s.statuses(op).values())
    s.set_votes(4, "approve")
    made(s, "peek", key=wanted)


def test_no_share_is_had_by_a_kind_that_knows_of_no_rules() -> None:
    s = Sessions(4, t=2, policy="threshold(2)")
    with_peek(s, rules=lambda params, known: None)
    for rules, why in (
        ({"operations": ["sign"]}, "the key's rules allow sign, not peek"),
        ({"approvals": 4}, "the key's rules want 4 approvals, not "),
    ):
        op = s.propose(1, "peek", key=made(s, "dkg", rules=rules))
        s.run()
        assert all(s.at(p, op).reason.startswith(why) for p in s.members)


@pytest.mark.parametrize("agreement", ["direct", "2pc", "pbft"])
def test_who_votes_while_the_key_is_made_goes_by_the_rules_it_will_have(agreement: str) -> None:
    s = Sessions(4, t=2, policy="threshold(2)", agreement=AGREEMENTS[agreement])
    rules = {"starts": "pay ", "approvers": [4]}
    s.set_votes(4, "hand")
    key = s.propose(1, "dkg", rules=rules)
    s.run(1_000)
    with pytest.raises(UsageError, match="start with 'pay '"):
        s.propose(1, "sign", key=key, message="owe 5")
    op = s.propose(1, "sign", key=key, message="pay 5")
    s.run(1_000_000)
    assert "executed" not in s.statuses(op).values()
    s.vote(4, op)
    s.run()
    assert set(s.statuses(op).values()) == {"executed"}


@pytest.mark.parametrize("later", [{}, {"starts": "pay "}, {"approvers": [4]}], ids=str)
@pytest.mark.parametrize("head_start", [15, 25, 35, 45])
def test_a_signature_that_races_with_a_change_is_under_the_old_rules_or_kept_by_the_new(
    later: dict[str, Any], head_start: int
) -> None:
    """Each is made with shares of one sharing, whose rules allow it."""
    s = Sessions(4, t=3, policy="threshold(3)")
    key = made(s, "dkg")
    change = s.propose(1, "rules", key=key, rules=later)
    s.run(head_start * MS)
    s.set_votes(4, "reject")  # what is proposed from now on
    op = s.propose(2, "sign", key=key, message="owe 5")
    s.run()
    assert set(s.statuses(change).values()) == {"executed"}
    statuses = s.statuses(op)
    assert len(set(statuses.values())) == 1, statuses
    if "executed" not in statuses.values():
        assert later
        assert statuses[1] == "expired" or "the key's rules" in s.at(1, op).reason


# --- other rules --------------------------------------------------------------------------


@pytest.mark.parametrize("agreement", ["direct", "pbft"])
def test_rules_are_changed_by_an_operation_that_old_and_new_ones_allow(agreement: str) -> None:
    s = Sessions(4, t=2, policy="threshold(2)", agreement=AGREEMENTS[agreement])
    key = made(s, "dkg", rules={"proposers": [1], "approvers": [2]})
    with pytest.raises(UsageError, match="let 1 propose, not 3"):
        s.propose(3, "rules", key=key, rules={})
    later = {"starts": "pay ", "approvers": [4]}
    for silent in (2, 4):  # the old ones want the one, the new ones the other
        s.set_votes(silent, "silent")
        op = s.propose(1, "rules", key=key, rules=later)
        s.run()
        assert not {"executed", "failed"} & set(s.statuses(op).values())
        s.set_votes(silent, "approve")
    new = made(s, "rules", key=key, rules=later)
    assert record(s, new).public == record(s, key).public
    assert record(s, new).rules == Rules.parse(later).text
    for named in (key, new):
        with pytest.raises(UsageError, match="start with 'pay '"):
            s.propose(3, "sign", key=named, message="owe 5")
        made(s, "sign", 3, key=named, message="pay 5")
    assert record(s, made(s, "rules", 3, key=new, rules={})).rules == ""


def test_rules_that_do_not_name_their_change_stay_for_good() -> None:
    s = Sessions(3, t=2)
    key = made(s, "dkg", rules={"operations": ["sign"]})
    with pytest.raises(UsageError, match="allow sign, not rules"):
        s.propose(1, "rules", key=key, rules={})


def test_no_ssh_signature_is_had_as_one_on_bytes() -> None:
    spec = OPERATIONS["sign"]
    for message, allowed in [
        (sshsig_payload("file", b"hi"), ["ssh"]),
        (b"hi", ["raw"]),
    ]:
        params = spec.read(spec.check({"key": "k", "message": message}))
        for word in ("raw", "ssh"):
            why = Rules.parse({"formats": [word]}).forbid("sign", 1, params)
            assert (why is None) is (word in allowed)


@pytest.mark.parametrize("agreement", ["direct", "2pc", "pbft"])
def test_what_they_allow_is_done(agreement: str) -> None:
    s = Sessions(4, t=2, policy="threshold(3)", agreement=AGREEMENTS[agreement])
    key = made(s, "dkg", rules=PAYMENTS)
    made(s, "sign", 3, key=key, message="pay 5 to Eve")
    made(s, "sign", 3, key=key, message=b"pay \xff")


@pytest.mark.parametrize("change", ["refresh", "reshare"])
def test_rules_stay_with_the_key(change: str) -> None:
    s = Sessions(3, t=2)
    key = made(s, "dkg", rules=PAYMENTS)
    assert record(s, key).rules == Rules.parse(PAYMENTS).text
    new = made(s, change, key=key)
    assert record(s, new).rules == record(s, key).rules
    with pytest.raises(UsageError, match="start with 'pay '"):
        s.propose(1, "sign", key=new, message="owe 5")
    with pytest.raises(UsageError, match="start with 'pay '"):
        s.propose(1, "sign", key=key, message="owe 5")


@pytest.mark.parametrize(
    ("rules", "silent", "done"),
    [
        ({"approvals": 3}, (), True),
        ({"approvals": 3}, (3, 4), False),
        ({"approvers": [2]}, (3, 4), True),
        ({"approvers": [4]}, (3, 4), False),
    ],
)
@pytest.mark.parametrize("agreement", ["direct", "pbft", "2pc", "3pc"])
def test_more_must_approve_than_the_policy_wants(
    agreement: str, rules: dict[str, Any], silent: tuple[Party, ...], done: bool
) -> None:
    s = Sessions(4, t=2, policy="threshold(2)", agreement=AGREEMENTS[agreement])
    key = made(s, "dkg", rules=rules)
    for p in silent:
        s.set_votes(p, "silent")
    op = s.propose(1, "sign", key=key, message="hello")
    s.run()
    assert (set(s.statuses(op).values()) == {"executed"}) is done
    if not done:
        assert not {"executed", "failed"} & set(s.statuses(op).values())


@pytest.mark.parametrize("agreement", ["2pc", "3pc"])
def test_a_vote_inside_the_protocol_ends_when_all_have_voted(agreement: str) -> None:
    s = Sessions(4, t=2, policy="threshold(2)", agreement=AGREEMENTS[agreement])
    key = made(s, "dkg", rules={"approvers": [4]})
    s.set_votes(4, "reject")
    op = s.propose(1, "sign", key=key, message="hello")
    s.run()
    assert {s.at(p, op).reason for p in s.members} == {"the key's rules want the approval of 4"}
    assert set(s.statuses(op).values()) == {"aborted"}


def test_who_certifies_too_early_gets_nothing_done() -> None:
    s = Sessions(4, t=2, policy="threshold(2)")
    key = made(s, "dkg", rules={"approvers": [4]})
    without_rules(s, 1)
    s.set_votes(4, "reject")
    op = s.propose(1, "sign", key=key, message="hello")
    s.run()
    assert "executed" not in s.statuses(op).values()
    assert all("want the approval of 4" in s.at(p, op).reason for p in (2, 3))


def test_voters_read_them_and_programs_too() -> None:
    with Lab(parties=3, threshold=2, seed=1) as lab:
        lab.start_server()
        lab.spawn()
        lab.join()
        op = lab.propose(1, "dkg", rules={"proposers": [1], "approvals": 3})
        lab.run()
        text = lab.state.operations[op.id].text
        assert text == ("make a key together (ed25519) (rules proposed by 1 only; 3 approvals)")
        assert op.outcome.data["rules"] == '{"approvals": 3, "proposers": [1]}'
        assert op.result.endswith("2 of 3; proposed by 1 only; 3 approvals")
        (info,) = lab.keys(2)
        assert info.rules == "proposed by 1 only; 3 approvals"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("pay", "is not a mapping"),
        ({"proposer": [1]}, "'proposer' is not known; did you mean 'proposers'"),
        ({"proposers": [1, 1]}, "proposers: name parties, each once"),
        ({"operations": ["spend"]}, "operations: 'spend' is not known"),
        ({"contents": ["image"]}, "contents: 'image' is not known"),
        ({"formats": ["pgp"]}, "formats: 'pgp' is not known"),
        ({"starts": "pay\x1b"}, "cannot be shown"),
        ({"approvals": -1}, "is not a number of parties"),
        ({"approvals": "all"}, "Expected `int`"),
    ],
)
def test_rules_that_mean_nothing_are_refused(given: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        RulesParameter("rules").check(given)


def test_rules_for_others_than_the_members_fail_before_a_key_is_made() -> None:
    s = Sessions(3, t=2)
    op = s.propose(1, "dkg", rules={"proposers": [7]})
    s.run()
    assert {s.at(p, op).reason for p in s.members} == {"rules: party 7 is not one of 1 to 3"}


def test_one_spelling_is_signed() -> None:
    parameter = RulesParameter("rules")
    first = parameter.check({"proposers": [2, 1], "approvals": 2, "starts": ""})
    assert first == parameter.check('{"approvals":2, "proposers":[1,2]}')
    assert parameter.check({}) == parameter.check("") == ""
