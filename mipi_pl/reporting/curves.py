"""Learning curves of several seeds as one, with 95 % bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mipi_pl.evaluation.bootstrap import Array, Scores
from mipi_pl.reporting.groups import Group
from mipi_pl.reporting.runs import Run


@dataclass(frozen=True)
class Curve:
    """Mean over seeds and evaluations with its interval; all [P], by frames."""

    frames: Array
    value: Array
    low: Array
    high: Array


def curve_of(group: Group, evaluations: Sequence[str]) -> Curve | None:
    """The mean of some evaluations while learning; None where a run has no point of one of them.

    Seeds are evaluated within a batch of steps of the same moment, but not at the same frame: they are read off,
    linearly between two evaluations, where the seed with the fewest evaluations has them.
    """
    lines = [[_line(run, name) for name in evaluations] for run in group.runs]
    if not evaluations or any(not len(frames) for line in lines for frames, *_ in line):
        return None
    grid = min((frames for line in lines for frames, *_ in line), key=len)
    # [P, S, K]
    value, spread, episodes = (
        np.array([[np.interp(grid, one[0], one[part]) for one in line] for line in lines]).transpose(2, 0, 1)
        for part in (1, 2, 3)
    )
    ends = []
    for at in range(len(grid)):
        scores = Scores(
            np.clip(value[at], 0, 1) if np.isnan(spread).all() else value[at], spread[at], episodes[at].astype(np.int64)
        )
        drawn = scores.draws(np.random.default_rng(at), 500).mean((-2, -1))
        ends.append(np.percentile(drawn, [2.5, 97.5]))
    low, high = np.array(ends).T
    return Curve(grid, value.mean((1, 2)), low, high)


def _line(run: Run, evaluation: str) -> tuple[Array, Array, Array, Array]:
    """Frames, score, spread and episodes of one evaluation, each [P]; the last of several at one moment counts."""
    points = {point.frames: point.tally for point in run.curve if point.evaluation == evaluation}
    tallies = list(points.values())
    return (
        np.array(list(points), dtype=np.float64),
        np.array([tally.score.value for tally in tallies]),
        np.array([tally.spread for tally in tallies]),
        np.array([float(tally.episodes) for tally in tallies]),
    )
