"""`mpclab serve` and `mpclab party`: processes of their own, in one session with a notebook's."""

import os
import re
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue

import pytest

from mpclab.cli import main
from mpclab.core.errors import UsageError
from mpclab.lab import Lab
from mpclab.lab.keys import load_key
from mpclab.worlds.real import WebSocketWorld
from mpclab.worlds.real.store import SqliteStore
from tests.nursery import Forked


class Process:
    """One `mpclab …`, its output read line by line, ended with the test."""

    def __init__(self, *arguments: str) -> None:
        self._process = Forked(*arguments)
        self._lines: Queue[str] = Queue()
        self.seen: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line)

    def wait_for(self, pattern: str, seconds: float = 40) -> re.Match[str]:
        """The first line from now on in which `pattern` is found."""
        while True:
            try:
                line = self._lines.get(timeout=seconds)
            except Empty:
                raise AssertionError(f"no {pattern!r} in:\n{''.join(self.seen)}") from None
            self.seen.append(line)
            if found := re.search(pattern, line):
                return found

    def write(self, text: str) -> None:
        """Type something."""
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def finish(self, seconds: float = 30) -> int:
        return self._process.wait(seconds)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def resident(self) -> int:
        """Bytes of memory that the process holds."""
        pages = Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdout, self._process.stdin):
            with suppress(OSError):
                stream.close()


@pytest.fixture
def start() -> Iterator[type[Process]]:
    running: list[Process] = []

    class Started(Process):
        def __init__(self, *arguments: str) -> None:
            super().__init__(*arguments)
            running.append(self)

    yield Started
    for process in running:
        process.kill()


@pytest.mark.parametrize("how", ["relay", "channels"])
def test_processes_and_a_lab_meet_in_one_session(start: type[Process], how: str) -> None:
    server = start("serve", "--port", "0")
    url = server.wait_for(r"(ws://127\.0\.0\.1:\d+)")[1]
    relay = ["--relay"] if how == "relay" else []
    shared = [url, "--session", "mixed", "--parties", "3", "--until", "1", *relay]
    world = "websocket" if how == "relay" else "webrtc"
    one = start("party", *shared, "--id", "1")
    with Lab(world=world, url=url, parties=3, session="mixed") as lab:
        lab.spawn(2)
        lab.join()
        three = start("party", *shared, "--id", "3", "--propose", "from far away")
        assert lab.run(lambda: len(lab.outcomes()) == 1 or _heard(lab), limit=40) is not None
        lab.run(lambda: _result(lab) == "from far away", limit=20)
        assert _result(lab) == "from far away"
        for process in (one, three):
            process.wait_for("executed.*from far away")
            assert process.finish() == 0


def test_a_lab_that_only_hosts_the_server_shows_the_processes_that_tell(
    start: type[Process],
) -> None:
    with Lab(world="websocket", parties=2, session="hosted") as lab:
        url = lab.start_server(port=0).url
        shared = [url, "--session", "hosted", "--parties", "2", "--relay"]
        start("party", *shared, "--id", "1", "--tell")
        start("party", *shared, "--id", "2", "--propose", "from afar")
        lab.run(lambda: _shown(lab) == {1: "executed", 2: "unheard"}, limit=40)
        assert _shown(lab) == {1: "executed", 2: "unheard"}
        (made,) = lab.outcomes()
        assert (made.by, made.status, made.result) == (2, "committed", "from afar")
        # A server that begins anew hears what comes up, and what it knew stands there once.
        lab.stop_server(kill=True)
        lab.run(lambda: lab.state.parties[1].life == "crashed", limit=20)
        assert isinstance(lab.world, WebSocketWorld)
        lab.world.restart_server()
        lab.run(lambda: lab.state.parties[1].life == "up", limit=40)
        assert [o.op for o in lab.outcomes()] == [made.op]


def _shown(lab: Lab) -> dict[int, str]:
    made = lab.outcomes()
    return {p: held.status for p, held in made[0].parties.items()} if made else {}


def _heard(lab: Lab) -> bool:
    return bool(lab.state.operations)


def _result(lab: Lab) -> str:
    return next((o.results.get(2, "") for o in lab.state.operations.values()), "")


def test_a_refused_party_says_why_and_ends(start: type[Process]) -> None:
    with Lab(world="websocket", parties=3, session="s") as lab:
        url = lab.start_server(port=0).url
        lab.spawn(1)
        lab.join()
        other = start("party", url, "--session", "s", "--id", "2", "--parties", "4", "--relay")
        other.wait_for("refused")
        assert other.finish() == 2


def test_another_key_for_oneself_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["party", "ws://127.0.0.1:9", "--session", "s", "--id", "1", "--parties", "2"]
    assert main([*words, "--relay", "--peer", f"1={'ab' * 32}"]) == 2
    said = capsys.readouterr().err
    assert "--peer 1=… is this party itself, whose key is" in said
    assert said.count("\n") == 1


def test_a_key_file_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "party.key"
    first = load_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path).public == first.public
    path.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        load_key(path)
    path.write_text("not a key")
    path.chmod(0o600)
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        load_key(path)


def test_a_full_disk_leaves_no_empty_key_file(tmp_path: Path) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(UsageError, match="No space left on device; no key was made"):
            load_key(tmp_path / "one.key")
    assert not (tmp_path / "one.key").exists()
    assert load_key(tmp_path / "one.key") == load_key(tmp_path / "one.key")


@pytest.mark.parametrize(("path", "key"), [(("session",), "end/rwnbqs7kxv"), ((), "epoch")])
def test_a_damaged_record_is_said_and_the_store_is_left_as_it_is(
    start: type[Process], tmp_path: Path, path: tuple[str, ...], key: str
) -> None:
    url = start("serve", "--port", "0").wait_for(r"ws://\S+").group()
    folder, identity = tmp_path / "store", tmp_path / "key"
    owner = {
        "session": "alpha", "party": "1", "parties": "2", "key": load_key(identity).public.hex(),
    }  # fmt: skip
    store = SqliteStore(folder / "alpha-1.sqlite", owner)
    store.put(path, key, b"x")  # not what we would have written, but written whole
    store.close()
    arguments = [
        "party", url, "--session", "alpha", "--id", "1", "--parties", "2", "--relay",
        "--store", str(folder), "--key", str(identity),
    ]  # fmt: skip
    party = start(*arguments)
    party.wait_for("cannot be taken up: what .* had stored is damaged")
    assert party.finish() == 3
    assert not any("made us fail" in line for line in party.seen)  # no peer is blamed
    again = SqliteStore(folder / "alpha-1.sqlite", owner)
    assert again.load()[path][key] == b"x"
    again.close()
    with sqlite3.connect(store.file) as db:
        db.execute("UPDATE items SET value = x'01'")
    db.close()
    party = start(*arguments)
    party.wait_for(f"has a damaged record, '{key}'")
    assert party.finish() == 2


def test_who_is_stopped_before_it_began_ended_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**fields: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("mpclab.cli.party.Lab", interrupted)
    arguments = ["--session", "alpha", "--id", "1", "--parties", "2"]
    assert main(["party", "ws://127.0.0.1:9", *arguments]) == 0
