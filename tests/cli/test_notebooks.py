"""`mpclab lab` works on a copy: no tracked file is edited by opening it."""

import json
from pathlib import Path

import pytest

from mpclab.cli import main, notebooks
from mpclab.cli.notebooks import FIRST, unpack
from mpclab.core import UsageError

CHECKOUT = Path(__file__).parents[2]


def test_all_notebooks_and_what_they_refer_to_are_copied(tmp_path: Path) -> None:
    copied = unpack(tmp_path)
    assert copied == sorted(n.name for n in (CHECKOUT / "notebooks").glob("*.ipynb"))
    assert (tmp_path / "docs/images/coordinator.png").is_file()
    assert (tmp_path / "mpclab/cli/scenarios/cut.yaml").is_file()
    faults = json.loads((tmp_path / "notebooks" / "02_faults.ipynb").read_text())["cells"]
    asked = [
        one
        for one, before in zip(faults[1:], faults, strict=False)
        if one["cell_type"] == "code" and "redict" in "".join(before["source"])
    ]
    assert len(asked) > 5
    assert not any(one["outputs"] for one in asked), "a question stands above its answer"
    assert any(one.get("outputs") for one in faults), "the others can be read before they are run"
    first = tmp_path / "notebooks" / FIRST
    assert json.loads(first.read_text())["cells"]
    first.write_text("mine")
    assert unpack(tmp_path) == []
    assert first.read_text() == "mine"
    assert FIRST in unpack(tmp_path, fresh=True)
    assert first.read_text() != "mine"


def test_jupyterlab_is_opened_on_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr(notebooks.subprocess, "call", lambda words: called.append(words) or 0)
    assert main(["lab", "--folder", str(tmp_path), "--", "--port", "1"]) == 0
    [words] = called
    assert f"--ServerApp.root_dir={tmp_path}" in words
    assert words[-2:] == ["--port", "1"]
    assert str(tmp_path) in capsys.readouterr().out


def test_without_notebooks_it_says_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="holds the notebooks themselves"):
        unpack(CHECKOUT)
    monkeypatch.setattr(notebooks, "sources", lambda: iter([tmp_path]))
    with pytest.raises(UsageError, match="were not installed"):
        unpack(tmp_path / "lab")
