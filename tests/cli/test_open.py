"""In the open: TLS and nginx in front, two servers behind one Redis, TURN; a session of five runs
across them while one server is killed, with one link that has no direct way."""

import json
import signal
from pathlib import Path

import pytest

from mpclab.core import SECOND
from mpclab.lab import Lab
from mpclab.trace.rows import Linked
from mpclab.worlds.real.data_channel import ChannelSettings, IceServer
from tests.cli.test_operator import told
from tests.cli.test_party import Process, start
from tests.services import free_port, nginx, redis_server, running
from tests.worlds.test_backplane import until
from tests.worlds.test_between_machines import turn
from tests.worlds.test_server_socket import self_signed

__all__ = ["start", "turn"]


def test_a_session_of_five_across_proxy_servers_and_turn_outlives_one_of_them(
    start: type[Process], tmp_path: Path, turn: IceServer, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = self_signed(tmp_path)
    redis, front = free_port(), free_port()
    login = tmp_path / "turn"
    login.write_text("u\nsecret\n")
    with running(redis_server(tmp_path, redis)):
        admins = [str(tmp_path / f"{i}.sock") for i in (1, 2)]
        servers = [
            start(
                "serve", "--port", "0", "--admin", admin, "--lease", "1", "--log", "text",
                "--redis", f"redis://127.0.0.1:{redis}", "--proxy-trust", "127.0.0.1",
            )
            for admin in admins
        ]  # fmt: skip
        ports = [int(s.wait_for(r"server at ws://127\.0\.0\.1:(\d+)")[1]) for s in servers]

        def status(which: int) -> dict[str, object]:
            asked = ("server", "status", "--json", "--socket", admins[which])
            answer: dict[str, object] = json.loads(told(capsys, *asked))
            return answer

        until(lambda: not status(0)["not_ready"] and not status(1)["not_ready"])
        proxy = nginx(tmp_path, front, ports, certificate, key)
        # In turn, and not by the session: so that it spans both servers.
        conf = tmp_path / "mpclab.conf"
        conf.write_text(conf.read_text().replace("hash $mpclab_session consistent;", ""))
        with running(proxy):
            url = f"wss://127.0.0.1:{front}/mpclab"
            shared = (
                "--session", "five", "--parties", "5", "--policy", "threshold(3)",
                "--agreement", "pbft", "--authority", str(certificate),
            )  # fmt: skip
            hidden = start(
                "party", url, *shared, "--id", "5", "--relay-only",
                "--turn", turn.url, "--turn-login", str(login),
            )  # fmt: skip
            channels = ChannelSettings(ice_servers=(turn,))
            with Lab(
                world="webrtc", url=url, parties=5, session="five", policy="threshold(3)",
                agreement="pbft", options={"authority": str(certificate), "channels": channels},
            ) as lab:  # fmt: skip
                lab.spawn(1, 2, 3, 4)
                lab.join(wait=False)
                assert lab.world.run(
                    lambda: _confirmed(lab, 5) == {1, 2, 3, 4}, limit=60 * SECOND
                ), "a data channel to who shows no address, by TURN"
                counts = [int(str(status(i)["connections"])) for i in (0, 1)]
                assert sum(counts) == 5
                assert all(counts), "the session spans both servers"
                before = lab.propose(by=1, kind="note", text="before")
                lab.run(lambda: before.status == "committed", limit=30)

                servers[0].signal(signal.SIGKILL)
                during = lab.propose(by=2, kind="note", text="during")
                lab.run(lambda: during.status == "committed", limit=30)
                # Its clients come to the other one, by the same name.
                until(lambda: status(1)["connections"] == 5, 60)
                assert status(1)["members"] == 5
                after = lab.propose(by=3, kind="note", text="after")
                lab.run(lambda: after.status == "committed", limit=30)
                for text in ("before", "during", "after"):
                    hidden.wait_for(f"executed.*{text}")
                lab.tell(4, 5, "still here")
                hidden.wait_for("said.*still here")
            hidden.signal(signal.SIGTERM)
            assert hidden.finish() == 0


def _confirmed(lab: Lab, peer: int) -> set[int]:
    """The parties here whose data channel to `peer` was confirmed."""
    return {
        row.actor
        for row in lab.trace.rows
        if isinstance(row, Linked) and row.peer == peer and row.state == "confirmed"
    }
