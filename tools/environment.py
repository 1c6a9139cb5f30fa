"""Make the virtual environment: `python3 tools/environment.py .venv`.

The only code here that runs outside the environment, under whatever `python3` is: so it needs the
standard library alone, and Python 3.6 can still read it far enough to be told that it is too old.
venv makes the folder, pip fetches uv into it, and uv installs the locked packages in seconds where
pip needs most of a minute.
"""

import os
import shutil
import subprocess
import sys

OLDEST = (3, 11)
LOCK = "requirements.lock"


def check_python() -> None:
    """End with what to do when this Python cannot make the environment."""
    if sys.version_info < OLDEST:
        names = ["python3.11", "python3.12", "python3.13", "python3.14"]
        found = [name for name in names if shutil.which(name)]
        advice = found[0] if found else "/path/to/python3.11 (install one first)"
        version = ".".join(map(str, sys.version_info[:2]))
        fail(f"mpclab needs Python 3.11 or newer, {sys.executable} is {version}.", advice)
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        fail(
            "this Python cannot make virtual environments, it lacks ensurepip.\n"
            "On Debian and Ubuntu: sudo apt install python3-venv",
            "/path/to/another/python3",
        )


def configured_index(python: str) -> "dict[str, str]":
    """The package index that pip is set up for, as uv's variable: uv reads no pip.conf."""
    if {"UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE"} & os.environ.keys():
        return {}
    url = os.environ.get("PIP_INDEX_URL", "")
    if not url:
        ask = [python, "-m", "pip", "config", "get", "global.index-url"]
        url = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
    return {"UV_DEFAULT_INDEX": url} if url else {}


def make(folder: str) -> None:
    """Create `folder`, or bring it up to the lock, with mpclab itself installed editable."""
    python = os.path.join(folder, "bin", "python")
    if not os.path.exists(python) or not os.path.exists(os.path.join(folder, "bin", "pip")):
        print(f"creating {folder} with {sys.executable}", flush=True)
        run([sys.executable, "-m", "venv", "--clear", folder])
    run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv>=0.5"])
    env = dict(os.environ, **configured_index(python))
    install = [python, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    print(f"installing the packages of {LOCK}", flush=True)
    run([*install, "--require-hashes", "--requirement", LOCK], env)
    run([*install, "--no-deps", "--editable", "."], env)


def run(command: "list[str]", env: "dict[str, str] | None" = None) -> None:
    """Run `command`, or end with it and its status; its own output says the rest."""
    status = subprocess.run(command, env=env, check=False).returncode
    if status:
        fail(f"this ended with status {status}:\n  " + " ".join(command))


def fail(message: str, python: str = "") -> None:
    """End, with what went wrong and perhaps which Python to try."""
    advice = f"\nOr name another: make PYTHON={python} …" if python else ""
    sys.exit(f"\n{message}{advice}\n")


if __name__ == "__main__":
    check_python()
    make(sys.argv[1])
