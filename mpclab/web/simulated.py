"""A whole simulated lab in a page: what its controls may ask, and what the page is shown.

The page and this side speak JSON, as those of a tab do (`web.tab`). Time passes when the page says
so: it plays by asking for a little of it again and again, and nothing here waits.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from mpclab.consensus.registry import AGREEMENTS
from mpclab.core.errors import MpclabError, UsageError
from mpclab.core.ids import MS, SECOND
from mpclab.faults.fault import KINDS
from mpclab.lab.group import BY_HAND
from mpclab.lab.lab import Lab
from mpclab.lab.outcome import Outcome
from mpclab.lab.scenario import VOTES
from mpclab.mpc.exports import SignatureRecord
from mpclab.operations import OPERATIONS
from mpclab.trace import palette
from mpclab.trace.fold import UP
from mpclab.view.feed import Feed
from mpclab.web import shown as shown_as
from mpclab.worlds.browser.page import Page

FASTEST: Final = 10_000
"""Virtual milliseconds that may be asked for at once."""
MOST_PARTIES: Final = 25
"""Parties of a lab in a page: one thread computes for all of them."""
_TEXTS: Final = ("policy", "agreement", "session")
_NUMBERS: Final = ("parties", "threshold", "seed")


class Simulation:
    """A page's Python side.

    Args:
        page: performs two verbs: `state` (JSON to show) and `flow` (a chunk for the diagram).
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._lab: Lab | None = None
        self._feed: Feed | None = None
        self._verdicts: list[dict[str, Any]] = []

    def command(self, text: str) -> str:
        """Do what the page asks, and answer: `{"ok": …}` or `{"error": …}`."""
        try:
            given = json.loads(text)
            act = _COMMANDS.get(given.get("do"))
            if act is None:
                raise UsageError(f"a lab in a page cannot {given.get('do')!r}")
            return json.dumps({"ok": act(self, given)})
        except MpclabError as error:
            return json.dumps({"error": str(error)})
        finally:
            self._show()

    @property
    def lab(self) -> Lab:
        if self._lab is None:
            raise UsageError("there is no lab yet: begin one")
        return self._lab

    # --- what the page asks -------------------------------------------------------------------

    def _kinds(self, given: Mapping[str, Any]) -> Any:
        """What can be chosen."""
        return {
            "operations": {
                name: {"parameters": [shown_as.field(p) for p in spec.parameters]}
                for name, spec in OPERATIONS.items()
            },
            "agreements": {name: agreement.title for name, agreement in AGREEMENTS.items()},
            "votes": [*VOTES, BY_HAND],
            "faults": sorted(KINDS),
        }

    def _begin(self, given: Mapping[str, Any]) -> Any:
        """Begin a lab: its server runs, and its parties are in the session."""
        fields: dict[str, Any] = {k: str(given[k]) for k in _TEXTS if given.get(k)}
        try:
            fields |= {k: int(given[k]) for k in _NUMBERS if str(given.get(k, "")).strip()}
            loss = float(given.get("loss") or 0)
        except ValueError as error:
            raise UsageError(f"not a number: {error}") from None
        if fields.get("parties", 0) > MOST_PARTIES:
            raise UsageError(f"a page has room for {MOST_PARTIES} parties; a notebook has more")
        network = {"delay": str(given.get("delay") or "20ms"), "loss": loss}
        lab = Lab(network=network, **fields)
        lab.start_server()
        lab.spawn()
        lab.join()
        self._lab, self._verdicts = lab, []
        self._begin_flow()
        return {"ready": lab.now}

    def _propose(self, given: Mapping[str, Any]) -> Any:
        kind = str(given["kind"])
        if kind not in OPERATIONS:
            raise UsageError(f"operation {kind!r} is not known")
        params = shown_as.read_params(kind, given.get("params", {}))
        self._verdicts = []  # they were of the run as it was
        return self.lab.propose(by=int(given.get("by") or 1), kind=kind, **params).id

    def _vote(self, given: Mapping[str, Any]) -> Any:
        reason = "" if given["approve"] else "rejected by hand"
        self.lab.vote(int(given["party"]), str(given["op"]), bool(given["approve"]), reason)

    def _set_votes(self, given: Mapping[str, Any]) -> Any:
        self.lab.set_votes(int(given["party"]), str(given["votes"]))

    def _break(self, given: Mapping[str, Any]) -> Any:
        """Let something go wrong now: a fault as a scenario names it."""
        self.lab.inject(given["fields"])
        self._verdicts = []

    def _heal(self, given: Mapping[str, Any]) -> Any:
        done = str(self.lab.heal())
        for party in self.lab.parties:
            if self.lab.state.parties[party].life == "crashed":
                self.lab.restart(party)
        return done

    def _advance(self, given: Mapping[str, Any]) -> Any:
        """Let so many virtual milliseconds pass; whether anything is left to happen, and how many
        votes by hand are waited for."""
        milliseconds = float(given["milliseconds"])
        if not 0 <= milliseconds <= FASTEST:
            raise UsageError(f"milliseconds: {milliseconds:g} is not between 0 and {FASTEST}")
        lab = self.lab
        lab.wait(milliseconds / 1000)
        over = lab.group.settled() and lab.world.is_idle()
        return {"goes_on": not over, "hands": self._hands()}

    def _run(self, given: Mapping[str, Any]) -> Any:
        """Let time pass until every operation is settled everywhere, or one more vote by hand is
        waited for."""
        lab, before = self.lab, self._hands()
        lab.run(lambda: lab.group.settled() or self._hands() > before)

    def _hands(self) -> int:
        """How many votes by hand are waited for."""
        return sum(len(self._by_hand(o.op)) for o in self.lab.outcomes())

    def _step(self, given: Mapping[str, Any]) -> Any:
        return str(self.lab.step())

    def _rewind(self, given: Mapping[str, Any]) -> Any:
        """Be again as at a time, in virtual milliseconds."""
        self.lab.rewind(round(float(given["milliseconds"]) * MS))
        self._verdicts = []
        self._begin_flow()

    def _check(self, given: Mapping[str, Any]) -> Any:
        self._verdicts = [
            {"check": v.check, "verdict": v.verdict, "text": v.sentence} for v in self.lab.check()
        ]
        return {"digest": self.lab.trace.digest()}

    def _files(self, given: Mapping[str, Any]) -> Any:
        """The files of a signature, by name, in base64."""
        op, up = str(given["op"]), set(self.lab.world.actors)
        for party in [p for p in self.lab.parties if p in up]:
            view = self.lab.group.session_of(party)
            known = {o.op: o.data for o in view.operations} if view is not None else {}
            if known.get(op):
                files = SignatureRecord.from_bytes(known[op]).files()
                return {name: base64.b64encode(file).decode() for name, file in files.items()}
        raise UsageError("no party that is up has that signature")

    def _scenario(self, given: Mapping[str, Any]) -> Any:
        """What was done here, as a scenario file: JSON is YAML, and `mpclab run` reads it."""
        return json.dumps(self.lab.to_scenario().as_fields(), indent=2)

    # --- what the page is shown ---------------------------------------------------------------

    def _begin_flow(self) -> None:
        lab = self.lab
        everyone = range(1, lab.scenario.parties + 1)
        self._feed = Feed(lab.trace, title=f"session {lab.scenario.session}", parties=everyone)
        self._page.perform("flow", 0, "begin")

    def _show(self) -> None:
        self._page.perform("state", 0, json.dumps(self.state(), separators=(",", ":")))
        if self._feed is not None and (chunk := self._feed.read()) is not None:
            self._page.perform("flow", 0, "", chunk)

    def state(self) -> dict[str, Any]:
        """Everything that the page shows, as plain data."""
        lab = self._lab
        if lab is None:
            return {}
        s, known = lab.scenario, lab.state
        people = []
        for party in lab.group.everyone:
            one = known.parties.get(party)
            people.append(
                {
                    "party": party,
                    "colour": palette.party_colour(party),
                    "life": one.life if one is not None else UP,
                    "leads": one is not None and one.leader,
                    "phase": one.phase if one is not None else "",
                    "votes": lab.group.votes.get(party, "approve"),
                }
            )
        return {
            "now": lab.now / MS,
            "time": f"{lab.now / SECOND:.3f} s",
            "session": s.session,
            "parties": s.parties,
            "threshold": s.threshold,
            "policy": s.policy,
            "agreement": s.agreement,
            "people": people,
            "operations": [self._operation(o) for o in lab.outcomes()],
            "faults": [i.fault.sentence() for i in lab.injections if i.active],
            "settled": lab.group.settled(),
            "verdicts": self._verdicts,
        }

    def _operation(self, o: Outcome) -> dict[str, Any]:
        known = self.lab.state.operations[o.op]
        return {
            "op": o.op,
            "number": o.operation,
            "kind": o.kind,
            "by": o.by,
            "text": known.text,
            "status": o.status,
            "reason": o.reason,
            "result": o.result,
            "facts": [[name, value] for name, value in o.data.items()],
            "holdings": {str(party): held.status for party, held in o.parties.items()},
            "waits_for_hands": self._by_hand(o.op),
        }

    def _by_hand(self, op: str) -> list[int]:
        """Whose vote by hand an operation waits for."""
        known, votes = self.lab.state.operations[op], self.lab.group.votes
        return [
            party
            for party in self.lab.parties
            if votes.get(party) == BY_HAND
            and party not in known.votes
            and known.standing.get(party) == "open"
        ]


_COMMANDS: Final[dict[str, Callable[[Simulation, Mapping[str, Any]], Any]]] = {
    "kinds": Simulation._kinds,
    "begin": Simulation._begin,
    "propose": Simulation._propose,
    "vote": Simulation._vote,
    "set-votes": Simulation._set_votes,
    "break": Simulation._break,
    "heal": Simulation._heal,
    "advance": Simulation._advance,
    "run": Simulation._run,
    "step": Simulation._step,
    "rewind": Simulation._rewind,
    "check": Simulation._check,
    "files": Simulation._files,
    "scenario": Simulation._scenario,
}
