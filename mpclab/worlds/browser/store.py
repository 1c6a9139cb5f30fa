"""What a party in a tab persists: in the page's database, and a copy here to read."""

from __future__ import annotations

import json
from pathlib import Path as FilePath

from mpclab.core.ids import Path
from mpclab.worlds.browser.page import Page
from mpclab.worlds.stores import Items, MemoryStore


class PageStore(MemoryStore):
    """Items that the page keeps; those that it had kept are given at the start.

    A `put` returns before the value is durable, but no effect after it is performed before that.
    """

    file: FilePath | None = None

    def __init__(self, page: Page, kept: Items) -> None:
        super().__init__()
        self._page = page
        self._items = kept

    def put(self, path: Path, key: str, value: bytes | None) -> None:
        super().put(path, key, value)
        where = name_of(path, key)
        if value is None:
            self._page.perform("forget", 0, where)
        else:
            self._page.perform("keep", 0, where, value)

    def clear(self) -> None:
        for path, items in list(self._items.items()):
            for key in list(items):
                self.put(path, key, None)


def name_of(path: Path, key: str) -> str:
    """The name of an item in the page's database."""
    return json.dumps([*path, key], ensure_ascii=False, separators=(",", ":"))


def take_up(kept: dict[str, bytes]) -> Items:
    """Items by path and key, from the names in the page's database."""
    items: Items = {}
    for name, value in kept.items():
        *path, key = json.loads(name)
        items.setdefault(tuple(path), {})[key] = value
    return items
