"""A simulated lab in a page: all of its Python, with a page that only listens."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mpclab.lab import Scenario
from mpclab.web.simulated import Simulation
from mpclab.worlds.simulated import network

FORM: dict[str, Any] = {
    "parties": "4", "threshold": "3", "policy": "unanimous", "agreement": "pbft", "seed": "7",
    "delay": "normal(20ms, 5ms)", "loss": "0",
}  # fmt: skip


class Listening:
    """The page."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.flow: list[bytes] = []
        self.simulation = Simulation(self)

    def perform(self, verb: str, link: int, text: str = "", data: bytes | None = None) -> None:
        if verb == "state":
            self.state = json.loads(text)
        elif text == "begin":
            self.flow.clear()
        else:
            assert data is not None
            self.flow.append(data)

    def wake_in(self, milliseconds: float, callback: object) -> None:
        raise AssertionError("nothing happens by itself")

    def do(self, what: str, **more: Any) -> Any:
        answer = json.loads(self.simulation.command(json.dumps({"do": what, **more})))
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["ok"]

    def play(self, milliseconds: float = 5.0) -> None:
        while self.do("advance", milliseconds=milliseconds)["goes_on"]:
            pass


def begun(**more: str) -> Listening:
    page = Listening()
    page.do("begin", **FORM | more)
    return page


def sign(page: Listening) -> dict[str, str]:
    page.do("propose", by=1, kind="dkg", params={})
    page.play()
    page.do("propose", by=2, kind="sign", params={"key": "1", "message": "pay 5 to Eve"})
    page.play()
    return dict(page.state["operations"][1]["facts"])


def test_a_key_is_made_and_signs_and_the_same_seed_gives_the_same_rows_without_numpy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = begun()
    facts = sign(page)
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(facts["public_key"]))
    public.verify(bytes.fromhex(facts["signature"]), b"pay 5 to Eve")
    digest = page.do("check")["digest"]
    assert {v["verdict"] for v in page.state["verdicts"]} == {"ok"}
    files = page.do("files", op=page.state["operations"][1]["op"])
    assert base64.b64decode(files["message"]) == b"pay 5 to Eve"
    monkeypatch.setattr(network, "_HAS_NUMPY", False)
    again = begun()
    assert sign(again) == facts
    assert again.do("check")["digest"] == digest
    # What was done is a scenario, written as JSON, which is YAML.
    run = Scenario.from_text(page.do("scenario")).run()
    assert [(o.kind, o.status) for o in run.outcomes] == [
        ("dkg", "committed"),
        ("sign", "committed"),
    ]


def test_votes_by_hand_and_faults_and_the_way_back() -> None:
    page = begun(policy="threshold(3)")
    page.do("set-votes", party=4, votes="hand")
    page.do("break", fields={"kind": "crash", "party": 3})
    page.do("propose", by=2, kind="note", params={"text": "tea"})
    page.do("run")
    tea = page.state["operations"][0]
    assert (tea["waits_for_hands"], page.state["faults"]) == ([4], ["party 3 crashes"])
    assert tea["holdings"]["3"] == "unheard"
    page.do("vote", party=4, op=tea["op"], approve=True)
    page.do("run")
    assert page.state["operations"][0]["status"] == "committed"
    page.do("heal")
    page.do("run")
    assert page.state["people"][2]["life"] == "up"
    assert page.state["operations"][0]["holdings"]["3"] == "executed"
    assert page.flow
    page.do("rewind", milliseconds=1)
    assert (page.state["operations"], page.state["now"]) == ([], 1)
    page.do("step")
    assert page.state["now"] > 1


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ({"do": "fly"}, "cannot 'fly'"),
        ({"do": "begin", "parties": "many"}, "not a number"),
        ({"do": "begin", "parties": "26"}, "has room for 25"),
        ({"do": "begin", "threshold": "9"}, "threshold"),
        ({"do": "begin", "delay": "soon"}, "soon"),
        ({"do": "propose", "kind": "steal"}, "'steal' is not known"),
        ({"do": "propose", "by": 7, "kind": "note", "params": {"text": "x"}}, "party 7"),
        ({"do": "propose", "kind": "sign", "params": {"message": "x"}}, "propose dkg first"),
        (
            {"do": "propose", "kind": "sign", "params": {"key": "3", "message": "x"}},
            "no operation 3",
        ),
        ({"do": "vote", "party": 1, "op": "nothing", "approve": True}, "nothing"),
        ({"do": "break", "fields": {"kind": "rain"}}, "'rain' is not a fault"),
        ({"do": "break", "fields": [1]}, "a fault is"),
        ({"do": "advance", "milliseconds": 1e9}, "not between"),
        ({"do": "rewind", "milliseconds": 1e9}, "is not yet"),
        ({"do": "files", "op": "nothing"}, "no party that is up"),
    ],
)
def test_what_cannot_be_done_is_answered_with_the_reason(command: dict[str, Any], why: str) -> None:
    page = begun()
    with pytest.raises(ValueError, match=why):
        page.do(command.pop("do"), **command)
    assert page.state["parties"] == 4  # the lab is there, as it was


def test_without_a_lab_nothing_can_be_done() -> None:
    page = Listening()
    assert set(page.do("kinds")) == {"operations", "agreements", "votes", "faults"}
    with pytest.raises(ValueError, match="begin one"):
        page.do("run")
