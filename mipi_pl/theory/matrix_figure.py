"""Figure 2(d) of the paper for one run: learned returns in the matrix game compared with the exact solutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mipi_pl.evaluation.curve import read_curve, while_learning
from mipi_pl.evaluation.figures import Entries, draw_final, final_entry
from mipi_pl.evaluation.generalization import Result
from mipi_pl.evaluation.style import INK, PALETTE, dress, legend_below, new_figure, styled
from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.storage.files import replacing
from mipi_pl.theory.matrix_game import Payoffs, exact_payoffs

STYLES: dict[str, tuple[str, str, Literal["-", "--", ":"]]] = {
    "mutual_information": ("mutual information", PALETTE[0], "-"),
    "entropy": ("entropy", PALETTE[1], "--"),
    "none": ("reward only", PALETTE[4], ":"),
}
"""Label, colour and line style of each regularizer."""


@styled
def draw_matrix_game(
    path: Path,
    title: str,
    evaluations: Path,
    policies: Mapping[str, Sequence[Result]],
    payoffs: Payoffs,
    trained: Sequence[str],
    alpha: float,
) -> None:
    """Draw a panel for each evaluation: the return of the greedy policy during training, with its 95 % interval.

    Horizontal lines show the returns of the exact solutions, played greedily; on the training teams, their mean.

    Args:
        path: path of the picture, a PNG.
        title: title above all panels.
        evaluations: path of the run's ``evaluations.csv``.
        policies: results by policy name; the first entry names the evaluations. A panel has lines only if its
            evaluation is named after a team.
        payoffs: payoff matrices of all teams.
        trained: names of the training teams.
        alpha: temperature of the exact solutions.
    """
    final = {result.name: result.total.return_ for result in next(iter(policies.values()))}
    figure = new_figure(6.2 * len(final), 4.6, dpi=130)
    figure.suptitle(title, fontsize=12)
    exact = exact_payoffs(payoffs, trained, alpha)
    points = read_curve(evaluations, "return")
    for place, (name, end) in enumerate(final.items()):
        axes = figure.add_subplot(1, len(final), place + 1)
        line = while_learning(points, name, end)
        x, learned = [point.frames / 1000 for point in line], [point.value for point in line]
        axes.plot(x, [mean.value for mean in learned], color=INK, marker="o", markersize=4, linewidth=2.0)
        low, high = [mean.low for mean in learned], [mean.high for mean in learned]
        axes.fill_between(x, low, high, color=INK, alpha=0.12, linewidth=0)
        draw_exact(axes, exact, trained if name == TRAINING else [name])
        draw_final(axes, [1.03 * max(x, default=0)], [end], INK)
        label_axes(axes, f"training teams {', '.join(trained)}" if name == TRAINING else f"team {name}, never seen")
    curve = ("learned, 95 % interval over episodes", Line2D([], [], color=INK, marker="o", markersize=4))
    legend_below(figure, [curve, final_entry(), *exact_entries()])
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format=path.suffix.removeprefix("."))


def draw_exact(axes: Axes, exact: Mapping[str, Mapping[str, float]], teams: Sequence[str]) -> None:
    """Draw a horizontal line for each regularizer at its mean payoff in these teams, if all of them are known.

    The payoff is written at the right end of the line.
    """
    for regularizer, payoffs in exact.items():
        if all(team in payoffs for team in teams):
            _, colour, line = STYLES[regularizer]
            level = sum(payoffs[team] for team in teams) / len(teams)
            axes.axhline(level, color=colour, linestyle=line, linewidth=1.4)
            at = (1.01, level)
            axes.annotate(f"{level:.2f}", at, xycoords=("axes fraction", "data"), va="center", fontsize=9)


def exact_entries() -> Entries:
    """Return the legend's entries for the lines of `draw_exact`."""
    return [
        (f"exact, {label}", Line2D([], [], color=colour, linestyle=line, linewidth=1.4))
        for label, colour, line in STYLES.values()
    ]


def label_axes(axes: Axes, title: str) -> None:
    """Set title, axis labels and grid of a panel."""
    axes.set_title(title)
    axes.set_xlabel("environment steps (thousands)")
    dress(axes, "return of the greedy policy", False)
    axes.set_ylim(-0.1, 2.25)
