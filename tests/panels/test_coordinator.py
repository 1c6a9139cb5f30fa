"""The coordinator's story, by pressing its buttons: the same in every world."""

import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mpclab import Lab, Scenario, UsageError
from mpclab.core import Ctx, Machine, Message
from mpclab.faults.plan import parse_fault
from mpclab.lab.shipped import file_of
from mpclab.panels import Coordinator, HistoryPanel, OperationsPanel, ServerPanel
from mpclab.panels.faults import kinds_to_choose
from mpclab.panels.flow import FIGURE, look_at
from mpclab.panels.hints import hint
from mpclab.panels.outcome import names_in, verdict_table
from mpclab.panels.panel import Panel
from mpclab.panels.sentences import is_background
from mpclab.trace import Trace
from mpclab.trace.flights import flights
from mpclab.trace.fold import fold
from mpclab.trace.rows import Sent
from tests.panels.hands import Hands, wait

Make = Callable[..., Hands]


@pytest.mark.parametrize("world", ["simulated", "websocket", "webrtc"])
def test_a_session_from_nothing_to_a_committed_operation(hands: Make, world: str) -> None:
    it = hands(world=world)
    it.say("Start the signaling server")
    it.gather()
    it.say("Propose something")
    it.panel.operations.fields["text"][1].value = "lunch at noon"
    it.press(it.panel.operations.propose)
    it.say("all heads are equal")
    it.say("Committed by everyone")
    assert "lunch at noon" in it.panel.history.chain.value
    it.panel.flow.view.value = FIGURE
    wait(lambda: it.panel.flow.picture.image.value[:4] == b"\x89PNG", "a space-time diagram")
    it.press(it.panel.outcome.check)
    wait(lambda: it.panel.outcome.words.value.count(">ok<") == 4, "four checks hold")
    assert it.panel.controller.error == ""


def test_votes_by_hand_and_a_rejection_with_its_reason(hands: Make) -> None:
    it = hands(parties=3)
    panel = it.panel
    it.gather()
    panel.parties.rows[1].votes.value = "hand"
    wait(lambda: panel.lab.group.votes.get(2) == "hand", "party 2 votes by hand")
    it.press(panel.operations.propose)
    it.say("Party 2 votes by hand: approve or reject.")
    assert panel.operations.voter.value == 2
    panel.operations.reason.value = "too dear"
    it.press(panel.operations.reject)
    it.say("party 2 rejected: too dear")
    assert panel.operations.approve.disabled
    assert panel.operations.approve.tooltip == "no proposal is open"
    it.say("Nothing has been committed yet.")


def test_the_servers_operator_frees_a_seat_and_closes_a_session(hands: Make) -> None:
    it = hands(parties=3)
    server, lab = it.panel.server, it.panel.lab
    assert server.operator.layout.display == "none", "there is nothing to close"
    it.gather()
    wait(lambda: server.session.value == lab.scenario.session, "the session is offered")
    assert [label for label, _ in server.seat.options] == [f"party {p} · online" for p in (1, 2, 3)]
    server.seat.value = 2
    it.press(server.free)
    it.press(server.question.yes)
    wait(lambda: sorted(lab.server_status().sessions[0].members) == [1, 3], "seat 2 is free")
    wait(lambda: len(server.seat.options) == 2, "the panel has seen so")
    it.press(server.close_session)
    it.say("2 members are told, and must join anew.")
    it.press(server.question.no)
    assert server.question.row.layout.display == "none"
    server.question.yes.click()  # it was taken back
    it.press(server.close_session)
    assert not it.panel.controller.busy
    assert len(lab.server_status().sessions) == 1, "nothing happens before the answer"
    it.press(server.question.yes)
    it.say("No session is open")
    it.say("3 of 3 pairs can talk")  # meshes go on


def test_what_cannot_work_now_is_disabled_and_says_why(hands: Make) -> None:
    panel = hands().panel
    reasons = {
        panel.server.stop: "no server is running",
        panel.parties.join: "spawn parties first",
        panel.operations.propose: "parties must join first",
        panel.operations.approve: "no proposal is open",
        panel.faults.inject: "spawn parties first",
        panel.faults.heal: "nothing is broken",
        panel.outcome.check: "propose something first",
        panel.time.back: "keep a checkpoint first",
    }
    for button, why in reasons.items():
        assert (button.disabled, button.tooltip) == (True, why), button.description
    assert not panel.server.start.disabled
    assert not panel.parties.spawn.disabled


