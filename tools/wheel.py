"""The wheel: pure Python; with `MPCLAB_COMPILE=1`, for this platform and with the compiled core."""

from __future__ import annotations

import os
import sys
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

        compile_core.build()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["artifacts"].append("/mpclab/_compiled/*")
