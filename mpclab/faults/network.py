"""The network when nothing is wrong: delays, loss, bandwidth, order."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

from mpclab.core.errors import UsageError, nearest
from mpclab.core.ids import format_duration, parse_duration
from mpclab.faults.draws import table, uniform, uniforms

LONGEST = 2.0**61
"""No delay is longer, µs: 70,000 years. So also the sum of one and any time fits 64 bits."""

_SHAPES = {
    "constant": ("value",),
    "uniform": ("low", "high"),
    "normal": ("mean", "deviation"),
    "exponential": ("mean",),
    "pareto": ("scale", "shape"),
}


@dataclass(frozen=True, slots=True)
class Delay:
    """A distribution of one-way delays, µs.

    constant(value) · uniform(low, high) · normal(mean, deviation), cut at 0 ·
    exponential(mean) · pareto(scale, shape), heavy-tailed: P(X > x) = (scale / x)^shape.
    """

    shape: str
    a: float
    b: float = 0.0

    @property
    def drawn(self) -> bool:
        """Whether a draw is needed at all."""
        return self.shape != "constant"

    @property
    def typical(self) -> int:
        """The median, µs: a scale for timeouts and pictures."""
        match self.shape:
            case "uniform":
                return round((self.a + self.b) / 2)
            case "exponential":
                return round(self.a * math.log(2))
            case "pareto":
                return round(self.a * 2 ** (1 / self.b))
        return round(self.a)

    def sample(self, base: int, lane: int) -> int:
        """The delay of draw (`base`, `lane`), µs, never negative."""
        if self.shape == "constant":
            return int(min(self.a, LONGEST))
        return self.of(uniform(base, 2 * lane), uniform(base, 2 * lane + 1))

    def of(self, u: float, v: float) -> int:
        """The delay that two uniform numbers in (0, 1) stand for, µs."""
        try:
            drawn = self.a if self.shape == "constant" else self._quantile(u, v, math)
        except OverflowError:  # no float is so large
            drawn = LONGEST
        return int(min(drawn, LONGEST))

    def samples(self, base: int, lanes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """`sample` for many lanes at once; shape `(len(lanes),)`, int64 µs."""
        import numpy as np

        if self.shape == "constant":
            return np.full(len(lanes), int(min(self.a, LONGEST)), dtype=np.int64)
        twice = 2 * lanes
        return self._many(uniforms(base, twice), uniforms(base, twice + 1))  # type: ignore[arg-type]

    def table(
        self, state: int, first: int, rows: int, lanes: npt.NDArray[np.uint64]
    ) -> list[list[int]]:
        """`sample(draws.more(state, first + i) ^ 1, lane)` for `rows` rows i and all `lanes`."""
        import numpy as np

        if self.shape == "constant":
            return [[int(min(self.a, LONGEST))] * len(lanes)] * rows
        u = table(state, first, rows, 1, 2 * lanes)
        v = table(state, first, rows, 1, 2 * lanes + np.uint64(1))
        delays: list[list[int]] = self._many(u, v).tolist()
        return delays

    def _many(
        self, u: npt.NDArray[np.float64], v: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.int64]:
        """`of` for many. NumPy's logarithms and cosines may differ from `math`'s in their last
        bits: where that could make another integer, it is left to `of`."""
        import numpy as np

        with np.errstate(over="ignore"):
            drawn: npt.NDArray[np.float64] = np.minimum(self._quantile(u, v, np), LONGEST)
        delays = drawn.astype(np.int64)
        doubtful = (np.abs(drawn - np.rint(drawn)) < 1e-6 + 1e-12 * drawn) & (drawn != 0.0)
        for at in zip(*np.nonzero(doubtful), strict=True):
            delays[at] = self.of(float(u[at]), float(v[at]))
        return delays

    def _quantile(self, u: Any, v: Any, m: Any) -> Any:
        match self.shape:
            case "uniform":
                return self.a + (self.b - self.a) * u
            case "normal":  # Box and Muller 1958
                z = m.sqrt(-2.0 * m.log(u)) * m.cos(2.0 * math.pi * v)
                drawn = self.a + self.b * z
                return max(drawn, 0.0) if m is math else m.maximum(drawn, 0.0)
            case "exponential":
                return -self.a * m.log(u)
            case "pareto":
                return self.a * u ** (-1.0 / self.b)
        raise AssertionError(self.shape)

    def __str__(self) -> str:
        if self.shape == "constant":
            return format_duration(int(self.a))
        if self.shape == "pareto":
            return f"pareto({format_duration(int(self.a))}, {self.b:g})"
        numbers = [self.a, self.b][: len(_SHAPES[self.shape])]
        return f"{self.shape}({', '.join(format_duration(int(x)) for x in numbers)})"


_CALL = re.compile(r"\s*(\w+)\s*\(\s*([^()]*?)\s*\)\s*")


def parse_delay(text: str | int | Delay, field: str = "delay") -> Delay:
    """Read `"250ms"`, `"normal(250ms, 50ms)"`, `"pareto(10ms, 1.5)"`, …

    Raises:
        UsageError: naming `field`, for anything else.
    """
    if isinstance(text, Delay):
        return text
    match = _CALL.fullmatch(str(text))
    if not match:
        return Delay("constant", parse_duration(text, field))
    shape, numbers = match[1], [x.strip() for x in match[2].split(",")]
    if shape not in _SHAPES:
        raise UsageError(f"{field}: {shape!r} is not a distribution{nearest(shape, _SHAPES)}")
    names = _SHAPES[shape]
    if len(numbers) != len(names):
        raise UsageError(f"{field}: write {shape}({', '.join(names)}), not {text!r}")
    if shape == "pareto":
        try:
            b = float(numbers[1])
        except ValueError:
            b = 0.0
        if b <= 0:
            raise UsageError(
                f"{field}: the shape of a pareto is a number above 0, not {numbers[1]!r}"
            )
        return Delay(shape, parse_duration(numbers[0], field), b)
    values = [parse_duration(x, field) for x in numbers]
    if shape == "uniform" and values[0] > values[1]:
        raise UsageError(f"{field}: {text!r} runs backwards; write the lower bound first")
    return Delay(shape, *values)


@dataclass(frozen=True, slots=True)
class Network:
    """The links between parties, and to the server (which loses nothing).

    Attributes:
        delay: one-way delay of a message.
        loss: probability that a message between two parties never arrives, 0 to 1.
        bandwidth: bytes per second of each directed link; 0: unlimited.
        ordered: messages of one directed link never overtake each other, as on a data channel.
    """

    delay: Delay = Delay("uniform", 10_000, 30_000)
    loss: float = 0.0
    bandwidth: int = 0
    ordered: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.loss <= 1:
            raise UsageError(f"network.loss: {self.loss} is not a probability; use 0 to 1")
        if self.bandwidth < 0:
            raise UsageError(f"network.bandwidth: {self.bandwidth}; use bytes per second, or 0")

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Network:
        """Read a scenario file's `network`.

        Raises:
            UsageError: naming the field that is unknown or wrong.
        """
        known = ("delay", "loss", "bandwidth", "ordered")
        for name in fields:
            if name not in known:
                raise UsageError(f"network.{name} is not known{nearest(name, known)}")
        given = dict(fields)
        if "delay" in given:
            given["delay"] = parse_delay(given["delay"], "network.delay")
        for name, kind in (("loss", (int, float)), ("bandwidth", int), ("ordered", bool)):
            if name in given and not isinstance(given[name], kind):
                raise UsageError(f"network.{name}: {given[name]!r} is of the wrong type")
        return cls(**given)

    def as_fields(self) -> dict[str, Any]:
        """The fields that `parse` reads back; defaults left out."""
        default = Network()
        fields: dict[str, Any] = {}
        if self.delay != default.delay:
            fields["delay"] = str(self.delay)
        for name in ("loss", "bandwidth", "ordered"):
            if getattr(self, name) != getattr(default, name):
                fields[name] = getattr(self, name)
        return fields