def test_a_port_in_use_is_an_error_to_dismiss_not_a_traceback(hands: Make) -> None:
    it = hands(world="websocket")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        it.panel.server.port.value = taken.getsockname()[1]
        it.press(it.panel.server.start)
        it.say("in use")
    assert "Traceback" not in it.page()
    assert not it.panel.lab.server_status().running
    it.press(it.panel.banner.dismiss)
    wait(lambda: it.panel.banner.bar.layout.display == "none", "the banner is gone")
    it.panel.server.port.value = 0
    it.press(it.panel.server.start)
    it.say("🟢 running")


def test_a_crashed_party_is_missed_and_comes_back(hands: Make) -> None:
    it = hands(patience="2s")
    panel = it.panel
    it.gather()
    it.press(panel.parties.rows[3].life)
    it.say("crashed")
    it.press(panel.operations.propose)
    it.say("Waiting for party 4, crashed")
    it.press(panel.time.run)
    it.say("Expired: no vote from party 4")
    assert "may still commit" in panel.operations.table.value
    it.press(panel.parties.rows[3].life)
    wait(lambda: panel.parties.rows[3].life.description == "Crash", "party 4 is up again")


def test_a_partition_stops_a_unanimous_vote_until_it_is_healed(hands: Make) -> None:
    it = hands()
    panel = it.panel
    it.gather()
    assert panel.faults.fields["groups"].value == "[[1, 2], [3, 4]]"
    it.press(panel.faults.inject)
    it.say("cannot hear each other")
    it.press(panel.operations.propose)
    it.say("Waiting for the votes of parties 3 and 4.")
    it.press(panel.faults.heal_all)
    it.say("Nothing is broken.")
    it.press(panel.time.run)
    it.say("all heads are equal")


def test_every_form_of_a_fault_can_be_injected_as_it_stands(hands: Make) -> None:
    faults = hands().panel.faults
    for kind in kinds_to_choose():
        faults.kind.value = kind
        assert parse_fault(faults.given(), 4).kind == kind


def test_a_fault_that_cannot_be_names_the_field(hands: Make) -> None:
    it = hands()
    it.gather()
    it.panel.faults.fields["groups"].value = "[[1, 2], [2, 3]]"
    it.press(it.panel.faults.inject)
    it.say("groups")
    assert "2" in it.panel.controller.error
    assert not it.panel.lab.injections


def test_the_nemesis_is_the_same_for_the_same_seed(hands: Make) -> None:
    sentences = []
    for _ in range(2):
        it = hands()
        it.gather()
        it.panel.faults.seed.value = 11
        it.press(it.panel.faults.unleash)
        it.say("nemesis 11")
        sentences.append([one.fault.as_fields() for one in it.panel.lab.injections])
    assert sentences[0]
    assert sentences[0] == sentences[1]


def test_switching_worlds_keeps_the_settings_and_the_server(hands: Make) -> None:
    it = hands(parties=3, policy="threshold(2)", session="tea")
    first = it.panel.lab
    it.gather()
    it.panel.world.switch.value = "webrtc"
    it.say("the lab was closed")
    wait(lambda: it.panel.lab is not first, "another lab")
    assert first.closed
    scenario = it.panel.lab.scenario
    assert (scenario.world, scenario.parties, scenario.policy) == ("webrtc", 3, "threshold(2)")
    assert it.panel.lab.world.server_url.startswith("ws://")
    assert repr(it.panel) == "Coordinator(webrtc, 3 parties, session 'tea')"
    it.press(it.panel.parties.spawn)
    it.press(it.panel.parties.join)
    it.say("3 of 3 pairs can talk")


def test_settings_are_taken_when_parties_are_spawned(hands: Make) -> None:
    it = hands()
    panel = it.panel
    panel.parties.n.value = 5
    assert panel.parties.t.value == 3  # still a majority
    panel.parties.generate.click()
    session = panel.parties.session.value
    assert session.startswith("lab-")
    panel.server.port.value = 0
    it.press(panel.server.start)
    it.press(panel.parties.spawn)
    it.say("5 of 5 here")
    assert panel.lab.scenario.session == session
    assert len(panel.parties.rows) == 5
    wait(lambda: panel.parties.n.disabled, "n cannot be changed under the parties' feet")


