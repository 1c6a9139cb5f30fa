"""Programs that a server or a party stands beside: nginx, Redis, a TURN server; on loopback, at
free ports, ended with the test."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPLATE = Path(__file__).parents[1] / "deploy" / "nginx.conf.template"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def free_ports(count: int) -> int:
    """The first of so many free ones in a row."""
    while True:
        first = free_port()
        with contextlib.ExitStack() as held, contextlib.suppress(OSError, OverflowError):
            for port in range(first, first + count):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


class Service:
    """A program of Debian's that runs until the test ends; `start` again after `kill`."""

    def __init__(self, *command: str, ready: Callable[[], bool], log: Path) -> None:
        assert shutil.which(command[0]), f"{command[0]} is not installed: see .ci/run"
        self._command = command
        self._ready = ready
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + 60
        while not self._ready():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.005)

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None


def answers(port: int) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    return ready


@contextmanager
def running(service: Service) -> Iterator[Service]:
    service.start()
    try:
        yield service
    finally:
        service.kill(signal.SIGTERM)


def redis_server(folder: Path, port: int) -> Service:
    """Redis without persistence: a restart forgets everything."""
    return Service(
        "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
        "--appendonly", "no", "--dir", str(folder),
        ready=answers(port), log=folder / "redis.log",
    )  # fmt: skip


def nginx(folder: Path, port: int, upstreams: list[int], certificate: Path, key: Path) -> Service:
    """nginx with the template that we ship, as the compose file fills it in."""
    values = {
        "MPCLAB_UPSTREAMS": "\n".join(
            f"server 127.0.0.1:{p} max_fails=1 fail_timeout=2s;" for p in upstreams
        ),
        "MPCLAB_LISTEN": f"127.0.0.1:{port}",
        "MPCLAB_NAME": "_",
        "MPCLAB_CERTIFICATE": str(certificate),
        "MPCLAB_CERTIFICATE_KEY": str(key),
    }
    filled = TEMPLATE.read_text()
    for name, value in values.items():
        filled = filled.replace(f"${{{name}}}", value)
    (folder / "mpclab.conf").write_text(filled)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/nginx.pid; error_log stderr; worker_processes 1;"
        f"events {{}} http {{ access_log off; {temporary} include {folder}/mpclab.conf; }}"
    )
    return Service(
        "nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf"),
        ready=answers(port), log=folder / "nginx.log",
    )  # fmt: skip


TURN_LOGIN = ("u", "secret")


def turn_server(folder: Path, port: int) -> Service:
    """A TURN server (coturn), which relays on loopback too; its log is `folder`/turn.log."""
    log = folder / "turn.log"

    def ready() -> bool:
        said = log.read_text() if log.exists() else ""
        return "UDP listener opened" in said or "Total General servers" in said

    return Service(
        "turnserver", "-n", "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1",
        "--listening-port", str(port), "--realm", "tests", "--lt-cred-mech",
        "--user", ":".join(TURN_LOGIN), "--no-tls", "--no-dtls", "--no-cli",
        "--allow-loopback-peers", "--log-file", "stdout", "--verbose",
        "--pidfile", str(folder / "pid"), "--db", str(folder / "db"),
        ready=ready, log=log,
    )  # fmt: skip
