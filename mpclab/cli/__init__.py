"""The terminal: `mpclab serve | party | run | demo | lab`."""

from mpclab.cli.main import main

__all__ = ["main"]
