"""What parties elsewhere told of themselves, as rows of our trace, and what ours tell.

Rows of a party are about that party alone: whatever else it says is dropped, faults and the host's
own remarks among it. Its clock is not ours: its rows are moved so that none lies in the future,
and by the least that it ever took.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from mpclab.core import notes
from mpclab.core.ids import SERVER, STRIDE, Party
from mpclab.core.telling import ROWS, TellRows, Told, Unheard
from mpclab.core.wire import decoder
from mpclab.trace import rows
from mpclab.trace.fold import WEAKEST_FIRST
from mpclab.trace.log import Trace

MOST = 300_000
"""Rows of one party, with those about its coming and going; more are not taken."""
MOST_BYTES = 64 << 20
"""Bytes that one party may tell, rows or not; more are not looked at."""
PIECE = 40 << 10
"""Bytes of rows that are told at once, at most: in base64 they fit a signaling message."""

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode: Callable[[bytes], rows.Row] = decoder(rows.Row, "json")  # type: ignore[assignment]
_HOST = (
    notes.Started, notes.Restarted, notes.Resumed, notes.Paused, notes.Crashed, notes.Removed,
    notes.Broken,
)  # fmt: skip
"""Notes that the host writes of a party, when they have no path."""
_SERVERS = (
    notes.Opened, notes.Joined, notes.Left, notes.Closed, notes.JoinRefused, notes.Expelled,
)  # fmt: skip
"""What only the server says."""
_LARGEST = 1 << 62
_VIA = ("link", "relay", "pieces", "none")


class Ears:
    """Takes what parties elsewhere tell into a trace.

    Args:
        now: our time, µs.
    """

    def __init__(self, trace: Callable[[], Trace], now: Callable[[], int]) -> None:
        self._trace = trace
        self._now = now
        self._ahead: dict[Party, int] = {}  # µs to add to its times
        self._heard: dict[Party, tuple[int, int]] = {}  # who tells → its life, its next number
        self._count: dict[Party, int] = {}
        self._bytes: dict[Party, int] = {}
        self._gone: set[Party] = set()

    def hear(self, base: Party, news: Told | Unheard) -> None:
        """One output of `signaling.telling`, or of the server."""
        actor, now = base + news.party, self._now()
        if type(news) is Unheard:
            if actor not in self._gone and actor in self._ahead:
                self._gone.add(actor)
                why = "not reached any more"
                self._take(rows.Noted(now, actor, (), notes.Crashed(why=why)))
            return
        assert type(news) is Told
        life, following = self._heard.get(actor, (0, 0))
        if news.life == life and news.first < following:
            return  # told by another way: to a party of ours, or to our server
        self._heard[actor] = news.life, news.first + news.count
        begins = news.life != life
        if actor not in self._ahead:
            self._take(rows.Noted(now, actor, (), notes.Started(elsewhere=True)))
        elif begins or actor in self._gone:
            self._take(rows.Noted(now, actor, (), notes.Restarted(amnesia=False)))
        ahead = now - news.at
        if begins or ahead < self._ahead.get(actor, ahead + 1):
            self._ahead[actor] = ahead
        self._gone.discard(actor)
        for line in news.rows.splitlines():
            size = self._bytes[actor] = self._bytes.get(actor, 0) + len(line) + 1
            if size > MOST_BYTES:
                return
            if (row := self._read(base, news.party, line, now)) is not None:
                self._take(row)

    def lose(self, base: Party) -> None:
        """Nobody of the session whose actors begin at `base` is heard any more."""
        for actor in sorted(self._ahead):
            if base < actor <= base + STRIDE:
                self.hear(base, Unheard(actor - base))

    def _take(self, row: rows.Row) -> None:
        count = self._count[row.actor] = self._count.get(row.actor, 0) + 1
        if count <= MOST:
            self._trace().append(row)

    def _read(self, base: Party, party: Party, line: bytes, now: int) -> rows.Row | None:
        """A row as one of ours; None: it is not about who told it, or nothing to be told."""
        try:
            row = _decode(line)
        except msgspec.DecodeError:
            return None
        if row.actor != party or type(row) in (rows.Fault, rows.Lied):
            return None
        if type(row) is rows.Noted and not _is_its_own(row, party):
            return None
        named = [getattr(row, name, 0) or 0 for name in ("sender", "peer", "party")]
        numbers = (*getattr(row, "to", ()), *named)
        counts = [getattr(row, name, 0) for name in ("id", "size", "attempt")]
        if not all(0 <= n < STRIDE for n in numbers) or not all(0 <= n < _LARGEST for n in counts):
            return None
        if type(row) is rows.Sent and (row.via not in _VIA or len(set(row.to)) != len(row.to)):
            return None
        if type(row) is rows.Linked and row.state not in WEAKEST_FIRST:
            return None
        at = min(max(0, row.at + self._ahead[base + party]), now)
        row = msgspec.structs.replace(row, at=at, actor=base + party)
        match row:
            case rows.Sent(to=to):
                return msgspec.structs.replace(row, to=tuple(_ours(base, p) for p in to))
            case rows.Delivered(sender=sender) | rows.Dropped(sender=sender):
                return msgspec.structs.replace(row, sender=_ours(base, sender))
            case rows.Linked(peer=peer):
                return msgspec.structs.replace(row, peer=_ours(base, peer))
            case rows.Blamed(party=guilty) if guilty is not None:
                return msgspec.structs.replace(row, party=_ours(base, guilty))
        return row


def _is_its_own(row: rows.Noted, party: Party) -> bool:
    """Whether a note is one that a party's machines make, of that party."""
    if isinstance(row.note, _SERVERS) or (not row.path and isinstance(row.note, _HOST)):
        return False
    return not isinstance(row.note, notes.Proposed) or row.note.by in (None, party)


def _ours(base: Party, party: Party) -> Party:
    return base + party if party != SERVER else SERVER


def pieces(about: Party, news: Iterable[rows.Row], now: int) -> Iterable[TellRows]:
    """New rows of `about`, as what it may tell; of the telling itself it tells nothing."""
    lines: list[bytes] = []
    size = 0
    for row in news:
        if row.actor != about or getattr(row, "path", ())[:1] == ROWS:
            continue
        if isinstance(row, rows.Fault | rows.Lied | rows.Persisted | rows.Fired):
            continue
        line = _encode(row) + b"\n"
        if size + len(line) > PIECE and lines:
            yield TellRows(b"".join(lines), len(lines), now)
            lines, size = [], 0
        if len(line) <= PIECE:
            lines.append(line)
            size += len(line)
    if lines:
        yield TellRows(b"".join(lines), len(lines), now)
