"""A few words with a server, from a program that is no party."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path as FilePath

from mpclab.core.errors import UsageError
from mpclab.worlds.real.ws_client import Handlers, SocketClient

PATIENCE = 15.0
"""Seconds that a conversation may take."""


def converse(
    url: str, hear: Callable[[bytes], bytes | None], authority: FilePath | None = None
) -> None:
    """Connect, and have `hear` answer each message; b"" ends it.

    Args:
        authority: a file of certificates to trust for `wss`; None: the system's.

    Raises:
        UsageError: of `hear`, or nobody answers there, or ends it too soon.
    """
    try:
        tls = ssl.create_default_context(cafile=str(authority)) if authority else None
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"cannot use the certificates in {authority}: {error}") from error
    asyncio.run(_converse(url, hear, tls))


async def _converse(
    url: str, hear: Callable[[bytes], bytes | None], tls: ssl.SSLContext | None
) -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def received(text: bytes) -> None:
        try:
            answer = hear(text)
        except UsageError as error:
            end(error)
            return
        if answer == b"":
            end(None)
        elif answer is not None:
            socket.send(answer)

    def closed(reason: str) -> None:
        end(UsageError(f"{url}: {reason}"))

    socket = SocketClient(url, Handlers(lambda: None, received, closed), tls)
    await socket.dial()
    try:
        async with asyncio.timeout(PATIENCE):
            await done
    except TimeoutError:
        raise UsageError(f"{url}: no answer in {PATIENCE:.0f} s") from None
    finally:
        socket.hang_up()
        await socket.wait_closed()
