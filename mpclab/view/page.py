"""A run as one HTML file: opens from disk, needs no server, no kernel and no network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Final

from mpclab.trace.log import Trace
from mpclab.view.feed import Change, Feed

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
  body {{ margin: 0; padding: 18px 22px; font: 14px/1.5 system-ui, sans-serif;
    background: #fff; color: #1d2733; }}
  h1 {{ font-size: 18px; margin: 0 0 2px; }}
  ul {{ margin: 6px 0 12px; padding: 0; list-style: none; }}
  li button {{ font: inherit; border: 0; background: none; color: #24598c; padding: 0 4px;
    cursor: pointer; text-decoration: underline; }}
  @media (prefers-color-scheme: dark) {{ body {{ background: #14191f; color: #e6eaef; }}
    li button {{ color: #7db4e8; }} }}
</style>
</head>
<body>
<h1>{title}</h1>
<ul>{lines}</ul>
<div id="run"></div>
<script type="module">
{script}
const diagram = mount(document.getElementById("run"), {chunks}, {{ rows: {rows} }});
document.querySelectorAll("[data-row]").forEach((button) => button.addEventListener(
  "click", () => diagram.showRow(Number(button.dataset.row))));
window.diagram = diagram;
</script>
</body>
</html>
"""


_PARTS: Final = (
    "store.js", "query.js", "axis.js", "density.js", "glyphs.js", "words.js", "picture.js",
    "scrubber.js", "hands.js", "diagram.js", "hosts.js",
)  # fmt: skip


def style() -> str:
    """The diagram's style sheet, which its script puts into the page."""
    return (files("mpclab.view") / "web" / "style.css").read_text(encoding="utf-8")


def script() -> str:
    """The diagram, as one ECMAScript module that exports `mount` and, for widgets, a default."""
    web = files("mpclab.view") / "web"
    parts = [f"const STYLE = {json.dumps(style())};"]
    parts += [(web / name).read_text(encoding="utf-8") for name in _PARTS]
    return "\n".join(parts)


def page(
    trace: Trace,
    *,
    title: str = "mpclab",
    ready: int = 0,
    lines: Iterable[tuple[str, tuple[int, ...]]] = (),
    within: Iterable[Change] = (),
    cut: str = "",
) -> str:
    """The whole of `trace` as a living diagram in one HTML page.

    Args:
        title: shown above it.
        ready: the time that counts as 0, µs.
        lines: sentences above the diagram, each with the rows that prove it (which stand out).
        within, cut: what became of the parties' machines, and what of it was left out (`Feed`).
    """
    said = list(lines)
    chunk = Feed(trace, ready=ready, title=title, within=within, cut=cut).read()
    chunks = [] if chunk is None else [base64.b64encode(chunk).decode()]
    return _PAGE.format(
        title=html.escape(title),
        lines="".join(_line(text, rows) for text, rows in said),
        script=script(),
        chunks=chunks,
        rows=[row for _, rows in said for row in rows],
    )


class Living:
    """A page inside a notebook: the cell that shows it keeps the run, for readers without a kernel.

    Args:
        page: a page, as of `page()`.
        name: what it is, in words.
        height: of its place in the notebook, pixels.
    """

    def __init__(self, page: str, name: str, height: int = 640) -> None:
        self.page = page
        self.name = name
        self.height = height

    def _repr_html_(self) -> str:
        # It may run its script, and reaches neither the notebook around it nor any network.
        return (
            f'<iframe srcdoc="{html.escape(self.page)}" sandbox="allow-scripts" '
            f'title="{html.escape(self.name)}" width="100%" height="{self.height}" '
            'style="border:0">'
            f"{html.escape(self.name)}: trust this notebook, and its living diagram is here"
            "</iframe>"  # the words stand where Jupyter takes the frame away
        )

    def __repr__(self) -> str:
        return f"Living({self.name!r})"


def _line(text: str, rows: tuple[int, ...]) -> str:
    links = "".join(f'<button data-row="{row}">row {row}</button>' for row in rows[:6])
    return f"<li>{html.escape(text)} {links}</li>"
