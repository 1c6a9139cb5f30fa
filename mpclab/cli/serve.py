"""`mpclab serve`: a signaling server in this terminal, for as long as it is wanted.

Its exit status: 0 stopped by Ctrl-C or SIGTERM, and said goodbye; 2 it could not begin; 3 it
failed. It records nothing unless asked; its memory is bounded by its connections and sessions.
"""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from typing import Any

from mpclab.cli.show import console
from mpclab.cli.signals import raise_descriptor_limit, stoppable
from mpclab.cli.text import line
from mpclab.core.errors import StateError, UsageError
from mpclab.core.ids import SECOND, SERVER
from mpclab.core.node import Node
from mpclab.signaling.rooms import PATH, Rooms, build_server
from mpclab.signaling.status import RoomsSettings
from mpclab.trace.tail import TailTrace
from mpclab.worlds.real.addresses import is_loopback
from mpclab.worlds.real.websocket import WebSocketWorld
from mpclab.worlds.real.ws_pages import StaticPages
from mpclab.worlds.real.ws_settings import ServerSettings

_LOOK = 0.5  # seconds between two looks at the status
_MOST = 1_000_000
FAILED = 3
"""Exit status: the server could not go on."""


def serve(args: argparse.Namespace) -> int:
    """Run the server until Ctrl-C or SIGTERM, with its status on screen."""
    raise_descriptor_limit()
    settings, rooms = _settings(args)
    certificate = _certificate(args)
    trace = TailTrace(keep=2000, file=args.record)
    world = WebSocketWorld(
        server=settings, certificate=certificate, record=False, trace=trace, state=args.state
    )
    with stoppable(), world:
        try:
            url = world.host_server(build_server(rooms), args.address, args.port)
            if not world.failures:
                _greet(url, args)
            return _watch(world, trace)
        except KeyboardInterrupt:
            if SERVER in world.actors:
                world.stop_server()
            console.print("🔴 stopped")
            return 0


def _settings(args: argparse.Namespace) -> tuple[ServerSettings, RoomsSettings]:
    for name in ("connections", "sessions", "rate"):
        if not 1 <= getattr(args, name) <= _MOST:
            raise UsageError(f"--{name} {getattr(args, name)}: use at least 1, at most {_MOST}")
    per_address = args.per_address
    if per_address is None:
        # On loopback all clients have one address, which tells nobody apart; behind a proxy that
        # names theirs it does.
        per_address = 0 if is_loopback(args.address) and not args.proxy_trust else 256
    elif per_address < 0:
        raise UsageError(f"--per-address {per_address}: use at least 1, or 0 for no such limit")
    settings = ServerSettings(
        connections=args.connections,
        per_address=per_address,
        rate=args.rate,
        origins=tuple(args.origin),
        names=tuple(args.name),
        proxies=tuple(args.proxy_trust),
        pages=_pages() if args.pages else None,
    )
    rooms = RoomsSettings(
        max_connections=args.connections,
        max_rooms=args.sessions,
        rate=args.rate,
        burst=2 * args.rate,
        ping_every=2 * SECOND,
        keep=args.state is not None,
    )
    return settings, rooms


def _certificate(args: argparse.Namespace) -> Any:
    if (args.cert is None) != (args.key is None):
        raise UsageError("--cert and --key belong together")
    return None if args.cert is None else (args.cert, args.key)


def _pages() -> StaticPages:
    from mpclab.web import assets, pages

    with console.status("getting the pages ready"):
        return pages.load(assets.ready())


def _greet(url: str, args: argparse.Namespace) -> None:
    console.print(line("🟢 signaling server at ", (url, "bold"), "  (Ctrl-C stops it)"))
    if args.pages:
        page = f"http{url.removeprefix('ws')}/"
        console.print(line("   a browser tab is a party at ", (page, "bold")))
    hint = f"a party joins with: mpclab party {url} --session ID --id 1 --parties 3"
    console.print(line((hint, "dim")))
    if not is_loopback(args.address) and args.cert is None:
        warning = "other machines reach this address; use --cert and --key, or a proxy with TLS"
        console.print(line((warning, "yellow")))
    if args.record:
        console.print(line((f"recording to {args.record}: who spoke with whom, and when", "dim")))


def _watch(world: WebSocketWorld, trace: TailTrace) -> int:
    recording = True
    with console.status("") as status:
        while not world.failures:
            with suppress(UsageError):  # it failed just now
                status.update(line(world.look(SERVER, _counts)))
            trace.flush()
            if recording and trace.failure:
                recording = False
                console.print(line((f"the recording ends here: {trace.failure}", "yellow")))
            time.sleep(_LOOK)
    if isinstance(world.failures[0].__cause__, StateError):
        raise UsageError(str(world.failures[0]))
    console.print(line((world.failures[0], "red")))
    return FAILED


def _counts(node: Node) -> str:
    rooms = node.machine(PATH)
    assert isinstance(rooms, Rooms)
    return (
        f"{len(rooms.clients)} connections · {len(rooms.rooms)} sessions · "
        f"{rooms.relayed} relayed · {rooms.errors} errors"
    )
