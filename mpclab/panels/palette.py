"""`Palette`: every verb of a lab by keyboard. Ctrl+K, some letters, Enter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final, NamedTuple

import ipywidgets as widgets

from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import Party
from mpclab.lab import Lab
from mpclab.panels import controls
from mpclab.panels.controller import Tick
from mpclab.panels.panel import Panel
from mpclab.trace.fold import CRASHED, PAUSED, UP, State


class Command(NamedTuple):
    """`form` is what is written, as `crash 2`; `offers` gives what can be written now."""

    form: str
    does: Callable[[Lab, str], Any]
    offers: Callable[[Lab, State], Iterable[str]]


def _party(text: str, lab: Lab) -> Party:
    if not text.isdecimal():
        raise UsageError(f"{text!r} is not a party; use 1 to {lab.scenario.parties}")
    return int(text)


def _of_life(*lives: str) -> Callable[[Lab, State], Iterable[str]]:
    def offers(lab: Lab, state: State) -> Iterable[str]:
        known = state.parties
        return (str(p) for p in lab.group.present if p in known and known[p].life in lives)

    return offers


def _once(*texts: str) -> Callable[[Lab, State], Iterable[str]]:
    return lambda lab, state: texts


def _propose(lab: Lab, text: str) -> str:
    by = next(iter(lab.group.joined), 1)
    lab.propose(by=by, kind="note", text=text or "hello")
    return f"✓ party {by} proposes a note"


def _vote(lab: Lab, text: str) -> Any:
    party, _, word = text.partition(" ")
    if word not in ("approve", "reject"):
        raise UsageError("vote: write a party and approve or reject, as in vote 2 approve")
    known = [o for o in lab.state.operations.values() if o.status in ("open", "expired")]
    if not known:
        raise UsageError("vote: no proposal is open")
    return lab.vote(_party(party, lab), known[-1].op, word == "approve")


def _partition(lab: Lab, text: str) -> str:
    groups = [controls.whole_numbers("partition", side) for side in text.split("|")]
    return f"✓ injected: {lab.inject('partition', groups=groups).fault.sentence()}"


def _check(lab: Lab, _: str) -> str:
    return "; ".join(f"{v.check} {v.verdict}" for v in lab.check())


def _halves(lab: Lab, state: State) -> Iterable[str]:
    everyone = list(map(str, lab.group.everyone))
    middle = len(everyone) // 2
    if middle:
        yield f"{', '.join(everyone[:middle])} | {', '.join(everyone[middle:])}"


COMMANDS: Final = {
    "propose": Command("propose TEXT", _propose, _once("hello")),
    "vote": Command(
        "vote PARTY approve", _vote,
        lambda lab, state: (f"{p} {w}" for p, v in lab.group.votes.items() if v == "hand"
                            for w in ("approve", "reject")),
    ),
    "crash": Command("crash PARTY", lambda lab, p: lab.crash(_party(p, lab)), _of_life(UP, PAUSED)),
    "restart": Command(
        "restart PARTY", lambda lab, p: lab.restart(_party(p, lab)), _of_life(CRASHED)
    ),
    "pause": Command("pause PARTY", lambda lab, p: lab.pause(_party(p, lab)), _of_life(UP)),
    "resume": Command("resume PARTY", lambda lab, p: lab.resume(_party(p, lab)), _of_life(PAUSED)),
    "partition": Command("partition 1, 2 | 3, 4", _partition, _halves),
    "heal": Command("heal", lambda lab, _: lab.heal(), _once("")),
    "spawn": Command("spawn", lambda lab, _: lab.spawn(), _once("")),
    "join": Command("join", lambda lab, _: lab.join(wait=False), _once("")),
    "check": Command("check", _check, _once("")),
    "step": Command("step", lambda lab, _: lab.step(), _once("")),
    "pace": Command(
        "pace 1", lambda lab, text: lab.pace(float(text)), _once("0", "0.01", "0.1", "1", "10")
    ),
    "checkpoint": Command("checkpoint NAME", lambda lab, name: lab.checkpoint(name), _once("")),
    "rewind": Command(
        "rewind NAME or 1.5s", lambda lab, to: lab.rewind(to),
        lambda lab, state: lab.checkpoints,
    ),
    "switch": Command(
        "switch BRANCH", lambda lab, name: lab.switch(name),
        lambda lab, state: (
            [b for b in lab.branches if b != lab.branch] if lab.branch_count > 1 else []
        ),
    ),
}  # fmt: skip


def run_command(lab: Lab, line: str) -> str:
    """Do what a line says: a command's word, and what it needs.

    Raises:
        UsageError: an unknown word, or what the verb itself refuses.
    """
    word, _, rest = line.strip().partition(" ")
    if word not in COMMANDS:
        raise UsageError(f"{word!r} is no command{nearest(word, COMMANDS)}")
    try:
        answer = COMMANDS[word].does(lab, rest.strip())
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(f"{word}: {error}; write {COMMANDS[word].form}") from None
    return str(answer)


class Palette(Panel):
    """One line in which every verb can be written; it offers what can be done now."""

    title: ClassVar[str] = ""
    name: ClassVar[str] = "palette"

    def build(self) -> list[Any]:
        self.line = controls.field(
            widgets.Combobox(placeholder="command (Ctrl+K): crash 2, rewind 1.5s, …"),
            tip="every verb by its word; Enter does it", width="300px", name="command",
        )  # fmt: skip
        self.line.continuous_update = False
        self.line.observe(self._given, "value")
        return [self.line]

    def frame(self) -> Any:
        raise UsageError("a command line is part of another panel")

    def _given(self, change: Any) -> None:
        line = change["new"].strip()
        if line:
            self.line.value = ""
            self.controller.do(line, lambda lab: run_command(lab, line))

    def refresh(self, now: Tick) -> None:
        controls.show(self.heading, False)
        self.card.remove_class("mpclab-card")
        if now.rows or now.is_new:
            self.line.options = tuple(
                f"{word} {offer}".strip()
                for word, command in COMMANDS.items()
                for offer in command.offers(now.lab, now.state)
            )
