"""`mpclab server …`, tickets, HTTP on the server's port, its log and its configuration."""

import json
import os
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from argparse import ArgumentParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.cli import main
from mpclab.cli.server_options import OPTIONS, add_options, resolve, show
from mpclab.core.errors import UsageError
from mpclab.lab.keys import load_key
from mpclab.signaling.messages import Refused, Welcome
from mpclab.signaling.tickets import closed_session, open_ticket, owned_session
from mpclab.worlds.real.admin import AdminSocket, ask
from tests.cli.test_party import Process, start
from tests.cli.test_serve import Member, serving
from tests.signaling.bench import identity

__all__ = ["start"]


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command of ours says, run in this process."""
    assert main(arguments) == 0
    return capsys.readouterr().out


def fetch(url: str, path: str, **headers: str) -> tuple[int, str, str]:
    """Status, kind and body of a plain request; `_` in a header's name is a dash."""
    web = "http" + url.removeprefix("ws") + path
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(web, headers=named)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"] or "", error.read().decode()


# --- the operator's socket, and tickets -------------------------------------------------------


def test_the_operator_lists_frees_closes_and_invites(
    start: type[Process], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    admin, key = str(tmp_path / "a.sock"), str(tmp_path / "operator.key")
    _, url = serving(start, "--admin", admin, "--operator", key, "--access", "invited")
    stranger = Member(url, "vault", 1)
    assert isinstance(stranger.answer, Refused)
    assert stranger.answer.reason == "this server is by invitation"

    there = ("--socket", admin)
    ticket = told(capsys, "server", "invite", "vault", "--party", "1", *there).strip()
    member = Member(url, "vault", 1, ticket=ticket)
    assert isinstance(member.answer, Welcome)

    listed = told(capsys, "server", "sessions", *there)
    assert "vault: n 3, t 2, unanimous, invited" in listed
    assert f"party 1: online, key {identity(1).public.hex()[:16]}" in listed
    status = json.loads(told(capsys, "server", "status", "--json", *there))
    assert (status["sessions"], status["members"], status["refused_joins"]) == (1, 1, 1)
    assert "party 1 refused: this server is by invitation" in told(capsys, "server", "log", *there)

    assert told(capsys, "server", "free", "vault", "1", *there) == (
        "the seat of party 1 in vault is free\n"
    )
    assert member.ended()[1] == "the operator freed this seat"
    copied = Member(url, "vault", 1, key=identity(8), ticket=ticket)
    assert isinstance(copied.answer, Refused)
    assert copied.answer.reason == "ticket was used by another key"
    Member(url, "vault", 1, ticket=ticket)
    told(capsys, "server", "close", "vault", *there)
    assert told(capsys, "server", "sessions", *there) == "no session is open\n"
    assert main(["server", "close", "vault", *there]) == 2
    assert "no session 'vault'" in capsys.readouterr().err


def test_an_invitation_is_taken_back_by_its_owner_or_the_operator(
    start: type[Process], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    admin, owner = tmp_path / "a.sock", str(tmp_path / "owner.key")
    there = ("--socket", str(admin))
    server, url = serving(start, "--admin", str(admin), "--state", str(tmp_path / "state"))
    session, key, text = (
        line.split()[1]
        for line in told(capsys, "invite", "vault", "--owned", "--key", owner).splitlines()
    )
    guests = {"access": "invited", "owner": bytes.fromhex(key)}
    guest = Member(url, session, 2, ticket=text, **guests)
    assert isinstance(guest.answer, Welcome)
    id = open_ticket(text).id
    listed = told(capsys, "server", "sessions", *there)
    assert f"ticket {id}: used by key {identity(2).public.hex()[:16]}…" in listed

    letter = tmp_path / "ticket"
    letter.write_text(text)
    take_back = ("revoke", url, session, "--ticket", str(letter))
    assert main([*take_back, "--key", str(tmp_path / "other.key")]) == 2
    assert "this session has another owner" in capsys.readouterr().err
    assert told(capsys, *take_back, "--key", owner) == f"taken back in {session}\n"
    assert guest.ended()[1] == "the invitation was taken back"
    assert main(["revoke", url.replace("ws:", "wss:"), session, "--for", key, "--key", owner]) == 2
    assert "it ended the connection" in capsys.readouterr().err

    owning = Member(url, session, 1, key=load_key(tmp_path / "owner.key"), access="invited")
    assert isinstance(owning.answer, Welcome)
    banned = identity(9).public.hex()
    assert told(capsys, "server", "revoke", session, "--for", banned, *there) == (
        f"taken back in {session}\n"
    )
    assert main(["server", "revoke", "valt", "--ticket", id, *there]) == 2
    assert "give the whole ticket" in capsys.readouterr().err
    server.kill()
    _, url = serving(start, "--admin", str(admin), "--state", str(tmp_path / "state"))
    listed = told(capsys, "server", "sessions", *there)
    assert f"ticket {id}: taken back" in listed
    assert f"key {banned}: its tickets are taken back" in listed
    again = Member(url, session, 2, ticket=text, **guests)
    assert isinstance(again.answer, Refused)
    assert again.answer.reason == "ticket was taken back"
    assert told(capsys, "server", "revoke", session, "--ticket", id, "--undo", *there) == (
        f"good again in {session}\n"
    )
    assert isinstance(Member(url, session, 2, ticket=text, **guests).answer, Welcome)


def test_nobody_else_reaches_the_operators_socket(start: type[Process], tmp_path: Path) -> None:
    admin = tmp_path / "deep" / "a.sock"
    serving(start, "--admin", str(admin))
    assert stat.S_IMODE(admin.stat().st_mode) == 0o600
    assert stat.S_IMODE(admin.parent.stat().st_mode) == 0o700
    for request in (b"", b"x" * 70_000, b'{"do":"close"}', b'{"do":"rm"}', b"[" * 5000, b"\xff"):
        try:
            answer = ask(admin, request)
        except UsageError:
            continue  # too long to be read
        assert "error" in json.loads(answer)
    # Another user of this machine, who was even given the file, is sent away by who it is.
    if os.geteuid() == 0:
        admin.parent.chmod(0o755)
        tmp_path.chmod(0o755)
        admin.chmod(0o666)
        code = (
            "import os, socket, sys\nos.setuid(65534)\n"
            "s = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
            'try:\n    s.sendall(b\'{"do":"status"}\\n\')\n    print(len(s.recv(99)))\n'
            "except ConnectionError:\n    print(0)\n"
        )
        short = Path("/tmp") / f"mpclab-{os.getpid()}.sock"
        short.unlink(missing_ok=True)
        os.link(admin, short)
        try:
            tried = subprocess.run(
                [sys.executable, "-c", code, str(short)],
                capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
        finally:
            short.unlink()
        assert tried.stdout == "0\n", tried.stderr
    assert b'"connections"' in ask(admin, b'{"do":"status"}')


def test_a_socket_that_is_in_use_or_no_socket_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "a.sock"
    first = AdminSocket(place, lambda request: request)
    first._sock.listen()
    with pytest.raises(UsageError, match="another server answers there"):
        AdminSocket(place, lambda request: request)
    first._sock.close()  # a server that was killed leaves its file
    again = AdminSocket(place, lambda request: request)
    place.unlink()  # by hand, and a second server takes the place
    second = AdminSocket(place, lambda request: request)
    again.close()
    assert place.exists(), "it is the second one's"
    second.close()
    assert not place.exists()
    place.write_text("precious")
    with pytest.raises(UsageError, match="no socket"):
        AdminSocket(place, lambda request: request)
    assert place.read_text() == "precious"
    tmp_path.chmod(0o777)
    with pytest.raises(UsageError, match="others may write there"):
        AdminSocket(tmp_path / "b.sock", lambda request: request)
    with pytest.raises(UsageError, match="at most 100 characters"):
        AdminSocket(tmp_path / ("b" * 100), lambda request: request)


def test_an_owner_invites_into_a_session_that_is_hers_on_any_server(
    start: type[Process], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server, url = serving(start, "--admin", "none")
    owner, guest = str(tmp_path / "owner.key"), tmp_path / "ticket"
    said = told(capsys, "invite", "vault", "--owned", "--key", owner, "--party", "2")
    session, key, ticket = (line.split()[1] for line in said.splitlines())
    guest.write_text(f"{ticket}\n")
    squatter = Member(url, session, 1)
    assert isinstance(squatter.answer, Refused)
    assert squatter.answer.reason == "this session's id says that it is another's"

    def party(number: str, *more: str) -> Process:
        return start(
            "party", url, "--session", session, "--id", number, "--parties", "2", "--relay", *more
        )  # fmt: skip

    # The guest may even be there first, on a server that has never heard of the owner.
    second = party("2", "--access", "invited", "--owner", key, "--ticket", str(guest))
    second.wait_for("the server: open")
    first = party("1", "--access", "invited", "--key", owner, "--propose", "hello", "--until", "1")
    assert first.finish(60) == 0
    late = start("party", url, "--session", session, "--id", "2", "--parties", "2", "--relay")
    late.wait_for("this session is by invitation")
    assert late.finish() == 2
    del server


# --- HTTP -------------------------------------------------------------------------------------


def test_health_readiness_metrics_and_a_page(start: type[Process], tmp_path: Path) -> None:
    from prometheus_client.parser import text_string_to_metric_families as parse

    _, url = serving(
        start, "--admin", "none", "--metrics", "--name", "lab.example", "--origin", "https://x.test"
    )
    member = Member(url, '<b>"evil'.replace('<b>"', ""), 1)
    assert fetch(url, "/healthz") == (200, "text/plain; charset=utf-8", "ok\n")
    assert fetch(url, "/readyz?probe=1")[0] == 200
    code, kind, text = fetch(url, "/metrics")
    assert (code, kind.split(";")[0]) == (200, "text/plain")
    numbers = {s.name: s.value for family in parse(text) for s in family.samples}
    assert numbers["mpclab_sessions"] == numbers["mpclab_members"] == 1
    assert numbers["mpclab_ready"] == 1
    assert numbers["mpclab_messages_in_total"] >= 1
    assert not any(s.labels for family in parse(text) for s in family.samples)
    assert "evil" not in text
    tool = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert tool.returncode == 0, tool.stdout + tool.stderr
    code, kind, page = fetch(url, "/")
    assert (code, kind) == (200, "text/html; charset=utf-8")
    assert "ready" in page
    assert "evil" not in page
    assert fetch(url, "/status", Host="lab.example")[0] == 200
    for rebound in ("/status", "/"):
        assert fetch(url, rebound, Host="evil.test")[0] == 403
        assert fetch(url, rebound, Origin="https://evil.test")[0] == 403
        assert fetch(url, rebound, Origin="https://x.test")[0] == 200
    assert fetch(url, "/metrics", X_Forwarded_For="203.0.113.9")[0] == 200, "no proxy is trusted"
    del member


def test_metrics_are_for_those_whom_the_operator_names(start: type[Process]) -> None:
    _, url = serving(
        start, "--admin", "none", "--metrics", "--proxy-trust", "127.0.0.1", "--metrics-from",
        "203.0.113.0/24",
    )  # fmt: skip
    assert fetch(url, "/metrics")[0] == 403
    assert fetch(url, "/metrics", X_Forwarded_For="203.0.113.9")[0] == 200
    assert fetch(url, "/metrics", X_Forwarded_For="203.0.113.9, 198.51.100.1")[0] == 403
    rebound = fetch(url, "/metrics", X_Forwarded_For="203.0.113.9", Host="evil.test:8080")
    assert rebound[0] == 403, "a page in a browser there may have its own name point to us"
    _, silent = serving(start, "--admin", "none")
    assert fetch(silent, "/metrics")[0] not in (200, 403)


def test_under_another_host_nothing_is_answered_but_health(start: type[Process]) -> None:
    _, url = serving(start, "--admin", "none", "--only-host", "Lab.example")
    port = int(url.rpartition(":")[2])
    for host in ("evil.test", f"127.0.0.1:{port}", "lab.example.evil.test", "", "lab.example\tx"):
        assert fetch(url, "/status", Host=host or " ")[0] in (400, 421), host
        assert _upgrade(port, host) != 101, host
    assert fetch(url, "/healthz", Host="10.0.0.7")[0] == 200
    assert _upgrade(port, "lab.example") == 101
    assert _upgrade(port, f"LAB.EXAMPLE:{port}") == 101
    assert _upgrade(port, "lab.example\r\nHost: evil.test") != 101


def _upgrade(port: int, host: str) -> int:
    """The status of a WebSocket's opening under that name; 0: it was cut off."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(
            f"GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            .encode()
        )  # fmt: skip
        first = sock.recv(64)
    return int(first.split()[1]) if first.startswith(b"HTTP/1.1 ") else 0


# --- the log ----------------------------------------------------------------------------------


def test_json_lines_are_one_an_event_whatever_a_client_calls_itself(start: type[Process]) -> None:
    server, url = start("serve", "--port", "0", "--admin", "none", "--log", "json"), ""
    url = json.loads(server.wait_for("serving").string)["text"].split()[4]
    evil = 'x"}\n{"level":"info","event":"joined","session":"forged"}\n\x1b[31m'
    Member(url, evil, 1)
    Member(url, "s", 1, policy=evil)
    Member(url, "s", 1)
    joined = json.loads(server.wait_for('"joined"').string)
    assert (joined["session"], joined["party"], joined["level"]) == ("s", 1, "info")
    lines = [json.loads(line) for line in server.seen]
    assert [it["event"] for it in lines if it["level"] == "warning"] == ["join-refused"] * 2
    assert "forged" not in {it.get("session") for it in lines}
    assert all(it["time"].endswith("+00:00") for it in lines)


def test_text_lines_spell_out_what_is_no_letter(start: type[Process]) -> None:
    server, url = serving(start, "--admin", "none", "--log", "text")
    Member(url, "s\n12:00 joined session forged\x1b[31m", 1)
    said = server.wait_for("join-refused").string
    assert r"s\n12:00 joined session forged\x1b[31m" in said


def test_a_session_says_by_its_id_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    roster = [identity(party).public for party in (1, 2, 3)]
    keys = [key.hex() for key in roster]
    assert told(capsys, "session", "vault", "--closed", *keys).strip() == closed_session(
        "vault", roster
    )
    assert told(capsys, "session", "vault", "--owner", keys[0]).strip() == owned_session(
        "vault", roster[0]
    )
    for wrong, why in (
        (["--closed", keys[0], keys[0]], "party 2 has the key of an earlier one"),
        (["--owner", "nobody"], "nobody"),
    ):
        assert main(["session", "vault", *wrong]) == 2
        assert why in capsys.readouterr().err


# --- the configuration ------------------------------------------------------------------------


def configured(*arguments: str, **environment: str) -> ArgumentParser:
    parser = ArgumentParser()
    add_options(parser)
    args = parser.parse_args(arguments)
    resolve(args, environment)
    return args


def test_flags_come_before_the_environment_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('[limits]\nrate = 1\nsessions = 2\nburst = 3\n[doors]\norigin = ["http://a"]\n')
    args = configured(
        "--config", str(file), "--rate", "7", MPCLAB_SERVE_RATE="8", MPCLAB_SERVE_SESSIONS="9",
        MPCLAB_SERVE_PROXY_TRUST="10.0.0.1, 10.0.0.2",
    )  # fmt: skip
    assert (args.rate, args.sessions, args.burst, args.connections) == (7, 9, 3, 4096)
    assert (args.origin, args.proxy_trust) == (["http://a"], ["10.0.0.1", "10.0.0.2"])
    assert configured(MPCLAB_SERVE_CONFIG=str(file)).rate == 1


def test_what_is_shown_is_a_file_that_says_the_same(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    shown = show(configured("--rate", "7", "--origin", "http://a", "--cert", "c", "--pages"))
    file.write_text(shown)
    assert show(configured("--config", str(file))) == shown
    for option in OPTIONS:
        assert f"{option.name} =" in shown, "every limit is in it"
    secret = show(configured("--redis", "rediss://me:hunter2@r.example:6379/1"))
    assert "hunter2" not in secret
    assert "rediss://me:…@r.example:6379/1" in secret


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[limits]\nraet = 1", "has no 'raet'; did you mean 'rate'"),
        ("[limit]\nrate = 1", "no section [limit]; did you mean 'limits'"),
        ("rate = 1", "no section [rate]"),
        ("limits = 3", "limits is a section: write [limits]"),
        ("[[limits]]\nrate = 1", "limits is a section"),
        ('[watch]\nstate = "a\\u0000"', "characters that are none"),
        ('[doors]\nname = ["a\\nb"]', "characters that are none"),
        ("[limits]\nrate = 0", "at least 1"),
        ('[limits]\nrate = "7"', "whole number"),
        ("[limits]\nrate = true", "whole number"),
        ("[limits]\nping-every = nan", "at least"),
        ("[listen]\npages = 1", "true or false"),
        ("[doors]\norigin = 7", "list of texts"),
        ('[doors]\naccess = "private"', "open, invited"),
        ("[limits", "--config"),
    ],
)
def test_a_file_with_a_slip_is_an_error_that_says_where(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "server.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as raised:
        configured("--config", str(file))
    assert message in str(raised.value)


def test_a_misspelt_variable_is_an_error() -> None:
    with pytest.raises(UsageError, match="MPCLAB_SERVE_RATES"):
        configured(MPCLAB_SERVE_RATES="7")


@given(st.sampled_from(OPTIONS), st.text(max_size=20))
def test_any_text_is_a_value_or_an_error(option: object, text: str) -> None:
    with_text = {option.variable: text}
    try:
        args = configured(**with_text)
    except UsageError:
        return
    assert show(args)


def test_show_config_ends_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert "rate = 9\n" in told(capsys, "serve", "--show-config", "--rate", "9")


@pytest.mark.parametrize("url", ["redis://u:secret@h/0", "redis://h/0?db=1&password=secret"])
def test_show_config_shows_no_password(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "secret" not in told(capsys, "serve", "--show-config", "--redis", url)
