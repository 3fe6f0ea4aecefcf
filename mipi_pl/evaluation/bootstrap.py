"""Statistics over training seeds: interquartile mean, probability of improvement, bootstrap intervals.

After Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021, with one
difference: there the runs of different tasks are different trainings and are drawn apart; here one run is played in
every team, so a seed is drawn as a whole. Drawing apart would treat its scores as independent, and the intervals would
be too narrow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mipi_pl.evaluation.statistics import Estimate

Array = NDArray[np.float64]
DRAWS = 2000


@dataclass(frozen=True)
class Scores:
    """What several seeds of one algorithm reached in several evaluations.

    Attributes:
        value: [S, K], win rate or mean return of S seeds in K evaluations.
        spread: [S, K], standard deviation over episodes; NaN where the value is a rate of wins.
        episodes: [S, K], played for each value.
    """

    value: Array
    spread: Array
    episodes: NDArray[np.int64]

    def of(self, evaluations: list[int]) -> Scores:
        """Some of the evaluations."""
        return Scores(self.value[:, evaluations], self.spread[:, evaluations], self.episodes[:, evaluations])

    def draws(self, rng: np.random.Generator, n: int = DRAWS) -> Array:
        """[n, S, K]: seeds drawn with replacement, and the episodes of each drawn seed in each evaluation drawn anew.

        Episodes that are won or lost are drawn exactly (their number is binomial). Of returns only mean and spread are
        known; their mean is drawn from a normal distribution.
        """
        seeds = rng.integers(len(self.value), size=(n, len(self.value)))
        value, spread, episodes = self.value[seeds], self.spread[seeds], self.episodes[seeds]
        if np.isnan(self.spread).all():
            return rng.binomial(episodes, value) / episodes
        return rng.normal(value, spread / np.sqrt(episodes))


Statistic = Callable[[Array], Array]
"""From [..., S, K] to [...]."""


def estimate(scores: Scores, statistic: Statistic, seed: int = 0) -> Estimate:
    """A statistic of one algorithm with its 95 % bootstrap interval (percentiles)."""
    drawn = statistic(scores.draws(np.random.default_rng(seed)))
    return _around(statistic(scores.value), drawn)


def interquartile_mean(value: Array) -> Array:
    """Mean of the middle half of all S x K values: a quarter of them, rounded down, is cut from each end.

    Args:
        value: [..., S, K].

    Returns:
        [...].
    """
    flat = np.sort(value.reshape(*value.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return np.asarray(flat[..., cut : flat.shape[-1] - cut].mean(-1))


def mean_of_all(value: Array) -> Array:
    """Mean over seeds and evaluations: [..., S, K] to [...]."""
    return np.asarray(value.mean((-2, -1)))


def improvement_of(ours: Array, theirs: Array) -> Array:
    """Share of pairs of seeds of which ours is the better one, a tie counting half; the mean over evaluations.

    Args:
        ours: [..., S, K].
        theirs: [..., R, K].

    Returns:
        [...].
    """
    difference = ours[..., :, None, :] - theirs[..., None, :, :]
    return np.asarray(((difference > 0) + 0.5 * (difference == 0)).mean((-3, -2, -1)))


def probability_of_improvement(ours: Scores, theirs: Scores, seed: int = 0) -> Estimate:
    """That a seed of ours beats one of theirs, with its 95 % bootstrap interval."""
    rng = np.random.default_rng(seed)
    drawn = improvement_of(ours.draws(rng), theirs.draws(rng))
    return _around(improvement_of(ours.value, theirs.value), drawn)


def _around(value: Array, drawn: Array) -> Estimate:
    # Drawing episodes anew blurs a clear order of seeds, so the value itself may lie outside of what is drawn.
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))
