"""Connections to the simulated signaling server: streams with two ends, which close one by one.

As on TCP, what was sent before an end closed still arrives, and what arrives at a closed end is
lost; a client that connects again has a new connection, and nothing of the old one reaches it.
"""

from dataclasses import dataclass

from mpclab.core.ids import Party


@dataclass(slots=True)
class Connection:
    """One connection; `number` is what the server knows it by."""

    number: int
    actor: Party
    opens: int  # when both ends learn that it is open
    client: bool = True  # whether the client's end is open
    server: bool = True


class ServerConnections:
    """All connections of which an end is open.

    Attributes:
        address: where the server listens; None: it does not.
    """

    def __init__(self) -> None:
        self.address: tuple[str, int] | None = None
        self._all: dict[int, Connection] = {}
        self._next = 1

    def open(self, actor: Party, opens: int) -> Connection:
        self._next += 1
        it = self._all[self._next - 1] = Connection(self._next - 1, actor, opens)
        return it

    def get(self, number: int) -> Connection | None:
        return self._all.get(number)

    def of(self, actor: Party) -> Connection | None:
        """The client's connection, as far as it knows."""
        return next((it for it in self._all.values() if it.actor == actor and it.client), None)

    def at_server(self, actor: Party | None = None) -> list[Connection]:
        """Those whose server's end is open: all, or those of one client."""
        return [it for it in self._all.values() if it.server and actor in (None, it.actor)]

    def close(self, it: Connection, *, client: bool = False, server: bool = False) -> None:
        """Close one end or both."""
        it.client &= not client
        it.server &= not server
        if not it.client and not it.server:
            self._all.pop(it.number, None)
