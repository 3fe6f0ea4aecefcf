from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mipi_pl.evaluation import seeds
from mipi_pl.evaluation.statistics import Estimate

RATE = (0.0, 1.0)
MATRIX = st.integers(1, 5).flatmap(
    lambda k: st.lists(
        st.lists(st.integers(0, 10).map(lambda n: n / 10), min_size=k, max_size=k), min_size=1, max_size=6
    )
)


def ends(found: Estimate) -> tuple[float, float]:
    return found.low, found.high


@settings(deadline=None)
@given(MATRIX)
def test_the_interquartile_mean_is_scipys_trimmed_mean(value: list[list[float]]) -> None:
    expected = stats.trim_mean(np.ravel(value), 0.25)
    assert seeds.interquartile_mean(np.array(value)) == pytest.approx(expected)
    assert seeds.interquartile_mean_over_seeds(np.array(value)).value == pytest.approx(expected)


def test_the_interquartile_mean_by_hand() -> None:
    # 1..8: two are cut from each end
    value = np.arange(1.0, 9.0).reshape(4, 2)
    assert seeds.interquartile_mean(value) == (3 + 4 + 5 + 6) / 4
    assert seeds.interquartile_mean(np.stack([value, 10 * value])).tolist() == [4.5, 45.0]


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(1, 3))
def test_the_probability_of_improvement_is_the_share_of_pairs(data: st.DataObject, k: int) -> None:
    rows = st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=k, max_size=k), min_size=1, max_size=4)
    ours, theirs = data.draw(rows), data.draw(rows)
    points = [
        1.0 if a[task] > b[task] else 0.5 if a[task] == b[task] else 0.0
        for a, b in product(ours, theirs)
        for task in range(k)
    ]
    found = seeds.share_of_better(np.array(ours), np.array(theirs))
    assert found == pytest.approx(sum(points) / len(points))
    if k == 1:
        flat = [row[0] for row in ours], [row[0] for row in theirs]
        assert found == pytest.approx(stats.mannwhitneyu(*flat).statistic / (len(ours) * len(theirs)))


def test_a_mean_has_students_interval_over_seeds() -> None:
    scores = np.array([0.5, 0.6, 0.8])
    expected = stats.t.interval(0.95, 2, loc=scores.mean(), scale=stats.sem(scores))
    assert ends(seeds.mean_over_seeds(scores)) == pytest.approx(expected)
    low, high = ends(seeds.mean_over_seeds(scores, (0.45, 0.9)))
    assert (low, high) == (0.45, 0.9), "no wider than a score can be"


def test_the_interval_of_the_interquartile_mean_is_students_where_nothing_is_cut() -> None:
    # Three scores: a quarter of them, rounded down, is none, so that it is a mean.
    scores = np.array([[0.5], [0.6], [0.8]])
    found = seeds.interquartile_mean_over_seeds(scores)
    mean = seeds.mean_over_seeds(scores[:, 0])
    # The standard deviation of 2,000 draws is 2 % off, as a rule.
    assert found.value == mean.value
    assert found.high - found.value == pytest.approx(mean.high - mean.value, rel=0.06)
    assert found.value - found.low == pytest.approx(mean.value - mean.low, rel=0.06)


def test_a_seed_counts_once_however_many_evaluations_it_plays() -> None:
    # One seed wins everywhere, one nowhere: as wide as with a single evaluation.
    alone, four = np.array([[1.0], [0.0]]), np.array([[1.0] * 4, [0.0] * 4])
    assert ends(seeds.mean_over_seeds(four.mean(1))) == ends(seeds.mean_over_seeds(alone.mean(1)))
    found = seeds.interquartile_mean_over_seeds(four), seeds.interquartile_mean_over_seeds(alone)
    assert ends(found[0]) == pytest.approx(ends(found[1]))


@pytest.mark.parametrize(("s", "r"), [(3, 3), (2, 5), (10, 4)])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_newcombes_interval_ends_where_the_score_statistic_is_students_quantile(s: int, r: int, share: float) -> None:
    order = np.arange(s * r) < share * s * r  # so many pairs are won
    theirs = np.arange(float(r))
    ours = order.reshape(s, r).sum(1) - 0.5
    found = seeds.probability_of_improvement(ours[:, None], theirs[:, None])
    assert found.value == order.mean()
    for p in ends(found):
        spread = 1 + ((s + r) / 2 - 1) * ((1 - p) / (2 - p) + p / (1 + p))
        score = abs(found.value - p) / math.sqrt(p * (1 - p) / (s * r) * spread)
        assert score == pytest.approx(stats.t.ppf(0.975, s + r - 2), rel=1e-6)


def test_the_clearest_order_of_three_seeds_leaves_open_which_is_better() -> None:
    # It comes by chance once in 20 times, and as often the other way round: 0.5 must be inside.
    better, worse = np.array([[0.9], [0.92], [0.91]]), np.array([[0.85], [0.86], [0.88]])
    found = seeds.probability_of_improvement(better, worse)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low < 0.5
    against = seeds.probability_of_improvement(worse, better)
    assert (against.value, against.low, against.high) == (0.0, 0.0, pytest.approx(1 - found.low))
    assert seeds.probability_of_improvement(better.repeat(2, 0), worse.repeat(2, 0)).low > 0.5


def test_there_is_no_interval_with_one_seed_or_without_spread() -> None:
    one, alike = np.array([[0.3, 0.4]]), np.full((3, 2), 0.1)
    for found in (
        seeds.mean_over_seeds(one.mean(1), RATE),
        seeds.mean_over_seeds(alike.mean(1), RATE),
        seeds.interquartile_mean_over_seeds(one, RATE),
        seeds.interquartile_mean_over_seeds(alike, RATE),
        seeds.probability_of_improvement(one, alike),
        seeds.probability_of_improvement(alike, one),
    ):
        assert not math.isnan(found.value)
        assert math.isnan(found.low)
        assert math.isnan(found.high)
    assert not math.isnan(seeds.probability_of_improvement(alike, alike).low)


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=2, max_size=5))
def test_intervals_hold_the_value_and_end_at_the_bounds(rows: list[list[float]]) -> None:
    scores = np.array(rows)
    for found in (seeds.mean_over_seeds(scores.mean(1), RATE), seeds.interquartile_mean_over_seeds(scores, RATE)):
        assert math.isnan(found.low) or 0 <= found.low <= found.value <= found.high <= 1


def test_a_performance_profile_counts_the_scores_above_each_threshold() -> None:
    scores = np.array([[0.2, 0.6], [0.4, 0.6], [0.9, 0.1]])
    profile = seeds.performance_profile(scores, np.array([0.0, 0.15, 0.5, 0.9]))
    assert [share.value for share in profile] == pytest.approx([1.0, 5 / 6, 3 / 6, 0.0])
    assert ends(profile[1]) == ends(seeds.mean_over_seeds(np.array([1.0, 1.0, 0.5]), RATE))
    assert math.isnan(profile[0].low), "all seeds agree"
    assert math.isnan(seeds.performance_profile(scores[:1], np.array([0.3]))[0].low), "one seed"


def test_equal_inputs_give_equal_intervals() -> None:
    scores = np.random.default_rng(0).random((4, 3))
    assert seeds.interquartile_mean_over_seeds(scores) == seeds.interquartile_mean_over_seeds(scores)
