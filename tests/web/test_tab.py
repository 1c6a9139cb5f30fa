"""A tab is a party, and a tab is a server: all of its Python, between pages without a browser."""

from __future__ import annotations

import json
import random
from collections.abc import Collection
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from mpclab.crypto.identity import Identity
from mpclab.signaling.client import Client
from mpclab.signaling.tickets import issue
from tests.web.pages import Browser, FakePage

FORM: dict[str, Any] = {"threshold": 2, "agreement": "raft"}


def meet(browser: Browser, n: int, tells: Collection[int] = (), **more: Any) -> list[FakePage]:
    """Tabs of one session, the first of which is the server; all are connected."""
    tabs = [browser.tab() for _ in range(n)]
    tabs[0].do("serve", name="here")
    for party, tab in enumerate(tabs, 1):
        told = {"tell": "yes"} if party in tells else {}
        tab.start("session", party, n, url="tab:here", **{**FORM, **more, **told})
    browser.run(lambda: all(is_linked(tab, n) for tab in tabs))
    return tabs


def is_linked(tab: FakePage, n: int) -> bool:
    ways = [person["via"] for person in tab.state.get("people", [])]
    return ways.count("link") == n - 1 and bool(tab.state.get("running"))


def agree(browser: Browser, tabs: list[FakePage], by: FakePage, kind: str, **params: Any) -> Any:
    """Have a tab propose, all approve; the operation once it is executed everywhere."""
    op = by.do("propose", kind=kind, params=params)

    def is_heard(tab: FakePage) -> bool:
        return tab.operation(kind).get("op") == op

    for tab in tabs:
        browser.run(lambda tab=tab: is_heard(tab))  # type: ignore[misc]
        if tab.operation(kind)["mine"] is None:
            tab.do("vote", op=op, approve=True)
    browser.run(
        lambda: all(is_heard(tab) and tab.operation(kind)["status"] == "executed" for tab in tabs)
    )
    return by.operation(kind)


def facts(operation: dict[str, Any]) -> dict[str, Any]:
    return dict(operation["facts"])


def test_three_tabs_with_a_tab_as_the_server_make_a_key_and_sign() -> None:
    browser = Browser()
    tabs = meet(browser, 3)
    assert [s["n"] for s in tabs[0].state["serving"]["sessions"]] == [3]
    agree(browser, tabs, tabs[1], "dkg")
    signed = facts(agree(browser, tabs, tabs[2], "sign", message="pay 5 to Eve"))
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed["public_key"]))
    key.verify(bytes.fromhex(signed["signature"]), b"pay 5 to Eve")
    assert len({tab.state["head"] for tab in tabs}) == 1
    assert all(tab.flow for tab in tabs)
    files = tabs[0].do("files", op=tabs[0].operation("sign")["op"])
    assert {"key.pem", "message", "message.bin"} <= set(files)


def test_the_mesh_outlives_the_tab_that_was_its_server() -> None:
    browser = Browser()
    tabs = meet(browser, 4, policy="threshold(3)", agreement="pbft")
    tabs[0].close()
    rest = tabs[1:]
    browser.run(lambda: not any(tab.state["joined"] for tab in rest))
    agree(browser, rest, rest[0], "note", text="we go on")
    assert len({tab.state["head"] for tab in rest}) == 1
    # Another tab hosts the next server under the same name, and all meet there again; a page that
    # wakes up does not wait for its turn.
    node = rest[0].tab.world.alive(2).node
    assert node is not None
    client = node.machine(("signaling",))
    assert isinstance(client, Client)
    browser.run(lambda: client.state == "waiting")
    rest[1].do("serve", name="here")
    rest[0].do("wake")
    assert client.state == "connecting"
    browser.run(lambda: all(tab.state["joined"] for tab in rest))


def test_a_tab_that_is_loaded_again_in_the_middle_of_a_vote_goes_on_as_the_same_party() -> None:
    browser = Browser()
    tabs = meet(browser, 3)
    agree(browser, tabs, tabs[0], "dkg")
    key = tabs[2].state["people"][2]["key"]
    op = tabs[0].do("propose", kind="note", params={"text": "hello"})
    browser.run(lambda: bool(tabs[2].operation("note")))
    tabs[2].close()
    again = tabs[2] = browser.tab()
    again.start("session", 3, 3, url="tab:here", **FORM)
    browser.run(lambda: all(is_linked(tab, 3) for tab in tabs) and bool(again.operation("note")))
    assert again.state["people"][2]["key"] == key
    assert [k["holds"] for k in again.state["keys"]] == [True]
    assert again.operation("note")["op"] == op
    for tab in tabs[1:]:
        if tab.operation("note")["mine"] is None:
            tab.do("vote", op=op, approve=True)
    browser.run(lambda: all(tab.operation("note").get("status") == "executed" for tab in tabs))
    signed = facts(agree(browser, tabs, again, "sign", message="after a reload"))
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed["public_key"])).verify(
        bytes.fromhex(signed["signature"]), b"after a reload"
    )


