"""A coordinator without a browser: its buttons are pressed as Python objects."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from mpclab.panels import Coordinator

PATIENCE = 40.0  # s: of a machine that is busy with other things; nothing waits when it is not


def wait(holds: Callable[[], Any], what: str, patience: float = PATIENCE) -> None:
    """Wait until `holds()`, or fail saying for what."""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)  # leaves the interpreter to the other threads


class Hands:
    """Presses what a user would press, once it can be pressed."""

    def __init__(self, panel: Coordinator) -> None:
        self.panel = panel
        panel.widget  # noqa: B018  # displayed

    def press(self, button: Any) -> None:
        words = button.description
        wait(lambda: not button.disabled, f"{words} can be pressed: {button.tooltip}")
        wait(lambda: not self.panel.controller.busy, f"{self.panel.controller.busy} is over")
        button.click()

    def say(self, expected: str) -> None:
        """Wait until the panels say `expected` somewhere."""
        try:
            wait(lambda: expected in self.page(), f"the page says {expected!r}")
        except AssertionError as error:
            controller = self.panel.controller
            error.add_note(
                f"busy {controller.busy!r}, error {controller.error!r}, said {controller.said!r}"
            )
            raise

    def page(self) -> str:
        """Every word on the page."""
        parts = (self.panel, *self.panel.parts)
        return "\n".join(
            str(widget.value)
            for part in parts
            for widget in walk(part.card)
            if type(widget).__name__ == "HTML" and widget.layout.display != "none"
        )

    def gather(self) -> None:
        """Start the server, spawn everyone, join."""
        panel = self.panel
        panel.server.port.value = 0
        self.press(panel.server.start)
        self.press(panel.parties.spawn)
        self.press(panel.parties.join)
        n = panel.lab.scenario.parties
        pairs = n * (n - 1) // 2
        self.say(f"{pairs} of {pairs} pairs can talk")


def walk(widget: Any) -> Iterator[Any]:
    """A widget and all that it holds."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)
