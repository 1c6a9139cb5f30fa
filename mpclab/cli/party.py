"""`mpclab party`: one party of a session, in a process of its own, on any machine.

Its exit status: 0 it ended well (Ctrl-C, SIGTERM, `--until`), and gave its place up; 2 it could not
begin or was refused; 3 it failed later: its disk, or a bug. Memory is bounded whatever peers send:
a tail of the trace is kept, and what a message from a peer breaks is the peer's fault.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from rich.text import Text

from mpclab.cli.attached import TellingTrace, serve
from mpclab.cli.console import console
from mpclab.cli.folders import login_in
from mpclab.cli.hands import HELP, Approver, Hands, Lines, lines_of, shown, typed
from mpclab.cli.heir import Heir
from mpclab.cli.profile import contacts, identity_file, key_named, profile
from mpclab.cli.signals import stoppable
from mpclab.cli.text import line
from mpclab.core import notes
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.core.node import Node
from mpclab.core.notes import word_of
from mpclab.lab.keys import load_key
from mpclab.lab.lab import Lab
from mpclab.signaling.party import PartyMachine
from mpclab.signaling.throttle import Bucket
from mpclab.signaling.tickets import CLOSED, Entry
from mpclab.trace.log import Trace
from mpclab.trace.rows import Blamed, Linked, Noted
from mpclab.trace.tail import TailTrace
from mpclab.worlds.real.nursery import die_with_parent
from mpclab.worlds.real.world import RealWorld

_LOOK = 0.05  # seconds between two looks at the trace
PATIENCE = 30.0
"""Seconds in which the server must let us in; afterwards it is missed for as long as it takes."""
FAILED = 3
"""Exit status: the party could not go on."""


def be_party(args: argparse.Namespace) -> int:
    """Join, vote, and say what happens, until Ctrl-C or `--until` operations are settled."""
    if args.attached:
        die_with_parent()
        return _be(args, TellingTrace())  # whoever started us wants every row
    with stoppable():
        try:
            return _be(args, TailTrace(file=args.record, deliveries=args.tell))
        except KeyboardInterrupt:  # before there was a place to give up
            return 0


def _be(args: argparse.Namespace, trace: Trace) -> int:
    if args.threshold is not None and args.threshold < 1:
        raise UsageError(f"--threshold {args.threshold}: use 1 to {args.parties}")
    url = args.url or profile().server
    if not url:
        raise UsageError("name the server's url, or note it once: mpclab init --server URL")
    args.url = url
    hands_on = args.prompt or args.json or args.approve_with
    if args.approve_with and args.vote == "approve":
        args.vote = "hand"
    elif args.approve_with and args.vote != "hand":
        raise UsageError(f"--approve-with votes for us; leave out --vote {args.vote}")
    if args.attached and hands_on:
        raise UsageError("--attached has its user elsewhere")
    own_key = args.key
    if own_key is None and args.store is None and not args.attached and identity_file().exists():
        own_key = identity_file()
    identity = load_key(own_key) if own_key else None
    lab = Lab(
        world="websocket" if args.relay else "webrtc",
        url=args.url,
        parties=args.parties,
        session=args.session,
        policy=args.policy,
        agreement=_protocol(args.agreement),
        store=args.store,
        plugins=tuple(args.plugin),
        record=False,
        options={"trace": trace, "authority": args.authority, **_channels(args)},
        **({} if args.threshold is None else {"threshold": args.threshold}),
    )
    with lab:
        assert isinstance(lab.world, RealWorld)
        if identity is not None:
            lab.group.given[args.id] = identity
        pins = _pins(args.peer, args.parties)
        own = lab.group.identity(args.id).public
        if pins.get(args.id, own) != own:
            raise UsageError(
                f"--peer {args.id}=… is this party itself, whose key is {own.hex()}; give its "
                f"--key or --store, or leave that --peer out"
            )
        lab.group.pinned.update(pins)
        lab.group.entries[args.id] = _entry(args, {**pins, args.id: own})
        lab.world.first_frame = args.first_frame
        lab.spawn(args.id, votes=args.vote)
        if args.attached:
            return serve(lab, args.id, joined=args.joined)
        public = lab.group.identity(args.id).public.hex()
        voice = Voice(args.json)
        voice.say(
            f"party {args.id} of {args.parties}, key ", (public, "bold"),
            event="party", party=args.id, parties=args.parties, key=public,
        )  # fmt: skip
        if args.record:
            voice.say((f"recording to {args.record}: texts, votes and addresses", "dim"))
        try:
            if not _failure(lab):
                lab.join(wait=False)
            status = _follow(lab, args, voice)
        except KeyboardInterrupt:
            status = 0
        except UsageError:
            if not _failure(lab):  # else it failed while we asked something of it
                raise
            status = FAILED
        if status == FAILED:
            failure = _failure(lab)
            voice.say((failure, "red"), event="failed", reason=failure)
        if status == 0:
            with suppress(UsageError):  # it may have ended by itself just now
                lab.leave(args.id)
            voice.say("left the session", event="left-session")
        return status


def _protocol(text: str) -> Any:
    """`raft`, or with options, as a scenario file has it: `{raft: {prevote: false}}`."""
    import yaml

    try:
        return yaml.safe_load(text) if text.startswith("{") else text
    except (yaml.YAMLError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise UsageError(f"--agreement: {text[:80]!r} is not YAML: {why}") from error


def _channels(args: argparse.Namespace) -> dict[str, Any]:
    """How data channels are made, for the world that has them."""
    wanted = args.address or args.stun or args.turn or args.relay_only
    if args.relay:
        if wanted:
            raise UsageError(
                "--relay has no data channels: leave out --address, --stun, --turn and "
                "--relay-only, or --relay"
            )
        return {}
    from mpclab.worlds.real.data_channel import ChannelSettings, IceServer

    user, password = _turn_login(args) if args.turn else ("", "")
    servers = [IceServer(url) for url in args.stun]
    servers += [IceServer(url, user, password) for url in args.turn]
    return {
        "channels": ChannelSettings(
            addresses=tuple(args.address) or None,
            ice_servers=tuple(servers),
            relay_only=args.relay_only,
        )
    }


def _turn_login(args: argparse.Namespace) -> tuple[str, str]:
    if args.turn_login is None:
        raise UsageError("--turn needs --turn-login FILE, with a user name and a password")
    return login_in(args.turn_login, "--turn-login")


def _pins(texts: list[str], n: int) -> Mapping[Party, bytes]:
    pins = {}
    for text in texts:
        party, _, key = text.partition("=")
        try:
            number, raw = int(party), key_named(key)
        except (ValueError, UsageError):
            number, raw = 0, b""
        if not 1 <= number <= n or len(raw) != 32:
            raise UsageError(
                f"--peer {text}: write ID=KEY, with 1 to {n} and 64 hex digits or a contact's name"
            )
        pins[number] = raw
    return pins


def _entry(args: argparse.Namespace, keys: Mapping[Party, bytes]) -> Entry:
    """What we show at the session's door."""
    roster: tuple[bytes, ...] = ()
    if args.access == CLOSED:
        missing = [p for p in range(1, args.parties + 1) if p not in keys]
        if missing:
            raise UsageError(f"--access closed: name the key of party {missing[0]} with --peer")
        roster = tuple(keys[p] for p in range(1, args.parties + 1))
    ticket = args.ticket.strip()
    if ticket and not ticket.startswith("mpclab-ticket-"):
        try:
            ticket = Path(ticket).read_text(encoding="utf-8").split()[-1]
        except (OSError, UnicodeDecodeError, IndexError) as error:
            raise UsageError(f"--ticket {ticket[:80]}: neither a ticket nor a file") from error
    return Entry(args.access, key_named(args.owner), ticket, roster)


