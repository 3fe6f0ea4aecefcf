"""Learning curves over seeds, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mipi_pl.evaluation.seeds import UNBOUNDED, Array, Bounds, interquartile_mean_over_seeds
from mipi_pl.evaluation.statistics import Estimate
from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.reporting.estimates import mean_estimate
from mipi_pl.reporting.groups import Group
from mipi_pl.reporting.runs import Run

Rows = list[list[Estimate]]
"""[S][K], scores of S seeds in K evaluations at one point."""


@dataclass(frozen=True)
class Curve:
    """A statistic over seeds and evaluations at P points, with its 95 % interval.

    Attributes:
        frames: [P], environment steps, ascending.
        value: [P], value of the statistic.
        low: [P], lower end of the interval; NaN where there is no interval.
        high: [P], upper end of the interval; NaN where there is no interval.
    """

    frames: Array
    value: Array
    low: Array
    high: Array


def played_while_learning(runs: Sequence[Run], evaluations: Sequence[str]) -> tuple[str, ...]:
    """Return the evaluations that every run with readable evaluations has a curve of; all if there is none.

    A curve has more than half of the points of the longest, because some rows may be unreadable.
    """

    def has_curves(run: Run) -> set[str]:
        lengths = {name: len(run.points(name)) for name in (TRAINING, *evaluations)}
        return {name for name, length in lengths.items() if 2 * length > max(lengths.values())}

    of_runs = [has_curves(run) for run in runs if run.curve]
    return tuple(name for name in evaluations if all(name in found for found in of_runs)) or tuple(evaluations)


def mean_curve(group: Group, evaluations: Sequence[str], bounds: Bounds = UNBOUNDED) -> Curve | None:
    """Return the curve of the mean over seeds and evaluations; see `_curve`."""
    weights = np.full(len(evaluations), 1 / max(1, len(evaluations)))
    return _curve(group, evaluations, lambda scores: mean_estimate(scores, weights, bounds))


def interquartile_curve(group: Group, evaluations: Sequence[str], bounds: Bounds = UNBOUNDED) -> Curve | None:
    """Return the curve of the interquartile mean over seeds and evaluations; see `_curve`."""

    def statistic(scores: Rows) -> Estimate:
        values = np.array([[score.value for score in row] for row in scores])
        return interquartile_mean_over_seeds(values, bounds)

    return _curve(group, evaluations, statistic)


def _curve(group: Group, evaluations: Sequence[str], statistic: Callable[[Rows], Estimate]) -> Curve | None:
    """Return the curve of a statistic; None if a run has no point of one of the evaluations.

    Seeds are evaluated at the same time up to a batch of steps, but not at exactly the same frame. All curves are
    therefore interpolated linearly at the frames of the curve with the fewest points. The final evaluation is no point
    of the curve.

    Args:
        group: seeds of one algorithm.
        evaluations: names of the evaluations.
        statistic: value and interval of the scores at one point.
    """
    lines = [[_line(run, name) for name in evaluations] for run in group.runs]
    if not evaluations or any(not line.size for of_run in lines for line in of_run):
        return None
    grid = min((line[0] for of_run in lines for line in of_run), key=len)
    found = []
    for at in grid:
        scores = [
            [Estimate(*(float(np.interp(at, line[0], part)) for part in line[1:])) for line in of_run]
            for of_run in lines
        ]
        found.append(statistic(scores))
    value, low, high = np.array([(one.value, one.low, one.high) for one in found]).T
    return Curve(grid, value, low, high)


def _line(run: Run, evaluation: str) -> Array:
    """Frames, value, low and high of P points, [4, P]."""
    scores = [(point.frames, point.tally.score) for point in run.points(evaluation)]
    rows = [(frames, score.value, score.low, score.high) for frames, score in scores]
    return np.array(rows, dtype=np.float64).T
