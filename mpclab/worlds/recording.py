"""Recordings of real nodes: every input, every coin, and what came out; and running them again.

A step of a node is a pure function of the node, the event, `now` and its coins. So a host that
keeps these four can have any failure seen on real sockets happen again, without a socket:
`replay` feeds a fresh node the same inputs and compares its effects, one by one.

A recording holds **everything the party knew**: messages, coins (and so every secret drawn from
them) and what it had stored. So nothing is recorded unless a world is asked to. It is kept in
memory, never in a trace, and `save` writes it to a file that its owner alone can read. It has a
bound, `MOST_BYTES`: a node that goes on for longer is replayed up to there.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import msgspec

from mpclab.core.effects import Asked, Delivered, Effect, Event, Words
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party, Path
from mpclab.core.node import Node, Tamper
from mpclab.core.wire import Frame
from mpclab.worlds.base import Build, Stored
from mpclab.worlds.typed_codec import UnknownType, pack, unpack


class Step(msgspec.Struct):
    """One input and what it led to: effects, or what the node raised.

    `first` is the number of the first frame sent: it goes on from one incarnation to the next.
    `said` is what an adversary said instead, each time that a machine wanted to say something;
    None: honest.
    """

    event: Event
    now: int
    first: int
    effects: tuple[str, ...]
    raised: str = ""
    said: tuple[tuple[Words, ...], ...] | None = None


class Draw(NamedTuple):
    """`bits` random bits, as an integer."""

    bits: int
    value: int


MOST_BYTES = 64 * 1024 * 1024
"""Bytes of inputs that one recording holds, about."""
_STEP_BYTES = 500  # of a step without its frame


class Recording:
    """One incarnation of one node: from its birth to its crash, until now, or until it is full.

    Attributes:
        full: no more is recorded.
    """

    def __init__(self, actor: Party, stored: Stored) -> None:
        self.full = False
        self._bytes = 0
        self.actor = actor
        self.stored: Stored = {path: dict(items) for path, items in stored.items()}
        self.coins: dict[Path, list[Draw]] = {}
        self.steps: list[Step] = []

    def recording_coins(self, path: Path) -> random.Random:
        """Coins of the operating system for the machine at `path`, and a note of each."""
        return _RecordingCoins(self, self.coins.setdefault(path, []))

    def dictate(self, node: Node) -> list[tuple[Words, ...]] | None:
        """Before a step: where the party is corrupt, a list that will hold what it says."""
        if node.tamper is None or self.full:
            return None
        if not isinstance(node.tamper, _Dictation):
            node.tamper = _Dictation(node.tamper)
        node.tamper.said = []
        return node.tamper.said

    def add(
        self,
        event: Event,
        now: int,
        first: int,
        effects: Iterable[Effect],
        raised: str = "",
        *,
        said: list[tuple[Words, ...]] | None = None,
    ) -> None:
        """Note one step; `said` is what `dictate` gave for it."""
        if self.full:
            return
        size = len(event.frame.body) if type(event) is Delivered else 0
        self._bytes += _STEP_BYTES + size + 60 * len(self.steps[-1].effects if self.steps else ())
        if self._bytes > MOST_BYTES:
            self.full = True
            return
        outlines = tuple([outline(effect) for effect in effects])
        told = None if said is None else tuple(said)
        self.steps.append(Step(event, now, first, outlines, raised, told))

    def save(self, file: str | FilePath) -> None:
        """Write all of it to `file`, mode 0600: it holds the party's secrets.

        Raises:
            UsageError: an ask that is neither plain data nor a struct or dataclass.
        """
        try:
            data = pack(
                {
                    "format": _FORMAT,
                    "actor": self.actor,
                    "stored": self.stored,
                    "coins": {
                        path: [(bits, _to_bytes(bits, value)) for bits, value in draws]
                        for path, draws in self.coins.items()
                    },
                    "steps": [
                        (
                            _flatten(step.event),
                            step.now,
                            step.first,
                            step.effects,
                            step.raised,
                            step.said,
                        )
                        for step in self.steps
                    ],
                }
            )
        except UnknownType as error:
            raise UsageError(f"cannot save the recording: {error}") from error
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as out:
            os.fchmod(descriptor, 0o600)
            out.write(data)

    @classmethod
    def load(cls, file: str | FilePath) -> Recording:
        """Read what `save` wrote.

        Raises:
            UsageError: the file is not a recording, or needs a class that is not imported.
        """
        try:
            fields = unpack(FilePath(file).read_bytes())
            if fields["format"] != _FORMAT:
                raise ValueError(f"format {fields['format']!r}")
            recording = cls(fields["actor"], fields["stored"])
            for path, draws in fields["coins"].items():
                recording.coins[path] = [Draw(k, int.from_bytes(data)) for k, data in draws]
            for event, *rest in fields["steps"]:
                recording.steps.append(Step(_unflatten(event), *rest))
        except (UnknownType, ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{file} is not a recording: {error}") from error
        return recording


class Difference(msgspec.Struct, frozen=True):
    """Where a replay first went another way.

    Attributes:
        step: which input, from 0.
        effect: which of its effects, from 0; -1 for how the step ended.
        event: the input.
        expected, got: outlines of the effects; "" for none.
    """

    step: int
    effect: int
    event: Event
    expected: str
    got: str

    def __str__(self) -> str:
        return (
            f"step {self.step}, effect {self.effect}: expected {self.expected or 'nothing'}, "
            f"got {self.got or 'nothing'}"
        )


def replay(recording: Recording, build: Build) -> Difference | None:
    """Feed a fresh node what the recorded one got; the first difference, None when there is none.

    Args:
        recording: one incarnation of a node.
        build: what built the recorded node.
    """
    stored = {path: dict(items) for path, items in recording.stored.items()}
    coins = _ReplayedCoins(recording.coins)
    node = build(coins.stream, stored)
    for index, step in enumerate(recording.steps):
        raised, effects = "", []
        node.next_id = step.first
        node.tamper = None if step.said is None else _Repetition(step.said)
        try:
            effects = node.step(step.event, step.now)
        except OutOfCoins as error:
            return Difference(index, -1, step.event, step.raised, str(error))
        except Exception as error:
            raised = describe_error(error)
            if type(step.event) is Asked and isinstance(error, UsageError):
                effects = node.out  # what others did before one refused
        got = [outline(effect) for effect in effects]
        for place in range(max(len(got), len(step.effects))):
            was = step.effects[place] if place < len(step.effects) else ""
            now = got[place] if place < len(got) else ""
            if was != now:
                return Difference(index, place, step.event, was, now)
        if raised != step.raised:
            return Difference(index, -1, step.event, step.raised, raised)
    return None


def relive(recording: Recording, build: Build, until: int) -> tuple[Node, list[Effect]]:
    """A fresh node that got all that the recorded one had got by time `until` (µs), and everything
    that it wanted done, in order. It is honest from then on, whatever was said in its name.
    """
    stored = {path: dict(items) for path, items in recording.stored.items()}
    node = build(_ReplayedCoins(recording.coins).stream, stored)
    wanted: list[Effect] = []
    for step in recording.steps:
        if step.now > until:
            break
        node.next_id = step.first
        node.tamper = None if step.said is None else _Repetition(step.said)
        try:
            wanted += node.step(step.event, step.now)
        except Exception:  # as it was then: a refused ask, or the end of the node
            wanted += node.out
    node.tamper = None
    return node, wanted


def outline(effect: Effect) -> str:
    """An effect as one line: its type and a digest of all that it says (no secrets in it)."""
    fields = tuple(getattr(effect, name) for name in effect.__struct_fields__)
    digest = hashlib.sha256(_canonical(fields)).hexdigest()[:32]
    return f"{type(effect).__name__} {digest}"


def describe_error(error: BaseException) -> str:
    """The error that a step raised, for comparison and for people."""
    return f"{type(error).__name__}: {error}"


_FORMAT = "mpclab recording 2"


def _flatten(event: Event) -> Any:
    """Frames are not structs: a delivery is spelled out."""
    if type(event) is Delivered:
        frame = event.frame
        return (event.sender, frame.id, frame.path, frame.body, frame.codec)
    return event


def _unflatten(event: Any) -> Any:
    if isinstance(event, tuple):
        sender, id, path, body, codec = event
        return Delivered(sender, Frame(id, path, body=body, codec=codec))
    return event


def _hook(value: Any) -> Any:
    if isinstance(value, Frame):
        return (value.id, value.path, value.body)
    return (type(value).__qualname__, repr(value) if " at 0x" not in repr(value) else "")


_canonical = msgspec.msgpack.Encoder(enc_hook=_hook, order="deterministic").encode


# --- adversaries, and coins -----------------------------------------------------------------


class _Dictation:
    """An adversary, and a note of all that it says in one step."""

    def __init__(self, tamper: Tamper) -> None:
        self._tamper = tamper
        self.said: list[tuple[Words, ...]] = []

    def __call__(self, words: Words) -> tuple[Words, ...]:
        said = tuple(self._tamper(words))
        self.said.append(said)
        return said


class _Repetition:
    """Says what was said; silent once that is over."""

    def __init__(self, said: tuple[tuple[Words, ...], ...]) -> None:
        self._left = iter(said)

    def __call__(self, words: Words) -> tuple[Words, ...]:
        return next(self._left, ())


class OutOfCoins(Exception):
    """A replayed node drew what the recorded one had not drawn."""


class _Coins(random.Random):
    """All draws come from `getrandbits`, the one place to record or replay."""

    def random(self) -> float:
        return self.getrandbits(53) * 2.0**-53

    def randbytes(self, n: int) -> bytes:
        return _to_bytes(8 * n, self.getrandbits(8 * n)) if n else b""

    def seed(self, *_: Any, **__: Any) -> None:
        """These coins have no seed."""


class _RecordingCoins(_Coins):
    _system = random.SystemRandom()

    def __init__(self, recording: Recording, draws: list[Draw]) -> None:
        super().__init__()
        self._recording = recording
        self._draws = draws

    def getrandbits(self, k: int, /) -> int:
        value = self._system.getrandbits(k)
        if not self._recording.full:
            self._draws.append(Draw(k, value))
        return value


class _ReplayedCoins:
    """Hands out recorded draws, path by path, in their order."""

    def __init__(self, draws: dict[Path, list[Draw]]) -> None:
        self._left = {path: iter(list(items)) for path, items in draws.items()}

    def stream(self, path: Path) -> random.Random:
        left = self._left.setdefault(path, iter(()))

        class Stream(_Coins):
            def getrandbits(self, k: int, /) -> int:
                draw = next(left, None)
                if draw is None or draw.bits != k:
                    was = f"{draw.bits} bits" if draw else "nothing"
                    raise OutOfCoins(f"{'/'.join(path)} drew {k} bits where {was} was drawn")
                return draw.value

        return Stream()


def _to_bytes(bits: int, value: int) -> bytes:
    return value.to_bytes((bits + 7) // 8)
