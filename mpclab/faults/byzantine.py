"""Byzantine parties: an honest node whose every word goes through an adversary.

The machines of a corrupted party run unchanged; what they want to *say* to others goes through
the adversary, who knows everything that the party knows, its keys included, and decides what is
said instead, to whom, and when. It stands between the machines and the links (`Node.tamper`), so
it lies by relay, where the server carries sealed boxes, just as it does on data channels.

What the adversary may **not** do, here as in the papers:

* forge another party's signature, or a certificate that needs one;
* speak as another party: the link that delivers a message stamps the sender;
* read or change what two other parties tell each other (sealed, authenticated links);
* find two inputs of one hash, or know coins before they are drawn;
* stop honest messages for ever (link faults do that, and say until when);
* change the code, the clock or the store of an honest party.

Another story. To equivocate, lie or vote twice, one has to say *something else* that is still
well formed, and signed where messages are signed. A machine whose messages need more than a
changed field offers `restated(msg, story)`: the message that this party would have sent had it
another opinion (`story` 1, 2, …), signed with its own key; None where there is no other story.
An agreement protocol offers `variant(msg, values)`, with `values` from the session above it. For
all others `altered` changes a field: a vote is flipped, a text or a value becomes another.
"""

# ruff: noqa: RUF009  `the` makes a dataclasses.field

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from mpclab.core.effects import Words
from mpclab.core.errors import UsageError
from mpclab.core.ids import SERVER, Party, Path, format_duration
from mpclab.core.variants import altered
from mpclab.core.wire import Frame, Message
from mpclab.faults.fault import (
    AdversaryContext,
    FaultTarget,
    Filter,
    Tamper,
    Where,
    a_lasting,
    a_party,
    a_rate,
    names,
    several,
    some_words,
    the,
)
from mpclab.faults.nodes import PartyFault

PLUMBING = ("mesh", "signaling")
"""The first part of paths whose messages no adversary here touches: links and heartbeats."""

some_parties = several(a_party)


# --- another story ------------------------------------------------------------------------------


@runtime_checkable
class Restating(Protocol):
    """A machine that knows what else it could have said, signed as well."""

    def restated(self, msg: Message, story: int) -> Message | None: ...


@runtime_checkable
class Agreeing(Protocol):
    """A machine whose other messages follow from other values (`Agreement.variant`)."""

    def variant(self, msg: Message, values: Mapping[bytes, bytes]) -> Message | None: ...


@runtime_checkable
class Proposing(Protocol):
    """The machine above one that agrees: it knows other values for what it submitted."""

    def other_values(self, story: int) -> Mapping[bytes, bytes]: ...


def variant(words: Words, adversary: AdversaryContext, story: int = 1) -> Words | None:
    """`words` with another message in them; None when there is nothing else to say."""
    if isinstance(words.msg, bytes):
        return None
    node = adversary.node
    other: Message | None
    machine: Any = node.machine(words.path)
    if isinstance(machine, Restating):
        other = machine.restated(words.msg, story)
    elif isinstance(machine, Agreeing):
        above: Any = node.machine(words.path[:-1])
        values = above.other_values(story) if isinstance(above, Proposing) else {}
        other = machine.variant(words.msg, values)
    else:
        other = altered(words.msg, story)
    if other is None or other == words.msg:
        return None
    return Words(words.path, words.to, other)


def reframed(frame: Frame, adversary: AdversaryContext, msg: Message) -> Frame:
    """A frame that carries `msg` instead, to the same machine in the same codec."""
    machine = adversary.node.machine(frame.path)
    codec = "msgpack" if machine is None else machine.codec
    made = Frame(adversary.number(), frame.path, msg, codec=codec)
    made.suspect = True
    return made


def size_of(words: Words, adversary: AdversaryContext) -> int:
    """How many bytes `words` take."""
    if isinstance(words.msg, bytes):
        return len(words.msg)
    machine = adversary.node.machine(words.path)
    codec = "msgpack" if machine is None else machine.codec
    return len(Frame(0, words.path, words.msg, codec=codec).body)


def kind_of(words: Words) -> str:
    """The type of the message; "?" for malformed bytes."""
    return "?" if isinstance(words.msg, bytes) else type(words.msg).__name__


