"""Statistics over training seeds with 95 % intervals.

The intervals are for the population of seeds: they estimate the statistic's value for very many trained seeds, in the
episodes that were played. All runs of one ``held_out.seed`` play the same episodes. What makes these episodes easier or
harder than others for all runs is in no difference between seeds, so no interval here contains it; for a win rate p in
n episodes its standard deviation is at most sqrt(p (1 - p) / n). The other noise of the episodes is in the differences
between seeds, so only seeds are resampled; resampling episodes as well would count it twice. A seed is resampled with
all its evaluations, because one run plays in every team and its scores are not independent.

Agarwal et al. ("Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021) use percentiles of
the bootstrap. These intervals are too narrow with few seeds: with three seeds, they contain the true value in 75 of 100
cases. The intervals here contain it in about 95 of 100 for 3, 5 and 10 seeds (tests/evaluation/test_coverage.py):

* mean: Student's t over seeds,
* performance profile: Student's t over seeds at each threshold, as for any mean,
* interquartile mean: standard error of the bootstrap, corrected for the number of seeds, times Student's quantile,
* probability of improvement: Newcombe's score interval for the Mann-Whitney statistic; over several tasks, the
  square-and-add method.

With one seed, no interval is given. A mean also has no interval if all seeds have the same score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from mipi_pl.evaluation.statistics import Estimate, t_quantile, weighted_sum

Array = NDArray[np.float64]
Bounds = tuple[float, float]
"""Smallest and largest possible value of a statistic; intervals are clipped to them."""

UNBOUNDED: Bounds = (-math.inf, math.inf)
DRAWS = 2000


def mean_over_seeds(scores: Array, bounds: Bounds = UNBOUNDED) -> Estimate:
    """Mean with Student's t interval.

    Args:
        scores: [S], score of each seed.
        bounds: bounds of a score.
    """
    n = len(scores)
    error = float(scores.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    return _within(float(scores.mean()), error, n, bounds)


def interquartile_mean_over_seeds(scores: Array, bounds: Bounds = UNBOUNDED, seed: int = 0) -> Estimate:
    """Interquartile mean over seeds and evaluations.

    As for a mean, the standard deviation of the bootstrap is sqrt((S - 1) / S) times the standard error. It is
    corrected for this factor and multiplied by Student's quantile. For a mean, the same computation would give the
    interval of `mean_over_seeds`.

    Args:
        scores: [S, K], scores of S seeds in K evaluations.
        bounds: bounds of a score.
        seed: random seed of the bootstrap.
    """
    n = len(scores)
    drawn = interquartile_mean(scores[np.random.default_rng(seed).integers(n, size=(DRAWS, n))])
    error = float(drawn.std()) * math.sqrt(n / (n - 1)) if n > 1 else 0.0
    return _within(float(interquartile_mean(scores)), error, n, bounds)


def interquartile_mean(scores: Array) -> Array:
    """Mean of the middle half of all S x K scores; a quarter of them, rounded down, is removed at each end.

    Args:
        scores: [..., S, K], scores of S seeds in K evaluations.

    Returns:
        [...], interquartile means.
    """
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return np.asarray(flat[..., cut : flat.shape[-1] - cut].mean(-1))


def performance_profile(scores: Array, thresholds: Array) -> list[Estimate]:
    """Share of seeds and evaluations with a score above each threshold (Agarwal et al., equation 2).

    The share of one seed is a number from 0 to 1, and the profile is its mean over seeds; hence Student's interval.

    Args:
        scores: [S, K], scores of S seeds in K evaluations.
        thresholds: [T].

    Returns:
        T estimates.
    """
    of_seeds = (scores[:, :, None] > thresholds).mean(1)
    return [mean_over_seeds(shares, (0.0, 1.0)) for shares in of_seeds.T]


def probability_of_improvement(ours: Array, theirs: Array) -> Estimate:
    """Probability that a seed of ours scores higher than a seed of theirs, mean over evaluations.

    The interval is method 5 of Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney
    statistic, part 2", Statistics in Medicine 25 (2006), with Student's quantile for S + R - 2 degrees of freedom
    instead of the normal one. It uses the variance of a single evaluation, an upper bound for the mean over several.
    If every seed of one side beats every seed of the other, the interval is wide, while the bootstrap's has width zero.

    Args:
        ours: [S, K], scores of S seeds in K evaluations.
        theirs: [R, K], scores of R seeds in the same evaluations.
    """
    value = share_of_better(ours, theirs)
    s, r = len(ours), len(theirs)
    if min(s, r) < 2:
        return Estimate(value, math.nan, math.nan)
    return Estimate(value, _least_probability(value, s, r), 1 - _least_probability(1 - value, s, r))


def mean_probability_of_improvement(tasks: Sequence[tuple[Array, Array]]) -> Estimate:
    """Probability that a seed of ours scores higher than a seed of theirs, mean over tasks.

    The tasks have their own seeds, so their estimates are independent, and the distances to the ends of their intervals
    are added in squares (`mipi_pl.evaluation.statistics.weighted_sum`).

    Args:
        tasks: [S, K] and [R, K] for each of at least one task, as for `probability_of_improvement`; the sizes may
            differ.

    Returns:
        The mean; without an interval if a task has a single seed on one side.

    Raises:
        ValueError: if there is no task.
    """
    if not tasks:
        raise ValueError("expected at least one task, got none")
    found = [probability_of_improvement(ours, theirs) for ours, theirs in tasks]
    if any(math.isnan(estimate.low) for estimate in found):
        return Estimate(float(np.mean([estimate.value for estimate in found])), math.nan, math.nan)
    mean = weighted_sum(found, [1 / len(found)] * len(found))
    return Estimate(mean.value, max(0.0, mean.low), min(1.0, mean.high))


def share_of_better(ours: Array, theirs: Array) -> float:
    """Share of pairs of seeds in which ours scores higher, mean over evaluations; ties count half.

    Args:
        ours: [S, K], scores of S seeds in K evaluations.
        theirs: [R, K], scores of R seeds in the same evaluations.
    """
    difference = ours[:, None] - theirs[None]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def _least_probability(value: float, s: int, r: int) -> float:
    """Lower end of the interval: the smallest probability whose distance to `value` is at most t standard errors."""
    quantile, others = t_quantile(s + r - 2), (s + r) / 2 - 1

    def too_far(p: float) -> float:
        variance = p * (1 - p) / (s * r) * (1 + others * ((1 - p) / (2 - p) + p / (1 + p)))
        return (value - p) ** 2 - quantile**2 * variance

    # Ends just below `value`, where the function is negative. At `value` = 1 it is zero, which would be another root.
    return 0.0 if value == 0 else float(brentq(too_far, 0, value * (1 - 1e-9)))


def _within(value: float, error: float, n: int, bounds: Bounds) -> Estimate:
    """Student's t interval, clipped to the bounds; no interval (NaN) for one seed or a standard error of zero."""
    if n < 2 or error <= 1e-12 * max(1.0, abs(value)):
        return Estimate(value, math.nan, math.nan)
    half = t_quantile(n - 1) * error
    return Estimate(value, max(bounds[0], value - half), min(bounds[1], value + half))
