"""Commands and events between a party's client, its root and its mesh."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from mpclab.core.ids import MS, SECOND, Party
from mpclab.core.wire import Message
from mpclab.crypto.identity import Identity
from mpclab.signaling.messages import Member
from mpclab.signaling.tickets import Entry

NO_ENTRY = Entry()


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Durations in µs.

    Attributes:
        first_backoff, longest_backoff: between attempts, doubling, with jitter.
        outage_parts: beyond a second, we wait for no more than this part of the outage so far.
        quick_tries: later attempts go on in the background.
    """

    answer_within: int = 5 * SECOND
    silent_after: int = 25 * SECOND
    first_backoff: int = 250 * MS
    longest_backoff: int = 10 * SECOND
    outage_parts: int = 4
    quick_tries: int = 16


@dataclass(frozen=True, slots=True)
class Membership:
    """The membership that we ask the server for, and our identity in this incarnation."""

    session: str
    party: Party
    n: int
    t: int
    policy: str
    identity: Identity
    incarnation: bytes
    epoch: int
    mode: str = "either"
    agreement: str = ""
    entry: Entry = NO_ENTRY


# --- commands ---------------------------------------------------------------------------------


class GoOnline(msgspec.Struct, frozen=True):
    """Ask: join the session, and stay."""


class TryNow(msgspec.Struct, frozen=True):
    """Ask: where we wait until we look for the server again, look now: there is a network again."""


class GoOffline(msgspec.Struct, frozen=True):
    """Ask: give the slot up and disconnect."""


class KnowServer(msgspec.Struct, frozen=True):
    """Ask: another server of this session, to be tried while ours does not answer; from `by`."""

    url: str
    by: Party


class RelayRequest(msgspec.Struct, frozen=True):
    """Ask: relay these payloads (JSON), each to its party; dropped while there is no server."""

    envelopes: tuple[tuple[Party, bytes], ...]


class Say(msgspec.Struct, frozen=True):
    """Ask: a signed line of text for one party, or (to 0) for all."""

    to: Party
    text: str


# --- events ------------------------------------------------------------------------------


class Online(msgspec.Struct, frozen=True):
    """We are in the room. `offset`: the server's clock minus ours, µs."""

    created: bool
    offset: int


class Offline(msgspec.Struct, frozen=True):
    reason: str


class Rejected(msgspec.Struct, frozen=True):
    """The server will not have us, and says why and what to do. Nothing more happens."""

    reason: str
    hint: str


class Present(msgspec.Struct, frozen=True):
    """A party is online; its key and presence have been checked."""

    member: Member


class Absent(msgspec.Struct, frozen=True):
    party: Party
    reason: str


class Arrived(msgspec.Struct, frozen=True):
    """A payload from a party that is present, as the server says."""

    sender: Party
    payload: Message


class Heard(msgspec.Struct, frozen=True):
    """A line of text whose signature is right."""

    sender: Party
    text: str
    to_all: bool
