"""n agreement machines on the simulated network, and what they decided."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mpclab.consensus.agreement import Agreement, Cast, Decided, Refused, Submit, VoteWanted
from mpclab.core.errors import UsageError
from mpclab.core.ids import MS, Party, Path
from mpclab.core.machine import Ctx, Machine
from mpclab.core.node import Node
from mpclab.crypto.identity import Identity
from mpclab.faults.link_rules import Delivery, Draw
from mpclab.faults.network import Delay, Network
from mpclab.trace import rows
from mpclab.worlds.simulated import SimulatedWorld

AT: Path = ("session", "agreement")
STEADY = Network(Delay("constant", 10 * MS))
IDENTITIES = {p: Identity.from_seed(bytes([p // 256, p % 256]) * 16) for p in range(1, 260)}


class Parent(Machine):
    """Stands for the coordinator: passes asks on, keeps results, votes as it was told."""

    def __init__(self, agreement: Agreement, vote: bool | None = True) -> None:
        self.agreement = agreement
        self.vote = vote
        self.decided: list[Decided] = []
        self.refused: list[Refused] = []
        self.wanted: list[VoteWanted] = []
        self.decided_at: dict[str, int] = {}

    def start(self, ctx: Ctx) -> None:
        ctx.spawn(AT[-1], self.agreement)

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        ctx.ask(AT[-1], ask)

    def on_output(self, ctx: Ctx, child: str, value: Any) -> None:
        match value:
            case Decided(op):
                self.decided.append(value)
                self.decided_at.setdefault(op, ctx.now)
            case Refused():
                self.refused.append(value)
            case VoteWanted(op):
                self.wanted.append(value)
                if self.vote is not None:
                    ctx.ask(AT[-1], Cast(op, self.vote, "", b"approval" * 8 if self.vote else b""))


@dataclasses.dataclass
class Cut:
    """A partition: messages pass within a group only."""

    groups: list[list[Party]]

    def judge(
        self, src: Party, dst: Party, size: int, now: int, draw: Draw, delivery: Delivery
    ) -> Delivery:
        return (
            delivery if any(src in g and dst in g for g in self.groups) else Delivery("partition")
        )


@dataclasses.dataclass
class Lossy:
    """Messages for which `lost(src, dst)` never arrive."""

    lost: Callable[[Party, Party], bool]

    def judge(
        self, src: Party, dst: Party, size: int, now: int, draw: Draw, delivery: Delivery
    ) -> Delivery:
        return Delivery("loss") if self.lost(src, dst) else delivery


def smallest(protocol: type[Agreement], at_least: int = 2) -> int:
    """The least number of parties, from `at_least` on, that the protocol runs with."""
    for n in range(at_least, 20):
        try:
            protocol.check_size(n)
        except UsageError:
            continue
        return n
    raise UsageError(f"{protocol.__name__}.check_size allows no group of up to 20")


class Cluster:
    """`n` parties running `protocol`; `others` gives some of them another machine, and `stored`
    what they had persisted before they first start."""

    def __init__(
        self,
        protocol: type[Agreement],
        n: int,
        *,
        seed: int = 1,
        network: Network = STEADY,
        votes: Mapping[Party, bool | None] | None = None,
        others: Mapping[Party, Callable[[], Machine]] | None = None,
        stored: Mapping[Party, Mapping[str, bytes]] | None = None,
        **options: Any,
    ) -> None:
        self.protocol = protocol
        self.world = SimulatedWorld(seed, network)
        self.n = n
        self.members = tuple(range(1, n + 1))
        self.honest = tuple(p for p in self.members if p not in (others or {}))
        keys = {p: IDENTITIES[p].public for p in self.members}
        protocol.check_size(n)

        def build(p: Party) -> Callable[..., Node]:
            def make(coins: Any, kept: Any) -> Node:
                kept = kept or {AT: (stored or {}).get(p, {})}
                if others and p in others:
                    liar = Node(p, n, others[p](), coins=coins, at=AT, stored=kept)
                    liar.suspect = True
                    return liar
                machine = protocol(IDENTITIES[p], keys, **options)
                parent = Parent(machine, (votes or {}).get(p, True))
                return Node(p, n, parent, coins=coins, at=AT[:-1], stored=kept)

            return make

        for p in self.members:
            self.world.host(p, build(p))

    # --- doing ---

    def submit(self, p: Party, op: str, value: bytes | None = None) -> None:
        self.world.ask(p, AT[:-1], Submit(op, op.encode() * 3 if value is None else value))

    def cut(self, *groups: Iterable[Party]) -> None:
        self.world.link_rules.rules[0] = Cut([list(g) for g in groups])

    def lossy(self, lost: Callable[[Party, Party], bool]) -> None:
        self.world.link_rules.rules[0] = Lossy(lost)

    def heal(self) -> None:
        self.world.link_rules.rules.clear()

    def crash(self, *parties: Party) -> None:
        for p in parties:
            if p in self.world.actors:
                self.world.crash(p)

    def tear(self, p: Party) -> None:
        """Let a party crash in the middle of its next step."""
        if p in self.world.actors:
            self.world.tear(p)

    def restart(self, *parties: Party) -> None:
        for p in parties:
            if p not in self.world.actors:
                self.world.restart(p)
            else:
                self.world.tear(p, False)  # it had no step to die in

    def run(self, ms: int | None = None) -> None:
        self.world.run(limit=None if ms is None else ms * MS)

    def run_until(self, done: Callable[[], bool], ms: int = 60_000) -> None:
        assert self.world.run(done, limit=ms * MS), self.story()

    # --- looking ---

    def parent(self, p: Party) -> Parent:
        return self.world.look(p, lambda node: node.machine(AT[:-1]))  # type: ignore[no-any-return]

    def machine(self, p: Party) -> Any:
        return self.world.look(p, lambda node: node.machine(AT))

    @property
    def up(self) -> tuple[Party, ...]:
        return tuple(p for p in self.honest if p in self.world.actors)

    def log(self, p: Party) -> list[str]:
        return [d.op for d in self.parent(p).decided]

    def all_decided(self, *ops: str) -> bool:
        return all(set(ops) <= set(self.log(p)) for p in self.up)

    def settled(self, op: str) -> bool:
        return all(
            any(x.op == op for x in self.parent(p).decided + self.parent(p).refused)
            for p in self.up
        )

    def sent(self, *kinds: str, since: int = 0) -> Counter[str]:
        """Messages sent since a time by kind, self-messages left out."""
        count: Counter[str] = Counter()
        for row in self.world.trace.of(rows.Sent):
            if row.at >= since and (not kinds or row.kind in kinds):
                count[row.kind] += len(row.to)
        return count

    def notes(self, *what: str) -> list[rows.Noted]:
        return self.world.trace.notes(*what)

    def blamed(self) -> set[Party | None]:
        return {row.party for row in self.world.trace.of(rows.Blamed)}

    def check_agreement(self) -> None:
        """No two honest parties decide different things for one operation or one place, nobody
        decides twice within a life, and no two differ on decided or refused."""
        by_op: dict[str, bytes] = {}
        by_index: dict[int, str] = {}
        refused: set[str] = set()
        for p in self.up:
            parent = self.parent(p)
            ops = [d.op for d in parent.decided]
            assert len(ops) == len(set(ops)), f"party {p} decided twice: {self.story()}"
            refused |= {r.op for r in parent.refused}
            indices = [d.index for d in parent.decided if d.index is not None]
            assert indices == list(range(len(indices))), f"party {p}: {indices} {self.story()}"
            for d in parent.decided:
                assert by_op.setdefault(d.op, d.value) == d.value, self.story()
                if d.index is not None:
                    assert by_index.setdefault(d.index, d.op) == d.op, self.story()
        assert not refused & set(by_op), self.story()
        self._check_outputs()

    def _check_outputs(self) -> None:
        """The same for all that was ever put out, also by those that crashed since. The trace has
        an output when it was performed: after everything that was stored before it."""
        texts: dict[str, str] = {}
        refused: dict[str, Party] = {}
        for row in self.world.trace.of(rows.Output):
            if row.path != AT or row.actor not in self.honest:
                continue
            word, _, rest = row.text.partition("(op=")
            op = rest.partition(",")[0]
            if word == "Refused":
                refused[op] = row.actor
            elif word == "Decided":
                text = rest.partition(", approvals=")[0]
                known = texts.setdefault(op, text)
                assert known == text, f"party {row.actor}: {text}, not {known}: {self.story()}"
        both = refused.keys() & texts.keys()
        assert not both, f"decided and refused: {sorted(both)}: {self.story()}"

    def story(self) -> str:
        """The state of every party, for the message of a failed assertion."""
        lines = [f"seed {self.world.seed}, {self.n} parties, at {self.world.now / MS} ms"]
        for p in self.up:
            parent = self.parent(p)
            lines.append(f"  {p}: decided {self.log(p)} refused {[r.op for r in parent.refused]}")
        return "\n".join(lines)
