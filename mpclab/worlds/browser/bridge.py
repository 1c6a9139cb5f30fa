"""The page, as the worker's JavaScript offers it: `mpclab_page`, see `web/static/worker.js`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

js: Any = None
create_once_callable: Any = None
to_js: Any = None
if sys.platform == "emscripten":
    import mpclab_page as js
    from pyodide.ffi import create_once_callable, to_js


class WorkerPage:
    """`Page` by way of the worker that this Python runs in."""

    def perform(self, verb: str, link: int, text: str = "", data: bytes | None = None) -> None:
        js.perform(verb, link, text, None if data is None else to_js(data))

    def wake_in(self, milliseconds: float, callback: Callable[[], None]) -> None:
        js.wakeIn(milliseconds, create_once_callable(callback))
