"""The parameters of an operation: their types, what each accepts and how it is signed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
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
        """The form that executors get of a signed value."""
        return value

    def show(self, value: Value) -> str:
        """The form that voters read."""
        return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


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
class Word(Text):
    """Text without spaces, quotes and signs that have a meaning in OpenSSH's lists of patterns."""

    def check(self, value: Any) -> Value:
        value = Text.check(self, value)
        assert isinstance(value, str)
        if not value.isascii() or not value.isprintable() or set(value) & set(" \"'\\,!*?"):
            raise ValueError(f"{value!r} is not one word of plain letters, digits and signs")
        return value


HASHES = ("sha256", "sha512")
"""Functions that a message may be the hash of."""


@dataclass(frozen=True, slots=True)
class Content(Parameter):
    """The content to be signed, spelled so that a reader sees exactly what it is:

        pay 5 to Eve       these characters, in UTF-8
        hex:00ff17         these bytes; `bytes` are taken as well
        sha256:5f2c…       a hash that somebody computed, signed as it is; also sha512

    A `Path` is read by whoever proposes, and becomes the file's text or bytes. Executors get
    (bytes, the hash function's name or "").
    """

    longest: int = 4 * MAX_TEXT

    def check(self, value: Any) -> Value:
        if isinstance(value, Path):
            value = self._file(value)
        if isinstance(value, bytes):
            value = f"hex:{value.hex()}"
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is neither text nor bytes")
        spelling, _, rest = value.partition(":")
        if spelling not in ("hex", *HASHES):
            return Text(self.name, longest=self.longest).check(value)
        try:
            data = bytes.fromhex(rest)
        except ValueError:
            raise ValueError(f"{value[:40]!r} is not hexadecimal after {spelling}:") from None
        if spelling in HASHES and len(data) != hashlib.new(spelling).digest_size:
            raise ValueError(f"{len(data)} bytes are not a {spelling} hash")
        if not 1 <= len(data) <= self.longest:
            raise ValueError(f"{len(data)} bytes; use 1 to {self.longest}, or their hash")
        return f"{spelling}:{data.hex()}"

    def _file(self, path: Path) -> str | bytes:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror or error}") from None
        if len(data) > self.longest:
            digest = hashlib.sha512(data).hexdigest()
            raise ValueError(
                f"{path} has {len(data)} bytes, at most {self.longest} are signed as they are; its "
                f"hash is sha512:{digest}"
            )
        try:
            text = data.decode()
            Text(self.name, longest=self.longest).check(text)
        except ValueError:
            return data
        return data if text.partition(":")[0] in ("hex", *HASHES) else text

    def read(self, value: Value) -> Any:
        assert isinstance(value, str)
        spelling, _, rest = value.partition(":")
        if spelling == "hex":
            return bytes.fromhex(rest), ""
        if spelling in HASHES:
            return bytes.fromhex(rest), spelling
        return value.encode(), ""


@dataclass(frozen=True, slots=True)
class Reference(Text):
    """The id of an earlier operation. Scenarios and the lab also take its number there, from 1.

    `kinds`: what it may be; empty: anything."""

    longest: int = 64
    kinds: tuple[str, ...] = ()


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
class Contents(Parameter):
    """Several things to be signed, each spelled as a `Content`. Executors get what it gives."""

    longest: int = 64
    longest_each: int = MAX_TEXT

    def check(self, value: Any) -> Value:
        if isinstance(value, str):
            value = value.splitlines()  # typed into a field
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(f"{value!r:.40} is not a list of messages")
        if len(value) > self.longest:
            raise ValueError(f"{len(value)} messages; at most {self.longest}")
        one = Content(self.name, longest=self.longest_each)
        return tuple(str(one.check(item)) for item in value)

    def read(self, value: Value) -> Any:
        assert isinstance(value, tuple)
        one = Content(self.name, longest=self.longest_each)
        return tuple(one.read(item) for item in value)

    def show(self, value: Value) -> str:
        assert isinstance(value, tuple)
        return "; ".join(f"{i}. {item}" for i, item in enumerate(value, 1))


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


@dataclass(frozen=True, slots=True)
class Members(Numbers):
    """Some of the session's members; none named: all of them."""

    default: Value | None = ()
    low: int = 1

    def show(self, value: Value) -> str:
        return Numbers.show(self, value) or "all"
