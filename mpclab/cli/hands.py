"""What a party's own user does while it runs: by typing, by JSON lines, or by a program's answer.

Whoever approves sees the whole proposal first: its sentence, and every parameter that was signed.
"""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import Any, Final

import msgspec

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.lab.lab import Lab
from mpclab.lab.outcome import FINAL

HELP: Final = """\
  propose KIND name=value …   propose an operation (kinds: propose)
  show [OP]                   what waits for my vote, or one operation, whole
  approve OP                  and what I approve is what `show` shows
  reject OP [why]
  history                     what was committed, and the chain's head
  keys                        the shared keys that I know
  members                     who can be reached
  tell N text · say text      a line for one, or for all
  leave                       give my seat up, and end"""
APPROVE_WITHIN: Final = 120.0
"""Seconds that a program of `--approve-with` may take."""
_APPROVERS: Final = 4
"""Runs of that program at once: whoever proposes much starts no more."""
APPROVED, REJECTED = 0, 1
LONGEST_LINE: Final = 1 << 20


class Lines:
    """What is typed, or written by a program, read beside everything else."""

    def __init__(self) -> None:
        self._lines: SimpleQueue[str] = SimpleQueue()
        threading.Thread(target=self._read, name="mpclab input", daemon=True).start()

    def _read(self) -> None:
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")
        while text := sys.stdin.readline(LONGEST_LINE):
            self._lines.put(text)

    def take(self) -> str | None:
        """The next line that has come; None: none yet."""
        try:
            return self._lines.get_nowait()
        except Empty:
            return None


class Hands:
    """Does for one party what its user wants.

    Args:
        names: what we call members, by key.
    """

    def __init__(self, lab: Lab, me: Party, names: Mapping[bytes, str]) -> None:
        self._lab = lab
        self._me = me
        self._names = names
        self.wants_to_leave = False

    def do(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One thing, and its answer.

        Raises:
            UsageError: it cannot be done; says why.
        """
        lab, me = self._lab, self._me
        if not _is_text(request):
            raise UsageError("half of a surrogate pair is no text")
        try:
            match request:
                case {"do": "propose", "kind": str(kind), **rest}:
                    params = rest.get("params", {})
                    if not isinstance(params, dict):
                        raise UsageError("params: write an object of names and values")
                    # Not as keywords: a parameter may be called as an argument of ours.
                    return {"proposed": lab.group.propose(me, kind, params).id}
                case {"do": "vote", "op": str(op), "approve": bool(approve), **rest}:
                    one = self._one(op)
                    lab.vote(me, one["op"], approve, str(rest.get("reason", "")))
                    return {"voted": one}
                case {"do": "show", "op": str(op)}:
                    return {"operation": self._one(op)}
                case {"do": "show"}:
                    return {"waiting": [o for o in self._all() if is_waiting(o)]}
                case {"do": "history"}:
                    view = lab.group.session_of(me)
                    if view is None:
                        raise UsageError("the session has not begun")
                    lines = [msgspec.to_builtins(entry) for entry in view.history]
                    return {"history": lines, "head": view.head}
                case {"do": "keys"}:
                    return {"keys": [msgspec.to_builtins(key) for key in lab.keys(me)]}
                case {"do": "members"}:
                    return {"members": self._members()}
                case {"do": "tell", "to": int(to), "text": str(text)}:
                    lab.tell(me, to, text)
                    return {"told": to}
                case {"do": "say", "text": str(text)}:
                    lab.broadcast(me, text)
                    return {"told": 0}
                case {"do": "leave"}:
                    self.wants_to_leave = True
                    return {"left": True}
        except (TypeError, ValueError, LookupError) as error:
            raise UsageError(str(error)) from error
        raise UsageError("no such command, or something is missing; try help")

    def waiting(self, op: str) -> dict[str, Any] | None:
        """An operation that waits for our vote, whole; None: it does not, or not any more."""
        found = next((o for o in self._all() if o["op"] == op), None)
        return found if found is not None and is_waiting(found) else None

    def _all(self) -> list[dict[str, Any]]:
        view = self._lab.group.session_of(self._me)
        return [self._whole(one) for one in view.operations] if view is not None else []

    def _one(self, op: str) -> dict[str, Any]:
        """The operation of that id, or of an id that begins so and no other does."""
        found = [o for o in self._all() if o["op"].startswith(op)] if op else []
        exact = [o for o in found if o["op"] == op]
        if len(exact or found) != 1:
            raise UsageError(f"operation {op!r}: {'several begin so' if found else 'none is so'}")
        return (exact or found)[0]

    def _whole(self, view: Any) -> dict[str, Any]:
        """All that was proposed, in plain values."""
        return {
            "op": view.op, "kind": view.kind, "by": view.by, "by_name": self._name(view.by),
            "text": view.text, "params": _plain(dict(view.params)), "status": view.status,
            "mine": view.mine, "reason": view.reason, "result": view.result,
            "votes": [{"party": v.party, "approve": v.approve, "reason": v.reason}
                      for v in view.votes],
        }  # fmt: skip

    def _name(self, party: Party) -> str:
        key = self._lab.group.key_of(party)
        return self._names.get(key, "") if key else ""

    def _members(self) -> list[dict[str, Any]]:
        view = self._lab.group.session_of(self._me)
        up = () if view is None else view.up
        return [
            {"party": party, "name": self._name(party), "reachable": party in up,
             "key": (self._lab.group.key_of(party) or b"").hex()}
            for party in self._lab.group.everyone
        ]  # fmt: skip


def _is_text(value: Any) -> bool:
    """Whether all texts in it can be written as bytes: JSON may have what no text has."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def is_waiting(operation: Mapping[str, Any]) -> bool:
    """Whether it waits for our vote."""
    return operation["mine"] is None and operation["status"] not in (*FINAL, "committed")


def typed(text: str) -> dict[str, Any] | None:
    """What a line that somebody typed wants; None: nothing.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{text.strip()[:80]!r}: {error}") from error
    match words:
        case []:
            return None
        case ["propose", kind, *given]:
            params = {}
            for word in given:
                name, sign, value = word.partition("=")
                if not sign:
                    raise UsageError(f"{word!r}: write name=value")
                params[name] = _value(value)
            return {"do": "propose", "kind": kind, "params": params}
        case ["approve", op]:
            return {"do": "vote", "op": op, "approve": True}
        case ["reject", op, *why]:
            return {"do": "vote", "op": op, "approve": False, "reason": " ".join(why)}
        case ["show", op]:
            return {"do": "show", "op": op}
        case ["show" | "history" | "keys" | "members" | "leave" as verb]:
            return {"do": verb}
        case ["tell", to, *said] if to.isdecimal() and said:
            return {"do": "tell", "to": int(to), "text": " ".join(said)}
        case ["say", *said] if said:
            return {"do": "say", "text": " ".join(said)}
        case ["propose"]:
            from mpclab.operations import OPERATIONS

            raise UsageError(f"propose what? {', '.join(OPERATIONS)}")
    raise UsageError(f"{text.strip()[:80]!r} is no command; try help")


def _value(text: str) -> Any:
    """A parameter as it was typed: JSON where it is some, else text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, str | int | bool | None) else str(value)


