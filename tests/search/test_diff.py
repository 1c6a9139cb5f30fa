"""Two runs side by side: where they part, who sees it, and what they knew."""

from pathlib import Path

import pytest

from mpclab import register
from mpclab.cli import main
from mpclab.consensus.agreement import Decided
from mpclab.consensus.direct import Direct
from mpclab.core.machine import Ctx
from mpclab.lab import Scenario
from mpclab.search import diff, rerun

BASE = Scenario.parse(
    {
        "parties": 4, "agreement": "pbft", "mesh": "ready", "seed": 3,
        "operations": [{"by": 1, "kind": "note", "text": "hi"}],
    }
)  # fmt: skip


def test_one_seed_has_no_difference() -> None:
    found = diff(BASE.run(), BASE.run())
    assert found.first is None
    assert found.splits == ()
    assert str(found) == "no party can tell the two runs apart"
    assert found.lines() == ""


def test_the_first_difference_is_the_earliest_that_anybody_sees() -> None:
    run = BASE.run()
    crash = [{"kind": "crash", "party": 1, "at": "30ms"}]
    found = rerun(run, faults=crash)
    assert found.first is not None
    assert found.first.party == 1
    assert found.first.text_b == "notes crashed"
    assert found.first.at_b == 30_000
    assert {split.party for split in found.splits} == {1, 2, 3, 4}
    for split in found.splits:  # nobody saw one before
        times = [t for t in (split.at_a, split.at_b) if t is not None]
        assert min(times) >= min(t for t in (found.first.at_a, found.first.at_b) if t is not None)
    split = rerun(run, faults=[{"kind": "crash", "party": 1, "at": "30ms"}], policy="threshold(2)")
    assert split.first is not None


def test_what_a_party_knew_is_what_both_runs_had_in_common() -> None:
    run = BASE.run()
    found = rerun(run, faults=[{"kind": "crash", "party": 1, "at": "30ms"}])
    told = found.knew()
    assert told.startswith("party 1 in both:")
    assert "notes proposed" in told
    assert "in the second: notes crashed" in told
    assert "party 3 in both:" in found.knew(3)
    assert "+" in found.lines()


def test_the_picture_has_both_aligned() -> None:
    found = rerun(BASE.run(), agreement="raft")
    above, below = found.picture().axes[:2]
    assert above.get_ylim() == below.get_ylim()
    assert above.get_xlim()[1] - above.get_xlim()[0] == pytest.approx(
        below.get_xlim()[1] - below.get_xlim()[0], rel=0.05
    )


def test_a_protocol_edited_in_a_cell_shows_its_diff() -> None:
    class Mine(Direct):
        """Counts as `direct` does."""

        word = "mine"

    register(Mine)
    run = BASE.but(agreement="mine").run()
    assert rerun(run).first is None

    class Edited(Direct):
        """Decides everything at once, without counting."""

        word = "mine"

        def on_ask(self, ctx: Ctx, ask: object) -> None:
            super().on_ask(ctx, ask)
            ctx.remark("edited")
            assert Decided is not None

    Edited.__qualname__ = Mine.__qualname__
    register(Edited)
    found = rerun(run)
    assert found.first is not None
    assert "edited" in found.first.text_b


def test_the_terminal_compares_files_and_traces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, trace = tmp_path / "a.yaml", tmp_path / "b.yaml", tmp_path / "a.jsonl"
    BASE.to_file(one)
    BASE.but(faults=[{"kind": "crash", "party": 1, "at": "30ms"}]).to_file(two)
    BASE.run().trace.save(trace)
    png = tmp_path / "diff.png"
    assert main(["diff", str(one), str(two), "--png", str(png), "--party", "2"]) == 1
    out = capsys.readouterr().out
    assert "The first difference is at party 1, at 30.0 ms" in out
    assert "party 2 in both:" in out
    assert png.stat().st_size > 1000
    assert main(["diff", str(one), str(trace)]) == 0
    assert main(["diff", str(one), str(tmp_path / "none.jsonl")]) == 2
