"""The model that is searched: what a few parties hold, what is under way, what may come next.

How it is quick: what one party does in a step depends on that party alone, so each step is done
once and remembered, and a party that comes to hold the same again *is* the same. Two events at
different parties lead to one state in either order, which is thus expanded once. (`reduction` says
which orders need not be tried at all.)

In whose order votes came is forgotten: dictionaries that hold the same are the same. A protocol may
depend on that order; so each local state keeps a second node that came there by another way, and a
step in which the two differ raises `OrderMatters`. `exact=True` tells all orders apart.

Time: each party has its own clock, which moves only when one of its timers goes off; so a timer
may go off before or after any message, and messages of one pair may overtake each other. Coins
always fall alike.

Liars say of each message both what an honest party would and what `Agreement.variant` offers
instead; every receiver may get either, both or none first.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mpclab.consensus.agreement import Agreement, Cast, Decided, Refused, Submit, VoteWanted
from mpclab.core.effects import (
    Asked,
    Blame,
    Delivered,
    Effect,
    Event,
    Note,
    Output,
    Persist,
    Send,
    Started,
    TimerFired,
)
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party, Path
from mpclab.core.node import Node
from mpclab.core.notes import BecameLeader
from mpclab.core.wire import Frame, Message
from mpclab.model.canonical import digest_of
from mpclab.model.copying import Copies
from mpclab.model.states import (
    AT,
    IDENTITIES,
    Done,
    Given,
    Local,
    OrderMatters,
    SentMessage,
    State,
    Step,
    Still,
    said,
    value_of,
    wish,
)

LOOKS = 4
"""How many nodes that hold the same as a local state are compared with it, order and all."""


class Explorer:
    """The model of one protocol: its initial state, and what can follow a state."""

    def __init__(
        self,
        protocol: type[Agreement],
        parties: int,
        submits: Mapping[Party, str | Sequence[str]],
        *,
        losses: int = 0,
        timers: int = 0,
        crashes: int = 0,
        repeats: int = 0,
        torn: bool = False,
        liars: frozenset[Party] = frozenset(),
        options: Mapping[str, Any] | None = None,
        exact: bool = False,
        telling: bool = False,
    ) -> None:
        protocol.check_size(parties)
        for party in (*submits, *liars):
            if not 1 <= party <= parties:
                raise UsageError(f"party {party}: use 1 to {parties}")
        self.protocol = protocol
        self.n = parties
        self.members = range(1, parties + 1)
        self.liars = liars
        self.torn = torn
        self.options = dict(options or {})
        self.wishes = tuple(
            wish(party, text)
            for party, texts in submits.items()
            for text in ((texts,) if isinstance(texts, str) else texts)
        )
        self.exact = exact
        self.telling = telling
        self.budgets = losses, timers, crashes, repeats
        self.locals: list[Local] = []
        self._local_numbers: dict[bytes, int] = {}
        self.messages: list[SentMessage] = []
        self._message_numbers: dict[tuple[Any, ...], int] = {}
        self._steps: dict[tuple[Any, ...], Done] = {}
        self._copies = Copies()
        self._written: dict[int, bytes] = {}  # the node of a local state
        self._ways: dict[int, bytes] = {}  # its exact digest
        self._looked: dict[int, int] = {}  # how often another that holds the same was looked at
        self._twins: dict[int, bytes] = {}  # one that holds it in another order
        self.coins = Still()
        keys = {p: IDENTITIES[p].public for p in self.members}
        self._keys = keys
        parties_at_first: list[int] = []
        network: list[int] = []
        for p in self.members:
            self._keep(Local(None, {}, ()), b"down" + bytes([p]))
            done = self._restart(p, self._local_numbers[b"down" + bytes([p])])
            parties_at_first.append(done.after)
            network += done.sent
        self.initial = State(
            tuple(parties_at_first),
            tuple(sorted(network)),
            tuple(range(len(self.wishes))),
            losses,
            timers,
            crashes,
            repeats,
        )

    # --- local states and messages, each of them once ---

    def _keep(self, local: Local, digest: bytes) -> int:
        number = self._local_numbers.get(digest)
        if number is None:
            number = self._local_numbers[digest] = len(self.locals)
            self.locals.append(local)
        return number

    def _at_rest(
        self,
        p: Party,
        node: Node,
        stored: Mapping[Path, Mapping[str, bytes]],
        given: tuple[Given, ...],
    ) -> int:
        # What a machine archives is on the disk alone, which its node does not know.
        archived = [
            (path, sorted(items.items() - node.stored.get(path, {}).items()))
            for path, items in sorted(stored.items())
        ]
        told = repr((p, given, archived)).encode()
        number = self._keep(Local(node, stored, given), digest_of(node, exact=self.exact) + told)
        known = self.locals[number].node
        assert known is not None
        if not self.exact and known is not node and number not in self._twins:
            looked = self._looked[number] = self._looked.get(number, 0) + 1
            if looked <= LOOKS:
                if number not in self._ways:
                    self._ways[number] = digest_of(known)
                if digest_of(node) != self._ways[number]:
                    self._twins[number] = self._copies.write(node)
        return number

    def _down(self, p: Party, stored: Mapping[Path, Mapping[str, bytes]], given: Any) -> int:
        return self._keep(
            Local(None, stored, given), b"down" + repr((p, sorted(stored.items()), given)).encode()
        )

    def _send(self, node: Node, to: tuple[Party, ...], frame: Frame) -> Iterator[int]:
        sender = node.me
        said: list[Message] = [frame.msg] if frame.msg is not None else []
        if sender in self.liars and said:
            other = self._other(node, said[0])
            said += [other] if other is not None and other != said[0] else []
        for receiver in to:
            for msg in said:
                key = (sender, receiver, frame.path, msg)
                number = self._message_numbers.get(key)
                if number is None:
                    number = self._message_numbers[key] = len(self.messages)
                    sent = Frame(number + 1, frame.path, msg, codec="msgpack")
                    self.messages.append(SentMessage(sender, receiver, sent))
                yield number

    def _other(self, node: Node, msg: Message) -> Message | None:
        """A message that a liar could send instead."""
        machine = node.machine(AT)
        assert isinstance(machine, Agreement)
        values = {
            value_of(one.op, one.version): value_of(one.op, 1 - one.version) for one in self.wishes
        }
        return machine.variant(msg, values)

    # --- steps of one party, each of them once ---

    def step(self, p: Party, number: int, event: Event, key: Any, cut: int = -1) -> Done:
        """The result of `event` in local state `number`; with `cut`, dying after `cut` effects."""
        known = self._steps.get((number, key, cut))
        if known is not None:
            return known
        local = self.locals[number]
        assert local.node is not None
        node, effects = self.attempt(number, event)
        done = self._absorb(p, local, node, effects, cut)
        if (twin := self._twins.get(number)) is not None:
            other, effects = self._happen(self._copies.read(twin), event)
            if self._absorb(p, local, other, effects, cut)[:2] != done[:2]:
                raise OrderMatters(f"party {p}, in whose order dictionaries were filled")
        self._steps[number, key, cut] = done
        return done

    def known_step(self, number: int, key: Any) -> Done:
        """The result of a step that was done before."""
        return self._steps[number, key, -1]

    def attempt(self, number: int, event: Event) -> tuple[Node, list[Effect]]:
        """The node of a local state after `event`, and all that it then wants."""
        written = self._written.get(number)
        if written is None:
            node = self.locals[number].node
            assert node is not None
            written = self._written[number] = self._copies.write(node)
        return self._happen(self._copies.read(written), event)

    def _happen(self, node: Node, event: Event) -> tuple[Node, list[Effect]]:
        if isinstance(event, TimerFired):  # its own clock goes on, and nobody else's
            node.now = max(node.now, node.timers[event.path, event.name])
        effects = list(node.step(event, node.now))
        return node, effects + self.answer(node, effects)

    def answer(self, node: Node, effects: list[Effect]) -> list[Effect]:
        """The coordinator's part: every party asked for a vote approves."""
        more: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Output) and isinstance(effect.value, VoteWanted):
                ask = Cast(effect.value.op, True, "", b"approval" * 8)
                more += node.step(Asked(AT, ask), node.now)
        return more

    def _absorb(self, p: Party, before: Local, node: Node, effects: list[Effect], cut: int) -> Done:
        given, sent = before.given, list[int]()
        stored = {path: dict(items) for path, items in before.stored.items()}
        performed = effects if cut < 0 else _durable(effects, cut)
        for effect in performed:
            match effect:
                case Send(to, frame):
                    sent += self._send(node, to, frame)
                case Persist(path, name, None):
                    stored.get(path, {}).pop(name, None)
                case Persist(path, name, value):
                    assert value is not None
                    stored.setdefault(path, {})[name] = value
                case Output(_, Decided(op, value, index)):
                    given = _with(given, ("decided", op, value, index))
                case Output(_, Refused(op)):
                    given = _with(given, ("refused", op, b"", None))
                case Blame(_, int(party), reason):
                    given = _with(given, ("blames", str(party), reason.encode(), None))
                case Note(_, BecameLeader(int(term))):
                    given = _with(given, ("leads", str(term), b"", None))
                case _:
                    pass
        told = tuple(performed) if self.telling else ()
        if cut < 0:
            return Done(self._at_rest(p, node, stored, given), tuple(sent), told)
        return Done(self._down(p, stored, given), tuple(sent), told)

    def _restart(self, p: Party, number: int) -> Done:
        known = self._steps.get((number, "restart", -1))
        if known is not None:
            return known
        local = self.locals[number]
        node = self.begin(p, local.stored, self.coins)
        effects = list(node.step(Started(), 0))
        effects += self.answer(node, effects)
        done = self._steps[number, "restart", -1] = self._absorb(p, local, node, effects, -1)
        return done

    def begin(
        self, p: Party, stored: Mapping[Path, Mapping[str, bytes]], coins: random.Random
    ) -> Node:
        """A new life of a party, with what it had stored."""
        machine = self.protocol(
            IDENTITIES[p], self._keys, valid=_is_valid, names=_name_of, **self.options
        )
        return Node(p, self.n, machine, coins=lambda _: coins, at=AT, stored=stored)

    # --- what can follow a state ---

    def enabled(self, state: State) -> Iterator[Step]:
        """Every event that may come next, told once each."""
        for number in state.submits:
            one = self.wishes[number]
            if self.locals[state.parties[one.party - 1]].node is not None:
                yield Step("submit", one.party, f"party {one.party} submits {one.text}", number)
        for number in sorted(set(state.network)):
            receiver = self.messages[number].receiver
            if self.locals[state.parties[receiver - 1]].node is not None:
                yield Step("deliver", receiver, self.words(number), number)
                if state.repeats:
                    again = self.words(number, "gets, not for the last time,")
                    yield Step("repeat", receiver, again, number)
            if state.losses:
                yield Step("lose", receiver, self.words(number, "never gets"), number)
        for p in self.members:
            node = self.locals[state.parties[p - 1]].node
            if node is None:
                yield Step("restart", p, f"party {p} comes back")
                continue
            if state.timers:
                for path, name in node.timers:
                    text = f"timer {name} of party {p} goes off"
                    yield Step("timer", p, text, timer=(path, name))
            if state.crashes:
                yield Step("crash", p, f"party {p} crashes")

    def words(self, number: int, verb: str = "gets") -> str:
        """`party 2 gets PaxosAccept(op=a, …) of party 1`."""
        sender, receiver, frame = self.messages[number]
        return f"party {receiver} {verb} {frame.kind}({said(frame.msg)}) of party {sender}"

    def follow(self, state: State, step: Step) -> Iterator[tuple[Step, State, Done | None]]:
        """The state after `step`; with `torn`, also those in which its party dies in the middle."""
        p = step.party
        number = state.parties[p - 1]
        match step.what:
            case "lose":
                rest = _without(state.network, step.message)
                yield step, state._replace(network=rest, losses=state.losses - 1), None
                return
            case "crash":
                local = self.locals[number]
                down = self._down(p, local.stored, local.given)
                fewer = state._replace(crashes=state.crashes - 1)
                yield step, self._placed(fewer, p, down), None
                return
            case "restart":
                done = self._restart(p, number)
                yield step, self._after(state, p, done), done
                return
            case "submit":
                one = self.wishes[step.message]
                event: Event = Asked(AT, Submit(one.op, value_of(one.op, one.version)))
                key: Any = ("submit", step.message)
                rest_of = tuple(w for w in state.submits if w != step.message)
                state = state._replace(submits=rest_of)
            case "deliver" | "repeat":
                sender, _, frame = self.messages[step.message]
                event, key = Delivered(sender, frame), step.message
                if step.what == "repeat":
                    state = state._replace(repeats=state.repeats - 1)
                else:
                    state = state._replace(network=_without(state.network, step.message))
            case "timer":
                assert step.timer is not None
                event, key = TimerFired(*step.timer), ("timer", *step.timer)
                state = state._replace(timers=state.timers - 1)
        done = self.step(p, number, event, key)
        yield step, self._after(state, p, done), done
        if self.torn and state.crashes:
            state = state._replace(crashes=state.crashes - 1)
            last = None
            for cut in range(_deeds(number, event, self)):
                done = self.step(p, number, event, key, cut)
                if done != last:
                    last = done
                    dies = step._replace(text=f"{step.text}, and dies after effect {cut}", cut=cut)
                    yield dies, self._after(state, p, done), done

    def go(self, state: State, step: Step) -> tuple[State, tuple[int, ...]]:
        """The state after a step that may be cut, and the messages sent in it."""
        for told, after, done in self.follow(state, step._replace(cut=-1)):
            if told.cut == step.cut:
                return after, done.sent if done is not None else ()
        raise UsageError(f"{step.text} cannot end so")

    def _placed(self, state: State, p: Party, number: int) -> State:
        return state._replace(parties=(*state.parties[: p - 1], number, *state.parties[p:]))

    def _after(self, state: State, p: Party, done: Done) -> State:
        network = tuple(sorted((*state.network, *done.sent))) if done.sent else state.network
        return self._placed(state, p, done.after)._replace(network=network)

    # --- what must hold ---

    def problem(self, state: State) -> str:
        """What an honest party broke; "": nothing. Once broken, it stays so."""
        by_op: dict[str, tuple[Party, bytes | None]] = {}
        by_place: dict[int, tuple[Party, str]] = {}
        leads: dict[str, Party] = {}
        for q in self.members:
            if q in self.liars:
                continue
            for what, op, value, index in self.locals[state.parties[q - 1]].given:
                if what == "blames":
                    if int(op) not in self.liars:
                        return f"party {q} blames party {op}, which is honest: {value.decode()}"
                elif what == "leads":
                    if (other := leads.setdefault(op, q)) != q:
                        return f"parties {other} and {q} both lead term {op}"
                else:
                    ended = value if what == "decided" else None
                    other, known = by_op.setdefault(op, (q, ended))
                    if known != ended:
                        return f"parties {other} and {q} end {op} differently"
                if index is not None:
                    other, here = by_place.setdefault(index, (q, op))
                    if here != op:
                        return f"place {index} is {here} at party {other} and {op} at party {q}"
        return ""

    def has_decided(self, state: State) -> bool:
        """Whether somebody gave something out."""
        return any(
            one[0] in ("decided", "refused")
            for number in state.parties
            for one in self.locals[number].given
        )

    def is_quiet(self, state: State) -> bool:
        """Nothing is under way, nobody is down, and everything was submitted."""
        return (
            not state.network
            and not state.submits
            and all(self.locals[number].node is not None for number in state.parties)
        )


# --- small things --------------------------------------------------------------------------


def _name_of(value: bytes) -> str:
    return value.split(b"|")[0].decode(errors="replace")


def _is_valid(value: bytes) -> bool:
    return value.count(b"|") == 1 and value[-1:].isdigit()


def _without(network: tuple[int, ...], message: int) -> tuple[int, ...]:
    place = network.index(message)
    return network[:place] + network[place + 1 :]


def _with(given: tuple[Given, ...], one: Given) -> tuple[Given, ...]:
    """An output from before a crash comes again after it, and is not counted twice. In what order
    they came is of no interest."""
    return given if one in given else tuple(sorted((*given, one), key=repr))


def _durable(effects: list[Effect], cut: int) -> list[Effect]:
    """The effects up to the `cut`-th that leaves something behind."""
    deeds = 0
    for place, effect in enumerate(effects):
        if isinstance(effect, Send | Persist | Output):
            if deeds == cut:
                return effects[:place]
            deeds += 1
    return effects


def _deeds(number: int, event: Event, model: Explorer) -> int:
    """After how many effects a crash in the middle of this step may fall."""
    _, effects = model.attempt(number, event)
    return sum(isinstance(one, Send | Persist | Output) for one in effects)
