"""Delivery: what arrived was sent, by a party that was up, to the party that received it.

Links may lose, delay and reorder messages; they make none up, and carry none back in time. Each
arrives once, unless a fault that doubles messages has begun, or somebody doubled one by hand.
A message to a party that is down, or that no link led to, arrives nowhere. A link that is open or
confirmed has two ends, and none leads to its own party.

Judged of those whose rows are in the trace; where a party runs elsewhere, what it sent is not seen.
"""

from mpclab.check.facts import Facts, MessagesGone
from mpclab.check.verdict import Verdict, ok, unknown, violated
from mpclab.core import notes
from mpclab.core.ids import SERVER, Party
from mpclab.trace import Delivered, Dropped, Fault, Linked, Noted, Row, Sent

NAME = "delivery"
STATES = frozenset({"dialing", "open", "confirmed", "relay", "closed"})
UP = frozenset({"open", "confirmed"})

Found = list[tuple[str, list[int]]]


def delivery(facts: Facts) -> Verdict:
    """What arrived was sent before, and to whom it arrived."""
    if not facts.whole:
        raise MessagesGone
    walk = _Walk(facts)
    for number, row in enumerate(facts.rows):
        walk.take(number, row)
    if walk.found:
        return violated(NAME, walk.found)
    if not walk.arrived:
        return unknown(NAME, "nothing was delivered")
    return ok(NAME, f"all {walk.arrived} messages that arrived were sent before, and to whom")


class _Walk:
    """From the first row to the last: who is up, what was sent, who knows of which link."""

    def __init__(self, facts: Facts) -> None:
        self.here = {row.actor for row in facts.rows}
        self.down: dict[Party, int] = {}  # since which row
        self.sent: dict[tuple[Party, int, Party], str] = {}  # by which way
        self.open: dict[tuple[Party, int, Party], int] = {}  # how often it has yet to arrive
        self.doubling = False  # messages may arrive more than once
        self.linked: set[tuple[Party, Party]] = set()
        self.arrived = 0
        self.found: Found = []

    def take(self, number: int, row: Row) -> None:
        match row:
            case Delivered(_, actor, sender, id):
                self._arrives(number, actor, sender, id)
            case Dropped(_, actor, sender, id):
                if sender in self.here and (sender, id, actor) not in self.sent:
                    self._wrong(f"message {id} of {_who(sender)} to {_who(actor)} was lost, and "
                                "never sent", number)  # fmt: skip
            case Sent(_, actor, id, to, via=via):
                if actor in self.down:
                    self._wrong(f"{_who(actor)} sends while it is down", self.down[actor], number)
                for receiver in to:
                    self.sent[actor, id, receiver] = via
                    self.open[actor, id, receiver] = self.open.get((actor, id, receiver), 0) + 1
            case Linked(_, actor, peer, state):
                self._link(number, actor, peer, state)
            case Noted(_, actor, (), notes.Crashed() | notes.Removed()):
                self.down[actor] = number
            case Noted(_, actor, (), notes.Started() | notes.Restarted()):
                self.down.pop(actor, None)
            case Fault(kind="duplicate", phase="begin" | "act"):
                self.doubling = True
            case Fault(phase="begin", life="crashed" | "left", parties=parties):
                self.down |= dict.fromkeys(parties, number)
            case Fault(phase="end", life="up", parties=parties):
                for party in parties:
                    self.down.pop(party, None)

    def _arrives(self, number: int, actor: Party, sender: Party, id: int) -> None:
        self.arrived += 1
        what = f"message {id} of {_who(sender)}"
        via = self.sent.get((sender, id, actor))
        if via is None and sender in self.here:
            self._wrong(f"{_who(actor)} received {what}, which was not sent to it before", number)
        elif via == "none":
            self._wrong(f"{_who(actor)} received {what}, to which nothing led", number)
        left = self.open[sender, id, actor] = self.open.get((sender, id, actor), 1) - 1
        # Who runs elsewhere and tells nothing may begin again, and count its messages anew.
        if left < 0 and sender in self.here and not self.doubling:
            self._wrong(f"{_who(actor)} received {what} more often than it was sent", number)
        if actor in self.down:
            self._wrong(f"{_who(actor)} received {what} while down", self.down[actor], number)

    def _link(self, number: int, actor: Party, peer: Party, state: str) -> None:
        if state not in STATES:
            self._wrong(f"{_who(actor)} has a link in state {state!r}", number)
        if peer == actor:
            self._wrong(f"{_who(actor)} has a link to itself", number)
        if state in UP and peer in self.here and (peer, actor) not in self.linked:
            known = f"{_who(peer)} never knew of"
            self._wrong(f"{_who(actor)} has a link to {_who(peer)} that {known}", number)
        self.linked.add((actor, peer))

    def _wrong(self, sentence: str, *rows: int) -> None:
        self.found.append((sentence, list(rows)))


def _who(party: Party) -> str:
    return "the server" if party == SERVER else f"party {party}"
