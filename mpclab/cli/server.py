"""`mpclab server …`: what the operator of a running server asks of it, and `mpclab invite`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mpclab.cli.folders import home
from mpclab.cli.text import plain
from mpclab.core.errors import UsageError

VERBS = {
    "status": "how it does: connections, sessions, messages, errors",
    "sessions": "which sessions there are, who is in them, since when",
    "log": "what happened last",
    "close": "end a session; its members are told",
    "free": "free a party's seat, for whatever key comes next",
    "invite": "a ticket in the operator's name",
    "revoke": "take back a ticket, or every ticket of a key; who came in that way loses its seat",
}


def add_parser(server: argparse.ArgumentParser) -> None:
    """The verbs and their options."""
    verbs = server.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, words in VERBS.items():
        one = verbs.add_parser(verb, help=words, description=words)
        if verb in ("close", "free", "invite", "revoke"):
            one.add_argument("session", help="the session's id")
        if verb == "free":
            one.add_argument("party", type=int, help="whose seat")
        if verb == "invite":
            _add_invitation(one)
        if verb == "revoke":
            _add_revocation(one)
            one.add_argument("--undo", action="store_true", help="let it in again after all")
        one.add_argument(
            "--socket", type=Path, metavar="FILE",
            help="the server's (default: the one there is in MPCLAB_HOME)",
        )  # fmt: skip
        one.add_argument("--json", action="store_true", help="print the answer as it came")


def add_invite(invite: argparse.ArgumentParser) -> None:
    """The options of `mpclab invite`."""
    invite.add_argument("session", help="the session's id, or with --owned its name")
    invite.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="the owner's identity file"
    )
    invite.add_argument(
        "--owned", action="store_true",
        help="make an id of the name that says whose session it is: nobody else can open it",
    )  # fmt: skip
    _add_invitation(invite)


def add_revoke(revoke: argparse.ArgumentParser) -> None:
    """The options of `mpclab revoke`."""
    revoke.add_argument("url", help="the server's")
    revoke.add_argument("session", help="the session's id")
    revoke.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="the owner's identity file"
    )
    revoke.add_argument(
        "--authority", type=Path, metavar="FILE", help="certificates to trust for wss"
    )
    _add_revocation(revoke)


def _add_revocation(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--ticket", default="", metavar="TEXT",
        help="the ticket, the file that holds it, or its id (`mpclab server sessions`)",
    )  # fmt: skip
    what.add_argument(
        "--for", dest="guest", default="", metavar="KEY",
        help="every ticket of this key (64 hex digits)",
    )  # fmt: skip


def add_session(session: argparse.ArgumentParser) -> None:
    """The options of `mpclab session`."""
    session.add_argument("name", help="the session's name")
    whose = session.add_mutually_exclusive_group(required=True)
    whose.add_argument(
        "--closed", nargs="+", metavar="KEY",
        help="the keys of parties 1 to n, in order: nobody else can open it (--access closed)",
    )  # fmt: skip
    whose.add_argument(
        "--owner", metavar="KEY", help="this key alone can open it (--access invited)"
    )


def session_id(args: argparse.Namespace) -> int:
    """Print the id of a session that says whose it is. Keys: 64 hex digits or contacts' names."""
    from mpclab.cli.profile import key_named
    from mpclab.signaling.tickets import closed_session, owned_session

    if args.owner is not None:
        print(owned_session(args.name, key_named(args.owner)))
        return 0
    roster = [key_named(text) for text in args.closed]
    if twice := next((p for p, key in enumerate(roster, 1) if key in roster[: p - 1]), 0):
        raise UsageError(f"--closed: party {twice} has the key of an earlier one")
    print(closed_session(args.name, roster))
    return 0


def _add_invitation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--party", type=int, default=0, metavar="ID", help="for this seat alone")
    parser.add_argument(
        "--for", dest="guest", default="", metavar="KEY",
        help="for this key alone (64 hex digits); without it, for whoever uses it first",
    )  # fmt: skip
    parser.add_argument(
        "--hours", type=float, default=24.0, metavar="N", help="how long it is good (default 24)"
    )


