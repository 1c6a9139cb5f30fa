"""Corrupted parties, as every world hosts them: who is corrupt, and what an adversary may do.

An adversary acts in two places. A *tamper* stands inside the node, between the machines and the
links: it decides what the party says. A *filter* stands outside the node and sees effects: it
decides what the party does. Both stay through crashes and restarts of the party; the world puts a
tamper into each of its incarnations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from msgspec import structs

from mpclab.core.effects import Effect, Lied, Send, Words
from mpclab.core.ids import SERVER, Party, Path
from mpclab.core.node import Node
from mpclab.core.wire import Message
from mpclab.faults import draws
from mpclab.faults.fault import Filter, Tamper
from mpclab.trace import rows
from mpclab.trace.log import Trace


class Hosting(Protocol):
    """A host of a node, as far as its adversary cares."""

    actor: Party
    node: Node | None
    incarnation: int
    drawn: int
    """Coins that adversaries took without a key."""


class Site(Protocol):
    """A world, as far as adversaries care."""

    trace: Trace
    seed: int

    @property
    def now(self) -> int: ...
    def do_later(
        self, actor: Party, incarnation: int, delay: int, effects: list[Effect]
    ) -> None: ...
    def say_later(self, actor: Party, incarnation: int, delay: int, words: Words) -> None: ...


class HostedContext:
    """`mpclab.faults.fault.AdversaryContext`: one corrupted actor, during one step of its node."""

    def __init__(self, site: Site, host: Hosting, common: dict[str, Any]) -> None:
        assert host.node is not None
        self.common = common
        self._site = site
        self._host = host
        self.node = host.node
        self.me = host.node.me
        self.n = host.node.n
        self.now = site.now

    def draw(self, *key: int | str) -> float:
        if not key:
            self._host.drawn += 1
            key = ("next", self._host.drawn)
        return draws.uniform(draws.key(self._site.seed, self._host.actor, "adversary", *key), 0)

    def number(self) -> int:
        self.node.next_id += 1
        return self.node.next_id - 1

    def remark(self, text: str) -> None:
        actor, site = self._host.actor, self._site
        site.trace.append(rows.Fault(site.now, actor, -1, "byzantine", "act", (actor,), text, True))

    def later(self, delay: int, effects: list[Effect]) -> None:
        self._site.do_later(self._host.actor, self._host.incarnation, delay, effects)

    def say(self, delay: int, words: Words) -> None:
        self._site.say_later(self._host.actor, self._host.incarnation, delay, words)


class Adversaries:
    """The filters and tampers of one world, by actor, in the order of their handles."""

    def __init__(self) -> None:
        self._filters: dict[Party, dict[int, Filter]] = {}
        self._tampers: dict[Party, dict[int, Tamper]] = {}
        self._ever: set[Party] = set()
        self.common: dict[str, Any] = {}

    def ever_held(self, actor: Party) -> bool:
        """Whether an adversary holds this actor, or once did."""
        return actor in self._ever

    def set_filter(self, actor: Party, filter: Filter | None, handle: int) -> None:
        self._ever.add(actor)
        self._filters[actor] = _with(self._filters.get(actor, {}), handle, filter)

    def set_tamper(self, actor: Party, tamper: Tamper | None, handle: int) -> None:
        self._ever.add(actor)
        self._tampers[actor] = _with(self._tampers.get(actor, {}), handle, tamper)

    def enter(self, site: Site, host: Hosting) -> None:
        """Take hold of an actor's node, or let go of it: at its birth, and at each change."""
        if host.node is not None:
            corrupt = self._tampers.get(host.actor)
            hook = TamperHook(self, site, host) if corrupt else None
            host.node.tamper = hook
            host.node.overhear = hook.overhear if hook else None

    def say(self, site: Site, host: Hosting, words: Words) -> list[Words]:
        """The messages sent instead of `words`: each tamper rewords the last one's output."""
        adversary = HostedContext(site, host, self.common)
        said = [words]
        for tamper in list(self._tampers.get(host.actor, {}).values()):
            said = [other for one in said for other in tamper(one, adversary)]
        return said

    def hear(self, site: Site, host: Hosting, path: Path, sender: Party, msg: Message) -> None:
        """A message reaches a corrupted actor: those of its tampers that listen hear it."""
        for tamper in list(self._tampers.get(host.actor, {}).values()):
            if (listen := getattr(tamper, "overhear", None)) is not None:
                listen(path, sender, msg, HostedContext(site, host, self.common))

    def filtered(self, site: Site, host: Hosting, effects: list[Effect]) -> list[Effect]:
        """The effects that `host` performs instead of `effects`."""
        if not (filters := self._filters.get(host.actor)):
            return effects
        adversary = HostedContext(site, host, self.common)
        wanted = effects
        for filter in list(filters.values()):
            effects = filter(effects, adversary)
        told = lies(wanted, effects)
        if host.actor == SERVER:  # its frames are for connections, which no row names
            told = [structs.replace(lie, to=()) for lie in told]
        return [*told, *effects]


def lies(wanted: list[Effect], done: list[Effect]) -> list[Lied]:
    """Which messages of a step a filter kept back or changed; and, last, what it added."""
    sent = {e.frame.id: e for e in done if isinstance(e, Send)}
    found = []
    for effect in wanted:
        if isinstance(effect, Send):
            frame, there = effect.frame, sent.pop(effect.frame.id, None)
            reached = there.to if there is not None and there.frame is frame else ()
            if missed := tuple(p for p in effect.to if p not in reached):
                found.append(Lied(frame.path, frame.kind, frame.id, missed, ()))
    added = [e.frame for e in sent.values()]
    if added:
        found.append(Lied(added[0].path, "", 0, (), tuple(frame.id for frame in added)))
    return found


@dataclass
class TamperHook:
    """`Node.tamper` of a corrupted actor."""

    adversaries: Adversaries
    site: Site
    host: Hosting

    def __call__(self, words: Words) -> list[Words]:
        return self.adversaries.say(self.site, self.host, words)

    def overhear(self, path: Path, sender: Party, msg: Message) -> None:
        self.adversaries.hear(self.site, self.host, path, sender, msg)


F = TypeVar("F")


def _with(mine: dict[int, F], handle: int, one: F | None) -> dict[int, F]:
    others = {k: v for k, v in mine.items() if k != handle}
    return others if one is None else dict(sorted({**others, handle: one}.items()))
