"""The terminal that commands write to. Apart from `show`, so that a server or a party loads nothing
of a lab to say its lines."""

from __future__ import annotations

import os
import sys
from typing import Any

from rich.console import Console


class SteadyConsole(Console):
    """A console whose program goes on when nobody reads it any more, or its disk is full."""

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except OSError:
            self.quiet = True
            super().print()  # forget what could not be written
            self.quiet = False

    def on_broken_pipe(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


console = SteadyConsole(highlight=False, markup=False, emoji=False)
