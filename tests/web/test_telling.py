"""Parties elsewhere tell of themselves: a lab shows them, and no liar speaks for another."""

from __future__ import annotations

import json
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from mpclab.core import notes
from mpclab.core.effects import Asked, Output
from mpclab.core.errors import PeerFault
from mpclab.core.ids import SERVER
from mpclab.core.peers import PeerDown
from mpclab.core.telling import TellRows, Told, Unheard, WantRows
from mpclab.crypto.identity import Identity
from mpclab.lab.outcome import Tracker
from mpclab.signaling.messages import Rows, Wanted
from mpclab.signaling.telling import AGAIN, LABEL, Listening, Telling, life_number
from mpclab.trace import rows
from mpclab.trace.fold import fold
from mpclab.trace.log import Trace
from mpclab.view import Feed
from mpclab.worlds import told
from mpclab.worlds.told import Ears
from tests.web.pages import Browser, FakePage
from tests.web.test_tab import agree, is_linked, meet


def holdings(listener: FakePage, number: int) -> dict[int, str]:
    """What each party holds of an operation, as the listener's lab shows it."""
    outcome = listener.tab.group.outcomes()[number - 1]
    return {party: held.status for party, held in outcome.parties.items()}


def test_who_tells_is_in_the_outcomes_and_who_does_not_is_not_waited_for() -> None:
    browser = Browser()
    tabs = meet(browser, 3, tells={2})
    listener = tabs[0]
    listener.tab.world.ask(1, (), WantRows())
    agree(browser, tabs, tabs[1], "dkg")
    browser.run(lambda: holdings(listener, 1).get(2) == "executed")
    assert holdings(listener, 1) == {1: "executed", 2: "executed", 3: "unheard"}
    (made,) = listener.tab.group.outcomes()
    assert (made.status, made.by, bool(made.data)) == ("committed", 2, True)
    # Proposed where nobody tells: it has its number all the same.
    signed = agree(browser, tabs, tabs[2], "sign", message="by a silent one")
    assert listener.tab.group.outcomes()[1].op == signed["op"]
    browser.run(listener.tab.group.settled)
    actors = {row.actor for row in listener.tab.world.trace}
    assert actors >= {0, 1, 2}
    assert 3 not in actors


def test_what_was_told_before_comes_too_and_after_a_reload_it_goes_on() -> None:
    browser = Browser()
    tabs = meet(browser, 2, tells={2}, agreement="direct")
    agree(browser, tabs, tabs[1], "note", text="first")
    tabs[0].tab.world.ask(1, (), WantRows())
    browser.run(lambda: holdings(tabs[0], 1).get(2) == "executed")
    tabs[1].close()
    browser.run(lambda: tabs[0].tab.group.tracker.follow().parties[2].life == "crashed")
    again = tabs[1] = browser.tab()
    again.start("session", 2, 2, url="tab:here", threshold=2, agreement="direct", tell="yes")
    browser.run(lambda: tabs[0].tab.group.tracker.follow().parties[2].life == "up")
    agree(browser, tabs, tabs[0], "note", text="second")
    browser.run(lambda: holdings(tabs[0], 2).get(2) == "executed")
    told = [r for r in tabs[0].tab.world.trace if r.actor == 2 and isinstance(r, rows.Noted)]
    texts = [r.note.text for r in told if isinstance(r.note, notes.Proposed)]
    assert texts.count("first") <= 1


