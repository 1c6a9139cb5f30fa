"""The mistake: a party that has not counted enough votes itself believes the first that says so.

It looks like a shortcut for those who missed some votes. But it makes agreement depend on the
one party that happens to be heard first: if that one lies, differently to each, honest parties
commit different things. (`bracha` is what an echo must be to be safe.)
"""

from typing import Any

from mpclab.consensus.agreement import Agreement, Decided, Oppose, Refused, Submit
from mpclab.core import notes
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message


class LoneEcho(Message, frozen=True):
    """I have decided this."""

    op: str
    value: bytes


class OneEcho(Agreement):
    """`direct`, with an echo that one is enough of."""

    title = "direct, trusting one echo (wrong)"
    everyone_submits = True

    @classmethod
    def liars(cls, n: int) -> int:
        return 0

    def start(self, ctx: Ctx) -> None:
        self.done: set[str] = set()

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case Submit(op, value) if self.fits(op, value):
                if op not in self.done:
                    ctx.multicast(ctx.others, LoneEcho(op, value))
                self._decide(ctx, op, value)
            case Oppose(op, reason) if op not in self.done:
                ctx.output(Refused(op, reason))

    def on_message(self, ctx: Ctx, sender: Party, msg: LoneEcho) -> None:
        self._decide(ctx, msg.op, msg.value)  # wrong: the word of one

    def _decide(self, ctx: Ctx, op: str, value: bytes) -> None:
        if op not in self.done:
            self.done.add(op)
            ctx.note(notes.Decided(op=op, index=None))
            ctx.output(Decided(op, value))
