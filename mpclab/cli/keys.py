"""`mpclab keys`: a party's identity key, and its shares of keys; changed while it does not run."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from mpclab.cli.text import plain
from mpclab.core.errors import UsageError

PASSPHRASE = "MPCLAB_PASSPHRASE"
BACKUP_PASSPHRASE = "MPCLAB_BACKUP_PASSPHRASE"


def add_parser(keys: argparse.ArgumentParser) -> None:
    """The verbs and their options."""
    verbs = keys.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, words in (
        ("show", "the public key in an identity file (made when missing), and what protects it"),
        ("seal", "put an identity file under a passphrase"),
        ("open", "put an identity file in the clear again"),
        ("keyring", "move an identity key to the system's keyring; the file refers to it"),
    ):
        one = verbs.add_parser(verb, help=words, description=words)
        one.add_argument("file", type=Path, help="the identity file, as for `mpclab party --key`")
    for verb, words in (
        ("list", "the shared keys that a party knows, from its store"),
        ("export", "back up a party's share of a key, under a passphrase"),
        ("import", "give a party the share in a backup back"),
        ("delete", "delete a party's share of a key for good"),
    ):
        one = verbs.add_parser(verb, help=words, description=words)
        one.add_argument("store", type=Path, help="its folder, as for `mpclab party --store`")
        one.add_argument("--session", required=True, help="the session's id")
        one.add_argument("--id", type=int, required=True, help="which party")
        one.add_argument("--key", type=Path, help="its identity file (default: in the store)")
        if verb in ("export", "delete"):
            one.add_argument("name", help="the key's name, public key or operation")
        if verb in ("export", "import"):
            one.add_argument("backup", type=Path, help="the backup's file")


def keys(args: argparse.Namespace) -> int:
    """Do one verb; the exit status."""
    if args.verb in ("show", "seal", "open", "keyring"):
        return _identity(args.verb, args.file)
    return _shares(args)


def _identity(verb: str, file: Path) -> int:
    from mpclab.lab.keys import how_kept, keep_in_keyring, load_key, open_key, seal_key

    match verb:
        case "seal":
            load_key(file)  # what is sealed is opened first: two passphrases are asked for
            seal_key(file, _chosen(f"new passphrase of {file}", PASSPHRASE))
        case "open":
            open_key(file)
        case "keyring":
            keep_in_keyring(file)
    public = load_key(file).public.hex() if verb == "show" else ""
    print(plain(f"{file}: {public + ', ' if public else ''}protected by {how_kept(file)}"))
    return 0


def _shares(args: argparse.Namespace) -> int:
    from mpclab.lab.at_rest import at_rest

    with at_rest(args.store, args.session, args.id, args.key) as party:
        if party.is_running and args.verb in ("list", "export"):
            words = f"party {args.id} is running: this is what it has stored so far"
            print(plain(words), file=sys.stderr)
        match args.verb:
            case "list":
                for info in party.known_keys():
                    held = "a share here" if info.holds else "no share here"
                    holders = ", ".join(map(str, info.holders))
                    named = f" {info.name!r}" if info.name else ""
                    rules = f"; {info.rules}" if info.rules else ""
                    print(
                        plain(
                            f"{info.op}{named}: {info.suite} {info.public}, {info.threshold} of "
                            f"{len(info.holders)} ({holders}), {held}{rules}"
                        )
                    )
            case "export":
                words = _chosen(f"passphrase of {args.backup}", BACKUP_PASSPHRASE)
                party.export_share(args.name, args.backup, words)
                print(plain(f"{args.backup}: the share of party {args.id}"))
            case "import":
                words = _asked(f"passphrase of {args.backup}", BACKUP_PASSPHRASE)
                public = party.restore_share(args.backup, words)
                print(plain(f"party {args.id} has its share of {public} again"))
            case "delete":
                party.delete_share(args.name)
                print(plain(f"party {args.id} holds no share of {args.name} any more"))
    return 0


def _chosen(what: str, variable: str) -> str:
    """A new passphrase: from the environment, or typed twice."""
    words = _asked(what, variable)
    if os.environ.get(variable) is None and getpass.getpass("again: ") != words:
        raise UsageError("these were two passphrases; nothing was changed")
    return words


def _asked(what: str, variable: str) -> str:
    if (known := os.environ.get(variable)) is not None:
        return known
    if not sys.stdin.isatty():
        raise UsageError(f"{what}: set {variable}, or start in a terminal")
    return getpass.getpass(f"{what}: ")
