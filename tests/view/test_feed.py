"""The chunks of a feed hold what the trace holds, however they were cut."""

import json
import struct
from array import array
from collections.abc import Iterator
from typing import Any

import pytest

from mpclab import Lab
from mpclab.core.machine import Ctx, Machine
from mpclab.core.wire import PIECE, Message
from mpclab.trace import Trace
from mpclab.trace.flights import flights
from mpclab.trace.fold import fold
from mpclab.view import Feed, page
from tests.plots import scenes

CODES = {"f64": "d", "u32": "I", "u16": "H", "i16": "h", "u8": "B"}
FATES = {0: "flying", 1: "delivered", 2: "dropped"}


def unpack(chunk: bytes) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The head and the columns of a chunk, read from the description of its form."""
    (size,) = struct.unpack_from("<I", chunk)
    head = json.loads(chunk[4 : 4 + size])
    place = 4 + size
    columns = {}
    for name, kind, length in head["columns"]:
        values = array(CODES[kind])
        end = place + length * values.itemsize
        values.frombytes(chunk[place:end])
        columns[name], place = values.tolist(), end
    assert place == len(chunk)
    return head, columns


class Reader:
    """Joins chunks as a page does."""

    def __init__(self) -> None:
        self.words = [""]
        self.columns: dict[str, list[Any]] = {}
        self.ends: dict[int, tuple[str, float, int, str]] = {}
        self.heads: list[dict[str, Any]] = []

    def take(self, chunk: bytes) -> None:
        head, columns = unpack(chunk)
        self.heads.append(head)
        self.words += head["words"]
        for name, values in columns.items():
            self.columns.setdefault(name, []).extend(values)
        for i, at, fate, row, why in zip(
            *(columns[n] for n in ("flight", "end_at", "end_fate", "end_row", "end_why")),
            strict=True,
        ):
            assert i not in self.ends, "a message ends once"
            self.ends[i] = (FATES[fate], at, row, self.words[why])

    def all(self, name: str) -> Iterator[Any]:
        return (one for head in self.heads for one in head[name])

    def messages(self) -> list[tuple[Any, ...]]:
        c = self.columns
        found = []
        for i in range(len(c["at"])):
            fate, at, row, why = self.ends.get(i, ("flying", None, None, ""))
            word = [self.words[c[n][i]] for n in ("kind", "path", "text")]
            found.append(
                (c["sender"][i], c["receiver"][i], c["id"][i], *word, c["size"][i], c["at"][i],
                 c["row"][i], bool(c["background"][i]), fate, at, row, why)
            )  # fmt: skip
        return found


class Shout(Message, frozen=True):
    """More than one frame holds."""

    data: bytes


class Shouts(Machine):
    """Everybody shouts."""

    messages = Shout

    def start(self, ctx: Ctx) -> None:
        ctx.broadcast(Shout(bytes(2 * PIECE)))

    def on_message(self, ctx: Ctx, sender: int, msg: Shout) -> None:
        pass


@pytest.fixture(scope="module")
def trace() -> Trace:
    """Losses, copies, a crash, a partition, a late message, a leader and one more."""
    with Lab(
        parties=4,
        agreement="raft",
        mesh="ready",
        network={"delay": "exponential(20ms)", "loss": 0.1},
    ) as lab:
        lab.spawn()
        lab.join()
        lab.inject({"kind": "duplicate", "rate": 0.3})
        lab.propose(by=1, kind="note", text="one")
        lab.run()
        lab.crash(2)
        lab.propose(by=3, kind="note", text="two")
        lab.wait(2.0)
        lab.restart(2)
        lab.run()
        return lab.trace


def expected(trace: Trace) -> list[tuple[Any, ...]]:
    return [
        (f.sender, f.receiver, f.id, f.kind, "/".join(f.path), f.text[:400], f.size, f.sent_at,
         f.sent_row, f.background, f.fate, f.ended_at, f.ended_row, f.why)
        for f in flights(trace)
    ]  # fmt: skip


def test_the_messages_are_the_flights_of_the_trace(trace: Trace) -> None:
    reader = Reader()
    chunk = Feed(trace).read()
    assert chunk is not None
    reader.take(chunk)
    assert reader.messages() == expected(trace)
    fates = {message[10] for message in reader.messages()}
    assert fates >= {"delivered", "dropped"}


def test_a_message_in_pieces_is_one_of_them() -> None:
    with Lab(parties=2, mesh="ready", protocol=Shouts) as lab:
        lab.spawn()
        lab.run()
    reader = Reader()
    chunk = Feed(lab.trace).read()
    assert chunk is not None
    reader.take(chunk)
    assert reader.messages() == expected(lab.trace)
    kinds = [message[3] for message in reader.messages()]
    assert kinds.count("Shout") == 2


@pytest.mark.parametrize("size", [1, 7, 100])
def test_it_does_not_matter_how_often_one_reads(trace: Trace, size: int) -> None:
    growing, reader = Trace(), Reader()
    feed = Feed(growing)
    assert feed.read() is None
    for number, row in enumerate(trace, 1):
        growing.append(row)
        if number % size == 0 and (chunk := feed.read()):
            reader.take(chunk)
    if (chunk := feed.read()) is not None:
        reader.take(chunk)
    assert feed.read() is None
    assert reader.messages() == expected(trace)
    whole = Reader()
    at_once = Feed(trace).read()
    assert at_once is not None
    whole.take(at_once)
    for name in ("lanes", "marks", "bands", "states"):
        assert list(reader.all(name)) == list(whole.all(name)), name


def test_lives_and_leads_end_as_the_fold_says(trace: Trace) -> None:
    reader = Reader()
    reader.take(Feed(trace).read() or b"")
    lives: dict[int, str] = {}
    leads: dict[int, bool] = {}
    for change in reader.all("states"):
        lives[change["actor"]] = change.get("life", lives.get(change["actor"], "up"))
        leads[change["actor"]] = change.get("leads", leads.get(change["actor"], False))
    state = fold(trace)
    assert {p for p, led in leads.items() if led} == set(state.leaders)
    assert lives[2] == "up"
    assert "crashed" in [change.get("life") for change in reader.all("states")]


def test_calls_of_clients_begin_and_end() -> None:
    reader, growing = Reader(), Trace()
    feed = Feed(growing)
    for row in scenes.called():
        growing.append(row)
        reader.take(feed.read() or b"")
    calls: dict[int, dict[str, Any]] = {}
    for told in reader.all("calls"):
        calls.setdefault(told["call"], {}).update(told)
    assert [(c["client"], c["party"], c["text"], c.get("end")) for c in calls.values()] == [
        (1, 2, "read: 1", "ok"), (2, 2, "read: 1", "ok"), (2, 3, "note tea", "failed"),
        (2, 1, "read", "unknown"), (2, 2, "note tea", None),
    ]  # fmt: skip
    assert calls[2]["to"] - calls[2]["at"] == 70_000
    assert calls[2]["long"] == "so it is failed"


def test_a_page_is_one_file_that_asks_nobody_for_anything(trace: Trace) -> None:
    text = page(trace, title="<b> & co", lines=[("agreement: </li> ok", (3,))])
    assert "<title>&lt;b&gt; &amp; co</title>" in text
    assert "agreement: &lt;/li&gt; ok" in text
    assert 'data-row="3"' in text
    assert "src=" not in text
    assert "https:" not in text
    assert "connect-src" not in text
    assert "default-src 'none'" in text
