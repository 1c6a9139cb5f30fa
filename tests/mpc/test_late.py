"""A share that comes late is kept: after this party gave up, and after others told it the key."""

from __future__ import annotations

import pytest

from mpclab.core.ids import MS, SECOND, Party
from mpclab.mpc.exports import SignatureRecord
from mpclab.testing.sessions import Sessions

LATE = 3


@pytest.mark.parametrize("told", [False, True], ids=["gave-up", "told-by-the-others"])
def test_a_share_that_was_confirmed_late_is_kept_and_signs(told: bool) -> None:
    """Party 3 has signed, and hears no confirmation before its deadline. The others do.

    `told`: its question to the others is the first that arrives, and then their answers.
    """
    s = Sessions(3, t=2, policy="threshold(2)", round_deadline=SECOND)
    s.run()

    def lost(src: Party, dst: Party, draw: object) -> bool:
        signed = [row.at for row in s.notes("round") if row.note.round == 3]
        gave_up = [row.at for row in s.notes("failed")]
        if not signed or (gave_up and (told or s.world.now > gave_up[0])):
            return False
        return dst == LATE or (src == LATE and s.world.now > signed[0] + 50 * MS)

    s.lossy(lost)
    key = s.propose(1, "dkg")
    s.run()
    [failed] = s.notes("failed", key)
    assert (failed.actor, failed.note.missing) == (LATE, (1, 2))
    [executed] = [row for row in s.notes("executed", key) if row.actor == LATE]
    assert executed.note.source == ("reports" if told else "")
    assert set(s.statuses(key).values()) == {"executed"}

    s.heal()
    s.world.crash(LATE)
    s.world.restart(LATE)
    s.world.crash(1)
    op = s.propose(LATE, "sign", key=key, message="with a late share")
    s.run()
    signed = s.session(LATE).executor.results[op].data
    assert SignatureRecord.from_bytes(signed).verify()
