"""The WebRTC world: a real signaling server, and real data channels between the parties.

The mesh machine says what to do (offer, answer, candidates, hang up); this host does it with
aiortc, and tells it which fingerprints the transport really saw. Frames travel as
`Frame.to_bytes()`, one a message, ordered and reliable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from mpclab.core.effects import (
    AddCandidates,
    Blame,
    Delivered,
    Described,
    Effect,
    HangUp,
    LinkClosed,
    LinkOpened,
    MakeAnswer,
    MakeOffer,
    TakeAnswer,
)
from mpclab.core.errors import Strength, UsageError
from mpclab.core.ids import SERVER, Party, Path
from mpclab.core.wire import Frame
from mpclab.trace import rows
from mpclab.worlds.host import Host
from mpclab.worlds.real.addresses import is_loopback, offered
from mpclab.worlds.real.data_channel import (
    Certificate,
    Channel,
    ChannelSettings,
    is_farewell,
    prepare,
)
from mpclab.worlds.real.websocket import WebSocketWorld


class WebRTCWorld(WebSocketWorld):
    """Parties with data channels of their own.

    Args:
        channels: addresses, STUN and TURN servers, timing.
        others: as in `WebSocketWorld`.
    """

    name = "webrtc"

    def __init__(self, *, channels: ChannelSettings | None = None, **others: Any) -> None:
        if channels is not None and not isinstance(channels, ChannelSettings):
            raise UsageError(f"channels are ChannelSettings, not {channels!r}")
        self._channel_settings = channels or ChannelSettings()
        prepare(self._channel_settings)
        self._channels: dict[Party, dict[tuple[Party, int], Channel]] = {}
        self._open: dict[tuple[Party, Party], Channel] = {}  # (actor, peer) → the newest
        self._certificates: dict[Party, Certificate] = {}
        self._reached_by: dict[Party, str] = {}  # each actor's own end of its way to the server
        self._gate = asyncio.Semaphore(self._channel_settings.at_once)
        super().__init__(**others)

    # --- frames -----------------------------------------------------------------------------

    def way(self, host: Host, dst: int) -> Callable[[Frame], None] | None:
        if host.actor == SERVER or dst == SERVER:
            return super().way(host, dst)
        channel = self._open.get((host.actor, dst))
        if channel is None:
            return None
        return lambda frame: self._put(host, channel, frame)

    def fan_out(self, host: Host, to: tuple[int, ...], frame: Frame) -> bool:
        if host.actor == SERVER:
            return super().fan_out(host, to, frame)
        if SERVER in to:
            return False
        data = frame.to_bytes()
        for dst in to:
            channel = self._open.get((host.actor, dst))
            if channel is None or not channel.send(data):
                self.dropped(host.actor, host.base + dst, frame.id, "no link")
        return True

    def _put(self, host: Host, channel: Channel, frame: Frame) -> None:
        if not channel.send(frame.to_bytes()):
            self.dropped(host.actor, host.base + channel.peer, frame.id, "no link")

    # --- links ------------------------------------------------------------------------------

    def link_verb(self, host: Host, effect: Effect) -> None:
        match effect:
            case MakeOffer(path, peer, attempt):
                self._new_channel(host, path, peer, attempt).make_offer()
            case MakeAnswer(path, peer, attempt, offer):
                self._new_channel(host, path, peer, attempt).make_answer(offer)
            case TakeAnswer(_, peer, attempt, answer):
                if channel := self._channel(host, peer, attempt):
                    channel.take_answer(answer)
            case AddCandidates(_, peer, attempt, candidates):
                if channel := self._channel(host, peer, attempt):
                    channel.add_candidates(candidates)
            case HangUp(_, peer, attempt, reason) if SERVER not in (host.actor, peer):
                if channel := self._channel(host, peer, attempt):
                    self._forget(host, channel)
                    channel.hang_up()
                    actor = host.base + peer
                    row = rows.Linked(self.now, host.actor, actor, "closed", attempt, reason)
                    self.trace.append(row)
            case _:
                super().link_verb(host, effect)

    def _addresses_of(self, actor: Party) -> tuple[str, ...]:
        """The addresses that an actor offers: the configured ones, or where it meets its server."""
        settings = self._channel_settings
        if settings.addresses is not None:
            return settings.addresses
        client = self._clients.get(actor)
        if client is not None and (local := client.local) is not None:
            self._reached_by[actor] = local[0]
        beyond = SERVER in self.actors and not is_loopback(self._bound[0])
        return offered(self._reached_by.get(actor, "127.0.0.1"), beyond)

    def _channel(self, host: Host, peer: Party, attempt: int) -> Channel | None:
        return self._channels.get(host.actor, {}).get((peer, attempt))

    def _new_channel(self, host: Host, path: Path, peer: Party, attempt: int) -> Channel:
        mine = self._channels.setdefault(host.actor, {})
        for older in [c for (p, _), c in mine.items() if p == peer]:
            self._forget(host, older)
            older.hang_up()
        channel = mine[peer, attempt] = Channel(
            path,
            peer,
            attempt,
            label=f"mpc-{_session_of(host)}",
            certificate=self._certificate_of(host.actor),
            settings=self._channel_settings,
            addresses=self._addresses_of(host.actor),
            gate=self._gate,
            spawn=self.spawn,
        )

        def described(kind: str, sdp: str, candidates: tuple[str, ...]) -> None:
            host.feed(Described(path, peer, attempt, kind, sdp, candidates))

        def opened(local: str, remote: str) -> None:
            self._open[host.actor, peer] = channel
            self.linked(host, LinkOpened(path, peer, attempt, local, remote))

        def closed(reason: str) -> None:
            self._forget(host, channel)
            self.linked(host, LinkClosed(path, peer, attempt, reason))

        def received(data: bytes) -> None:
            try:
                frame = Frame.from_bytes(data)
            except msgspec.DecodeError as error:
                why = f"malformed frame: {error}"
                self.note(host, Blame(path, host.base + peer, why, Strength.KNOWN))
                return
            host.feed(Delivered(peer, frame))

        channel.on_described, channel.on_open = described, opened
        channel.on_closed, channel.on_message = closed, received
        return channel

    def _forget(self, host: Host, channel: Channel) -> None:
        self._channels.get(host.actor, {}).pop((channel.peer, channel.attempt), None)
        if self._open.get((host.actor, channel.peer)) is channel:
            del self._open[host.actor, channel.peer]

    def _certificate_of(self, actor: Party) -> Certificate:
        known = self._certificates.get(actor)
        if known is None:
            known = self._certificates[actor] = Certificate.generateCertificate()
        return known

    def _reset(self, a: Party, b: Party) -> None:
        if SERVER in (a, b):
            super()._reset(a, b)
            return
        ends = [
            channel
            for actor, other in ((a, b), (b, a))
            if (host := self._hosts.get(actor)) is not None
            and (channel := self._open.get((actor, other - host.base))) is not None
        ]
        if not ends:
            raise UsageError(f"there is no open link between {a} and {b} to reset")
        for channel in ends:
            channel.give_up("connection reset")

    def descriptors(self) -> list[int]:
        own = [c for mine in list(self._channels.values()) for c in list(mine.values())]
        return super().descriptors() + [d for channel in own for d in channel.descriptors()]

    def excuses(self, context: dict[str, Any]) -> bool:
        return is_farewell(context)

    def drop_links(self, host: Host, *, goodbye: bool) -> None:
        for channel in self._channels.pop(host.actor, {}).values():
            if goodbye:
                channel.hang_up()
            else:
                channel.vanish()
        for key in [key for key in self._open if key[0] == host.actor]:
            del self._open[key]
        self._certificates.pop(host.actor, None)  # a new incarnation has a new one
        super().drop_links(host, goodbye=goodbye)


def _session_of(host: Host) -> str:
    """The session's id, if the machine at the top knows it: for the channel's label alone."""
    top = host.node.machine(host.node.top) if host.node is not None else None
    config = getattr(top, "config", top)
    return str(getattr(config, "session", ""))
