"""The verdict of a check on a trace: `ok`, `violated` or `unknown`, and the rows that prove it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Word: TypeAlias = Literal["ok", "violated", "unknown"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check's answer.

    Attributes:
        check: its name.
        verdict: `unknown` when the trace shows nothing that the check could judge.
        witnesses: row numbers (positions in the trace's order) that prove it, ascending.
        sentence: why, in plain words.
    """

    check: str
    verdict: Word
    witnesses: tuple[int, ...]
    sentence: str

    def __str__(self) -> str:
        sign = {"ok": "✓", "violated": "✗", "unknown": "?"}[self.verdict]
        return f"{sign} {self.check}: {self.sentence}"


def ok(check: str, sentence: str, witnesses: Iterable[int] = ()) -> Verdict:
    return Verdict(check, "ok", tuple(sorted(set(witnesses))), sentence)


def unknown(check: str, sentence: str, witnesses: Iterable[int] = ()) -> Verdict:
    return Verdict(check, "unknown", tuple(sorted(set(witnesses))), sentence)


def violated(check: str, faults: Iterable[tuple[str, Iterable[int]]]) -> Verdict:
    """Violated, by one or more faults: a sentence with its rows each, the gravest first."""
    each = [(sentence, list(rows)) for sentence, rows in faults]
    sentence = each[0][0]
    if len(each) > 1:
        sentence += f" (and {len(each) - 1} more)"
    return Verdict(
        check, "violated", tuple(sorted({r for _, rows in each for r in rows})), sentence
    )
