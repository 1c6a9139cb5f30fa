"""Print the part of requirements.lock that a signaling server needs, with its hashes.

    python tools/server_requirements.py > server.lock

Needs the standard library alone: it runs before anything is installed.
"""

import re
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
NEEDED = (
    # imported by `mpclab serve`, directly
    "coincurve", "cryptography", "msgspec", "numpy", "prometheus-client", "pynacl", "pyyaml",
    "redis", "rich", "uvloop", "websockets",
    # and by these
    "cffi", "markdown-it-py", "mdurl", "pycparser", "pygments",
)  # fmt: skip


def sections(text: str) -> "list[str]":
    """One for each requirement: its line and those of its hashes."""
    return re.split(r"\n(?=[a-zA-Z0-9])", text.strip())


def main() -> None:
    found = [s for s in sections(LOCK.read_text()) if re.split(r"[=\[;\s]", s)[0] in NEEDED]
    missing = set(NEEDED) - {re.split(r"[=\[;\s]", s)[0] for s in found}
    if missing:
        raise SystemExit(f"not in {LOCK.name}: {', '.join(sorted(missing))}")
    print("\n".join(found))


if __name__ == "__main__":
    main()
