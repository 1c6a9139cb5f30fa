"""Where a real party keeps what it persists: in a SQLite file of its own.

`put` returns once the value is durable, so that the effects after a `Persist` may be performed.
The file is in WAL mode with `synchronous=FULL` (a commit survives a power cut, about 1 ms
each) and readable by its owner alone: it may hold keys.

A file says whose it is, and is refused to anybody else: what one party of one session promised is
no part of another. An unreadable store is refused too, with the reason; nothing is repaired,
made anew or forgotten without being asked, since a party without its memory may vote twice. SQLite
notices damage to its pages, not to their content: each record has a checksum of its own. Nor does
it say a word where its log is damaged: see `wal`.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path as FilePath

import msgspec

from mpclab.core.errors import UsageError
from mpclab.core.ids import Path
from mpclab.worlds.real.wal import is_damaged
from mpclab.worlds.stores import Items


class SqliteStore:
    """Outlives the process. To be used from one thread.

    Args:
        file: the database; it and its folder are made when missing.
        owner: whose it is, by name: {"session": "alpha", "party": "2", …}. A file that was made
            for another is refused; one that does not say is refused unless it holds nothing.

    Raises:
        UsageError: the file cannot be opened or read whole, or is another's.
    """

    def __init__(self, file: str | FilePath, owner: Mapping[str, str] | None = None) -> None:
        self.file = FilePath(file)
        self._db: sqlite3.Connection | None = None
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not os.path.lexists(self.file):
                self._make(owner or {})
            elif not self.file.exists():
                raise UsageError(
                    f"{self.file} is a link to what is not there: is its disk mounted? Remove the "
                    f"link to begin with nothing"
                )
            self._check_file()
            self._db = sqlite3.connect(self.file, isolation_level=None)
            _prepare(self._db)
            self._check_content(owner or {})
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise UsageError(f"cannot keep state in {self.file}: {_why(error)}") from error
        except UsageError:
            self.close()
            raise

    def _make(self, owner: Mapping[str, str]) -> None:
        """A new file, whole or not at all: one that is found empty was cut off later."""
        # Made by us, before SQLite can make it with the umask's mode. SQLite gives its -wal and
        # -shm files the mode of the database.
        new = self.file.with_name(f"{self.file.name}.{os.getpid()}.new")
        try:
            os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            with closing(sqlite3.connect(new, isolation_level=None)) as db:
                _prepare(db)
                db.execute("CREATE TABLE about(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
                db.execute(
                    "CREATE TABLE items(path TEXT, key TEXT, value BLOB NOT NULL, "
                    "checksum BLOB, PRIMARY KEY (path, key)) WITHOUT ROWID"
                )
                db.executemany("INSERT INTO about VALUES (?, ?)", owner.items())
            os.replace(new, self.file)
        finally:
            for left in (new, f"{new}-wal", f"{new}-shm", f"{new}-journal"):
                with suppress(OSError):
                    os.unlink(left)

    def _check_file(self) -> None:
        with open(self.file, "r+b") as opened:
            head = opened.read(16)
        if not head:
            raise UsageError(
                f"{self.file} is empty: what it held is lost; remove it to begin with nothing"
            )
        if is_damaged(log := self.file.with_name(f"{self.file.name}-wal")):
            raise UsageError(
                f"{self.file} is damaged: its log, {log.name}, has lost what was written last; "
                f"take a copy of both that is whole"
            )
        if head != b"SQLite format 3\0":
            raise UsageError(f"{self.file} is not a store of ours: not an SQLite database")
        with closing(sqlite3.connect(f"{self.file.absolute().as_uri()}?mode=ro", uri=True)) as db:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        if not {"about", "items"} <= tables:
            raise UsageError(f"{self.file} is not a store of ours: its tables are others")
        if os.name == "posix":  # not before: another program's file is none of our business
            self.file.chmod(0o600)

    def _check_content(self, owner: Mapping[str, str]) -> None:
        (verdict,) = self._open.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            why = " ".join(verdict.split())
            raise UsageError(f"{self.file} is damaged: {why}; take a copy that is whole")
        if self._open.execute("SELECT count(*) FROM pragma_table_info('items')").fetchone()[0] != 4:
            raise UsageError(f"{self.file} is of another version of mpclab; use another folder")
        known = dict(self._open.execute("SELECT name, value FROM about"))
        for name, value in owner.items():
            if known and known.get(name) != value:
                raise UsageError(
                    f"{self.file} belongs to {name} {known[name]}, and this is {name} {value}; "
                    f"use another folder, or the same {name}"
                    if name in known
                    else f"{self.file} belongs to {_list(known)}, and this is {_list(owner)}; "
                    f"use another place"
                )
        if owner and not known:
            held = self._open.execute("SELECT count(*) FROM items").fetchone()[0]
            if held:
                raise UsageError(f"{self.file} does not say whose it is; use another folder")
            self._open.executemany("INSERT INTO about VALUES (?, ?)", owner.items())

    @property
    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            raise ValueError(f"{self.file} is closed")
        return self._db

    @property
    def owner(self) -> Mapping[str, str]:
        """Whose it is, by name."""
        with self._speaking("read"):
            return dict(self._open.execute("SELECT name, value FROM about"))

    def is_open_elsewhere(self) -> bool:
        """Whether somebody else has it open: a party that runs.

        SQLite gives the log up only when nobody reads it, and every connection does until it is
        closed (https://sqlite.org/wal.html, "Persistence of WAL mode")."""
        with self._speaking("read"):
            try:
                self._open.execute("PRAGMA busy_timeout=0")
                self._open.execute("PRAGMA journal_mode=DELETE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
                return True
            finally:
                self._open.execute("PRAGMA busy_timeout=5000")
            _prepare(self._open)
        return False

    def load(self) -> Items:
        items: Items = {}
        with self._speaking("read"):
            for path, key, value, checksum in self._open.execute("SELECT * FROM items"):
                if checksum != _checksum(path, key, value):
                    raise UsageError(
                        f"{self.file} has a damaged record, {key!r}; take a copy of the file that "
                        "is whole"
                    )
                items.setdefault(_decode_path(path), {})[key] = value
        return items

    def put(self, path: Path, key: str, value: bytes | None) -> None:
        where = (msgspec.json.encode(path).decode(), key)
        with self._speaking("write to"):
            if value is None:
                self._open.execute("DELETE FROM items WHERE path = ? AND key = ?", where)
            else:
                row = (*where, value, _checksum(*where, value))
                self._open.execute("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)", row)

    def clear(self) -> None:
        with self._speaking("write to"):
            self._open.execute("DELETE FROM items")

    def close(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):  # a full disk: the log stays, and is read next time
                self._db.close()
            self._db = None

    @contextmanager
    def _speaking(self, what: str) -> Iterator[None]:
        """SQLite's errors, with the file and a likely cause."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"cannot {what} {self.file}: {_why(error)}") from error


class StoreError(RuntimeError):
    """A store that was good fails: its party stops, and nothing that it promised is lost."""


def _list(owner: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in owner.items())


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA secure_delete=ON")  # a deleted nonce is overwritten


def _checksum(path: object, key: object, value: object) -> bytes:
    """Of one record, whatever damage made of its columns: 8 bytes find an accident."""
    hashed = hashlib.blake2b(repr((path, key)).encode(), digest_size=8)
    hashed.update(value if type(value) is bytes else repr(value).encode())
    return hashed.digest()


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = str(error)
    if "disk I/O" in text or "full" in text:
        return f"{text} (is the disk full?)"
    return text


_decode_path = msgspec.json.Decoder(tuple[str, ...]).decode
