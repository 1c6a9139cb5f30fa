"""The base of Viewstamped Replication: a replica's log, view and status, and where they are stored.

Stored: `view` the view-number and the last normal view, `log/<op-number>` a command that is not
committed, and what `decided_log` stores. What a message tells of is stored before it goes out.
"""

from typing import ClassVar

import msgspec

from mpclab.consensus.decided_log import Command
from mpclab.consensus.led_log import LedLog
from mpclab.consensus.vr_messages import VrDoViewChange, VrGetState, VrRequest
from mpclab.core import notes
from mpclab.core.errors import PeerFault
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx
from mpclab.core.wire import Message

_encode = msgspec.msgpack.encode


class VrBase(LedLog):
    """The state of one replica."""

    title = "Viewstamped Replication"
    unvaried = (VrGetState,)

    OPEN_BYTES: ClassVar = 1024 * 1024
    """Bytes of values that are not committed, at most, unless they are of one command."""
    EARLY: ClassVar = 64
    """PREPAREs that are kept until those before them have come."""
    LEAP: ClassVar = 2**32
    """How far a view may be ahead of ours: more than an honest group ever changes."""
    LAST_VIEW: ClassVar = 2**53 - 2
    """Beyond, nobody leaves a view: the next could not be said."""

    view: int
    """view-number, stored with `normal`."""
    normal: int
    """The last view in which our status was normal."""
    is_normal: bool
    """Our status is normal; otherwise it is view-change."""
    entries: list[Command]
    """The log after the commit-number, which is the length of `log`: stored one by one."""
    acks: dict[Party, int]
    """As the primary: how far each party's log is known to equal ours."""
    early: dict[int, Command]
    """By op-number: what came before the one before it."""
    wishes: set[Party]
    """Those who have left the views before ours, as far as we know; for a view change."""
    reports: dict[Party, VrDoViewChange]
    """As the primary of the view to come: the logs of others, and ours."""
    reported: bool
    """We sent ours."""

    def start(self, ctx: Ctx) -> None:
        self.me, self.view, self.normal = ctx.me, 0, 0
        if (data := ctx.stored.get("view")) is not None:
            self.view, self.normal = msgspec.msgpack.decode(data, type=tuple[int, int])
        self.is_normal = self.view == self.normal
        self.entries = []
        self.forget_others()
        self.begin(ctx)
        for key in [key for key in ctx.stored if key.startswith("log/")]:
            if int(key.removeprefix("log/")) <= len(self.log):
                ctx.persist(key, None)  # committed; the crash came before
        while (data := ctx.stored.get(f"log/{self.number + 1}")) is not None:
            self.entries.append(msgspec.msgpack.decode(data, type=Command))
        self.leader = self.primary(ctx, self.view)
        self.wait(ctx)
        if self.is_normal:
            self.note_view(ctx)

    def primary(self, ctx: Ctx, view: int) -> Party:
        """§4: "chosen round-robin, starting with replica 1, as the system moves to new views"."""
        return view % ctx.n + 1

    @property
    def commit(self) -> int:
        """commit-number."""
        return len(self.log)

    @property
    def number(self) -> int:
        """op-number."""
        return len(self.log) + len(self.entries)

    # --- what the base asks ---------------------------------------------------------------------

    def request(self, op: str, value: bytes) -> Message:
        return VrRequest(op, value)

    def question(self, first: int) -> Message:
        return VrGetState(first)

    @property
    def leads(self) -> bool:
        return self.is_normal and self.leader == self.me

    @property
    def waiting(self) -> list[Command]:
        return self.entries if self.leads else []

    @property
    def is_settled(self) -> bool:
        return self.is_normal and not (self.backlog.pending or self.entries)

    # --- the log ------------------------------------------------------------------------------

    def append(self, ctx: Ctx, command: Command) -> None:
        self.entries.append(command)
        ctx.persist(f"log/{self.number}", _encode(command))

    def adopt(self, ctx: Ctx, commit: int, entries: tuple[Command, ...]) -> None:
        """After `commit`, our log is to be `entries`; up to there it is committed here.

        What differs goes first, from the end, and the view is stored last. A crash between leaves a
        part of the new log under the old `normal`. No harm: what goes was not committed, or it
        would be in the new log; and what has come is committed when f + 1 have stored the new view.
        """
        new = entries[self.commit - commit :]
        same = 0
        while same < min(len(new), len(self.entries)) and new[same] == self.entries[same]:
            same += 1
        while len(self.entries) > same:
            ctx.persist(f"log/{self.number}", None)
            self.entries.pop()
        for command in new[same:]:
            self.append(ctx, command)

    def commit_to(self, ctx: Ctx, commit: int) -> None:
        """All up to `commit` is committed, as far as we have it."""
        while self.commit < commit and self.entries:
            self.learn(ctx, self.entries[0])

    def learn(self, ctx: Ctx, command: Command) -> None:
        """The next command is committed."""
        if self.entries and self.entries[0] != command:
            self.adopt(ctx, self.commit, ())  # what we had was of a view that is over
        number = self.commit + 1
        had = bool(self.entries)
        self.log.add(ctx, command)
        if had:
            self.entries.pop(0)
            ctx.persist(f"log/{number}", None)
        self.decide(ctx, command)

    # --- the status ---------------------------------------------------------------------------

    def leave(self, ctx: Ctx, view: int) -> None:
        """We accept nothing of earlier views any more: stored before we say so."""
        self.view, self.is_normal = view, False
        self.leader = self.primary(ctx, view)
        self.forget_others()
        ctx.persist("view", _encode((self.view, self.normal)))
        ctx.cancel_timer("heartbeat")
        ctx.note(notes.Phase(phase="view-change", view=view))
        self.wait(ctx)

    def forget_others(self) -> None:
        self.acks, self.early, self.reports = {}, {}, {}
        self.wishes, self.reported = set(), False

    def enter(self, ctx: Ctx) -> None:
        """Our status is normal again, with the log of this view."""
        self.normal, self.is_normal, self.backoff = self.view, True, 1
        self.forget_others()
        ctx.persist("view", _encode((self.view, self.normal)))
        self.note_view(ctx)
        self.wait(ctx)

    def note_view(self, ctx: Ctx) -> None:
        ctx.note(notes.EnteredView(view=self.view))
        if self.leads:
            ctx.note(notes.BecameLeader(view=self.view))
            ctx.set_timer("heartbeat", self.options.beat, background=True)
            self.watch(ctx)

    def is_near(self, view: int) -> None:
        if view > self.view + self.LEAP:
            raise PeerFault(f"view {view} is absurd: ours is {self.view}")
