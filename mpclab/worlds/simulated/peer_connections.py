"""Peer connections of the simulated world.

A link is set up by the same messages as a real one: descriptions with a fingerprint and a
user fragment, candidates apart. It opens when both sides hold the other's description and
candidates and the fingerprints are those of the real ends; otherwise it never does, and the
parties' own deadlines tell.
"""

import hashlib
import re

import msgspec

from mpclab.core.ids import Party, Path


class End(msgspec.Struct):
    """One side of a link being made."""

    actor: Party
    incarnation: int
    path: Path
    peer: Party
    attempt: int
    fragment: str
    fingerprint: str
    sees_fragment: str = ""
    sees_fingerprint: str = ""
    candidates: tuple[str, ...] = ()
    open: bool = False


def fingerprint(seed: int, actor: Party, incarnation: int) -> str:
    """The certificate fingerprint of one incarnation of an actor: SHA-256, as SDP writes it."""
    digest = (
        hashlib.sha256(f"certificate {seed} {actor} {incarnation}".encode()).hexdigest().upper()
    )
    return ":".join(digest[i : i + 2] for i in range(0, 64, 2))


def describe_end(end: End, kind: str) -> tuple[str, tuple[str, ...]]:
    """The SDP (without candidates) and the candidates of one end."""
    sdp = (
        "v=0\r\n"
        f"o=- {end.actor} {end.attempt} IN IP4 0.0.0.0\r\n"
        "s=-\r\nt=0 0\r\n"
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
        f"a=ice-ufrag:{end.fragment}\r\n"
        f"a=fingerprint:sha-256 {end.fingerprint}\r\n"
        f"a=setup:{'actpass' if kind == 'offer' else 'active'}\r\n"
    )
    return sdp, (f"candidate:1 1 udp 2130706431 party-{end.actor}.sim 9 typ host",)


_FRAGMENT = re.compile(r"^a=ice-ufrag:(\S+)\r?$", re.M)
_FINGERPRINT = re.compile(r"^a=fingerprint:sha-256 (\S+)\r?$", re.M)


def read_description(sdp: str) -> tuple[str, str] | None:
    """(user fragment, fingerprint) of a description; None when it lacks one."""
    fragment, print_ = _FRAGMENT.search(sdp), _FINGERPRINT.search(sdp)
    return (fragment[1], print_[1]) if fragment and print_ else None


class PeerConnections:
    """All ends of all links, by user fragment and by (actor, peer)."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._ends: dict[str, End] = {}
        self._current: dict[tuple[Party, Party], End] = {}

    def make(self, actor: Party, incarnation: int, path: Path, peer: Party, attempt: int) -> End:
        """A new end; an older one towards the same peer is forgotten."""
        self.drop(actor, peer)
        fragment = f"{actor}-{incarnation}-{peer}-{attempt}"
        end = End(
            actor,
            incarnation,
            path,
            peer,
            attempt,
            fragment,
            fingerprint(self._seed, actor, incarnation),
        )
        self._ends[fragment] = end
        self._current[actor, peer] = end
        return end

    def get(self, actor: Party, peer: Party) -> End | None:
        return self._current.get((actor, peer))

    def drop(self, actor: Party, peer: Party) -> End | None:
        """Forget an end; the other end's, if the link was open, for the host to tell."""
        end = self._current.pop((actor, peer), None)
        if end is None:
            return None
        self._ends.pop(end.fragment, None)
        other = self._ends.get(end.sees_fragment)
        return other if other and end.open and other.sees_fragment == end.fragment else None

    def drop_all(self, actor: Party) -> list[End]:
        """Forget an actor's ends; returns the far ends of its open links."""
        return [
            other
            for (mine, peer) in [k for k in self._current if k[0] == actor]
            if (other := self.drop(mine, peer))
        ]

    def partner(self, end: End) -> End | None:
        """The far end, once each has described itself to the other and knows where it is."""
        other = self._ends.get(end.sees_fragment)
        if other is None or other.sees_fragment != end.fragment:
            return None
        for mine, far in ((end, other), (other, end)):
            if mine.sees_fingerprint != far.fingerprint or not any(
                f" party-{far.actor}.sim " in candidate for candidate in mine.candidates
            ):
                return None
        return other

    def is_open(self, actor: Party, peer: Party) -> bool:
        end = self._current.get((actor, peer))
        return end is not None and end.open