def test_rows_of_a_liar_are_about_the_liar_alone() -> None:
    browser = Browser()
    tabs = meet(browser, 3, tells={3})
    listener, liar = tabs[0], tabs[2]
    listener.tab.world.ask(1, (), WantRows())
    agree(browser, tabs, tabs[0], "note", text="true")
    browser.run(lambda: holdings(listener, 1).get(3) == "executed")
    op = listener.operation("note")["op"]
    before = [r for r in listener.tab.world.trace if r.actor != 3]
    forged: list[rows.Row] = [
        rows.Noted(1, 2, ("session",), notes.Aborted(op, "forged")),
        rows.Noted(1, 0, (), notes.Joined("session", 2)),
        rows.Noted(1, 3, ("x",), notes.Closed("session")),
        rows.Noted(1, 3, (), notes.Crashed()),
        rows.Noted(1, 3, ("session",), notes.Proposed("forged", "note", 2, "not mine")),
        rows.Fault(1, rows.WORLD, 0, "crash", "begin", (2,), "", False, "crashed"),
        rows.Fault(1, 3, 0, "crash", "begin", (2,), "", False, "crashed"),
        rows.Lied(1, 3, (), "", 0, ()),
        rows.Delivered(1, 3, -4, 2**80),
        rows.Linked(1, 3, 999_999, "open"),
    ]
    lines = [msgspec.json.encode(row) for row in forged]
    lines += [b"{}", b"[" * 5_000, b"\xff", json.dumps({"row": "noted"}).encode()]
    marker = msgspec.json.encode(rows.Noted(1, 3, ("session",), notes.Remark("the end", {})))
    blob = b"".join(line + b"\n" for line in [*lines, marker])
    host = liar.tab.world.alive(3)
    host.ask(Asked((), TellRows(blob, len(lines) + 1, 2**62)))
    browser.run(
        lambda: any(
            isinstance(r, rows.Noted) and getattr(r.note, "what", "") == "the end"
            for r in listener.tab.world.trace
        )
    )
    after = [r for r in listener.tab.world.trace if r.actor != 3]
    assert [r for r in after[: len(before)] if r not in before] == []
    assert not any("forged" in str(r) for r in listener.tab.world.trace)
    assert all(getattr(r, "peer", 0) <= 3 for r in listener.tab.world.trace)
    assert holdings(listener, 1) == {1: "executed", 2: "unheard", 3: "executed"}
    assert not listener.tab.world.failures


def test_rows_that_their_teller_did_not_sign_are_blamed() -> None:
    browser = Browser()
    tabs = meet(browser, 2, tells={2})
    tabs[0].tab.world.ask(1, (), WantRows())
    node = tabs[1].tab.world.alive(2).node
    assert node is not None
    browser.run(lambda: node.machine(("rows",)) is not None)
    machine = node.machine(("rows",))
    machine._identity = tabs[0].tab.group.identity(1)  # type: ignore[union-attr]
    agree(browser, tabs, tabs[0], "note", text="x")
    browser.run(
        lambda: any(b["reason"] == "rows that it did not sign" for b in tabs[0].state["blames"])
    )


HOSTILE: list[rows.Row] = [
    rows.Sent(1, 3, 1, (1,), ("x",), "Note", 10, via="by owl"),
    rows.Sent(1, 3, 2, (1,), ("x",), "Note", -1),
    rows.Sent(1, 3, 3, (1,), ("x",), "Note", 2**80),
    rows.Sent(1, 3, 4, (1,) * 9_000, ("x",), "Note", 10),
    rows.Linked(1, 3, 1, "by owl"),
    rows.Linked(1, 3, 1, "open", -(2**80)),
    rows.Blamed(1, 3, ("x",), 2**80, "r", "strong"),
]


@pytest.mark.parametrize("row", HOSTILE)
def test_rows_that_no_host_writes_are_not_taken(row: rows.Row) -> None:
    trace = Trace()
    honest = rows.Sent(1, 3, 5, (1, 2), ("x",), "Note", 10, via="relay")
    blob = b"".join(msgspec.json.encode(one) + b"\n" for one in (row, honest))
    Ears(lambda: trace, lambda: 1_000).hear(0, Told(3, blob, 5, 1, 0, 2))
    assert [type(r) for r in trace] == [rows.Noted, rows.Sent]
    assert Feed(trace, parties=range(1, 4)).read() is not None
    assert fold(trace).link(1, 3) == ""


class Hosting:
    """Tabs of one session, at a server that is in a tab of its own and hears what they tell; what
    its lab shows of them."""

    def __init__(self, tells: set[int]) -> None:
        self.browser = Browser()
        self.server = self.browser.tab()
        self.server.do("serve", name="here")
        self.world = self.server.tab.world
        self.world.hear_at_server("session", 0, True)
        self.tabs = [self.browser.tab() for _ in range(3)]
        for party, tab in enumerate(self.tabs, 1):
            told = {"tell": "yes"} if party in tells else {}
            tab.start("session", party, 3, url="tab:here", threshold=2, agreement="raft", **told)
        self.browser.run(lambda: all(is_linked(tab, 3) for tab in self.tabs))
        self.tracker = Tracker(self.world.trace, 0, 3)

    def shown(self, number: int) -> dict[int, str]:
        """What each party holds of an operation."""
        made = self.tracker.outcomes((1, 2, 3))
        return {p: held.status for p, held in made[number - 1].parties.items()} if made else {}


