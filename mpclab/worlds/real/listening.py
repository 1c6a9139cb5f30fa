"""Where a server listens, what that is called, and whom the headers of a request name."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import Any

from mpclab.core.errors import UsageError


def bind(host: str, port: int, *, shared: bool = False, listening: bool = True) -> socket.socket:
    """A bound TCP socket, ready to listen; port 0: a free one; "::": both families.

    Args:
        shared: other processes of this user may listen at it, too, and the kernel chooses.
        listening: False: it only holds the place.

    Raises:
        UsageError: the port is in use (proposes a free one) or cannot be had, or the host is
            none of this machine's.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"port {port}: use 1 to 65535, or 0 for a free one")
    if not host:
        raise UsageError("the address to listen at is empty; use 127.0.0.1, 0.0.0.0 or ::")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot listen at {host}: there is no such address") from error
    family, _, _, _, address = found[0]
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        if not listening:
            return _hold(family, address)
        return socket.create_server(
            address[:2], family=family, backlog=1024, dualstack_ipv6=both,
            reuse_port=shared,
        )  # fmt: skip
    except OSError as error:
        hint = ""
        try:
            with socket.create_server((address[0], 0), family=family) as free:
                hint = f"; port {free.getsockname()[1]} is free"
        except OSError:
            pass
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        raise UsageError(f"cannot listen at {host}:{port}: {why}{hint}") from error


def _hold(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def is_address(host: str) -> bool:
    with suppress(ValueError):
        ip_address(host)
        return True
    return False


def as_written(address: str) -> str:
    """A peer's address as people write it: where both families are listened at, the kernel has
    192.0.2.1 as ::ffff:192.0.2.1, which is in no network of IPv4."""
    mapped = address.lower().removeprefix("::ffff:")
    return mapped if mapped != address and "." in mapped else address


def share_of(address: str) -> str:
    """What limits count an address for. Of IPv6 that is its network of 64 bits, since one customer
    has at least that many addresses (RFC 6177): its every connection may come from another."""
    if ":" not in address:
        return address
    with suppress(ValueError):
        ip = IPv6Address(address)
        if not (ip.is_loopback or ip.is_link_local):
            return f"{IPv6Address(int(ip) >> 64 << 64)}/64"
    return address


def is_unspecified(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_unspecified
    return False


def own_address() -> str:
    """The address under which other machines reach this one, as far as it can tell by itself:
    that of the way out. Nothing is sent."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way_out:
        way_out.connect(("192.0.2.1", 9))  # an address of no machine (RFC 5737)
        return str(way_out.getsockname()[0])
    return "127.0.0.1"


def host_of(text: str) -> str:
    """The host in `host`, `host:port`, `[v6]` or `[v6]:port`."""
    text = text.strip().strip('"')
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, _, port = text.rpartition(":")
    return host if host and ":" not in host and port.isdigit() else text


def forwarded(header: str) -> list[str]:
    """The addresses in a `Forwarded` header (RFC 7239 §4: for=192.0.2.60;proto=http, for=…)."""
    found = []
    for element in header.split(","):
        for pair in element.split(";"):
            name, _, value = pair.partition("=")
            if name.strip().lower() == "for":
                found.append(host_of(value))
    return found
