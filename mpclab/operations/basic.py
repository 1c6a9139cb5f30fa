"""The operations that need no key: a note, an answer to one, a joint coin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpclab.mpc.coin import Coin
from mpclab.operations.members import members_of
from mpclab.operations.parameters import Members, Reference, Text
from mpclab.operations.spec import Known, OperationSpec


def _answers(params: Mapping[str, Any], known: Known) -> str | None:
    return None if params["to"] in known.proposals else f"no proposal {params['to']} is known here"


NOTE = OperationSpec(
    "note",
    make=lambda execution: str(execution.params["text"]),
    parameters=(Text("text", help="what everyone agrees to have said"),),
    sentence="note: {text}",
)

RESPONSE = OperationSpec(
    "response",
    make=lambda execution: str(execution.params["text"]),
    parameters=(
        Reference("to", help="the operation that is answered"),
        Text("text", help="the answer"),
    ),
    sentence="answer to {to}: {text}",
    validate=_answers,
)

COIN = OperationSpec(
    "coin",
    make=lambda execution: Coin(execution.context, deadline=execution.deadline),
    sentence="a joint random number",
)

VOTERS = OperationSpec(
    "voters",
    make=lambda execution: f"who votes: {', '.join(map(str, members_of(execution, 'parties')))}",
    parameters=(Members("parties", help="who votes from then on; none named: all"),),
    sentence="who votes in the agreement protocol: {parties}",
    voters=lambda params: tuple(params["parties"]),
)
"""Who votes in the agreement protocol, where a part of the members may: Raft, by joint consensus.
All members go on to hold the history, and to approve what the policy asks them to."""

BASIC_OPERATIONS = (NOTE, RESPONSE, COIN, VOTERS)
