"""`mpclab serve`: a signaling server in this terminal, for as long as it is wanted.

Its exit status: 0 stopped by Ctrl-C or SIGTERM, and said goodbye; 2 it could not begin; 3 it
failed. It records nothing unless asked; its memory is bounded by its connections and sessions.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from mpclab.cli.console import console
from mpclab.cli.folders import home, login_in
from mpclab.cli.operating import Desk, public_key, rooms_of, unix_at_zero
from mpclab.cli.server_log import ServerLog
from mpclab.cli.server_options import resolve, show
from mpclab.cli.signals import stoppable
from mpclab.cli.workers import supervise
from mpclab.core.errors import StateError, UsageError
from mpclab.core.ids import SECOND, SERVER
from mpclab.core.node import Node
from mpclab.lab.keys import load_key
from mpclab.signaling.rooms import build_server
from mpclab.signaling.status import RoomsSettings
from mpclab.trace.tail import TailTrace
from mpclab.worlds.real.addresses import is_loopback
from mpclab.worlds.real.backplane import BackplaneSettings
from mpclab.worlds.real.nursery import die_with_parent
from mpclab.worlds.real.websocket import WebSocketWorld
from mpclab.worlds.real.ws_pages import StaticPages
from mpclab.worlds.real.ws_settings import ServerSettings

_LOOK = 0.5  # seconds between two looks at the status
FAILED = 3
"""Exit status: the server could not go on."""


def serve(args: argparse.Namespace) -> int:
    """Run the server until Ctrl-C or SIGTERM, with its status on screen."""
    resolve(args)
    if args.show_config:
        print(show(args), end="")
        return 0
    if args.workers > 1:
        return supervise(args)
    if args.worker:
        die_with_parent()
    certificate = _certificate(args)
    operator = load_key(args.operator) if args.operator else None
    rooms = _rooms(args, operator.public if operator else b"")
    desk = Desk(operator)
    settings = _settings(args, desk)
    trace = TailTrace(keep=2000, file=args.record)
    world = WebSocketWorld(
        server=settings, certificate=certificate, record=False, trace=trace, state=args.state,
        backplane=_backplane(args),
    )  # fmt: skip
    desk.world = world
    log = ServerLog(trace, args.log)
    with stoppable(), world:
        try:
            url = world.host_server(build_server(rooms(world.now)), args.address, args.port)
            if not world.failures:
                admin = _open_admin(world, desk, args, url)
                _greet(url, args, log, admin)
            return _watch(world, trace, log)
        except KeyboardInterrupt:
            if SERVER in world.actors:
                world.stop_server()
            log.say("🔴 stopped", event="stopped")
            return 0


def _settings(args: argparse.Namespace, desk: Desk) -> ServerSettings:
    per_address = args.per_address
    if per_address is None:
        # On loopback all clients have one address, which tells nobody apart; behind a proxy that
        # names theirs it does.
        per_address = 0 if is_loopback(args.address) and not args.proxy_trust else 256
    if args.metrics and importlib.util.find_spec("prometheus_client") is None:
        raise UsageError("--metrics: pip install 'mpclab[server]'")
    return ServerSettings(
        connections=args.connections,
        per_address=per_address,
        rate=args.rate,
        bytes_a_second=args.bytes_a_second,
        open_within=args.open_within,
        close_within=args.close_within,
        stuck_after=args.stuck_after,
        origins=tuple(args.origin),
        names=tuple(args.name),
        only_hosts=tuple(host.lower() for host in args.only_host),
        proxies=tuple(args.proxy_trust),
        front=desk,
        shared_port=args.worker and bool(args.redis),
        metrics_from=tuple(args.metrics_from) if args.metrics else None,
        pages=_pages() if args.pages else None,
    )


def _rooms(args: argparse.Namespace, operator: bytes) -> Any:
    """A function from the world's clock to the settings of its rooms."""
    operators = [operator] if operator else []
    operators += [public_key(text) for text in args.operator_key]
    if args.access == "invited" and not operators:
        raise UsageError("--access invited: nobody could open a session; use --operator FILE")

    def settings(now: int) -> RoomsSettings:
        return RoomsSettings(
            max_connections=args.connections,
            max_rooms=args.sessions,
            max_parties=args.parties,
            join_within=round(args.join_within * SECOND),
            ping_every=round(args.ping_every * SECOND),
            pong_within=round(args.pong_within * SECOND),
            rate=args.rate,
            burst=2 * args.rate if args.burst is None else args.burst,
            backlog=args.backlog,
            keep_idle=round(args.keep_idle * SECOND),
            keep_idle_least=round(args.keep_idle_least * SECOND),
            keep=args.state is not None,
            access=args.access,
            by_path=args.by_path,
            shared=bool(args.redis),
            operators=tuple(operators),
            unix=unix_at_zero(now),
        )

    return settings


