"""`Registry`: things of one kind by the word that a file, a form or a cell says for them.

Agreement protocols, operations, faults, checks and panels are found in one of these each, and
only there: whatever is registered can be named in a scenario, appears in the drop-downs and in the
documentation's tables, and is suggested where a word is nearly right. `mpclab.register` puts a
thing into the registry that it belongs to.

A thing of the house keeps its word; one of yours may be registered again, as a notebook's cell is
run more than once. Things of the house may be imported `Later`, when they are first looked at: one
run needs one protocol and a few faults of them all.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import Duration, format_duration, parse_duration

T = TypeVar("T")

REGISTRIES: list[Registry[Any]] = []
"""All that take what `register` is given, in the order in which their modules were imported."""


class Later(NamedTuple):
    """A thing that is imported when it is first looked at.

    Attributes:
        module: where it is; `name` is what it is called there.
        key: what it is found by in that, if that is a table of several.
    """

    module: str
    name: str
    key: str = ""

    def load(self) -> Any:
        found = getattr(import_module(self.module), self.name)
        return found[self.key] if self.key else found

    def means(self, thing: Any) -> bool:
        """Whether `thing` is the class or function that this would import."""
        named = getattr(thing, "__qualname__", None)
        return not self.key and named == self.name and thing.__module__ == self.module


def names_of(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__` that imports names from its modules when they are first used."""

    def find(name: str) -> Any:
        if name in homes:
            return getattr(import_module(f"{package}.{homes[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find


class Registry(Mapping[str, T], Generic[T]):
    """From words to things of one kind; reads as a mapping.

    Args:
        kind: what they are, in the singular: "agreement".
        things: those of the house, or from where to import them.
        accepts: whether something is of this kind; None: a registry for some purpose of its own,
            which `register` never chooses and in which any word may be replaced.
        word: the word that a thing gives itself.
    """

    def __init__(
        self,
        kind: str,
        things: Mapping[str, T | Later] = MappingProxyType({}),
        *,
        accepts: Callable[[Any], bool] | None = None,
        word: Callable[[T], str] | None = None,
    ) -> None:
        self.kind = kind
        self._things: dict[str, T | Later] = dict(things)
        self._own = frozenset(self._things if accepts else ())
        self._accepts = accepts
        self._word = word
        if accepts is not None:
            REGISTRIES.append(self)

    def accepts(self, thing: Any) -> bool:
        """Whether `thing` belongs here."""
        return self._accepts is not None and self._accepts(thing)

    def register(self, thing: T, word: str = "") -> T:
        """Make `thing` known by `word` (by default its own), and give it back.

        Raises:
            UsageError: the word is one of the house's, or cannot be written in a file.
        """
        word = word or (self._word(thing) if self._word else "")
        if not word.replace("-", "").isalnum() or word != word.lower():
            raise UsageError(
                f"{self.kind} {word!r}: name it with lower-case letters, digits and dashes"
            )
        if word in self._own and not self._is(word, thing):
            raise UsageError(f"{self.kind} {word!r} is one of mpclab's own; choose another word")
        self._things[word] = thing
        return thing

    def word_of(self, thing: T) -> str | None:
        """The word by which `thing` is known here; nothing is imported."""
        return next((word for word in self._things if self._is(word, thing)), None)

    def unregister(self, word: str) -> None:
        """Forget a thing that is not of the house."""
        if word in self._own:
            raise UsageError(f"{self.kind} {word!r} is one of mpclab's own")
        self._things.pop(word, None)

    def find(self, word: str, where: str = "") -> T:
        """The thing of that word.

        Raises:
            UsageError: there is none; names `where` it was asked for, and the nearest.
        """
        if word not in self._things:
            raise UsageError(f"{where or self.kind}: {word!r} is not known{nearest(word, self)}")
        return self._thing(word)

    @property
    def own(self) -> dict[str, T]:
        """The things of the house."""
        return {word: self._thing(word) for word in self._things if word in self._own}

    @property
    def added(self) -> dict[str, T]:
        """The things registered beyond the house's own."""
        return {word: self._thing(word) for word in self._things if word not in self._own}

    def __getitem__(self, word: str) -> T:
        return self.find(word)

    def get(self, word: str, default: Any = None) -> Any:
        return self._thing(word) if word in self._things else default

    def __contains__(self, word: object) -> bool:
        return word in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def __deepcopy__(self, memo: dict[int, Any]) -> Registry[T]:
        return self  # code, not state: a forked world knows the same things

    def _thing(self, word: str) -> T:
        thing = self._things[word]
        if isinstance(thing, Later):
            loaded: T = thing.load()
            self._things[word] = loaded
            return loaded
        return thing

    def _is(self, word: str, thing: Any) -> bool:
        known = self._things[word]
        return known.means(thing) if isinstance(known, Later) else known is thing


def word_of(thing: Any) -> str:
    """The word that a class or function gives itself: its `word`, or its name in lower case with
    dashes: `my_check` and `MyCheck` are `my-check`."""
    if own := vars(thing).get("word"):
        return str(own)
    name = thing.__name__.strip("_").replace("_", "-")
    pieces = [f"-{c}" if c.isupper() and i and name[i - 1].islower() else c
              for i, c in enumerate(name)]  # fmt: skip
    return "".join(pieces).lower()


# --- parameters of a function ---------------------------------------------------------------


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a function that a file may set: those after the first."""
    return dict(list(inspect.signature(function).parameters.items())[1:])


def read_arguments(
    function: Callable[..., Any], given: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Arguments for `function`, read from a file by the annotations of its parameters.

    `Duration` reads `500ms`; `int`, `float`, `bool` and `str` read themselves, also from text.

    Raises:
        UsageError: naming `where`, for a name that is unknown, a value that does not fit, or one
            that is missing.
    """
    known = parameters(function)
    hints = typing.get_type_hints(function, include_extras=True)
    for name in given:
        if name not in known:
            hint = nearest(str(name), known) if known else "; it has no parameters"
            raise UsageError(f"{where}.{name} is not known{hint}")
    for name, parameter in known.items():
        if name not in given and parameter.default is inspect.Parameter.empty:
            raise UsageError(f"{where}.{name} is missing")
    return {
        name: _read(hints.get(name, str), value, f"{where}.{name}") for name, value in given.items()
    }


_SWITCH = {"true": True, "false": False}


def _read(kind: Any, value: Any, where: str) -> Any:
    if kind is Duration:
        return parse_duration(value, where)
    if kind is bool:
        found = value if isinstance(value, bool) else _SWITCH.get(str(value))
        if found is None:
            raise UsageError(f"{where}: {value!r}; write true or false")
        return found
    if kind in (int, float) and not isinstance(value, bool):
        try:
            return kind(value)
        except (TypeError, ValueError):
            pass
    if kind is str and not isinstance(value, bool | Mapping | list | tuple):
        return str(value)
    words = {int: "a whole number", float: "a number", str: "text"}
    raise UsageError(f"{where}: {value!r}; write {words.get(kind, kind)}")


def write_argument(function: Callable[..., Any], name: str, value: Any) -> Any:
    """The form that `read_arguments` reads back as `value`."""
    kind = typing.get_type_hints(function, include_extras=True).get(name)
    return format_duration(value) if kind is Duration else value
