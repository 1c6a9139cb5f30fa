"""Known attacks on PBFT: scripts of a liar's own replica. Honest parties never come here.

* `equivocating-new-view`: the primary of a new view shows VIEW-CHANGEs from which the prepared
  requests are cut out, and gives the first place to another operation. Whoever decided the old one
  there, alone, is split from the rest, unless each replica checks what the NEW-VIEW shows (§4.4).
* `nothing-at-stake`: a primary gives two places in one order to the lower half of the parties, and
  in the other order to the rest; it and all that collude vote in both. It costs them nothing. That
  two quorums share an honest party is what stops them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mpclab.consensus.agreement import Attack, Sayings
from mpclab.consensus.pbft_messages import (
    PbftCommit,
    PbftNewView,
    PbftPrepare,
    PbftPrePrepare,
    digest_of,
)
from mpclab.consensus.pbft_views import sign_new_view
from mpclab.core.ids import Party
from mpclab.core.wire import Message


def equivocating_new_view(replica: Any, to: tuple[Party, ...], msg: Message) -> Sayings:
    now = replica.now
    if not isinstance(msg, PbftNewView):
        return [(to, msg)]
    if replica.keys[now.primary(msg.view)] != replica.identity.public:
        return [(to, msg)]  # another's, which we only show
    cut = tuple(msgspec.structs.replace(c, prepared=(), accepted=()) for c in msg.changes)
    shown = {c.party for c in msg.changes}
    fooled = tuple(p for p in to if p in shown)
    forged = sign_new_view(replica.identity, replica.session, msg.view, cut)
    told: Sayings = [(tuple(p for p in to if p not in shown), msg), (fooled, forged)]
    taken = {c.digest for change in msg.changes for c in change.prepared}
    for op, value in replica.backlog.pending.items():
        if (digest := digest_of(op, value)) not in taken:
            first = min((c.stable for c in msg.changes), default=0) + 1
            told += [
                (fooled, PbftPrePrepare(msg.view, first, op, value)),
                (fooled, PbftCommit(msg.view, first, digest)),
            ]
            break
    return told


def nothing_at_stake(replica: Any, to: tuple[Party, ...], msg: Message) -> Sayings:
    if not isinstance(msg, PbftPrePrepare | PbftPrepare | PbftCommit):
        return [(to, msg)]
    middle = (len(replica.now.members) + 1) // 2
    lower, upper = (tuple(p for p in to if (p > middle) is up) for up in (False, True))
    told: Sayings = [(lower, msg)]
    first = (msg.seq - 1) // 2 * 2 + 1
    slots = [replica.slots.slots.get(seq) for seq in (first, first + 1)]
    held = [replica.slots.requests.get(s.digest) if s else None for s in slots]
    if None not in held:  # the two places in the other order
        for seq, request in zip((first, first + 1), reversed(held), strict=True):
            assert request is not None
            digest = digest_of(request.op, request.value)
            match msg:
                case PbftPrePrepare(view):
                    told.append((upper, PbftPrePrepare(view, seq, request.op, request.value)))
                case _:
                    told.append((upper, type(msg)(msg.view, seq, digest)))
    return told


ATTACKS: Mapping[str, Attack] = {
    "equivocating-new-view": equivocating_new_view,
    "nothing-at-stake": nothing_at_stake,
}