def _backplane(args: argparse.Namespace) -> BackplaneSettings | None:
    if not args.redis:
        return None
    if args.state is not None:
        raise UsageError("--redis keeps the sessions: leave out --state")
    login = login_in(args.redis_login, "--redis-login") if args.redis_login else None
    return BackplaneSettings(
        args.redis, login, args.redis_prefix, lease=args.lease, keep=args.keep_idle
    )


def _certificate(args: argparse.Namespace) -> Any:
    if (args.cert is None) != (args.key is None):
        raise UsageError("--cert and --key belong together")
    return None if args.cert is None else (args.cert, args.key)


def _pages() -> StaticPages:
    from mpclab.web import assets, pages

    with console.status("getting the pages ready"):
        return pages.load(assets.ready())


def _open_admin(
    world: WebSocketWorld, desk: Desk, args: argparse.Namespace, url: str
) -> Path | None:
    """Open the socket for `mpclab server`; a default one that cannot be is done without."""
    if args.admin == "none" or sys.platform == "win32":
        return None
    port = url.rpartition(":")[2]
    path = Path(args.admin) if args.admin else home() / f"server-{port}.sock"
    try:
        world.open_admin(path, desk.answer)
    except UsageError:
        if args.admin:
            raise
        return None
    return path


def _greet(url: str, args: argparse.Namespace, log: ServerLog, admin: Path | None) -> None:
    log.say("🟢 signaling server at ", (url, "bold"), "  (Ctrl-C stops it)", event="serving")
    if args.pages:
        page = f"http{url.removeprefix('ws')}/"
        log.say("   a browser tab is a party at ", (page, "bold"), event="pages")
    hint = f"a party joins with: mpclab party {url} --session ID --id 1 --parties 3"
    log.say((hint, "dim"))
    if admin is not None:
        log.say((f"its operator asks: mpclab server status --socket {admin}", "dim"))
    if not is_loopback(args.address) and args.cert is None:
        warning = "other machines reach this address; use --cert and --key, or a proxy with TLS"
        log.say((warning, "yellow"), event="no-tls", level="warning")
    if args.record:
        log.say((f"recording to {args.record}: who spoke with whom, and when", "dim"))


def _watch(world: WebSocketWorld, trace: TailTrace, log: ServerLog) -> int:
    recording = True
    with log.counters() as show_counters:
        while not world.failures:
            log.follow()
            with suppress(UsageError):  # it failed just now
                show_counters(world.look(SERVER, _counts))
            trace.flush()
            if recording and trace.failure:
                recording = False
                log.say(
                    (f"the recording ends here: {trace.failure}", "yellow"),
                    event="recording-ended", level="warning",
                )  # fmt: skip
            time.sleep(_LOOK)
    if isinstance(world.failures[0].__cause__, StateError):
        raise UsageError(str(world.failures[0]))
    log.say((world.failures[0], "red"), event="failed", level="error")
    return FAILED


def _counts(node: Node) -> str:
    rooms = rooms_of(node)
    return (
        f"{len(rooms.clients)} connections · {len(rooms.rooms)} sessions · "
        f"{rooms.relayed} relayed · {rooms.errors} errors"
    )
