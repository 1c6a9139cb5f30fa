"""Daily use: an identity, contacts, typed commands, JSON lines, an approving program, asyncio."""

import asyncio
import io
import json
import os
import pty
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpclab.cli import main
from mpclab.cli.hands import Hands, Lines, typed
from mpclab.core.errors import UsageError
from mpclab.lab import Lab
from mpclab.lab.async_party import AsyncParty
from mpclab.operations import OPERATIONS
from tests.cli.test_party import Process, start

__all__ = ["start"]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("MPCLAB_HOME", str(folder))
    return folder


def test_an_identity_is_made_once_and_kept(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--name", "ada", "--server", "wss://lab.example"]) == 0
    first = capsys.readouterr().out
    assert first.startswith("made ")
    assert stat.S_IMODE(house.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in house.iterdir()} == {0o600}
    assert main(["init"]) == 0
    second = capsys.readouterr().out
    assert second.startswith("kept ")
    assert "name ada, server wss://lab.example" in second
    assert first.split("public key ")[1] == second.split("public key ")[1]
    assert main(["init", "--server", "http://x"]) == 2
    (house / "profile.json").write_text('{"nmae": 1}')
    assert main(["init"]) == 2
    assert "is damaged" in capsys.readouterr().err


def test_a_contact_does_not_change_its_key_in_silence(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, other = "ab" * 32, "cd" * 32
    assert main(["contacts", "add", "bob", key]) == 0
    assert main(["contacts", "add", "bob", key]) == 0
    assert main(["contacts", "add", "bob", other]) == 2
    assert "if it has another one now" in capsys.readouterr().err
    assert main(["contacts", "add", "bob", other, "--replace"]) == 0
    for wrong in (["add", "bob", "xyz"], ["add", "b\x1b[31m", key], ["remove", "bib"]):
        assert main(["contacts", *wrong]) == 2
    assert main(["contacts", "list"]) == 0
    assert other in capsys.readouterr().out
    assert main(["contacts", "remove", "bob"]) == 0
    party = ["party", "ws://127.0.0.1:1", "--session", "s", "--id", "1", "--parties", "2"]
    assert main([*party, "--peer", "2=bob"]) == 2
    assert "or a contact's name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", None),
        ("propose note text='two words'", {"kind": "note", "params": {"text": "two words"}}),
        ("propose sum places=2", {"kind": "sum", "params": {"places": 2}}),
        ("approve ab", {"op": "ab", "approve": True}),
        ("reject ab not now", {"op": "ab", "approve": False, "reason": "not now"}),
        ("show ab", {"op": "ab"}),
        ("tell 2 hi there", {"to": 2, "text": "hi there"}),
        ("say hi", {"text": "hi"}),
        ("history", {}),
    ],
)
def test_what_is_typed_is_understood(text: str, wanted: dict[str, Any] | None) -> None:
    found = typed(text)
    assert (found and {k: v for k, v in found.items() if k != "do"}) == wanted


@given(st.text(max_size=60))
def test_any_line_is_a_command_or_an_error(text: str) -> None:
    with suppress(UsageError):
        typed(text)


