"""What other tools read is what happened: each format is read back."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mpclab.core import UsageError
from mpclab.lab import Lab, Scenario, play
from mpclab.lab.inside import watch
from mpclab.trace import Trace
from mpclab.trace.causal import Causality
from mpclab.trace.flights import flights
from mpclab.view.exports import SHIVIZ, chrome_trace, mermaid, shiviz, svg


@pytest.fixture(scope="module")
def trace() -> Trace:
    scenario = Scenario().but(
        parties=4, agreement="pbft", network={"loss": 0.1}, seed=4,
        operations=[{"at": "0ms", "by": 1, "kind": "note", "text": "tea; #1 <b>"}],
        faults=[{"at": "0ms", "for": "1s", "kind": "partition", "groups": [[1], [2, 3, 4]]}],
    )  # fmt: skip
    return play(scenario).trace


def test_chrome_trace_events_hold_every_message_as_a_flow(trace: Trace) -> None:
    events = json.loads(chrome_trace(trace))["traceEvents"]
    assert all({"ph", "pid", "tid"} <= event.keys() for event in events)
    begun = {e["id"]: e for e in events if e["ph"] == "s"}
    ended = {e["id"]: e for e in events if e["ph"] == "f"}
    found = [f for f in flights(trace) if f.ended_at is not None]
    assert begun.keys() == ended.keys()
    assert sorted((e["ts"], ended[i]["ts"], e["tid"] - 2, ended[i]["tid"] - 2) for i, e in
                  begun.items()) == sorted((f.sent_at, f.ended_at, f.sender, f.receiver)
                                           for f in found)  # fmt: skip
    slices = {(e["ts"], e["tid"]) for e in events if e["ph"] == "X"}
    # A flow is bound to slices: there is one at either end.
    assert all((e["ts"], e["tid"]) in slices for e in [*begun.values(), *ended.values()])
    assert [e["ph"] for e in events if e.get("cat") == "fault"] == ["b", "e"]
    assert [e.get("ts", -1) for e in events] == sorted(e.get("ts", -1) for e in events)


def test_shiviz_reads_clocks_that_order_as_causality_does(trace: Trace) -> None:
    text = shiviz(trace)
    pattern = re.compile(SHIVIZ.replace("?<", "?P<"))
    found = list(pattern.finditer(text))
    assert len(found) == len(trace)
    assert "".join(f"{m[0]}\n" for m in found) == text
    clocks = [json.loads(m["clock"]) for m in found]
    for m, clock in zip(found, clocks, strict=True):
        assert clock[m["host"]] >= 1
    order = Causality(trace)
    for a in range(0, len(found), 17):
        for b in range(0, len(found), 13):
            host = found[a]["host"]
            before = a != b and clocks[a][host] <= clocks[b].get(host, 0)
            assert before == order.before(a, b)


def test_mermaid_is_a_sequence_of_the_messages(trace: Trace) -> None:
    first, *lines = mermaid(trace).splitlines()
    assert first == "sequenceDiagram"
    form = re.compile(
        r"    (participant P\d+ as [\w ]+|P\d+(->>|-x)P\d+: \w+( \(lost\))?|Note over P\d+: [^;#]+)"
    )
    assert [line for line in lines if not form.fullmatch(line)] == []
    found = flights(trace, background=False)
    assert sum("-x" in line for line in lines) == sum(f.fate == "dropped" for f in found)
    assert sum("->>" in line or "-x" in line for line in lines) == len(found)
    assert "more messages are left out" in mermaid(trace, most=3)


def test_svg_is_well_formed_and_holds_every_message(trace: Trace) -> None:
    root = ElementTree.fromstring(svg(trace))
    space = "{http://www.w3.org/2000/svg}"
    ended = [f for f in flights(trace, background=False) if f.ended_at is not None]
    assert len(root.findall(f"{space}g")) == len(ended)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for line in root.iter(f"{space}line"):
        assert 0 <= float(line.attrib["x1"]) <= width
        assert 0 <= float(line.attrib["y2"]) <= height


def test_an_empty_trace_is_no_error() -> None:
    nothing = Trace()
    assert json.loads(chrome_trace(nothing))["traceEvents"] == []
    assert shiviz(nothing) == "\n"
    assert mermaid(nothing) == "sequenceDiagram\n"
    ElementTree.fromstring(svg(nothing))


def test_the_run_in_a_page_is_the_run_that_was(trace: Trace) -> None:
    scenario = Scenario().but(
        parties=3, agreement="raft", network={"loss": 0.05}, seed=2,
        operations=[{"at": "100ms", "by": 2, "kind": "note", "text": "tea"}],
        faults=[{"at": "50ms", "for": "300ms", "kind": "partition", "groups": [[1], [2, 3]]},
                {"at": "0ms", "kind": "crash", "party": 3, "restart_after": "1s"}],
    )  # fmt: skip
    run = play(scenario)
    again = Lab(scenario)
    changes, whole = watch(again, run.deeds, len(run.trace))
    assert whole
    assert list(again.trace) == list(run.trace)
    assert [one.row for one in changes] == sorted(one.row for one in changes)
    assert any(one.actor == 3 and one.value == "" for one in changes)  # its crash took all
    few, whole = watch(Lab(scenario), run.deeds, len(run.trace), most=50)
    assert (len(few), whole) == (50, False)


def test_a_run_is_saved_by_the_ending_of_its_name(tmp_path: Path) -> None:
    scenario = Scenario(parties=3).but(
        operations=[{"at": "0ms", "by": 1, "kind": "note", "text": "tea"}]
    )
    run = play(scenario)
    for ending in ("html", "json", "shiviz", "mmd", "svg", "jsonl"):
        file = tmp_path / f"run.{ending}"
        assert str(file) in str(run.save(file))
        assert file.stat().st_size > 100
    assert Trace.load(tmp_path / "run.jsonl").digest() == run.trace.digest()
    [chunk] = re.findall(r"\['([A-Za-z0-9+/=]+)'\]", (tmp_path / "run.html").read_text())
    assert b"session/agreement: " in base64.b64decode(chunk)  # what machines held is in the page
    with pytest.raises(UsageError, match=r"run\.doc: use \.html"):
        run.save(tmp_path / "run.doc")
