"""Estimates with 95 % intervals over the episodes of one policy: Wilson for rates, Student's t for means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from scipy import stats
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A value and the 95 % interval around it; both ends are NaN where no interval can be given."""

    value: float
    low: float
    high: float


@lru_cache(maxsize=4096)  # SciPy takes half a millisecond, and an evaluation asks for a hundred compositions
def wilson(successes: int, trials: int) -> Estimate:
    """Rate of successes with Wilson's score interval, which stays within [0, 1] and is honest near both ends.

    Raises:
        ValueError: if there is no trial, or the successes are not among the trials.

    Examples:
        >>> wilson(0, 10).high > 0.2
        True
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"expected 0 <= successes <= trials and at least one trial, got {successes} of {trials}")
    interval = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return Estimate(successes / trials, float(interval.low), float(interval.high))


def mean(values: Tensor) -> Estimate:
    """Mean with Student's t interval; a single value has an interval of width zero (nothing is known of the spread).

    Args:
        values: [n], n at least 1.

    Raises:
        ValueError: if there is no value.
    """
    n = values.numel()
    if n < 1:
        raise ValueError("expected at least one value, got none")
    centre = float(values.double().mean())
    half = 0.0 if n == 1 else t_quantile(n - 1) * float(values.double().std()) / math.sqrt(n)
    return Estimate(centre, centre - half, centre + half)


def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: half the width of a 95 % interval, in standard errors."""
    return float(stats.t.ppf(0.975, freedom))