def test_a_lab_that_only_hosts_the_server_hears_of_parties_elsewhere() -> None:
    hosting = Hosting(tells={1, 2})
    browser, tabs = hosting.browser, hosting.tabs
    agree(browser, tabs, tabs[0], "dkg")
    everywhere = {1: "executed", 2: "executed", 3: "unheard"}
    browser.run(lambda: hosting.shown(1) == everywhere)
    # Of what one proposes that tells nothing, two others say so.
    signed = agree(browser, tabs, tabs[2], "sign", message="by a silent one")
    browser.run(lambda: len(hosting.tracker.outcomes((1, 2, 3))) == 2)
    browser.run(lambda: hosting.shown(2) == everywhere)
    made, second = hosting.tracker.outcomes((1, 2, 3))
    assert (made.by, made.status, second.by, second.op) == (1, "committed", 3, signed["op"])
    # A server that begins anew asks again and is told all again, and it stands there once.
    before = [row for row in hosting.world.trace if row.actor == 1]
    hosting.world.hear_at_server("session", 0, False)
    hosting.world.hear_at_server("session", 0, True)
    agree(browser, tabs, tabs[1], "note", text="and on")
    browser.run(lambda: hosting.shown(3) == everywhere)
    after = [row for row in hosting.world.trace if row.actor == 1]
    noted = [row for row in after if isinstance(row, rows.Noted)]
    assert after[: len(before)] == before
    assert len({msgspec.json.encode(row) for row in noted}) == len(noted)
    # A tab that goes is not heard any more.
    tabs[1].close()
    browser.run(lambda: hosting.tracker.follow().parties[2].life == "crashed")
    assert not hosting.world.failures


def test_a_server_sends_away_who_tells_it_what_nobody_signed() -> None:
    hosting = Hosting(tells={2})
    browser, tabs = hosting.browser, hosting.tabs
    node = tabs[1].tab.world.alive(2).node
    assert node is not None
    browser.run(lambda: node.machine(("rows",)) is not None)
    node.machine(("rows",))._identity = tabs[0].tab.group.identity(1)  # type: ignore[union-attr]
    tabs[0].do("propose", kind="note", params={"text": "x"})
    expelled = notes.Expelled("rows that it did not sign", "session", 2)
    browser.run(lambda: any(getattr(row, "note", 0) == expelled for row in hosting.world.trace))
    assert len(hosting.tracker.outcomes((1, 2, 3))) == 0


def test_one_party_alone_invents_nothing_in_the_name_of_another() -> None:
    trace = Trace()
    tracker = Tracker(trace, 0, 3)
    ears = Ears(lambda: trace, lambda: 1_000)
    heard = rows.Noted(1, 2, ("session",), notes.Heard("op", "note", 1))
    ears.hear(0, Told(3, b"", 5, 1, 0, 0))
    ears.hear(0, Told(2, msgspec.json.encode(heard) + b"\n", 5, 1, 0, 1))
    assert len(tracker.outcomes((1, 2, 3))) == 0
    also = msgspec.structs.replace(heard, actor=3)
    ears.hear(0, Told(3, msgspec.json.encode(also) + b"\n", 5, 1, 0, 1))
    assert [o.by for o in tracker.outcomes((1, 2, 3))] == [1]


def piece(identity: Identity, life: int, first: int = 0, count: int = 1) -> Rows:
    """So many rows, signed by that party."""
    parts = ("session", life, first, count, 5, b"{}\n")
    return Rows(life, first, count, 5, b"{}\n", identity.sign(LABEL, *parts))


def test_who_takes_the_seat_of_a_liar_is_heard() -> None:
    liar, honest = (Identity.from_seed(bytes([n]) * 32) for n in (1, 2))
    heard = Listening("session", server=True)
    most = (1 << 53) - 1
    with pytest.raises(PeerFault, match="malformed"):
        heard.take(2, liar.public, piece(liar, most, most))
    assert heard.take(2, liar.public, piece(liar, most, most - 2)) is not None
    assert msgspec.json.decode(msgspec.json.encode(heard.wanted(2)), type=Wanted)
    with pytest.raises(PeerFault, match="did not sign"):
        heard.take(2, honest.public, piece(liar, most, most - 1))
    life = life_number(b"drawn bytes.....")
    told = [heard.take(2, honest.public, piece(honest, life)) for _ in range(2)]
    assert told[0] is not None
    assert told[1] is None
    trace = Trace()
    ears = Ears(lambda: trace, lambda: 1_000)
    for news in (Told(2, b"", 5, most, most - 2, 1), told[0]):
        ears.hear(0, news)
    assert [type(r.note) for r in trace] == [notes.Started, notes.Restarted]


