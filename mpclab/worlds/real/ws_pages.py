"""Pages that a signaling server answers with on its own port: fixed files, ready to be sent."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

COMMON = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class StaticFile:
    """One file.

    Attributes:
        tag: of its content, for caches.
        packed: the content in other codings (`br`, `gzip`), the best first; none where that
            gains nothing.
    """

    kind: str
    content: bytes = field(repr=False)
    tag: str
    packed: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class StaticPages:
    """Files by path, "/" among them.

    Attributes:
        policy: the Content-Security-Policy of all.
    """

    files: Mapping[str, StaticFile]
    policy: str

    def answer(self, request: Request) -> Response | None:
        """The response to a request; None: it is not for us."""
        if request.method not in ("GET", "HEAD") or "Upgrade" in request.headers:
            return None
        file = self.files.get(unquote(urlsplit(request.path).path))
        if file is None:
            return None
        headers = Headers({"Date": email.utils.formatdate(usegmt=True), "Connection": "close"})
        headers.update(COMMON)
        headers["Content-Security-Policy"] = self.policy
        # Asked for each time, answered with nothing where nothing has changed.
        headers["Cache-Control"] = "no-cache"
        headers["ETag"] = f'"{file.tag}"'
        headers["Vary"] = "Accept-Encoding"
        if f'"{file.tag}"' in ",".join(request.headers.get_all("If-None-Match")):
            return Response(HTTPStatus.NOT_MODIFIED, "Not Modified", headers)
        body = file.content
        wanted = ",".join(request.headers.get_all("Accept-Encoding"))
        taken = {word.partition(";")[0].strip() for word in wanted.split(",")}
        for coding, packed in file.packed.items():
            if coding in taken:
                body = packed
                headers["Content-Encoding"] = coding
                break
        headers["Content-Type"] = file.kind
        headers["Content-Length"] = str(len(body))
        return Response(HTTPStatus.OK, "OK", headers, b"" if request.method == "HEAD" else body)
