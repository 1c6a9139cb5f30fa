"""The model that is searched: what a few parties hold, what is under way, what may come next.

How it is quick: what one party does in a step depends on that party alone, so each step is done
once and remembered, and a party that comes to hold the same again *is* the same. Two events at
different parties lead to one state in either order, which is thus expanded once; no other
reduction is made.

Time: each party has its own clock, which moves only when one of its timers goes off; so a timer
may go off before or after any message, and messages of one pair may overtake each other. Coins
always fall alike.

Liars say of each message both what an honest party would and what `Agreement.variant` offers
instead; every receiver may get either, both or none first.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mpclab.consensus.agreement import Agreement, Cast, Decided, Refused, Submit, VoteWanted
from mpclab.core.effects import (
    Asked,
    Blame,
    Delivered,
    Effect,
    Event,
    Output,
    Persist,
    Send,
    Started,
    TimerFired,
)
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party, Path
from mpclab.core.node import Node
from mpclab.core.wire import Frame, Message
from mpclab.crypto.identity import Identity
from mpclab.search.canonical import digest_of

AT: Path = ("agreement",)

_IDENTITIES = {p: Identity.from_seed(p.to_bytes(32, "big")) for p in range(1, 20)}


class Still(random.Random):
    """Coins that always fall alike, so that equal machines stay equal."""

    def random(self) -> float:
        return 0.5

    def getrandbits(self, k: int, /) -> int:
        return (1 << k) // 3

    def __deepcopy__(self, memo: dict[int, Any]) -> Still:
        return self


class Step(NamedTuple):
    """One event: what happened to whom."""

    what: str  # submit, deliver, lose, timer, crash, restart
    party: Party
    text: str = ""
    message: int = -1
    cut: int = -1  # crash: after so many effects of its next step; -1: at rest


class SentMessage(NamedTuple):
    sender: Party
    receiver: Party
    frame: Frame


class Local(NamedTuple):
    """A party at rest: its node, or its store alone when it is down; and what it ever gave out."""

    node: Node | None
    stored: Mapping[Path, Mapping[str, bytes]]
    given: tuple[tuple[str, str, bytes, int | None], ...]


class Done(NamedTuple):
    """The result of a step: the party's next local state and the messages it sent, by number."""

    after: int
    sent: tuple[int, ...]
    blamed: tuple[tuple[Party, str], ...]


class State(NamedTuple):
    """Everything: local states and messages by number, and what may still be done."""

    parties: tuple[int, ...]
    network: tuple[int, ...]  # ascending; one that is there twice is under way twice
    submits: tuple[int, ...]  # those still to come
    losses: int
    timers: int
    crashes: int


