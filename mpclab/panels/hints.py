"""Hints for the next step: a stage of the story and one sentence, from what the trace shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from typing import Final, NamedTuple

from mpclab.core.ids import SECOND, Party
from mpclab.lab import Lab
from mpclab.panels.controls import party_tips
from mpclab.trace.fold import CRASHED, PAUSED, UP, Operation, State

_LONG: Final = 600 * SECOND  # a countdown from further away tells nothing
STEPS: Final = ("Server", "Spawn", "Join", "Connect", "Propose", "Vote", "Commit")
_NAMED: Final = 12  # parties in one sentence
LINKED: Final = ("confirmed", "relay")


class Hint(NamedTuple):
    """`step` is an index of `STEPS`; `button` the test id of the button to press, if one is."""

    step: int
    words: str
    button: str = ""


def hint(lab: Lab, state: State, *, playing: bool = False) -> Hint:
    """The hint for the next step in `lab`, whose trace folds to `state`.

    A scenario file that is `playing` lets time pass by itself.
    """
    if lab.closed:
        return _closed(state)
    group, n = lab.group, lab.scenario.parties
    served = bool(lab.url or lab.world.server_url or lab.scenario.mesh == "ready")
    present, joined = group.present, group.joined
    waiting = [p for p in present if p not in joined]
    if not served and (waiting or not joined):
        return Hint(0, "Start the signaling server: that is where parties meet.", "start")
    if len(present) < n:
        missing = n - len(present)
        return Hint(1, f"Spawn {missing} part{'y' if missing == 1 else 'ies'}.", "spawn")
    if waiting:
        return Hint(2, f"Have {_the(waiting)} join session {lab.scenario.session!r}.", "join")
    if playing:
        return Hint(5, "A scenario file is playing; End stops it.")
    if halted(lab):
        return Hint(3, "Time stands still. Press 1× to let it pass, or Step.", "")
    down = [p for p in present if _life(state, p) == CRASHED]
    up = [p for p in present if _life(state, p) == UP]
    if lab.scenario.mesh != "ready":
        pairs = list(combinations(up, 2))
        linked = sum(state.link(*pair) in LINKED for pair in pairs)
        if linked < len(pairs) and not state.operations:
            return Hint(3, f"Connecting: {linked} of {len(pairs)} pairs can talk.")
    if group.protocol is not None:
        return Hint(4, "Parties run a protocol of your own: what it puts out is under Operations.")
    return _operations(lab, state, down)


def _closed(state: State) -> Hint:
    """How a lab ended that can do no more, such as a played file's."""
    known = [o for o in state.operations.values() if o.proposed_at is not None]
    if not known:
        return Hint(0, "This lab is closed. Press Reset for a new one.", "reset")
    if any(o.split for o in known):
        return Hint(6, "It is over, and parties disagree. Press Reset for a new lab.", "reset")
    counts = Counter(o.status for o in known)
    words = ", ".join(f"{counts[s]} {s}" for s in counts)
    return Hint(7, f"It is over: {words}. Press Reset for a new lab.", "reset")


def halted(lab: Lab) -> bool:
    """Whether simulated time does not pass by itself."""
    return lab.scenario.world == "simulated" and not lab.speed


def _operations(lab: Lab, state: State, down: list[Party]) -> Hint:
    known = [o for o in state.operations.values() if o.proposed_at is not None]
    if not known:
        return Hint(4, "Everyone is connected. Propose something.", "propose")
    split = [o for o in known if o.split]
    if split:
        return Hint(6, "Parties disagree! Press Check to see the proof.", "check")
    unsettled = [o for o in known if o.status == "open"]
    if unsettled:
        one = unsettled[-1]
        return Hint(5, waiting_words(lab, state, one))
    last = known[-1]
    if last.status == "expired":
        why = next(iter(last.expiries.values()), "")
        return Hint(5, f"Expired: {why}. Nobody waits any more, but a late vote may commit it.")
    if down:
        return Hint(
            5, f"{_the(down).capitalize()} crashed. Restart, or propose and see who is missing."
        )
    if last.status == "aborted":
        why = next(iter(last.aborts.values()), "")
        return Hint(4, f"Aborted: {why}. Propose again, or change how parties vote.", "propose")
    failed = [p for p, word in sorted(last.standing.items()) if word == "failed"]
    if failed:
        return Hint(6, f"Committed, but it failed at {_the(failed)}: {last.results[failed[0]]}.")
    acting = [p for p, word in sorted(last.standing.items()) if word == "committed"]
    if acting:
        return Hint(6, f"Committed. Executing at {_the(acting)}; private numbers go in their rows.")
    return Hint(
        7, "Committed by everyone. Propose another, check it, or break something.", "propose"
    )


def voters_missing(lab: Lab, one: Operation) -> tuple[Party, ...]:
    """The parties that have not voted on an open operation."""
    return tuple(p for p in lab.group.everyone if p not in one.votes)


def waiting_words(lab: Lab, state: State, one: Operation) -> str:
    """The reason why an open operation waits, and what one may do about it."""
    missing = voters_missing(lab, one)
    by_hand = [
        p
        for p in missing
        if lab.group.votes.get(p) == "hand" and _life(state, p) == UP and p in one.standing
    ]
    if by_hand:
        verb = "votes" if len(by_hand) == 1 else "vote"
        left = (one.proposed_at or 0) + lab.scenario.patience - lab.now
        seconds = f" {max(0, -(-left // SECOND))} s left." if left < _LONG else ""
        return f"{_the(by_hand).capitalize()} {verb} by hand: approve or reject.{seconds}"
    gone = [p for p in missing if _life(state, p) != UP]
    if gone:
        words = {CRASHED: "crashed", PAUSED: "paused"}.get(_life(state, gone[0]), "away")
        return f"Waiting for {_the(gone)}, {words}: restart, or wait for the deadline."
    if missing:
        return f"Waiting for the vote{'s' * (len(missing) > 1)} of {_the(missing)}."
    blocked = [p for p, s in sorted(state.parties.items()) if s.blocked]
    if blocked:
        why = state.parties[blocked[0]].blocked
        return f"All votes are in, but {_the(blocked)} cannot go on: {why}."
    return "All votes are in; the agreement protocol is at work."


def _life(state: State, party: Party) -> str:
    known = state.parties.get(party)
    return known.life if known else UP


def _the(parties: Iterable[Party]) -> str:
    each = list(parties)
    if len(each) > _NAMED:
        return f"{len(each)} parties ({party_tips(each[:3])} among them)"
    return f"part{'y' if len(each) == 1 else 'ies'} {party_tips(each)}"