# --- the kinds ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ByzantineFault(PartyFault):
    """Base: what one party does with the messages that its honest machines want to send.

    `messages` limits it to some types of message, such as [Proposal, Vote].
    """

    byzantine = True
    restates: ClassVar[bool] = False
    """It says something else, so there must be something else to say (see `variant`)."""
    messages: tuple[str, ...] | None = the(some_words, None, list)

    def ready(self, target: FaultTarget) -> None:
        # A party that is down, or not here yet, will be corrupt when it is up.
        target.corruptible(self.party)

    def begin(self, target: FaultTarget, index: int) -> None:
        target.set_tamper(self.party, Corruption(self), index)

    def end(self, target: FaultTarget, index: int) -> None:
        target.set_tamper(self.party, None, index)

    def rewrite(self, words: Words, adversary: AdversaryContext, past: list[Words]) -> list[Words]:
        """The messages sent instead of `words`; `past`: those that were to be sent before."""
        raise NotImplementedError

    def only(self) -> str:
        return f" (only {', '.join(self.messages)})" if self.messages else ""


@dataclass
class Corruption:
    """The adversary of one active `ByzantineFault`."""

    fault: ByzantineFault
    past: list[Words] = field(default_factory=list)

    KEPT = 64

    def __call__(self, words: Words, adversary: AdversaryContext) -> list[Words]:
        kinds = self.fault.messages
        if is_plumbing(words.path, words.to) or (kinds and kind_of(words) not in kinds):
            return [words]
        said = self.fault.rewrite(words, adversary, self.past)
        self.past.append(words)
        del self.past[: -self.KEPT]
        return said


def is_plumbing(path: Path, to: tuple[Party, ...]) -> bool:
    """Whether a message serves links and connections only."""
    return SERVER in to or (bool(path) and path[0] in PLUMBING)


@dataclass(frozen=True, kw_only=True)
class Silent(ByzantineFault):
    """A party listens, and says nothing."""

    kind = "silent"

    def rewrite(self, words: Words, adversary: AdversaryContext, past: list[Words]) -> list[Words]:
        return []

    def sentence(self) -> str:
        return f"party {self.party} says nothing{self.only()}"


