"""One WebRTC data channel, wrapped: aiortc behind a few verbs and three callbacks.

aiortc's API is the browser's; here it is made to fit hosts of machines. Descriptions carry no
candidates, candidates travel apart and all at once, the fingerprints told are those of the
certificates that the DTLS handshake really used, and every end of a link, ours or theirs, is
told exactly once and leaks nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ipaddress
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Final

import aioice.ice
import aiortc.rtcpeerconnection
from aiortc import (
    RTCCertificate,
    RTCConfiguration,
    RTCDataChannel,
    RTCDtlsFingerprint,
    RTCIceCandidate,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidAccessError, InvalidStateError
from aiortc.rtcdtlstransport import certificate_digest
from aiortc.rtcicetransport import parse_stun_turn_uri
from aiortc.sdp import candidate_from_sdp, candidate_to_sdp
from OpenSSL import SSL

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party, Path
from mpclab.worlds.real import consent
from mpclab.worlds.sdp import bare

WITH_AIORTC: Final = 256 * 1024
"""Bytes that aiortc is given at once: it takes all, and would make packets of all."""
MAX_WAITING: Final = 64 * 1024 * 1024
"""Bytes that may wait for a peer in all before its link is given up."""
STUCK_AFTER: Final = 10.0
"""Seconds in which a peer must take something of what waits for it: else it does not read."""
NAMES_WITHIN: Final = 3.0
"""Seconds in which names of machines (`….local`) must be resolved."""
CHANNEL: Final = 0


def _names_a_server(url: str) -> bool:
    """Whether aiortc can read it (RFC 7064, RFC 7065), host and port included."""
    try:
        known = parse_stun_turn_uri(url)
    except ValueError:
        return False
    return bool(known["host"]) and 0 < known["port"] < 65536


@dataclass(frozen=True)
class IceServer:
    """A STUN or TURN server: `stun:host:port`, `turn:host:port?transport=udp`, `turns:…`."""

    url: str
    username: str = ""
    credential: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not _names_a_server(self.url):
            raise UsageError(f"{self.url!r}: write stun:host:port or turn:host:port")
        if self.url.startswith("turn") and not (self.username and self.credential):
            raise UsageError(f"{self.url} needs a username and a credential")


@dataclass(frozen=True)
class ChannelSettings:
    """How data channels are made. Times in seconds.

    Attributes:
        addresses: our own addresses to offer; None: those by which we reach the signaling
            server (see `addresses`).
        ice_servers: STUN and TURN servers; none by default, and never a public one unasked.
        relay_only: offer no address of ours, only those of TURN servers.
        consent_every, consent_lost: how often a peer is asked whether it is there, and after how
            many questions without an answer it is gone: after 3.6 s at the most, while a process
            has no more than 56 ends of links (see `consent`). They hold for the whole process.
        at_once: handshakes under way at the same time: more do not end sooner, and the loop
            answers others later.
        patience: after how long a handshake no longer holds up the next.
    """

    addresses: tuple[str, ...] | None = None
    ice_servers: tuple[IceServer, ...] = ()
    relay_only: bool = False
    consent_every: float = 0.5
    consent_lost: int = 4
    at_once: int = 12
    patience: float = 4.0

    def __post_init__(self) -> None:
        for address in self.addresses or ():
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise UsageError(f"{address!r} is not an IP address of this machine") from None
        if self.relay_only and not any(s.url.startswith("turn") for s in self.ice_servers):
            raise UsageError("relay_only needs a TURN server among ice_servers")


class Certificate(RTCCertificate):
    """A party's certificate; its digests and TLS context are made once, not for each link."""

    def __init__(self, key: Any, cert: Any) -> None:
        super().__init__(key, cert)
        self.fingerprint: str = certificate_digest(cert, "sha-256").upper()
        self._context: SSL.Context | None = None

    def getFingerprints(self) -> list[RTCDtlsFingerprint]:
        return [RTCDtlsFingerprint(algorithm="sha-256", value=self.fingerprint)]

    def _create_ssl_context(self, srtp_profiles: Any) -> SSL.Context:
        if self._context is None:
            self._context = super()._create_ssl_context(srtp_profiles)
        return self._context