def test_settings_that_cannot_be_change_nothing(hands: Make) -> None:
    it = hands()
    before = it.panel.lab
    it.panel.parties.session.value = "no spaces, please"
    it.press(it.panel.parties.spawn)
    it.say("session")
    assert it.panel.lab is before
    assert not before.closed
    assert before.parties == ()


def test_a_checkpoint_gives_a_second_future_and_the_first_is_not_lost(hands: Make) -> None:
    it = hands()
    panel = it.panel
    it.gather()
    it.press(panel.time.mark)
    it.say("checkpoint &#x27;checkpoint 1&#x27; at")
    it.press(panel.operations.propose)
    it.say("all heads are equal")
    it.press(panel.time.back)
    it.say("again, on")
    it.say("Nothing has been proposed yet.")
    assert panel.lab.parties == (1, 2, 3, 4)
    it.say("Time stands still")
    panel.time.called.value = "nothing happens"
    wait(lambda: panel.lab.branch == "nothing happens", "the branch has a name")
    wait(lambda: "nothing happens" in panel.time.ways.value, "the tree shows it")
    panel.time.branch.value = "main"
    it.say("all heads are equal")
    it.say("1 committed")


def test_what_is_done_in_the_picture_is_done_to_the_lab(hands: Make) -> None:
    it = hands(agreement="direct")
    panel = it.panel
    it.gather()
    it.press(panel.operations.propose)
    it.say("Committed by everyone")
    vote = next(f for f in flights(panel.lab.trace) if f.kind == "SignedVote" and f.sender == 2)
    canvas = panel.flow.canvas
    deed = {"row": vote.sent_row, "flying": False, "id": vote.id, "sender": 2,
            "receiver": vote.receiver}  # fmt: skip
    canvas.on_act({"verb": "lose", **deed})
    it.say(f"message {vote.id} of party 2 to party {vote.receiver} is lost")
    assert panel.lab.branch == "branch 2"
    for verb, words in (("hold", "in 1s"), ("duplicate", "twice")):
        canvas.on_act({"verb": verb, **deed})
        it.say(f"message {vote.id} of party 2 reaches party {vote.receiver} {words}")
    for verb, life in {
        "pause": "paused",
        "resume": "up",
        "crash": "crashed",
        "restart": "up",
    }.items():
        canvas.on_act({"verb": verb, "party": 4})
        wait(lambda life=life: panel.lab.state.parties[4].life == life, f"party 4 is {life}")
    canvas.on_act({"verb": "corrupt", "party": 3})
    it.say("party 3")
    canvas.on_act({"verb": "partition", "groups": [[1], [2, 3]]})
    it.say("party 1 | parties 2 and 3 cannot hear each other")
    canvas.on_act({"verb": "branch", "row": vote.sent_row})
    wait(lambda: panel.lab.branch == "branch 5", "another branch")
    canvas.on_act({"verb": "partition", "groups": [[], [1]]})
    it.say("nobody is on one side")
    canvas.on_act({"verb": "explode"})
    it.say("of another version of mpclab")


def test_inside_a_party_one_sees_what_a_step_changed_and_no_secret(hands: Make) -> None:
    it = hands()
    it.gather()
    lab = it.panel.lab
    lab.pace(0)
    lab.set_private(2, 424_242)
    lab.propose(by=1, kind="dkg")
    lab.propose(by=1, kind="sum")
    lab.run()
    committed = next(
        k for k, row in enumerate(lab.trace) if getattr(row, "word", "") == "committed"
    )
    told = look_at(lab, committed)
    row = list(lab.trace)[committed]
    assert any("history" in name for name in told[row.actor]["changed"])
    assert all("changed" in one and one["now"] for one in told.values())
    for party, one in look_at(lab, -1).items():
        words = " ".join(one["now"].values())
        share = lab.group.machine_of(party, lambda m: next(iter(m.executor.secrets.values())))
        assert "424242" not in words
        assert share.hex() not in words
        assert not re.search(r"[0-9]{17}|\bb'|[0-9a-f]{40}", words)


