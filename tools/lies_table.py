"""docs/lies.md: what each lie does to each protocol, tried and not asserted.

Four parties, one of them a liar: party 1, who also proposes and is the first leader, primary or
dealer. It lies in its protocol's own messages alone (with `direct`, which has none, in proposals
and votes): in all of them, with a few seeds, and then in each kind alone. A pair is called by the
worst that came of it; a test holds each to what the theory promises.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from mpclab.consensus.registry import AGREEMENTS, agreement
from mpclab.core.errors import UsageError
from mpclab.faults.byzantine import ByzantineFault
from mpclab.faults.plan import KINDS
from mpclab.lab import Run, Scenario
from mpclab.lab.kinds import spoken_by
from mpclab.trace import rows

PROTOCOLS = tuple(
    name for name, cls in AGREEMENTS.items() if cls.__module__.startswith("mpclab.consensus.")
)
BEARING = tuple(name for name in PROTOCOLS if agreement(name).liars(7) >= 2)
SEEDS = (1, 2)
FIELDS: dict[str, dict[str, object]] = {
    "last-moment": {"delay": "400ms"},
    "send-to-some": {"to": [2]},
    "flood": {"for": "4s"},
    "adaptive": {"quiet": "25ms"},
    "one-field": {"rate": 0.7},
    "replay": {"rate": 0.9},
}
GATE = ["SignedProposal", "SignedVote", "ProposalState"]
"""What is said before the agreement begins."""
VOTE_LIE = "vote-lie"
SAFETY = ("agreement", "total-order", "integrity", "validity", "blame")


def lies() -> tuple[str, ...]:
    """The kinds that rewrite what a party says, but for those that name a known attack."""
    ours = {
        kind: cls
        for kind, cls in KINDS.items()
        if issubclass(cls, ByzantineFault) and cls.__module__.startswith("mpclab.faults.")
    }
    return tuple(kind for kind in ours if kind != "attack")


@dataclass(frozen=True)
class Pair:
    """What came of a lie about a protocol's own messages.

    Attributes:
        acts: how often the liar said something else than its machines wanted, over all seeds.
        broken: the promises of safety that a check found violated.
        stuck: an honest party's operation did not end everywhere, in some run.
    """

    acts: int
    broken: tuple[str, ...]
    stuck: bool

    @property
    def word(self) -> str:
        if not self.acts:
            return "never acts"
        worst = "split" if self.broken else "stuck" if self.stuck else "holds"
        return f"**{worst}**" if self.broken or self.stuck else worst


def own_kinds(protocol: str) -> list[str]:
    return list(spoken_by(agreement(protocol))) or ["SignedProposal", "SignedVote", "ProposalState"]


def scenario(
    protocol: str, kind: str, messages: list[str], seed: int, liars: tuple[int, ...] = (1,)
) -> Scenario:
    parties = 3 * len(liars) + 1
    lies = [
        {"at": "0ms", "kind": kind, "party": p, "messages": messages, **FIELDS.get(kind, {})}
        for p in liars
    ]
    return Scenario.parse(
        {
            "name": f"{kind} in {protocol}",
            "parties": parties,
            "policy": f"threshold({parties - len(liars)})",
            "agreement": protocol,
            "mesh": "ready",
            "network": {"delay": "uniform(5ms, 40ms)"},
            "patience": "3s",
            "operations": [
                {"at": "0ms", "by": 1, "kind": "note", "text": "the liar's"},
                {"at": "100ms", "by": 3, "kind": "note", "text": "an honest party's"},
            ],
            "faults": lies,
            "checks": [*SAFETY, "termination"],
            "until": "90s",
            "seed": seed,
        }
    )


def ended(run: Run) -> bool:
    """Whether the honest party's operation ended at every honest party, and alike."""
    (outcome,) = [o for o in run.outcomes if o.by == 3]
    return outcome.status in ("committed", "aborted")


@cache
def tried(protocol: str, kind: str) -> Pair:
    own = own_kinds(protocol)
    trials = [(own, seed) for seed in SEEDS] + [([one], 1) for one in own if len(own) > 1]
    return judged([scenario_or_none(protocol, kind, *trial) for trial in trials])


@cache
def tried_in_votes(protocol: str) -> Pair:
    """One liar of four tells some of the others another story before the agreement begins."""
    gate = [GATE] + [[one] for one in GATE]
    trials = [(own, seed) for own in gate for seed in SEEDS]
    return judged([scenario_or_none(protocol, "equivocate", *trial) for trial in trials])


@cache
def tried_by_two(protocol: str, kind: str) -> Pair:
    """Two liars of seven, who do the same at once."""
    own = own_kinds(protocol)
    return judged([scenario_or_none(protocol, kind, own, 1, (1, 2))])


def scenario_or_none(protocol: str, *how: Any) -> Scenario | None:
    """None: this cannot be said otherwise, or is not said at all."""
    try:
        return scenario(protocol, *how)
    except UsageError:
        return None


def judged(scenarios: list[Scenario | None]) -> Pair:
    acts, stuck = 0, False
    broken: set[str] = set()
    for one in scenarios:
        if one is None:
            continue
        run = one.run()
        acts += len(list(run.trace.of(rows.Lied)))
        broken |= {v.check for v in run.verdicts if v.check in SAFETY and v.verdict == "violated"}
        stuck |= not ended(run)
    return Pair(acts, tuple(sorted(broken)), stuck)


def table() -> str:
    """docs/lies.md."""
    kinds = lies()
    lines = [
        "# Lies, and the protocols that bear them",
        "",
        "Printed by `tools/lies_table.py` from runs; a test compares it. Of four parties, party 1",
        "lies: it proposes, and is the first leader, primary or dealer. Its lies are in its",
        "protocol's own messages alone (with `direct`, which has none, in proposals and votes),",
        "and are signed with its key where they are signed; in all of them, then in each alone,",
        "and the worst counts.",
        "",
        "* *holds*: no promise of safety was broken, and an honest party's operation ended.",
        "* **split**: honest parties ended differently, or an honest one was accused.",
        "* **stuck**: an honest party's operation did not end at every honest party.",
        "* *never acts*: the protocol has nothing that could be said otherwise.",
        "",
        "The theory: a protocol that bears f = 1 liar of four must hold in its whole row. The",
        "others promise nothing when somebody lies, and where they hold it is by luck.",
        "",
        f"*{VOTE_LIE}*: it equivocates before the agreement begins, in proposals and votes; where",
        "the votes are the protocol's own (`2pc`, `3pc`) that is another column.",
        "",
        "| protocol | bears | " + " | ".join((*kinds, VOTE_LIE)) + " |",
        "|---|---|" + "---|" * (len(kinds) + 1),
    ]
    for protocol in PROTOCOLS:
        found = [*(tried(protocol, kind) for kind in kinds), tried_in_votes(protocol)]
        cells = " | ".join(pair.word for pair in found)
        lines.append(f"| `{protocol}` | {agreement(protocol).liars(4)} | {cells} |")
    lines += [
        "",
        "## Two liars of seven",
        "",
        "Parties 1 and 2 do the same at once, in their protocol's own messages (f = 2).",
        "",
        "| protocol | bears | " + " | ".join(kinds) + " |",
        "|---|---|" + "---|" * len(kinds),
    ]
    for protocol in BEARING:
        cells = " | ".join(tried_by_two(protocol, kind).word for kind in kinds)
        lines.append(f"| `{protocol}` | {agreement(protocol).liars(7)} | {cells} |")
    return "\n".join(lines) + "\n"
