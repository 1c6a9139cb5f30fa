"""The project's own tests, run by the Python that runs in a browser tab: Pyodide, under Node."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from mpclab.web import packages

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
PURE = ("_pytest", "iniconfig", "packaging", "pluggy", "pygments", "pytest", "sortedcontainers")
"""What pytest and Hypothesis need, as it is in this environment."""
TESTS = (
    "core/test_node.py", "core/test_rounds.py", "core/test_wire.py", "core/test_nesting.py",
    "crypto/test_groups.py", "crypto/test_identity.py", "crypto/test_shamir.py",
    "signaling/test_rooms.py", "signaling/test_party.py",
    "consensus/test_pbft.py", "coordinator/test_session.py", "coordinator/test_history.py",
    "mpc/test_dkg.py", "mpc/test_sign.py",
)  # fmt: skip
"""Some of every room that a party is made of. Of property tests fewer examples: `plugin`."""


def pure_packages(file: Path) -> Path:
    """A zip of the pure packages."""
    with zipfile.ZipFile(file, "w") as archive:
        for name in (*PURE, "py"):
            spec = importlib.util.find_spec(name)
            assert spec is not None
            assert spec.origin is not None
            origin = Path(spec.origin)
            if origin.name != "__init__.py":
                archive.write(origin, origin.name)
                continue
            for source in sorted(origin.parent.rglob("*.py")):
                archive.write(source, Path(name) / source.relative_to(origin.parent))
    return file


@pytest.mark.timeout(400)
def test_our_own_tests_pass_in_a_tabs_python(tmp_path: Path) -> None:
    bytecode = packages.cache() / "tab-bytecode"
    bytecode.mkdir(parents=True, exist_ok=True)
    arguments = [
        "-c", "/dev/null", "--rootdir=/mounted/checkout", "--noconftest", "-p", "tests.tab.plugin",
        "-p", "no:cacheprovider", "--import-mode=importlib", "-q", "--tb=short",
        "-k", "not latency",  # 128 parties take their time
        *(f"tests/{test}" for test in TESTS),
    ]  # fmt: skip
    settings = {
        "modules": str(packages.modules()),
        "checkout": str(CHECKOUT),
        "wheels": [str(p) for p in packages.wheels() + packages.wheels(HERE / "requirements.txt")],
        "site": str(pure_packages(tmp_path / "site.zip")),
        "cache": str(bytecode),
        "args": arguments,
    }
    command = [*packages.node(), str(HERE / "run.mjs"), json.dumps(settings)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=390, check=False)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-1000:]
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed is not None
    assert int(passed[1]) > 400, ran.stdout[-200:]