def _follow(lab: Lab, args: argparse.Namespace, voice: Voice) -> int:
    assert isinstance(lab.world, RealWorld)
    news = _News(lab, args.id, args.until, voice)
    proposed = args.propose is None
    began, joined = time.monotonic(), False
    heir = Heir(lab, args.id, args.host, args.url) if args.host else None
    user = _User(lab, args, voice)
    while True:
        news.say()
        if args.tell and args.id in lab.world.actors:
            lab.world.tell(args.id)
        if _failure(lab):
            return FAILED
        is_in = lab.world.look(args.id, _has_joined)
        joined = joined or is_in
        if heir is not None and joined:
            heir.look(is_in)
        if not joined and time.monotonic() - began > PATIENCE:
            raise UsageError(lab.group.explain_unready())
        if not proposed and lab.world.look(args.id, _reaches_all):
            proposed = True
            lab.propose(by=args.id, kind="note", text=args.propose)
        user.look(news.unvoted)
        if user.hands.wants_to_leave:
            return 0
        if args.until is not None and len(news.ended) >= args.until:
            lab.wait(0.5)  # others may still need our answers
            news.say()
            return 0
        time.sleep(_LOOK)


class _User:
    """Who decides for us: at the keyboard, by JSON lines, or a program."""

    def __init__(self, lab: Lab, args: argparse.Namespace, voice: Voice) -> None:
        self._lab, self._me, self._voice = lab, args.id, voice
        names = {key: name for name, key in contacts().items()}
        self.hands = Hands(lab, args.id, names)
        by_hand = args.vote == "hand" and sys.stdin.isatty()
        prompts = args.prompt if args.prompt is not None else by_hand and not args.approve_with
        self._lines = Lines() if prompts or args.json else None
        self._approver = (
            Approver(args.approve_with, self._vote, self._complain) if args.approve_with else None
        )
        self._shown: set[str] = set()
        if prompts and not args.json:
            voice.say("type help, or a command")

    def look(self, unvoted: dict[str, tuple[str, Party | None]]) -> None:
        """Show what waits for a vote, and do what was said meanwhile."""
        for op in [op for op in unvoted if op not in self._shown]:
            whole = self.hands.waiting(op)
            if whole is None:
                continue
            self._shown.add(op)
            if self._approver is not None:
                self._approver.ask(whole)
            elif self._lines is not None:
                self._voice.tell("waiting", {"operation": whole}, shown(whole))
        self._shown &= unvoted.keys()
        if self._approver is not None:
            self._approver.settle()
        while self._lines is not None and (text := self._lines.take()) is not None:
            self._hear(text)

    def _hear(self, text: str) -> None:
        request: Any = None
        if not self._voice.json and text.strip() == "help":
            self._voice.tell("help", {}, HELP.splitlines())
            return
        try:
            request = json.loads(text) if self._voice.json else typed(text)
            if request is None:
                return
            if not isinstance(request, dict):
                raise UsageError("write an object")
            answer = self.hands.do(request)
        except (UsageError, ValueError, RecursionError) as error:
            answer = {"error": str(error)}
        if isinstance(request, dict) and "id" in request:
            answer["id"] = request["id"]
        self._voice.tell("answer", answer, lines_of(answer))

    def _vote(self, op: str, approve: bool, reason: str) -> None:
        with suppress(UsageError):  # it ended meanwhile
            self._lab.vote(self._me, op, approve, reason)

    def _complain(self, text: str) -> None:
        self._voice.say((text, "yellow"), event="no-vote", reason=text)


