"""95 % intervals cover the true value in about 95 of 100 simulated experiments, with random seeds of 256 episodes.

Each seed has episodes of its own, except where a test says that all have the same ones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mipi_pl.evaluation import seeds
from mipi_pl.evaluation.seeds import Array
from mipi_pl.evaluation.statistics import Estimate

EPISODES = 256
MEAN = np.array([0.65, 0.55, 0.5])
"""Win rates in three evaluations, the mean over seeds."""
WIDE, NARROW = (0.08, 0.03), (0.01, 0.01)
"""Standard deviation between seeds, and between the evaluations of a seed beyond that. With the narrow one most of what
differs is the noise of the episodes, 0.03."""
RATE = (0.0, 1.0)

Spread = tuple[float, float]


def measured(
    rng: np.random.Generator, experiments: int, n: int, spread: Spread = WIDE, better_by: float = 0.0
) -> Array:
    """[experiments, n, 3]: win rates of so many seeds."""
    of_seed = rng.normal(0, spread[0], (experiments, n, 1))
    rate = MEAN + better_by + of_seed + rng.normal(0, spread[1], (experiments, n, 3))
    return rng.binomial(EPISODES, np.clip(rate, 0, 1)) / EPISODES


def coverage(experiments: Array, truth: float, interval: Callable[[Array], Estimate]) -> float:
    found = [interval(scores) for scores in experiments]
    return float(np.mean([one.low <= truth <= one.high for one in found]))


@pytest.mark.parametrize("spread", [WIDE, NARROW])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_mean(n: int, spread: Spread) -> None:
    experiments = measured(np.random.default_rng(n), 3000, n, spread)
    held = coverage(experiments, MEAN.mean(), lambda scores: seeds.mean_over_seeds(scores.mean(1), RATE))
    assert held == pytest.approx(0.95, abs=0.015)  # of 3,000: standard error 0.004


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_mean_in_the_same_episodes_for_all_seeds(n: int) -> None:
    """As in a report: the interval is for the value in these episodes; it misses that in all episodes more often."""
    rng, spread = np.random.default_rng(n), 0.03
    episode = rng.normal(0, 0.25, (800, 1, EPISODES))  # some are easier than others, for every seed
    rate = np.clip(0.7 + rng.normal(0, spread, (800, n, 1)) + episode, 0, 1)
    scores = (rng.random(rate.shape) < rate).mean(-1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)  # of all seeds: the mean over a normal distribution
    of_nodes = np.clip(0.7 + spread * nodes[:, None] + episode, 0, 1).mean(-1)
    in_these = of_nodes @ weights / weights.sum()
    found = [seeds.mean_over_seeds(row, RATE) for row in scores]
    held = np.mean([one.low <= truth <= one.high for one, truth in zip(found, in_these, strict=True)])
    assert held == pytest.approx(0.95, abs=0.025)  # of 800: standard error 0.008
    in_all = float(in_these.mean())
    assert np.mean([one.low <= in_all <= one.high for one in found]) < held


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_gap_between_two_evaluations(n: int) -> None:
    experiments = measured(np.random.default_rng(n), 3000, n)
    difference = experiments[..., 0] - experiments[..., 2]
    held = coverage(difference, MEAN[0] - MEAN[2], lambda scores: seeds.mean_over_seeds(scores, (-1, 1)))
    assert held == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("spread", [WIDE, NARROW])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interquartile_mean(n: int, spread: Spread) -> None:
    rng = np.random.default_rng(n)
    truth = float(seeds.interquartile_mean(measured(rng, 1, 200_000, spread)[0]))
    experiments = measured(rng, 800, n, spread)
    held = coverage(experiments, truth, lambda scores: seeds.interquartile_mean_over_seeds(scores, RATE))
    assert held == pytest.approx(0.95, abs=0.025)  # of 800: standard error 0.008


@pytest.mark.parametrize("n", [5, 10])
def test_the_performance_profile(n: int) -> None:
    rng = np.random.default_rng(n)
    threshold = np.array([0.55])  # near the middle: at the ends all seeds agree, and there is no interval
    truth = float((measured(rng, 1, 100_000)[0] > threshold).mean())
    experiments = measured(rng, 2000, n)
    held = coverage(experiments, truth, lambda scores: seeds.performance_profile(scores, threshold)[0])
    assert held >= 0.92


@pytest.mark.parametrize("better_by", [0.0, 0.06, 0.2])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_probability_of_improvement(n: int, better_by: float) -> None:
    # Few seeds have few orders, so an interval cannot hold it in exactly 95 of 100 cases; it must not hold it in fewer.
    rng = np.random.default_rng(n)
    many = 100_000
    truth = float((measured(rng, 1, many, better_by=better_by) > measured(rng, 1, many)).mean())
    ours, theirs = measured(rng, 1000, n, better_by=better_by), measured(rng, 1000, n)
    pairs = np.stack([ours, theirs], 1)
    held = coverage(pairs, truth, lambda pair: seeds.probability_of_improvement(pair[0], pair[1]))
    assert held >= 0.94
    assert n < 10 or held < 0.995


@pytest.mark.parametrize("better_by", [(0.0, 0.0, 0.0), (0.06, 0.02, -0.02), (0.2, 0.1, 0.0)])
@pytest.mark.parametrize("n", [3, 5])
def test_the_mean_probability_of_improvement_over_tasks(n: int, better_by: tuple[float, ...]) -> None:
    rng = np.random.default_rng(n)
    others = measured(rng, 1, 100_000)
    truth = float(np.mean([(measured(rng, 1, 100_000, better_by=by) > others).mean() for by in better_by]))
    tasks = [(measured(rng, 600, n, better_by=by), measured(rng, 600, n)) for by in better_by]
    experiments = np.stack([np.stack(task, 1) for task in tasks], 1)  # [600, tasks, 2, n, 3]

    def interval(experiment: Array) -> Estimate:
        return seeds.mean_probability_of_improvement([(ours, theirs) for ours, theirs in experiment])

    held = coverage(experiments, truth, interval)
    assert held >= 0.94
    assert n < 5 or held < 0.995