class Explorer:
    """The model of one protocol: its initial state, and what can follow a state."""

    def __init__(
        self,
        protocol: type[Agreement],
        parties: int,
        submits: Mapping[Party, str],
        *,
        losses: int = 0,
        timers: int = 0,
        crashes: int = 0,
        torn: bool = False,
        liars: frozenset[Party] = frozenset(),
        options: Mapping[str, Any] | None = None,
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
        self.wishes = tuple(submits.items())
        self.locals: list[Local] = []
        self._local_numbers: dict[bytes, int] = {}
        self.messages: list[SentMessage] = []
        self._message_numbers: dict[tuple[Any, ...], int] = {}
        self._steps: dict[tuple[Any, ...], Done] = {}
        self._coins = Still()
        keys = {p: _IDENTITIES[p].public for p in self.members}
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
        )

    # --- local states and messages, each of them once ---

    def _keep(self, local: Local, digest: bytes) -> int:
        number = self._local_numbers.get(digest)
        if number is None:
            number = self._local_numbers[digest] = len(self.locals)
            self.locals.append(local)
        return number

    def _at_rest(self, p: Party, node: Node, given: tuple[Any, ...]) -> int:
        return self._keep(
            Local(node, node.stored, given), digest_of(node) + repr((p, given)).encode()
        )

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
        values = {value_of(op): value_of(op, 1) for _, op in self.wishes}
        return machine.variant(msg, values)

    # --- steps of one party, each of them once ---

    def _step(self, p: Party, number: int, event: Event, key: Any, cut: int = -1) -> Done:
        """The result of `event` in local state `number`; with `cut`, dying after `cut` effects."""
        known = self._steps.get((p, number, key, cut))
        if known is not None:
            return known
        local = self.locals[number]
        assert local.node is not None
        node = copy.deepcopy(local.node)
        if isinstance(event, TimerFired):  # its own clock goes on, and nobody else's
            node.now = max(node.now, node.timers[event.path, event.name])
        effects = list(node.step(event, node.now))
        effects += self._answer(node, effects)
        done = self._steps[p, number, key, cut] = self._absorb(p, local, node, effects, cut)
        return done

    def _answer(self, node: Node, effects: list[Effect]) -> list[Effect]:
        """The coordinator's part: every party asked for a vote approves."""
        more: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Output) and isinstance(effect.value, VoteWanted):
                ask = Cast(effect.value.op, True, "", b"approval" * 8)
                more += node.step(Asked(AT, ask), node.now)
        return more

    def _absorb(self, p: Party, before: Local, node: Node, effects: list[Effect], cut: int) -> Done:
        given, sent, blamed = before.given, list[int](), list[tuple[Party, str]]()
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
                    blamed.append((party, reason))
                case _:
                    pass
        if cut < 0:
            return Done(self._at_rest(p, node, given), tuple(sent), tuple(blamed))
        return Done(self._down(p, stored, given), tuple(sent), tuple(blamed))

    def _restart(self, p: Party, number: int) -> Done:
        known = self._steps.get((p, number, "restart", -1))
        if known is not None:
            return known
        local = self.locals[number]
        machine = self.protocol(
            _IDENTITIES[p], self._keys, valid=_is_valid, names=_name_of, **self.options
        )
        node = Node(p, self.n, machine, coins=lambda _: self._coins, at=AT, stored=local.stored)
        effects = list(node.step(Started(), 0))
        effects += self._answer(node, effects)
        done = self._steps[p, number, "restart", -1] = self._absorb(p, local, node, effects, -1)
        return done

    # --- what can follow a state ---

    def enabled(self, state: State) -> Iterator[Step]:
        """Every event that may come next, told once each."""
        for wish in state.submits:
            party, op = self.wishes[wish]
            if self.locals[state.parties[party - 1]].node is not None:
                yield Step("submit", party, f"party {party} submits {op}", wish)
        for number in sorted(set(state.network)):
            sender, receiver, frame = self.messages[number]
            words = f"{frame.kind}({said(frame.msg)}) of party {sender}"
            if self.locals[state.parties[receiver - 1]].node is not None:
                yield Step("deliver", receiver, f"party {receiver} gets {words}", number)
            if state.losses:
                yield Step("lose", receiver, f"{words} to party {receiver} is lost", number)
        for p in self.members:
            node = self.locals[state.parties[p - 1]].node
            if node is None:
                yield Step("restart", p, f"party {p} comes back")
                continue
            if state.timers:
                for _, name in node.timers:
                    yield Step("timer", p, f"timer {name} of party {p} goes off: {name}")
            if state.crashes:
                yield Step("crash", p, f"party {p} crashes")

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
                _, op = self.wishes[step.message]
                event: Event = Asked(AT, Submit(op, value_of(op)))
                key: Any = ("submit", op)
                rest_of = tuple(w for w in state.submits if w != step.message)
                state = state._replace(submits=rest_of)
            case "deliver":
                sender, _, frame = self.messages[step.message]
                event, key = Delivered(sender, frame), step.message
                state = state._replace(network=_without(state.network, step.message))
            case "timer":
                name = step.text.rpartition(": ")[2]
                node = self.locals[number].node
                assert node is not None
                path = next(path for path, known in node.timers if known == name)
                event, key = TimerFired(path, name), ("timer", path, name)
                state = state._replace(timers=state.timers - 1)
        done = self._step(p, number, event, key)
        yield step, self._after(state, p, done), done
        if self.torn and state.crashes:
            state = state._replace(crashes=state.crashes - 1)
            last = None
            for cut in range(_deeds(self.locals[number], event, self)):
                done = self._step(p, number, event, key, cut)
                if done != last:
                    last = done
                    dies = step._replace(text=f"{step.text}, and dies after effect {cut}", cut=cut)
                    yield dies, self._after(state, p, done), done

    def _placed(self, state: State, p: Party, number: int) -> State:
        return state._replace(parties=(*state.parties[: p - 1], number, *state.parties[p:]))

    def _after(self, state: State, p: Party, done: Done) -> State:
        network = tuple(sorted((*state.network, *done.sent))) if done.sent else state.network
        return self._placed(state, p, done.after)._replace(network=network)

    # --- what must hold ---

    def problem(self, state: State, done: Done | None, p: Party) -> str:
        """Which promise is broken in `state`, into which party `p` brought it; "" when none is."""
        if done is not None and p not in self.liars:
            for party, reason in done.blamed:
                if party not in self.liars:
                    return f"party {p} blames party {party}, which is honest: {reason}"
        by_op: dict[str, tuple[Party, bytes | None]] = {}
        by_place: dict[int, tuple[Party, str]] = {}
        for q in self.members:
            if q in self.liars:
                continue
            for what, op, value, index in self.locals[state.parties[q - 1]].given:
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
        return any(self.locals[number].given for number in state.parties)


