"""The coordinator: propose, vote, commit, execute, and a history that all hold alike."""

from mpclab.coordinator.history import History
from mpclab.coordinator.policy import Policy
from mpclab.coordinator.session import Session
from mpclab.coordinator.statements import (
    AbortCertificate,
    Certificate,
    Evidence,
    SignedProposal,
    SignedVote,
    Withdrawal,
)

__all__ = [
    "AbortCertificate",
    "Certificate",
    "Evidence",
    "History",
    "Policy",
    "Session",
    "SignedProposal",
    "SignedVote",
    "Withdrawal",
]