def test_a_program_drives_a_party_by_json_lines_and_another_approves(
    start: type[Process], tmp_path: Path
) -> None:
    approver = tmp_path / "approve.py"
    approver.write_text(
        "import json, sys\n"
        "op = json.load(sys.stdin)\n"
        f"open({str(tmp_path / 'seen')!r}, 'a').write(json.dumps(op) + chr(10))\n"
        "if op['params'].get('text') == 'crash': sys.exit(7)\n"
        "if op['params'].get('text') != 'yes': print('only yes\\x1b[31m'); sys.exit(1)\n"
    )
    with Lab(world="websocket", parties=3, session="daily") as lab:
        lab.start_server(port=0)
        lab.spawn(1, votes="approve")
        lab.join(wait=False)
        url, threshold = lab.world.server_url, str(lab.scenario.threshold)
        shared = ("party", url, "--session", "daily", "--parties", "3", "--relay", "--threshold",
                  threshold)  # fmt: skip
        second = start(*shared, "--id", "2", "--json", "--vote", "hand")
        third = start(*shared, "--id", "3", "--approve-with", f"{sys.executable} {approver}")
        hello = json.loads(second.wait_for('"party"').string)
        assert (hello["event"], hello["party"]) == ("party", 2)

        def ask(**request: Any) -> dict[str, Any]:
            second.write(json.dumps({"id": 7, **request}) + "\n")
            answer: dict[str, Any] = json.loads(second.wait_for('"event": "answer"').string)
            assert answer["id"] == 7
            return answer

        third.wait_for("party 2: relay|party 2: .*relay")
        members: list[dict[str, Any]] = []
        while [m["reachable"] for m in members].count(True) < 2:
            members = ask(do="members")["members"]
        lab.join()
        op = lab.propose(by=1, kind="note", text="yes").id
        waiting = json.loads(second.wait_for('"event": "waiting"').string)["operation"]
        assert (waiting["op"], waiting["params"]["text"], waiting["by"]) == (op, "yes", 1)
        assert ask(do="show", op=op[:6])["operation"]["text"] == "note: yes"
        assert ask(do="vote", op=op, approve=True)["voted"]["params"] == waiting["params"]
        second.wait_for('"event": "executed"')
        history = ask(do="history")
        assert [entry["text"] for entry in history["history"]] == ["note: yes"]
        no = ask(do="propose", kind="note", params={"text": "no"})["proposed"]
        rejected = third.wait_for("voted.*only yes").string
        assert r"only yes\x1b[31m" in rejected
        ask(do="propose", kind="note", params={"text": "crash"})
        third.wait_for("no vote on .* it ended with 7")
        propose = {"do": "propose", "kind": "note", "params": 3}
        for wrong in ({"do": "rm"}, {"do": "vote"}, {"do": "show", "op": ""}, propose):
            assert "error" in ask(**wrong)
        second.write("[" * 3000 + "\n")
        assert "error" in json.loads(second.wait_for('"event": "answer"').string)
        assert ask(do="leave")["left"]
        assert second.finish() == 0
        seen = [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]
        assert [one["params"]["text"] for one in seen] == ["yes", "no", "crash"]
        assert seen[1]["op"] == no
        assert all(json.loads(line) for line in second.seen), "nothing but objects was said"


def test_in_a_terminal_one_approves_what_is_shown(house: Path) -> None:
    del house
    with Lab(world="websocket", parties=2, session="daily") as lab:
        lab.start_server(port=0)
        lab.spawn(1)
        lab.join(wait=False)
        pid, terminal = pty.fork()
        if not pid:
            os.execv(
                sys.executable,
                [sys.executable, "-m", "mpclab", "party", lab.world.server_url, "--session",
                 lab.scenario.session, "--id", "2", "--parties", "2", "--relay", "--vote", "hand"],
            )  # fmt: skip
        said = b""

        def wait_for(words: bytes) -> None:
            nonlocal said
            while words not in said:
                said += os.read(terminal, 65536)
            said = said.partition(words)[2]

        wait_for(b"type help")
        wait_for(b"party 1: relay")
        lab.join()
        op = lab.propose(by=1, kind="note", text="[red]pay me")
        wait_for(f"{op.id}: note by party 1".encode())
        wait_for(b'text = "[red]pay me"')
        os.write(terminal, f"approve {op.id}\n".encode())
        wait_for(b"executed")
        os.write(terminal, b"help\nhistory\nnonsense\nleave\n")
        wait_for(b"propose KIND name=value")
        wait_for(b"note by party 1: note: [red]pay me")
        wait_for(b"no command; try help")
        wait_for(b"left the session")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        os.close(terminal)


# --- asyncio ----------------------------------------------------------------------------------


