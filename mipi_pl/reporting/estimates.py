"""Estimates over the seeds of an algorithm, or over their episodes where seeds have no spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mipi_pl.evaluation.seeds import UNBOUNDED, Array, Bounds, mean_over_seeds
from mipi_pl.evaluation.statistics import Estimate, weighted_sum
from mipi_pl.evaluation.tables import as_text

MARK = "\u2020"
"""Stands after an interval that covers only episodes, in tables."""


@dataclass(frozen=True)
class OverEpisodes(Estimate):
    """An estimate whose interval covers only the episodes that were played, not the choice of the seeds."""


def mean_estimate(scores: Sequence[Sequence[Estimate]], weights: Array, bounds: Bounds = UNBOUNDED) -> Estimate:
    """Mean over seeds of a weighted sum of evaluations.

    The interval is Student's t over seeds. With one seed, or if all seeds have the same sum, it is that of the
    episodes: for one seed and one evaluation, the interval that `mipi train` and `mipi eval` print.

    Args:
        scores: [S, K], estimates of S seeds in K evaluations, each with its interval over episodes.
        weights: [K], weight of each evaluation.
        bounds: bounds of the sum.
    """
    values = np.array([[score.value for score in row] for row in scores])
    found = mean_over_seeds(values @ weights, bounds)
    if not math.isnan(found.low):
        return found
    parts = [score for row in scores for score in row]
    over_episodes = weighted_sum(parts, np.tile(weights / len(scores), len(scores)).tolist())
    low, high = max(bounds[0], over_episodes.low), min(bounds[1], over_episodes.high)
    return OverEpisodes(found.value, low, high) if low < high else found


def marked_text(found: Estimate, places: int, signed: bool = False) -> str:
    """Format an estimate as `mipi_pl.evaluation.tables.as_text` does, with a mark if it covers only episodes."""
    mark = f" {MARK}" if isinstance(found, OverEpisodes) else ""
    return as_text(found, places, signed) + mark
