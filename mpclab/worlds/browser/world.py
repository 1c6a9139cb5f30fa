"""`BrowserWorld`: nodes in a tab. Links are the page's WebSockets and data channels.

Python runs in a worker, which has no peer connections: so what is done with links are verbs to the
page (`page.Page`), and what happens to them are the methods here that the page calls. A party's
server may be one on the network (`ws:`, `wss:`), another tab of the same browser (`tab:NAME`) or of
one that invited us with a code (`code:`), or behind the notebook that shows us (`frame:`); and this
world may itself host the server, which is the machine of `signaling.rooms` as ever.

The fingerprint of the peer's certificate is that of its description: a browser completes no
handshake with another one (W3C WebRTC §5.5; RFC 8827 §6.5). Where it shows the certificate it used,
the page compares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import assert_never

import msgspec

from mpclab.core import notes
from mpclab.core.effects import (
    AddCandidates,
    Blame,
    CancelTimer,
    Connect,
    Delivered,
    Described,
    Effect,
    HangUp,
    Lied,
    LinkClosed,
    LinkOpened,
    MakeAnswer,
    MakeOffer,
    Note,
    Output,
    Persist,
    Received,
    Route,
    Send,
    SetTimer,
    Started,
    TakeAnswer,
)
from mpclab.core.errors import Strength, UsageError
from mpclab.core.ids import SERVER, Party, Path
from mpclab.core.wire import Frame
from mpclab.trace import rows
from mpclab.trace.log import Trace
from mpclab.worlds.base import Build
from mpclab.worlds.browser.loop import PageLoop
from mpclab.worlds.browser.page import Page
from mpclab.worlds.browser.store import PageStore
from mpclab.worlds.failures import NodeFailed
from mpclab.worlds.host import Host
from mpclab.worlds.live import LiveWorld
from mpclab.worlds.sdp import bare, candidates_of, fingerprint_of
from mpclab.worlds.socket_text import SIGNALING, from_text, to_text
from mpclab.worlds.stores import Items, MemoryStore, Store


class _Link:
    """One link of an actor, by its number at the page."""

    __slots__ = ("actor", "attempt", "is_open", "path", "peer", "remote")

    def __init__(self, actor: Party, path: Path, peer: int, attempt: int) -> None:
        self.actor = actor
        self.path = path
        self.peer = peer
        self.attempt = attempt
        self.is_open = False
        self.remote = ""  # the fingerprint in the peer's description


class BrowserWorld(LiveWorld):
    """A tab.

    Args:
        page: performs verbs.
        on_step: called after each step of a node here.
    """

    name = "browser"

    def __init__(
        self,
        page: Page,
        *,
        on_step: Callable[[], None] = lambda: None,
        trace: Trace | None = None,
    ) -> None:
        self._on_step = on_step
        self.page = page
        self._kept: Items | None = None
        self._ice: dict[str, object] = {}  # how links are made, for `RTCPeerConnection`
        self._url = ""
        self._served = ""  # the name under which we serve
        self._links: dict[int, _Link] = {}
        self._to_server: dict[Party, int] = {}  # actor → its link to the server
        self._channels: dict[tuple[Party, int], int] = {}  # (actor, peer) → the newest link
        self._behind: dict[int, Party] = {}  # at our server: connection → party
        self._next = 1
        super().__init__(PageLoop(page, self._stray), trace=trace)

    # --- the World interface ------------------------------------------------------------------

    @property
    def server_url(self) -> str:
        return f"tab:{self._served}" if self._served else self._url

    def enter(
        self,
        url: str,
        kept: Items | None,
        ice: Sequence[Mapping[str, str]] = (),
        *,
        relay_only: bool = False,
    ) -> None:
        """From now on parties meet at `url` ("": the server that this tab hosts), and what they
        persist is kept with what was `kept` before; None: it is not kept. `ice`: STUN and TURN
        servers as `RTCPeerConnection` takes them; `relay_only`: links go by TURN alone."""
        self._url, self._kept = url, kept
        self._ice = {"ice": ice, "relay_only": relay_only}

    def renew(self, trace: Trace) -> None:
        """Write rows to another trace from now on: who was here has left."""
        self.trace = trace
        self._told.clear()

    def kept(self, actor: Party) -> Items:
        """What a party here has stored."""
        return self.alive(actor).store.load()

    def host_server(self, build: Build, address: str = "", port: int = 0) -> str:
        """Be the server for tabs of this browser; `address` is the name that they know it by."""
        if SERVER in self.actors:
            raise UsageError("this tab is a server already; stop it first")
        if not address:
            raise UsageError("a server in a tab needs a name")
        self._served = address
        self.page.perform("listen", 0, address)
        self.host(SERVER, build)
        return self.server_url

    def stop_server(self, *, kill: bool = False) -> None:
        host = self.alive(SERVER)
        self.page.perform("hush", 0)
        host.end()
        self.remark(SERVER, notes.Crashed())
        self.drop_links(host, goodbye=not kill)
        self.hear_no_more()
        self._served = ""

    def restart_server(self, *, amnesia: bool = True) -> None:
        raise UsageError("a server in a tab does not come back: start another one")

    def reset(self, a: Party, b: Party) -> None:
        """Close the link of a party here to another, or to the server: it is told."""
        ends = [n for n, link in self._links.items() if (link.actor, link.peer) in ((a, b), (b, a))]
        if not ends:
            raise UsageError(f"there is no link between {a} and {b} to reset")
        for number in ends:
            self.page.perform("close", number, "connection reset")
            self.closed(number, "connection reset")

    def run(self, until: Callable[[], bool] | None = None, *, limit: int | None = None) -> bool:
        raise UsageError("a tab does not wait: its page tells it what happens")

    def close(self) -> None:
        for host in self._hosts.values():
            host.end()
        for host in self._hosts.values():
            self.drop_links(host, goodbye=True)
        self._delays.close()

    def _store_of(self, actor: Party) -> Store:
        if actor == SERVER or self._kept is None:
            return MemoryStore()
        return PageStore(self.page, self._kept)

    def stepped(self) -> None:
        super().stepped()
        self._on_step()

    def _stray(self, error: Exception) -> None:
        """A callback raised: a bug of ours."""
        self.failures.append(NodeFailed(rows.WORLD, self.now, Started(), error, self.seed))

    def actor_of(self, host: Host, number: int) -> Party:
        """At the server, who is behind a connection; strangers are negative: −1 − number."""
        if host.actor == SERVER:
            return self._behind.get(number, -1 - number)
        return super().actor_of(host, number)

    def note(self, host: Host, effect: Effect) -> None:
        super().note(host, effect)
        if host.actor != SERVER:
            return
        if type(effect) is Blame and effect.party is not None and effect.party in self._links:
            # Its message broke a handler: its sender goes, and nobody else.
            self.page.perform("close", effect.party, effect.reason)
            self.closed(effect.party, effect.reason)
        elif type(effect) is Note and isinstance(effect.note, notes.Joined):
            if effect.note.connection is not None:
                self._behind[effect.note.connection] = effect.note.party

    # --- frames -------------------------------------------------------------------------------

    def way(self, host: Host, dst: int) -> Callable[[Frame], None] | None:
        if host.actor == SERVER:
            link = self._links.get(dst)
            if link is None or link.actor != SERVER:
                return None
            return partial(self._say, dst)
        if dst == SERVER:
            number = self._to_server.get(host.actor)
            if number is None or not self._links[number].is_open:
                return None
            return partial(self._say, number)
        number = self._channels.get((host.actor, dst))
        if number is None or not self._links[number].is_open:
            return None
        return partial(self._send, number)

    def _say(self, number: int, frame: Frame) -> None:
        self.page.perform("say", number, to_text(frame).decode())

    def _send(self, number: int, frame: Frame) -> None:
        self.page.perform("send", number, "", frame.to_bytes())

    # --- links --------------------------------------------------------------------------------

    def link_verb(self, host: Host, effect: Effect) -> None:
        match effect:
            case Connect(path, url):
                self._connect(host, path, url)
            case HangUp(_, number, _, reason) if host.actor == SERVER:
                if number in self._links:
                    self.page.perform("close", number, reason)
                    self.closed(number, reason)
            case HangUp(_, peer, _, reason) if peer == SERVER:
                if (known := self._to_server.get(host.actor)) is not None:
                    self._end(known, reason)
            case MakeOffer(path, peer, attempt):
                wanted = {"label": _label(host), **self._ice}
                self.page.perform("offer", self._new(host, path, peer, attempt), json.dumps(wanted))
            case MakeAnswer(path, peer, attempt, offer):
                number = self._new(host, path, peer, attempt)
                self._links[number].remote = fingerprint_of(offer)
                wanted = {"label": _label(host), **self._ice, "sdp": bare(offer)}
                self.page.perform("answer", number, json.dumps(wanted))
            case TakeAnswer(_, peer, attempt, answer):
                if (known := self._channel(host, peer, attempt)) is not None:
                    self._links[known].remote = fingerprint_of(answer)
                    self.page.perform("take", known, bare(answer))
            case AddCandidates(_, peer, attempt, candidates):
                if (known := self._channel(host, peer, attempt)) is not None:
                    self.page.perform("candidates", known, json.dumps(candidates))
            case HangUp(_, peer, attempt, reason):
                if (known := self._channel(host, peer, attempt)) is not None:
                    self._end(known, reason)
                    actor = host.base + peer
                    row = rows.Linked(self.now, host.actor, actor, "closed", attempt, reason)
                    self.trace.append(row)
            case (
                Send() | SetTimer() | CancelTimer() | Persist() | Output() | Blame() | Note()
                | Lied() | Received() | Route()
            ):  # fmt: skip
                pass  # not for links
            case _:
                assert_never(effect)

    def _connect(self, host: Host, path: Path, url: str) -> None:
        if (old := self._to_server.get(host.actor)) is not None:
            self._end(old, "connecting anew")
        url = url or self.server_url
        if not url.startswith(("ws:", "wss:", "tab:", "code:", "frame:")):
            self.linked(host, LinkClosed(path, SERVER, 0, "connection refused"))
            return
        number = self._number(_Link(host.actor, path, SERVER, 0))
        self._to_server[host.actor] = number
        self.page.perform("connect", number, url)

    def _number(self, link: _Link) -> int:
        number, self._next = self._next, self._next + 1
        self._links[number] = link
        return number

    def _new(self, host: Host, path: Path, peer: Party, attempt: int) -> int:
        if (older := self._channels.get((host.actor, peer))) is not None:
            self._end(older, "dialing anew")
        number = self._number(_Link(host.actor, path, peer, attempt))
        self._channels[host.actor, peer] = number
        return number

    def _channel(self, host: Host, peer: Party, attempt: int) -> int | None:
        number = self._channels.get((host.actor, peer))
        return number if number is not None and self._links[number].attempt == attempt else None

    def _forget(self, number: int) -> _Link | None:
        link = self._links.pop(number, None)
        if link is None:
            return None
        if self._to_server.get(link.actor) == number:
            del self._to_server[link.actor]
        if self._channels.get((link.actor, link.peer)) == number:
            del self._channels[link.actor, link.peer]
        return link

    def _end(self, number: int, reason: str) -> None:
        """Close a link of ours; its node knows."""
        if self._forget(number) is not None:
            self.page.perform("close", number, reason)

    def drop_links(self, host: Host, *, goodbye: bool) -> None:
        mine = [number for number, link in self._links.items() if link.actor == host.actor]
        for number in mine:
            self._end(number, "the party left" if goodbye else "")

    # --- what the page tells ------------------------------------------------------------------

    def accepted(self) -> int:
        """A client of our server came; its number, by which the page calls it from now on.
        0: there is no server."""
        host = self._hosts.get(SERVER)
        if host is None or not host.alive:
            return 0
        link = _Link(SERVER, SIGNALING, self._next, 0)
        link.is_open = True
        return self._number(link)

    def greeted(self, number: int, origin: str) -> None:
        """The client that has this number can hear us. `origin`: as far as limits care."""
        link, host = self._of(number)
        if link is not None and host is not None and link.actor == SERVER:
            self.linked(host, LinkOpened(SIGNALING, number, origin=origin))

    def opened(self, number: int, shown: str = "") -> None:
        """A link can carry messages. `shown`: the fingerprint of the certificate that the browser
        says the peer used, if it says."""
        link, host = self._of(number)
        if link is None or host is None or link.is_open:
            return
        link.is_open = True
        if link.peer == SERVER:
            self.linked(host, LinkOpened(link.path, SERVER))
            return
        local, _, remote = shown.partition(" ")
        if remote and remote != link.remote:
            self.closed(number, "the peer's certificate is not that of its description")
            self.page.perform("close", number, "another certificate")
            return
        self.linked(host, LinkOpened(link.path, link.peer, link.attempt, local, link.remote))

    def closed(self, number: int, reason: str) -> None:
        """A link is gone, or could not be opened."""
        link, host = self._of(number)
        self._forget(number)
        if link is None or host is None:
            return
        self.linked(host, LinkClosed(link.path, link.peer, link.attempt, reason[:200]))

    def received(self, number: int, text: str) -> None:
        """One message from the server, or from a client of ours."""
        link, host = self._of(number)
        if link is None or host is None:
            return
        try:
            frame = from_text(text.encode())
        except (msgspec.DecodeError, UnicodeEncodeError):
            why = "malformed frame"
            self.page.perform("close", number, why)
            self.closed(number, why)
            return
        host.feed(Delivered(link.peer, frame))

    def described(self, number: int, kind: str, sdp: str) -> None:
        """Our own description of a link is ready."""
        link, host = self._of(number)
        if link is None or host is None:
            return
        found = candidates_of(sdp)
        host.feed(Described(link.path, link.peer, link.attempt, kind, bare(sdp), found))

    def carried(self, number: int, data: bytes) -> None:
        """One message on a data channel."""
        link, host = self._of(number)
        if link is None or host is None:
            return
        try:
            frame = Frame.from_bytes(data)
        except msgspec.DecodeError as error:
            why = f"malformed frame: {error}"
            self.note(host, Blame(link.path, host.base + link.peer, why, Strength.KNOWN))
            return
        host.feed(Delivered(link.peer, frame))

    def _of(self, number: int) -> tuple[_Link | None, Host | None]:
        link = self._links.get(number)
        if link is None:
            return None, None
        host = self._hosts.get(link.actor)
        return link, host if host is not None and host.alive else None


def _label(host: Host) -> str:
    """The label of the party's channels: for whoever looks at a connection."""
    top = host.node.machine(host.node.top) if host.node is not None else None
    config = getattr(top, "config", top)
    return f"mpc-{getattr(config, 'session', '')}"
