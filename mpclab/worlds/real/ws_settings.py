"""The limits of a WebSocket server, as its operator may set them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import ip_network

from mpclab.core.errors import UsageError
from mpclab.worlds.real.ws_http import Front
from mpclab.worlds.real.ws_pages import StaticPages


@dataclass(frozen=True)
class ServerSettings:
    """Limits of a server. Times in seconds, sizes in bytes.

    Attributes:
        origins: pages that may connect, such as "http://localhost:8888"; programs, which send
            no origin, always may.
        per_address: connections of one address; 0: no limit but `connections`.
        rate: frames a second of one connection in the long run.
        bytes_a_second: bytes of one connection in the long run, those that it makes us send
            included.
        names: hosts under which `/status` is answered, besides addresses and localhost; other
            names may be a page's that was rebound to us.
        pages: files to answer with on the same port; pages of our own address may connect then.
        proxies: addresses or networks whose Forwarded and X-Forwarded-For headers we believe.
        only_hosts: names under which anything is answered at all; none: all names.
        front: who knows whether we are ready, and what else to count.
        metrics_from: addresses or networks that may read `/metrics`; None: nobody.
        shared_port: let other processes of ours listen at the same port.
    """

    max_message: int = 64 * 1024
    connections: int = 1024
    per_address: int = 64
    open_within: float = 5.0
    close_within: float = 2.0
    stuck_after: float = 5.0
    rate: int = 2000
    bytes_a_second: int = 16 * 1024 * 1024
    origins: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    only_hosts: tuple[str, ...] = ()
    front: Front | None = None
    metrics_from: tuple[str, ...] | None = None
    shared_port: bool = False
    pages: StaticPages | None = None
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        for origin in self.origins:
            if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
                raise UsageError(
                    f"origin {origin!r}: write it exactly as a browser sends it, such as "
                    f"http://localhost:8888 (null and * would let any page in)"
                )
        for name in (*self.names, *self.only_hosts):
            if not name or set(name) & set("/@, \t"):
                raise UsageError(f"host {name!r}: write its name alone, such as lab.example")
        for what, place in (
            *(("proxy", it) for it in self.proxies),
            *(("reader of metrics", it) for it in self.metrics_from or ()),
        ):
            try:
                ip_network(place, strict=False)
            except ValueError as error:
                raise UsageError(
                    f"{what} {place!r}: write its address or network, such as 127.0.0.1"
                ) from error
