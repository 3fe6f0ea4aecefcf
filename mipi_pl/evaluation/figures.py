"""Figures of a run: learning curves, and the final evaluation by team size against policies that did not learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mipi_pl.evaluation.curve import Point, read_curve, while_learning
from mipi_pl.evaluation.generalization import Result
from mipi_pl.evaluation.statistics import Estimate
from mipi_pl.evaluation.style import (
    FINAL,
    INK,
    PAPER,
    dress,
    legend_below,
    line_style,
    new_figure,
    reference_style,
    styled,
    wrapped,
)
from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.storage.files import replacing

Entries = list[tuple[str, Artist]]


def draw_results(path: Path, title: str, evaluations: Path, policies: Mapping[str, Sequence[Result]]) -> None:
    """Draw the learning curve from a file and the results by team size; default of the config key `picture`.

    Args:
        path: PNG file to write.
        title: title of the figure.
        evaluations: evaluations.csv of the run.
        policies: results by policy, the trained policy first.
    """
    draw_run(path, title, read_curve(evaluations), policies)


@styled
def draw_run(path: Path, title: str, points: Sequence[Point], policies: Mapping[str, Sequence[Result]]) -> None:
    """Draw the learning curve and the results by team size side by side.

    Args:
        path: PNG file to write.
        title: title of the figure.
        points: points of the curve, in any order; each evaluation gets a line.
        policies: results by policy, the trained policy first; all have the same evaluations.
    """
    figure = _figure(12.4, title)
    left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    entries = draw_curve(left, points, next(iter(policies.values())))
    entries += draw_teams(right, policies)
    legend_below(figure, entries)
    _save(figure, path)


@styled
def draw_evaluation(path: Path, title: str, policies: Mapping[str, Sequence[Result]]) -> None:
    """Draw only the results by team size, to a PNG file; for `mipi eval`."""
    figure = _figure(6.2, title)
    legend_below(figure, draw_teams(figure.add_subplot(), policies))
    _save(figure, path)


def draw_curve(axes: Axes, points: Sequence[Point], final: Sequence[Result]) -> Entries:
    """Draw win rate or return against environment steps, a line per evaluation, with the 95 % interval as a band.

    The final evaluation, which has more episodes than the points of the curve, is a diamond with its interval to the
    right of the last point.

    Returns:
        Entries for the legend.
    """
    ends = {result.name: result.total.headline for result in final}
    names = list(dict.fromkeys(point.evaluation for point in points))
    last = max((point.frames for point in points), default=0) / 1000
    entries: Entries = []
    for place, name in enumerate(names):
        line = while_learning(points, name, ends.get(name))
        x = [point.frames / 1000 for point in line]
        colour, marker = line_style(_colour_of(name, names))
        axes.fill_between(
            x, [p.value.low for p in line], [p.value.high for p in line], color=colour, alpha=0.12, linewidth=0
        )
        values, width = [p.value.value for p in line], 2.4 if name == TRAINING else 1.4
        entries += [
            (_teams(name), artist)
            for artist in axes.plot(x, values, color=colour, marker=marker, markersize=4, linewidth=width)
        ]
        if name in ends:
            draw_final(axes, [last * (1.03 + 0.06 * place / len(names))], [ends[name]], colour)
    axes.set_xlabel("environment steps (thousands)")
    _value_axis(axes, points[0].measure if points else "win rate")
    axes.set_title("While learning")
    return entries


def draw_final(axes: Axes, x: Sequence[float], estimates: Sequence[Estimate], colour: str) -> list[Artist]:
    """Draw final evaluations as hollow diamonds with their intervals; no interval where its ends are NaN.

    Returns:
        The diamonds, then the parts of the intervals.
    """
    values = [estimate.value for estimate in estimates]
    ends = [[max(e.value - e.low, 0.0) for e in estimates], [max(e.high - e.value, 0.0) for e in estimates]]
    drawn = axes.errorbar(
        x, values, ends, fmt=FINAL, color=colour, markerfacecolor=PAPER, markersize=6, markeredgewidth=1.5, capsize=2.5,
        elinewidth=1.1, zorder=4,
    )  # fmt: skip
    points, caps, bars = drawn.lines
    return [points, *caps, *bars]


def final_entry(text: str = "final evaluation") -> tuple[str, Artist]:
    """Return the legend's entry for the diamonds."""
    return text, Line2D([], [], color=INK, marker=FINAL, markerfacecolor=PAPER, markeredgewidth=1.5, linestyle="none")


