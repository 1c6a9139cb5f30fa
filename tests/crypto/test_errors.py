"""An error says who is to blame, and one `except` catches all that a peer can cause."""

import pytest

from mpclab.crypto import errors


@pytest.mark.parametrize("kind", [errors.BadCommitment, errors.BadProof, errors.BadShare])
def test_culprits_are_named_in_order(kind):
    assert kind(3, "wrong").culprits == (3,)
    assert str(kind(3, "wrong")) == "wrong (party 3)"
    assert kind({5, 1}, "wrong").culprits == (1, 5)
    assert str(kind({5, 1}, "wrong")) == "wrong (parties 1, 5)"


def test_what_a_peer_can_cause_is_one_family():
    kinds = [
        kind for name, kind in vars(errors).items() if name.startswith(("Bad", "Bl", "Seal", "En"))
    ]
    assert len(kinds) == 7
    assert all(issubclass(kind, errors.CryptoError) for kind in kinds)
    # A caller's own mistake is a ValueError, and must not be caught along with a peer's.
    assert not any(issubclass(kind, ValueError) for kind in kinds)
