"""`mpclab init` and `mpclab contacts`: who we are on this machine, and names for others' keys.

In `MPCLAB_HOME` (`~/.mpclab`), readable by its owner alone: `identity.key`; `profile.json` with the
server that `party` uses when none is named; `contacts.json`.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from mpclab.cli.folders import home
from mpclab.cli.text import plain
from mpclab.core.errors import UsageError, nearest

T = TypeVar("T")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,31}")


class Profile(msgspec.Struct, forbid_unknown_fields=True):
    """What holds where a command line says nothing."""

    name: str = ""
    server: str = ""


def add_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="", help="what others may call us")
    parser.add_argument(
        "--server", default="", metavar="URL", help="the server that `party` uses by itself"
    )


def add_contacts(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    add = verbs.add_parser("add", help="give a key a name")
    add.add_argument("name")
    add.add_argument("key", help="64 hex digits")
    add.add_argument("--replace", action="store_true", help="the name had another key before")
    remove = verbs.add_parser("remove", help="forget a name")
    remove.add_argument("name")
    verbs.add_parser("list", help="all names and keys")


def init(args: argparse.Namespace) -> int:
    """Make the identity, or keep the one there is; note name and server."""
    from mpclab.lab.keys import load_key
    from mpclab.worlds.real.ws_client import check_url

    if args.server:
        check_url(args.server)
    folder = home()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror or error}") from error
    there = identity_file().exists()
    identity = load_key(identity_file())
    old = profile()
    new = Profile(args.name or old.name, args.server or old.server)
    _write(folder / "profile.json", msgspec.json.format(msgspec.json.encode(new)))
    print(f"{'kept' if there else 'made'} {identity_file()}")
    print(plain(f"name {new.name or '-'}, server {new.server or '-'}"))
    print(f"public key {identity.public.hex()}: others say")
    print(plain(f"  mpclab contacts add {new.name or 'NAME'} {identity.public.hex()}"))
    return 0


def contacts_command(args: argparse.Namespace) -> int:
    """Do one verb of `mpclab contacts`."""
    known = contacts()
    match args.verb:
        case "list":
            for name, key in sorted(known.items()):
                print(f"{name:16} {key.hex()}")
            return 0
        case "add":
            if not _NAME.fullmatch(args.name):
                raise UsageError(f"name {args.name!r}: a letter, then letters, digits, . _ or -")
            key = _key(args.key)
            if known.get(args.name, key) != key and not args.replace:
                raise UsageError(
                    f"{args.name} has the key {known[args.name].hex()}; if it has another one now "
                    f"and you are sure, say --replace"
                )
            known[args.name] = key
        case "remove":
            if args.name not in known:
                raise UsageError(f"no contact {args.name!r}{nearest(args.name, known)}")
            del known[args.name]
    told = {name: key.hex() for name, key in sorted(known.items())}
    home().mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(home() / "contacts.json", msgspec.json.format(msgspec.json.encode(told)))
    return 0


def identity_file() -> Path:
    return home() / "identity.key"


def profile() -> Profile:
    """The profile; an empty one if `mpclab init` was never run.

    Raises:
        UsageError: the file is damaged.
    """
    return _read("profile.json", Profile) or Profile()


def contacts() -> dict[str, bytes]:
    """Keys by name.

    Raises:
        UsageError: the file is damaged.
    """
    return {
        name: _key(text) for name, text in (_read("contacts.json", dict[str, str]) or {}).items()
    }


def key_named(text: str) -> bytes:
    """A key from 64 hex digits, or a contact's name; "": none.

    Raises:
        UsageError: neither.
    """
    if not text or len(text) == 64:
        return _key(text) if text else b""
    known = contacts()
    if text not in known:
        raise UsageError(
            f"{text!r}: neither a key (64 hex digits) nor a contact{nearest(text, known)}"
        )
    return known[text]


def _key(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise UsageError(f"key {text[:80]!r}: write 64 hex digits")
    return raw


def _read(name: str, kind: type[T]) -> T | None:
    file = home() / name
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(f"{file} is damaged: {error}") from error


def _write(file: Path, data: bytes) -> None:
    """Whole or not at all."""
    new = file.with_name(f"{file.name}.new")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
            opened.write(data + b"\n")
            opened.flush()
            os.fsync(opened.fileno())
        new.replace(file)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error
