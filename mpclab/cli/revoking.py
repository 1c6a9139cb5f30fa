"""`mpclab revoke`: an owner's word to the server of its session, over a connection of its own."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mpclab.core.errors import UsageError
from mpclab.crypto.identity import Identity
from mpclab.signaling.messages import (
    REVOKE_LABEL,
    Challenge,
    Refused,
    Revoke,
    Revoked,
    ServerMessage,
    revoke_parts,
)
from mpclab.worlds.real.conversation import converse
from mpclab.worlds.real.ws_http import with_session


class _Packet(msgspec.Struct):
    id: int
    msg: ServerMessage


_decode = msgspec.json.Decoder(_Packet).decode


def take_back(
    url: str, session: str, owner: Identity, ticket: str, guest: bytes, authority: Path | None
) -> None:
    """Take back a ticket (its text or id), or every ticket of the key `guest`.

    Raises:
        UsageError: the server does not answer, or refuses; says why.
    """

    def hear(text: bytes) -> bytes | None:
        try:
            msg = _decode(text).msg
        except msgspec.DecodeError:
            raise UsageError(f"{url} does not speak as a signaling server does") from None
        match msg:
            case Challenge(nonce):
                blank = Revoke(session, owner.public, ticket, guest, b"")
                signature = owner.sign(REVOKE_LABEL, *revoke_parts(nonce, blank))
                signed = msgspec.structs.replace(blank, signature=signature)
                return b'{"id":1,"msg":%b}' % msgspec.json.encode(signed)
            case Refused(reason, hint):
                raise UsageError(f"{reason}; {hint}" if hint else reason)
            case Revoked():
                return b""
        return None

    converse(with_session(url, session), hear, authority)
