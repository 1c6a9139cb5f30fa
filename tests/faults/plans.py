"""Hypothesis strategies: any fault, and plans that a protocol for f faulty parties survives.

@given(plans(n=4))
def test_agreement(plan: list[Fault]) -> None: ...
"""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from mpclab.core.ids import MS, SECOND, format_duration
from mpclab.faults.nemesis import DEFAULT, DRAWN, nemesis
from mpclab.faults.plan import KINDS, Fault, parse_fault


def plans(
    n: int,
    kinds: Sequence[str] = DEFAULT,
    *,
    until: int = 5 * SECOND,
    most: int | None = None,
) -> st.SearchStrategy[list[Fault]]:
    """Plans of a nemesis, at most `most` (by default f) parties faulty at a time; all heal."""
    return st.builds(
        lambda seed, rate: nemesis(seed, n, kinds, until=until, rate=rate, most=most),
        st.integers(0, 2**32),
        st.sampled_from([0.5, 1.0, 3.0]),
    )


def texts(low: int = 1, high: int = 10_000) -> st.SearchStrategy[str]:
    """Durations in whole milliseconds, as a scenario writes them."""
    return st.integers(low, high).map(lambda ms: format_duration(ms * MS))


rates = st.integers(0, 100).map(lambda percent: percent / 100)


@st.composite
def places(draw: st.DrawFn, n: int) -> dict[str, Any]:
    """`from`, `to` and `both` of a link fault; each may be absent."""
    some = st.lists(st.sampled_from([*range(1, n + 1), "server"]), min_size=1, unique=True)
    fields: dict[str, Any] = {}
    for name, values in (("from", some), ("to", some), ("both", st.just(True))):
        if draw(st.booleans()):
            fields[name] = draw(values)
    return fields


@st.composite
def partitions(draw: st.DrawFn, n: int) -> dict[str, Any]:
    way = draw(st.sampled_from(["groups", "isolated", "halves", "bridge", "ring"]))
    if way == "isolated":
        return {"isolated": draw(st.integers(1, n)), "one_way": draw(st.booleans())}
    if way != "groups":
        return {"shape": way}
    order = draw(st.permutations(range(1, n + 1)))
    cut = draw(st.integers(1, n - 1))
    return {"groups": [order[:cut], order[cut:]]}


def _own_fields(kind: str, n: int) -> st.SearchStrategy[dict[str, Any]]:
    party = st.integers(1, n)
    others = st.lists(party, min_size=1, unique=True)
    fixed: dict[str, dict[str, st.SearchStrategy[Any]]] = {
        "delay": {"delay": st.sampled_from(["80ms", "normal(90ms, 9ms)", "pareto(1ms, 1.5)"])},
        "jitter": {"up_to": texts()},
        "bandwidth": {"bytes_per_second": st.integers(1, 10**6)},
        "reorder": {"rate": rates, "within": texts()},
        "loss": {"rate": rates},
        "duplicate": {"rate": rates, "copies": st.integers(2, 5)},
        "corrupt": {"rate": rates},
        "reset": {"between": st.sampled_from([[1, 2], [2, 1], ["server", 1]])},
        "slow": {"step": texts()},
        "skew": {"offset": texts() | texts().map(lambda t: f"-{t}"), "drift": rates},
        "crash": {"amnesia": st.booleans(), "torn": st.booleans(), "restart_after": texts()},
        "restart": {"amnesia": st.booleans()},
        "equivocate": {"to": others},
        "send-to-some": {"to": others},
        "last-moment": {"delay": texts()},
        "replay": {"rate": rates},
        "flood": {"copies": st.integers(1, 20), "for": texts()},
        "adaptive": {
            "quiet": texts(),
            "moment": st.sampled_from(["quiet", "short", "certificate"]),
            "collude": st.booleans(),
        },
        "attack": {"name": st.just("withheld-certificate")},
        "garbage": {"rate": rates},
        "server-slow": {"step": texts()},
        "server-drop": {"rate": rates},
        "server-forge": {"as": party, "rate": rates},
        "server-replay": {"rate": rates},
    }
    return st.fixed_dictionaries(fixed.get(kind, {}))


@st.composite
def fault_fields(draw: st.DrawFn, n: int = 5, kinds: Sequence[str] | None = None) -> dict[str, Any]:
    """The fields of any valid fault but `filter`, as a scenario file would hold them."""
    kind = draw(st.sampled_from(kinds or sorted(set(KINDS) - {"filter"})))
    names = {name.rstrip("_") for name in KINDS[kind].__dataclass_fields__}
    fields: dict[str, Any] = {"kind": kind, "at": draw(texts(0))}
    if kind == "partition":
        fields |= draw(partitions(n))
    elif {"from", "to", "both"} <= names:
        fields |= draw(places(n))
    if "party" in names:
        fields["party"] = draw(st.integers(1, n))
    fields |= draw(_own_fields(kind, n))
    if fields.get("to") == [fields.get("party")]:  # nobody lies to itself alone
        fields["to"] = [fields["party"] % n + 1]
    lasting = not KINDS[kind].momentary and kind not in ("leave", "crash")
    if lasting and draw(st.booleans()):
        fields["for"] = draw(texts())
    return fields


def faults(n: int = 5, kinds: Sequence[str] | None = None) -> st.SearchStrategy[Fault]:
    """Any valid fault for parties `1..n`, but `filter`."""
    return fault_fields(n, kinds).map(lambda fields: parse_fault(fields, n, 0))


__all__ = ["DRAWN", "fault_fields", "faults", "partitions", "places", "plans"]
