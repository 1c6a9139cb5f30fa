"""Does a protocol's suite see its mistakes? `kill` runs the suite until something breaks.

Quick checks come first: the claims of `Conformance` one by one, then random trials in turn:
plain, with crashes in the middle of steps, and with as many liars as the protocol bears.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from typing import Any

from mpclab.testing.conformance import Conformance
from mpclab.testing.storms import storm
from mpclab.testing.sweep import contest, duel, trial

RANDOM = (
    "test_late_messages_crashes_and_liars_at_once_do_no_harm",
    "test_restarts_between_any_two_steps_leave_one_value",
    "test_contested_places_are_agreed_on",
    "test_random_trials_end_well",
    "test_crashes_in_the_middle_of_a_step_do_no_harm",
)
SLOW = ("committed_everywhere", "aborted_everywhere", "one_history", "halves", "cut_off", "whom")
LONGEST = 4.0
"""Seconds of the processor that one claim may take; a mistake may let messages breed for ever."""


class TooLong(AssertionError):
    """Something took more than `LONGEST`."""


def claims(suite: type[Conformance]) -> list[str]:
    """The names of its tests but for the random ones, cheap ones first."""
    names = [n for n in dir(suite) if n.startswith("test_") and n not in RANDOM]
    return sorted(names, key=lambda name: any(word in name for word in SLOW))


def kill(suite: type[Conformance], budget: float = 10.0) -> str:
    """The first problem that the suite finds within `budget` seconds of the processor; "" for
    none. Only a suite that finds nothing takes so long."""
    end = time.process_time() + budget
    run = suite()
    word, options = suite.word(), {k: v for k, v in suite.options.items() if k != "patience"}
    try:
        for name in claims(suite):
            if time.process_time() > end:
                return ""
            with limit(LONGEST):
                getattr(run, name)()
        for seed in range(10_000):
            for k in range(4 * seed, 4 * seed + 4):
                with limit(LONGEST):
                    problems = storm(word, k, protocol=suite.protocol, **options).problems
                if problems:
                    return f"storm {k}: {problems[0]}"
            if time.process_time() > end:
                return ""
            if suite.protocol.synchronous:
                continue
            for k in range(8 * seed, 8 * seed + 8):
                with limit(LONGEST):
                    problem = contest(
                        suite.protocol, k, rivals=run.contested, options=suite.options
                    )
                if problem:
                    return f"contest {k}: {problem}".splitlines()[0]
            for k in range(16 * seed, 16 * seed + 16):
                with limit(LONGEST):
                    problem = duel(suite.protocol, k, rivals=run.contested, options=suite.options)
                if problem:
                    return f"duel {k}: {problem}".splitlines()[0]
                if time.process_time() > end:
                    return ""
            for how in ({}, {"torn": True}, {"lies": True}, {"lies": True, "torn": True}):
                if time.process_time() > end:
                    return ""
                if how.get("lies") and not suite.protocol.liars(7):
                    continue
                with limit(LONGEST):
                    found = trial(
                        suite.protocol, seed, rivals=run.contested, ends=suite.progress,
                        chooses=suite.chooses, options=suite.options, **how,
                    )  # fmt: skip
                if found.problem:
                    return f"trial {seed} {how or ''}: {found.problem}".splitlines()[0]
    except AssertionError as error:
        return f"{name}: {error}".splitlines()[0][:120]
    except Exception as error:
        return f"{name}: {type(error).__name__}: {error}".splitlines()[0][:120]
    return ""


@contextlib.contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise `TooLong` when the block takes more of the processor than that (main thread only)."""

    def ring(signum: int, frame: Any) -> None:
        raise TooLong(f"more than {seconds:g} s of the processor")

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
