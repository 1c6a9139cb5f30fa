"""Where a real party keeps what it persists: in memory, or in a SQLite file of its own.

`put` returns once the value is durable, so that the effects after a `Persist` may be performed.
The file is in WAL mode with `synchronous=FULL` (a commit survives a power cut, about 1 ms
each) and readable by its owner alone: it may hold keys.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path as FilePath
from typing import Protocol

import msgspec

from mpclab.core.errors import UsageError
from mpclab.core.ids import Path

Items = dict[Path, dict[str, bytes]]


class Store(Protocol):
    """What one party persisted, by (path, key)."""

    def load(self) -> Items:
        """Everything, as a copy."""

    def put(self, path: Path, key: str, value: bytes | None) -> None:
        """Keep `value` durably; None deletes."""

    def clear(self) -> None:
        """Forget everything."""

    def close(self) -> None:
        """Free the file. Closing twice is fine."""


class MemoryStore:
    """Outlives the node, and ends with the world."""

    def __init__(self) -> None:
        self._items: Items = {}

    def load(self) -> Items:
        return {path: dict(items) for path, items in self._items.items()}

    def put(self, path: Path, key: str, value: bytes | None) -> None:
        items = self._items.setdefault(path, {})
        if value is None:
            items.pop(key, None)
        else:
            items[key] = value

    def clear(self) -> None:
        self._items.clear()

    def close(self) -> None:
        """Nothing to free."""


class SqliteStore:
    """Outlives the process. To be used from one thread.

    Args:
        file: the database; it and its folder are made when missing.

    Raises:
        UsageError: the file cannot be opened, or is something else.
    """

    def __init__(self, file: str | FilePath) -> None:
        self.file = FilePath(file)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            # Made by us, before SQLite can make it with the umask's mode. SQLite gives its
            # -wal and -shm files the mode of the database.
            descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.fchmod(descriptor, 0o600)
            finally:
                os.close(descriptor)
            self._db: sqlite3.Connection | None = sqlite3.connect(self.file, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"cannot keep a party's state in {self.file}: {error}") from error
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA secure_delete=ON")  # a deleted nonce is overwritten
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS items"
                "(path TEXT, key TEXT, value BLOB NOT NULL, PRIMARY KEY (path, key)) WITHOUT ROWID"
            )
        except sqlite3.Error as error:
            self.close()
            raise UsageError(f"{self.file} is not a store of ours: {error}") from error

    @property
    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            raise ValueError(f"{self.file} is closed")
        return self._db

    def load(self) -> Items:
        items: Items = {}
        for path, key, value in self._open.execute("SELECT path, key, value FROM items"):
            items.setdefault(_decode_path(path), {})[key] = value
        return items

    def put(self, path: Path, key: str, value: bytes | None) -> None:
        where = (msgspec.json.encode(path).decode(), key)
        if value is None:
            self._open.execute("DELETE FROM items WHERE path = ? AND key = ?", where)
        else:
            self._open.execute("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", (*where, value))

    def clear(self) -> None:
        self._open.execute("DELETE FROM items")

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


_decode_path = msgspec.json.Decoder(tuple[str, ...]).decode
