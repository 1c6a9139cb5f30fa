"""Session descriptions (RFC 8866) as they travel: without addresses, which go sealed and apart."""

from __future__ import annotations

_ADDRESSES = ("a=candidate:", "a=end-of-candidates")


def bare(sdp: str) -> str:
    """A description without its candidates, and without the address that its `c=` line and its
    port repeat: it goes by the server, and they are sealed (0.0.0.0 and 9, RFC 8840 §4.1.1)."""
    kept = []
    for given in sdp.splitlines():
        line = given
        if line.startswith(_ADDRESSES):
            continue
        if line.startswith("c="):
            line = "c=IN IP4 0.0.0.0"
        elif line.startswith("m="):
            kind, _, rest = line.partition(" ")
            line = f"{kind} 9 {rest.partition(' ')[2]}"
        kept.append(line)
    return "\r\n".join(kept) + "\r\n"


def candidates_of(sdp: str) -> tuple[str, ...]:
    """The candidates in a description, `candidate:…`, each once."""
    lines = (line.removeprefix("a=") for line in sdp.splitlines())
    return tuple(dict.fromkeys(line for line in lines if line.startswith("candidate:")))


def fingerprint_of(sdp: str) -> str:
    """The SHA-256 fingerprint of the certificate that a description names, `AB:CD:…`; "" if it
    names none, or several that differ."""
    found = {
        line.partition(" ")[2].strip().upper()
        for line in sdp.splitlines()
        if line.lower().startswith("a=fingerprint:sha-256 ")
    }
    return found.pop() if len(found) == 1 else ""
