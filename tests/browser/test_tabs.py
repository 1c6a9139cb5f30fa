"""Tabs of a real Chromium and parties of ours, through the page that `serve --pages` serves."""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, expect

from mpclab.lab import Lab
from mpclab.signaling.rooms import build_server
from mpclab.web import assets, packages, pages
from mpclab.worlds.real import ServerSettings, WebSocketWorld
from tests.browser.tabs import (
    PATIENCE,
    People,
    Quiet,
    approve,
    check_signature,
    fact,
    fill,
    head,
    is_connected,
    is_done,
    operation,
    picture,
    propose,
)
from tests.services import TURN_LOGIN, free_port, running, turn_server

CLIENT = Path(__file__).parents[2] / "examples" / "plain_js"

pytestmark = [pytest.mark.browser, pytest.mark.timeout(500)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin that serves the client in plain JavaScript, of which our server knows."""
    home = tmp_path_factory.mktemp("plain") / "client"
    shutil.copytree(CLIENT, home, ignore=shutil.ignore_patterns("node_modules"))
    (home / "node_modules").symlink_to(packages.modules(CLIENT))
    serve = functools.partial(Quiet, directory=str(home))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as files:
        threading.Thread(target=files.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{files.server_port}"
        files.shutdown()


@pytest.fixture(scope="module")
def server(plain: str) -> Iterator[str]:
    """The url of a signaling server that also serves the pages."""
    settings = ServerSettings(pages=pages.load(assets.ready()), per_address=0, origins=(plain,))
    with WebSocketWorld(server=settings) as world:
        yield world.host_server(build_server(), "127.0.0.1", 0)


@pytest.fixture(scope="module")
def people_all(chromium_browser: Browser, server: str) -> Iterator[People]:
    context = chromium_browser.new_context(viewport={"width": 390, "height": 844})
    yield People(context, server)
    context.close()


@pytest.fixture(scope="module")
def elsewhere(chromium_browser: Browser, server: str) -> Iterator[People]:
    """Another browser, with which that of `people` has nothing in common but what people carry."""
    context = chromium_browser.new_context(viewport={"width": 390, "height": 844})
    yield People(context, server)
    context.close()


@pytest.fixture
def people(people_all: People) -> Iterator[People]:
    yield people_all
    people_all.done()
    assert not people_all.complaints


# In an order in which tabs are used again: the last test closes one.


def test_two_tabs_and_two_parties_make_a_key_and_sign(people: People, server: str) -> None:
    first = people.open()
    expect(first.locator("form").first).to_be_visible(timeout=PATIENCE)
    fill(first, session="shop", parties=4, threshold=3)
    first.get_by_label("Agreement").select_option("raft")
    first.get_by_role("button", name="Create or join").click()
    link = {"session": "shop", "parties": 4, "threshold": 3, "policy": "unanimous"}
    second = people.open(agreement="raft", tell="yes", **link)
    fill(second, party=2)
    second.get_by_text("more", exact=True).click()
    tells = second.get_by_label("Let a lab see what happens here")
    expect(tells).not_to_be_checked()  # no link has that wish for us
    tells.check()
    second.get_by_role("button", name="Join").click()
    with Lab(
        world="webrtc", url=server, session="shop", parties=4, threshold=3, agreement="raft"
    ) as lab:
        lab.spawn(3, 4)
        lab.join(wait=False)
        for tab in (first, second):
            is_connected(tab, 4)
        propose(first, "dkg")
        approve(second, "make a key together")
        is_done(first, "make a key together")

        # In the middle of a vote the second tab is loaded again, and is the same party.
        mine = second.locator(".people li").nth(1).locator("code").get_attribute("title")
        propose(first, "sign", message="pay 5 to Eve")
        expect(operation(second, "pay 5 to Eve")).to_be_visible()
        second.reload()
        is_connected(second, 4)
        assert second.locator(".people li").nth(1).locator("code").get_attribute("title") == mine
        approve(second, "pay 5 to Eve")
        for tab in (first, second):
            is_done(tab, "pay 5 to Eve")
            check_signature(tab, "pay 5 to Eve")
        assert head(first) == head(second)

        # The lab knows of the tab that tells, and names what tabs proposed.
        lab.propose(by=3, kind="sign", key=1, message="named here")
        for tab in (first, second):
            approve(tab, "named here")
        is_done(second, "named here")
        outcomes = lab.run()
        assert [(o.by, o.status) for o in outcomes] == [
            (1, "committed"), (1, "committed"), (3, "committed"),
        ]  # fmt: skip
        assert {p: h.status for p, h in outcomes[1].parties.items()} == {
            1: "unheard", 2: "executed", 3: "executed", 4: "executed",
        }  # fmt: skip
        assert outcomes[2].data["signature"] == fact(second, "named here", "signature")
        assert [v for v in lab.check() if v.verdict == "violated"] == []
        expect(first.locator(".flow .said")).to_contain_text("messages in view")
        picture(first, "tab-390")
        second.emulate_media(color_scheme="dark")
        second.set_viewport_size({"width": 1280, "height": 900})
        expect(second.locator(".flow .said")).to_contain_text("messages in view")
        picture(second, "tab-1280-dark")
        second.emulate_media(color_scheme="light")
        with second.expect_download() as saved:
            second.get_by_role("button", name="Save signature and key").first.click()
        assert saved.value.suggested_filename


def test_five_of_three_kinds_agree_in_spite_of_a_fault(
    people: People, server: str, plain: str
) -> None:
    """Two tabs, two parties of ours, and a page in plain JavaScript, which pbft bears as silent."""
    link = {
        "session": "five", "parties": 5, "threshold": 3, "policy": "unanimous",
        "agreement": "pbft",
    }  # fmt: skip
    tabs = [people.open(party=party, **link) for party in (1, 2)]
    with Lab(
        world="webrtc", url=server, session="five", parties=5, threshold=3, agreement="pbft"
    ) as lab:
        lab.spawn(3, 4)
        lab.join(wait=False)
        js = people.context.new_page()
        js.on("pageerror", lambda error: people.complaints.append(str(error)))
        fields = {**link, "party": 5, "url": server, "n": 5, "t": 3}
        js.goto(f"{plain}/#{urlencode(fields)}")
        js.get_by_role("button", name="Join").click()
        expect(js.locator("#status")).to_have_text("linked with 4 of 4", timeout=PATIENCE)
        twin = people.context.new_page()
        twin.goto(js.url)
        twin.get_by_role("button", name="Join").click()
        expect(twin.locator("#events")).to_contain_text("open in another tab")
        twin.close()
        for tab in tabs:
            is_connected(tab, 5)
        tabs[0].get_by_text("faults of this tab").click()
        tabs[0].locator("[name=fault]").select_option("loss")
        tabs[0].locator("[name=seconds]").fill("2")
        tabs[0].get_by_role("button", name="Break it").click()
        propose(tabs[0], "note", text="from a tab")
        approve(tabs[1], "from a tab")
        js.get_by_role("button", name="Approve").click()
        for tab in tabs:
            is_done(tab, "from a tab")
        js.locator("[name=text]").fill("from plain JavaScript")
        js.get_by_role("button", name="Propose").click()
        for tab in tabs:
            approve(tab, "from plain JavaScript")
        for tab in tabs:
            is_done(tab, "from plain JavaScript")
        expect(js.locator("#operations strong", has_text="committed")).to_have_count(
            2, timeout=PATIENCE
        )
        assert head(tabs[0]) == head(tabs[1])
        assert [o.status for o in lab.run()] == ["committed", "committed"]
        assert [v for v in lab.check() if v.verdict == "violated"] == []
        js.set_viewport_size({"width": 390, "height": 844})
        picture(js, "plain-390")
        js.set_viewport_size({"width": 1280, "height": 900})
        picture(js, "plain-1280")
        js.close()


def test_a_party_is_sealed_moved_and_never_twice_in_one_browser(
    people: People, elsewhere: People, tmp_path: Path
) -> None:
    """One party alone is a session, too: it has a key, under a passphrase, and can be moved."""
    tab = people.open(session="alone", parties=1, threshold=1, agreement="direct")
    fill(tab, party=1)
    tab.locator("form").first.get_by_text("more").click()
    fill(tab, passphrase="a tale of two tabs")
    tab.get_by_role("button", name="Join").dblclick()  # and not so that it holds no lock
    is_connected(tab, 1)
    propose(tab, "note", text="written here")
    is_done(tab, "written here")
    key = tab.locator(".people code").get_attribute("title")

    # A second tab with the same identity hears of the first, and leaves it alone.
    link = {"session": "alone", "parties": 1, "threshold": 1, "agreement": "direct"}
    twin = people.open(party=1, **link)
    expect(twin.locator("#said")).to_contain_text("open in another tab", timeout=PATIENCE)
    twin.evaluate("document.querySelector('#said').textContent = ''")

    tab.get_by_text("export this party", exact=True).click()
    tab.locator("[name=seals]").fill("moving house")
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="Export this party").click()
    file = tmp_path / "alone.mpclab"
    saved.value.save_as(file)
    assert b"written here" not in file.read_bytes()
    tab.get_by_role("button", name="Leave").click()

    # After that only the passphrase opens it here.
    fill(tab, party=1)
    tab.get_by_role("button", name="Join").click()
    expect(tab.locator("#said")).to_contain_text("under a passphrase", timeout=PATIENCE)
    tab.locator("main form").first.get_by_text("more").click()
    for passphrase in ("a tale of two", "a tale of two tabs"):
        fill(tab, passphrase=passphrase)
        tab.get_by_role("button", name="Join").click()
        if passphrase == "a tale of two":
            expect(tab.locator("#said")).to_contain_text("another passphrase", timeout=PATIENCE)
    is_connected(tab, 1)

    # After a crash it says so, and asks.
    tab.get_by_text("faults of this tab").click()
    tab.locator("[name=fault]").select_option("crash")
    tab.locator("[name=seconds]").fill("0.2")
    tab.get_by_role("button", name="Break it").click()
    asks = tab.get_by_text("this party is under a passphrase.")
    expect(asks).to_be_visible(timeout=PATIENCE)
    picture(tab, "tab-locked-390")
    fill(tab, passphrase="a tale of two tabs")
    tab.get_by_role("button", name="Open this party").click()
    is_connected(tab, 1)
    assert tab.locator(".people code").get_attribute("title") == key

    # Elsewhere it is the same party, with its history.
    there = elsewhere.open()
    there.get_by_text("exported from another browser").click(timeout=PATIENCE)
    there.locator("[name=backup]").set_input_files(file)
    there.locator("[name=opens]").fill("moving houses")
    there.get_by_role("button", name="Take it up here").click()
    expect(there.locator("#said")).to_contain_text("another passphrase", timeout=PATIENCE)
    there.locator("[name=opens]").fill("moving house")
    there.get_by_role("button", name="Take it up here").click()
    is_connected(there, 1)
    assert there.locator(".people code").get_attribute("title") == key
    expect(there.locator("ol.history")).to_contain_text("written here")

    # Without a network the page is there all the same, from the service worker.
    there.evaluate("navigator.serviceWorker.ready.then(() => undefined)")
    elsewhere.context.set_offline(True)
    there.reload()
    fill(there, passphrase="moving house")  # the file's is its own here
    there.get_by_role("button", name="Open this party").click()
    expect(there.locator("#status")).to_contain_text("🔴", timeout=PATIENCE)
    assert there.locator(".people code").get_attribute("title") == key
    elsewhere.context.set_offline(False)
    elsewhere.done()
    elsewhere.complaints.clear()  # that there was no network


def test_what_goes_wrong_in_a_tab_is_borne(people: People, server: str, tmp_path: Path) -> None:
    """Loss, altered messages, a pause, a worker that is ended in the middle of a vote, sleep, and
    no network; all of it over a TURN server, behind which the tab hides its address."""
    link = {
        "session": "weather", "parties": 4, "threshold": 3, "policy": "threshold(3)",
        "agreement": "pbft",
    }  # fmt: skip
    port = free_port()
    with (
        running(turn_server(tmp_path, port)),
        Lab(
            world="webrtc", url=server, session="weather", parties=4, threshold=3,
            policy="threshold(3)", agreement="pbft",
        ) as lab,
    ):  # fmt: skip
        lab.spawn(2, 3, 4)
        lab.join(wait=False)
        tab = people.open(**link)
        fill(tab, party=1)
        tab.get_by_text("more", exact=True).click()
        tab.get_by_label("Link through TURN alone").check()
        tab.get_by_role("button", name="Join").click()
        expect(tab.locator("#said")).to_contain_text("need a TURN server")
        fill(tab, ice=f"turn:127.0.0.1:{port}?transport=udp {' '.join(TURN_LOGIN)}")
        tab.get_by_role("button", name="Join").click()
        is_connected(tab, 4)
        directly = tab.locator(".people li", has_text="connected directly")
        expect(directly).to_have_count(3, timeout=PATIENCE)
        assert "peer 127.0.0.1" in (tmp_path / "turn.log").read_text()
        propose(tab, "dkg")
        is_done(tab, "make a key together")
        tab.get_by_text("faults of this tab").click()
        for kind, seconds in (("loss", "2"), ("corrupt", "2"), ("hold", "1"), ("pause", "1")):
            tab.locator("[name=fault]").select_option(kind)
            tab.locator("[name=seconds]").fill(seconds)
            tab.get_by_role("button", name="Break it").click()
            if kind == "pause":  # who is paused proposes nothing
                lab.propose(by=2, kind="note", text="in spite of pause")
            else:
                propose(tab, "note", text=f"in spite of {kind}")
            is_done(tab, f"in spite of {kind}")

        # The worker is ended at once; another one takes up what was stored, the share of the key
        # among it, and the vote that went on without it.
        tab.locator("[name=fault]").select_option("crash")
        tab.locator("[name=seconds]").fill("0.2")
        tab.get_by_role("button", name="Break it").click()
        expect(tab.locator("#status")).to_have_text("🔴 crashed")
        lab.propose(by=2, kind="note", text="while it was away")
        is_connected(tab, 4)
        is_done(tab, "while it was away")
        propose(tab, "sign", message="after a crash")
        is_done(tab, "after a crash")
        check_signature(tab, "after a crash")

        # Asleep, as a browser puts to sleep what nobody looks at: the others go on, and what they
        # decided is in its history as soon as it wakes up.
        devtools = people.context.new_cdp_session(tab)
        devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
        slept = lab.propose(by=2, kind="note", text="while it slept")
        lab.run(lambda: slept.status == "committed", limit=60)
        assert slept.outcome.parties[1].status == "unheard"
        devtools.send("Page.setWebLifecycleState", {"state": "active"})
        is_done(tab, "while it slept")

        # Without a network for a while, and then on a machine that gives it a quarter of its time.
        people.context.set_offline(True)
        expect(tab.locator("#status")).to_contain_text("no server", timeout=PATIENCE)
        lab.propose(by=2, kind="note", text="while it had no network")
        people.context.set_offline(False)
        expect(tab.locator("#status")).to_contain_text("🟢 4 of 4 connected", timeout=PATIENCE)
        is_done(tab, "while it had no network")
        devtools.send("Emulation.setCPUThrottlingRate", {"rate": 4})
        propose(tab, "note", text="slowly")
        is_done(tab, "slowly")
        devtools.send("Emulation.setCPUThrottlingRate", {"rate": 1})
        heads = {lab.group.session_of(p).head for p in (2, 3, 4)}
        assert heads == {head(tab)}
        tab.evaluate("localStorage.clear()")  # TURN was for this session
        people.complaints.clear()  # that there was no network


def test_a_tab_is_the_server_for_its_browser_and_by_a_code_for_another(
    people: People, elsewhere: People
) -> None:
    host = people.open()
    host.get_by_role("button", name="Start server").click(timeout=PATIENCE)
    expect(host.get_by_text("🟢 This tab is the server")).to_be_visible(timeout=PATIENCE)
    picture(host, "tab-server-390")
    fill(host, session="nobody", parties=3, threshold=2, policy="threshold(2)")
    host.get_by_label("Agreement").select_option("direct")
    host.get_by_role("button", name="Create or join").click()
    expect(host.locator(".sessions")).to_contain_text("nobody 1 of 3", timeout=PATIENCE)
    near = people.follow(host.evaluate("location.href"), party=2)

    host.get_by_role("button", name="Invite another browser").click()
    link = host.locator("code.invitation").inner_text(timeout=PATIENCE)
    expect(host.locator(".qr path")).to_have_count(1)
    picture(host, "tab-invitation-390")
    far = elsewhere.follow(link)
    answer = far.locator("code.answer").inner_text(timeout=PATIENCE)
    picture(far, "tab-answer-390")
    host.get_by_label("Their answer").fill(answer)
    host.get_by_role("button", name="Connect").click()
    fill(far, party=3)
    far.get_by_role("button", name="Join").click()
    for tab in (host, near, far):
        is_connected(tab, 3)
    propose(near, "dkg")
    approve(far, "make a key together")
    for tab in (host, near, far):
        is_done(tab, "make a key together")
    assert head(host) == head(near) == head(far)

    # The server's tab goes: the mesh lives on, and another tab is the next server.
    host.close()
    for tab in (near, far):
        expect(tab.locator("#status")).to_contain_text("2 of 3 still connected", timeout=PATIENCE)
    propose(far, "sign", message="without a server")
    approve(near, "without a server")
    for tab in (near, far):
        is_done(tab, "without a server")
        check_signature(tab, "without a server")
    near.get_by_role("button", name="Start server in this tab").click()
    expect(near.locator("#status")).to_contain_text("🟢 2 of 3 connected", timeout=PATIENCE)
    assert not elsewhere.complaints
