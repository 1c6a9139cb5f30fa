"""The pages as a signaling server answers with them (`mpclab serve --pages`)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mpclab.web.assets import KINDS, policy
from mpclab.worlds.real.ws_pages import StaticFile, StaticPages


def load(folder: Path) -> StaticPages:
    """What `assets.build` wrote into a folder."""
    found = {}
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or file.suffix == ".gz":
            continue
        content = file.read_bytes()
        packed = file.with_name(f"{file.name}.gz")
        static = StaticFile(
            KINDS.get(file.suffix, "application/octet-stream"),
            content,
            hashlib.sha256(content).hexdigest()[:20],
            packed.read_bytes() if packed.exists() else b"",
        )
        found[f"/{file.relative_to(folder).as_posix()}"] = static
    found["/"] = found.pop("/index.html")
    return StaticPages(found, policy())
