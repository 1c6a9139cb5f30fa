"""What others wrote in JavaScript, installed from the lock."""

import subprocess
from pathlib import Path

import pytest

from tests.foreign.node import NODE, WHEEL

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def packages() -> Path:
    """The folder with npm's packages in it, installed from the lock when they are not there."""
    installed = HERE / "node_modules" / ".package-lock.json"
    lock = HERE / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        npm = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        command = [str(NODE), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=HERE, check=True, capture_output=True, timeout=120)
    return HERE