def test_who_kept_nothing_tells_in_another_life() -> None:
    lives = []
    browser = Browser()
    server = browser.tab()
    server.do("serve", name="here")
    for _ in range(2):
        tab = browser.tab()
        tab.start("session", 2, 2, url="tab:here", threshold=2, agreement="direct", tell="yes")
        node = tab.tab.world.alive(2).node
        assert node is not None
        browser.run(lambda node=node: node.machine(("rows",)) is not None)  # type: ignore[misc]
        lives.append(node.machine(("rows",))._life)  # type: ignore[union-attr]
        tab.close()
        browser.disks.clear()
    assert lives[0] != lives[1]


def test_rows_of_no_life_are_malformed_and_stop_nobody() -> None:
    browser = Browser()
    tabs = meet(browser, 2, tells={2})
    tabs[0].tab.world.ask(1, (), WantRows())
    node = tabs[1].tab.world.alive(2).node
    assert node is not None
    browser.run(lambda: node.machine(("rows",)) is not None)
    machine = node.machine(("rows",))
    machine._life = 0  # type: ignore[union-attr]
    agree(browser, tabs, tabs[0], "note", text="x")
    browser.run(lambda: any(b["reason"] == "malformed rows" for b in tabs[0].state["blames"]))
    assert not tabs[0].tab.world.failures


def test_who_asks_again_and_again_is_not_told_again_and_again() -> None:
    browser = Browser()
    tabs = meet(browser, 2, tells={2})
    tabs[0].tab.world.ask(1, (), WantRows())
    agree(browser, tabs, tabs[0], "note", text="x")
    browser.run(lambda: holdings(tabs[0], 1).get(2) == "executed")
    heard: list[int] = []
    machine = tabs[1].tab.world.alive(2).node.machine(("rows",))  # type: ignore[union-attr]
    assert isinstance(machine, Telling)
    ctx = SimpleNamespace(send=lambda to, piece: heard.append(piece.first))
    for _ in range(100):
        machine.on_message(cast("Any", ctx), 1, Wanted(0, 0))
    assert heard.count(0) == AGAIN
    machine.on_ask(cast("Any", ctx), PeerDown(1, "gone"))
    machine.on_message(cast("Any", ctx), 1, Wanted(0, 0))
    assert heard.count(0) == AGAIN + 1


def test_what_is_no_row_counts_as_told() -> None:
    trace = Trace()
    ears = Ears(lambda: trace, lambda: 1_000)
    row = msgspec.json.encode(rows.Noted(1, 3, ("x",), notes.Remark("r", {}))) + b"\n"
    blob = b"{" * (told.MOST_BYTES - 2 * len(row)) + b"\n"
    for number, rest in enumerate((blob, row, row)):
        ears.hear(0, Told(3, rest, 5, 1, number, 1))
    assert len(trace) == 1 + 1


def test_rows_of_a_session_that_is_heard_no_more_are_of_no_other() -> None:
    page = Browser().tab()
    page.do("serve", name="here")
    world = page.tab.world
    before = len(world.trace)
    heard = Output(("signaling",), Told(1, b"", 5, 1, 0, 0, "another"))
    world.note(world.alive(SERVER), heard)
    assert len(world.trace) == before


def test_no_party_tells_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "MOST", 50)
    monkeypatch.setattr(told, "MOST_BYTES", 10_000)
    comes_and_goes, talks = Trace(), Trace()
    ears = Ears(lambda: comes_and_goes, lambda: 1_000)
    for life in range(1, 101):
        ears.hear(0, Told(3, b"", 5, life, 0, 0))
        ears.hear(0, Unheard(3))
    assert len(comes_and_goes) == 50
    ears = Ears(lambda: talks, lambda: 1_000)
    long = msgspec.json.encode(rows.Output(1, 3, ("x",), "x" * 3_000))
    for number in range(20):
        ears.hear(0, Told(3, long + b"\n", 5, 1, number, 1))
    assert len(talks) == 1 + 3


@pytest.mark.parametrize("ahead", [-5_000_000, 0, 7_000_000])
def test_no_row_lies_in_the_future_whatever_the_tellers_clock_says(ahead: int) -> None:
    trace, now = Trace(), 1_000_000
    ears = Ears(lambda: trace, lambda: now)
    for number, at in enumerate((10, 400_000, 900_000)):
        row = rows.Noted(at + ahead, 2, ("x",), notes.Remark("r", {}))
        now = 1_000_000 + at
        line = msgspec.json.encode(row) + b"\n"
        ears.hear(0, Told(2, line, at + ahead + 50, 1, number, 1))
    told = [r for r in trace if isinstance(r, rows.Noted) and r.path]
    assert len(told) == 3
    times = [r.at for r in told]
    assert times == sorted(times)
    assert times[-1] <= now
    # The gaps are those of the teller's clock.
    assert [b - a for a, b in pairwise(times)] == [399_990, 500_000]