class Voice:
    """What is said on the terminal: lines for people, or objects for programs."""

    def __init__(self, json: bool) -> None:
        self.json = json

    def say(self, *parts: object, event: str = "", **fields: object) -> None:
        """A line; without an `event` it is for people alone."""
        if not self.json:
            console.print(line(*parts))
        elif event:
            self._write({"event": event, **fields})

    def tell(self, event: str, fields: dict[str, Any], lines: list[str]) -> None:
        """An answer: as it is, or in lines."""
        if self.json:
            self._write({"event": event, **fields})
        for text in () if self.json else lines:
            console.print(line(text))

    def note(self, event: str, at: int, fields: dict[str, Any], words: Text) -> None:
        """Something that happened at `at` µs."""
        if self.json:
            self._write({"event": event, "at": at / 1e6, **fields})
        else:
            console.print(words)

    def _write(self, record: dict[str, Any]) -> None:
        console.print(json.dumps(record, ensure_ascii=True, default=str), soft_wrap=True)


def _failure(lab: Lab) -> str:
    """Why the party does not run any more; "": it runs."""
    assert isinstance(lab.world, RealWorld)
    return str(lab.world.failures[0]) if lab.world.failures else ""


def _has_joined(node: Node) -> bool:
    root = node.machine(())
    return isinstance(root, PartyMachine) and root.joined