class Channel:
    """One end of one attempt at a link.

    Args:
        path, peer, attempt: whose it is; carried along for the owner.
        certificate: of our party, the same for all of its links.
        addresses: ours, to be offered.
        gate: how many handshakes may be under way.
        spawn: how to run a coroutine to its end; `closing=True`: one that frees something.
    """

    def __init__(
        self,
        path: Path,
        peer: Party,
        attempt: int,
        *,
        label: str,
        certificate: Certificate,
        settings: ChannelSettings,
        addresses: tuple[str, ...],
        gate: asyncio.Semaphore,
        spawn: Callable[..., object],
    ) -> None:
        self.path, self.peer, self.attempt = path, peer, attempt
        self.is_open = False
        self.on_described: Callable[[str, str, tuple[str, ...]], None] = lambda *_: None
        self.on_open: Callable[[str, str], None] = lambda *_: None
        self.on_message: Callable[[bytes], None] = lambda _: None
        self.on_closed: Callable[[str], None] = lambda _: None
        self._settings, self._gate, self._spawn = settings, gate, spawn
        self._fingerprint = certificate.fingerprint
        self._ended = False
        self._place: asyncio.TimerHandle | None = None  # at the gate, until then at the latest
        self._verbs: deque[Callable[[], Coroutine[Any, Any, None]]] = deque()
        self._idle = asyncio.Event()  # no verb is being done
        self._idle.set()
        self._queueing: asyncio.Future[Any] | None = None  # for a place at the gate
        self._waiting: deque[bytes] = deque()  # what the peer has no room for yet
        self._waiting_bytes = 0
        self._taken = 0  # how often something of it was taken
        self._watch: asyncio.TimerHandle | None = None  # whether anything is
        self._addresses = addresses
        servers = [
            RTCIceServer(
                urls=it.url, username=it.username or None, credential=it.credential or None
            )
            for it in settings.ice_servers
        ]
        policy = RTCIceTransportPolicy.RELAY if settings.relay_only else RTCIceTransportPolicy.ALL
        with _given(certificate):
            self._pc = RTCPeerConnection(RTCConfiguration(servers, iceTransportPolicy=policy))
        self._channel: RTCDataChannel = self._pc.createDataChannel(
            label, ordered=True, negotiated=True, id=CHANNEL
        )
        self._channel.on("open", self._opened)
        self._channel.on("message", self._received)
        self._channel.on("close", lambda: self.give_up("the peer closed the link"))
        self._channel.bufferedAmountLowThreshold = WITH_AIORTC // 2
        self._channel.on("bufferedamountlow", self._send_waiting)
        self._pc.on("connectionstatechange", self._changed)

    # --- verbs: done one after another ------------------------------------------------------

    def make_offer(self) -> None:
        """Describe ourselves; `on_described("offer", …)` follows."""

        async def verb() -> None:
            # Only who offers waits at the gate, before the peer has heard anything: an offer that
            # waited at the other end would grow old there, and its deadline with it.
            await self._pass_gate()
            await self._describe("offer")

        self._do(verb)

    def make_answer(self, offer: str) -> None:
        """Take an offer; `on_described("answer", …)` follows."""

        async def verb() -> None:
            await self._pc.setRemoteDescription(RTCSessionDescription(bare(offer), "offer"))
            if self._pc.sctp is None or self._pc.sctp.mid is None:
                raise ValueError("the offer has no data channel")
            await self._describe("answer")

        self._do(verb)

    def take_answer(self, answer: str) -> None:
        """Take the answer to our offer."""

        async def verb() -> None:
            await self._pc.setRemoteDescription(RTCSessionDescription(bare(answer), "answer"))

        self._do(verb)

    def add_candidates(self, candidates: tuple[str, ...]) -> None:
        """Take all of the peer's addresses."""

        async def verb() -> None:
            found = [_read_candidate(line) for line in candidates]
            for candidate in found:
                if not candidate.ip.endswith(".local"):
                    await self._pc.addIceCandidate(candidate)
            # Names of machines are asked for all at once, and the link does not wait for them.
            named = [self._pc.addIceCandidate(c) for c in found if c.ip.endswith(".local")]
            if named:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(NAMES_WITHIN):
                        await asyncio.gather(*named, return_exceptions=True)
            await self._pc.addIceCandidate(None)

        self._do(verb)

    def send(self, data: bytes) -> bool:
        """Send one message, or keep it until the peer has room, in order; False: the link is not
        open (any more). A peer that takes nothing for `STUCK_AFTER` loses its link."""
        if not self.is_open:
            return False
        if not self._waiting and self._channel.bufferedAmount + len(data) <= WITH_AIORTC:
            return self._give_aiortc(data)
        if self._waiting_bytes + len(data) > MAX_WAITING:
            self.give_up(f"more than {MAX_WAITING} bytes wait for the peer")
            return False
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._watch is None:
            self._expect_progress()
        return True

    def _send_waiting(self) -> None:
        """The peer took something: give it more."""
        self._taken += 1
        while self.is_open and self._waiting and self._channel.bufferedAmount < WITH_AIORTC:
            data = self._waiting.popleft()
            self._waiting_bytes -= len(data)
            if not self._give_aiortc(data):
                return

    def _give_aiortc(self, data: bytes) -> bool:
        try:
            self._channel.send(data)
        except InvalidStateError:
            return False
        return True

    def _expect_progress(self) -> None:
        before = self._taken

        def look() -> None:
            self._watch = None
            if not self._waiting:
                return
            if self._taken == before:
                self.give_up("the peer does not read")
            else:
                self._expect_progress()

        self._watch = asyncio.get_running_loop().call_later(STUCK_AFTER, look)

    def hang_up(self) -> None:
        """Close properly; nothing is told any more."""
        self._ended = True
        self._close()

    def vanish(self) -> None:
        """Go silent at once, as a machine that lost its power; sockets are freed behind."""
        self._ended = True
        sctp = self._pc.sctp
        if sctp is not None:
            for protocol in sctp.transport.transport._connection._protocols:
                protocol.transport = _Mute(protocol.transport)  # type: ignore[assignment]
        self._close()

    def descriptors(self) -> list[int]:
        """Of its sockets."""
        sctp = self._pc.sctp
        if sctp is None:
            return []
        protocols = sctp.transport.transport._connection._protocols
        sockets = [p.transport.get_extra_info("socket") for p in protocols]
        return [sock.fileno() for sock in sockets if sock is not None]

    # --- inside -----------------------------------------------------------------------------

    def _do(self, verb: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._verbs.append(verb)
        if self._idle.is_set():
            self._idle.clear()
            self._spawn(self._work())

    async def _work(self) -> None:
        try:
            while self._verbs and not self._ended:
                await self._verbs.popleft()()
        except asyncio.CancelledError:
            if not self._ended:
                raise
        except (ValueError, InvalidStateError, InvalidAccessError, ConnectionError, OSError) as e:
            self.give_up(f"cannot be set up: {e}")
        except Exception as error:
            # aiortc parses what the peer wrote with asserts, splits and indices.
            self.give_up(f"the description cannot be read: {type(error).__name__} {error}")
        finally:
            self._idle.set()

    async def _describe(self, kind: str) -> None:
        _ADDRESSES.set(self._addresses)
        await self._pc.setLocalDescription()
        if self._ended:
            return
        sctp = self._pc.sctp
        assert sctp is not None
        gathered = sctp.transport.transport.iceGatherer.getLocalCandidates()
        candidates = tuple(f"candidate:{candidate_to_sdp(c)}" for c in gathered)
        self.on_described(kind, bare(self._pc.localDescription.sdp), candidates)

    async def _pass_gate(self) -> None:
        """Wait for a place; it is given back when this handshake is over, or takes too long."""
        self._queueing = asyncio.ensure_future(self._gate.acquire())
        await self._queueing
        loop = asyncio.get_running_loop()
        self._place = loop.call_later(self._settings.patience, self._leave_gate)

    def _leave_gate(self) -> None:
        if self._place is not None:
            self._place.cancel()
            self._place = None
            self._gate.release()

    def _opened(self) -> None:
        if self._ended or self.is_open:
            return
        self.is_open = True
        consent.PACE.links += 1
        self._leave_gate()
        sctp = self._pc.sctp
        assert sctp is not None
        dtls = sctp.transport
        assert dtls._ssl is not None
        seen = dtls._ssl.get_peer_certificate(as_cryptography=True)
        assert seen is not None  # aiortc asks for one, and the handshake is over
        local = {
            print_.algorithm: print_.value for print_ in dtls.getLocalParameters().fingerprints
        }
        self.on_open(local["sha-256"].upper(), certificate_digest(seen, "sha-256").upper())

    def _received(self, data: bytes | str) -> None:
        if not self._ended:
            if not self.is_open:
                self._opened()
            self.on_message(data if isinstance(data, bytes) else data.encode())

    def _changed(self) -> None:
        state = self._pc.connectionState
        if state == "failed":
            self.give_up("the connection failed" if not self.is_open else "the peer is gone")
        elif state == "closed":
            self.give_up("the link was closed")

    def give_up(self, reason: str) -> None:
        """Close, and say so: `on_closed(reason)` follows."""
        if not self._ended:
            self._ended = True
            self._close()
            self.on_closed(reason)

    def _close(self) -> None:
        if self.is_open:
            consent.PACE.links -= 1
        self.is_open = False
        self._leave_gate()
        self._waiting.clear()
        self._waiting_bytes = 0
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._queueing is not None:
            self._queueing.cancel()

        async def close() -> None:
            # Not in the middle of a verb: aioice would go on to open sockets and forget them.
            await self._idle.wait()
            await self._pc.close()

        self._spawn(close(), closing=True)


def is_farewell(context: dict[str, Any]) -> bool:
    """Whether a loop's complaint is about a task of aiortc that lost its connection half way:
    it starts some that nobody awaits. The link itself reports its state."""
    error, task = context.get("exception"), context.get("task") or context.get("future")
    if not isinstance(error, ConnectionError | InvalidStateError) or task is None:
        return False
    code = getattr(task.get_coro(), "cr_code", None) if isinstance(task, asyncio.Task) else None
    return code is not None and "aiortc" in FilePath(code.co_filename).parts


class _Mute:
    """A UDP transport that sends nothing more."""

    def __init__(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport

    def sendto(self, data: bytes, addr: object = None) -> None:
        """Say nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _read_candidate(line: str) -> RTCIceCandidate:
    candidate = candidate_from_sdp(line.removeprefix("a=").removeprefix("candidate:"))
    candidate.sdpMid, candidate.sdpMLineIndex = "0", 0
    return candidate


# --- aioice's settings are globals of its module ----------------------------------------------

_ADDRESSES: contextvars.ContextVar[tuple[str, ...] | None] = contextvars.ContextVar(
    "mpclab_addresses", default=None
)
_all_addresses = aioice.ice.get_host_addresses


def _own_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """The addresses that the current task's link shall offer; others' links: as ever."""
    chosen = _ADDRESSES.get()
    if chosen is None:
        return _all_addresses(use_ipv4=use_ipv4, use_ipv6=use_ipv6)
    return list(chosen)


def prepare(settings: ChannelSettings) -> None:
    """Put our hooks and consent times in place."""
    aioice.ice.get_host_addresses = _own_addresses
    aiortc.rtcpeerconnection.RTCCertificate = _Certificates  # type: ignore[assignment, attr-defined]
    consent.watch(settings.consent_every, settings.consent_lost)


# --- and aiortc makes a certificate for each connection -----------------------------------------

_given_certificate: Certificate | None = None


@contextlib.contextmanager
def _given(certificate: Certificate) -> Iterator[None]:
    """Connections made inside (in one go, without an await) have this certificate."""
    global _given_certificate
    _given_certificate = certificate
    try:
        yield
    finally:
        _given_certificate = None


class _Certificates:
    """Stands for `RTCCertificate` where connections are made."""

    @staticmethod
    def generateCertificate() -> RTCCertificate:
        return _given_certificate or RTCCertificate.generateCertificate()