def lines_of(answer: Mapping[str, Any]) -> list[str]:
    """An answer for people."""
    match answer:
        case {"operation": one} | {"voted": one}:
            return shown(one)
        case {"waiting": ones}:
            return [text for one in ones for text in shown(one)] or ["nothing waits for my vote"]
        case {"history": entries, "head": head}:
            told = [f"{e['index']}. {e['kind']} by party {e['by']}: {e['text']}" for e in entries]
            return [*told, f"head {head}"]
        case {"keys": keys}:
            return [
                f"{k['name'] or k['op']}: {k['suite']}, {k['threshold']} of {k['holders']}, "
                f"{k['public']}" for k in keys
            ] or ["no key yet"]  # fmt: skip
        case {"members": members}:
            return [
                f"party {m['party']} {m['name']}: "
                f"{'reachable' if m['reachable'] else 'not reachable'}, key {m['key'] or 'unknown'}"
                for m in members
            ]
        case _:
            return [", ".join(f"{k} {v}" for k, v in answer.items())]


def shown(operation: Mapping[str, Any]) -> list[str]:
    """An operation, whole: what is approved is what stands here."""
    who = f"party {operation['by']}" + f" ({operation['by_name']})" * bool(operation["by_name"])
    return [
        f"{operation['op']}: {operation['kind']} by {who}, {operation['status']}",
        f"    {operation['text']}",
        *(f"    {name} = {json.dumps(value)}" for name, value in operation["params"].items()),
    ]


class Approver:
    """Asks a program about each operation that waits for our vote: it reads the operation as JSON,
    and says by its exit status whether we approve: 0 yes, 1 no (its first line is the reason);
    anything else, or taking too long, and we do not vote.

    Args:
        command: the program and its arguments, as a shell would split them; no shell runs.
        vote: what to do with its answer: operation, whether, reason.
        complain: what to say when it gives none.
    """

    def __init__(
        self,
        command: str,
        vote: Callable[[str, bool, str], None],
        complain: Callable[[str], None],
    ) -> None:
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"--approve-with {command!r}: {error}") from error
        if not self._command:
            raise UsageError("--approve-with: name a program")
        self._vote = vote
        self._complain = complain
        self._asked: set[str] = set()
        self._waiting: SimpleQueue[tuple[str, str]] = SimpleQueue()
        self._workers = 0
        self._answers: SimpleQueue[tuple[str, int | None, str]] = SimpleQueue()

    def ask(self, operation: Mapping[str, Any]) -> None:
        """Ask about one, once."""
        op = operation["op"]
        if op not in self._asked:
            self._asked.add(op)
            self._waiting.put((op, json.dumps(operation)))
            if self._workers < _APPROVERS:
                self._workers += 1
                threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            self._run(*self._waiting.get())

    def _run(self, op: str, text: str) -> None:
        try:
            ran = subprocess.run(
                self._command, input=text, capture_output=True, text=True, check=False,
                timeout=APPROVE_WITHIN, errors="replace",
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            self._answers.put((op, None, str(error)))
            return
        first = (ran.stdout.splitlines() or [""])[0][:200]
        self._answers.put((op, ran.returncode, first))

    def settle(self) -> None:
        """Vote as it has answered meanwhile."""
        while True:
            try:
                op, status, words = self._answers.get_nowait()
            except Empty:
                return
            if status in (APPROVED, REJECTED):
                self._vote(op, status == APPROVED, words or "the approver says no")
            else:
                why = words if status is None else f"it ended with {status}"
                self._complain(f"no vote on {op}: {self._command[0]}: {why}")
