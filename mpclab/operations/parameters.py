"""The parameters of an operation: their types, what each accepts and how it is signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mpclab.core.errors import nearest
from mpclab.operations.proposal import Value

MAX_TEXT = 4096
MAX_ITEMS = 256


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation. Subclasses say of which type.

    Attributes:
        default: what it is when left out; None makes it required.
    """

    name: str
    default: Value | None = None
    help: str = ""

    def check(self, value: Any) -> Value:
        """`value` as it will be signed, or `ValueError` with what it should be."""
        raise NotImplementedError

    def read(self, value: Value) -> Any:
        """What executors get, of what was signed."""
        return value


@dataclass(frozen=True, slots=True)
class Text(Parameter):
    """Text, by default not empty."""

    longest: int = MAX_TEXT
    empty: bool = False
    choices: tuple[str, ...] = ()

    def check(self, value: Any) -> Value:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not text")
        if len(value) > self.longest:
            raise ValueError(f"{len(value)} characters; at most {self.longest}")
        if not value.strip() and not self.empty:
            raise ValueError("is empty")
        if not value.isprintable() and not value.replace("\n", "").replace("\t", "").isprintable():
            raise ValueError("has characters that cannot be shown")
        if self.choices and value not in self.choices:
            raise ValueError(f"{value!r} is not known{nearest(value, self.choices)}")
        return value


@dataclass(frozen=True, slots=True)
class Reference(Text):
    """The id of an earlier operation. Scenarios and the lab also take its number there, from 1."""

    longest: int = 64


@dataclass(frozen=True, slots=True)
class Number(Parameter):
    """A whole number from `low` to `high`."""

    low: int = 0
    high: int = 2**53

    def check(self, value: Any) -> Value:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{value!r} is not a whole number")
        if not self.low <= value <= self.high:
            raise ValueError(f"{value} is not in {self.low}..{self.high}")
        return value


@dataclass(frozen=True, slots=True)
class Bytes(Parameter):
    """Bytes, or their hexadecimal text; `length` fixes how many. Executors get bytes."""

    length: int | None = None
    longest: int = MAX_TEXT

    def check(self, value: Any) -> Value:
        if isinstance(value, str):
            try:
                value = bytes.fromhex(value)
            except ValueError:
                raise ValueError(f"{value[:40]!r} is not hexadecimal") from None
        if not isinstance(value, bytes):
            raise ValueError(f"{value!r} is neither bytes nor hexadecimal text")
        if self.length is not None and len(value) != self.length:
            raise ValueError(f"{len(value)} bytes; {self.length} are needed")
        if len(value) > self.longest:
            raise ValueError(f"{len(value)} bytes; at most {self.longest}")
        return value.hex()

    def read(self, value: Value) -> Any:
        assert isinstance(value, str)
        return bytes.fromhex(value)


@dataclass(frozen=True, slots=True)
class Numbers(Parameter):
    """A list of whole numbers, such as parties."""

    low: int = 0
    high: int = 2**53
    longest: int = MAX_ITEMS

    def check(self, value: Any) -> Value:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{value!r} is not a list")
        if len(value) > self.longest:
            raise ValueError(f"{len(value)} items; at most {self.longest}")
        one = Number(self.name, low=self.low, high=self.high)
        return tuple(one.check(item) for item in value)  # type: ignore[misc]
