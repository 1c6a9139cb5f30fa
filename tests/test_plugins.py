"""Protocols, operations, faults, checks and panels of your own, by one mechanism."""

from __future__ import annotations

import sys
import textwrap
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from mpclab import MS, Duration, Lab, Scenario, UsageError, plugins, register
from mpclab.check import CHECKS, Facts, Verdict, ok, violated
from mpclab.consensus.direct import Direct
from mpclab.consensus.registry import AGREEMENTS
from mpclab.core.registry import REGISTRIES
from mpclab.faults.byzantine import Silent
from mpclab.faults.fault import KINDS
from mpclab.faults.nemesis import drawable, nemesis
from mpclab.operations import OPERATIONS, OperationSpec
from mpclab.panels import PANELS, Coordinator, Panel
from tests.panels.hands import Hands, wait


@pytest.fixture(autouse=True)
def _only_here() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    yield
    for registry in REGISTRIES:
        for word in registry.added:
            registry.unregister(word)


class MyDirect(Direct):
    pass


def soon(facts: Facts, within: Duration = 1 * MS) -> Verdict:
    """Every commit comes within a time of the first proposal."""
    times = [d.at for d in facts.decisions if d.what == "committed"]
    if times and max(times) > within:
        return violated("soon", [(f"a commit at {max(times)} µs", [])])
    return ok("soon", "all commits came soon")


PLUGIN = textwrap.dedent(
    """
    from __future__ import annotations
    from dataclasses import dataclass
    from mpclab import register
    from mpclab.check import Facts, Verdict, ok
    from mpclab.consensus.direct import Direct
    from mpclab.faults.byzantine import Silent
    from mpclab.operations import Number, OperationSpec

    @register
    class FromFile(Direct):
        pass

    @register
    def often(facts: Facts, least: int = 1) -> Verdict:
        return ok("often", f"at least {least}")

    register(OperationSpec("double", lambda e: str(2 * e.params["of"]), (Number("of"),)))

    @dataclass(frozen=True, kw_only=True)
    class Mute(Silent):
        kind = "mute"
    """
)

