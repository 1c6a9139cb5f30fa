"""Text from elsewhere, as a terminal may show it: characters, never instructions.

Text of peers, files and servers is neither rich's markup nor a terminal's escape sequences: it
is shown letter by letter, and what has no letter is spelled out (`\\x1b`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text


def plain(value: object) -> str:
    """`value` as text without control characters, direction marks or line breaks."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


def line(*parts: object) -> Text:
    """One line of a terminal. A part is shown plainly; a pair is (part, style)."""
    from rich.text import Text  # where a terminal is written to: it takes a while to import

    text = Text(overflow="fold")
    for part in parts:
        words, style = part if isinstance(part, tuple) else (part, "")
        text.append(plain(words), style=style)
    return text
