"""n sessions on the simulated network, and what became of their operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from mpclab.consensus.agreement import Agreement
from mpclab.consensus.direct import Direct
from mpclab.coordinator.policy import parse_policy
from mpclab.coordinator.session import Propose, Session, SetVotePolicy, Vote
from mpclab.coordinator.views import OperationView, SessionView
from mpclab.core.ids import MS, Party, Path
from mpclab.core.machine import Machine
from mpclab.core.node import Node
from mpclab.core.notes import op_of
from mpclab.crypto.identity import Identity
from mpclab.faults.link_rules import Delivery, Draw
from mpclab.faults.network import Delay, Network
from mpclab.operations.proposal import operation_id
from mpclab.trace import rows
from mpclab.worlds.simulated import SimulatedWorld

AT: Path = ("session",)
STEADY = Network(Delay("constant", 10 * MS))
NAME = "s1"


@lru_cache
def identity(p: Party) -> Identity:
    return Identity.from_seed(p.to_bytes(32))


def keys(n: int) -> dict[Party, bytes]:
    return {p: identity(p).public for p in range(1, n + 1)}


class Lossy:
    """Messages for which `lost(src, dst, draw)` never arrive."""

    def __init__(self, lost: Callable[[Party, Party, Draw], bool]) -> None:
        self.lost = lost

    def judge(
        self, src: Party, dst: Party, size: int, now: int, draw: Draw, delivery: Delivery
    ) -> Delivery:
        return Delivery("loss") if self.lost(src, dst, draw) else delivery


class Sessions:
    """`n` bare parties. `votes` by party; `others` gives some of them another machine."""

    def __init__(
        self,
        n: int,
        *,
        policy: str = "unanimous",
        t: int | None = None,
        agreement: type[Agreement] = Direct,
        votes: Mapping[Party, str] | None = None,
        others: Mapping[Party, Callable[[], Machine]] | None = None,
        network: Network = STEADY,
        seed: int = 1,
        late: Iterable[Party] = (),
        **options: Any,
    ) -> None:
        self.n = n
        self.members = tuple(range(1, n + 1))
        self.policy = parse_policy(policy, n)
        self.world = SimulatedWorld(seed, network)
        self.others = dict(others or {})
        self.honest = tuple(p for p in self.members if p not in self.others)
        self._votes = dict(votes or {})
        self._t = t or n // 2 + 1
        self._agreement = agreement
        self._options = options
        self._attempts = 0
        for p in self.members:
            if p not in tuple(late):
                self.host(p)

    def host(self, p: Party) -> None:
        def build(coins: Any, stored: Any) -> Node:
            if p in self.others:
                liar = Node(p, self.n, self.others[p](), coins=coins, at=AT, stored=stored)
                liar.suspect = True
                return liar
            machine = Session(
                NAME,
                self.n,
                self._t,
                self.policy,
                identity(p),
                keys(self.n),
                self._agreement,
                self._votes.get(p, "approve"),
                **{"greet": True, **self._options},
            )
            return Node(p, self.n, machine, coins=coins, at=AT, stored=stored)

        self.world.host(p, build)

    # --- doing ---

    def propose(
        self, by: Party, kind: str = "note", *, deadline: int | None = None, **params: Any
    ) -> str:
        if kind == "note":
            params.setdefault("text", "hello")
        self._attempts += 1
        attempt = f"a{self._attempts}"
        self.world.ask(by, AT, Propose(kind, params, attempt, deadline))
        return operation_id(NAME, by, attempt)

    def vote(self, by: Party, op: str, approve: bool = True, reason: str = "") -> None:
        self.world.ask(by, AT, Vote(op, approve, reason))

    def set_votes(self, by: Party, votes: str) -> None:
        self.world.ask(by, AT, SetVotePolicy(votes))

    def lossy(self, lost: Callable[[Party, Party, Draw], bool]) -> None:
        self.world.link_rules.rules[0] = Lossy(lost)

    def lose(self, share: float) -> None:
        self.lossy(lambda src, dst, draw: draw("test loss") < share)

    def cut(self, *groups: Iterable[Party]) -> None:
        sides = [set(g) for g in groups]
        self.lossy(lambda src, dst, draw: not any(src in g and dst in g for g in sides))

    def heal(self) -> None:
        self.world.link_rules.rules.clear()

    def run(self, us: int | None = None) -> None:
        self.world.run(limit=us)

    # --- looking ---

    def session(self, p: Party) -> Session:
        return self.world.look(p, lambda node: node.machine(AT))  # type: ignore[no-any-return]

    def view(self, p: Party) -> SessionView:
        return self.session(p).view()

    def at(self, p: Party, op: str) -> OperationView:
        return self.view(p)[op]

    @property
    def up(self) -> tuple[Party, ...]:
        return tuple(p for p in self.honest if p in self.world.actors)

    def statuses(self, op: str) -> dict[Party, str]:
        known = {p: self.session(p).outcomes() for p in self.up}
        return {p: known[p][op].status if op in known[p] else "unheard" for p in self.up}

    def heads(self) -> set[str]:
        return {self.view(p).head for p in self.up}

    def sent(self, since: int = 0) -> Counter[str]:
        """Messages by kind, self-messages left out."""
        count: Counter[str] = Counter()
        for row in self.world.trace.of(rows.Sent):
            if row.at >= since and row.kind != "Summary":
                count[row.kind] += len(row.to)
        return count

    def notes(self, what: str, op: str | None = None) -> list[rows.Noted]:
        found = self.world.trace.notes(what)
        return [row for row in found if op is None or op_of(row.note) == op]

    def blames(self) -> list[rows.Blamed]:
        return list(self.world.trace.of(rows.Blamed))