def test_a_stopped_clock_steps_one_event_at_a_time(hands: Make) -> None:
    it = hands()
    panel = it.panel
    it.gather()
    panel.time.pace.value = "Pause"
    wait(lambda: not panel.lab.speed, "time stands")
    it.press(panel.operations.propose)
    wait(lambda: not panel.time.step.disabled, "step")
    before = len(panel.lab.trace)

    def is_heard() -> bool:  # something of the meeting may still be on its way before it
        if "gets SignedProposal of party 1" in it.page():
            return True
        it.press(panel.time.step)
        return False

    wait(is_heard, "the proposal arrives, a step at a time")
    assert len(panel.lab.trace) > before
    it.press(panel.time.run)
    it.say("all heads are equal")


def test_a_scenario_is_saved_loaded_and_played(hands: Make, tmp_path: Path) -> None:
    it = hands(parties=3, agreement="2pc", votes={2: "reject"})
    file = tmp_path / "tea.yaml"
    it.panel.world.file.value = str(file)
    it.press(it.panel.world.save)
    it.say("saved as tea.yaml")
    kept = Scenario.from_file(file)
    assert (kept.parties, kept.agreement, kept.votes) == (3, "2pc", {2: "reject"})
    kept.but(operations=[{"at": "0ms", "by": 1, "kind": "note", "text": "played"}]).to_file(file)
    it.press(it.panel.world.play)
    it.say("played tea.yaml")
    it.say("party 2 rejected")
    it.say("It is over: 1 aborted. Press Reset for a new lab.")
    it.press(it.panel.world.load)
    it.say("Start the signaling server")


def test_a_played_file_ends_in_its_last_picture_and_its_history(
    hands: Make, tmp_path: Path
) -> None:
    it = hands(parties=3)
    file = tmp_path / "lunch.yaml"
    note = {"at": "0ms", "by": 1, "kind": "note", "text": "lunch"}
    Scenario(parties=3).but(operations=[note]).to_file(file)
    it.panel.world.file.value = str(file)
    it.press(it.panel.world.play)
    it.say("It is over: 1 committed. Press Reset for a new lab.")
    it.say("all heads are equal")
    assert "lunch" in it.panel.history.chain.value
    flow = it.panel.flow
    flow.view.value = FIGURE
    wait(lambda: flow.picture.image.value[:4] == b"\x89PNG", "a space-time diagram")
    wait(lambda: not flow.is_behind, "the last picture shows the end")
    assert it.panel.controller.kinds == kinds_of(it.panel.lab.trace)


def kinds_of(trace: Trace) -> set[str]:
    """The kinds of message that are no heartbeats."""
    return {row.kind for row in trace if isinstance(row, Sent) and not is_background(row)}


def test_messages_through_the_server_are_in_the_log(hands: Make) -> None:
    it = hands()
    it.gather()
    it.panel.parties.speaker.value = 2
    it.panel.parties.line.value = "good <b>morning</b>"
    it.press(it.panel.parties.send)
    it.say("good &lt;b&gt;morning")
    it.panel.log.words.value = "no such words anywhere"
    it.say("Nothing to show.")


def test_panels_share_a_lab_and_work_alone(hands: Make) -> None:
    with Lab(parties=3) as lab:
        lab.start_server(0)
        lab.spawn()
        lab.join()
        lab.propose(by=2, text="made in a cell")
        lab.run()
        with HistoryPanel(lab) as history, OperationsPanel(history) as operations:
            assert history.controller is operations.controller
            wait(lambda: "made in a cell" in history.chain.value, "the history")
            wait(lambda: "made in a cell" in operations.table.value, "the proposal")
        assert not lab.closed
        with pytest.raises(UsageError, match="not both"):
            ServerPanel(lab, parties=3)


def test_threads_end_with_the_panel_or_the_lab(hands: Make) -> None:
    def ours() -> list[str]:
        return [t.name for t in threading.enumerate() if t.name.startswith("mpclab")]

    wait(lambda: not ours(), "earlier tests are over")
    panel = Coordinator()
    lab = panel.lab
    assert "mpclab-ticker" in ours()
    panel.close()
    wait(lambda: not ours(), f"threads end: {ours()}")
    assert lab.closed

    panel = Coordinator(lab := Lab())
    lab.close()
    wait(lambda: "mpclab-ticker" not in ours(), "the ticker ends with the lab")
    assert "This lab is closed" in panel.steps.value
    panel.world.reset.click()
    wait(lambda: not panel.lab.closed, "a new lab")
    wait(lambda: "Start the signaling server" in panel.steps.value, "painted again")
    panel.close()
    wait(lambda: panel.lab.closed, "the lab that was made here is closed")


