"""Figures of a report as SVG, with colour-blind-safe colours and a marker per algorithm."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from mipi_pl.evaluation.figures import GREYS, MARKERS, PALETTE
from mipi_pl.evaluation.seeds import Array
from mipi_pl.evaluation.statistics import Estimate
from mipi_pl.reporting.curves import Curve


def learning_curves(panels: Mapping[str, Mapping[str, Curve]], measure: str) -> str:
    """Draw learning curves: a panel per kind of teams, a line per algorithm with its 95 % interval.

    Args:
        panels: curves of the algorithms by label, for each title of a panel.
        measure: name of the score, for the axis.

    Returns:
        The SVG as text.
    """
    figure = Figure(figsize=(5.6 * len(panels), 4.2), layout="constrained")
    for place, (title, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), place + 1)
        for number, (label, curve) in enumerate(curves.items()):
            colour, marker = _style(number)
            x = curve.frames / 1000
            axes.fill_between(x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(x, curve.value, color=colour, marker=marker, markersize=4, label=label)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("environment steps (thousands)")
        _dress(axes, f"greedy {measure}, 95 % interval", measure == "win rate")
    return _svg(figure, "curves")


def by_team(
    names: Sequence[str],
    algorithms: Mapping[str, Sequence[Estimate]],
    references: Mapping[str, Sequence[float]],
    label: str,
    rate: bool,
) -> str:
    """Draw a point with its interval for each algorithm and team, and other policies as horizontal lines.

    Args:
        names: names of the teams.
        algorithms: an estimate per team, by algorithm.
        references: a value per team, by policy.
        label: label of the value axis.
        rate: whether the axis shows rates from 0 to 1.

    Returns:
        The SVG as text.
    """
    figure = Figure(figsize=(max(6.4, 1.7 * len(names)), 4.2), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, estimates) in enumerate(algorithms.items()):
        colour, marker = _style(number)
        x = np.arange(len(names)) + (number - (len(algorithms) - 1) / 2) * 0.7 / max(1, len(algorithms))
        value = np.array([estimate.value for estimate in estimates])
        ends = np.array([[e.value - e.low for e in estimates], [e.high - e.value for e in estimates]])
        axes.errorbar(x, value, np.maximum(ends, 0), fmt=marker, color=colour, capsize=3, markersize=6, label=name)
    for number, (name, values) in enumerate(references.items()):
        style = (0.0, (1.0 + number, 1.0))
        left, right = np.arange(len(names)) - 0.42, np.arange(len(names)) + 0.42
        axes.hlines(values, left, right, colors=GREYS[number % len(GREYS)], linestyles=style, label=name)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("agents in the team")
    axes.axhline(0, color="#888888", linewidth=0.6)
    _dress(axes, label, rate)
    return _svg(figure, label)


def heat_map(rows: Sequence[str], columns: Sequence[str], values: Array, rate: bool) -> str:
    """Draw a heat map with compositions as rows and algorithms as columns, and the value in each cell.

    Args:
        rows: names of R compositions.
        columns: names of C algorithms.
        values: [R, C], NaN for compositions that an algorithm did not play.
        rate: whether the values are rates from 0 to 1; otherwise the colours span the range of the values.

    Returns:
        The SVG as text.
    """
    figure = Figure(figsize=(2.6 + 1.1 * len(columns), 1.6 + 0.28 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    low, high = (0.0, 1.0) if rate else (float(np.nanmin(values)), float(np.nanmax(values)))
    image = axes.imshow(values, aspect="auto", cmap="cividis", vmin=low, vmax=high)
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        if not np.isnan(value):
            dark = (value - low) / (high - low or 1) < 0.5
            text = f"{value:.2f}" if rate else f"{value:.1f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_xticks(range(len(columns)), columns, fontsize=8, rotation=30, ha="left")
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, shrink=0.6)
    return _svg(figure, "compositions")


def _style(number: int) -> tuple[str, str]:
    return PALETTE[number % len(PALETTE)], MARKERS[(number + number // len(PALETTE)) % len(MARKERS)]


def _dress(axes: Axes, label: str, rate: bool) -> None:
    if rate:
        axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel(label)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    named = sorted(
        zip(*axes.get_legend_handles_labels(), strict=True), key=lambda entry: isinstance(entry[0], LineCollection)
    )
    if named:  # sorted with the reference lines last
        how = {"frameon": False, "fontsize": 8, "loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "ncols": 3}
        axes.legend(*zip(*named, strict=True), **how)


def _svg(figure: Figure, name: str) -> str:
    """Returns the SVG without date and with reproducible ids, so that equal runs give equal files."""
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
