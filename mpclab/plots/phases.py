"""The phase diagram of a sweep: where runs fail, and how often, cell by cell."""

from __future__ import annotations

from typing import Any

from mpclab.plots import style


def phases(frame: Any, x: str, y: str = "", *, value: str = "fails") -> style.Picture:
    """Draw the mean of a column for each value of `x` (and `y`) of a sweep's `frame`.

    Each cell says its number, so that no colour needs to be told from another.
    """
    rows = [y] if y else []
    table = frame.assign(_value=frame[value].astype(float)).pivot_table(
        index=rows or None, columns=x, values="_value", aggfunc="mean", dropna=False
    )
    cells = table.to_numpy(dtype=float)
    share = frame[value].dtype == bool
    height, width = cells.shape
    with style.styled():
        figure = style.Picture(figsize=(2.0 + 0.9 * width, 1.5 + 0.55 * height), dpi=110)
        axes = figure.add_subplot()
        top = 1.0 if share else max(float(cells[cells == cells].max(initial=0.0)), 1e-9)
        axes.imshow(cells, cmap="cividis", vmin=0.0, vmax=top, aspect="auto", origin="lower")
        for row in range(height):
            for column in range(width):
                number = cells[row, column]
                text = "" if number != number else f"{number:.0%}" if share else f"{number:.3g}"
                ink = "#ffffff" if number < 0.55 * top else "#000000"
                axes.text(column, row, text, ha="center", va="center", color=ink)
        axes.set_xticks(
            range(width), [f"{one:g}" if _is_number(one) else str(one) for one in table]
        )
        axes.set_yticks(range(height), [str(one) for one in table.index] if y else [""])
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_title(f"runs that {value}" if value == "fails" else value)
        figure.tight_layout()
    return figure


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
