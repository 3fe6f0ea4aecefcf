from __future__ import annotations

import plain_statistics
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mipi_pl.evaluation.statistics import Estimate, mean, t_quantile, weighted_sum, wilson


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_is_the_formula(trials: int, share: float) -> None:
    successes = round(share * trials)
    found = wilson(successes, trials)
    assert (found.low, found.high) == pytest.approx(plain_statistics.wilson(successes, trials), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10, 31, 159, 1000])
def test_the_t_quantile_is_that_of_the_exact_series(freedom: int) -> None:
    assert t_quantile(freedom) == pytest.approx(plain_statistics.t_quantile(freedom), rel=1e-11)


def test_the_mean_has_students_interval() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 9.0])
    low, high = stats.t.interval(0.95, 3, loc=4.0, scale=stats.sem(values.numpy()))
    found = mean(values)
    assert (found.value, found.low, found.high) == pytest.approx((4.0, low, high))


def test_one_value_and_equal_values_have_no_width() -> None:
    for values in ([3.0], [3.0, 3.0, 3.0]):
        found = mean(torch.tensor(values))
        assert found.low == found.value == found.high == 3.0


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= successes <= trials"):
        wilson(successes, trials)


def test_no_value_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        mean(torch.empty(0))


def test_a_difference_of_rates_has_newcombes_interval() -> None:
    # Table II of Newcombe (1998), method 10: 56 of 70 minus 48 of 80.
    found = weighted_sum([wilson(56, 70), wilson(48, 80)], [1.0, -1.0])
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    against = weighted_sum([wilson(48, 80), wilson(56, 70)], [1.0, -1.0])
    assert (against.low, against.high) == pytest.approx((-found.high, -found.low))


def test_a_sum_of_one_part_is_the_part_and_a_mean_of_equal_ones_is_narrower() -> None:
    part = wilson(0, 3)
    assert weighted_sum([part], [1.0]) == part
    assert weighted_sum([part] * 4, [0.25] * 4).high == pytest.approx(part.high / 2)
    assert weighted_sum([Estimate(5.0, 4.0, 7.0)], [-2.0]) == Estimate(-10.0, -14.0, -8.0)


def test_a_sum_needs_a_weight_for_each_part() -> None:
    for parts, weights in (([], []), ([wilson(1, 2)], [])):
        with pytest.raises(ValueError, match="expected a weight for each"):
            weighted_sum(parts, weights)
