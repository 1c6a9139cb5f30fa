"""Which deliveries need not be tried in every order: a partial-order reduction.

Theory (Godefroid, "Partial-order methods for the verification of concurrent systems", LNCS 1032,
1996; Peled, "Ten years of partial order reduction", CAV 1998): in a state it is enough to follow
a *persistent* set of its events, one that nothing outside can interfere with, whatever else
happens first. Here it is always a single delivery, of a message m to a party p:

* What happens at other parties never interferes with m: it changes neither p nor m.
* At p, m must commute with every event e that may ever come before it, in every local state in
  which that may be: both orders lead to one local state, and to the same messages.

What may ever happen at p is over-approximated once, party by party: all local states that it can
reach if any message that anybody could ever send to it arrives at any time, any number of times,
and its submits and timers likewise. (No product of the parties is built, so this is small.) If it
does not stay small, no reduction is made.

Why nothing is lost: what is broken stays broken (`Explorer.problem` reads what was given out, and
that only grows). Take a run to a broken state. If m is delivered in it, m commutes to its front; if
not, m can be put at its front, and the run then ends in the broken state after m, which is as
broken. A run cannot put others off for ever: where following m alone leads to a state that is
already known, all events are followed (Peled's condition against ignoring).

Two local states of a party that no event tells apart, nor any that follows it, are one (a
bisimulation): who was late with a vote that nobody counts any more makes no difference.

A crash commutes with no delivery at its party, and losses compete for their number, so where a
run may have crashes, losses or repetitions, no reduction is made.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from mpclab.consensus.agreement import Submit
from mpclab.core.effects import Asked, Delivered, Event, TimerFired
from mpclab.core.ids import Party
from mpclab.model.explorer import Explorer
from mpclab.model.states import AT, State, Step, value_of

Place = tuple[int, int]
"""A local state's number, and how many timers went off at its party so far."""
Key = Any

MOST_STEPS = 20_000
"""Local steps, for all parties together: then it is given up."""


