"""Figures of a run: learning curves, and a comparison with untrained and scripted policies by team size."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mipi_pl.evaluation.generalization import Result
from mipi_pl.evaluation.statistics import Estimate
from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.storage.files import replacing

# Okabe and Ito's colour-blind-safe palette. The trained policy and the training teams are blue.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#999999", "#F0E442")
MARKERS = "osD^vP*X"
LEARNED = {"trained": PALETTE[0], "untrained": PALETTE[1]}
GREYS = ("#4D4D4D", "#7F7F7F", "#A6A6A6", "#C8C8C8")


@dataclass(frozen=True)
class Point:
    """One evaluation on the learning curve.

    Attributes:
        frames: environment steps collected so far.
        evaluation: name of the evaluation.
        value: win rate, or the return in worlds without winning.
        measure: ``win rate`` or ``return``.
    """

    frames: int
    evaluation: str
    value: Estimate
    measure: str = "win rate"


def read_curve(path: Path) -> list[Point]:
    """Read the points that the evaluation callback wrote to evaluations.csv; empty if the file does not exist."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [_point(row) for row in csv.DictReader(file) if row["level"] == "all"]


def _point(row: Mapping[str, str]) -> Point:
    column = "win_rate" if "win_rate" in row else "return"
    value, low, high = (float(row[key]) for key in (column, f"{column}_low", f"{column}_high"))
    return Point(int(row["frames"]), row["evaluation"], Estimate(value, low, high), column.replace("_", " "))


def draw_results(path: Path, title: str, evaluations: Path, policies: Mapping[str, Sequence[Result]]) -> None:
    """Draw the learning curve from a file and the bars by team size; default of the config key `picture`.

    Args:
        path: PNG file to write.
        title: title of the figure.
        evaluations: evaluations.csv of the run.
        policies: results by policy, the trained policy first.
    """
    draw_run(path, title, read_curve(evaluations), policies)


def draw_run(path: Path, title: str, points: Sequence[Point], policies: Mapping[str, Sequence[Result]]) -> None:
    """Draw the learning curve and the bars by team size side by side.

    Args:
        path: PNG file to write.
        title: title of the figure.
        points: points of the curve, in any order; each evaluation gets a line.
        policies: results by policy, the trained policy first; all have the same evaluations.
    """
    figure, (left, right) = _figure(1, 2, title)
    draw_curve(left, points)
    draw_bars(right, policies)
    _save(figure, path)


def draw_evaluation(path: Path, title: str, policies: Mapping[str, Sequence[Result]]) -> None:
    """Draw only the bars by team size, to a PNG file; for `mipi eval`."""
    figure, (axes,) = _figure(1, 1, title)
    draw_bars(axes, policies)
    _save(figure, path)


def draw_curve(axes: Axes, points: Sequence[Point]) -> None:
    """Draw win rate or return against environment steps, a line per evaluation, with the 95 % interval as a band."""
    names = list(dict.fromkeys(point.evaluation for point in points))
    for place, name in enumerate(names):
        line = sorted((point for point in points if point.evaluation == name), key=lambda point: point.frames)
        x = [point.frames / 1000 for point in line]
        label = "training teams" if name == TRAINING else _teams(name)
        colour, marker = PALETTE[place % len(PALETTE)], MARKERS[place % len(MARKERS)]
        low, high = [p.value.low for p in line], [p.value.high for p in line]
        axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        width = 2.4 if name == TRAINING else 1.4
        values = [p.value.value for p in line]
        axes.plot(x, values, color=colour, marker=marker, markersize=4, linewidth=width, label=label)
    axes.set_xlabel("environment steps (thousands)")
    _value_axis(axes, points[0].measure if points else "win rate")
    axes.set_title("While learning", fontsize=11)
    if names:
        axes.legend(frameon=False, fontsize=9)


def draw_bars(axes: Axes, policies: Mapping[str, Sequence[Result]]) -> None:
    """Draw win rate or return by team size; the training teams are split into their sizes."""
    width = 0.8 / len(policies)
    labels: list[str] = []
    scripted = [name for name in policies if name not in LEARNED]
    colours = {**LEARNED, **{name: GREYS[place % len(GREYS)] for place, name in enumerate(scripted)}}
    for place, (name, results) in enumerate(policies.items()):
        bars = [bar for result in results for bar in _bars_of(result)]
        # The first policy defines the sizes; another may have played different ones by chance.
        labels = labels or [label for label, _ in bars]
        rates = {label: rate for label, rate in bars if label in labels}
        x = [labels.index(label) + (place - (len(policies) - 1) / 2) * width for label in rates]
        heights = [rate.value for rate in rates.values()]
        below = [rate.value - rate.low for rate in rates.values()]
        above = [rate.high - rate.value for rate in rates.values()]
        axes.bar(x, heights, width * 0.92, color=colours[name], label=name)
        axes.errorbar(x, heights, [below, above], fmt="none", ecolor="black", elinewidth=0.8, capsize=1.5)
    trained = sum(len(_bars_of(result)) for result in next(iter(policies.values())) if result.name == TRAINING)
    if 0 < trained < len(labels):
        axes.axvline(trained - 0.5, color="black", linewidth=0.8, linestyle=":")
        level = axes.get_xaxis_transform()
        for shift, side, text in ((-0.55, "right", "trained on"), (-0.45, "left", "never seen")):
            axes.text(trained + shift, 0.95, text, ha=side, va="center", fontsize=9, transform=level)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlabel("agents in the team")
    _value_axis(axes, next(iter(policies.values()))[0].total.measure)
    axes.set_title("By team size", fontsize=11)
    axes.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)


def _bars_of(result: Result) -> list[tuple[str, Estimate]]:
    if result.name == TRAINING or result.name.isdigit():
        return [(str(size), score.headline) for size, score in result.by_size.items()]
    return [(result.name, result.total.headline)]


def _teams(name: str) -> str:
    return f"teams of {name}" if name.isdigit() else name


def _value_axis(axes: Axes, measure: str) -> None:
    if measure == "win rate":
        axes.set_ylim(0, 1.15)
        axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    else:
        axes.margins(y=0.15)
    axes.set_ylabel(f"greedy {measure}, 95 % interval")
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _figure(rows: int, columns: int, title: str) -> tuple[Figure, list[Axes]]:
    # The object interface needs no global state and no window system, unlike pyplot.
    figure = Figure(figsize=(6.2 * columns, 4.6 * rows), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    return figure, [figure.add_subplot(rows, columns, place + 1) for place in range(rows * columns)]


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format=path.suffix.removeprefix("."))
