"""The pages as a signaling server answers with them (`mpclab serve --pages`)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from mpclab.web.assets import KINDS, policy
from mpclab.worlds.real.ws_pages import StaticFile, StaticPages

PACKED: Final = {".br": "br", ".gz": "gzip"}
"""Suffixes of packed files and what HTTP calls them, the best first."""


def load(folder: Path) -> StaticPages:
    """What `assets.build` wrote into a folder."""
    found = {}
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or file.suffix in PACKED:
            continue
        content = file.read_bytes()
        packed = {
            coding: file.with_name(f"{file.name}{suffix}").read_bytes()
            for suffix, coding in PACKED.items()
            if file.with_name(f"{file.name}{suffix}").exists()
        }
        static = StaticFile(
            KINDS.get(file.suffix, "application/octet-stream"),
            content,
            hashlib.sha256(content).hexdigest()[:20],
            packed,
        )
        found[f"/{file.relative_to(folder).as_posix()}"] = static
    found["/"] = found.pop("/index.html")
    return StaticPages(found, policy())
