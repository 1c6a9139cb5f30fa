"""A run of the model, told as the rows that a world would have written."""

from __future__ import annotations

from mpclab.core import notes
from mpclab.core.ids import MS, Party
from mpclab.search.model import AT, Explorer, State, Step, said
from mpclab.trace import rows
from mpclab.trace.log import Trace

STEP_TIME = 10 * MS
"""Between two steps, where they are drawn."""


def trace_of(model: Explorer, steps: tuple[Step, ...]) -> Trace:
    """Go the way of `steps` once more, and write down what happens."""
    return _Teller(model).tell(steps)


class _Teller:
    """Goes the way of some steps once more, and writes down what happens."""

    def __init__(self, model: Explorer) -> None:
        self.model = model
        self.trace = Trace()
        self.now = 0
        self.ids = dict.fromkeys(model.members, 0)
        self.flying: dict[int, list[tuple[Party, int]]] = {}  # message → those under way

    def tell(self, steps: tuple[Step, ...]) -> Trace:
        model, state = self.model, self.model.initial
        for party in model.members:
            self.note(party, notes.Started())
        self.sent(state.network)
        for step in steps:
            self.now += STEP_TIME
            before = state
            state, done = next(
                (after, done)
                for told, after, done in model.follow(
                    state, step._replace(cut=-1, text=_plain(step))
                )
                if told.cut == step.cut
            )
            self.happened(step)
            if done is not None:
                self.sent(done.sent)
            self.given(before, state, step.party)
        return self.trace

    def happened(self, step: Step) -> None:
        p = step.party
        match step.what:
            case "submit":
                op = self.model.wishes[step.message][1]
                self.note(p, notes.Proposed(op, "value", p, op))
            case "deliver" | "lose":
                sender, id = self.flying[step.message].pop(0)
                if step.what == "deliver":
                    self.trace.append(rows.Delivered(self.now, p, sender, id))
                else:
                    self.trace.append(rows.Dropped(self.now, p, sender, id, "loss"))
            case "timer":
                name = step.text.rpartition(": ")[2].partition(",")[0]
                self.trace.append(rows.Fired(self.now, p, AT, name))
            case "restart":
                self.note(p, notes.Restarted())
        if step.what == "crash" or step.cut >= 0:
            self.note(p, notes.Crashed())

    def note(self, party: Party, note: notes.AnyNote) -> None:
        hosts = isinstance(note, notes.Started | notes.Crashed | notes.Restarted)
        self.trace.append(rows.Noted(self.now, party, () if hosts else AT, note))

    def sent(self, numbers: tuple[int, ...]) -> None:
        for number in numbers:
            sender, receiver, frame = self.model.messages[number]
            self.ids[sender] += 1
            size, kind, text = len(frame.to_bytes()), frame.kind, said(frame.msg)
            self.trace.append(
                rows.Sent(
                    self.now, sender, self.ids[sender], (receiver,), AT, kind, size, text=text
                )
            )
            self.flying.setdefault(number, []).append((sender, self.ids[sender]))

    def given(self, before: State, after: State, p: Party) -> None:
        local = self.model.locals
        known = local[before.parties[p - 1]].given
        for what, op, value, index in local[after.parties[p - 1]].given[len(known) :]:
            if what == "decided":
                self.note(p, notes.Decided(op, index, value.hex()[:12]))
            else:
                self.note(p, notes.Aborted(op, "refused"))


def _plain(step: Step) -> str:
    return step.text.partition(", and dies after")[0]
