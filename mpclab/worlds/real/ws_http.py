"""What a signaling server answers to plain HTTP on its port: health, readiness, metrics, status.

Who may ask what: `/healthz` and `/readyz`, which tell nothing, anybody; `/status` and the page `/`
programs, and pages of an allowed origin, under a name that is ours; `/metrics` the addresses that
the operator names, under such a name too: a browser on this machine may have been sent here. Where
the operator lists the hosts that we are, nothing else is answered under another name, WebSockets
included.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple, Protocol

import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from mpclab.worlds.real.listening import host_of

_TEXT: Final = "text/plain; charset=utf-8"
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Metric(NamedTuple):
    """One number of a server's. `kind`: counter or gauge."""

    name: str
    kind: str
    help: str
    value: float


class Front(Protocol):
    """Whoever runs the server, as far as HTTP asks. Called in the world's thread."""

    def why_not_ready(self) -> str:
        """Why nobody should be sent here now; "": send them."""

    def metrics(self) -> Iterable[Metric]:
        """What there is to count besides connections and bytes."""


def with_session(url: str, session: str) -> str:
    """A server's url that names the session, so that a proxy in front of several servers can
    choose by it."""
    base, mark, query = url.partition("?")
    return f"{base.rstrip('/')}/s/{session}{mark}{query}" if session else url


def session_in(path: str) -> str:
    """The session that a request's path names, whatever stands before it; "": none."""
    _, found, session = path.partition("?")[0].rstrip("/").rpartition("/s/")
    return session[:MOST_NAMED] if found and "/" not in session else ""


MOST_NAMED: Final = 64
"""Characters of a session's id."""


def answer(
    request: Request,
    address: str,
    *,
    status: Callable[[], msgspec.Struct],
    may_ask: Callable[[Request], bool],
    only_hosts: tuple[str, ...],
    front: Front | None,
    metrics_from: tuple[str, ...] | None,
    has_pages: bool,
) -> Response | None:
    """The response to a request; None: it is a WebSocket's, or a page's.

    Args:
        address: whose request it is, as far as limits care.
        metrics_from: who may read the metrics; None: nobody.
    """
    path, _, _ = request.path.partition("?")
    upgrade = "Upgrade" in request.headers
    if path == "/healthz" and not upgrade:
        return _say(HTTPStatus.OK, "ok\n")
    if path == "/readyz" and not upgrade:
        why = front.why_not_ready() if front is not None else ""
        return _say(HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK, (why or "ok") + "\n")
    if only_hosts and not _is_under(request, only_hosts):
        return _say(HTTPStatus.MISDIRECTED_REQUEST, "Not under this name\n")
    if upgrade:
        return None
    if path == "/metrics" and metrics_from is not None:
        if not _is_among(address, metrics_from):
            return _say(HTTPStatus.FORBIDDEN, "Not for this address\n")
        if not may_ask(request):
            return _say(HTTPStatus.FORBIDDEN, "Not under this name: use an address, or --name\n")
        return _say(HTTPStatus.OK, *_exposition(status(), front))
    if path == "/status" or (path == "/" and not has_pages):
        if not may_ask(request):
            return _say(HTTPStatus.FORBIDDEN, "Not for pages of this name\n")
        if path == "/status":
            return _say(
                HTTPStatus.OK, msgspec.json.encode(status()).decode() + "\n", "application/json"
            )
        return _say(HTTPStatus.OK, _page(status(), front), "text/html; charset=utf-8")
    return None


def _say(status: HTTPStatus, text: str, kind: str = _TEXT) -> Response:
    body = text.encode()
    headers = Headers(HEADERS)
    headers["Content-Type"] = kind
    headers["Content-Length"] = str(len(body))
    return Response(status.value, status.phrase, headers, body)


def _is_under(request: Request, hosts: tuple[str, ...]) -> bool:
    named = request.headers.get_all("Host")
    return len(named) == 1 and host_of(named[0]).lower() in hosts


def _is_among(address: str, networks: tuple[str, ...]) -> bool:
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    return any(ip in ip_network(network, strict=False) for network in networks)


def _numbers(status: msgspec.Struct, front: Front | None) -> list[Metric]:
    counts = msgspec.structs.asdict(status)
    found = [
        Metric(name, kind, words, counts[field])
        for field, (name, kind, words) in _STATUS.items()
        if field in counts
    ]
    return found + (list(front.metrics()) if front is not None else [])


_STATUS: Final = {
    "uptime": ("mpclab_uptime_seconds", "gauge", "Since the server began"),
    "connections": ("mpclab_connections", "gauge", "WebSocket connections that are open"),
    "accepted": ("mpclab_accepted", "counter", "Connections that were let in"),
    "refused": ("mpclab_refused", "counter", "Connections that found no place"),
    "evicted": ("mpclab_evicted", "counter", "Connections cut off because they took nothing"),
    "left_out": ("mpclab_left_out", "counter", "Messages for readers that were too slow"),
    "messages_in": ("mpclab_messages_in", "counter", "Messages from clients"),
    "messages_out": ("mpclab_messages_out", "counter", "Messages to clients"),
    "bytes_in": ("mpclab_bytes_in", "counter", "Bytes from clients"),
    "bytes_out": ("mpclab_bytes_out", "counter", "Bytes to clients"),
    "errors": ("mpclab_protocol_errors", "counter", "Connections that did not speak WebSocket"),
}


def _exposition(status: msgspec.Struct, front: Front | None) -> tuple[str, str]:
    """The metrics as Prometheus reads them, and what that format is called."""
    import prometheus_client as prometheus  # an optional extra: asked for by `--metrics` alone
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.metrics_core import Metric as Family

    class Numbers(prometheus.registry.Collector):
        def collect(self) -> Iterable[Family]:
            for name, kind, words, value in _numbers(status, front):
                family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
                yield family(name, words, value=value)

    registry = prometheus.CollectorRegistry()
    registry.register(Numbers())
    return prometheus.generate_latest(registry).decode(), prometheus.CONTENT_TYPE_LATEST


def _page(status: msgspec.Struct, front: Front | None) -> str:
    """The numbers for people. Names of sessions and parties are nobody's business here."""
    why = front.why_not_ready() if front is not None else ""
    rows = "".join(
        f"<tr><td>{html.escape(m.help)}<td>{m.value:,.0f}" for m in _numbers(status, front)
    )
    state = f"not ready: {why}" if why else "ready"
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>mpclab signaling server</title>"
        "<meta http-equiv=refresh content=5><style>body{font:16px system-ui;margin:2rem}"
        "td{padding:.2rem 1rem .2rem 0}td+td{text-align:right;font-variant-numeric:tabular-nums}"
        f"</style><h1>mpclab signaling server</h1><p>{html.escape(state)}<table>{rows}</table>"
    )
