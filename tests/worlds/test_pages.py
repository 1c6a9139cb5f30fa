"""A signaling server answers with pages on its own port, and lets those of its own address in."""

from __future__ import annotations

import gzip
import http.client
from collections.abc import Iterator

import pytest

from mpclab.signaling.rooms import build_server
from mpclab.worlds.real import ServerSettings, WebSocketWorld
from mpclab.worlds.real.ws_pages import StaticFile, StaticPages

BODY = b"<!doctype html>" + b"the page, at length. " * 50_000
POLICY = "default-src 'none'"
UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    file = StaticFile("text/html; charset=utf-8", BODY, "t1", {"gzip": gzip.compress(BODY)})
    settings = ServerSettings(pages=StaticPages({"/": file}, POLICY), names=("lab.example",))
    with WebSocketWorld(server=settings) as world:
        yield int(world.host_server(build_server(), "127.0.0.1", 0).rpartition(":")[2])


def ask(port: int, path: str = "/", **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers=named)
        answer = connection.getresponse()
        body = b"" if answer.status == http.HTTPStatus.SWITCHING_PROTOCOLS else answer.read()
        return answer.status, answer.headers, body
    finally:
        connection.close()


def test_a_page_comes_whole_and_under_its_policy(port: int) -> None:
    status, headers, body = ask(port, "/?from=a-link")
    assert (status, body) == (200, BODY)
    assert headers["Content-Security-Policy"] == POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Type"] == "text/html; charset=utf-8"


def test_it_is_packed_for_who_can_unpack(port: int) -> None:
    status, headers, body = ask(port, Accept_Encoding="br, gzip")
    assert (status, headers["Content-Encoding"]) == (200, "gzip")
    assert gzip.decompress(body) == BODY


def test_what_has_not_changed_is_not_sent_again(port: int) -> None:
    tag = ask(port)[1]["ETag"]
    status, _, body = ask(port, If_None_Match=tag)
    assert (status, body) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/nothing", "/../etc/passwd", "/%2e%2e/etc/passwd", "//", "/status/"]
)
def test_other_paths_are_no_files(port: int, path: str) -> None:
    status, _, body = ask(port, path)
    assert status >= 400
    assert BODY not in body


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://127.0.0.1:{port}", True),
        ("http://localhost:{port}", True),
        ("http://lab.example:{port}", True),
        ("http://127.0.0.1:1", False),
        ("http://evil.example:{port}", False),
        ("https://evil.example", False),
        ("null", False),
    ],
)
def test_pages_of_its_own_names_connect_whatever_the_request_calls_it(
    port: int, origin: str, allowed: bool
) -> None:
    """A page elsewhere may have its own name point to our address: then Host equals its origin."""
    named = origin.format(port=port)
    status, _, _ = ask(port, Origin=named, Host=named.partition("//")[2] or "x", **UPGRADE)
    assert status == (101 if allowed else 403)
