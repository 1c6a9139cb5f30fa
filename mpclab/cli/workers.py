"""`mpclab serve --workers N`: as many server processes, so that more than one core serves.

With `--redis` all listen at one port, the kernel chooses among them, and rooms span them. Without,
each has a port of its own, from `--port` on, and keeps to itself: a proxy in front chooses by the
session in the path (deploy/nginx.conf.template), and each refuses what was not chosen so.

A worker that fails is started again, not more often than every second.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mpclab.cli.console import console
from mpclab.cli.folders import home
from mpclab.cli.signals import stoppable
from mpclab.cli.text import line
from mpclab.core.errors import UsageError
from mpclab.worlds.real.listening import bind

_LOOK = 0.1
_LEAST_LIFE = 1.0  # seconds between two starts of one worker
_GOODBYE = 15.0
BAD_INPUT = 2


def supervise(args: argparse.Namespace) -> int:
    """Run the workers until Ctrl-C or SIGTERM; their exit status if they cannot begin."""
    if args.port == 0 and not args.redis:
        raise UsageError("--workers without --redis: name the first --port; each takes the next")
    if args.state is not None or args.record is not None:
        raise UsageError("--workers: they cannot share a --state or --record file; leave it out")
    # Ours holds the port while no worker listens there; it takes no connections itself.
    with bind(args.address, args.port, shared=True, listening=False) as held:
        port = held.getsockname()[1] if args.redis else args.port
        if not args.redis:
            held.close()
        makers = [_maker(args, number, port) for number in range(args.workers)]
        with stoppable():
            return _watch(makers)


def _maker(
    args: argparse.Namespace, number: int, port: int
) -> Callable[[], subprocess.Popen[bytes]]:
    """What starts worker `number`."""
    mine = port if args.redis else port + number
    admin = args.admin
    if admin != "none":
        base = Path(admin) if admin else home() / f"server-{port}.sock"
        admin = str(base.with_name(f"{base.stem}-{number + 1}{base.suffix}"))
    command = [
        sys.executable, "-m", "mpclab", *args.arguments_given,
        "--workers", "1", "--port", str(mine), "--admin", admin, "--worker",
        *([] if args.redis else ["--by-path"]),
    ]  # fmt: skip
    return lambda: subprocess.Popen(command, stdin=subprocess.DEVNULL)


def _watch(makers: list[Callable[[], subprocess.Popen[bytes]]]) -> int:
    workers = [make() for make in makers]
    born = [time.monotonic()] * len(workers)
    try:
        while True:
            for at, worker in enumerate(workers):
                status = worker.poll()
                if status == BAD_INPUT:
                    return BAD_INPUT  # it has said why
                if status is not None and time.monotonic() - born[at] >= _LEAST_LIFE:
                    console.print(line((f"worker {at + 1} ended ({status}): again", "yellow")))
                    workers[at], born[at] = makers[at](), time.monotonic()
            time.sleep(_LOOK)
    except KeyboardInterrupt:
        return 0
    finally:
        for worker in workers:
            with suppress(OSError):
                worker.send_signal(signal.SIGTERM)
        for worker in workers:
            try:
                worker.wait(_GOODBYE)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
