"""`mpclab demo` tells the whole story and leaves its pictures."""

from pathlib import Path

from mpclab.cli import main
from mpclab.cli.demo import STORY


def test_the_story_is_told_and_its_pictures_are_left(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 0
    report = (out / "report.md").read_text(encoding="utf-8")
    for stem in (*STORY, "websocket", "webrtc"):
        assert f"({stem}-spacetime.png)" in report
        assert (out / f"{stem}-spacetime.png").stat().st_size > 10_000
        assert (out / f"{stem}-trace.jsonl").stat().st_size > 1_000
    assert "the operation is committed" in report
