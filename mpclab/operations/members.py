"""A parameter that names some of the session's members."""

from __future__ import annotations

from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.operations.spec import Execution


def members_of(execution: Execution, name: str) -> tuple[Party, ...]:
    """The parties in a parameter; all members when it is empty."""
    parties = tuple(sorted(execution.params[name])) or execution.members
    if len(set(parties)) < len(parties) or not set(parties) <= set(execution.members):
        raise UsageError(f"{name}: name members of this session, each once")
    return parties
