"""Faults of links: what happens to messages on their way. All act as link rules.

Every kind takes `from`, `to` and `both`: lists of parties, absent for all. `both: true` means
the way back too. "All" are the links between parties; those to the signaling server are meant
only where the word `server` says so.

A frame that meets a fault is either dropped (and the trace says why), or comes later, twice, or
damaged. Damage is *noticed*: links are authenticated, so flipped bits never become a message.
"""

# ruff: noqa: RUF009  `the` makes a dataclasses.field

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mpclab.core.errors import UsageError
from mpclab.core.ids import SECOND, SERVER, Party, format_duration
from mpclab.faults.fault import (
    Fault,
    FaultTarget,
    Where,
    a_bool,
    a_count,
    a_lasting,
    a_place,
    a_rate,
    names,
    several,
    some_words,
    the,
    write_places,
)
from mpclab.faults.link_rules import Delivery, Draw
from mpclab.faults.network import Delay, parse_delay

some_places = several(a_place)


def _read_delay(value: Any, where: Where) -> Delay:
    return parse_delay(value, where.field)


@dataclass(frozen=True, kw_only=True)
class LinkFault(Fault):
    """Base: which links, and which kinds of message (`messages`, such as [RaftAppendEntries];
    what the server passes on is sealed, and is of another kind)."""

    from_: tuple[Party, ...] | None = the(some_places, None, write_places)
    to: tuple[Party, ...] | None = the(some_places, None, write_places)
    both: bool = the(a_bool, False)
    messages: tuple[str, ...] | None = the(some_words, None, list)
    links_only: ClassVar[bool] = False
    """It strikes data channels, and not what the server passes on."""

    def begin(self, target: FaultTarget, index: int) -> None:
        target.link_rules.add(index, On(self, index, {}))

    def end(self, target: FaultTarget, index: int) -> None:
        target.link_rules.remove(index)

    def act(self, delivery: Delivery, message: "Message") -> Delivery:
        """The delivery of one message on a link of ours."""
        raise NotImplementedError

    def concerns(self, src: Party, dst: Party) -> bool:
        """Whether this fault is about messages from `src` to `dst`."""
        return self._one_way(src, dst) or (self.both and self._one_way(dst, src))

    def _one_way(self, src: Party, dst: Party) -> bool:
        out = src != SERVER if self.from_ is None else src in self.from_
        return out and (dst != SERVER if self.to is None else dst in self.to)

    def parties(self) -> tuple[Party, ...]:
        return tuple(sorted({*(self.from_ or ()), *(self.to or ())}))

    def where(self) -> str:
        """`from party 1 to parties 2 and 3, both ways`; "" for all links."""
        only = f" (only {', '.join(self.messages)})" if self.messages else ""
        if self.from_ is None and self.to is None:
            return " between all parties" + only
        out = f" from {names(self.from_)}" if self.from_ is not None else ""
        into = f" to {names(self.to)}" if self.to is not None else ""
        return out + into + (" and back" if self.both else "") + only


@dataclass(slots=True)
class Message:
    """One message to one receiver, and what a rule remembers of its link."""

    src: Party
    dst: Party
    size: int
    now: int
    draw: Callable[[str], float]  # keyed by the fault too: two faults draw independently
    handle: int
    memory: dict[tuple[Party, Party], int]


@dataclass
class On:
    """A link fault that is up: its rule. `memory` holds one number for each
    link: until when it is busy, or whether it is in a bad moment."""

    fault: LinkFault
    handle: int
    memory: dict[tuple[Party, Party], int] = field(default_factory=dict)

    @property
    def links_only(self) -> bool:
        return self.fault.links_only

    @property
    def messages(self) -> tuple[str, ...] | None:
        return self.fault.messages

    def judge(
        self, src: Party, dst: Party, size: int, now: int, draw: Draw, delivery: Delivery
    ) -> Delivery:
        if not self.fault.concerns(src, dst):
            return delivery

        def own(purpose: str) -> float:
            return draw(f"{purpose} {self.handle}")

        return self.fault.act(delivery, Message(src, dst, size, now, own, self.handle, self.memory))


# --- time -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ExtraDelay(LinkFault):
    """Messages take longer, by a constant or by a draw; they keep their order."""

    kind = "delay"
    delay: Delay = the(_read_delay, write=str)

    def act(self, delivery: Delivery, message: Message) -> Delivery:
        extra = self.delay.of(message.draw("delay"), message.draw("delay, second draw"))
        return delivery._replace(delay=delivery.delay + extra)

    def sentence(self) -> str:
        return f"messages{self.where()} are delayed by {self.delay}"


@dataclass(frozen=True, kw_only=True)
class Jitter(LinkFault):
    """Delays vary by up to so much; messages keep their order."""

    kind = "jitter"
    up_to: int = the(a_lasting, write=format_duration)

    def act(self, delivery: Delivery, message: Message) -> Delivery:
        return delivery._replace(delay=delivery.delay + int(self.up_to * message.draw("jitter")))

    def sentence(self) -> str:
        return f"delays{self.where()} vary by up to {format_duration(self.up_to)}"


@dataclass(frozen=True, kw_only=True)
class Bandwidth(LinkFault):
    """Links carry only so many bytes per second; what is more queues up."""

    kind = "bandwidth"
    bytes_per_second: int = the(a_count(1, 10**12))

    def act(self, delivery: Delivery, message: Message) -> Delivery:
        link = message.src, message.dst
        start = max(message.now, message.memory.get(link, 0))
        done = start + message.size * SECOND // self.bytes_per_second
        message.memory[link] = done
        return delivery._replace(delay=delivery.delay + done - message.now)

    def sentence(self) -> str:
        return f"links{self.where()} carry {self.bytes_per_second} bytes per second"


