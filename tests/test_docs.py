"""The documents say what is so: printed parts are current, named files are there, examples run."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mpclab.consensus.registry import AGREEMENTS
from mpclab.consensus.two_phase import TwoPhase
from mpclab.core.registry import REGISTRIES
from mpclab.signaling import messages
from tools import docs

CHECKOUT = Path(__file__).parents[1]
DOCUMENTS = docs.documents()


def name(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def test_printed_parts_are_current() -> None:
    stale = [name(p) for p, text in docs.current().items() if p.read_text() != text]
    assert not stale, "run make docs-tables"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    """Within the checkout; the strict build of the site looks at anchors as well."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        homes = [path.parent / target, CHECKOUT / target]  # the site has notebooks under docs
        assert any(home.exists() for home in homes), f"{name(path)}: {target}"


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if p.name != "CHANGELOG.md"], ids=name)
def test_files_that_are_named_exist(path: Path) -> None:
    pattern = r"(?<![\w/-])((?:mpclab|tests|tools|examples|benchmarks|docs)/[\w./-]*\w/?)"
    for found in re.findall(pattern, path.read_text()):
        assert (CHECKOUT / found).exists(), f"{name(path)} names {found}"


def test_the_life_of_a_vote_goes_through_files_that_exist() -> None:
    text = (CHECKOUT / "docs/architecture.md").read_text()
    drawing = text.split("## The life of a vote")[1].split("```")[1]
    files = re.findall(r"[a-z_]+/[\w/]+\.py", drawing)
    assert len(files) > 15
    for found in files:
        assert (CHECKOUT / "mpclab" / found).exists(), found


def test_every_room_is_described() -> None:
    text = (CHECKOUT / "docs/architecture.md").read_text()
    rooms = {p.parent.name for p in (CHECKOUT / "mpclab").glob("*/__init__.py")}
    missing = {room for room in rooms if f"`mpclab/{room}/`" not in text}
    assert not missing, "say in docs/architecture.md what they hold"


def test_every_dependency_has_its_reason() -> None:
    project = docs.tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    text = (CHECKOUT / "docs/architecture.md").read_text().split("## Why each dependency")[1]
    for line in project["dependencies"]:
        package = re.split(r"[>=; ]", line)[0]
        assert package in text, package


# --- docs/extending.md ----------------------------------------------------------------------------


@pytest.fixture
def _only_here() -> Iterator[None]:
    yield
    for registry in REGISTRIES:
        for word in registry.added:
            registry.unregister(word)


@pytest.mark.usefixtures("_only_here")
def test_printed_parts_are_of_the_house_alone() -> None:
    """Whatever else runs in this process, a search for one, may register a protocol of its own."""
    printed = docs.protocols(), docs.wire()
    AGREEMENTS.register(type("Mine", (TwoPhase,), {}))
    assert (docs.protocols(), docs.wire()) == printed


@pytest.mark.usefixtures("_only_here")
def test_the_examples_of_extending_run(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (CHECKOUT / "docs/extending.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 9
    module = type(sys)("extending")
    monkeypatch.setitem(sys.modules, "extending", module)
    for block in blocks:
        line = text[: text.index(block)].count("\n")
        exec(compile("\n" * line + block, "docs/extending.md", "exec"), vars(module))


# --- docs/wire.json -------------------------------------------------------------------------------


def wire() -> dict[str, Any]:
    return json.loads((CHECKOUT / "docs/wire.json").read_text())  # type: ignore[no-any-return]


def test_references_in_the_wire_document_lead_somewhere() -> None:
    document = wire()

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                here: Any = document
                for step in value["$ref"].removeprefix("#/").split("/"):
                    here = here[step]
            for one in value.values():
                visit(one)
        elif isinstance(value, list):
            for one in value:
                visit(one)

    visit(document)


def test_a_message_on_the_wire_has_the_fields_of_its_schema() -> None:
    schemas = wire()["components"]["schemas"]
    for msg in (
        messages.Challenge(b"n" * 16),
        messages.Ping(3),
        messages.Relay((messages.Envelope(2, msgspec.Raw(b"{}")),)),
        messages.Refused("full"),
    ):
        sent = json.loads(msgspec.json.encode(msg))
        schema = schemas[type(msg).__name__]
        assert sent["type"] in schema["properties"]["type"]["enum"]
        assert set(sent) <= set(schema["properties"])
        assert set(schema["required"]) <= set(sent)


def test_the_site_is_built_strictly(tmp_path: Path) -> None:
    """Links, anchors and the navigation; the notebooks among the pages."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=CHECKOUT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(CHECKOUT)},
        capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for page in ("architecture", "extending", "notebooks/03_byzantine"):
        assert (tmp_path / "site" / page / "index.html").exists()
