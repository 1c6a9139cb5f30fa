"""A fault that could never act on the chosen protocol is refused before anything runs."""

import pytest

from mpclab.consensus.registry import AGREEMENTS, WRONG
from mpclab.core.errors import UsageError
from mpclab.lab import Scenario
from mpclab.lab.kinds import spoken_by

SENDING = sorted({*AGREEMENTS, *WRONG} - {"direct"})


def scenario(agreement: str, **fault: object) -> Scenario:
    return Scenario.parse(
        {"parties": 4, "agreement": agreement, "faults": [{"at": "0ms", **fault}]}
    )


def lie(agreement: str, *messages: str, kind: str = "lie") -> Scenario:
    return scenario(agreement, kind=kind, party=1, messages=list(messages))


@pytest.mark.parametrize(
    ("agreement", "kind", "hint"),
    [
        (
            "pbft",
            "PrePrepar",
            "'PrePrepar' is not a kind of .*did you mean 'PbftPrePrepare'",
        ),
        ("hotstuff", "HotstuffVote", "did you mean 'HotStuffVote'"),
        ("direct", "SignedVot", "did you mean 'SignedVote'"),
        ("raft", "PbftCommit", "raft never sends PbftCommit; pbft does"),
        ("2pc", "ThreePhaseAck", "2pc never sends ThreePhaseAck; 3pc does"),
        ("3pc", "SignedVote", "3pc never sends SignedVote"),
        ("pbft", "Beat", "serves links and the server, and no adversary touches it"),
    ],
)
def test_a_kind_that_is_never_sent_is_refused(agreement: str, kind: str, hint: str) -> None:
    with pytest.raises(UsageError, match=r"faults\[0\]\.messages: .*" + hint):
        lie(agreement, kind)


def test_link_faults_are_held_to_it_too() -> None:
    with pytest.raises(UsageError, match=r"faults\[0\]\.messages: 'Raft' is not a kind"):
        scenario("raft", kind="hold", messages=["Raft"])
    scenario("raft", kind="hold", messages=["RaftAppendEntries"])
    scenario("raft", kind="hold", messages=["Beat"])


@pytest.mark.parametrize("kind", ["lie", "equivocate", "vote-twice"])
def test_what_cannot_be_said_otherwise_cannot_be_lied_about(kind: str) -> None:
    with pytest.raises(UsageError, match="HotStuffAdvance cannot be said otherwise"):
        lie("hotstuff", "HotStuffAdvance", kind=kind)
    lie("hotstuff", "HotStuffAdvance", "HotStuffVote", kind=kind)
    scenario("hotstuff", kind="silent", party=1, messages=["HotStuffAdvance"])


@pytest.mark.parametrize("name", SENDING)
def test_every_kind_of_every_protocol_can_be_named(name: str) -> None:
    protocol = {**AGREEMENTS, **WRONG}[name]
    kinds = spoken_by(protocol)
    assert kinds
    scenario(name, kind="silent", party=1, messages=list(kinds))
    assert {cls.__name__ for cls in protocol.unvaried} <= kinds.keys()


def test_nobody_equivocates_to_itself_alone() -> None:
    with pytest.raises(UsageError, match="cannot equivocate to itself alone"):
        scenario("pbft", kind="equivocate", party=1, to=[1])
