"""The wheel: pure Python; with `MPCLAB_COMPILE=1`, for this platform and with the compiled core."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledCore(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles the engine's modules into the wheel, where that was asked for."""

    @property
    def asked(self) -> bool:
        return os.environ.get("MPCLAB_COMPILE") == "1"

    def dependencies(self) -> list[str]:
        return ["cython>=3.1"] if self.asked else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not self.asked or version == "editable":
            return
        sys.path.insert(0, self.root)
        from tools import compile_core

        # Not into the checkout, which would run with it from then on.
        self.folder = tempfile.TemporaryDirectory()
        compile_core.build(self.folder.name)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"][self.folder.name] = "mpclab/_compiled"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()
