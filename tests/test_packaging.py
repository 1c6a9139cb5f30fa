"""What is installed is what is declared: dependencies, lock, conda environment, wheel, set-up."""

import importlib
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from rattler import MatchSpec

from tools import environment

CHECKOUT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
LOCK = (CHECKOUT / "requirements.lock").read_text()
CONDA = yaml.safe_load((CHECKOUT / "environment.yml").read_text())
# Where conda-forge calls a package something else than PyPI does.
CONDA_NAMES = {
    "matplotlib-base": "matplotlib",
    "playwright-python": "playwright",
    "redis-py": "redis",
}


def declared() -> dict[str, Requirement]:
    """pyproject's requirements, those of the extras too, by canonical name."""
    project = PYPROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [Requirement(line) for group in groups for line in group]
    return {canonicalize_name(r.name): r for r in requirements}


def locked() -> list[Requirement]:
    joined = LOCK.replace("\\\n", " ")
    lines = [line.split(" --hash")[0] for line in joined.splitlines() if line.strip()]
    return [Requirement(line) for line in lines]


def test_lock_holds_hashes_and_no_address() -> None:
    assert "://" not in LOCK
    assert "index-url" not in LOCK
    assert not [r.name for r in locked() if r.url]
    for entry in re.split(r"\n(?=\S)", LOCK.strip()):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), f"no hash: {entry}"


def test_lock_pins_every_dependency_within_its_bounds() -> None:
    versions: dict[str, list[str]] = {}
    for requirement in locked():
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        versions.setdefault(canonicalize_name(requirement.name), []).append(pin.version)
    missing = declared().keys() - versions.keys()
    assert not missing, f"run `make lock`: {sorted(missing)} are not in it"
    for name, requirement in declared().items():
        for version in versions[name]:
            assert version in requirement.specifier, f"run `make lock`: {name} is {version}"


def conda_specs() -> list[MatchSpec]:
    lines = [line for line in CONDA["dependencies"] if isinstance(line, str)]
    return [MatchSpec(line, strict=True) for line in lines]


def pip_lines() -> list[str]:
    (section,) = [entry for entry in CONDA["dependencies"] if isinstance(entry, dict)]
    lines: list[str] = section["pip"]
    return lines


def test_conda_environment_is_declared_both_ways() -> None:
    least: dict[str, SpecifierSet] = {}
    for spec in conda_specs():
        assert spec.name is not None
        name = spec.name.normalized
        if name not in {"python", "pip"}:
            least[canonicalize_name(CONDA_NAMES.get(name, name))] = SpecifierSet(str(spec.version))
    *requirements, itself = pip_lines()
    assert itself == "--editable ."
    for requirement in map(Requirement, requirements):
        name = canonicalize_name(requirement.name)
        assert name not in least, f"{name} comes from conda and from pip"
        assert requirement.marker == declared()[name].marker
        least[name] = requirement.specifier
    assert least == {name: requirement.specifier for name, requirement in declared().items()}


def test_conda_environment_has_the_python_that_the_project_requires() -> None:
    (python,) = [s for s in conda_specs() if s.name is not None and s.name.normalized == "python"]
    assert str(python.version) == PYPROJECT["project"]["requires-python"]
    assert CONDA["channels"] == ["conda-forge"]


def test_wheel_holds_the_whole_package_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "uv", "build", "--wheel", "--no-build-isolation", "--offline"]
    built = subprocess.run(
        [*command, "--quiet", "--python", sys.executable, "--out-dir", tmp_path, CHECKOUT],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        text = archive.read(metadata).decode()
    tracked = subprocess.run(
        ["git", "ls-files", "--", "mpclab"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "mpclab/py.typed" in packed
    assert set(tracked) <= packed
    shared = {name for name in packed if ".data/data/share/mpclab/" in name}
    assert all(name.startswith("mpclab/") for name in packed - shared)
    notebooks = {f"notebooks/{path.name}" for path in (CHECKOUT / "notebooks").glob("*.ipynb")}
    assert notebooks <= {name.split("share/mpclab/")[1] for name in shared}
    assert "License-File: LICENSE" in text


def test_console_scripts_lead_to_functions() -> None:
    for target in PYPROJECT["project"]["scripts"].values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_importing_mpclab_loads_nothing_heavy() -> None:
    heavy = ["IPython", "aiortc", "ipywidgets", "matplotlib", "networkx", "pandas", "rich"]
    code = f"import sys, mpclab; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_set_up_refuses_an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "OLDEST", (99, 0))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer(.|\n)*make PYTHON="):
        environment.check_python()


def test_set_up_says_how_to_get_ensurepip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(SystemExit, match="sudo apt install python3-venv"):
        environment.check_python()


def test_set_up_uses_the_index_that_pip_is_configured_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    found = environment.configured_index(sys.executable)
    assert found == {"UV_DEFAULT_INDEX": "https://index.example/simple"}
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://other.example/simple")
    assert environment.configured_index(sys.executable) == {}, "uv's own setting wins"


DEEP = re.compile(r"\s*(from|import) mpclab\.\w+\.\w+")
ROOMS = (
    "check", "consensus", "coordinator", "core", "crypto", "faults", "lab", "mpc", "operations",
    "panels", "plots", "search", "testing", "trace", "view",
)  # fmt: skip


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_gives_what_it_says(room: str) -> None:
    module = importlib.import_module(f"mpclab.{room}")
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize(
    "notebook", sorted((CHECKOUT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem
)
def test_notebooks_import_from_two_levels_at_most(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    deep = [line for line in "\n".join(code).splitlines() if DEEP.match(line)]
    assert deep == []
