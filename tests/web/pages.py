"""Pages without a browser: they do what `web/static/page.js` does, between tabs of one process."""

from __future__ import annotations

import heapq
import json
import random
import re
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from mpclab.web.tab import Tab

PATIENCE = 60.0
"""Seconds until a test gives up waiting."""


class Browser:
    """Tabs, what is under way between them, and what each has on its disk."""

    def __init__(self) -> None:
        self.pages: list[FakePage] = []
        self.disks: dict[tuple[str, int], dict[str, bytes]] = {}
        self._soon: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.coins = random.Random(1)

    def tab(self) -> FakePage:
        """Open a tab."""
        page = FakePage(self)
        self.pages.append(page)
        return page

    def soon(self, act: Callable[[], None]) -> None:
        self._soon.append(act)

    def at(self, due: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (due, next(self._order), act))

    def run(self, until: Callable[[], bool]) -> None:
        """Let things happen until `until()` holds."""
        deadline = time.monotonic() + PATIENCE
        while not until():
            now = time.monotonic()
            shown = [page.state for page in self.pages]
            assert now < deadline, f"it never came to pass: {shown}"
            if self._soon:
                self._soon.popleft()()
            elif self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()


class FakePage:
    """One tab: its page and its Python."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.is_open = True
        self.state: dict[str, Any] = {}
        self.flow: list[bytes] = []
        self.serves = ""
        self.links: dict[int, Callable[[str, Any], None]] = {}  # what the other end is told
        self.offers: dict[str, int] = {}
        self.disk: dict[str, bytes] | None = None
        self._wakes = 0
        self.tab = Tab(self)

    # --- the person at the tab --------------------------------------------------------------

    def start(self, session: str, party: int, parties: int, **more: Any) -> None:
        """Be a party, with the identity that this browser has for it."""
        self.disk = self.browser.disks.setdefault((session, party), {})
        seed = bytes([party]) * 32
        form = {"session": session, "party": party, "parties": parties, **more}
        answer = json.loads(self.tab.start(json.dumps(form), seed, list(self.disk.items())))
        assert "error" not in answer, answer

    def do(self, what: str, **more: Any) -> Any:
        answer = json.loads(self.tab.command(json.dumps({"do": what, **more})))
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["ok"]

    def close(self) -> None:
        """The tab goes, without a word from Python."""
        self.is_open = False
        for number in list(self.links):
            self.perform("close", number, "the tab was closed")
        self.serves = ""
        self.browser.pages.remove(self)

    def told(self, *event: Any) -> None:
        if self.is_open:
            self.tab.told(*event)

    def operation(self, kind: str) -> dict[str, Any]:
        """The newest operation of a kind, as the page shows it; empty while there is none."""
        return next((o for o in self.state.get("operations", [])[::-1] if o["kind"] == kind), {})

    # --- Page -------------------------------------------------------------------------------

    def wake_in(self, milliseconds: float, callback: Callable[[], None]) -> None:
        self._wakes += 1

        def wake(mine: int = self._wakes) -> None:
            if self.is_open and mine == self._wakes:
                callback()

        self.browser.at(time.monotonic() + milliseconds / 1000, wake)

    def perform(self, verb: str, link: int, text: str = "", data: bytes | None = None) -> None:
        match verb:
            case "state":
                self.state = json.loads(text)
            case "flow":
                self.flow += [data] if data is not None else []
            case "keep" | "forget":
                assert self.disk is not None
                self.disk.pop(text, None)
                if data is not None:
                    self.disk[text] = data
            case "listen" | "hush":
                self.serves = text
            case _:
                # What is said reaches the other end later, as over any wire.
                getattr(self, f"_{verb}")(link, text, data)

    def _connect(self, link: int, url: str, _: Any) -> None:
        def knock() -> None:
            name = url.removeprefix("tab:")
            server = next((p for p in self.browser.pages if p.serves == name), None)
            number = server.tab.accept() if server is not None else 0
            if server is None or not number:
                self.told("closed", link, "no tab of this browser is that server")
                return
            self.links[link] = partial(server.from_link, number)
            server.links[number] = partial(self.from_link, link)
            self.told("opened", link, "")
            server.told("greeted", number, "192.0.2.1")

        self.browser.soon(knock)

    def from_link(self, number: int, what: str, content: Any) -> None:
        if number not in self.links:
            return
        if what == "closed":
            del self.links[number]
        self.told(what, number, content)

    def _to(self, link: int, what: str, content: Any) -> None:
        if (other := self.links.get(link)) is not None:
            self.browser.soon(partial(other, what, content))

    def _say(self, link: int, text: str, _: Any) -> None:
        self._to(link, "received", text)

    def _send(self, link: int, _: str, data: Any) -> None:
        self._to(link, "carried", data)

    def _close(self, link: int, text: str, _: Any) -> None:
        self._to(link, "closed", text)
        self.links.pop(link, None)

    def _offer(self, link: int, text: str, _: Any) -> None:
        sdp = self._describe(link)
        self.offers[sdp] = link
        self.browser.soon(lambda: self.told("described", link, "offer", sdp))

    def _answer(self, link: int, text: str, _: Any) -> None:
        sdp = self._describe(link)
        self.offers[sdp] = link
        self.browser.soon(lambda: self.told("described", link, "answer", sdp))

    def _describe(self, link: int) -> str:
        prints = ":".join(f"{b:02X}" for b in self.browser.coins.randbytes(32))
        return (
            f"v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n"
            f"a=ice-ufrag:{self.browser.coins.randrange(2**32)}\r\n"
            f"a=fingerprint:sha-256 {prints}\r\n"
            f"a=candidate:1 1 udp 1 192.0.2.{link % 250} 9 typ host\r\n"
        )

    def _candidates(self, link: int, text: str, _: Any) -> None:
        assert all(line.startswith("candidate:") for line in json.loads(text))

    def _take(self, link: int, text: str, _: Any) -> None:
        """The answer came: the two ends meet, and see each other's certificates."""
        (wanted,) = re.findall(r"a=ice-ufrag:\d+", text)
        for other in self.browser.pages:
            for sdp, number in other.offers.items():
                if wanted in sdp:
                    mine = next(s for s, n in self.offers.items() if n == link)
                    self._meet(link, mine, other, number, sdp)
                    return

    def _meet(self, link: int, mine: str, other: FakePage, number: int, theirs: str) -> None:
        a, b = (re.findall(r"sha-256 (\S+)", sdp)[0] for sdp in (mine, theirs))
        self.links[link] = partial(other.from_link, number)
        other.links[number] = partial(self.from_link, link)
        self.browser.soon(lambda: self.told("opened", link, f"{a} {b}"))
        self.browser.soon(lambda: other.told("opened", number, f"{b} {a}"))
