"""`AsyncParty`: one party of a session, for a service that runs an event loop of its own.

    async def may_i(operation):           # its kind, its proposer, every parameter
        return operation.kind == "note" or "only notes here"

    async with AsyncParty("wss://…", session="s", party=1, parties=3, approve=may_i) as me:
        await me.ready()
        op = await me.propose("note", text="hello")
        print((await me.settled(op)).status)

The party's machines run in a thread of their own, as ever; what is asked of them crosses over in a
thread pool, so that the service's loop is never held up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.crypto.identity import Identity
from mpclab.lab.key_care import KeyInfo
from mpclab.lab.lab import Lab
from mpclab.lab.outcome import FINAL
from mpclab.signaling.events import NO_ENTRY
from mpclab.signaling.tickets import Entry
from mpclab.trace.rows import Noted
from mpclab.trace.tail import TailTrace

T = TypeVar("T")
Decision: TypeAlias = bool | str
"""True: approve. False, or the reason: reject."""
Approve: TypeAlias = Callable[[Any], Awaitable[Decision] | Decision]

_LOOK = 0.05  # seconds between two looks at what has happened
_OVER = (*FINAL, "expired")


class AsyncParty:
    """One party, from entering the `async with` to leaving it; then its seat is free.

    Args:
        url: the signaling server.
        session, party, parties: which session, who we are, how many there are.
        approve: decides on each operation, as it is shown (`OperationView`); may be `async`.
            None: nothing is approved but by `vote`. One that raises leaves us without a vote, and
            the error comes out of the next thing that is awaited.
        identity: our key; None: made anew, or kept in `store`.
        peers: keys that are known beforehand.
        store: a folder in which our state is kept.
        entry: whose room it is to be, and our ticket.
        relay: no data channels; everything goes by the server.
        options: as of the world's class: `authority`, `channels`, …
        fields: more of the scenario's: `threshold`, `policy`, `agreement`, …

    Raises:
        UsageError: something that cannot be, before anything is started.
    """

    def __init__(
        self,
        url: str,
        *,
        session: str,
        party: Party,
        parties: int,
        approve: Approve | None = None,
        identity: Identity | None = None,
        peers: Mapping[Party, bytes] | None = None,
        store: str | Path | None = None,
        entry: Entry = NO_ENTRY,
        relay: bool = False,
        options: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        self.me = party
        self._approve = approve
        self._deciding: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="mpclab party")
        self._lab = Lab(
            world="websocket" if relay else "webrtc", url=url, session=session, parties=parties,
            store=store, options={"trace": TailTrace(), **(options or {})}, **fields,
        )  # fmt: skip
        group = self._lab.group
        if identity is not None:
            group.given[party] = identity
        group.pinned.update(peers or {})
        group.entries[party] = entry

    async def __aenter__(self) -> Self:
        try:
            await self._do(self._lab.spawn, self.me, votes="hand")
            await self._do(self._join)
        except BaseException:
            await self._end()
            raise
        if self._approve is not None:
            self._deciding = asyncio.get_running_loop().create_task(self._decide())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._deciding is not None:
            self._deciding.cancel()
            await asyncio.wait((self._deciding,))
        with suppress(UsageError):  # it has ended by itself
            await self._do(self._lab.leave, self.me)
        await self._end()

    def _join(self) -> None:
        self._lab.join(wait=False)

    async def _end(self) -> None:
        await self._do(self._lab.close)
        self._threads.shutdown(wait=False)

    @property
    def key(self) -> bytes:
        """Our public key."""
        return self._lab.group.identity(self.me).public

    # --- verbs ----------------------------------------------------------------------------------

    async def ready(self, timeout: float = 30.0) -> None:
        """Wait until every other member can be reached.

        Raises:
            UsageError: that did not come to be in time: with who, or why the server refused us.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._until(self._reaches_all)
        except TimeoutError:
            raise UsageError(await self._do(self._lab.group.explain_unready)) from None

    async def propose(self, kind: str, **params: Any) -> str:
        """Propose an operation; its id."""
        operation = await self._do(lambda: self._lab.propose(by=self.me, kind=kind, **params))
        return operation.id

    async def vote(self, op: str, approve: bool, reason: str = "") -> None:
        """Approve or reject an operation."""
        await self._do(self._lab.vote, self.me, op, approve, reason)

    async def operation(self, op: str) -> Any:
        """An operation as we see it: an `OperationView`.

        Raises:
            UsageError: we have never heard of it.
        """
        found = [o for o in await self.operations() if o.op == op]
        if not found:
            raise UsageError(f"no operation {op!r} was heard of")
        return found[0]

    async def operations(self) -> tuple[Any, ...]:
        """All operations, in the order in which we heard of them."""
        view = await self._do(self._lab.group.session_of, self.me)
        return view.operations if view is not None else ()

    async def settled(self, op: str, timeout: float = 60.0) -> Any:
        """An operation, perhaps one that we are yet to hear of, once it has ended here: executed,
        failed, aborted or expired.

        Raises:
            TimeoutError: it has not, in time.
        """
        async with asyncio.timeout(timeout):
            while True:
                for one in await self.operations():
                    if one.op == op and one.status in _OVER:
                        return one
                await self._look()

    async def keys(self) -> tuple[KeyInfo, ...]:
        """The shared keys that we know."""
        return await self._do(self._lab.keys, self.me)

    def events(self) -> AsyncIterator[Any]:
        """Our notes (`mpclab.core.notes`) from this call on, as they are made."""
        return self._events(len(self._lab.trace.rows))

    async def _events(self, read: int) -> AsyncIterator[Any]:
        rows = self._lab.trace.rows
        while True:
            while read < len(rows):
                row = rows[read]
                read += 1
                if isinstance(row, Noted) and row.actor == self.me:
                    yield row.note
            await self._look()

    # --- beneath --------------------------------------------------------------------------------

    async def _decide(self) -> None:
        """Ask `approve` about each operation, once."""
        assert self._approve is not None
        asked: set[str] = set()
        while True:
            for one in await self.operations():
                if one.op in asked or one.mine is not None or one.status != "open":
                    continue
                asked.add(one.op)
                said = self._approve(one)
                decision = await said if isinstance(said, Awaitable) else said
                reason = decision if isinstance(decision, str) else ""
                with suppress(UsageError):  # it ended meanwhile
                    await self.vote(one.op, decision is True, reason or "not wanted here")
            await asyncio.sleep(_LOOK)

    def _reaches_all(self) -> bool:
        group = self._lab.group
        group.connected()  # it takes note of what the server says
        view = group.session_of(self.me)
        return view is not None and len(view.up) == group.scenario.parties - 1

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not await self._do(condition):
            await self._look()

    async def _look(self) -> None:
        """Wait a moment; raise what went wrong meanwhile."""
        if self._deciding is not None and self._deciding.done():
            await self._deciding
        await asyncio.sleep(_LOOK)

    async def _do(self, function: Callable[..., T], *args: Any, **more: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*args, **more))
