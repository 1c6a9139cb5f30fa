"""`mpclab party`: one party of a session, in a process of its own, on any machine."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping

import msgspec

from mpclab.cli.attached import die_with_parent, serve
from mpclab.cli.show import console
from mpclab.core import notes
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.core.notes import word_of
from mpclab.lab.keys import load_key
from mpclab.lab.lab import Lab
from mpclab.trace.fold import State
from mpclab.trace.rows import Blamed, Linked, Noted
from mpclab.worlds.real.world import RealWorld

_LOOK = 0.05  # seconds between two looks at the trace


def be_party(args: argparse.Namespace) -> int:
    """Join, vote, and say what happens, until Ctrl-C or `--until` operations are settled."""
    if args.attached:
        die_with_parent()
    identity = load_key(args.key) if args.key else None
    lab = Lab(
        world="websocket" if args.relay else "webrtc",
        url=args.url,
        parties=args.parties,
        session=args.session,
        policy=args.policy,
        agreement=args.agreement,
        store=args.store,
        plugins=tuple(args.plugin),
        **({"threshold": args.threshold} if args.threshold else {}),
    )
    with lab:
        if identity is not None:
            lab.group.given[args.id] = identity
        lab.group.pinned.update(_pins(args.peer, args.parties))
        if isinstance(lab.world, RealWorld):
            lab.world.first_frame = args.first_frame
        lab.spawn(args.id, votes=args.vote)
        if args.attached:
            return serve(lab, args.id, joined=args.joined)
        public = lab.group.identity(args.id).public.hex()
        console.print(f"party {args.id} of {args.parties}, key [bold]{public}[/]")
        lab.join()
        return _follow(lab, args)


def _pins(texts: list[str], n: int) -> Mapping[Party, bytes]:
    pins = {}
    for text in texts:
        party, _, key = text.partition("=")
        try:
            number, raw = int(party), bytes.fromhex(key)
        except ValueError:
            number, raw = 0, b""
        if not 1 <= number <= n or len(raw) != 32:
            raise UsageError(f"--peer {text}: write ID=KEY, with 1 to {n} and 64 hex digits")
        pins[number] = raw
    return pins


def _follow(lab: Lab, args: argparse.Namespace) -> int:
    news = _News(lab, args.id)
    proposed = args.propose is None
    interactive = args.vote == "hand" and sys.stdin.isatty()
    try:
        while True:
            news.say()
            state = lab.state
            if not proposed and _all_linked(state, args.id, args.parties):
                proposed = True
                lab.propose(by=args.id, kind="note", text=args.propose)
            if interactive:
                _ask_for_votes(lab, args.id)
            ended = [o for o in state.operations.values() if o.standing.get(args.id) in _ENDED]
            if args.until is not None and len(ended) >= args.until:
                lab.wait(0.5)  # others may still need our answers
                news.say()
                return 0
            time.sleep(_LOOK)
    except KeyboardInterrupt:
        lab.leave(args.id)
        console.print("left the session")
        return 0


class _News:
    """Says each row of the trace that concerns us once."""

    def __init__(self, lab: Lab, me: Party) -> None:
        self._rows = lab.trace.rows
        self._me = me
        self._read = 0

    def say(self) -> None:
        while self._read < len(self._rows):
            self._read += 1
            _say(self._rows[self._read - 1], self._me)


_ENDED = ("executed", "failed", "aborted", "expired")
_SHOWN = (
    notes.Proposed,
    notes.Heard,
    notes.Voted,
    notes.Committed,
    notes.Aborted,
    notes.Expired,
    notes.Executed,
    notes.Failed,
    notes.Said,
)


def _say(row: object, me: Party) -> None:
    match row:
        case Noted(note=notes.NotAdmitted(reason, hint)):
            raise UsageError(f"the server refused us: {reason}{f' ({hint})' if hint else ''}")
        case Noted(actor=actor, note=note) if actor == me and isinstance(note, _SHOWN):
            fields = msgspec.structs.asdict(note).items()
            told = ", ".join(f"{k} {v}" for k, v in fields if v not in ("", (), None))
            console.print(f"[dim]{row.at / 1e6:8.3f} s[/]  {word_of(note)}  [dim]{told}[/]")
        case Linked(actor=actor, peer=peer, state=state) if actor == me:
            whom = f"party {peer}" if peer else "the server"
            console.print(f"[dim]{row.at / 1e6:8.3f} s[/]  {whom}: {state}")
        case Blamed(party=party, reason=reason):
            console.print(f"[red]{row.at / 1e6:8.3f} s  party {party}: {reason}[/]")


def _all_linked(state: State, me: Party, n: int) -> bool:
    return all(
        state.links.get((me, p)) in ("confirmed", "relay") for p in range(1, n + 1) if p != me
    )


def _ask_for_votes(lab: Lab, me: Party) -> None:
    for op, one in list(lab.state.operations.items()):
        if me not in one.votes and one.standing.get(me) == "open":
            answer = console.input(f"approve {one.kind} by party {one.by} ({op})? [y/n] ")
            lab.vote(me, op, answer.strip().lower().startswith("y"), "not wanted here")
