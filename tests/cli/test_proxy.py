"""Behind nginx: TLS, a path before ours, the client's own address, silence, several servers."""

import json
import socket
import ssl
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from mpclab.core import SECOND
from mpclab.lab import Lab
from mpclab.signaling.messages import Refused, Welcome
from mpclab.worlds.real.ws_http import session_in, with_session
from tests.cli.test_operator import told
from tests.cli.test_party import Process, start
from tests.cli.test_serve import Member, serving
from tests.services import free_port, nginx, running
from tests.worlds.test_server_socket import self_signed

__all__ = ["start"]


def test_a_session_runs_through_tls_and_a_path_prefix(
    start: type[Process], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = self_signed(tmp_path)
    admins = [str(tmp_path / f"{i}.sock") for i in (1, 2)]
    options = ("--by-path", "--proxy-trust", "127.0.0.1", "--per-address", "3", "--log", "json")
    servers = [start("serve", "--port", "0", "--admin", admin, *options) for admin in admins]
    ports = [
        int(json.loads(s.wait_for("serving").string)["text"].split()[4].rpartition(":")[2])
        for s in servers
    ]
    port = free_port()
    with running(nginx(tmp_path, port, ports, certificate, key)):
        url = f"wss://127.0.0.1:{port}/mpclab"
        trust = ssl.create_default_context(cafile=certificate)

        # All members of one session come to one server; sessions spread over both.
        sessions = ("s-1", "s-2", "s-3", "s-4", "s-5")
        with Lab(
            world="websocket", url=url, parties=2, session=sessions[0],
            options={"authority": str(certificate)},
        ) as lab:  # fmt: skip
            groups = [lab.group, *(lab.session(name) for name in sessions[1:])]
            for group in groups:
                group.spawn()
                group.join()
            assert lab.world.run(lambda: all(g.connected() for g in groups), limit=60 * SECOND)
            answers = [
                json.loads(told(capsys, "server", "sessions", "--json", "--socket", admin))
                for admin in admins
            ]
            met = [s for answer in answers for s in answer["sessions"]]
            assert sorted(s["session"] for s in met) == sorted(sessions)
            assert all(len(s["members"]) == 2 for s in met)
            assert all(answer["sessions"] for answer in answers), "the path's hash uses both"

        # What is the operator's is not for the world, and no other path leads past the proxy.
        for path in ("/mpclab/metrics", "/mpclab/status", "/elsewhere", "/s/s-1"):
            with pytest.raises(InvalidStatus):
                connect(f"wss://127.0.0.1:{port}{path}", ssl=trust, legacy=True)


def test_a_client_cannot_choose_the_address_that_it_counts_for(
    start: type[Process], tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path)
    _, direct = serving(
        start, "--admin", "none", "--proxy-trust", "127.0.0.1", "--per-address", "2"
    )
    port = free_port()
    with running(nginx(tmp_path, port, [int(direct.rpartition(":")[2])], certificate, key)):
        trust = ssl.create_default_context(cafile=certificate)

        def come(number: int, own: str) -> Member:
            """A client at the address `own` that says that it is at another each time."""
            sock = socket.create_connection(("127.0.0.1", port), source_address=(own, 0))
            return Member(
                f"wss://127.0.0.1:{port}/mpclab/s/s", "s", number, ssl=trust, sock=sock,
                additional_headers={
                    "X-Forwarded-For": f"203.0.113.{number}", "Forwarded": f"for=192.0.2.{number}"
                },
            )  # fmt: skip

        members = [come(1, "127.0.0.2"), come(2, "127.0.0.2")]
        assert all(isinstance(member.answer, Welcome) for member in members)
        with pytest.raises(InvalidStatus, match="503"):
            come(3, "127.0.0.2")
        assert isinstance(come(3, "127.0.0.3").answer, Welcome)


def test_a_server_that_was_chosen_by_path_wants_to_be(start: type[Process]) -> None:
    """Else a stranger could open a second room of the same id on another server."""
    _, url = serving(start, "--admin", "none", "--by-path")
    for path, reason in (("", "no session named"), ("/s/t", "the url's path names another")):
        answer = Member(url + path, "s", 1).answer
        assert isinstance(answer, Refused)
        assert answer.reason.startswith(reason)
    assert isinstance(Member(f"{url}/any/prefix/s/s", "s", 1).answer, Welcome)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("ws://h", "ws://h/s/x"),
        ("ws://h:1/", "ws://h:1/s/x"),
        ("wss://h/lab", "wss://h/lab/s/x"),
        ("wss://h/lab/?k=v", "wss://h/lab/s/x?k=v"),
    ],
)
def test_the_session_goes_to_the_end_of_the_path(url: str, named: str) -> None:
    assert with_session(url, "x") == named
    assert session_in(named.partition("h")[2].partition(":1")[2] or named.partition("h")[2]) == "x"
    assert with_session(url, "") == url


@pytest.mark.parametrize("path", ["/", "/s/", "/s", "/s/a/b", "/x/s", "/?s=/s/x"])
def test_other_paths_name_no_session(path: str) -> None:
    assert session_in(path) == ""
