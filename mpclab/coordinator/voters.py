"""Who votes in the agreement protocol: an operation may say so, where that has voters.

The session's members stay what they are, and so does the approval policy: a member that does not
vote in the protocol approves as before, follows, and executes.
"""

from __future__ import annotations

from mpclab.consensus.agreement import Agreement
from mpclab.coordinator.statements import Certificate, InvalidStatement, value_from_bytes
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.operations.proposal import Proposal
from mpclab.operations.spec import Operations


def voters_of(data: bytes, kinds: Operations, n: int) -> tuple[Party, ...]:
    """The parties, of 1 to `n`, that a value of the agreement protocol makes its voters; () where
    it makes none. Of the value's own bytes, so that all parties say the same at any time."""
    try:
        value = value_from_bytes(data)
    except InvalidStatement:
        return ()
    return _named(value.signed.proposal, kinds, n) if isinstance(value, Certificate) else ()


def why_no_voters(proposal: Proposal, kinds: Operations, n: int, agreement: Agreement) -> str:
    """Why a proposal cannot make those the voters that it names; "" where it names none, or can."""
    if proposal.kind not in kinds or kinds[proposal.kind].voters is None:
        return ""
    if not agreement.revotes:
        return no_voters(agreement.title)
    if not _named(proposal, kinds, n):
        return f"{proposal.kind}: name members of this session, 1 to {n}, each once"
    return ""


def no_voters(protocol: str) -> str:
    return f"{protocol} has no voters that can be changed: all members vote; use raft"


def _named(proposal: Proposal, kinds: Operations, n: int) -> tuple[Party, ...]:
    spec = kinds.get(proposal.kind)
    if spec is None or spec.voters is None:
        return ()
    members = tuple(range(1, n + 1))
    try:
        voters = spec.voters(spec.read(spec.check(dict(proposal.params)))) or members
    except UsageError:
        return ()
    return tuple(sorted(voters)) if len({*voters} & {*members}) == len(voters) else ()