# --- small things --------------------------------------------------------------------------


def value_of(op: str, version: int = 0) -> bytes:
    """One of the values that are valid for `op`."""
    return f"{op}|{version}".encode()


def said(msg: Message | None) -> str:
    """A message's fields in few words. Nothing here is a secret, and the bytes tell lies apart."""
    parts = []
    for name in msg.__struct_fields__ if msg is not None else ():
        value = getattr(msg, name)
        if isinstance(value, bytes):
            shown = value.decode() if value.isascii() and len(value) < 16 else f"{value.hex()[:8]}…"
            parts.append(f"{name}={shown}")
        elif isinstance(value, tuple):
            parts.append(f"{name}=({len(value)} items)")
        else:
            parts.append(f"{name}={value}")
    return ", ".join(parts)


def _name_of(value: bytes) -> str:
    return value.split(b"|")[0].decode(errors="replace")


def _is_valid(value: bytes) -> bool:
    return value.count(b"|") == 1 and value[-1:].isdigit()


def _without(network: tuple[int, ...], message: int) -> tuple[int, ...]:
    place = network.index(message)
    return network[:place] + network[place + 1 :]


def _with(given: tuple[Any, ...], one: tuple[str, str, bytes, int | None]) -> tuple[Any, ...]:
    """An output from before a crash comes again after it, and is not counted twice."""
    return given if one in given else (*given, one)


def _durable(effects: list[Effect], cut: int) -> list[Effect]:
    """The effects up to the `cut`-th that leaves something behind."""
    deeds = 0
    for place, effect in enumerate(effects):
        if isinstance(effect, Send | Persist | Output):
            if deeds == cut:
                return effects[:place]
            deeds += 1
    return effects


def _deeds(local: Local, event: Event, model: Explorer) -> int:
    """After how many effects a crash in the middle of this step may fall."""
    assert local.node is not None
    node = copy.deepcopy(local.node)
    if isinstance(event, TimerFired):
        node.now = max(node.now, node.timers[event.path, event.name])
    effects = list(node.step(event, node.now))
    effects += model._answer(node, effects)
    return sum(isinstance(one, Send | Persist | Output) for one in effects)
