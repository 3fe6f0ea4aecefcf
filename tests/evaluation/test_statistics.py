from __future__ import annotations

import plain_statistics
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mipi_pl.evaluation.statistics import mean, t_quantile, wilson


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