SCENARIO = """
plugins: [mine.py]
parties: 3
agreement: from-file
operations: [{by: 1, kind: double, of: 21}]
faults: [{at: 1s, kind: mute, party: 3}]
checks: [agreement, {often: {least: 2}}, {kind: often, least: 3}]
until: 5s
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "mine.yaml").write_text(SCENARIO)
    return tmp_path / "mine.yaml"


def test_a_scenario_runs_what_its_plugin_brings(written: Path) -> None:
    run = Scenario.from_file(written).run()
    [outcome] = run.outcomes
    assert (outcome.status, outcome.result) == ("committed", "42")
    assert [(v.check, v.sentence) for v in run.verdicts][1:] == [
        ("often", "at least 2"), ("often", "at least 3"),
    ]  # fmt: skip


def test_a_scenario_with_plugins_is_written_and_read_back(written: Path, tmp_path: Path) -> None:
    scenario = Scenario.from_file(written)
    other = tmp_path / "elsewhere" / "copy.yaml"
    other.parent.mkdir()
    scenario.to_file(other)
    assert Scenario.from_file(other) == scenario
    assert scenario.but(seed=9).plugins == scenario.plugins


def test_a_changed_file_is_run_again_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text("SAYS = 1\n")
    first = plugins.load("one.py", tmp_path)
    assert plugins.load(str(path)) is first
    path.write_text("SAYS = 22\n")
    assert plugins.load(str(path)).SAYS == 22


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("nowhere.py", r"plugins: there is no file .*nowhere\.py"),
        ("no_such_module", "plugins: no_such_module cannot be loaded: ModuleNotFoundError"),
        ("broken.py", "plugins: broken.py cannot be loaded: ZeroDivisionError: division by zero"),
        ("taken.py", "agreement 'raft' is one of mpclab's own; choose another word"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_named(tmp_path: Path, name: str, answer: str) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "taken.py").write_text(
        "from mpclab import register\nfrom mpclab.consensus.direct import Direct\n"
        "register(type('Mine', (Direct,), {}), 'raft')\n"
    )
    with pytest.raises(UsageError, match=answer):
        Scenario.parse({"plugins": [name]}, tmp_path)


def test_a_class_and_a_function_can_be_given_instead_of_their_words() -> None:
    with Lab(parties=3, agreement=MyDirect, checks=["agreement", soon]) as lab:
        assert lab.scenario.agreement == "my-direct"
        assert lab.scenario.checks == ("agreement", "soon")
        lab.start_server()
        lab.spawn()
        lab.join()
        lab.propose(text="hello")
        lab.run()
        assert [v.verdict for v in lab.check()] == ["ok", "violated"]
        [verdict] = lab.check(soon)
        assert verdict.verdict == "violated"
        [verdict] = lab.check("soon(within=1min)")
        assert verdict.verdict == "ok"
        assert lab.check(partial(soon, within=1)) == lab.check("soon(within=1us)")
    assert AGREEMENTS["my-direct"] is MyDirect
    assert Lab(agreement=Direct).scenario.agreement == "direct"


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        ("sooon", "checks: 'sooon' is not known; did you mean 'soon'"),
        ("soon(withn=1s)", r"checks\.soon\.withn is not known; did you mean 'within'"),
        ("soon(within=late)", r"checks\.soon\.within: 'late' is not a duration"),
        ("soon(1s)", r"checks\.soon: '1s'; write parameter=value"),
        ("soon(", r"checks: 'soon\('; write a name, or name\(parameter=value\)"),
        ({"soon": "1s"}, r"checks\.soon: '1s'; write \{parameter: value\}"),
        ({"soon": {}, "agreement": {}}, r"write \{check: \{parameter: value\}\}"),
        ({"agreement": {"within": "1s"}}, r"checks\.agreement\.within is not known"),
    ],
)
def test_a_wrong_check_is_named(check: Any, answer: str) -> None:
    register(soon)
    with pytest.raises(UsageError, match=answer):
        Scenario.parse({"checks": [check]})


def test_a_check_that_answers_something_else_is_told() -> None:
    lab = Lab(parties=2)
    with pytest.raises(UsageError, match=r"check fine: it answers True; answer ok\(…\)"):
        lab.check(fine)


def fine(facts: Facts) -> Verdict:
    return True  # type: ignore[return-value]


@pytest.fixture
def page() -> Iterator[Coordinator]:
    made = Coordinator(parties=3)
    yield made
    made.close()
    made.lab.close()


def test_what_is_registered_is_in_the_drop_downs_and_the_nemesis(page: Coordinator) -> None:
    register(MyDirect)
    register(OperationSpec("shrug", lambda execution: "¯\\_(ツ)_/¯"))

    @dataclass(frozen=True, kw_only=True)
    class Mute(Silent):
        kind = "mute"

    Hands(page).press(page.world.reset)
    for menu, word in (
        (page.parties.agreement, "my-direct"),
        (page.operations.kind, "shrug"),
        (page.faults.kind, "mute"),
    ):
        wait(lambda menu=menu, word=word: word in dict(menu.options), f"{word} can be chosen")  # type: ignore[misc]
    assert "mute" in drawable()
    assert any(isinstance(fault, Mute) for fault in nemesis(3, 4, ["mute"]))
    with pytest.raises(UsageError, match="'filter' cannot be drawn"):
        nemesis(3, 4, ["filter"])


def test_a_panel_of_ones_own_is_on_the_page() -> None:
    @register
    class Clock(Panel):
        title, name = "Clock", "clock"

        def build(self) -> list[Any]:
            return []

        def refresh(self, now: Any) -> None:
            self.note(f"{now.lab.scenario.parties} parties")

    assert PANELS["clock"] is Clock
    made = Coordinator(parties=2)
    try:
        [clock] = made.yours
        wait(lambda: "2 parties" in clock.heading.value, "the clock was refreshed")
    finally:
        made.close()
        made.lab.close()


def test_a_thing_of_no_kind_is_refused_with_the_kinds() -> None:
    kinds = "agreement, check, fault, operation, panel"
    with pytest.raises(UsageError, match=f"register: 5 cannot be registered.*: {kinds}"):
        register(5)


def test_a_word_can_be_chosen() -> None:
    register("hasty")(soon)
    assert CHECKS["hasty"] is soon
    register(MyDirect, "mine")
    assert AGREEMENTS["mine"] is MyDirect
    assert "mine" not in KINDS
    assert "mine" not in OPERATIONS


def test_installed_plugins_are_loaded_once_and_a_broken_one_only_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installed_one.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [
        EntryPoint("one", "installed_one", plugins.GROUP),
        EntryPoint("class", "installed_one:FromFile", plugins.GROUP),
        EntryPoint("two", "no_such_thing", plugins.GROUP),
    ]
    monkeypatch.setattr(plugins, "_declared", lambda: points)
    monkeypatch.setattr(plugins, "_installed", None)
    with pytest.warns(UserWarning, match=r"plugin two \(no_such_thing\) cannot be loaded"):
        assert [point.name for point in plugins.load_installed()] == ["one", "class"]
    assert plugins.load_installed() == points[:2]
    assert Scenario.parse({"agreement": "from-file"}).agreement == "from-file"
    del sys.modules["installed_one"]


def test_declared_plugins_are_found_wherever_they_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names() -> list[str]:
        return [point.name for point in plugins._declared()]

    before = names()
    declared = tmp_path / "lib" / "one-1.0.dist-info"
    declared.mkdir(parents=True)
    (declared / "METADATA").write_text("Metadata-Version: 2.1\nName: one\nVersion: 1.0\n")
    (declared / "entry_points.txt").write_text(f"[{plugins.GROUP}]\nmine = installed_one\n")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    assert names() == ["mine", *before]

    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for file in declared.iterdir():
            zipped.write(file, f"{declared.name}/{file.name}")
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(archive))
    assert names() == ["mine", *before]
