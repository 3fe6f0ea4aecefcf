"""The picture of a run: win rate or return while learning, and by team size beside untrained and scripted policies."""

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

# Okabe and Ito's palette, which the colour-blind can tell apart; the trained policy and the training teams are blue.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#999999", "#F0E442")
MARKERS = "osD^vP*X"
LEARNED = {"trained": PALETTE[0], "untrained": PALETTE[1]}
GREYS = ("#4D4D4D", "#7F7F7F", "#A6A6A6", "#C8C8C8")


@dataclass(frozen=True)
class Point:
    """One evaluation on the learning curve; `value` is the win rate, or the return where nothing is won."""

    frames: int
    evaluation: str
    value: Estimate
    measure: str = "win rate"


def read_curve(path: Path) -> list[Point]:
    """The points that the evaluation callback wrote to evaluations.csv; none if the file is not there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [_point(row) for row in csv.DictReader(file) if row["level"] == "all"]


def _point(row: Mapping[str, str]) -> Point:
    name = "win_rate" if "win_rate" in row else "return"
    value, low, high = (float(row[key]) for key in (name, f"{name}_low", f"{name}_high"))
    return Point(int(row["frames"]), row["evaluation"], Estimate(value, low, high), name.replace("_", " "))


def draw_results(path: Path, title: str, evaluations: Path, policies: Mapping[str, Sequence[Result]]) -> None:
    """`draw_run` with the curve read from a file; what the config key `picture` names.

    Args:
        path: of the picture.
        title: above it.
        evaluations: the evaluations.csv of the run.
        policies: name to results; the first is the trained one.
    """
    draw_run(path, title, read_curve(evaluations), policies)


def draw_run(path: Path, title: str, points: Sequence[Point], policies: Mapping[str, Sequence[Result]]) -> None:
    """The learning curve and the bars by team size, side by side, as a PNG.

    Args:
        path: of the picture.
        title: above both.
        points: of the curve, in any order; one line for each evaluation.
        policies: name to results; the first is the trained one. All have the same evaluations.
    """
    figure, (left, right) = _figure(1, 2, title)
    draw_curve(left, points)
    draw_bars(right, policies)
    _save(figure, path)


def draw_evaluation(path: Path, title: str, policies: Mapping[str, Sequence[Result]]) -> None:
    """The bars by team size alone, as a PNG; for `mipi eval`."""
    figure, (axes,) = _figure(1, 1, title)
    draw_bars(axes, policies)
    _save(figure, path)


def draw_curve(axes: Axes, points: Sequence[Point]) -> None:
    """What counts against environment steps, with the 95 % interval as a band."""
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
    """What counts by team size; the training teams are split into their sizes."""
    width = 0.8 / len(policies)
    labels: list[str] = []
    scripted = [name for name in policies if name not in LEARNED]
    colours = {**LEARNED, **{name: GREYS[place % len(GREYS)] for place, name in enumerate(scripted)}}
    for place, (name, results) in enumerate(policies.items()):
        bars = [bar for result in results for bar in _bars_of(result)]
        # The first policy shows every bar; another may have drawn fewer sizes by chance.
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
    # The object interface instead of pyplot: no global state, no window system.
    figure = Figure(figsize=(6.2 * columns, 4.6 * rows), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    return figure, [figure.add_subplot(rows, columns, place + 1) for place in range(rows * columns)]


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
