"""`hands()` makes a coordinator whose buttons a test presses; it is closed with the test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mpclab.panels import Coordinator
from tests.panels.hands import Hands


@pytest.fixture
def hands() -> Iterator[Callable[..., Hands]]:
    made: list[Coordinator] = []

    def make(*args: Any, **fields: Any) -> Hands:
        made.append(Coordinator(*args, **fields))
        return Hands(made[-1])

    yield make
    for panel in made:
        panel.close()
        panel.lab.close()
