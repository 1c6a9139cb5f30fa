"""A run of the model, told as the rows that a world would have written."""

from __future__ import annotations

from collections.abc import Iterable

from mpclab.consensus.agreement import Decided, Refused
from mpclab.core import notes
from mpclab.core.effects import (
    Asked,
    Blame,
    Delivered,
    Effect,
    Event,
    Note,
    Output,
    Persist,
    Started,
    TimerFired,
)
from mpclab.core.ids import MS, Party
from mpclab.core.wire import Frame
from mpclab.model.explorer import Explorer
from mpclab.model.fair import FairEnd
from mpclab.model.states import AT, State, Step, said
from mpclab.trace import rows
from mpclab.trace.log import Trace

STEP_TIME = 10 * MS
"""Between two steps, where they are drawn."""


class Telling:
    """Goes the way of some steps once more, and writes down what happens.

    Attributes:
        state: where it came.
    """

    def __init__(self, model: Explorer) -> None:
        assert model.telling, "the model keeps no effects"
        self.model = model
        self.state = model.initial
        self.trace = Trace()
        self.now = 0
        self.ids = dict.fromkeys(model.members, 0)
        self.flying: dict[int, list[tuple[Party, int]]] = {}  # message → those under way
        self.known: dict[Party, set[tuple[str, str]]] = {p: set() for p in model.members}
        for p in model.members:
            self.note(p, notes.Started())
        self.sent(model.initial.network)

    def take(self, step: Step) -> None:
        """Let one event happen, which the model enables."""
        self.now += STEP_TIME
        before = self.state
        plain = step._replace(cut=-1)
        told, self.state, done = next(
            found for found in self.model.follow(before, plain) if found[0].cut == step.cut
        )
        self.happened(step)
        if done is not None:
            for effect in done.effects:
                self.effect(step.party, effect)
            self.sent(done.sent)
        if step.what == "crash" or told.cut >= 0:
            self.note(step.party, notes.Crashed())

    def happened(self, step: Step) -> None:
        p = step.party
        match step.what:
            case "submit":
                self.submitted(p, step.message)
            case "deliver" | "repeat" | "lose":
                flying = self.flying[step.message]
                sender, id = flying[0] if step.what == "repeat" else flying.pop(0)
                if step.what != "lose":
                    self.trace.append(rows.Delivered(self.now, p, sender, id))
                else:
                    self.trace.append(rows.Dropped(self.now, p, sender, id, "loss"))
            case "timer":
                assert step.timer is not None
                self.trace.append(rows.Fired(self.now, p, *step.timer))
            case "restart":
                self.note(p, notes.Restarted())

    def submitted(self, p: Party, number: int) -> None:
        one = self.model.wishes[number]
        if ("proposed", one.text) not in self.known[p]:
            self.known[p].add(("proposed", one.text))
            self.note(p, notes.Proposed(one.op, "note", p, one.text))

    def effect(self, p: Party, effect: Effect) -> None:
        """What a world would have noted of an effect; the coordinator's part too."""
        match effect:
            case Note(_, note):
                self.note(p, note)
            case Persist(path, key, value):
                size = 0 if value is None else len(value)
                self.trace.append(rows.Persisted(self.now, p, path, key, size))
            case Blame(path, party, reason, strength):
                self.trace.append(rows.Blamed(self.now, p, path, party, reason, str(strength)))
            case Output(path, Decided(op, value, index)):
                if ("ended", op) not in self.known[p]:
                    self.known[p].add(("ended", op))
                    kept = notes.Committed(op, "note", index, value=value.decode())
                    self.trace.append(rows.Noted(self.now, p, path, kept))
            case Output(path, Refused(op, reason)):
                if ("ended", op) not in self.known[p]:
                    self.known[p].add(("ended", op))
                    self.trace.append(
                        rows.Noted(self.now, p, path, notes.Aborted(op, reason or "refused"))
                    )
            case _:
                pass

    def note(self, party: Party, note: notes.AnyNote) -> None:
        hosts = isinstance(note, notes.Started | notes.Crashed | notes.Restarted)
        self.trace.append(rows.Noted(self.now, party, () if hosts else AT, note))

    def sent(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            sender, receiver, frame = self.model.messages[number]
            self.flying.setdefault(number, []).append(
                (sender, self.one_sent(sender, receiver, frame))
            )

    def one_sent(self, sender: Party, receiver: Party, frame: Frame) -> int:
        """Write down that a message was sent; its number in the trace."""
        self.ids[sender] += 1
        size, kind, text = len(frame.to_bytes()), frame.kind, said(frame.msg)
        self.trace.append(
            rows.Sent(self.now, sender, self.ids[sender], (receiver,), AT, kind, size, text=text)
        )
        return self.ids[sender]

    def go_on_fairly(self) -> str:
        """Let everything come to its end with nothing going wrong; what does not, in words."""
        return _ToldEnd(self).run()


class _ToldEnd(FairEnd):
    """The end of a fair path, told."""

    def __init__(self, telling: Telling) -> None:
        super().__init__(telling.model, telling.state, now=telling.now)
        self.telling = telling
        self.under_way: dict[tuple[Party, Party, int], list[int]] = {}  # frame → its numbers
        for number, flying in telling.flying.items():
            sender, receiver, frame = telling.model.messages[number]
            self.under_way[sender, receiver, id(frame)] = [one for _, one in flying]

    def happen(self, p: Party, event: Event) -> None:
        told = self.telling
        told.now = self.now
        match event:
            case Delivered(sender, frame):
                number = self.under_way[sender, p, id(frame)].pop(0)
                told.trace.append(rows.Delivered(self.now, p, sender, number))
            case Started():
                told.note(p, notes.Restarted())
            case Asked():
                for number, one in enumerate(told.model.wishes):
                    if one.party == p:
                        told.submitted(p, number)
            case TimerFired(path, name):
                due = self.nodes[p].timers.get((path, name))
                if due is not None and due <= self.now - self.offset[p]:
                    told.trace.append(rows.Fired(self.now, p, path, name))
            case _:
                pass
        super().happen(p, event)

    def perform(self, p: Party, effects: Iterable[Effect]) -> None:
        for effect in effects:
            self.telling.effect(p, effect)
            super().perform(p, [effect])

    def send(self, src: Party, dst: Party, frame: Frame) -> None:
        number = self.telling.one_sent(src, dst, frame)
        self.under_way.setdefault((src, dst, id(frame)), []).append(number)
        super().send(src, dst, frame)


def tell(model: Explorer, steps: Iterable[Step], *, fairly: bool = False) -> tuple[Trace, State]:
    """The trace of `steps`, and the state to which they lead; `fairly`: and so on to the end."""
    telling = Telling(model)
    for step in steps:
        telling.take(step)
    if fairly:
        telling.go_on_fairly()
    return telling.trace, telling.state
