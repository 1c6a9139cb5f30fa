"""What is signed when parties approve an operation, and what its bytes say."""

from mpclab.coordinator.session import name_of
from mpclab.coordinator.statements import Certificate, sign_proposal
from mpclab.operations.proposal import Proposal
from mpclab.testing.sessions import identity


def test_a_value_names_its_operation_for_the_agreement_protocol() -> None:
    proposal = Proposal("s1", "a", 1, 1, "note", (("text", "hello"),), 1_000_000)
    certificate = Certificate(sign_proposal(identity(1), proposal), ())
    assert name_of(certificate.to_bytes()) == proposal.op
    assert name_of(b"no certificate") == ""
