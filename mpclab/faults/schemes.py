"""Adversaries with a scheme: they wait, they watch, they collude, they know the protocol.

What they may not do is written in `byzantine`. They see what reaches their own party by its links,
and its machines; those of one kind that `collude` pool it, at once and without a message.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from mpclab.core.effects import Words
from mpclab.core.errors import nearest
from mpclab.core.ids import Party, Path, format_duration
from mpclab.core.variants import one_field
from mpclab.core.wire import Message
from mpclab.faults.byzantine import ByzantineFault, Corruption, is_plumbing, kind_of, variant
from mpclab.faults.fault import (
    AdversaryContext,
    FaultTarget,
    Where,
    a_bool,
    a_count,
    a_lasting,
    a_rate,
    a_word,
    names,
    the,
)


@dataclass(frozen=True, kw_only=True)
class Flood(ByzantineFault):
    """A party is silent for long, and then says all of it at once, `copies` times."""

    kind = "flood"
    copies: int = the(a_count(1, 1_000), 10)

    def begin(self, target: FaultTarget, index: int) -> None:
        assert self.for_ is not None
        target.set_tamper(self.party, Dam(self, target.now + self.for_), index)

    def check(self, where: Callable[[str], Where]) -> None:
        if self.for_ is None:
            raise where("for").wrong("say how long it is silent; then comes the flood")

    def sentence(self) -> str:
        return f"party {self.party} is silent, then says all {self.copies} times{self.only()}"


@dataclass
class Dam:
    """The adversary of a `Flood`: what it keeps back comes at `until`, µs."""

    fault: Flood
    until: int

    def __call__(self, words: Words, adversary: AdversaryContext) -> list[Words]:
        kinds = self.fault.messages
        if is_plumbing(words.path, words.to) or (kinds and kind_of(words) not in kinds):
            return [words]
        for _ in range(self.fault.copies):
            adversary.say(max(0, self.until - adversary.now), words)
        return []


MOMENTS = {
    "quiet": "while another is quiet",
    "short": "while a quorum is one word short",
    "certificate": "when a certificate forms",
}
"""When an adaptive liar strikes, in words."""

_PERSONAL = frozenset({"signature", "voter", "party", "reason"})
"""Fields in which two votes for the same thing differ."""


@dataclass(frozen=True, kw_only=True)
class Adaptive(ByzantineFault):
    """A party is honest until its word counts: at the worst moment it lies.

    `moment` says which: `quiet`, another party has said nothing for so long, while somebody spoke,
    so that a quorum may need this one; `short`, so many say the same that it takes the liars' word
    and no more to make them a quorum; `certificate`, they have just become one. Then half of the
    others hear another story; where there is none, they hear nothing. With `collude` all such
    liars strike when one sees the moment, and fool the same half.
    """

    kind = "adaptive"
    quiet: int = the(a_lasting, 500_000, format_duration)
    moment: str = the(a_word, "quiet")
    collude: bool = the(a_bool, False)

    def check(self, where: Callable[[str], Where]) -> None:
        if self.moment not in MOMENTS:
            known = f"{self.moment!r} is not known{nearest(self.moment, MOMENTS)}"
            raise where("moment").wrong(known)

    def begin(self, target: FaultTarget, index: int) -> None:
        target.set_tamper(self.party, Watcher(self), index)

    def sentence(self) -> str:
        together = ", with others" if self.collude else ""
        return f"party {self.party} lies {MOMENTS[self.moment]}{together}{self.only()}"


@dataclass
class Ear:
    """What liars heard: who says the same, of late.

    Attributes:
        liars: those that listen with it.
        same: the speakers of each thing said, the latest last, with the time of its last word.
    """

    liars: set[Party] = field(default_factory=set)
    same: dict[Any, tuple[int, frozenset[Party]]] = field(default_factory=dict)

    KEPT = 64

    def hear(self, path: Path, speaker: Party, msg: Message, now: int) -> None:
        fields = [getattr(msg, f) for f in msg.__struct_fields__ if f not in _PERSONAL]
        said = (path, type(msg).__name__, repr(fields))
        _, speakers = self.same.pop(said, (0, frozenset()))
        self.same[said] = now, speakers | {speaker}
        if len(self.same) > self.KEPT:
            del self.same[next(iter(self.same))]

    def counts(self, since: int) -> Iterator[int]:
        """How many honest parties say each thing that was said since."""
        return (len(who - self.liars) for at, who in self.same.values() if at >= since)


@dataclass
class Watcher(Corruption):
    """The adversary of an `Adaptive`."""

    fault: Adaptive
    own: Ear = field(default_factory=Ear)

    def ear(self, adversary: AdversaryContext) -> Ear:
        pool = adversary.common.setdefault("adaptive", Ear()) if self.fault.collude else self.own
        assert isinstance(pool, Ear)
        pool.liars.add(adversary.me)
        return pool

    def overhear(
        self, path: Path, sender: Party, msg: Message, adversary: AdversaryContext
    ) -> None:
        if not is_plumbing(path, ()):
            self.ear(adversary).hear(path, sender, msg, adversary.now)

    def __call__(self, words: Words, adversary: AdversaryContext) -> list[Words]:
        kinds = self.fault.messages
        if is_plumbing(words.path, words.to) or (kinds and kind_of(words) not in kinds):
            return [words]
        ear = self.ear(adversary)
        others = [p for p in range(1, adversary.n + 1) if p != adversary.me]
        why = self.reason(ear, others, adversary)
        if not why or not words.to:
            return [words]
        adversary.remark(f"strikes {why}")
        targets = [p for p in others if p not in ear.liars]
        half = targets[len(targets) // 2 :]
        told = tuple(p for p in words.to if p in half)
        rest = Words(words.path, tuple(p for p in words.to if p not in half), words.msg)
        other = variant(words, adversary)
        return [rest] if other is None else [rest, Words(other.path, told, other.msg)]

    def reason(self, ear: Ear, others: list[Party], adversary: AdversaryContext) -> str:
        """Why now; "" to be honest yet."""
        fault, now = self.fault, adversary.now
        if fault.moment == "quiet":
            heard = adversary.node.heard
            silent = [p for p in others if now - heard.get(p, 0) > fault.quiet]
            if not silent or len(silent) == len(others):
                return ""
            return f"while {names(silent)} {'is' if len(silent) == 1 else 'are'} quiet"
        quorum = (adversary.n + (adversary.n - 1) // 3) // 2 + 1
        counts = ear.counts(now - fault.quiet)
        if fault.moment == "certificate":
            reached = any(count >= quorum for count in counts)
        else:
            reached = any(quorum - len(ear.liars) <= count < quorum for count in counts)
        return MOMENTS[fault.moment] if reached else ""


@dataclass(frozen=True, kw_only=True)
class KnownAttack(ByzantineFault):
    """A party plays its part in a known attack on its protocol, alone or with other liars."""

    kind = "attack"
    name: str = the(a_word)

    def rewrite(self, words: Words, adversary: AdversaryContext, past: list[Words]) -> list[Words]:
        machine: Any = adversary.node.machine(words.path)
        script = getattr(machine, "attacks", {}).get(self.name)
        if script is None or isinstance(words.msg, bytes):
            return [words]
        return [Words(words.path, to, msg) for to, msg in script(machine, words.to, words.msg)]

    def sentence(self) -> str:
        return f"party {self.party} plays its part in {self.name}{self.only()}"


@runtime_checkable
class Signing(Protocol):
    """A machine that can sign again what was changed in a message of its own."""

    def resigned(self, msg: Message) -> Message: ...


@dataclass(frozen=True, kw_only=True)
class OneField(ByzantineFault):
    """A party follows its protocol, but in some messages one field is another, signed again."""

    kind = "one-field"
    rate: float = the(a_rate, 0.3)

    def rewrite(self, words: Words, adversary: AdversaryContext, past: list[Words]) -> list[Words]:
        number = adversary.node.next_id
        if isinstance(words.msg, bytes) or not words.to:
            return [words]
        if adversary.draw("change?", number) >= self.rate:
            return [words]
        turns = itertools.count()

        def pick(below: int) -> int:
            return int(below * adversary.draw("which", number, next(turns)))

        other = one_field(words.msg, pick, [old.msg for old in past])
        machine: Any = adversary.node.machine(words.path)
        if other is None:
            return [words]
        if isinstance(machine, Signing):
            other = machine.resigned(other)
        adversary.remark(f"changes a field of its {kind_of(words)}")
        return [Words(words.path, words.to, other)]

    def sentence(self) -> str:
        return f"party {self.party} changes single fields of what it says{self.only()}"