def test_a_panel_that_fails_says_so_and_the_others_go_on(hands: Make) -> None:
    it = hands()

    def fail(now: object) -> None:
        raise RuntimeError("a bug in a picture")

    it.panel.flow.refresh = fail  # type: ignore[method-assign]
    it.gather()
    it.say("this panel failed: RuntimeError: a bug in a picture")
    it.press(it.panel.operations.propose)
    it.say("all heads are equal")


def test_reprs_are_short_and_repeat() -> None:
    with Coordinator(parties=4) as panel:
        assert repr(panel) == "Coordinator(simulated, 4 parties, session 'lab')"
        bundle = panel._repr_mimebundle_()
        assert bundle["text/plain"] == repr(panel)
        assert "application/vnd.jupyter.widget-view+json" in bundle
        assert isinstance(panel, Panel)


@pytest.mark.parametrize("world", ["simulated", "webrtc"])
def test_heartbeats_are_no_news(hands: Make, world: str) -> None:
    it = hands(world=world, parties=2)
    it.gather()
    wait(lambda: any(r.kind == "Beat" for r in it.panel.lab.trace.of(Sent)), "heartbeats")
    assert "Beat" not in it.panel.controller.kinds
    assert "Summary" in it.panel.controller.kinds
    it.panel.log.level.value = 2
    it.panel.log.words.value = "sends Beat"
    it.say("Nothing to show.")
    it.panel.log.heartbeats.value = True
    it.say("sends Beat to party")


def test_a_fault_leaves_a_bar_in_the_timeline(hands: Make) -> None:
    it = hands()
    it.gather()
    it.panel.faults.lasts.value = "200ms"
    it.press(it.panel.faults.inject)
    wait(lambda: "mpclab-bars" in it.panel.faults.past.value, "a bar")
    it.say("Nothing is broken.")
    assert " to now" not in it.panel.faults.past.value


def test_only_the_picture_in_front_is_drawn(hands: Make) -> None:
    it = hands(parties=3)
    it.gather()
    it.press(it.panel.operations.propose)
    it.say("all heads are equal")
    it.panel.flow.view.value = FIGURE
    flow, outcome = it.panel.flow.picture.image, it.panel.outcome.picture.image
    wait(lambda: flow.value, "the flow is drawn")
    assert not outcome.value
    it.panel.pictures.selected_index = 2
    wait(lambda: outcome.value, "the outcome is drawn")


def test_private_numbers_are_given_in_a_row_and_leave_the_page(hands: Make) -> None:
    it = hands(parties=3)
    panel = it.panel
    it.gather()
    for row, number in zip(panel.parties.rows, ("3", "14", " 15, "), strict=True):
        row.private.value = number
    wait(lambda: len(panel.lab.group.private) == 3, "everyone keeps a number")
    assert {row.private.value for row in panel.parties.rows} == {""}
    wait(lambda: panel.parties.rows[0].private.placeholder == "1 number kept", "it is told")
    panel.operations.kind.value = "sum"
    it.press(panel.operations.propose)
    it.say("Committed by everyone")
    assert "32" in panel.operations.table.value


def test_a_private_number_that_is_none_is_refused_in_words(hands: Make) -> None:
    it = hands(parties=3)
    it.gather()
    it.panel.parties.rows[0].private.value = "3 and 4"
    it.say("is not a whole number; write some like 1, 2, 3")
    assert it.panel.lab.group.private == {}


def test_who_lost_the_server_is_told_to_start_it_before_joining(hands: Make) -> None:
    it = hands(parties=3)
    panel = it.panel
    it.gather()
    it.press(panel.server.stop)
    it.press(panel.parties.rows[0].member)
    wait(lambda: 1 not in panel.lab.group.joined, "party 1 left")
    it.press(panel.parties.spawn)
    it.say("Start the signaling server")
    assert panel.parties.join.disabled


