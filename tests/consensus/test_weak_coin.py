"""`examples/attacks/weak_coin.py`: who knows the next toss keeps honest parties apart for ever."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parents[2] / "examples" / "attacks" / "weak_coin.py"


@pytest.fixture(scope="module")
def file() -> dict[str, Any]:
    return runpy.run_path(str(FILE))


def test_a_coin_known_beforehand_is_no_help_for_ever(file: dict[str, Any]) -> None:
    assert file["attack"]("wrong-ben-or") == (file["MOST"], False)


def test_coins_of_ones_own_end_it(file: dict[str, Any]) -> None:
    for seed in range(8):
        rounds, decided = file["attack"]("ben-or", seed)
        assert decided
        assert rounds < 60


def test_it_tells_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(FILE), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    assert all(f"    {line}" in FILE.read_text().splitlines() for line in printed)
