"""A scenario with a `schedule`: the agreement protocol alone, event by event as the lines say.

No signaling, no votes, no coordinator: each operation is submitted to the protocol of its proposer
(its text names it; `a|1` is another valid value for `a`), the schedule says what happens next, and
nothing else happens. Parties at which a Byzantine fault aims may say both what an honest party
would and something else; the schedule says which message arrives. It is what `explore` leaves.
"""

from __future__ import annotations

from mpclab.check import Verdict, run_checks
from mpclab.consensus.registry import agreement
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.faults.plan import aimed_at
from mpclab.lab.outcome import Tracker
from mpclab.lab.scenario import Scenario
from mpclab.model.explorer import Explorer
from mpclab.model.schedule import follow
from mpclab.trace.log import Trace

MANY = 1_000_000


def model_of(scenario: Scenario, **bounds: int | bool) -> Explorer:
    """The model of a scenario's protocol: what its operations submit, and its liars.

    Raises:
        UsageError: an operation names nothing.
    """
    submits: dict[Party, list[str]] = {}
    for k, planned in enumerate(scenario.operations):
        submits.setdefault(planned.by, []).append(str(planned.params.get("text") or f"op{k}"))
    return Explorer(
        agreement(scenario.agreement),
        scenario.parties,
        submits,
        liars=frozenset(aimed_at(f for f in scenario.faults if f.byzantine)),
        options={"options": scenario.agreement_options},
        **bounds,  # type: ignore[arg-type]
    )


def play_schedule(scenario: Scenario) -> tuple[Trace, Tracker, tuple[Verdict, ...]]:
    """Follow the lines of a scenario's schedule: the trace, the outcomes' tracker, the verdicts.

    Raises:
        UsageError: a line that cannot happen where it stands.
    """
    if scenario.world != "simulated":
        raise UsageError(f"schedule: goes with world: simulated, not with {scenario.world}")
    torn = any("and dies after" in line for line in scenario.schedule)
    model = model_of(
        scenario, losses=MANY, timers=MANY, crashes=MANY, repeats=MANY, torn=torn, exact=True,
        telling=True,
    )  # fmt: skip
    trace = follow(model, scenario.schedule).trace
    verdicts = run_checks(
        trace,
        scenario.checks,
        n=scenario.parties,
        policy=scenario.policy,
        faulty=model.liars or None,
    )
    return trace, Tracker(trace, 0, scenario.parties), tuple(verdicts)
