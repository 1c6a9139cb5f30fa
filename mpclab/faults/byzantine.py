"""Byzantine parties: an honest node behind a filter over its effects.

The machines of a corrupted party run unchanged; what they want to *send* goes through the
adversary, who knows everything that the party knows, its keys included, and decides what is
sent instead, to whom, and when.

What the adversary may **not** do, here as in the papers:

* forge another party's signature, or a certificate that needs one;
* speak as another party: the link that delivers a message stamps the sender;
* read or change what two other parties tell each other (sealed, authenticated links);
* find two inputs of one hash, or know coins before they are drawn;
* stop honest messages for ever (link faults do that, and say until when);
* change the code, the clock or the store of an honest party.

Another story. To equivocate, lie or vote twice, one has to say *something else* that is still
well formed, and signed where messages are signed. A machine whose messages need more than a
changed field offers `retold(msg, story)`: the message that this party would have sent had it
another opinion (`story` 1, 2, …), signed with its own key; None where there is no other story.
For all others `altered` changes a field: a vote is flipped, a text or a value becomes another.

Limit: a filter sees effects, and a frame that travels by the server is sealed before it becomes
one. So a party lies on its links only; the trace says so where a message went by relay.
"""

# ruff: noqa: RUF009  `the` makes a dataclasses.field

import copy
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mpclab.core.effects import Effect, Send
from mpclab.core.errors import UsageError
from mpclab.core.ids import SERVER, Party, format_duration
from mpclab.core.wire import Frame, Message
from mpclab.faults.fault import (
    Filter,
    Insider,
    Stage,
    Where,
    a_lasting,
    a_party,
    a_rate,
    a_word,
    names,
    several,
    the,
)
from mpclab.faults.nodes import PartyFault

PLUMBING = ("mesh", "signaling")
"""The first part of paths whose messages no adversary here touches: links and heartbeats."""

some_parties = several(a_party)
some_words = several(a_word)


# --- another story ------------------------------------------------------------------------------


def retell(frame: Frame, insider: Insider, story: int = 1) -> Frame | None:
    """`frame` with another story in it, under a fresh number; None when there is none."""
    if frame.msg is None:
        return None
    retold = getattr(insider.node.machine(frame.path), "retold", altered)
    other = retold(frame.msg, story)
    return None if other is None else reframed(frame, insider, other)


def reframed(frame: Frame, insider: Insider, msg: Message) -> Frame:
    """A frame that carries `msg` instead, to the same machine in the same codec."""
    machine = insider.node.machine(frame.path)
    codec = "msgpack" if machine is None else machine.codec
    return Frame(insider.number(), frame.path, msg, codec=codec)


_NAMES = frozenset({"op", "id", "session", "kind", "attempt", "signature", "key", "public"})


def altered(msg: Any, story: int = 1) -> Any:
    """`msg` with one thing changed; None when it says nothing that could be said otherwise.

    The first of: a truth value (flipped), a text, bytes (same length). Names and signatures
    stay. Nested messages are searched last.
    """
    fields = {f: getattr(msg, f) for f in msg.__struct_fields__ if f not in _NAMES}
    for name, value in fields.items():
        if isinstance(value, bool):
            return msgspec.structs.replace(msg, **{name: value ^ bool(story % 2)})
    for name, value in fields.items():
        if isinstance(value, str) and value:
            return msgspec.structs.replace(msg, **{name: f"{value}, version {story + 1}"})
        if isinstance(value, bytes) and value:
            other = bytes([value[0] ^ (story & 0xFF or 1)]) + value[1:]
            return msgspec.structs.replace(msg, **{name: other})
    for name, value in fields.items():
        if isinstance(value, msgspec.Struct):
            inner = altered(value, story)
            if inner is not None:
                return msgspec.structs.replace(msg, **{name: inner})
    return None


