"""Mean learning curves over seeds, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mipi_pl.evaluation.seeds import UNBOUNDED, Array, Bounds, mean_over_seeds
from mipi_pl.reporting.groups import Group
from mipi_pl.reporting.runs import Run


@dataclass(frozen=True)
class Curve:
    """Mean over seeds and evaluations at P points, with its 95 % interval.

    Attributes:
        frames: [P], environment steps, ascending.
        value: [P], mean score.
        low: [P], lower end of the interval; NaN where there is no interval.
        high: [P], upper end of the interval; NaN where there is no interval.
    """

    frames: Array
    value: Array
    low: Array
    high: Array


def curve_of(group: Group, evaluations: Sequence[str], bounds: Bounds = UNBOUNDED) -> Curve | None:
    """Return the mean curve of some evaluations; None if a run has no point of one of them.

    Seeds are evaluated at the same time up to a batch of steps, but not at exactly the same frame. All curves are
    therefore interpolated linearly at the frames of the curve with the fewest points.

    Args:
        group: seeds of one algorithm.
        evaluations: names of the evaluations to average.
        bounds: bounds of a score.
    """
    lines = [[_line(run, name) for name in evaluations] for run in group.runs]
    if not evaluations or any(not len(frames) for line in lines for frames, _ in line):
        return None
    grid = min((frames for line in lines for frames, _ in line), key=len)
    of_seeds = np.array([[np.interp(grid, frames, scores) for frames, scores in line] for line in lines]).mean(1)
    means = [mean_over_seeds(scores, bounds) for scores in of_seeds.T]
    value, low, high = np.array([(mean.value, mean.low, mean.high) for mean in means]).T
    return Curve(grid, value, low, high)


def _line(run: Run, evaluation: str) -> tuple[Array, Array]:
    """Frames and scores of one evaluation, both [P]; of several points at the same frame, the last one is used."""
    points = {point.frames: point.tally.score.value for point in run.curve if point.evaluation == evaluation}
    return np.array(list(points), dtype=np.float64), np.array(list(points.values()))
