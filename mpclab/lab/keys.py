"""Parties' keys in files, so that a party is the same tomorrow.

Such a file holds the secret as 64 hexadecimal digits, or sealed under a passphrase, or the name
of an entry in the system's keyring (the `keyring` library, an optional extra).
"""

from __future__ import annotations

import importlib
import os
import random
import sys
from pathlib import Path
from typing import Any

from mpclab.core.errors import UsageError
from mpclab.crypto import backup
from mpclab.crypto.errors import SealError
from mpclab.crypto.identity import Identity

SEALED_KEY = "mpclab identity"
SERVICE = "mpclab"
"""The keyring's entries are under this name, by public key."""
REFERENCE = b"mpclab keyring 1\n"


def load_key(path: Path) -> Identity:
    """A party's key from a file of 64 hexadecimal digits; made, with mode 0600, when missing.

    A file of `seal_key` opens with the passphrase in MPCLAB_PASSPHRASE, or with what the terminal
    is asked for; one of `keep_in_keyring` with the system's keyring.

    Raises:
        UsageError: others may read the file, it holds something else, the passphrase is wrong, or
            the keyring does not give the key.
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
    if data.startswith(REFERENCE):
        return _from_keyring(path, data[len(REFERENCE) :])
    if not data.strip():
        raise UsageError(
            f"{path} is empty: the key that it held is lost; put a copy in its place, or remove it "
            "to be another party"
        )
    try:
        return Identity.from_seed(bytes.fromhex(data.decode("ascii").strip()))
    except ValueError:
        raise UsageError(
            f"{path} is not a key of ours, or damaged: one has 64 hexadecimal digits"
        ) from None


def how_kept(path: Path) -> str:
    """What stands between a reader of the file and the key: "nothing", "a passphrase" or "the
    system's keyring"."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    if data.startswith(backup.MAGIC):
        return "a passphrase"
    return "the system's keyring" if data.startswith(REFERENCE) else "nothing"


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
    _replace(path, sealed)


def open_key(path: Path) -> None:
    """Put the key in this file in the clear again, in its place. A keyring keeps its copy.

    Raises:
        UsageError: as `load_key`.
    """
    _replace(path, load_key(path).export_seed().hex().encode() + b"\n")


def keep_in_keyring(path: Path) -> None:
    """Move the key in this file (made when it is missing) to the system's keyring; the file
    refers to it from then on.

    Raises:
        UsageError: as `load_key`; there is no keyring, or it does not take the key.
    """
    identity = load_key(path)
    name = identity.public.hex()
    _ask_keyring("set_password", SERVICE, name, identity.export_seed().hex())
    if _ask_keyring("get_password", SERVICE, name) != identity.export_seed().hex():
        raise UsageError(f"the keyring did not keep the key; {path} is as it was")
    _replace(path, REFERENCE + name.encode() + b"\n")


def _from_keyring(path: Path, rest: bytes) -> Identity:
    name = rest.decode("ascii", "replace").strip()
    seed = _ask_keyring("get_password", SERVICE, name)
    if seed is None:
        raise UsageError(f"{path}: the system's keyring has no key {name[:16]}… for {SERVICE}")
    try:
        identity = Identity.from_seed(bytes.fromhex(seed))
    except ValueError:
        raise UsageError(f"{path}: the keyring's entry {name[:16]}… is not a key of ours") from None
    if identity.public.hex() != name:
        raise UsageError(f"{path}: the keyring holds another key under {name[:16]}…")
    return identity


def _ask_keyring(verb: str, *args: str) -> Any:
    try:
        keyring = importlib.import_module("keyring")
        errors = importlib.import_module("keyring.errors")
    except ImportError:
        raise UsageError("keyring: not installed; pip install 'mpclab[keyring]'") from None
    try:
        return getattr(keyring, verb)(*args)
    except errors.KeyringError as error:
        raise UsageError(f"the system's keyring: {error or type(error).__name__}") from error


def _replace(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
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
    from getpass import getpass

    return getpass(f"passphrase of {path}: ")
