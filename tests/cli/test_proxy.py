"""Behind nginx: TLS, a path before ours, the client's own address, silence, several servers."""

import json
import os
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from mpclab.cli import main
from mpclab.core import SECOND
from mpclab.lab import Lab
from mpclab.signaling.messages import Ping, Refused, Welcome
from mpclab.worlds.real.ws_http import session_in, with_session
from tests.cli.test_operator import told
from tests.cli.test_party import Process, start
from tests.cli.test_serve import Member, serving
from tests.services import free_port, free_ports, nginx, redis_server, running
from tests.worlds.test_backplane import came_in, heard, say, until
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


@pytest.mark.parametrize("pings", [True, False])
def test_silent_members_outlive_a_proxys_idle_time_out_by_the_servers_pings(
    start: type[Process], tmp_path: Path, pings: bool
) -> None:
    certificate, key = self_signed(tmp_path)
    every = "0.3" if pings else "60"
    _, direct = serving(
        start, "--admin", "none", "--proxy-trust", "127.0.0.1", "--ping-every", every,
        "--pong-within", "60",
    )  # fmt: skip
    port = free_port()
    proxy = nginx(tmp_path, port, [int(direct.rpartition(":")[2])], certificate, key)
    conf = tmp_path / "mpclab.conf"
    written = conf.read_text()
    conf.write_text(written.replace("read_timeout 30s", "read_timeout 3s"))
    assert conf.read_text() != written
    with running(proxy):
        trust = ssl.create_default_context(cafile=certificate)
        url = f"wss://127.0.0.1:{port}/mpclab/s/s"
        one, two = (came_in(Member(url, "s", party, ssl=trust)) for party in (1, 2))
        if not pings:
            assert one.ended()[0] == 1006, "the proxy cut it off"
            return
        began = time.monotonic()
        while time.monotonic() < began + 3.3:
            one.hear(Ping)  # and it says nothing
        say(one, 2, "still here")
        assert heard(two) == "1: still here"


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


# --- several workers --------------------------------------------------------------------------


def test_workers_of_one_port_share_their_rooms_and_one_that_is_killed_comes_again(
    start: type[Process], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    redis = free_port()
    admin = tmp_path / "a.sock"
    admins = [str(tmp_path / f"a-{i}.sock") for i in (1, 2)]
    with running(redis_server(tmp_path, redis)):
        server = start(
            "serve", "--port", "0", "--workers", "2", "--redis", f"redis://127.0.0.1:{redis}",
            "--lease", "1", "--admin", str(admin), "--log", "text",
        )  # fmt: skip
        url = server.wait_for(r"server at (ws://127\.0\.0\.1:\d+)")[1]
        server.wait_for(r"server at ws")

        def status(which: str) -> dict[str, object]:
            return json.loads(told(capsys, "server", "status", "--json", "--socket", which))

        def is_ready(which: str) -> bool:
            try:
                return status(which)["not_ready"] == ""
            except AssertionError:  # nobody listens there yet
                return False

        until(lambda: all(map(is_ready, admins)))
        # The kernel chooses: with so many, both have some.
        members = [came_in(Member(url, "s", party, n=16, t=2)) for party in range(1, 17)]
        until(lambda: {status(it)["members"] for it in admins} == {16})
        counts = [int(str(status(it)["connections"])) for it in admins]
        assert all(counts)
        assert sum(counts) == 16
        for sender, to in ((0, 15), (7, 3), (15, 0)):
            say(members[sender], to + 1, "hi")
            assert heard(members[to]) == f"{sender + 1}: hi"
        pid = subprocess.run(
            ["pgrep", "-f", admins[0]], capture_output=True, text=True, check=True
        ).stdout.split()[0]
        os.kill(int(pid), signal.SIGKILL)
        server.wait_for("worker 1 ended")
        server.wait_for(r"server at ws")
        until(lambda: is_ready(admins[0]))
        server.signal(signal.SIGTERM)
        assert server.finish() == 0


def test_workers_without_redis_have_a_port_each_and_want_the_path(start: type[Process]) -> None:
    port = free_ports(2)
    server = start("serve", "--port", str(port), "--workers", "2", "--admin", "none")
    urls = {server.wait_for(r"server at (ws://127\.0\.0\.1:\d+)")[1] for _ in range(2)}
    assert urls == {f"ws://127.0.0.1:{port + i}" for i in (0, 1)}
    for url in urls:
        assert isinstance(Member(url, "s", 1).answer, Refused)
        came_in(Member(f"{url}/s/s", "s", 1))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--port", "0"], "name the first --port"),
        (["--state", "x"], "cannot share a --state"),
        (["--redis", "redis://x", "--state", "x", "--workers", "1"], "leave out --state"),
    ],
)
def test_workers_that_cannot_be_are_refused(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--workers", "2", *options]) == 2
    assert sentence in capsys.readouterr().err
