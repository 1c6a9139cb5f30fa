"""`mpclab serve`: it begins with a reason or ends with a goodbye, and forgets what it relayed."""

import contextlib
import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from mpclab.core.errors import UsageError
from mpclab.crypto.identity import Identity
from mpclab.lab import Lab
from mpclab.signaling.messages import Challenge, Refused, Relayed, ServerMessage, Welcome
from mpclab.worlds.real.store import SqliteStore
from tests.cli.test_party import Process, start
from tests.signaling.bench import identity, joining
from tests.worlds.test_server_socket import self_signed

__all__ = ["start"]


class Packet(msgspec.Struct):
    id: int
    msg: ServerMessage


_decode = msgspec.json.Decoder(Packet).decode


_SOCKET = ("ssl", "sock", "additional_headers")


class Member:
    """One connection that joined by hand."""

    def __init__(
        self, url: str, session: str, party: int, key: Identity | None = None, **fields: Any
    ) -> None:
        how = {name: fields.pop(name) for name in _SOCKET if name in fields}
        self.socket: ClientConnection = connect(
            url, compression=None, ping_interval=None, legacy=True, **how
        )
        challenge = self.hear(Challenge)
        assert isinstance(challenge, Challenge)
        self.say(joining(challenge.nonce, party, session=session, key=key, **fields))
        self.answer = self.hear(Welcome, Refused)

    def say(self, msg: object) -> None:
        self.socket.send(b'{"id":1,"msg":%b}' % msgspec.json.encode(msg), text=True)

    def ended(self) -> tuple[int, str]:
        """The code and reason with which the server closes."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.socket.recv(timeout=20)
        return self.socket.close_code or 0, self.socket.close_reason or ""

    def hear(self, *kinds: type) -> ServerMessage:
        while True:
            msg = _decode(self.socket.recv(timeout=20)).msg
            if isinstance(msg, kinds):
                return msg


def serving(start: type[Process], *arguments: str) -> tuple[Process, str]:
    server = start("serve", "--port", "0", *arguments)
    return server, server.wait_for(r"(wss?://127\.0\.0\.1:\d+)")[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_goodbye(start: type[Process], number: int) -> None:
    server, url = serving(start)
    member = Member(url, "s", 1)
    party = start("party", url, "--session", "t", "--id", "1", "--parties", "2", "--relay")
    party.wait_for("the server: open")
    party.signal(number)
    assert party.finish() == 0
    assert isinstance(Member(url, "t", 1, key=identity(9)).answer, Welcome)  # its seat is free
    server.signal(number)
    assert member.ended() == (1001, "the server stopped")
    assert server.finish() == 0


def test_the_same_lines_work_a_second_time(start: type[Process]) -> None:
    _, url = serving(start)
    shared = [url, "--session", "room", "--parties", "2", "--relay", "--until", "1"]
    for _ in range(2):
        one = start("party", *shared, "--id", "1", "--propose", "see [/etc]")
        two = start("party", *shared, "--id", "2")
        two.wait_for(r"executed.*see \[/etc\]")
        assert (one.finish(), two.finish()) == (0, 0)
    with Lab(world="websocket", url=url, parties=2, session="room") as lab:
        lab.spawn()
        lab.join()  # the lines above gave their seats up, and so does this lab
    assert isinstance(Member(url, "room", 1).answer, Welcome)


def test_sessions_are_there_again_after_a_kill(start: type[Process], tmp_path: Path) -> None:
    state = str(tmp_path / "server.sqlite")
    server, url = serving(start, "--state", state)
    assert isinstance(Member(url, "s", 1).answer, Welcome)
    server.kill()
    port = url.rpartition(":")[2]
    again = start("serve", "--port", port, "--state", state)
    again.wait_for("signaling server at")
    refused = Member(url, "s", 1, key=identity(9)).answer
    assert isinstance(refused, Refused)
    assert refused.reason == "id 1 is taken by another key"
    assert isinstance(Member(url, "s", 1).answer, Welcome)
    assert os.stat(state).st_mode & 0o777 == 0o600


def test_a_party_hosts_the_next_server_and_the_others_come(start: type[Process]) -> None:
    server, url = serving(start)
    shared = [url, "--session", "s", "--parties", "3"]
    parties = [
        start("party", *shared, "--id", "1"),
        start("party", *shared, "--id", "2", "--host", "0"),
    ]
    with Lab(world="webrtc", url=url, parties=3, session="s") as lab:
        lab.spawn(3)
        lab.join()
        for other in (1, 2):
            parties[other - 1].wait_for(f"party {3 - other}: confirmed")
        server.kill()
        there = parties[1].wait_for(r"the next one: (ws://\S+)")[1]
        for party in parties:
            party.wait_for("the server: open")

        def is_in() -> bool:
            return bool(lab.world.look(3, lambda node: node.machine(()).joined))

        assert lab.run(is_in, limit=40) is not None
        assert is_in()
        lab.propose(by=3, kind="note", text="on we go")
        for party in parties:
            party.wait_for("executed.*on we go")
        newcomer = Member(there, "s", 3, key=identity(9)).answer
        assert isinstance(newcomer, Refused), "our own seat is there now"

        start("serve", "--port", url.rpartition(":")[2]).wait_for("signaling server at")
        parties[1].wait_for("ours ends: " + url)  # the older one goes on
        for party in parties:
            party.wait_for("the server: open")
        assert lab.run(is_in, limit=40) is not None
        lab.propose(by=3, kind="note", text="and home again")
        for party in parties:
            party.wait_for("executed.*and home again")
    with pytest.raises(OSError, match="refused"):
        Member(there, "s", 3)
    assert isinstance(Member(url, "s", 3, key=identity(9)).answer, Welcome)


def test_tls_by_two_options(start: type[Process], tmp_path: Path) -> None:
    certificate, key = map(str, self_signed(tmp_path))
    _, url = serving(start, "--cert", certificate, "--key", key)
    assert url.startswith("wss://")
    shared = [url, "--session", "s", "--id", "1", "--parties", "1", "--relay"]
    trusting = start("party", *shared, "--authority", certificate)
    trusting.wait_for("the server: open")
    doubting = start("party", *shared)
    doubting.wait_for("certificate is not trusted")
    trust = ssl.create_default_context(cafile=certificate)
    connect(url, ssl=trust, legacy=True).close()


WRONG = {
    "certificate alone": (["--cert", "x"], "belong together"),
    "no certificate there": (["--cert", "/no/c", "--key", "/no/k"], "cannot use the certificate"),
    "unknown name": (["--address", "no.such.host.invalid"], "there is no such address"),
    "empty address": (["--address", ""], "is empty"),
    "state in a file's place": (["--state", "/dev/null/state"], "cannot keep state"),
    "state that is something else": (["--state", "/etc/hostname"], "not a store of ours"),
    "record in a folder": (["--record", "/"], "cannot record to"),
    "a wrong proxy": (["--proxy-trust", "my-proxy"], "write its address"),
    "a wrong origin": (["--origin", "*"], "as a browser sends it"),
    "a wrong host": (["--name", "http://lab.example"], "write its name alone"),
    "a host that nobody has": (["--only-host", ""], "write its name alone"),
    "no rate": (["--rate", "0"], "use at least 1"),
    "a rate that no party takes": (["--rate", "9" * 30], "at most 1000000"),
    "fewer than no connections": (["--per-address", "-1"], "use at least 0"),
}


@pytest.mark.parametrize(("arguments", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_has_a_sentence_and_status_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from mpclab.cli import main

    assert main(["serve", "--port", "0", *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_a_lab_says_why_it_is_not_connected() -> None:
    for url, why in (
        ("ws://127.0.0.1:9", "connection refused"),
        ("ws://no.such.host.invalid", "cannot be resolved"),
    ):
        with Lab(world="websocket", url=url, parties=2) as lab:
            lab.spawn(1)
            with pytest.raises(UsageError, match=why):
                lab.join(1, timeout=2)


def test_memory_does_not_grow_with_what_is_relayed_or_joined(start: type[Process]) -> None:
    """The slope of the resident set over messages, connections and joins is nothing."""
    server, url = serving(start, "--ping-every", "60")  # nobody here answers pings
    one, two = Member(url, "s", 1), Member(url, "s", 2)
    text = "x" * 2000
    relay = b'{"type":"Relay","envelopes":[{"type":"Envelope","to":2,"payload":"%b"}]}'
    packet = b'{"id":1,"msg":%b}' % (relay % text.encode())

    def a_round() -> int:
        for _ in range(500):
            one.socket.send(packet, text=True)
        for _ in range(500):
            two.hear(Relayed)
        for k in range(60):
            visitor = Member(url, f"visit-{k}", 1, key=identity(3))
            visitor.socket.close()
            connect(url, compression=None, legacy=True).close()  # and one that never joins
        return server.resident()

    for _ in range(2):
        a_round()  # buffers, caches
    before = a_round()
    for _ in range(4):
        after = a_round()
    assert after - before < 1_000_000, f"{after - before} bytes for 2,000 messages and 480 joins"


def test_a_record_that_cannot_be_taken_up_ends_it_before_it_listens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mpclab.cli import main

    state = tmp_path / "server.sqlite"
    store = SqliteStore(state, {"role": "signaling server"})
    store.put(("signaling",), "slot/s/1", b"{}")
    store.close()
    assert main(["serve", "--port", "0", "--state", str(state)]) == 2
    said = capsys.readouterr()
    assert f"what {state} keeps cannot be taken up" in said.err
    assert "slot/s/1" in said.err
    assert "server at" not in said.out


@pytest.mark.parametrize("command", [["serve"], ["party", "ws://127.0.0.1:9", "--session", "s"]])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_it_is_being_imported_is_an_end_as_any_other(
    command: list[str], number: int
) -> None:
    """The parent stops the child in its first import of ours, by a module of that name."""
    code = (
        "import os, sys, types\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == 'mpclab.cli': os.kill(os.getpid(), {int(number)})\n"
        "import mpclab.__main__\n"
        f"sys.argv = ['mpclab', *{command!r}]\n"
        "sys.meta_path.insert(0, Stop())\n"
        "sys.exit(mpclab.__main__.program())\n"
    )
    # As in a terminal, also where the tests are a background job, whose children ignore SIGINT.
    code = f"import signal; signal.signal({int(number)}, signal.SIG_DFL)\n{code}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_it_goes_on_when_nobody_reads_what_it_says() -> None:
    def unheard(*arguments: str, until: bytes) -> tuple[subprocess.Popen[bytes], str]:
        """A command whose reader leaves after the first line with `until`."""
        command = [sys.executable, "-u", "-m", "mpclab", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        with process.stdout as lines:
            return process, next(line for line in lines if until in line).decode()

    server, said = unheard("serve", "--port", "0", until=b"ws://")
    url = said.partition("at ")[2].split()[0]
    shared = ["--session", "s", "--parties", "3", "--relay"]
    party, _ = unheard("party", url, *shared, "--id", "1", until=b"server: open")
    member = Member(url, "s", 2)
    for _ in range(3):  # news for both
        member = Member(url, "s", 2)
    assert isinstance(member.answer, Welcome)
    member.hear(Relayed)  # the party went on, and says hello to each
    party.send_signal(signal.SIGHUP)
    assert party.wait(30) == 0
    server.send_signal(signal.SIGTERM)
    assert server.wait(30) == 0