# --- the kinds ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ByzantineFault(PartyFault):
    """Base: what one party does with the messages that its honest machines want to send.

    `messages` limits it to some types of message, such as [Proposal, Vote].
    """

    messages: tuple[str, ...] | None = the(some_words, None, list)

    def ready(self, stage: Stage) -> None:
        """Always: a party that is down, or not here yet, will be corrupt when it is up."""

    def begin(self, stage: Stage, index: int) -> None:
        stage.set_filter(self.party, Corruption(self), index)

    def end(self, stage: Stage, index: int) -> None:
        stage.set_filter(self.party, None, index)

    def twist(self, send: Send, insider: Insider, past: list[Frame]) -> list[Effect]:
        """What is done instead of `send`; `past` are frames that were sent before."""
        raise NotImplementedError

    def only(self) -> str:
        return f" (only {', '.join(self.messages)})" if self.messages else ""


@dataclass
class Corruption:
    """The filter of one active `ByzantineFault`."""

    fault: ByzantineFault
    past: list[Frame] = field(default_factory=list)
    hindered: bool = False  # whether the trace says that something went by relay

    KEPT = 64

    def __call__(self, effects: list[Effect], insider: Insider) -> list[Effect]:
        done: list[Effect] = []
        for effect in effects:
            if type(effect) is not Send or not self._concerns(effect):
                done.append(effect)
            elif effect.via == "link":
                done += self.fault.twist(effect, insider, self.past)
                self.past.append(effect.frame)
                del self.past[: -self.KEPT]
            else:
                done.append(effect)
                if effect.via == "relay" and not self.hindered:
                    self.hindered = True
                    insider.remark(f"cannot change its {effect.frame.kind}: it goes by relay")
        return done

    def _concerns(self, send: Send) -> bool:
        frame, kinds = send.frame, self.fault.messages
        if SERVER in send.to or (frame.path and frame.path[0] in PLUMBING):
            return False
        return kinds is None or frame.kind in kinds


@dataclass(frozen=True, kw_only=True)
class Silent(ByzantineFault):
    """A party listens, and says nothing."""

    kind = "silent"

    def twist(self, send: Send, insider: Insider, past: list[Frame]) -> list[Effect]:
        return []

    def sentence(self) -> str:
        return f"party {self.party} says nothing{self.only()}"


