"""`Telling`: parties tell of themselves, if they wish, to those who keep a trace of the session.

Who wants rows says so to every member, with the number of the first one that it lacks. Who tells
keeps its newest rows for those, signs every piece of them, and sends what they lack and what comes
up. Nobody has to tell, and nothing depends on what is told but what a lab shows.

A lab hears by a party of its own, or, where it has none in the session and hosts its signaling
server, by that: the server wants rows of the members then, and takes them over their connections.

A lab takes from a party rows about that party alone (`worlds.told`); so a liar can lie about
itself, as it can in every message, and in nobody's name. Pieces are signed over the session, the
life of the teller and the place of their first row, beside being sealed or on a confirmed link:
they can be shown to others. Memory: `KEPT` bytes at the teller; a listener hands on what it hears.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from mpclab.core.errors import PeerFault, UsageError
from mpclab.core.ids import SERVER, Party
from mpclab.core.machine import Ctx, Machine
from mpclab.core.peers import PeerDown, PeerUp
from mpclab.core.telling import TellRows, Told, Unheard, WantRows
from mpclab.crypto.identity import Identity, verify
from mpclab.signaling.messages import Rows, Wanted

KEPT: Final = 8 << 20
"""Bytes of rows that a teller keeps for those who come to want them."""
PIECE: Final = 256 << 10
"""Bytes of rows in one message, at most."""
AGAIN: Final = 4
"""How often who wants rows may ask again while it can be reached: each time it gets all that it
lacks, as it says."""
MOST_ROWS: Final = 1 << 53
"""Numbers of rows are less, so that they fit a message."""
LABEL: Final = "mpclab rows"


def life_number(incarnation: bytes) -> int:
    """The number of an incarnation. Who kept nothing has another one each time it starts, and who
    takes the seat of another has not its number, whatever that one told."""
    return 1 + int.from_bytes(incarnation[:6], "big")


class Listening:
    """What one listener has heard in a session, of whom.

    Args:
        server: whether it is the session's server that listens.
    """

    def __init__(self, session: str, *, server: bool = False) -> None:
        self._session = session
        self._place = session if server else ""
        self._heard: dict[Party, tuple[int, int]] = {}  # who tells → its life, its next number

    def __contains__(self, party: Party) -> bool:
        """Whether that party told anything."""
        return party in self._heard

    def wanted(self, party: Party) -> Wanted:
        """What to say to a party of which we want to hear."""
        return Wanted(*self._heard.get(party, (0, 0)))

    def take(self, sender: Party, key: bytes | None, msg: Rows) -> Told | None:
        """What is new in a piece; None: it was told already.

        Raises:
            PeerFault: the sender did not sign it, or it is malformed.
        """
        parts = (self._session, msg.life, msg.first, msg.count, msg.at, msg.rows)
        if key is None or not verify(key, LABEL, parts, msg.signature):
            raise PeerFault("rows that it did not sign")
        if len(msg.rows) > PIECE or msg.rows.count(b"\n") != msg.count or msg.life < 1:
            raise PeerFault("malformed rows")
        if msg.first + msg.count >= MOST_ROWS:
            raise PeerFault("malformed rows")
        life, following = self._heard.get(sender, (0, 0))
        if msg.life == life and msg.first < following:
            return None
        self._heard[sender] = msg.life, msg.first + msg.count
        return Told(sender, msg.rows, msg.at, msg.life, msg.first, msg.count, self._place)

    def lost(self, party: Party) -> Unheard:
        """What to say when a party that told cannot be reached any more."""
        return Unheard(party, self._place)


class Telling(Machine):
    """Tells, hears, or both.

    Args:
        keys: the members' identity keys, as they become known.
        life: the number of this incarnation of ours, `life_number`.
    """

    messages = Wanted | Rows

    def __init__(
        self, session: str, identity: Identity, life: int, keys: Mapping[Party, bytes]
    ) -> None:
        self._session = session
        self._identity = identity
        self._life = life
        self._keys = keys
        self.listens = False
        self._up: set[Party] = set()
        self._kept: deque[Rows] = deque()
        self._bytes = 0
        self._next = 0  # number of our next row
        self._to: dict[Party, int] = {}  # who wants ours → the number of the next
        self._asked: dict[Party, int] = {}  # who wants ours → how often it asked, while up
        self._heard = Listening(session)

    def on_ask(self, ctx: Ctx, ask: Any) -> None:
        match ask:
            case WantRows():
                self.listens = True
                for party in sorted(self._up):
                    self._want(ctx, party)
            case TellRows(rows, count, at):
                self._keep(rows, count, at)
                for party in sorted(self._to):
                    self._tell(ctx, party)
            case PeerUp(party):
                self._up.add(party)
                if self.listens:
                    self._want(ctx, party)
            case PeerDown(party):
                self._up.discard(party)
                self._to.pop(party, None)
                self._asked.pop(party, None)
                if party in self._heard:
                    ctx.output(self._heard.lost(party))
            case Wanted():
                self._is_wanted(ctx, SERVER, ask)
            case _:
                raise UsageError(f"no such ask of who tells: {type(ask).__name__}")

    def on_message(self, ctx: Ctx, sender: Party, msg: Wanted | Rows) -> None:
        match msg:
            case Wanted():
                self._is_wanted(ctx, sender, msg)
            case Rows() if self.listens:
                told = self._heard.take(sender, self._keys.get(sender), msg)
                if told is not None:
                    ctx.output(told)

    def _is_wanted(self, ctx: Ctx, by: Party, msg: Wanted) -> None:
        asked = self._asked[by] = self._asked.get(by, 0) + 1
        if asked > 1 + AGAIN:
            return  # a few bytes of it are megabytes of ours
        first = self._kept[0].first if self._kept else self._next
        self._to[by] = max(first, msg.since) if msg.life == self._life else first
        self._tell(ctx, by)

    # --- telling ----------------------------------------------------------------------------

    def _keep(self, rows: bytes, count: int, at: int) -> None:
        parts = (self._session, self._life, self._next, count, at, rows)
        signature = self._identity.sign(LABEL, *parts)
        self._kept.append(Rows(self._life, self._next, count, at, rows, signature))
        self._next += count
        self._bytes += len(rows)
        while self._bytes > KEPT and len(self._kept) > 1:
            self._bytes -= len(self._kept.popleft().rows)

    def _tell(self, ctx: Ctx, party: Party) -> None:
        for piece in self._kept:
            if piece.first >= self._to[party]:
                if party == SERVER:
                    ctx.report(piece)
                else:
                    ctx.send(party, piece)
                self._to[party] = piece.first + piece.count

    # --- hearing ----------------------------------------------------------------------------

    def _want(self, ctx: Ctx, party: Party) -> None:
        ctx.send(party, self._heard.wanted(party))