def test_a_world_switch_keeps_what_was_typed_and_how_parties_vote(hands: Make) -> None:
    it = hands()
    panel = it.panel
    parties = panel.parties
    parties.n.value, parties.agreement.value, parties.session.value = 7, "raft", "my-class"
    panel.lab.set_votes(2, "reject")
    panel.world.switch.value = "websocket"
    it.say("a new lab: websocket, 7 parties")
    s = panel.lab.scenario
    assert (s.parties, s.agreement, s.session, s.votes) == (7, "raft", "my-class", {2: "reject"})
    wait(lambda: (parties.n.value, parties.session.value) == (7, "my-class"), "the fields say so")
    parties.n.value = 60
    it.say("60 parties are 1770 links")


def test_a_save_holds_what_was_clicked(hands: Make, tmp_path: Path) -> None:
    it = hands(parties=3)
    panel = it.panel
    it.gather()
    it.press(panel.operations.propose)
    it.say("Committed by everyone")
    it.press(panel.parties.rows[2].life)
    it.say("crashed")
    file = tmp_path / "clicked.yaml"
    panel.world.file.value = str(file)
    it.press(panel.world.save)
    it.say("1 operation, 1 fault")
    kept = Scenario.from_file(file)
    assert [p.kind for p in kept.operations] == ["note"]
    assert [f.kind for f in kept.faults] == ["crash"]
    panel.world.file.value = str(tmp_path)
    it.press(panel.world.save)
    it.say("write the name of a scenario file")


def test_a_file_that_plays_can_be_stopped(hands: Make, tmp_path: Path) -> None:
    file = tmp_path / "long.yaml"
    note = {"at": "100s", "by": 1, "kind": "note", "text": "never"}
    Scenario().but(world="websocket", parties=3, until="200s", operations=[note]).to_file(file)
    it = hands(parties=3)
    play = it.panel.world.play
    it.panel.world.file.value = str(file)
    it.press(play)
    wait(lambda: play.description == "End", "it plays")
    wait(lambda: it.panel.lab.scenario.world == "websocket", "the file's lab is shown")
    wait(lambda: it.panel.lab.trace.remarks("ready"), "everyone is connected")
    play.click()
    it.say("stopped long.yaml")
    wait(lambda: play.description == "Play", "it can be played again")


def test_a_vote_by_hand_says_how_long_it_is_waited_for(hands: Make) -> None:
    it = hands(parties=3, patience="40s")
    assert it.panel.parties.patience.value == 40
    it.gather()
    it.panel.parties.rows[1].votes.value = "hand"
    wait(lambda: it.panel.lab.group.votes.get(2) == "hand", "party 2 votes by hand")
    it.press(it.panel.operations.propose)
    wait(lambda: re.search(r"approve or reject\. (40|3\d) s left", it.page()), "a countdown")


def test_a_scenario_that_comes_with_mpclab_is_played_by_its_name(hands: Make) -> None:
    it = hands()
    assert {"equivocate", "commit"} <= set(it.panel.world.file.options)
    it.panel.world.file.value = "equivocate"
    it.press(it.panel.world.play)
    wait(lambda: "agreement violated" in it.panel.controller.said, "the file was played")
    it.say("parties disagree")
    wait(lambda: "1 split" in it.panel.operations.heading.value, "nobody counts it as committed")


def test_the_faults_say_who_is_down(hands: Make) -> None:
    it = hands()
    it.gather()
    it.panel.lab.crash(3)
    wait(lambda: "Party 3 is crashed." in it.panel.faults.active.value, "party 3 is named")
    assert "Nothing is broken" not in it.panel.faults.active.value


