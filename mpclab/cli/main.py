"""`mpclab serve | party | keys | run | explore | …`: the terminal's way to everything."""

from __future__ import annotations

import argparse
import gc
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mpclab.cli.search import add_commands
from mpclab.cli.text import plain
from mpclab.core.errors import UsageError

OK, VIOLATED, BAD_INPUT, CRASHED = 0, 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0 fine, 1 a check is violated, 2 bad input, 3 a fault
    of the program, which says where."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser(next((word for word in given if not word.startswith("-")), ""))
    args = parser.parse_args(given)
    args.arguments_given = given
    try:
        status: int = args.run(args)
        return status
    except UsageError as error:
        print(plain(f"mpclab {args.command}: {error}"), file=sys.stderr)
        return BAD_INPUT
    except Exception:
        import traceback

        traceback.print_exc()
        return CRASHED
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


class _Version(argparse.Action):
    """Says which version this is, and ends. What was installed is read when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        import mpclab

        core = "compiled core" if mpclab.CORE == "compiled" else f"core in {mpclab.CORE}"
        print(f"mpclab {version('mpclab')}, {core}")
        parser.exit()


def _parser(command: str) -> argparse.ArgumentParser:
    """The parser for `command`; others' options, where they are in modules of their own, are left
    out: to import them takes longer than some commands do. "": of none yet."""
    parser = argparse.ArgumentParser(
        prog="mpclab",
        description="A laboratory for parties that must agree and then act together.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="say which this is")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", prog=parser.prog
    )

    run = commands.add_parser("run", help="run a scenario file and judge what happened")
    run.add_argument("file", nargs="?", help="a scenario (YAML), or the name of one that we ship")
    run.add_argument("--list", action="store_true", help="the scenarios that we ship")
    run.add_argument("--world", help="simulated, websocket or webrtc, instead of the file's")
    run.add_argument("--seed", type=int, help="instead of the file's")
    run.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    run.add_argument("--out", type=Path, help="leave pictures, trace and report in this folder")
    run.add_argument("--html", type=Path, help="write the run as one page, to open and to send")
    run.set_defaults(run=_run)

    new = commands.add_parser("new", help="write a scenario file to begin with")
    new.add_argument("file", type=Path, help="its name; one that is there is not overwritten")
    new.set_defaults(run=_new)

    show = commands.add_parser("show", help="make a page of a saved trace, to open and to send")
    show.add_argument("trace", type=Path, help="a trace (JSONL), as `run --out` leaves it")
    show.add_argument("--html", type=Path, help="the page (default: beside the trace)")
    show.set_defaults(run=_show)

    add_commands(commands)

    demo = commands.add_parser("demo", help="the whole story, in this terminal")
    demo.add_argument(
        "--out", type=Path, default=Path("demo-out"), help="folder for what it leaves"
    )
    demo.set_defaults(run=_demo)

    serve = commands.add_parser("serve", help="run a signaling server until Ctrl-C")
    if command == "serve":
        from mpclab.cli.server_options import add_options

        add_options(serve)
    serve.set_defaults(run=_serve)

    server = commands.add_parser("server", help="what a server's operator asks of it")
    if command == "server":
        from mpclab.cli.server import add_parser as add_server

        add_server(server)
    server.set_defaults(run=_server)

    invite = commands.add_parser("invite", help="let somebody into a session of ours")
    if command == "invite":
        from mpclab.cli.server import add_invite

        add_invite(invite)
    invite.set_defaults(run=_invite)

    revoke = commands.add_parser("revoke", help="take back an invitation to a session of ours")
    if command == "revoke":
        from mpclab.cli.server import add_revoke

        add_revoke(revoke)
    revoke.set_defaults(run=_revoke)

    session = commands.add_parser("session", help="the id of a session that says whose it is")
    if command == "session":
        from mpclab.cli.server import add_session

        add_session(session)
    session.set_defaults(run=_session)

    init = commands.add_parser("init", help="make our identity on this machine, and our profile")
    if command == "init":
        from mpclab.cli.profile import add_init

        add_init(init)
    init.set_defaults(run=_init)

    contacts = commands.add_parser("contacts", help="names for others' keys")
    if command == "contacts":
        from mpclab.cli.profile import add_contacts

        add_contacts(contacts)
    contacts.set_defaults(run=_contacts)

    party = commands.add_parser("party", help="be one party of a session, in this process")
    party.add_argument(
        "url", nargs="?", default="",
        help="the signaling server: ws://127.0.0.1:8080 or wss://… (default: as `mpclab init` has "
        "it)",
    )  # fmt: skip
    party.add_argument("--session", required=True, help="the session's id")
    party.add_argument("--id", type=int, required=True, help="which party to be, 1 to n")
    party.add_argument("--parties", type=int, required=True, help="n: how many there are")
    party.add_argument("--threshold", type=int, help="t (default: a majority)")
    party.add_argument("--policy", default="unanimous", help="unanimous or threshold(k)")
    party.add_argument(
        "--agreement",
        default="direct",
        help="the agreement protocol; with options: '{raft: {prevote: false}}'",
    )
    party.add_argument(
        "--vote", default="approve", help="approve, reject, silent, validate or hand (ask me)"
    )
    party.add_argument(
        "--approve-with", metavar="CMD",
        help="a program that reads each operation as JSON and approves it by ending with 0, or "
        "rejects it with 1",
    )  # fmt: skip
    party.add_argument(
        "--prompt", action=argparse.BooleanOptionalAction,
        help="take commands that are typed: propose, show, approve, … (default: in a terminal, "
        "with --vote hand)",
    )  # fmt: skip
    party.add_argument(
        "--json", action="store_true",
        help="speak JSON lines: events and answers out, commands in",
    )  # fmt: skip
    party.add_argument("--relay", action="store_true", help="no data channels: relay by the server")
    party.add_argument(
        "--address", action="append", default=[], metavar="IP",
        help="offer this address of ours for data channels (default: the one by which we reach "
        "the server); may be repeated",
    )  # fmt: skip
    party.add_argument(
        "--stun", action="append", default=[], metavar="URL", help="stun:host:port; may be repeated"
    )
    party.add_argument(
        "--turn", action="append", default=[], metavar="URL", help="turn:host:port; may be repeated"
    )
    party.add_argument(
        "--turn-login", type=Path, metavar="FILE",
        help="file with the TURN servers' user name and password, a line each",
    )  # fmt: skip
    party.add_argument(
        "--relay-only", action="store_true", help="offer no address of ours, only TURN's"
    )
    party.add_argument("--key", type=Path, help="file with this party's key; made when missing")
    party.add_argument("--store", type=Path, help="folder to keep state in; take up from it")
    party.add_argument(
        "--peer", action="append", default=[], metavar="ID=KEY",
        help="trust only this key (64 hex digits) for that party; may be repeated",
    )  # fmt: skip
    party.add_argument(
        "--access", default="", metavar="WORD",
        help="open, invited (by ticket) or closed (to the keys of all --peer and our own); as the "
        "session is, if left out",
    )  # fmt: skip
    party.add_argument("--owner", default="", metavar="KEY", help="whose session it has to be")
    party.add_argument(
        "--ticket", default="", metavar="TEXT", help="an invitation, or the file that holds it"
    )
    party.add_argument(
        "--plugin", action="append", default=[], metavar="NAME",
        help="load a module or file of your own, which runs it; may be repeated",
    )  # fmt: skip
    party.add_argument(
        "--authority", type=Path, metavar="FILE", help="certificates to trust for wss"
    )
    party.add_argument(
        "--record", type=Path, metavar="FILE",
        help="append every event to this file: texts, proposals, votes, addresses; no keys",
    )  # fmt: skip
    party.add_argument(
        "--host", metavar="[ADDRESS:]PORT",
        help="be the signaling server when ours is gone for some seconds, and tell the others",
    )  # fmt: skip
    party.add_argument(
        "--tell", action="store_true",
        help="tell a lab in this session what happens here, signed; never a secret",
    )  # fmt: skip
    party.add_argument("--propose", metavar="TEXT", help="propose this note once all are here")
    party.add_argument("--until", type=int, metavar="N", help="leave after N settled operations")
    party.add_argument("--attached", action="store_true", help=argparse.SUPPRESS)
    party.add_argument("--joined", action="store_true", help=argparse.SUPPRESS)
    party.add_argument("--first-frame", type=int, default=1, help=argparse.SUPPRESS)
    party.set_defaults(run=_party)

    keys = commands.add_parser("keys", help="a party's identity key, and its shares of keys")
    if command == "keys":
        from mpclab.cli.keys import add_parser

        add_parser(keys)
    keys.set_defaults(run=_keys)

    lab = commands.add_parser("lab", help="open JupyterLab on the first notebook")
    lab.add_argument(
        "--folder", type=Path, default=Path("mpclab-lab"), metavar="FOLDER",
        help="where the notebooks are copied to, and what you do stays (default: mpclab-lab)",
    )  # fmt: skip
    lab.add_argument("--fresh", action="store_true", help="the notebooks as they came, once more")
    lab.add_argument(
        "--app", action="store_true", help="the coordinator as a page of its own, without notebooks"
    )
    lab.add_argument("arguments", nargs="*", help="passed on to jupyter lab (or voila), after --")
    lab.set_defaults(run=_lab)
    return parser


def _run(args: argparse.Namespace) -> int:
    gc.disable()  # what imports make stays: looking through it again and again is for nothing
    from mpclab.lab.scenario import Scenario
    from mpclab.lab.shipped import file_of, shipped

    gc.enable()
    if args.list:
        for name, words in shipped().items():
            print(f"{name:14} {words}")
        return OK
    scenario = Scenario.from_file(file_of(args.file))
    changes = {k: v for k in ("world", "seed") if (v := getattr(args, k)) is not None}
    if changes:
        scenario = scenario.but(**changes)
    if args.json:
        from mpclab.lab import play

        run = play(scenario)
        print(json.dumps(run.as_dict(), ensure_ascii=False))
    else:
        from mpclab.cli.show import run_with_progress, show

        run = run_with_progress(scenario)
        show(run)
        if run.violated and run.world == "simulated":
            seed = f" --seed {args.seed}" if args.seed is not None else ""
            print(f"the least that fails so: mpclab shrink {args.file}{seed}")
    if args.out:
        from mpclab.cli.report import write_report

        write_report(run, args.out)
        if not args.json:
            print(f"pictures, trace and report: {args.out}/")
    if args.html:
        run.save(args.html)
        if not args.json:
            print(f"a page of the run: {args.html}")
    return VIOLATED if run.violated else OK


def _new(args: argparse.Namespace) -> int:
    from mpclab.cli.new import new

    file = new(args.file)
    print(f"a scenario: {file}; run it with: mpclab run {shlex.quote(str(file))}")
    return OK


def _show(args: argparse.Namespace) -> int:
    from mpclab.trace import Trace
    from mpclab.view import page

    if not args.trace.is_file():
        raise UsageError(f"{args.trace}: no such file; `mpclab run FILE --out FOLDER` leaves one")
    trace = Trace.load(args.trace)
    target = args.html or args.trace.with_suffix(".html")
    target.write_text(page(trace, title=args.trace.stem), encoding="utf-8")
    print(f"a page of {len(trace)} rows: {target}")
    return OK


def _demo(args: argparse.Namespace) -> int:
    from mpclab.cli.demo import demo

    return demo(args.out)


def _serve(args: argparse.Namespace) -> int:
    from mpclab.cli.serve import serve

    return serve(args)


def _server(args: argparse.Namespace) -> int:
    from mpclab.cli.server import server

    return server(args)


def _session(args: argparse.Namespace) -> int:
    from mpclab.cli.server import session_id

    return session_id(args)


def _invite(args: argparse.Namespace) -> int:
    from mpclab.cli.server import invite

    return invite(args)


def _revoke(args: argparse.Namespace) -> int:
    from mpclab.cli.server import revoke

    return revoke(args)


def _init(args: argparse.Namespace) -> int:
    from mpclab.cli.profile import init

    return init(args)


def _contacts(args: argparse.Namespace) -> int:
    from mpclab.cli.profile import contacts_command

    return contacts_command(args)


def _party(args: argparse.Namespace) -> int:
    from mpclab.cli.party import be_party

    return be_party(args)


def _keys(args: argparse.Namespace) -> int:
    from mpclab.cli.keys import keys

    return keys(args)


def _lab(args: argparse.Namespace) -> int:
    if args.app:
        from mpclab.cli.app import open_app

        return open_app(args.arguments)
    from mpclab.cli.notebooks import open_lab

    return open_lab(args.folder, fresh=args.fresh, arguments=args.arguments)