def test_a_service_is_a_party_in_its_own_event_loop() -> None:
    asked: list[str] = []

    async def may_i(operation: Any) -> bool | str:
        text = dict(operation.params)["text"]
        asked.append(text)
        return text == "yes" or "only yes"

    async def serve(url: str, session: str) -> None:
        shared = {"session": session, "parties": 3, "relay": True}
        async with (
            AsyncParty(url, party=1, approve=may_i, **shared) as one,
            AsyncParty(url, party=2, approve=lambda o: True, **shared) as two,
            AsyncParty(url, party=3, **shared) as three,
        ):
            await asyncio.gather(*(p.ready() for p in (one, two, three)))
            events = three.events()
            op = await one.propose("note", text="yes")
            while (note := await anext(events)).__class__.__name__ != "Heard":
                pass
            assert note.op == op
            await three.vote(op, True)
            assert {(await p.settled(op)).status for p in (one, two, three)} == {"executed"}
            no = await two.propose("note", text="no")
            ended = await one.settled(no)
            assert (ended.status, ended.rejected) == ("aborted", (1,))
            with pytest.raises(UsageError, match="was heard of"):
                await one.operation("nothing")
            assert await one.keys() == ()
            assert len(one.key) == 32

    with Lab(world="websocket", parties=3) as lab:
        lab.start_server(port=0)
        asyncio.run(serve(lab.world.server_url, "async"))
    assert asked == ["no"], "its own proposals it approves by proposing"


def test_an_approver_that_fails_is_heard_of_and_a_refused_party_says_why() -> None:
    def broken(operation: Any) -> bool:
        raise RuntimeError("no database")

    async def serve(url: str) -> None:
        shared = {"session": "s", "parties": 2, "relay": True}
        async with (
            AsyncParty(url, party=1, **shared) as one,
            AsyncParty(url, party=2, approve=broken, **shared) as two,
        ):
            await asyncio.gather(one.ready(), two.ready())
            op = await one.propose("note", text="x")
            with pytest.raises(RuntimeError, match="no database"):
                await two.settled(op)
            async with AsyncParty(url, session="s", party=1, parties=3, relay=True) as other:
                with pytest.raises(UsageError, match="n = 3, but this session has n = 2"):
                    await other.ready(timeout=5)

    with Lab(world="websocket", parties=1) as lab:
        lab.start_server(port=0)
        asyncio.run(serve(lab.world.server_url))


def test_what_cannot_be_done_costs_an_error_and_not_the_party() -> None:
    with Lab(parties=2) as lab:
        lab.start_server()
        lab.spawn(1)
        hands = Hands(lab, 1, {})
        with pytest.raises(UsageError, match="not begun"):
            hands.do({"do": "history"})
        for request in (
            {"do": "say", "text": "\ud800"},
            {"do": "propose", "kind": "note", "params": {"text": "\ud800"}},
        ):
            with pytest.raises(UsageError, match="no text"):
                hands.do(request)


def test_a_wrong_parameter_has_a_sentence_and_costs_nothing() -> None:
    with Lab(parties=2) as lab:
        lab.start_server()
        lab.spawn()
        lab.join()
        hands = Hands(lab, 1, {})
        for kind, spec in OPERATIONS.items():
            for name in (*(p.name for p in spec.parameters), "by", "kind", "patience"):
                for value in ([], {}, [[]], -1, True, 1.5):
                    request = {"do": "propose", "kind": kind, "params": {name: value}}
                    try:
                        hands.do(request)
                    except UsageError as error:  # and no other, as from inside Python
                        cause = error.__cause__
                        assert cause is None or isinstance(cause, UsageError), (request, cause)
        assert hands.do({"do": "history"})["history"] == [], "the party goes on"
        with pytest.raises(UsageError, match="note: parameter 'by' is not known; known: text"):
            hands.do({"do": "propose", "kind": "note", "params": {"by": 2}})


def test_bytes_that_are_no_text_do_not_end_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"say \xff\nhelp\n"), "utf-8"))
    lines = Lines()
    found: list[str] = []
    while len(found) < 2:
        if (text := lines.take()) is not None:
            found.append(text)
    assert found == ["say \ufffd\n", "help\n"]