def test_exactly_what_will_be_executed_is_shown_and_a_rejection_counts() -> None:
    browser = Browser()
    tabs = meet(browser, 2)
    op = tabs[0].do("propose", kind="sum", params={"length": "2"})
    browser.run(lambda: bool(tabs[1].operation("sum")))
    shown = tabs[1].operation("sum")
    assert ["length", 2] in shown["params"]
    assert (shown["by"], shown["mine"], shown["waiting_for"]) == (1, None, [2])
    tabs[1].do("vote", op=op, approve=False, reason="not today")
    browser.run(lambda: all(tab.operation("sum").get("status") == "aborted" for tab in tabs))
    assert tabs[0].operation("sum")["votes"][-1]["reason"] == "not today"


def test_numbers_of_ones_own_are_added_up_and_not_shown() -> None:
    browser = Browser()
    tabs = meet(browser, 3)
    for tab, numbers in zip(tabs, ("1", "20", "300.5"), strict=True):
        tab.do("private", numbers=numbers)
    added = agree(browser, tabs, tabs[0], "sum", decimals="1")
    assert "321.5" in added["result"]
    rows = [str(row) for tab in tabs for row in tab.tab.world.trace]
    assert not any("300.5" in row for row in rows)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ({"do": "fly"}, "cannot 'fly'"),
        ({"do": "propose", "kind": "steal"}, "'steal' is not known"),
        ({"do": "propose", "kind": "sign", "params": {"message": "x"}}, "propose dkg first"),
        ({"do": "propose", "kind": "note", "params": {"text": ""}}, "missing"),
        ({"do": "propose", "kind": "sum", "params": {"length": "many"}}, "not a whole number"),
        ({"do": "propose", "kind": "sum", "params": {"bound": "3"}}, "'bound' is not known"),
        ({"do": "private", "numbers": "one"}, "not a number"),
        ({"do": "vote", "op": "nothing", "approve": True}, "nothing"),
        ({"do": "files", "op": "nothing"}, "no such operation"),
        ({"do": "serve", "name": "here"}, "already"),
    ],
)
def test_what_cannot_be_done_is_answered_with_the_reason(command: dict[str, Any], why: str) -> None:
    tabs = meet(Browser(), 1, threshold=1)
    before = json.dumps(tabs[0].tab.state()["operations"])
    with pytest.raises(ValueError, match=why):
        tabs[0].do(command.pop("do"), **command)
    assert json.dumps(tabs[0].tab.state()["operations"]) == before


def test_a_certificate_that_is_not_that_of_the_description_ends_the_link() -> None:
    browser = Browser()
    tabs = [browser.tab(), browser.tab()]
    tabs[1]._meet = lambda *_: None  # type: ignore[method-assign]
    tabs[0]._meet = lambda link, *_: browser.soon(  # type: ignore[method-assign]
        lambda: tabs[0].told("opened", link, f"{'AA:' * 31}AA {'BB:' * 31}BB")
    )
    tabs[0].do("serve", name="here")
    for party, tab in enumerate(tabs, 1):
        tab.start("session", party, 2, url="tab:here", **FORM)
    browser.run(
        lambda: any(
            getattr(row, "detail", "") == "the peer's certificate is not that of its description"
            for tab in tabs
            for row in tab.tab.world.trace
        )
    )
    assert not any(person["via"] == "link" for person in tabs[0].state.get("people", []))


texts = st.one_of(
    st.text(max_size=200),
    st.sampled_from(
        ["[" * 20_000, '{"id":1,"msg":' + "[" * 50_000, '{"id":-1,"msg":{}}', "\ud800"]
    ),
)


@settings(max_examples=12)
@given(said=st.lists(st.one_of(texts, st.binary(max_size=300)), max_size=6), data=st.data())
def test_no_message_of_anybody_ends_a_tab(said: list[str | bytes], data: st.DataObject) -> None:
    """Of the server, of a client, of a peer, and of nobody that we know."""
    browser = Browser()
    tabs = meet(browser, 2)
    for one in said:
        tab = data.draw(st.sampled_from(tabs))
        number = data.draw(st.integers(0, tab.tab.world._next))
        tab.told("received" if isinstance(one, str) else "carried", number, one)
    browser.run(lambda: all(is_linked(tab, 2) for tab in tabs))
    assert not any(tab.tab.world.failures for tab in tabs)
    agree(browser, tabs, tabs[0], "note", text="still here")


def test_a_ticket_is_shown_at_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(FakePage, "_say", lambda page, link, text, data: said.append(text))
    browser = Browser()
    server, guest = browser.tab(), browser.tab()
    server.do("serve", name="here")
    with pytest.raises(AssertionError, match="malformed ticket"):
        guest.start("session", 2, 2, url="tab:here", ticket="let me in", **FORM)
    coins = random.Random(1)
    ticket = issue(Identity.generate(coins), "session", expires=2**40, coins=coins)
    guest.start("session", 2, 2, url="tab:here", ticket=f" {ticket}\n", **FORM)
    browser.run(lambda: bool(said))  # the challenge, which nobody got
    guest.told("received", 1, said[0])
    browser.run(lambda: len(said) == 2)
    assert json.loads(said[1])["msg"]["ticket"] == ticket
