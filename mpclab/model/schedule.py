"""A run of the model in words, line by line, as a scenario's `schedule` has it; read and written.

    party 1 submits a
    party 2 gets message 1 of party 1: PaxosPrepare
    party 2 gets, not for the last time, message 2 of party 1: PaxosAccept
    party 3 never gets message 1 of party 1: PaxosPrepare
    timer retry of party 2 goes off
    party 2 crashes
    party 2 comes back
    party 1 gets message 3 of party 2: PaxosPromise, and dies after 1 effect
    and so on, fairly

Message k of party q to party p is the k-th that q ever sent to p. The last line stands for whatever
else happens when nothing goes wrong any more (`fair`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.model.explorer import Explorer
from mpclab.model.states import State, Step
from mpclab.model.telling import Telling

FAIRLY = "and so on, fairly"

_FORMS = {
    "submit": re.compile(r"party (?P<p>\d+) submits (?P<text>.+)"),
    "deliver": re.compile(r"party (?P<p>\d+) gets message (?P<k>\d+) of party (?P<q>\d+)(: .*)?"),
    "repeat": re.compile(
        r"party (?P<p>\d+) gets, not for the last time, "
        r"message (?P<k>\d+) of party (?P<q>\d+)(: .*)?"
    ),
    "lose": re.compile(
        r"party (?P<p>\d+) never gets message (?P<k>\d+) of party (?P<q>\d+)(: .*)?"
    ),
    "timer": re.compile(r"timer (?P<text>.+) of party (?P<p>\d+) goes off"),
    "crash": re.compile(r"party (?P<p>\d+) crashes"),
    "restart": re.compile(r"party (?P<p>\d+) comes back"),
}
_VERBS = {"deliver": "gets", "repeat": "gets, not for the last time,", "lose": "never gets"}
_CUT = re.compile(r"(?P<line>.*), and dies after (?P<cut>\d+) effects?")


class _Mail:
    """Which message is the k-th of a pair."""

    def __init__(self, model: Explorer) -> None:
        self.model = model
        self.sent: dict[tuple[Party, Party], list[int]] = defaultdict(list)
        self.gone: dict[tuple[Party, Party], set[int]] = defaultdict(set)
        self.add(model.initial.network)

    def add(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            sender, receiver, _ = self.model.messages[number]
            self.sent[sender, receiver].append(number)

    def take(self, number: int, *, goes: bool = True) -> int:
        """The k of a message that arrives or is lost now, and mostly is no longer under way."""
        sender, receiver, _ = self.model.messages[number]
        pair = sender, receiver
        k = next(
            k
            for k, one in enumerate(self.sent[pair], 1)
            if one == number and k not in self.gone[pair]
        )
        if goes:
            self.gone[pair].add(k)
        return k

    def number(self, sender: Party, receiver: Party, k: int) -> int:
        """The message that is the k-th of a pair; -1: there is none under way."""
        pair = sender, receiver
        if not 1 <= k <= len(self.sent[pair]) or k in self.gone[pair]:
            return -1
        return self.sent[pair][k - 1]


def write(model: Explorer, steps: Sequence[Step], *, fairly: bool = False) -> tuple[str, ...]:
    """The lines of a run."""
    mail, lines, state = _Mail(model), [], model.initial
    for step in steps:
        p, message = step.party, model.messages[step.message] if step.message >= 0 else None
        match step.what:
            case "deliver" | "repeat" | "lose":
                assert message is not None
                verb = _VERBS[step.what]
                k = mail.take(step.message, goes=step.what != "repeat")
                line = (
                    f"party {p} {verb} message {k} of party {message.sender}: {message.frame.kind}"
                )
            case "submit":
                line = f"party {p} submits {model.wishes[step.message].text}"
            case "timer":
                assert step.timer is not None
                line = f"timer {step.timer[1]} of party {p} goes off"
            case "crash":
                line = f"party {p} crashes"
            case _:
                line = f"party {p} comes back"
        if step.cut >= 0:
            line += f", and dies after {step.cut} effect{'s' * (step.cut != 1)}"
        lines.append(line)
        state, sent = model.go(state, step)
        mail.add(sent)
    return (*lines, FAIRLY) if fairly else tuple(lines)


def follow(model: Explorer, lines: Sequence[str]) -> Telling:
    """Let the model go the way of `lines`, and tell it.

    Raises:
        UsageError: a line is none, or what it says cannot happen there; names it.
    """
    mail, telling = _Mail(model), Telling(model)
    for i, line in enumerate(lines):
        if line == FAIRLY:
            if i + 1 < len(lines):
                raise UsageError(f"schedule[{i}]: {FAIRLY!r} is the last line")
            telling.go_on_fairly()
            break
        step = _read(model, telling.state, mail, line, i)
        _, sent = model.go(telling.state, step)
        telling.take(step)
        if step.what in ("deliver", "lose"):
            mail.take(step.message)
        mail.add(sent)
    return telling


def _read(model: Explorer, state: State, mail: _Mail, line: str, i: int) -> Step:
    cut, rest = -1, line
    if found := _CUT.fullmatch(line):
        cut, rest = int(found["cut"]), found["line"]
    matches = ((what, form.fullmatch(rest)) for what, form in _FORMS.items())
    what, words = next(((what, m.groupdict()) for what, m in matches if m), ("", {}))
    if not what:
        raise UsageError(f"schedule[{i}]: {line!r} is not a line of a schedule")
    p = int(words["p"])
    wanted = -1
    if "k" in words:
        wanted = mail.number(int(words["q"]), p, int(words["k"]))
        if wanted < 0:
            raise UsageError(f"schedule[{i}]: {line!r}: no such message is under way")
    for step in model.enabled(state):
        if (step.what, step.party) != (what, p) or (wanted >= 0 and step.message != wanted):
            continue
        if what == "submit" and model.wishes[step.message].text != words["text"]:
            continue
        if what == "timer" and (step.timer is None or step.timer[1] != words["text"]):
            continue
        cuts = [told.cut for told, _, _ in model.follow(state, step)] if cut >= 0 else [cut]
        if cut in cuts:
            return step._replace(cut=cut)
    raise UsageError(f"schedule[{i}]: {line!r} cannot happen here")
