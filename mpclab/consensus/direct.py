"""`direct`: no second gate. A party that holds enough votes commits, on its own.

The original design of browser coordinators: everyone broadcasts its vote and counts what it
hears. One communication delay, n(n-1) vote messages, and safe while everyone is honest and
every message arrives: a party that tells two stories makes two honest parties commit
differently, which is the first lesson. Orders nothing: `Decided.index` is None.
"""

from typing import Any

from mpclab.consensus.agreement import Agreement, Decided, Learnt, Submit
from mpclab.core.machine import Ctx


class Direct(Agreement):
    """Decides each value at the moment when it is submitted here; sends nothing."""

    title = "direct (count the votes)"
    everyone_submits = True

    @classmethod
    def liars(cls, n: int) -> int:
        return 0  # there is nothing to know beyond the certificate, which proves itself

    def start(self, ctx: Ctx) -> None:
        self.decided: set[str] = set()

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value) if op not in self.decided and self.fits(op, value):
                self.decided.add(op)
                ctx.output(Decided(op, value))
            case Learnt(outcome):
                self.decided.add(outcome.op)
