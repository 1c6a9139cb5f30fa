"""Parties' keys in files, so that a party is the same tomorrow."""

from __future__ import annotations

import os
from pathlib import Path

from mpclab.core.errors import UsageError
from mpclab.crypto.identity import Identity


def load_key(path: Path) -> Identity:
    """A party's key from a file of 64 hexadecimal digits; made, with mode 0600, when missing.

    Raises:
        UsageError: others may read the file, or it holds something else.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    else:
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(os.urandom(32).hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:  # a full disk: an empty file would stand in the way for ever
            path.unlink(missing_ok=True)
            raise UsageError(f"{path}: {error.strerror or error}; no key was made") from error
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise UsageError(f"{path}: others may read this key; run: chmod 600 {path}")
    try:
        return Identity.from_seed(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except ValueError as error:
        raise UsageError(f"{path}: a key is 64 hexadecimal digits") from error
