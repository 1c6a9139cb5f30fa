"""Which of our addresses a party offers to its peers.

A party is on the network where its server is: so it offers the address by which it reaches that,
and this machine's address of the other family, where there is one. A party that reaches its server
by loopback has all its peers on this machine, unless the server listens beyond it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket

_ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses for documentation (RFC 5737, RFC 3849). Nothing is sent to them."""


def offered(reached_by: str, serves_beyond: bool = False) -> tuple[str, ...]:
    """The addresses to offer.

    Args:
        reached_by: our own end of the connection to the server.
        serves_beyond: whether that server is ours and others may reach it from elsewhere.
    """
    mine = ipaddress.ip_address(reached_by.partition("%")[0])
    if mine.is_loopback and not serves_beyond:
        return (str(mine),)
    families = list(_ELSEWHERE)
    if not mine.is_loopback:
        families.remove(socket.AF_INET if mine.version == 4 else socket.AF_INET6)
    others = [address for family in families if (address := _outer(family)) is not None]
    return tuple(dict.fromkeys((str(mine), *others)))


def _outer(family: socket.AddressFamily) -> str | None:
    """This machine's address on the way to the outside; None: it has none of this family."""
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((_ELSEWHERE[family], 9))
        address = ipaddress.ip_address(str(probe.getsockname()[0]).partition("%")[0])
        if not (address.is_loopback or address.is_link_local or address.is_unspecified):
            return str(address)
    return None


def is_loopback(address: str) -> bool:
    """Whether an address or name is this machine's alone."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
