"""`Part`: a world as a fault sees it that speaks of the parties of one session among several.

A fault names parties, a world actors: party p of a later session is the actor `base + p`. Links
between other sessions' parties are left alone; the server is the same for all.
"""

from collections.abc import Callable
from typing import Any

from mpclab.core.ids import Party
from mpclab.core.numbering import Numbering
from mpclab.faults.fault import FaultTarget, Filter, Tamper
from mpclab.faults.link_rules import Delivery, Draw, LinkRules, Rule


class _PartRule:
    """A rule about the links of one session."""

    def __init__(self, rule: Rule, of: Numbering) -> None:
        self._rule, self._of = rule, of
        self.links_only = getattr(rule, "links_only", False)
        self.messages = getattr(rule, "messages", None)

    def judge(
        self, src: Party, dst: Party, size: int, now: int, draw: Draw, delivery: Delivery
    ) -> Delivery:
        one, other = self._of.party(src), self._of.party(dst)
        if one is None or other is None:
            return delivery
        return self._rule.judge(one, other, size, now, draw, delivery)


class _PartRules(LinkRules):
    """The world's rules, to which those of one session are added."""

    def __init__(self, whole: LinkRules, of: Numbering) -> None:
        self._whole, self._of = whole, of
        self.active, self.ended = whole.active, whole.ended

    def number(self, wanted: int | None = None) -> int:
        return self._whole.number(wanted)

    def add(self, handle: int, rule: Rule) -> None:
        self._whole.add(handle, _PartRule(rule, self._of))

    def remove(self, handle: int) -> None:
        self._whole.remove(handle)


class Part(FaultTarget):
    """One session's part of a world.

    Args:
        whole: the world.
        base: party p is its actor `base + p`. `n`: how many parties the session has.
    """

    def __init__(self, whole: FaultTarget, base: int, n: int) -> None:
        self._whole, self._of = whole, Numbering(base, n)
        self.link_rules = _PartRules(whole.link_rules, self._of)

    @property
    def now(self) -> int:
        return self._whole.now

    @property
    def actors(self) -> tuple[Party, ...]:
        return self._of.parties(self._whole.actors)

    def at(self, time: int, action: Callable[[], None]) -> None:
        self._whole.at(time, action)

    def mark_fault(
        self, index: int, kind: str, phase: str, parties: tuple[Party, ...], text: str, **more: Any
    ) -> None:
        # Those of this session, where it is all of them.
        named = parties or range(1, self._of.n + 1)
        actors = tuple(map(self._of.actor, named))
        self._whole.mark_fault(index, kind, phase, actors, text, **more)

    def crash(self, actor: Party) -> None:
        self._whole.crash(self._of.actor(actor))

    def tear(self, actor: Party, on: bool = True) -> None:
        self._whole.tear(self._of.actor(actor), on)

    def restart(self, actor: Party, *, amnesia: bool = False) -> None:
        self._whole.restart(self._of.actor(actor), amnesia=amnesia)

    def remove(self, actor: Party) -> None:
        self._whole.remove(self._of.actor(actor))

    def pause(self, actor: Party) -> None:
        self._whole.pause(self._of.actor(actor))

    def resume(self, actor: Party) -> None:
        self._whole.resume(self._of.actor(actor))

    def slow(self, actor: Party, step: int) -> None:
        self._whole.slow(self._of.actor(actor), step)

    def skew(self, actor: Party, offset: int, drift: float) -> None:
        self._whole.skew(self._of.actor(actor), offset, drift)

    def reset(self, a: Party, b: Party) -> None:
        self._whole.reset(self._of.actor(a), self._of.actor(b))

    def corruptible(self, actor: Party) -> None:
        self._whole.corruptible(self._of.actor(actor))

    def set_filter(self, actor: Party, filter: Filter | None, handle: int = 0) -> None:
        self._whole.set_filter(self._of.actor(actor), filter, handle)

    def set_tamper(self, actor: Party, tamper: Tamper | None, handle: int = 0) -> None:
        self._whole.set_tamper(self._of.actor(actor), tamper, handle)

    def stop_server(self, *, kill: bool = False) -> None:
        self._whole.stop_server(kill=kill)

    def restart_server(self, *, amnesia: bool = True) -> None:
        self._whole.restart_server(amnesia=amnesia)