@dataclass(frozen=True, kw_only=True)
class Equivocate(ByzantineFault):
    """A party tells one story to some and another to the rest (`to`: the upper half of them)."""

    kind = "equivocate"
    restates = True
    to: tuple[Party, ...] | None = the(some_parties, None, list)

    def rewrite(self, words: Words, adversary: AdversaryContext, past: list[Words]) -> list[Words]:
        others = [p for p in range(1, adversary.n + 1) if p != adversary.me]
        fooled = others[len(others) // 2 :] if self.to is None else self.to
        told = tuple(p for p in words.to if p in fooled)
        if not told or (other := variant(words, adversary)) is None:
            return [words]
        adversary.remark(f"tells {names(told)} another {kind_of(words)}")
        rest = tuple(p for p in words.to if p not in told)
        return [Words(words.path, rest, words.msg), Words(other.path, told, other.msg)]

    def check(self, where: Callable[[str], Where]) -> None:
        if self.to == (self.party,):
            raise where("to").wrong(f"party {self.party} cannot equivocate to itself alone")

    def sentence(self) -> str:
        whom = names(self.to) if self.to else "half of the others"
        return f"party {self.party} tells {whom} another story{self.only()}"


@dataclass(frozen=True, kw_only=True)
class Lie(ByzantineFault):
    """A party says the contrary of what it thinks, to everyone."""

    kind = "lie"
    restates = True

    def rewrite(self, words: Words, adversary: AdversaryContext, past: list[Words]) -> list[Words]:
        if not words.to or (other := variant(words, adversary)) is None:
            return [words]
        adversary.remark(f"lies in its {kind_of(words)}")
        return [other]

    def sentence(self) -> str:
        return f"party {self.party} says the contrary of what it thinks{self.only()}"


@dataclass(frozen=True, kw_only=True)
class VoteTwice(ByzantineFault):
    """A party says one thing, and then another, to everyone."""

    kind = "vote-twice"
    restates = True

    def rewrite(self, words: Words, adversary: AdversaryContext, past: list[Words]) -> list[Words]:
        if not words.to or (other := variant(words, adversary)) is None:
            return [words]
        adversary.remark(f"sends a second, different {kind_of(words)}")
        return [words, other]

    def sentence(self) -> str:
        return f"party {self.party} votes twice, and differently{self.only()}"


@dataclass(frozen=True, kw_only=True)
class Replay(ByzantineFault):
    """A party sends messages of its past again, between new ones."""

    kind = "replay"
    rate: float = the(a_rate, 0.5)

    def rewrite(self, words: Words, adversary: AdversaryContext, past: list[Words]) -> list[Words]:
        number = adversary.node.next_id
        if not past or not words.to or adversary.draw("replay?", number) >= self.rate:
            return [words]
        old = past[int(len(past) * adversary.draw("replay which", number))]
        adversary.remark(f"sends an old {kind_of(old)} again")
        return [words, Words(old.path, words.to, old.msg)]

    def sentence(self) -> str:
        return f"party {self.party} repeats old messages{self.only()}"


@dataclass(frozen=True, kw_only=True)
class Garbage(ByzantineFault):
    """A party sends malformed bytes."""

    kind = "garbage"
    rate: float = the(a_rate, 1.0)

    def rewrite(self, words: Words, adversary: AdversaryContext, past: list[Words]) -> list[Words]:
        number = adversary.node.next_id
        if not words.to or adversary.draw("garbage?", number) >= self.rate:
            return [words]
        size = size_of(words, adversary)
        noise = bytes(int(256 * adversary.draw("garbage", number, i)) for i in range(size))
        adversary.remark(f"sends {size} bytes of garbage instead of its {kind_of(words)}")
        return [Words(words.path, words.to, noise)]

    def sentence(self) -> str:
        return f"party {self.party} sends garbage{self.only()}"


@dataclass(frozen=True, kw_only=True)
class SendToSome(ByzantineFault):
    """A party speaks to some of the others only."""

    kind = "send-to-some"
    to: tuple[Party, ...] = the(some_parties, write=list)

    def rewrite(self, words: Words, adversary: AdversaryContext, past: list[Words]) -> list[Words]:
        told = tuple(p for p in words.to if p in self.to)
        return [Words(words.path, told, words.msg)]

    def sentence(self) -> str:
        return f"party {self.party} speaks to {names(self.to)} only{self.only()}"


@dataclass(frozen=True, kw_only=True)
class LastMoment(ByzantineFault):
    """A party says everything late: `delay` after it should."""

    kind = "last-moment"
    delay: int = the(a_lasting, write=format_duration)

    def rewrite(self, words: Words, adversary: AdversaryContext, past: list[Words]) -> list[Words]:
        adversary.say(self.delay, words)
        return []

    def sentence(self) -> str:
        return f"party {self.party} says everything {format_duration(self.delay)} late{self.only()}"


def _a_function(value: Any, where: Where) -> Callable[..., Any]:
    if not callable(value):
        raise where.wrong(
            f"{value!r} is not a function of two arguments; adversaries are written in Python"
        )
    return value  # type: ignore[no-any-return]


def _write_function(function: Any) -> Any:
    raise UsageError("an adversary that is written in Python cannot go into a file")


@dataclass(frozen=True, kw_only=True)
class Custom(PartyFault):
    """A party behind your own adversary: a function over what it says, or over what it does.

    `words`: a function of (words, adversary) that returns the words to say instead; words have
    `path`, `to` and `msg`. It works on links and by relay alike. `filter`: a function of
    (effects, adversary) that returns the effects to have instead; it stands at the edge of the
    party, where what goes by relay is sealed already. State belongs in an object with
    `__call__`, of which each run gets a copy.
    """

    kind = "filter"
    byzantine = True
    filter: Filter | None = the(_a_function, None, _write_function)
    words: Tamper | None = the(_a_function, None, _write_function)

    def ready(self, target: FaultTarget) -> None:
        target.corruptible(self.party)

    def check(self, where: Callable[[str], Where]) -> None:
        if (self.filter is None) == (self.words is None):
            raise where("").wrong("say words or filter: a function of yours, one of the two")

    def begin(self, target: FaultTarget, index: int) -> None:
        if self.filter is not None:
            target.set_filter(self.party, copy.deepcopy(self.filter), index)
        if self.words is not None:
            target.set_tamper(self.party, Own(copy.deepcopy(self.words)), index)

    def end(self, target: FaultTarget, index: int) -> None:
        target.set_filter(self.party, None, index)
        target.set_tamper(self.party, None, index)

    def sentence(self) -> str:
        function = self.filter or self.words
        name = getattr(function, "__name__", type(function).__name__)
        return f"party {self.party} is behind the filter {name}"


@dataclass
class Own:
    """A user's function, which is not shown what serves links and connections only."""

    function: Tamper

    def __call__(self, words: Words, adversary: AdversaryContext) -> Iterable[Words]:
        if is_plumbing(words.path, words.to):
            return [words]
        return self.function(words, adversary)
