"""The checks by name, and how to run some of them on a trace."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from operator import le
from typing import Any, TypeAlias

from mpclab.check.facts import Facts, MessagesGone, PolicyLike, names
from mpclab.check.verdict import Verdict, unknown
from mpclab.core.errors import UsageError
from mpclab.core.ids import Party
from mpclab.core.registry import Later, Registry, read_arguments, word_of
from mpclab.trace import Row, Trace

Check: TypeAlias = Callable[..., Verdict]
"""`check(facts)` judges; what a file may set of it are its further parameters."""

_OURS = {
    "agreement": "agreement",
    "validity": "validity",
    "integrity": "integrity",
    "termination": "termination",
    "total-order": "order",
    "linearizability": "linearizability",
    "durability": "order",
    "leaders": "order",
    "certificates": "validity",
    "blame": "blame",
    "delivery": "delivery",
}
"""The module of each, where it is a function of the same name."""

CHECKS: Registry[Check] = Registry(
    "check",
    {
        word: Later(f"mpclab.check.{module}", word.replace("-", "_"))
        for word, module in _OURS.items()
    },
    accepts=inspect.isfunction,
    word=word_of,
)
"""Every check by its word, and those that you registered."""


def run_checks(
    trace: Trace,
    checks: Iterable[str | Check] = ("agreement", "validity", "integrity", "termination"),
    *,
    n: int,
    policy: PolicyLike = "unanimous",
    faulty: Iterable[Party] | None = None,
    patience: int | None = None,
    idle: tuple[str, ...] = (),
) -> list[Verdict]:
    """Judge a trace by these checks, in this order.

    Args:
        checks: words, with parameters where a check has some (`"soon(within=500ms)"`), or
            functions.
        policy: `"unanimous"`, `"threshold(k)"`, or anything that says how many are `needed`.
        faulty: parties whose word does not count; by default those that the Byzantine faults
            in the trace aim at.
        patience: how long a proposal may stay open, µs, if the run was stopped while something was
            left to happen: what had less than twice that is not judged. None: it came to rest.
        idle: faults that were planned and had nothing to act on, in words: what would be ok is
            unknown then.

    Raises:
        UsageError: a name that is no check; says which is nearest.
    """
    bound = [bind(check) for check in checks]
    rows = list(trace)
    ordered, numbers = in_order(trace, rows)
    facts = Facts.of(
        ordered, n=n, policy=policy, faulty=faulty, patience=patience,
        rows=rows if numbers is None else None,
    )  # fmt: skip
    facts.whole, facts.idle = trace.whole, idle
    verdicts = [_judge(check, facts) for check in bound]
    if numbers is None:
        return verdicts
    return [
        replace(v, witnesses=tuple(sorted(numbers[row] for row in v.witnesses))) for v in verdicts
    ]


def in_order(trace: Trace, rows: list[Row]) -> tuple[Trace, list[int] | None]:
    """The trace, whose rows these are, in the order in which things happened, and each row's number
    in `trace`; None: as it is.

    A trace is in order, even where a clock went back. But the rows of a party in a process of
    its own arrive a little late; all processes of a machine read one clock, so sorted by time an
    effect follows its cause again. Late rows are late together: where the rows of one actor go
    back in time, it is the clock that did.
    """
    times = [row.at for row in rows]
    if all(map(le, times, islice(times, 1, None))):
        return trace, None
    latest: dict[Party, int] = {}
    now, late = 0, False
    for row in rows:
        if row.at < latest.get(row.actor, 0):
            return trace, None
        late = late or row.at < now
        latest[row.actor] = now = row.at
    if not late:
        return trace, None
    numbers = sorted(range(len(rows)), key=lambda number: rows[number].at)
    ordered = Trace()
    for number in numbers:
        ordered.append(rows[number])
    return ordered, numbers


def _judge(check: Callable[[Facts], Verdict], facts: Facts) -> Verdict:
    verdict: Any
    try:
        verdict = check(facts)
    except MessagesGone:
        name = word_of(check.func if isinstance(check, partial) else check)
        return unknown(name, "what it asks for is in messages that this trace did not keep")
    if isinstance(verdict, Verdict):
        return _qualified(verdict, facts)
    name = word_of(check.func if isinstance(check, partial) else check)
    raise UsageError(
        f"check {name}: it answers {verdict!r:.40}; answer ok(…), unknown(…) or violated(…) of "
        f"mpclab.check"
    )


_TIMED = ("agreement", "total-order", "validity", "termination")
"""Checks of what a synchronous protocol promises."""


def _qualified(verdict: Verdict, facts: Facts) -> Verdict:
    """The verdict, with what it rests on in its words."""
    sentence = verdict.sentence
    if verdict.verdict != "unknown" and (tellers := facts.tellers - facts.faulty):
        # A liar elsewhere can make what is said of it, and so this verdict, false.
        word = "its" if len(tellers) == 1 else "their"
        sentence += f"; by {word} own word, as to {names(tellers)}"
    if verdict.verdict == "violated" and verdict.check in _TIMED and (late := facts.untimely):
        note = late[0]
        sentence += (
            f"; assumed was that {note.assumed}: {len(late)} came otherwise, the first of party "
            f"{note.sender}, {note.how}"
        )
    if verdict.verdict == "ok" and (untold := facts.untold) is not None:
        why = f"the lie was never told ({untold.text or untold.kind}); else {sentence}"
        return unknown(verdict.check, why, verdict.witnesses)
    if verdict.verdict == "ok" and facts.idle:
        what = "a fault had nothing" if facts.whole else "the trace did not keep what a fault had"
        why = f"{what} to act on ({facts.idle[0]}); else {sentence}"
        return unknown(verdict.check, why, verdict.witnesses)
    return replace(verdict, sentence=sentence)


# --- words with parameters --------------------------------------------------------------------

_CALL = re.compile(r"([^()\s]+)\s*(?:\((.*)\))?\s*")


def bind(check: str | Check, where: str = "checks") -> Callable[[Facts], Verdict]:
    """The check that a word means, its parameters filled in.

    Raises:
        UsageError: the check, a parameter or a value is not known; names `where` and the nearest.
    """
    if not isinstance(check, str):
        return check
    match = _CALL.fullmatch(check)
    if match is None:
        raise UsageError(f"{where}: {check!r}; write a name, or name(parameter=value)")
    word, rest = match[1], match[2]
    found = CHECKS.find(word, where)
    given: dict[str, str] = {}
    for part in (rest or "").split(","):
        name, is_given, value = part.partition("=")
        if is_given:
            given[name.strip()] = value.strip()
        elif part.strip():
            raise UsageError(f"{where}.{word}: {part.strip()!r}; write parameter=value")
    return partial(found, **read_arguments(found, given, f"{where}.{word}")) if given else found


def spell(item: Any, where: str = "checks") -> str:
    """The word for an entry of a scenario's `checks`: a word, `{soon: {within: 500ms}}`,
    `{kind: soon, within: 500ms}`, or from Python a function, which is registered.

    Raises:
        UsageError: as `bind`.
    """
    text = str(item)
    if inspect.isfunction(item):
        text = CHECKS.word_of(item) or word_of(CHECKS.register(item))
    elif isinstance(item, Mapping):
        if "kind" in item:
            word, given = item["kind"], {k: v for k, v in item.items() if k != "kind"}
        elif len(item) == 1:
            [(word, given)] = item.items()
        else:
            raise UsageError(f"{where}: {dict(item)!r}; write {{check: {{parameter: value}}}}")
        if not isinstance(given, Mapping):
            raise UsageError(f"{where}.{word}: {given!r}; write {{parameter: value}}")
        inner = ", ".join(f"{name}={value}" for name, value in given.items())
        text = f"{word}({inner})" if inner else str(word)
    bind(text, where)
    return text


def unspell(text: str) -> str | dict[str, dict[str, str]]:
    """The value that `spell` reads back as `text`, as one writes it in a file."""
    match = _CALL.fullmatch(text)
    if match is None or not match[2]:
        return text
    pairs = (part.partition("=") for part in match[2].split(","))
    return {match[1]: {name.strip(): value.strip() for name, _, value in pairs}}


def check_names(checks: Iterable[str | Check]) -> None:
    """Raise `UsageError` for the first of `checks` that is not a check."""
    for check in checks:
        bind(check)
