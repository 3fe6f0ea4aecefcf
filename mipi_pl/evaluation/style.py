"""The look of all figures: colours that colour-blind readers can tell apart, axes, and legends that fit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend

# Okabe and Ito's palette.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#999999", "#F0E442")
MARKERS = "os^vP*Xp"
FINAL = "D"
"""Marker of the final evaluation; no curve has it."""
INK, PAPER, GRID = "#222222", "#ffffff", "#dddddd"
"""Colours of text and axes, background and grid lines. The page of a report replaces them in dark mode."""
_LEGEND_SIZE = 8.5
_LONGEST = 60  # characters in a line of a legend; a column of such lines fits into the narrowest figure

styled = mpl.rc_context(
    {
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.titlesize": 11,
        "font.size": 10,
        "text.parse_math": False,  # a label of the user's may have a $
    }
)
"""Decorator of functions that draw a figure."""


def new_figure(width: float, height: float, dpi: int = 100) -> Figure:
    """Return an empty figure; its object interface needs no global state and no window system, unlike pyplot.

    Args:
        width: width in inches.
        height: height in inches, without the legend.
        dpi: pixels per inch.
    """
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def line_style(number: int) -> tuple[str, str]:
    """Return colour and marker of a line; no two of the first 64 lines have the same pair."""
    return PALETTE[number % len(PALETTE)], MARKERS[(number + number // len(PALETTE)) % len(MARKERS)]


def reference_style(number: int) -> dict[str, Any]:
    """Return the look of a horizontal line of a policy that did not learn."""
    dashes = ((1.0, 1.2), (4.0, 2.0), (6.0, 1.5, 1.0, 1.5), (8.0, 2.5), (3.0, 1.2, 1.0, 1.2, 1.0, 1.2))
    greys = ("#555555", "#999999")
    pattern = (0.0, dashes[number % len(dashes)])
    return {"color": greys[number % len(greys)], "linewidth": 1.4, "linestyle": pattern}


def dress(axes: Axes, label: str, is_rate: bool) -> None:
    """Set the range, label and grid of the value axis, and remove the frame."""
    if is_rate:
        axes.set_ylim(-0.03, 1.03)
        axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.set_ylabel(label)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend_below(figure: Figure, entries: Sequence[tuple[str, Artist]]) -> Legend | None:
    """Draw one legend below all panels, in as many columns as fit; the figure grows by its height.

    Args:
        figure: figure of `new_figure`.
        entries: texts and the artists they explain.

    Returns:
        The legend; None without entries.
    """
    if not entries:
        return None
    labels = [wrapped(label, _LONGEST) for label, _ in entries]
    look: dict[str, Any] = {
        "loc": "outside lower center",
        "frameon": False,
        "fontsize": _LEGEND_SIZE,
        "handlelength": 2.8,
    }
    for columns in range(min(len(entries), 6), 0, -1):
        legend = figure.legend([artist for _, artist in entries], labels, ncols=columns, **look)
        box = legend.get_window_extent()
        if box.width <= 0.98 * figure.bbox.width or columns == 1:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)
    return legend


def wrapped(text: str, width: int) -> str:
    """Break a text into lines of at most `width` characters: after blanks, commas, ``_``, ``=``, ``/`` or ``[``.

    Longer parts are broken anywhere.
    """
    lines = [""]
    for part in re.findall(r"[^\s,_=/\[]*[\s,_=/\[]?", text):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(line.strip() for line in lines if line.strip()) or text