def invite(args: argparse.Namespace) -> int:
    """Print a ticket of a session's owner; its session's id in the line before."""
    from mpclab.cli.operating import invitation
    from mpclab.lab.keys import load_key
    from mpclab.signaling.tickets import owned_session

    owner = load_key(args.key)
    session = owned_session(args.session, owner.public) if args.owned else args.session
    text = invitation(owner, session, args.party, args.guest, args.hours)
    print(f"session {session}\nowner {owner.public.hex()}\nticket {text}")
    return 0


def revoke(args: argparse.Namespace) -> int:
    """Have the server of a session take back an invitation of its owner, who need not be there."""
    from mpclab.cli.operating import public_key
    from mpclab.cli.revoking import take_back
    from mpclab.lab.keys import load_key

    owner, guest = load_key(args.key), public_key(args.guest)
    take_back(args.url, args.session, owner, _ticket_in(args.ticket), guest, args.authority)
    print(f"taken back in {args.session}")
    return 0


def _ticket_in(text: str) -> str:
    """A ticket or its id, which may stand in a file."""
    try:
        return Path(text).read_text(encoding="utf-8").strip() if Path(text).is_file() else text
    except (OSError, ValueError):  # too long for a file's name
        return text


def server(args: argparse.Namespace) -> int:
    """Ask, and print the answer."""
    request: dict[str, Any] = {"do": args.verb}
    if args.verb in ("close", "free", "invite", "revoke"):
        request["session"] = args.session
    if args.verb in ("free", "invite"):
        request["party"] = args.party
    if args.verb == "invite":
        request |= {"key": args.guest, "hours": args.hours}
    if args.verb == "revoke":
        request |= {"ticket": _ticket_in(args.ticket), "key": args.guest, "undo": args.undo}
    answer = _ask(args.socket, request)
    if args.json:
        print(json.dumps(answer))
    else:
        for text in _lines(args.verb, answer):
            print(plain(text))
    return 0


def _ask(path: Path | None, request: dict[str, Any]) -> dict[str, Any]:
    from mpclab.worlds.real.admin import ask

    if path is None:
        found = sorted(home().glob("server-*.sock"))
        if len(found) != 1:
            which = ", ".join(map(str, found)) or f"there is none in {home()}"
            raise UsageError(f"which server? name its --socket: {which}")
        path = found[0]
    answer: dict[str, Any] = json.loads(ask(path, json.dumps(request).encode()))
    if "error" in answer:
        raise UsageError(str(answer["error"]))
    return answer


def _lines(verb: str, answer: dict[str, Any]) -> list[str]:
    match verb:
        case "sessions":
            return [text for s in answer["sessions"] for text in _session(s, answer["now"])] or [
                "no session is open"
            ]
        case "log":
            return [f"{it['at'] / 1e6:12.3f} s  {it['text']}" for it in answer["log"]]
        case "status":
            return [f"{name.replace('_', ' '):16} {value}" for name, value in answer.items()]
        case "invite":
            return [answer["ticket"]]
        case _:
            return [answer["done"]]


def _session(s: dict[str, Any], now: int) -> list[str]:
    words = f"{s['session']}: n {s['n']}, t {s['t']}, {s['policy']}, {s['access']}"
    return [
        f"{words}, open for {(now - s['opened_at']) / 1e6:.0f} s",
        *(f"  party {m['party']}: {m['state']}, key {m['key']}…" for m in s["members"]),
        *(f"  ticket {t['ticket']}: used by key {t['key'][:16]}…" for t in s["tickets"]),
        *(f"  ticket {t['ticket']}: taken back" for t in s["revoked"] if t["ticket"]),
        *(f"  key {t['key']}: its tickets are taken back" for t in s["revoked"] if t["key"]),
    ]
