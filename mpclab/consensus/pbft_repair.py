"""What a PBFT replica does about messages that were lost, and after a crash.

Castro's thesis, §5.2: who lacks something sends its `PbftStatus`, and the others answer with
what it missed. Everything said again is what was said before, word for word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mpclab.consensus.pbft_messages import (
    KeptSlot,
    PbftCheckpoint,
    PbftCommit,
    PbftExecuted,
    PbftPrepare,
    PbftPrePrepare,
    PbftRequest,
    PbftStatus,
    Slot,
    digest_of,
)
from mpclab.consensus.quorum import Tally
from mpclab.core import notes
from mpclab.core.ids import Party
from mpclab.core.machine import Ctx

if TYPE_CHECKING:
    from mpclab.consensus.pbft import Pbft


def nudge(replica: Pbft, ctx: Ctx) -> None:
    if not (replica.pending or not replica.active or replica.seen > replica.executed):
        return
    replica.tries += 1
    for op in sorted(replica.mine):  # §4.1: the primary did not answer, so ask everybody
        ctx.multicast(ctx.others, PbftRequest(op, replica.pending[op]))
    ctx.multicast(ctx.others, status(replica))
    if not replica.active:
        ctx.multicast(ctx.others, replica.change(ctx))
    if replica.tries == replica.TRIES:
        missing = [p for p in ctx.others if p not in replica.heard | replica.heard_before]
        why = f"view {replica.view} has no quorum of {replica.quorum}"
        for op in sorted(replica.pending):
            ctx.note(notes.Blocked(op=op, waiting_for=tuple(missing), why=why))
    replica.heard_before, replica.heard = replica.heard, set()


def status(replica: Pbft) -> PbftStatus:
    return PbftStatus(replica.view, replica.active, replica.executed, tuple(sorted(replica.wanted)))


def on_status(replica: Pbft, ctx: Ctx, sender: Party, msg: PbftStatus) -> None:
    if sender == ctx.me:
        return
    if msg.executed < replica.executed:
        page: list[PbftRequest] = []
        size = 0
        for request in replica.history[msg.executed : msg.executed + 32]:
            size += len(request.value)
            if page and size > 128 * 1024:
                break
            page.append(request)
        ctx.send(sender, PbftExecuted(msg.executed + 1, tuple(page)))
        if replica.stable > msg.executed:
            ctx.send(sender, PbftCheckpoint(replica.stable, replica.marks[replica.stable]))
    if msg.view < replica.view or (msg.view == replica.view and replica.active > msg.active):
        show_view(replica, ctx, sender)
    for digest in msg.wanted:
        if (held := replica.requests.get(digest)) is not None:
            ctx.send(sender, held)
    if msg.view == replica.view and replica.active and msg.active:
        for seq, slot in sorted(replica.slots.items()):
            if seq > msg.executed and slot.view == replica.view:
                repeat(replica, ctx, sender, seq, slot)


def repeat(replica: Pbft, ctx: Ctx, to: Party, seq: int, slot: Slot) -> None:
    """Say again what we said of one place."""
    if ctx.me != replica.primary(ctx, replica.view):
        if slot.digest in replica.requests:
            ctx.send(to, PbftPrepare(replica.view, seq, slot.digest))
    elif slot.digest in replica.requests:
        request = replica.requests[slot.digest]
        ctx.send(to, PbftPrePrepare(replica.view, seq, request.op, request.value))
    if slot.is_prepared:
        ctx.send(to, PbftCommit(replica.view, seq, slot.digest))


def show_view(replica: Pbft, ctx: Ctx, to: Party) -> None:
    if replica.active and replica.new_view is not None and to != ctx.me:
        ctx.send(to, replica.new_view)


def on_done(
    replica: Pbft, ctx: Ctx, sender: Party, first: int, requests: tuple[PbftRequest, ...]
) -> None:
    for seq, request in enumerate(requests[:32], first):
        if replica.executed < seq <= replica.executed + 4 * replica.WINDOW:
            digest = digest_of(request.op, request.value)
            if replica.claims.setdefault(seq, Tally()).add(sender, digest):
                replica.told[digest] = request
    behind = replica.executed
    while (tally := replica.claims.get(replica.executed + 1)) is not None:
        digest, count = tally.best()
        if count <= replica.f:
            break
        replica.execute(ctx, replica.told[digest])  # one honest party executed it there
    if replica.executed > behind:
        ctx.note(notes.CaughtUp(records=replica.executed - behind, source=sender))
        replica.told = {d: r for d, r in replica.told.items() if replica.claims}
        replica.execute_ready(ctx)
        if len(requests) == 32:
            ctx.multicast(ctx.others, status(replica))


def recover(replica: Pbft, ctx: Ctx) -> None:
    """Go on from what we stored: never say anything that contradicts an earlier life."""
    stored, decode = ctx.stored, msgspec.msgpack.decode
    if not stored:
        return
    if "view" in stored:
        replica.view, replica.active = decode(stored["view"], type=tuple[int, bool])
    if "stable" in stored:
        replica.stable = decode(stored["stable"], type=int)
    while (data := stored.get(f"done/{replica.executed + 1}")) is not None:
        replica.executed += 1
        replica.remember(ctx, decode(data, type=PbftRequest))
        if replica.executed % replica.INTERVAL == 0:
            replica.marks[replica.executed] = replica.chain
    replica.marks = {s: d for s, d in replica.marks.items() if s >= replica.stable}
    for key, data in stored.items():
        kind, _, name = key.partition("/")
        if kind == "request":
            replica.requests[bytes.fromhex(name)] = decode(data, type=PbftRequest)
        elif kind == "slot":
            kept = decode(data, type=KeptSlot)
            if int(name) <= replica.stable:
                ctx.persist(key, None)  # the crash came amid the collection of garbage
                continue
            slot = Slot(kept.view, kept.digest, prepared=kept.prepared)
            slot.accepted = dict(kept.accepted)
            replica.slots[int(name)] = slot
    replica.next = replica.seen = max(replica.executed, *replica.slots, 0)
    if "next" in stored:
        view, last = decode(stored["next"], type=tuple[int, int])
        replica.next = max(replica.next, last if view == replica.view else 0)
    for seq, slot in sorted(replica.slots.items()):
        if slot.view == replica.view and slot.digest in replica.requests:
            request = replica.requests[slot.digest]
            replica.assigned[request.op] = seq
            if request.op and request.op not in replica.done:
                replica.pending.setdefault(request.op, request.value)
    ctx.multicast(ctx.others, status(replica))
    if not replica.active:
        ctx.broadcast(replica.change(ctx))
    for seq, slot in sorted(replica.slots.items()):  # what we may have said is said again
        if slot.view == replica.view and replica.active and slot.digest in replica.requests:
            if ctx.me != replica.primary(ctx, replica.view):
                ctx.broadcast(PbftPrepare(replica.view, seq, slot.digest))
            if slot.prepared == (slot.view, slot.digest):
                slot.is_prepared = True
                ctx.broadcast(PbftCommit(replica.view, seq, slot.digest))
    replica.watch(ctx)
