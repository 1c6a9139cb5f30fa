"""The settings of agreement protocols, typed and in one place.

Every protocol has a frozen dataclass of options, `Agreement.options_type`. A scenario file writes
them under the protocol's word, durations as text:

    agreement: {raft: {election_timeout: 2s, prevote: false}}

`read` takes that mapping, `write` gives it back, and `settings` lists what there is, for forms
and for help.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import MS, SECOND, format_duration, parse_duration

LONGEST = 3600 * SECOND
"""No duration here may be longer: an hour."""

O = TypeVar("O", bound="Options")  # noqa: E741  the only one here


@dataclass(frozen=True)
class Setting:
    """One option: its kind, what it does, and its bounds (durations in µs)."""

    kind: Literal["duration", "count", "switch"]
    says: str
    least: int = 0
    most: int = 0

    def read(self, value: Any, field: str) -> int | bool:
        """The value that a file or a form means.

        Raises:
            UsageError: naming `field`.
        """
        match self.kind:
            case "switch":
                if isinstance(value, bool):
                    return value
                raise UsageError(f"{field}: {value!r} is neither true nor false")
            case "duration":
                number = parse_duration(value, field)
                least, most = format_duration(self.least), format_duration(self.most)
            case "count":
                if isinstance(value, bool) or not isinstance(value, int):
                    raise UsageError(f"{field}: {value!r} is not a whole number")
                number, least, most = value, str(self.least), str(self.most)
        if not self.least <= number <= self.most:
            raise UsageError(f"{field}: {value} is out of bounds; use {least} to {most}")
        return number


def duration(default: int | None, says: str, *, least: int = MS, most: int = LONGEST) -> Any:
    """A field that holds µs. None: derived from the others, as `says` says."""
    setting = Setting("duration", says, least, most)
    return dataclasses.field(default=default, metadata={"setting": setting})


def count(default: int, says: str, *, least: int = 1, most: int) -> Any:
    """A field that holds a whole number."""
    setting = Setting("count", says, least, most)
    return dataclasses.field(default=default, metadata={"setting": setting})


def switch(default: bool, says: str) -> Any:
    """A field that is on or off."""
    return dataclasses.field(default=default, metadata={"setting": Setting("switch", says)})


@dataclass(frozen=True, kw_only=True)
class Options:
    """The settings of every protocol; each adds its own fields."""

    patience: int = duration(2 * SECOND, "how long to wait before a party is suspected")

    @classmethod
    def settings(cls) -> dict[str, Setting]:
        """Every option by name."""
        return {f.name: f.metadata["setting"] for f in dataclasses.fields(cls)}

    @classmethod
    def read(cls: type[O], given: Mapping[str, Any], field: str = "options") -> O:
        """The options that a mapping of a file means; what it leaves out has its default.

        Raises:
            UsageError: for an unknown name (with the nearest), or a value that does not fit.
        """
        settings = cls.settings()
        for name in given:
            if name not in settings:
                raise UsageError(f"{field}: {name!r} is not an option{nearest(name, settings)}")
        return cls(**{k: settings[k].read(v, f"{field}.{k}") for k, v in given.items()})

    def write(self) -> dict[str, str | int | bool]:
        """The fields that `read` reads back: the options that are not at their defaults."""
        found: dict[str, str | int | bool] = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if value != f.default:
                is_duration = f.metadata["setting"].kind == "duration"
                found[f.name] = format_duration(value) if is_duration else value
        return found
