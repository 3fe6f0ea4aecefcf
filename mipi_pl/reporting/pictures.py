"""Figures of a report as SVG, with a colour and a marker per algorithm and a tooltip at each point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mipi_pl.evaluation.figures import draw_final, final_entry
from mipi_pl.evaluation.seeds import Array
from mipi_pl.evaluation.statistics import Estimate
from mipi_pl.evaluation.style import dress, legend_below, line_style, new_figure, reference_style, styled, wrapped
from mipi_pl.reporting.curves import Curve
from mipi_pl.reporting.estimates import marked_text
from mipi_pl.reporting.svg import Marks

FEW_IN_CELL = 10
"""Cells of a heat map with fewer episodes are in parentheses."""
_WIDTH, _HEIGHT = 5.1, 4.0  # of a panel, in inches


@dataclass(frozen=True)
class Panel:
    """What is drawn in one panel of learning curves.

    Attributes:
        title: title of the panel.
        curves: curve of each algorithm by label; None if it cannot be drawn.
        finals: final evaluation by algorithm.
        references: mean score of other policies.
    """

    title: str
    curves: Mapping[str, Curve | None]
    finals: Mapping[str, Estimate] = field(default_factory=dict)
    references: Mapping[str, float] = field(default_factory=dict)


@styled
def learning_curves(panels: Sequence[Panel], measure: str) -> str:
    """Draw learning curves: a panel per kind of teams, a line per algorithm with its 95 % interval.

    Args:
        panels: at least one panel; all have the same algorithms and other policies.
        measure: name of the score, for the axis.

    Returns:
        The SVG as text.
    """
    figure, marks = new_figure(_WIDTH * len(panels), _HEIGHT), Marks()
    for place, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1)
        _draw_curves(axes, panel, marks, measure == "win rate")
        axes.set_title(panel.title)
        axes.set_xlabel("environment steps (thousands)")
        dress(axes, f"greedy {measure}, 95 % interval", measure == "win rate")
    _legend(figure, marks, list(panels[0].curves), list(panels[0].references), is_final=True)
    return marks.svg(figure, "curves")


@styled
def interquartile(
    curves: Mapping[str, Curve | None], profiles: Mapping[str, tuple[Array, Sequence[Estimate]]], measure: str
) -> str:
    """Draw interquartile means while learning, and performance profiles of the final evaluation, side by side.

    Args:
        curves: curve of each algorithm by label; None if it cannot be drawn.
        profiles: thresholds [T] and T shares, by label.
        measure: name of the score, for the axes.

    Returns:
        The SVG as text.
    """
    is_rate = measure == "win rate"
    figure, marks = new_figure(2 * _WIDTH, _HEIGHT), Marks()
    left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    _draw_curves(left, Panel("", curves), marks, is_rate)
    left.set_title("interquartile mean, held-out teams")
    left.set_xlabel("environment steps (thousands)")
    dress(left, f"greedy {measure}, 95 % interval", is_rate)
    for number, (label, (thresholds, shares)) in enumerate(profiles.items()):
        colour, marker = line_style(number)
        low, high = [share.low for share in shares], [share.high for share in shares]
        band = right.fill_between(thresholds, low, high, color=colour, alpha=_faint(profiles), linewidth=0)
        marks.add(band, label)
        every = max(1, len(thresholds) // 10)
        values = [share.value for share in shares]
        (line,) = right.plot(thresholds, values, color=colour, marker=marker, markersize=4, markevery=every)
        texts = [
            f"{measure} above {at:.2f}: {marked_text(share, 2)}" for at, share in zip(thresholds, shares, strict=True)
        ]
        marks.add(line, label, texts[::every])
    right.set_title("performance profile, held-out teams")
    right.set_xlabel(f"{measure} x")
    dress(right, f"share with a {measure} above x", True)
    _legend(figure, marks, list(curves), [])
    return marks.svg(figure, "interquartile")


@styled
def by_team(
    names: Sequence[str],
    algorithms: Mapping[str, Sequence[Estimate]],
    references: Mapping[str, Sequence[float]],
    label: str,
    is_rate: bool,
    signed: bool = False,
) -> str:
    """Draw a point with its interval for each algorithm and team, and other policies as horizontal lines.

    Args:
        names: names of the teams.
        algorithms: an estimate per team, by algorithm.
        references: a value per team, by policy.
        label: label of the value axis.
        is_rate: whether the values are rates from 0 to 1.
        signed: whether the values are differences, which have a sign.

    Returns:
        The SVG as text.
    """
    places = 2 if is_rate or signed else 1
    width = min(2.2 * _WIDTH, max(6.4, (0.5 + 0.16 * len(algorithms)) * len(names)))
    figure, marks = new_figure(width, _HEIGHT), Marks()
    axes = figure.add_subplot()
    for number, (name, estimates) in enumerate(algorithms.items()):
        colour, marker = line_style(number)
        x = np.arange(len(names)) + (number - (len(algorithms) - 1) / 2) * 0.76 / max(1, len(algorithms))
        ends = np.array([[e.value - e.low for e in estimates], [e.high - e.value for e in estimates]])
        drawn = axes.errorbar(
            x, [e.value for e in estimates], np.maximum(ends, 0), fmt=marker, color=colour, capsize=2.5, markersize=6
        )
        points, caps, bars = drawn.lines
        texts = [f"teams of {team}: {marked_text(e, places, signed)}" for team, e in zip(names, estimates, strict=True)]
        marks.add(points, name, texts)
        for artist in (*caps, *bars):
            marks.add(artist, name)
    for number, values in enumerate(references.values()):
        left, right = np.arange(len(names)) - 0.42, np.arange(len(names)) + 0.42
        axes.hlines(values, left, right, **reference_style(number))
    axes.set_xticks(range(len(names)), [wrapped(name, 14) for name in names])
    axes.set_xlabel("agents in the team")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.axhline(0, color="#888888", linewidth=0.8)
    dress(axes, label, is_rate)
    _legend(figure, marks, list(algorithms), list(references), is_line=False)
    return marks.svg(figure, label)


def change(names: Sequence[str], algorithms: Mapping[str, Sequence[Estimate]], label: str) -> str:
    """Draw differences like `by_team`; the parts of the panel above and below 0 say which sign is better.

    Args:
        names: names of the teams.
        algorithms: a difference per team, by algorithm; positive is better.
        label: label of the value axis.

    Returns:
        The SVG as text.
    """
    return by_team(names, algorithms, {}, f"{label}\n\u2190 worse   better \u2192", False, signed=True)


@styled
def heat_map(rows: Sequence[str], columns: Sequence[str], values: Array, episodes: Array, is_rate: bool) -> str:
    """Draw a heat map with compositions as rows and algorithms as columns, and the value in each cell.

    Args:
        rows: names of R compositions.
        columns: names of C algorithms.
        values: [R, C], NaN for compositions that an algorithm did not play.
        episodes: [R, C], number of episodes.
        is_rate: whether the values are rates from 0 to 1; otherwise the colours span the range of the values.

    Returns:
        The SVG as text.
    """
    named = 0.07 * max(map(len, rows))
    figure, marks = new_figure(1.4 + named + 1.1 * len(columns), 1.9 + 0.28 * len(rows)), Marks()
    axes = figure.add_subplot()
    low, high = (0.0, 1.0) if is_rate else (float(np.nanmin(values)), float(np.nanmax(values)))
    image = axes.imshow(values, aspect="auto", cmap="cividis", vmin=low, vmax=high)
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        if not np.isnan(value):
            is_dark = (value - low) / (high - low or 1) < 0.5
            text = f"{value:.2f}" if is_rate else f"{value:.1f}"
            text = f"({text})" if episodes[row, column] < FEW_IN_CELL else text
            colour = "#fefefe" if is_dark else "#010101"  # not the colours that dark mode replaces
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_xticks(range(len(columns)), [wrapped(column, 15) for column in columns], fontsize=8)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, shrink=0.6, label=None)
    return marks.svg(figure, "compositions")


def _draw_curves(axes: Axes, panel: Panel, marks: Marks, is_rate: bool) -> None:
    curves = {label: curve for label, curve in panel.curves.items() if curve is not None}
    last = max((curve.frames[-1] for curve in curves.values()), default=0.0) / 1000
    places = 2 if is_rate else 1
    for number, label in enumerate(panel.curves):
        colour, marker = line_style(number)
        if curve := curves.get(label):
            x = curve.frames / 1000
            band = axes.fill_between(x, curve.low, curve.high, color=colour, alpha=_faint(curves), linewidth=0)
            (line,) = axes.plot(x, curve.value, color=colour, marker=marker, markersize=4)
            marks.add(band, label)
            points = zip(curve.frames, curve.value, curve.low, curve.high, strict=True)
            marks.add(
                line, label, [f"{at:,.0f} steps: {marked_text(Estimate(*found), places)}" for at, *found in points]
            )
        if label in panel.finals:
            at = last * (1.04 + 0.1 * number / len(panel.curves))
            drawn = draw_final(axes, [at], [panel.finals[label]], colour)
            marks.add(drawn[0], label, [f"final evaluation: {marked_text(panel.finals[label], places)}"])
            for artist in drawn[1:]:
                marks.add(artist, label)
    for number, value in enumerate(panel.references.values()):
        axes.axhline(value, **reference_style(number))


def _faint(lines: Sized) -> float:
    """Opacity of a band: less of it for more lines, so that they can be seen through each other's bands."""
    return min(0.15, 0.6 / max(1, len(lines)))


def _legend(
    figure: Figure,
    marks: Marks,
    labels: Sequence[str],
    references: Sequence[str],
    is_final: bool = False,
    is_line: bool = True,
) -> None:
    """Draw the legend of algorithms, the final evaluation and other policies."""
    entries: list[tuple[str, Artist]] = []
    for number, label in enumerate(labels):
        colour, marker = line_style(number)
        style: Literal["-", "none"] = "-" if is_line else "none"
        entries.append((label, Line2D([], [], color=colour, marker=marker, markersize=5, linestyle=style)))
    entries += [final_entry()] if is_final else []
    entries += [(name, Line2D([], [], **reference_style(number))) for number, name in enumerate(references)]
    if legend := legend_below(figure, entries):
        for label, handle, text in zip(labels, legend.legend_handles, legend.get_texts(), strict=False):
            for artist in filter(None, (handle, text)):
                marks.add(artist, label)
