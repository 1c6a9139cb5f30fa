"""Words from elsewhere are shown by a terminal, never obeyed."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mpclab.cli.text import line, plain

HOSTILE = [
    "[/x]", "[bold]", "[link=http://evil.example]click[/link]", "see [/etc/hosts]", "\\", "[",
    "\x1b[2J\x1b]0;owned\x07", "\r\nfake line", "\u202egnp.exe", ":smile:", "\x9b31m", "\ud800",
    "\x00",
]  # fmt: skip


def shown(text: str, style: str = "") -> str:
    out = io.StringIO()
    console = Console(file=out, width=1000, force_terminal=True, color_system="truecolor")
    console.print(line("<", (text, style), ">"))
    return out.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_shown_letter_by_letter(text: str) -> None:
    assert shown(text) == f"<{plain(text)}>\n"


@given(st.text())
def test_plain_text_has_no_control_character_left(text: str) -> None:
    assert plain(text).isprintable()
    assert plain(plain(text)) == plain(text)
    said = shown(text, "red")
    assert said.startswith("<\x1b[31m") or not text
    assert said.count("\x1b") <= 2 + said.count("\n")


def test_what_is_printable_stays_as_it_is() -> None:
    assert plain("grüße, 你好 $5 [a]") == "grüße, 你好 $5 [a]"
    assert plain(7) == "7"