@dataclass(frozen=True, kw_only=True)
class Reorder(LinkFault):
    """Some messages wait for up to `within` while others overtake them."""

    kind = "reorder"
    rate: float = the(a_rate, 0.5)
    within: int = the(a_lasting, 50_000, format_duration)

    def act(self, delivery: Delivery, message: Message) -> Delivery:
        # All are let go unordered, so that one which waits keeps none behind it waiting.
        extra = 0
        if message.draw("reorder?") < self.rate:
            extra = int(self.within * message.draw("reorder"))
        return delivery._replace(delay=delivery.delay + extra, unordered=True)

    def sentence(self) -> str:
        within = format_duration(self.within)
        return f"{self.rate:.0%} of messages{self.where()} wait up to {within} and are overtaken"


@dataclass(frozen=True, kw_only=True)
class Hold(LinkFault):
    """Messages wait, and all arrive once it is healed."""

    kind = "hold"

    def act(self, delivery: Delivery, message: Message) -> Delivery:
        return delivery._replace(held=message.handle)

    def sentence(self) -> str:
        return f"messages{self.where()} are held back"


# --- loss and damage ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Loss(LinkFault):
    """Messages vanish, one by one or (`burst`: mean number in a row) in bursts.

    Bursts are those of Gilbert (1960): each link is in a good state, where nothing is lost, or
    in a bad one, where everything is; it changes between messages so that bad stretches are
    `burst` messages long on average and `rate` of all messages are lost in the long run.
    """

    kind = "loss"
    rate: float = the(a_rate)
    burst: int = the(a_count(1, 10_000), 1)

    def act(self, delivery: Delivery, message: Message) -> Delivery:
        if self.burst == 1:
            lost = message.draw("loss") < self.rate
        else:
            link = message.src, message.dst
            bad = message.memory.get(link)
            coin = message.draw("loss")
            if bad is None:  # the first message of a link finds it as the long run would
                lost = coin < self.rate
            elif bad:
                lost = coin >= 1 / self.burst
            else:
                lost = coin < self.rate / (self.burst * (1 - self.rate))
            message.memory[link] = lost
        return delivery._replace(why="loss") if lost else delivery

    def check(self, where: Callable[[str], Where]) -> None:
        if self.burst > 1 and self.rate > self.burst / (self.burst + 1):
            raise where("rate").wrong(
                f"{self.rate} is too much for bursts of {self.burst}, between which at least "
                f"one message arrives; use at most {self.burst / (self.burst + 1):.3g}"
            )

    def sentence(self) -> str:
        bursts = f", about {self.burst} in a row" if self.burst > 1 else ""
        return f"{self.rate:.0%} of messages{self.where()} are lost{bursts}"


@dataclass(frozen=True, kw_only=True)
class Duplicate(LinkFault):
    """Some messages arrive more than once."""

    kind = "duplicate"
    rate: float = the(a_rate, 1.0)
    copies: int = the(a_count(2, 100), 2)

    def act(self, delivery: Delivery, message: Message) -> Delivery:
        if message.draw("duplicate") < self.rate:
            return delivery._replace(copies=delivery.copies * self.copies)
        return delivery

    def sentence(self) -> str:
        return f"{self.rate:.0%} of messages{self.where()} arrive {self.copies} times"


@dataclass(frozen=True, kw_only=True)
class Corrupt(LinkFault):
    """Bits flip on the way; the receiver's link notices and drops the message."""

    kind = "corrupt"
    rate: float = the(a_rate, 1.0)

    def act(self, delivery: Delivery, message: Message) -> Delivery:
        return delivery._replace(corrupt=delivery.corrupt or message.draw("corrupt") < self.rate)

    def sentence(self) -> str:
        return f"{self.rate:.0%} of messages{self.where()} are damaged on the way"


@dataclass(frozen=True, kw_only=True)
class NoLink(LinkFault):
    """No data channel between them opens or lives, as behind bad firewalls; relay remains."""

    kind = "no-link"
    links_only = True
    both: bool = the(a_bool, True)

    def begin(self, target: FaultTarget, index: int) -> None:
        super().begin(target, index)
        actors = [actor for actor in target.actors if actor != SERVER]
        for i, a in enumerate(actors):
            for b in actors[i + 1 :]:
                if self.concerns(a, b) or self.concerns(b, a):
                    with contextlib.suppress(UsageError):  # there was none to close
                        target.reset(a, b)

    def act(self, delivery: Delivery, message: Message) -> Delivery:
        return delivery._replace(why="no link")

    def check(self, where: Callable[[str], Where]) -> None:
        if self.messages is not None:
            raise where("messages").wrong("a data channel lives or not, whatever it carries")

    def sentence(self) -> str:
        return f"no data channel lives{self.where()}"


@dataclass(frozen=True, kw_only=True)
class Reset(Fault):
    """The link between two parties (or a party and the server) is closed, once."""

    kind = "reset"
    momentary = True
    between: tuple[Party, ...] = the(some_places, write=write_places)

    def begin(self, target: FaultTarget, index: int) -> None:
        target.reset(*self.between)

    def check(self, where: Callable[[str], Where]) -> None:
        if len(self.between) != 2:
            raise where("between").wrong("name the two ends of one link, such as [1, 2]")

    def parties(self) -> tuple[Party, ...]:
        return tuple(sorted(self.between))

    def sentence(self) -> str:
        return f"the link between {names(self.between)} is closed"
