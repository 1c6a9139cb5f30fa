"""Rules of a key: agreed with it, shown, and kept by every honest party whatever it votes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mpclab.consensus.registry import AGREEMENTS
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.crypto.formats import sshsig_payload
from mpclab.lab.lab import Lab
from mpclab.mpc.records import KeyRecord
from mpclab.operations import OPERATIONS, share_of
from mpclab.operations.parameters import Reference
from mpclab.operations.rules import Rules, RulesParameter
from mpclab.operations.spec import Execution, OperationSpec, _no_rules
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
        kinds.register(replace(OPERATIONS[name], rules=_no_rules))
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


def test_another_kind_of_operation_gets_no_share_that_rules_keep_from_it() -> None:
    def peek(execution: Execution) -> str:
        return f"share {share_of(execution, execution.params['key']) is not None}"

    kinds = OPERATIONS.copy()
    kinds.register(OperationSpec("peek", peek, (Reference("key"),), after=lambda p: (p["key"],)))
    s = Sessions(3, t=2)
    for p in s.members:
        s.session(p).ledger.kinds = kinds
    free, kept = made(s, "dkg"), made(s, "dkg", rules={"operations": ["sign"]})
    assert s.at(2, made(s, "peek", key=free)).result == "share True"
    op = s.propose(1, "peek", key=kept)
    s.run()
    assert {s.at(p, op).reason for p in s.members} == {"the key's rules allow sign, not peek"}


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