def test_a_second_session_is_opened_chosen_and_followed_by_every_card(hands: Make) -> None:
    it = hands(parties=3, seed=2)
    panel = it.panel
    it.gather()
    panel.operations.fields["text"][1].value = "of the first"
    it.press(panel.operations.propose)
    it.say("Committed by everyone")
    assert panel.sessions.layout.display == "none", "there is nothing to choose"
    it.press(panel.parties.another)
    it.say("session lab-2 is open")
    wait(lambda: panel.sessions.value == "lab-2", "it is shown")
    it.say("Nothing has been committed yet.")
    assert "session lab-2 is open" in panel.controller.said
    it.say("Spawn 3 parties")
    panel.parties.n.value = 4
    panel.sessions.value = "lab"
    it.say("Committed by everyone")
    assert panel.parties.n.value == 3
    panel.deeds.selected_index = 3
    panel.sessions.value = "lab-2"
    wait(lambda: panel.parties.n.value == 4, "what was typed is there again")
    assert panel.deeds.selected_index == 3, "the tab in front stays there"
    assert not panel.controller.said, "it was said of the other session"
    it.press(panel.parties.spawn)
    wait(lambda: len(panel.parties.rows) == 4, "it has settings of its own")
    it.press(panel.parties.join)
    it.say("6 of 6 pairs can talk")
    panel.deeds.selected_index = 3
    panel.sessions.value = "lab"
    wait(lambda: "of the first" in panel.history.chain.value, "the first for a moment")
    assert panel.deeds.selected_index == 3, "the tab in front stays there"
    panel.sessions.value = "lab-2"
    it.say("Nothing has been committed yet.")
    panel.operations.fields["text"][1].value = "of the second"
    it.press(panel.operations.propose)
    it.say("Committed by everyone")
    wait(lambda: "of the second" in panel.history.chain.value, "its history")
    assert "of the first" not in it.page()
    it.press(panel.parties.rows[3].life)
    it.say("crashed")
    it.press(panel.faults.inject)
    it.press(panel.outcome.check)
    wait(lambda: panel.outcome.words.value.count(">ok<") == 4, "its checks hold")
    panel.sessions.value = "lab"
    wait(lambda: "of the first" in panel.history.chain.value, "the first again")
    wait(lambda: len(panel.parties.rows) == 3, "its parties")
    wait(lambda: "of the second" not in it.page(), "every card is the first session's")
    wait(lambda: panel.faults.heal_all.disabled, "nothing is broken in it")
    assert [one.status for one in panel.lab.of("lab-2").outcomes()] == ["committed"]
    assert panel.lab.state.parties[3].life == "up"
    it.press(panel.world.reset)
    wait(lambda: list(panel.lab.groups) == ["lab"], "Reset leaves one, empty session")
    assert panel.controller.error == ""


def test_a_log_line_says_what_arrived_and_heartbeats_are_hidden_at_both_ends(hands: Make) -> None:
    it = hands(parties=3)
    panel = it.panel
    it.gather()
    it.press(panel.operations.propose)
    panel.pictures.selected_index = len(panel.pictures.children) - 1
    panel.log.level.value = 2
    it.say("receives SignedVote of party 2")
    panel.lab.wait(3)
    panel.log.words.value = "receives Beat"
    it.say("Nothing to show.")
    panel.log.heartbeats.value = True
    it.say("receives Beat of party 1")


def test_a_disagreement_is_told_by_the_texts_not_by_hashes() -> None:
    run = Scenario.from_file(file_of("equivocate")).run()
    [split] = [v for v in run.verdicts if v.check == "agreement"]
    said = verdict_table([split], names_in(fold(run.trace)))
    texts = set(next(iter(fold(run.trace).operations.values())).results.values())
    assert len(texts) == 2
    assert all(f"have “{text}”" in said or f"has “{text}”" in said for text in texts)


class Greeting(Message):
    number: int


class Greeter(Machine):
    def start(self, ctx: Ctx) -> None:
        ctx.broadcast(Greeting(ctx.me))

    def on_message(self, ctx: Ctx, sender: int, msg: Greeting) -> None:
        ctx.output(f"greeted by {msg.number}")


def test_a_protocol_of_ones_own_shows_what_it_puts_out(hands: Make) -> None:
    it = hands(Lab(parties=3, mesh="ready", protocol=Greeter))
    it.press(it.panel.parties.spawn)
    it.press(it.panel.parties.join)
    it.panel.time.pace.value = "10×"
    it.say("greeted by")
    it.say("what it puts out is under Operations")
    assert it.panel.operations.propose.tooltip.startswith("parties run a protocol of your own")


def test_a_hint_names_a_few_parties_and_counts_many() -> None:
    with Lab(parties=60, mesh="ready") as lab:
        lab.spawn()
        waits = hint(lab, lab.state)
        assert waits.words == "Have 60 parties (1, 2 and 3 among them) join session 'lab'."
        lab.join()
        assert "Time stands still" in hint(lab, lab.state).words
        assert "is playing" in hint(lab, lab.state, playing=True).words
