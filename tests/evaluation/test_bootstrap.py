from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mipi_pl.evaluation import bootstrap
from mipi_pl.evaluation.bootstrap import Scores


def rates(value: list[list[float]], episodes: int = 100) -> Scores:
    array = np.array(value)
    return Scores(array, np.full(array.shape, np.nan), np.full(array.shape, episodes))


MATRIX = st.integers(1, 5).flatmap(
    lambda k: st.lists(
        st.lists(st.integers(0, 10).map(lambda n: n / 10), min_size=k, max_size=k), min_size=1, max_size=6
    )
)


@given(MATRIX)
def test_the_interquartile_mean_is_scipys_trimmed_mean(value: list[list[float]]) -> None:
    expected = stats.trim_mean(np.ravel(value), 0.25)
    assert bootstrap.interquartile_mean(np.array(value)) == pytest.approx(expected)


def test_the_interquartile_mean_by_hand() -> None:
    # 1..8: two are cut from each end
    value = np.arange(1.0, 9.0).reshape(4, 2)
    assert bootstrap.interquartile_mean(value) == (3 + 4 + 5 + 6) / 4
    assert bootstrap.interquartile_mean(np.stack([value, 10 * value])).tolist() == [4.5, 45.0]


@settings(max_examples=50)
@given(st.data(), st.integers(1, 3))
def test_the_probability_of_improvement_is_the_share_of_pairs(data: st.DataObject, k: int) -> None:
    rows = st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=k, max_size=k), min_size=1, max_size=4)
    ours, theirs = data.draw(rows), data.draw(rows)
    points = [
        1.0 if a[task] > b[task] else 0.5 if a[task] == b[task] else 0.0
        for a, b in product(ours, theirs)
        for task in range(k)
    ]
    found = bootstrap.improvement_of(np.array(ours), np.array(theirs))
    assert found == pytest.approx(sum(points) / len(points))
    if k == 1:
        flat = [row[0] for row in ours], [row[0] for row in theirs]
        assert found == pytest.approx(stats.mannwhitneyu(*flat).statistic / (len(ours) * len(theirs)))


def test_the_interval_of_two_seeds_agrees_with_all_that_can_be_drawn() -> None:
    # Two seeds, one team, four episodes each: every outcome of the bootstrap is listed with its probability.
    wins, n = (1, 4), 4
    outcomes: dict[float, float] = {}
    for a, b in product(wins, wins):
        for i, j in product(range(n + 1), repeat=2):
            weight = 0.25 * stats.binom.pmf(i, n, a / n) * stats.binom.pmf(j, n, b / n)
            outcomes[(i + j) / (2 * n)] = outcomes.get((i + j) / (2 * n), 0.0) + weight
    drawn = bootstrap.mean_of_all(rates([[0.25], [1.0]], n).draws(np.random.default_rng(0), 20_000))
    for mean, probability in outcomes.items():
        # Standard error of a share in 20,000 draws: at most 0.0036.
        assert np.isclose(drawn, mean).mean() == pytest.approx(probability, abs=0.015), mean


def test_a_single_seed_has_the_interval_of_its_episodes() -> None:
    found = bootstrap.estimate(rates([[0.3]], 50), bootstrap.mean_of_all)
    low, high = stats.binom.ppf([0.025, 0.975], 50, 0.3) / 50
    assert (found.value, found.low, found.high) == pytest.approx((0.3, low, high), abs=0.021)


def test_seeds_are_drawn_with_all_their_teams() -> None:
    # One seed wins everywhere, one nowhere, surely: a drawn seed shows no mixture of the two.
    drawn = rates([[1.0, 1.0], [0.0, 0.0]]).draws(np.random.default_rng(0), 200)
    assert drawn.shape == (200, 2, 2)
    assert np.array_equal(drawn[..., 0], drawn[..., 1])
    assert set(bootstrap.mean_of_all(drawn)) == {0.0, 0.5, 1.0}


def test_returns_are_drawn_with_their_spread() -> None:
    scores = Scores(np.array([[8.0]]), np.array([[3.0]]), np.array([[36]]))
    found = bootstrap.estimate(scores, bootstrap.mean_of_all)
    assert (found.low, found.high) == pytest.approx((8 - 1.96 * 0.5, 8 + 1.96 * 0.5), abs=0.08)


def test_equal_inputs_give_equal_intervals_which_hold_the_value() -> None:
    clear, worse = rates([[0.9], [0.92], [0.91]], 20), rates([[0.85], [0.86], [0.88]], 20)
    found = bootstrap.probability_of_improvement(clear, worse)
    assert found == bootstrap.probability_of_improvement(clear, worse)
    assert found.low <= found.value <= found.high == 1.0
    assert clear.of([0]).value.tolist() == clear.value.tolist()
