"""The same agreement protocols over real links: a leader dies, comes back and catches up."""

import pytest

from mpclab import Lab


@pytest.mark.parametrize("world", ["websocket", "webrtc"])
@pytest.mark.parametrize("agreement", ["hotstuff-2", "tendermint"])
def test_a_leader_dies_and_comes_back_over_real_links(agreement: str, world: str) -> None:
    with Lab(
        parties=4, agreement=agreement, policy="threshold(3)", world=world, patience="1s"
    ) as lab:
        lab.start_server(port=0)
        lab.spawn()
        lab.join()
        lab.propose(by=1, kind="note", text="all are here")
        lab.run()
        lab.crash(2)  # the next leader
        lab.propose(by=3, kind="note", text="one is away")
        lab.run()
        lab.restart(2)
        lab.join()
        lab.propose(by=2, kind="note", text="and is back")
        lab.run()
        assert [o.status for o in lab.outcomes()] == ["committed"] * 3
        verdicts = lab.check("agreement", "total-order", "integrity", "blame")
        assert [v.verdict for v in verdicts] == ["ok"] * 4, verdicts