def _reaches_all(node: Node) -> bool:
    """Whether our application runs, and every other member can be reached, by link or relay."""
    root = node.machine(())
    return isinstance(root, PartyMachine) and root.is_running and len(root.up) == node.n - 1


class _News:
    """Says each row of the trace that concerns us once, and few enough for a log to stay small
    when a member talks without end.

    Args:
        until: after so many ended operations we leave.

    Attributes:
        ended: operations that have ended here, the first of them that count.
        unvoted: kind and proposer of those that wait for our vote.
    """

    def __init__(self, lab: Lab, me: Party, until: int | None, voice: Voice) -> None:
        self._voice = voice
        self.ended: set[str] = set()
        self.unvoted: dict[str, tuple[str, Party | None]] = {}
        self._until = until or 0
        self._lab = lab
        self._trace = lab.trace
        self._me = me
        self._read = 0
        self._lines = Bucket(rate=20, burst=500, since=lab.now)
        self._left_out = 0
        self._told_failure = False

    def say(self) -> None:
        while self._read < len(self._trace.rows):
            self._read += 1
            row = self._trace.rows[self._read - 1]
            if isinstance(row, Noted) and row.actor == self._me:
                self._count(row.note)
            words = _words(row, self._me)
            if words is None:
                continue
            if not self._lines.take(self._lab.now):
                self._left_out += 1
                continue
            if self._left_out:
                text = f"{self._left_out} lines left out"
                self._voice.say((text, "dim"), event="left-out", lines=self._left_out)
                self._left_out = 0
            event, fields = _fields(row)
            self._voice.note(event, row.at, fields, words)
        if isinstance(self._trace, TailTrace):
            self._trace.flush()
            if self._trace.failure and not self._told_failure:
                self._told_failure = True
                why = f"the recording ends here: {self._trace.failure}"
                self._voice.say((why, "yellow"), event="recording-ended", reason=why)

    def _count(self, note: notes.AnyNote) -> None:
        match note:
            case notes.Heard(op, kind, by) | notes.Proposed(op, kind, by):
                self.unvoted[op] = kind, by
            case notes.Voted(op) | notes.Committed(op):
                self.unvoted.pop(op, None)
            case notes.Executed(op) | notes.Failed(op) | notes.Aborted(op) | notes.Expired(op):
                self.unvoted.pop(op, None)
                if len(self.ended) < self._until:
                    self.ended.add(op)


_SHOWN = (
    notes.Proposed, notes.Heard, notes.Voted, notes.Committed, notes.Aborted, notes.Expired,
    notes.Executed, notes.Failed, notes.Said, notes.RelayOverflow, notes.Remark,
)  # fmt: skip


def _words(row: object, me: Party) -> Text | None:
    """A row as a line of the terminal; None: of no interest here.

    Raises:
        UsageError: the row says that the server refused us.
    """
    match row:
        case Noted(actor=actor, note=note) if actor == me and isinstance(note, _SHOWN):
            fields = msgspec.structs.asdict(note).items()
            told = ", ".join(f"{k} {v}" for k, v in fields if v not in ("", (), None))
            return line((_clock(row.at), "dim"), f"  {word_of(note)}  ", (told, "dim"))
        case Linked(actor=actor, peer=peer, state=state) if actor == me:
            whom = f"party {peer}" if peer else "the server"
            why = f" ({row.detail})" if state == "closed" and row.detail else ""
            return line((_clock(row.at), "dim"), f"  {whom}: {state}{why}")
        case Blamed(party=party, reason=reason):
            return line((f"{_clock(row.at)}  party {party}: {reason}", "red"))
        case Noted(actor=actor, note=notes.NotAdmitted(reason, hint)) if actor == me:
            raise UsageError(f"the server refused us: {reason} ({hint})")
    return None


def _clock(at: int) -> str:
    return f"{at / 1e6:8.3f} s"


def _fields(row: Any) -> tuple[str, dict[str, Any]]:
    """A row that `_words` has words for, for a program."""
    match row:
        case Noted(note=note):
            fields = msgspec.to_builtins(note)
            return word_of(note), {k: v for k, v in fields.items() if k != "word"}
        case Linked(peer=peer, state=state):
            return "link", {"peer": peer, "state": state, "detail": row.detail}
        case _:
            return "blamed", {"party": row.party, "reason": row.reason}