class Reduction:
    """The deliveries that may be followed alone, by local state of their receiver; and which local
    states are one."""

    def __init__(
        self, model: Explorer, most_steps: int = MOST_STEPS, seconds: float = 20.0
    ) -> None:
        self.model = model
        self.after: dict[Place, dict[Key, Place]] = {}
        self.steps = 0
        self._unsafe: dict[int, set[int]] = {}
        self.end = time.process_time() + seconds
        self.alike: dict[int, int] = {}
        self.found = not any((model.budgets[0], *model.budgets[2:])) and self._close(most_steps)
        if self.found:
            self._merge()

    def alone(self, state: State) -> Step | None:
        """A delivery that is enough to follow in `state`, if there is one."""
        if not self.found:
            return None
        for number in state.network:
            receiver = self.model.messages[number].receiver
            if state.parties[receiver - 1] not in self._bad(number, receiver):
                return Step("deliver", receiver, self.model.words(number), number)
        return None

    # --- all that may ever be, party by party ---

    def _close(self, most_steps: int) -> bool:
        model = self.model
        places: dict[Party, list[Place]] = {p: [] for p in model.members}
        inbox: dict[Party, list[int]] = {p: [] for p in model.members}
        known: set[int] = set()
        self.of = places

        def arrive(place: Place, p: Party) -> None:
            if place not in self.after:
                self.after[place] = {}
                places[p].append(place)

        def put(numbers: tuple[int, ...]) -> None:
            for number in numbers:
                if number not in known:
                    known.add(number)
                    inbox[model.messages[number].receiver].append(number)

        put(model.initial.network)
        for p in model.members:
            arrive((model.initial.parties[p - 1], 0), p)
        seen: dict[Party, tuple[int, int]] = dict.fromkeys(model.members, (0, 0))
        while any(seen[p] != (len(places[p]), len(inbox[p])) for p in model.members):
            for p in model.members:
                seen[p] = (len(places[p]), len(inbox[p]))
                for place in places[p]:  # grows meanwhile
                    for key, event in self._events(p, place, inbox[p]):
                        if key in self.after[place]:
                            continue
                        self.steps += 1
                        if self.steps > most_steps or time.process_time() > self.end:
                            return False
                        done = model.step(p, place[0], event, key)
                        put(done.sent)
                        here = (done.after, place[1] + isinstance(event, TimerFired))
                        self.after[place][key] = here
                        arrive(here, p)
        self.inbox = inbox
        return True

    def _events(self, p: Party, place: Place, inbox: list[int]) -> Iterator[tuple[Key, Event]]:
        model = self.model
        for number in inbox:
            sent = model.messages[number]
            yield number, Delivered(sent.sender, sent.frame)
        for k, one in enumerate(model.wishes):
            if one.party == p:
                yield ("submit", k), Asked(AT, Submit(one.op, value_of(one.op, one.version)))
        node = model.locals[place[0]].node
        if node is not None and place[1] < model.budgets[1]:
            for path, name in node.timers:
                yield ("timer", path, name), TimerFired(path, name)

    # --- local states that nothing tells apart ---

    def _merge(self) -> None:
        """Find the coarsest bisimulation by refining a partition: two local states are alike if
        they gave out the same, and every event leads from both to the same messages and to local
        states that are alike. `alike` has one for all of a kind."""
        model, block = self.model, dict[Place, int]()
        forms: dict[Any, int] = {}
        for place in self.after:
            local = model.locals[place[0]]
            form = local.given, local.node is None, tuple(sorted(map(repr, self.after[place])))
            block[place] = forms.setdefault(form, len(forms))
        while True:
            finer: dict[Any, int] = {}
            refined = {}
            for place, events in self.after.items():
                moves = tuple(
                    (key, model.known_step(place[0], key).sent, block[there])
                    for key, there in sorted(events.items(), key=lambda item: repr(item[0]))
                )
                refined[place] = finer.setdefault((block[place], moves), len(finer))
            if len(finer) == len(set(block.values())):
                break
            block = refined
        self.block = block
        of_local: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for (local_number, timers), one in block.items():
            of_local[local_number].append((timers, one))
        first: dict[Any, int] = {}
        for local_number, kinds in of_local.items():
            kind = tuple(sorted(kinds))
            self.alike[local_number] = first.setdefault(kind, local_number)

    def merged(self, state: State) -> State:
        """The state with one local state for all that are alike."""
        alike = self.alike
        return state._replace(parties=tuple(alike.get(p, p) for p in state.parties))

    # --- what commutes ---

    def _bad(self, number: int, p: Party) -> set[int]:
        """The local states of p from which one can come, without message `number`, to where that
        does not commute with something."""
        known = self._unsafe.get(number)
        if known is not None:
            return known
        before: dict[Place, list[Place]] = defaultdict(list)
        stack: list[Place] = []
        for place in self.of[p]:
            for key, there in self.after[place].items():
                if key != number:
                    before[there].append(place)
            if any(
                key != number and not self._commute(place, number, key) for key in self.after[place]
            ):
                stack.append(place)
        bad = set(stack)
        while stack:
            for place in before[stack.pop()]:
                if place not in bad:
                    bad.add(place)
                    stack.append(place)
        found = self._unsafe[number] = {place[0] for place in bad}
        return found

    def _commute(self, place: Place, one: Key, other: Key) -> bool:
        there, here = self.after[place][one], self.after[place][other]
        ends = self.after[there].get(other), self.after[here].get(one)
        if ends[0] is None or ends[1] is None or self.block[ends[0]] != self.block[ends[1]]:
            return False
        step = self.model.known_step
        first = (*step(place[0], one).sent, *step(there[0], other).sent)
        last = (*step(place[0], other).sent, *step(here[0], one).sent)
        return sorted(first) == sorted(last)
