"""A store is its owner's alone, and a broken one says so and loses nothing."""

import os
import random
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mpclab.core.errors import UsageError
from mpclab.lab import Lab
from mpclab.worlds.real import wal
from mpclab.worlds.real.store import SqliteStore, StoreError
from mpclab.worlds.real.wal import is_damaged

OWNER = {"session": "alpha", "party": "1", "parties": "3", "key": "ab" * 32}
PATH = ("session",)


def filled(file: Path, owner: dict[str, str] | None = OWNER) -> bytes:
    """A store with two pages of records; the file as it then is."""
    store = SqliteStore(file, owner)
    for number in range(40):
        store.put(PATH, f"record/{number:04}", b"x" * 900)
    store.put(PATH, "record/0007", None)
    store.close()
    return file.read_bytes()


def test_what_was_put_is_there_again(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "a.sqlite"
    filled(file)
    store = SqliteStore(file, OWNER)
    items = store.load()
    assert list(items) == [PATH]
    assert len(items[PATH]) == 39
    store.clear()
    store.close()
    store.close()
    again = SqliteStore(file, OWNER)
    assert again.load() == {}
    again.close()
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert os.stat(file.parent).st_mode & 0o777 == 0o700
    assert os.listdir(file.parent) == [file.name]


@pytest.mark.parametrize("name", OWNER)
def test_another_owner_is_refused_and_nothing_changes(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a.sqlite"
    before = filled(file)
    with pytest.raises(UsageError, match=f"belongs to {name} .*, and this is {name} other"):
        SqliteStore(file, {**OWNER, name: "other"})
    assert file.read_bytes() == before


def test_a_store_that_does_not_say_whose_it_is_is_refused_unless_it_is_empty(
    tmp_path: Path,
) -> None:
    filled(tmp_path / "full", None)
    with pytest.raises(UsageError, match="does not say whose it is"):
        SqliteStore(tmp_path / "full", OWNER)
    SqliteStore(tmp_path / "empty", None).close()
    SqliteStore(tmp_path / "empty", OWNER).close()
    with pytest.raises(UsageError, match="belongs to session alpha"):
        SqliteStore(tmp_path / "empty", {**OWNER, "session": "beta"})


def _cut(file: Path, at: int) -> None:
    os.truncate(file, at)


def _overwrite(file: Path, at: int, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(data)


def _sql(file: Path, text: str) -> None:
    with sqlite3.connect(file) as db:
        db.execute(text)
    db.close()


def _make_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _link(file: Path, target: str) -> None:
    file.unlink()
    file.symlink_to(target)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "empty": lambda f: _cut(f, 0),
    "header only": lambda f: _cut(f, 100),
    "half": lambda f: _cut(f, 20_480),
    "not whole pages": lambda f: _cut(f, 20_000),
    "other bytes": lambda f: f.write_text("hello"),
    "bad header": lambda f: _overwrite(f, 0, b"SQLite"[::-1]),
    "bad page": lambda f: _overwrite(f, 8192, b"\xff" * 8192),
    "other tables": lambda f: _sql(f, "DROP TABLE items"),
    "bad path": lambda f: _sql(f, "UPDATE items SET path = 'x' WHERE key = 'record/0001'"),
    "bad value": lambda f: _sql(f, "UPDATE items SET value = x'00' WHERE key = 'record/0001'"),
    "text for bytes": lambda f: _sql(f, "UPDATE items SET value = 'x' WHERE key = 'record/0001'"),
    "another key": lambda f: _sql(f, "UPDATE items SET key = 'vote' WHERE key = 'record/0001'"),
    "one bit": lambda f: _overwrite(f, f.read_bytes().index(b"xxxxxxxxx") + 40, b"y"),
    "older tables": lambda f: _sql(f, "ALTER TABLE items DROP COLUMN checksum"),
    "a folder": _make_folder,
    "a link to nowhere": lambda f: _link(f, "/no/such/disk/a.sqlite"),
    "a link to itself": lambda f: _link(f, f.name),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_broken_store_has_a_sentence_and_is_left_as_it_is(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    file = tmp_path / "a.sqlite"
    filled(file)
    damage(file)
    before = file.read_bytes() if file.is_file() else b""
    with pytest.raises(UsageError, match=str(file)) as told:
        SqliteStore(file, OWNER).load()
    assert "\n" not in str(told.value)
    assert (file.read_bytes() if file.is_file() else b"") == before
    assert os.path.lexists(file)


def killed(folder: Path) -> tuple[Path, Path]:
    """What a party leaves that is killed after 30 writes: its database, and the log beside it."""
    running = SqliteStore(folder / "running.sqlite", OWNER)
    for k in range(30):
        running.put(PATH, f"vote/{k:02}", bytes(300))
    file, log = folder / "a.sqlite", folder / "a.sqlite-wal"
    file.write_bytes(running.file.read_bytes())
    log.write_bytes((folder / "running.sqlite-wal").read_bytes())
    running.close()
    return file, log


@pytest.mark.parametrize("at", [0, 9, 20, 40, 44, 60, 4000, 0.5, -12_000])
def test_a_damaged_log_is_refused_and_left_as_it_is(tmp_path: Path, at: float) -> None:
    file, log = killed(tmp_path)
    size = log.stat().st_size
    where = int(at * size) if isinstance(at, float) else at % size
    _overwrite(log, where, bytes([log.read_bytes()[where] ^ 4]))
    before = log.read_bytes()
    with pytest.raises(UsageError, match=r"a\.sqlite is damaged: its log, a\.sqlite-wal"):
        SqliteStore(file, OWNER)
    assert log.read_bytes() == before


@pytest.mark.parametrize("left", [0, 31, 40, 5000, 40_000, -1, -3000, -4200])
def test_a_torn_end_of_a_log_is_no_damage(tmp_path: Path, left: int) -> None:
    """As a power cut leaves it in the middle of a write of which nobody was told yet."""
    file, log = killed(tmp_path)
    _cut(log, left % log.stat().st_size if left < 0 else left)
    found = SqliteStore(file, OWNER)
    kept = sorted(found.load().get(PATH, {}))
    assert kept == [f"vote/{k:02}" for k in range(len(kept))]
    found.close()


def test_a_log_that_begins_again_is_no_damage(tmp_path: Path) -> None:
    running = SqliteStore(tmp_path / "a.sqlite", OWNER)
    for k in range(30):
        running.put(PATH, f"vote/{k:02}", bytes(3000))
    running._open.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    running.put(PATH, "vote/30", b"")
    assert not is_damaged(tmp_path / "a.sqlite-wal")
    running.close()


@pytest.mark.parametrize("byte_order", ["big", "little"])
def test_frames_are_summed_as_sqlite_does(byte_order: str) -> None:
    """All of them at once, or word by word."""
    made = random.Random(1)
    size, count, big = 512, 5, byte_order == "big"
    frames = [made.randbytes(24 + size) for _ in range(count)]
    before = [(made.getrandbits(32), made.getrandbits(32)) for _ in range(count)]
    data = bytes(32) + b"".join(frames)
    assert wal._sums_of(data, size, count, before, big) == [
        wal._add(frame[24:], wal._add(frame[:8], at, big), big)
        for frame, at in zip(frames, before, strict=True)
    ]


def test_a_log_that_is_written_while_it_is_read_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading may be where a frame is not yet, and come to later ones when they are there."""
    _, log = killed(tmp_path)
    now = log.read_bytes()
    at = len(now) // 2
    both = now[:at] + bytes(4096) + now[at + 4096 :]
    log.write_bytes(both)
    assert is_damaged(log)
    reads = [both, now + b"more"]
    monkeypatch.setattr(Path, "read_bytes", lambda _: reads.pop(0))
    assert not is_damaged(log)


def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "theirs.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None)) as theirs:
        theirs.execute("CREATE TABLE precious(x)")
    file.chmod(0o644)
    before = file.read_bytes()
    for _ in range(2):
        with pytest.raises(UsageError, match="not a store of ours: its tables are others"):
            SqliteStore(file, OWNER)
    text = tmp_path / "letter"
    text.write_text("dear friend")
    text.chmod(0o640)
    with pytest.raises(UsageError, match="not an SQLite database"):
        SqliteStore(text, OWNER)
    assert (file.stat().st_mode & 0o777, text.stat().st_mode & 0o777) == (0o644, 0o640)
    assert file.read_bytes() == before
    assert sorted(it.name for it in tmp_path.iterdir()) == ["letter", "theirs.sqlite"]


@pytest.mark.parametrize("place", ["/dev/null/x", "/proc/none/x"])
def test_a_place_that_cannot_be_is_said(place: str) -> None:
    with pytest.raises(UsageError, match="cannot keep state in"):
        SqliteStore(place)
    with pytest.raises(UsageError, match="cannot keep parties' state in"):
        Lab(world="websocket", store=place)


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file of ours may grow beyond `size` bytes meanwhile."""
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_is_said_and_what_was_kept_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    filled(file)
    store = SqliteStore(file, OWNER)
    kept: list[str] = []

    def fill() -> None:
        while len(kept) < 1000:
            store.put(("more",), f"{len(kept):04}", b"y" * 4000)
            kept.append(f"{len(kept):04}")

    with disk_of(200_000), pytest.raises(StoreError, match="is the disk full"):
        fill()
    store.close()
    again = SqliteStore(file, OWNER)
    assert sorted(again.load()[("more",)]) == kept
    assert len(again.load()[PATH]) == 39
    again.close()


def test_a_folder_holds_many_sessions_and_none_is_anothers(tmp_path: Path) -> None:
    for session, n in (("alpha", 2), ("beta", 3), ("alpha", 2)):
        with Lab(world="websocket", parties=n, session=session, store=tmp_path) as lab:
            lab.start_server(port=0)
            lab.spawn()
            lab.join()
            lab.propose(by=1, kind="note", text=f"in {session}")
            lab.run(limit=30)
            texts = {entry.text for entry in lab.group.session_of(1).history}
            assert texts == {f"note: in {session}"}
    with (
        Lab(world="websocket", parties=4, session="alpha", store=tmp_path) as lab,
        pytest.raises(UsageError, match="belongs to parties 2, and this is parties 4"),
    ):
        lab.spawn(1)
    (tmp_path / "party-1.sqlite").touch()
    with (
        Lab(world="websocket", parties=2, session="alpha", store=tmp_path) as lab,
        pytest.raises(UsageError, match="of an earlier version"),
    ):
        lab.spawn(1)
