"""The scenarios that come with mpclab, by name."""

from __future__ import annotations

from pathlib import Path

from mpclab.core.errors import UsageError, nearest

SCENARIOS = Path(__file__).parents[1] / "cli" / "scenarios"


def shipped() -> dict[str, str]:
    """Their names, and the sentence that each begins with."""
    found = sorted(SCENARIOS.glob("*.yaml"))
    return {f.stem: f.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for f in found}


def file_of(name: str | None) -> Path:
    """The file that a user means: a path, or a shipped scenario's name.

    Raises:
        UsageError: nothing was named, or it is neither; says what there is.
    """
    if name is None:
        raise UsageError(
            "name a scenario file: `mpclab run --list` shows those that we ship, "
            "`mpclab new FILE` writes one"
        )
    known = shipped()
    if name in known and not Path(name).exists():
        return SCENARIOS / f"{name}.yaml"
    if not Path(name).exists() and "/" not in name and not name.endswith((".yaml", ".yml")):
        raise UsageError(f"{name}: no such file or scenario{nearest(name, known)}")
    return Path(name)
