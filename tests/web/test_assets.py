"""The pages are complete: what is listed is there, and nothing comes from elsewhere."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from pathlib import Path

import pytest

from mpclab.web import assets, pages

STATIC = assets.STATIC
pytestmark = pytest.mark.timeout(900)  # the first who asks for the pages waits until they are made


@pytest.fixture(scope="module")
def folder() -> Path:
    return assets.ready()


def test_everything_that_is_listed_is_there_and_the_other_way_round(folder: Path) -> None:
    listed = re.search(r"JSON\.parse\(`(.*)`\)", (folder / "offline.js").read_text())
    assert listed is not None
    names = {name.removeprefix("./") for name in json.loads(listed[1])} - {""}
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    packed = {name for name in there if name.endswith((".gz", ".br"))}
    assert names | {"index.html", "offline.js"} == there - packed
    for name in (name for name in packed if name.endswith(".gz")):
        assert name.replace(".gz", ".br") in packed
        assert (
            gzip.decompress((folder / name).read_bytes())
            == (folder / name.removesuffix(".gz")).read_bytes()
        )


def test_all_imports_lead_to_files_of_ours(folder: Path) -> None:
    for file in [*folder.glob("*.js"), *folder.glob("*.mjs"), *folder.rglob("noble/**/*.js")]:
        for name in re.findall(
            r"""^(?:import|export)\b[^;]*?from ?["']([^"']+)["']""", file.read_text(), re.M
        ):
            assert name.startswith("."), f"{file.name}: {name}"
            assert (file.parent / name).resolve().exists(), f"{file.name}: {name}"


def test_the_policy_allows_nothing_from_elsewhere() -> None:
    rules = dict(rule.strip().split(" ", 1) for rule in assets.policy().split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert "unsafe-inline" not in assets.policy()
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"\son\w+=|style=|<style|https?://", page)


def test_the_python_of_a_tab_is_ours_and_needs_no_other(folder: Path) -> None:
    with zipfile.ZipFile(folder / "mpclab.zip") as archive:
        names = set(archive.namelist())
        header = archive.read("mpclab/web/tab.pyc")[:8]
    assert {"mpclab/web/tab.pyc", "mpclab/worlds/browser/world.pyc"} <= names
    assert not [name for name in names if "/real/" in name or name.endswith("native.pyc")]
    # Bytecode that is never compared with a source: a tab compiles nothing.
    assert header[4:] == (1).to_bytes(4, "little")


def test_a_server_finds_every_file(folder: Path) -> None:
    served = pages.load(folder).files
    assert served["/"].kind.startswith("text/html")
    assert served["/pyodide/pyodide.asm.wasm"].kind == "application/wasm"
    sizes = [min(map(len, (f.content, *f.packed.values()))) for f in served.values()]
    assert sum(sizes) < 6_000_000
