"""The layers of DESIGN are enforced: each kind of forbidden import is found, and named."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.import_contracts import closure, parse_arrows

CONFIG = """
[tool.importlinter]
root_package = "house"
include_external_packages = true
contract_types = [
    "arrows: tools.import_contracts.ArrowsContract",
    "no_circles: tools.import_contracts.NoCirclesContract",
    "only_in: tools.import_contracts.OnlyInContract",
]
[[tool.importlinter.contracts]]
name = "arrows"
type = "arrows"
package = "house"
arrows = ["ground ->", "floor -> ground", "roof -> floor", "house -> roof", "garden -> ground"]
[[tool.importlinter.contracts]]
name = "only"
type = "only_in"
externals = ["asyncio"]
modules = ["house.roof"]
[[tool.importlinter.contracts]]
name = "circles"
type = "no_circles"
package = "house"
known = ["floor.ball, floor.cat, floor.mouse"]
"""

SOUND = {
    "__init__.py": "",
    "ground/__init__.py": "",
    "floor/__init__.py": "from house.ground import x",
    "roof/__init__.py": "",
    "roof/tiles.py": "import asyncio\nfrom house.floor import y\nfrom house.ground import x",
    "floor/cat.py": "import house.floor.mouse",
    "floor/mouse.py": "import house.floor.cat",
    "floor/stairs.py": "",
    "floor/steps.py": "import house.floor.stairs",
}


def lint(folder: Path, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    (folder / "house.toml").write_text(CONFIG)
    for name, text in files.items():
        path = folder / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    checkout = Path(__file__).parents[1]
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--config=house.toml", "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{checkout}", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_imports_along_the_arrows_pass(tmp_path: Path) -> None:
    result = lint(tmp_path, SOUND)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "text", "finding"),
    [
        ("ground/pit.py", "from house.floor import y", "house.ground.pit:1: from house.floor"),
        ("garden.py", "def f():\n    import house.floor", "house.garden:2: import house.floor"),
        ("floor/clock.py", "import asyncio", "only house.roof may: house.floor.clock:1"),
        ("floor/up.py", "import house", "house.floor.up:1: import house"),
        ("shed.py", "", "shed: no arrow names it"),
        (
            "floor/stairs.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import house.floor.steps",
            "house.floor.stairs:3: import house.floor.steps",
        ),
        ("floor/mouse.py", "", "has been cut; take it from the list: floor.ball, floor.cat"),
    ],
    ids=[
        "upwards",
        "sideways and late",
        "library",
        "package itself",
        "unnamed part",
        "circle for types",
        "circle that was cut",
    ],
)
def test_imports_against_them_are_named(tmp_path: Path, file: str, text: str, finding: str) -> None:
    result = lint(tmp_path, SOUND | {file: text})
    assert result.returncode == 1, result.stdout + result.stderr
    assert finding in result.stdout


def test_arrows_are_followed_to_their_end() -> None:
    assert closure(parse_arrows(["a -> b", "b -> c", "c ->"])) == {
        "a": {"b", "c"},
        "b": {"c"},
        "c": set(),
    }


@pytest.mark.parametrize("lines", [["a b"], ["a -> b"], ["a ->", "a ->"]])
def test_arrows_that_mean_nothing_are_refused(lines: list[str]) -> None:
    with pytest.raises(ValueError, match="arrow"):
        parse_arrows(lines)
