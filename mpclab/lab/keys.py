"""Parties' keys in files, so that a party is the same tomorrow; under a passphrase if one likes."""

from __future__ import annotations

import getpass
import os
import random
import sys
from pathlib import Path

from mpclab.core.errors import UsageError
from mpclab.crypto import backup
from mpclab.crypto.errors import SealError
from mpclab.crypto.identity import Identity

SEALED_KEY = "mpclab identity"


def load_key(path: Path) -> Identity:
    """A party's key from a file of 64 hexadecimal digits; made, with mode 0600, when missing.

    A file of `seal_key` opens with the passphrase in MPCLAB_PASSPHRASE, or with what the terminal
    is asked for.

    Raises:
        UsageError: others may read the file, it holds something else, or the passphrase is wrong.
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
    data = path.read_bytes()
    if data.startswith(backup.MAGIC):
        try:
            return Identity.from_seed(backup.unseal(_passphrase(path), SEALED_KEY, data))
        except SealError as error:
            raise UsageError(f"{path}: {error}") from None
    try:
        return Identity.from_seed(bytes.fromhex(data.decode("ascii").strip()))
    except ValueError as error:
        raise UsageError(f"{path}: a key is 64 hexadecimal digits") from error


def seal_key(path: Path, passphrase: str) -> None:
    """Put the key in this file (made when it is missing) under a passphrase, in its place.

    Raises:
        UsageError: as `load_key`, or the passphrase is too short.
    """
    seed = load_key(path).export_seed()
    try:
        sealed = backup.seal(passphrase, SEALED_KEY, seed, random.SystemRandom())
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    new = path.with_name(f"{path.name}.new")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}; it is as it was") from error


def _passphrase(path: Path) -> str:
    if (known := os.environ.get("MPCLAB_PASSPHRASE")) is not None:
        return known
    if not sys.stdin.isatty():
        raise UsageError(f"{path} is sealed: set MPCLAB_PASSPHRASE, or start in a terminal")
    return getpass.getpass(f"passphrase of {path}: ")
