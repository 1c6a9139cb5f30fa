"""What is done from the picture: a deed that a page sends, done to the lab.

With a `row` the run is turned back to just after that row first, and a branch begins there.
"""

from __future__ import annotations

from typing import Any

from mpclab.core.errors import UsageError
from mpclab.lab import Lab

ANYWHERE = ("crash", "restart", "pause", "resume", "corrupt", "partition")
SIMULATED = ("branch", "lose", "hold", "duplicate")


def able(lab: Lab) -> list[str]:
    """What can be done to a lab from its picture."""
    if lab.closed:
        return []
    return [*ANYWHERE, *(SIMULATED if lab.scenario.world == "simulated" else ())]


def do_deed(lab: Lab, deed: dict[str, Any]) -> str:
    """Do it; what came of it, in words.

    Raises:
        UsageError: it cannot be done, or is none.
    """
    match deed:
        case {"verb": "branch", "row": int(row)}:
            return f"{lab.rewind_after(row)}; the clock stands: do something else, then let it run"
        case {"verb": "lose" | "hold" | "duplicate" as verb, "row": int(row), "sender": int(sender),
              "receiver": int(receiver), "id": int(id)}:  # fmt: skip
            back = ""
            if not deed.get("flying"):
                back = f"{lab.rewind_after(row)}; "
            if verb == "lose":
                return f"{back}{lab.lose(sender, id, receiver)}"
            if verb == "duplicate":
                return f"{back}{lab.duplicate(sender, id, receiver)}"
            until = deed.get("until")
            lasts = max(0, until - lab.now) if isinstance(until, int) else 1_000_000
            return f"{back}{lab.hold(sender, id, receiver, lasts)}"
        case {"verb": str(verb)} if verb in ANYWHERE:
            turned = deed.get("row")
            back = f"{lab.rewind_after(turned)}; " if isinstance(turned, int) else ""
            return f"{back}{_act(lab, verb, deed)}"
        case _:
            raise UsageError("this picture is of another version of mpclab; open it anew")


def _act(lab: Lab, verb: str, deed: dict[str, Any]) -> str:
    match verb, deed:
        case "partition", {"groups": [[*above], [*below]]}:
            if not above or not below:
                raise UsageError("draw the line between two parties: nobody is on one side")
            injected = lab.inject("partition", groups=[above, below])
            return f"✓ injected: {injected.fault.sentence()}"
        case "corrupt", {"party": int(party)}:
            return f"✓ injected: {lab.inject('lie', party=party).fault.sentence()}"
        case (("crash" | "restart" | "pause" | "resume"), {"party": int(party)}):
            return str(getattr(lab, verb)(party))
        case _:
            raise UsageError(f"{verb}: it is not said to whom")
