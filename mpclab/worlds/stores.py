"""Where a party keeps what it persists: the interface, and a store in memory."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Protocol

from mpclab.core.ids import Path

Items = dict[Path, dict[str, bytes]]


class Store(Protocol):
    """One party's persisted items, by (path, key)."""

    @property
    def file(self) -> FilePath | None:
        """Where they are; None: in memory."""

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

    file: FilePath | None = None

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