def draw_teams(axes: Axes, policies: Mapping[str, Sequence[Result]]) -> Entries:
    """Draw the trained policy by team size as points with intervals, and the other policies as horizontal lines.

    The training teams are split into their sizes.

    Args:
        axes: panel to draw in.
        policies: results by policy, the trained policy first; it defines the team sizes.

    Returns:
        Entries for the legend.
    """
    (first, trained), *others = policies.items()
    names, columns = [result.name for result in trained], list[tuple[str, str]]()
    for result in trained:
        bars = _sizes_of(result)
        x = [float(len(columns) + place) for place in range(len(bars))]
        draw_final(axes, x, [bar for _, bar in bars], line_style(_colour_of(result.name, names))[0])
        columns += [(result.name, label) for label, _ in bars]
    entries = [final_entry(f"final evaluation, {first}")]
    for number, (name, results) in enumerate(others):
        # Another policy may have played other sizes by chance.
        found = {(result.name, label): estimate for result in results for label, estimate in _sizes_of(result)}
        at = [place for place, column in enumerate(columns) if column in found]
        heights, look = [found[columns[place]].value for place in at], reference_style(number)
        axes.hlines(heights, [x - 0.42 for x in at], [x + 0.42 for x in at], **look)
        entries.append((name, Line2D([], [], **look)))
    _divide(axes, columns)
    axes.set_xticks(range(len(columns)), [wrapped(label, 14) for _, label in columns])
    axes.set_xlim(-0.6, len(columns) - 0.4)
    axes.set_xlabel("agents in the team")
    _value_axis(axes, trained[0].total.measure)
    axes.set_title("By team size", pad=22)
    return entries


def _divide(axes: Axes, columns: Sequence[tuple[str, str]]) -> None:
    """Draw a line between the training teams and the others, which `mipi eval` can choose among those trained on."""
    seen = {label for name, label in columns if name == TRAINING}
    if not 0 < len(seen) < len(columns):
        return
    are_new = not any(label in seen for name, label in columns if name != TRAINING)
    axes.axvline(len(seen) - 0.5, color=INK, linewidth=0.8, linestyle=":")
    for shift, side, text in ((-0.55, "right", "trained on"), (-0.45, "left", "never seen" if are_new else "others")):
        axes.text(len(seen) + shift, 1.02, text, ha=side, va="bottom", fontsize=9, transform=axes.get_xaxis_transform())


def _colour_of(name: str, names: Sequence[str]) -> int:
    """Number of an evaluation's colour: the training teams have the first one, also where they are not played."""
    return 0 if name == TRAINING else 1 + [other for other in names if other != TRAINING].index(name)


def _sizes_of(result: Result) -> list[tuple[str, Estimate]]:
    if result.name == TRAINING or result.name.isdigit():
        return [(str(size), score.headline) for size, score in result.by_size.items()]
    return [(result.name, result.total.headline)]


def _teams(name: str) -> str:
    return "training teams" if name == TRAINING else f"teams of {name}" if name.isdigit() else name


def _value_axis(axes: Axes, measure: str) -> None:
    dress(axes, f"greedy {measure}, 95 % interval", measure == "win rate")


def _figure(width: float, title: str) -> Figure:
    figure = new_figure(width, 4.6, dpi=130)
    figure.suptitle(wrapped(title, int(10 * width)), fontsize=12)
    return figure


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format=path.suffix.removeprefix("."))