@dataclass(frozen=True, kw_only=True)
class Equivocate(ByzantineFault):
    """A party tells one story to some and another to the rest (`to`: the upper half of them)."""

    kind = "equivocate"
    to: tuple[Party, ...] | None = the(some_parties, None, list)

    def twist(self, send: Send, insider: Insider, past: list[Frame]) -> list[Effect]:
        others = [p for p in range(1, insider.n + 1) if p != insider.me]
        fooled = others[len(others) // 2 :] if self.to is None else self.to
        told = tuple(p for p in send.to if p in fooled)
        if not told or (frame := retell(send.frame, insider)) is None:
            return [send]
        insider.remark(f"tells {names(told)} another {send.frame.kind}")
        rest = tuple(p for p in send.to if p not in told)
        return [*([Send(rest, send.frame)] if rest else []), Send(told, frame)]

    def sentence(self) -> str:
        whom = names(self.to) if self.to else "half of the others"
        return f"party {self.party} tells {whom} another story{self.only()}"


@dataclass(frozen=True, kw_only=True)
class Lie(ByzantineFault):
    """A party says the contrary of what it thinks, to everyone."""

    kind = "lie"

    def twist(self, send: Send, insider: Insider, past: list[Frame]) -> list[Effect]:
        if (frame := retell(send.frame, insider)) is None:
            return [send]
        insider.remark(f"lies in its {send.frame.kind}")
        return [Send(send.to, frame)]

    def sentence(self) -> str:
        return f"party {self.party} says the contrary of what it thinks{self.only()}"


@dataclass(frozen=True, kw_only=True)
class VoteTwice(ByzantineFault):
    """A party says one thing, and then another, to everyone."""

    kind = "vote-twice"

    def twist(self, send: Send, insider: Insider, past: list[Frame]) -> list[Effect]:
        if (frame := retell(send.frame, insider)) is None:
            return [send]
        insider.remark(f"sends a second, different {send.frame.kind}")
        return [send, Send(send.to, frame)]

    def sentence(self) -> str:
        return f"party {self.party} votes twice, and differently{self.only()}"


@dataclass(frozen=True, kw_only=True)
class Replay(ByzantineFault):
    """A party sends messages of its past again, between new ones."""

    kind = "replay"
    rate: float = the(a_rate, 0.5)

    def twist(self, send: Send, insider: Insider, past: list[Frame]) -> list[Effect]:
        if not past or insider.draw("replay?", send.frame.id) >= self.rate:
            return [send]
        old = past[int(len(past) * insider.draw("replay which", send.frame.id))]
        if old.msg is None:
            return [send]
        insider.remark(f"sends its {old.kind} number {old.id} again")
        return [send, Send(send.to, reframed(old, insider, old.msg))]

    def sentence(self) -> str:
        return f"party {self.party} repeats old messages{self.only()}"


@dataclass(frozen=True, kw_only=True)
class Garbage(ByzantineFault):
    """A party sends bytes that are no message."""

    kind = "garbage"
    rate: float = the(a_rate, 1.0)

    def twist(self, send: Send, insider: Insider, past: list[Frame]) -> list[Effect]:
        frame = send.frame
        if insider.draw("garbage?", frame.id) >= self.rate:
            return [send]
        noise = bytes(
            int(256 * insider.draw("garbage", frame.id, i)) for i in range(len(frame.body))
        )
        insider.remark(f"sends {len(noise)} bytes of garbage instead of its {frame.kind}")
        return [Send(send.to, Frame(insider.number(), frame.path, body=noise))]

    def sentence(self) -> str:
        return f"party {self.party} sends garbage{self.only()}"


@dataclass(frozen=True, kw_only=True)
class SendToSome(ByzantineFault):
    """A party speaks to some of the others only."""

    kind = "send-to-some"
    to: tuple[Party, ...] = the(some_parties, write=list)

    def twist(self, send: Send, insider: Insider, past: list[Frame]) -> list[Effect]:
        told = tuple(p for p in send.to if p in self.to)
        return [Send(told, send.frame)] if told else []

    def sentence(self) -> str:
        return f"party {self.party} speaks to {names(self.to)} only{self.only()}"


@dataclass(frozen=True, kw_only=True)
class LastMoment(ByzantineFault):
    """A party says everything late: `delay` after it should."""

    kind = "last-moment"
    delay: int = the(a_lasting, write=format_duration)

    def twist(self, send: Send, insider: Insider, past: list[Frame]) -> list[Effect]:
        insider.later(self.delay, [send])
        return []

    def sentence(self) -> str:
        return f"party {self.party} says everything {format_duration(self.delay)} late{self.only()}"


def _a_filter(value: Any, where: Where) -> Filter:
    if not callable(value):
        raise where.wrong(
            f"{value!r} is not a function of (effects, insider); filters are written in Python"
        )
    return value  # type: ignore[no-any-return]


def _write_filter(filter: Filter) -> Any:
    raise UsageError("filter: a filter that is written in Python cannot go into a file")


@dataclass(frozen=True, kw_only=True)
class Custom(PartyFault):
    """A party behind your own filter: a function of (effects, insider) that returns effects.

    State belongs in an object with `__call__`, of which each run gets a copy.
    """

    kind = "filter"
    filter: Filter = the(_a_filter, write=_write_filter)

    def ready(self, stage: Stage) -> None:
        """Always, as for every Byzantine party."""

    def begin(self, stage: Stage, index: int) -> None:
        stage.set_filter(self.party, copy.deepcopy(self.filter), index)

    def end(self, stage: Stage, index: int) -> None:
        stage.set_filter(self.party, None, index)

    def sentence(self) -> str:
        name = getattr(self.filter, "__name__", type(self.filter).__name__)
        return f"party {self.party} is behind the filter {name}"
