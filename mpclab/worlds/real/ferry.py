"""`Ferry`: connections to our signaling server for who reaches this process, and not its port.

A browser that shows a notebook speaks with the notebook's kernel by the notebook's own connection,
wherever the kernel runs; the port of a server there may be out of its reach. So its messages come
here, are said to the server as by any client, and the server's go back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from mpclab.worlds.real.websocket import WebSocketWorld
from mpclab.worlds.real.ws_client import Handlers, SocketClient

MOST: Final = 64
"""Connections at once."""
LONGEST: Final = 1 << 20
"""Bytes of one message, at most."""


class Ferry:
    """Carries messages both ways; all methods may be called from any thread.

    Args:
        world: has the server, or knows where it is.
        tell: called in the world's thread with a connection's name, what happened (`opened`,
            `received`, `closed`) and the text.
    """

    def __init__(self, world: WebSocketWorld, tell: Callable[[str, str, str], None]) -> None:
        self._world = world
        self._tell = tell
        self._clients: dict[str, SocketClient] = {}

    def open(self, name: str) -> None:
        """Connect to the server, under a name that is not in use."""
        self._world.call(self._open, name)

    def say(self, name: str, text: str) -> None:
        """Say one message there."""
        self._world.call(self._say, name, text)

    def close(self, name: str) -> None:
        """Hang up; nothing is told of this connection any more."""
        self._world.call(self._close, name)

    def _open(self, name: str) -> None:
        url = self._world.server_url
        if name in self._clients or len(self._clients) >= MOST:
            return
        if not url:
            self._tell(name, "closed", "no server is running here")
            return

        def closed(reason: str) -> None:
            if self._clients.pop(name, None) is not None:
                self._tell(name, "closed", reason)

        handlers = Handlers(
            partial(self._tell, name, "opened", ""),
            lambda text: self._tell(name, "received", text.decode(errors="replace")),
            closed,
        )
        client = self._clients[name] = SocketClient(url, handlers, self._world.trust)
        self._world.spawn(client.dial())

    def _say(self, name: str, text: str) -> None:
        client = self._clients.get(name)
        if client is None:
            return
        said = text.encode(errors="replace")
        if len(said) > LONGEST or not client.send(said):
            client.abort("a message that does not fit" if len(said) > LONGEST else "not connected")

    def _close(self, name: str) -> None:
        if (client := self._clients.pop(name, None)) is not None:
            client.hang_up()
            self._world.spawn(client.wait_closed(), closing=True)
