"""`mpclab party --host`: hosts the next signaling server when the one that we knew is gone.

Parties wait for each other by their ids, so that the first of them that can does it; the others
hear of it over the mesh and join. Of two servers one goes: the server that all were told of at
their start is senior to every other, and a party's to those of parties with higher ids. A host that
finds a senior server answering tells the others of that one and ends its own; links stay, and what
was decided is with the parties, so that no operation is lost.
"""

from __future__ import annotations

import time
from concurrent.futures import Future

from mpclab.cli.console import console
from mpclab.cli.text import line
from mpclab.core.errors import UsageError
from mpclab.core.ids import SECOND, Party
from mpclab.core.node import Node
from mpclab.lab.lab import Lab
from mpclab.signaling.client import Client
from mpclab.signaling.party import SIGNALING, HostedServer
from mpclab.signaling.rooms import build_server
from mpclab.signaling.status import RoomsSettings
from mpclab.worlds.real.websocket import WebSocketWorld

HOST_AFTER = 4.0
"""Seconds without a server, times our id, before we host one."""
TELL_EVERY = 5.0
"""Seconds between two messages to the others that we do."""
LOOK_EVERY = 5.0
"""Seconds between two looks for a senior server."""


class Heir:
    """Hosts the next signaling server, for as long as no senior one answers.

    Args:
        place: where to listen: a port, or address and port.
        first: the url of the server that all were told of at their start.

    Raises:
        UsageError: `place` is malformed.
    """

    def __init__(self, lab: Lab, me: Party, place: str, first: str) -> None:
        address, _, port = place.rpartition(":")
        if not (port.isascii() and port.isdigit() and int(port) < 65536):
            raise UsageError(f"--host {place}: write PORT or ADDRESS:PORT")
        assert isinstance(lab.world, WebSocketWorld)
        self._lab, self._world = lab, lab.world
        self._me = me
        self._first = first
        self._address, self._port = address.strip("[]") or "127.0.0.1", int(port)
        self._missed_at: float | None = None
        self._url = ""  # of our server, while we host
        self._told_at = 0.0
        self._looked_at = 0.0
        self._looks: list[tuple[str, Future[bool]]] = []  # for senior servers

    def look(self, is_in: bool) -> None:
        """Do what is due; `is_in`: the party is in its session now."""
        now = time.monotonic()
        self._missed_at = None if is_in else self._missed_at or now
        if not self._url:
            if self._missed_at is not None and now - self._missed_at > HOST_AFTER * self._me:
                self._host(now)
            return
        if now - self._told_at > TELL_EVERY:
            self._told_at = now
            self._tell(self._url)
        if senior := self._senior(now):
            console.print(line("another signaling server goes on, ours ends: ", senior))
            self._tell(senior)
            self._world.stop_server()
            self._url = ""

    def _host(self, now: float) -> None:
        rooms = RoomsSettings(rate=2_000, burst=4_000, ping_every=2 * SECOND)
        try:
            self._url = self._world.host_server(build_server(rooms), self._address, self._port)
        except UsageError as error:  # another party of this machine was quicker, say
            self._missed_at = now
            console.print(line((f"cannot be the next signaling server: {error}", "yellow")))
        else:
            self._told_at, self._looked_at, self._looks = 0.0, now, []
            console.print(line("🟢 the signaling server is gone; the next one: ", self._url))

    def _tell(self, url: str) -> None:
        self._world.ask(self._me, (), HostedServer(url))

    def _senior(self, now: float) -> str:
        """The url of a senior server that answers; "": none is known to."""
        if not self._looks:
            if now - self._looked_at < LOOK_EVERY:
                return ""
            self._looked_at = now
            told = self._world.look(self._me, _other_servers)
            urls = [self._first, *(told[p] for p in sorted(told) if p < self._me)]
            self._looks = [(url, self._world.answers(url)) for url in dict.fromkeys(urls)]
        if not all(look.done() for _, look in self._looks):
            return ""
        looks, self._looks = self._looks, []
        return next((url for url, look in looks if look.result()), "")


def _other_servers(node: Node) -> dict[Party, str]:
    client = node.machine(SIGNALING)
    assert isinstance(client, Client)
    return client.other_servers
