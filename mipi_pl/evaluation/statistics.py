"""Estimates with 95 % intervals over the episodes of one policy: Wilson's for rates, Student's t for means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from scipy import stats
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; both ends are NaN if no interval can be given."""

    value: float
    low: float
    high: float


@lru_cache(maxsize=4096)  # SciPy needs half a millisecond, and an evaluation has a hundred compositions
def wilson(successes: int, trials: int) -> Estimate:
    """Rate of successes with Wilson's score interval, which stays within [0, 1] and is reliable near both ends.

    Raises:
        ValueError: if there is no trial, or the number of successes is negative or above the number of trials.

    Examples:
        >>> wilson(0, 10).high > 0.2
        True
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"expected 0 <= successes <= trials and at least one trial, got {successes} of {trials}")
    interval = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return Estimate(successes / trials, float(interval.low), float(interval.high))


def mean(values: Tensor) -> Estimate:
    """Mean with Student's t interval; the interval of a single value has width zero, because its spread is unknown.

    Args:
        values: [n], at least one value.

    Raises:
        ValueError: if there are no values.
    """
    n = values.numel()
    if n < 1:
        raise ValueError("expected at least one value, got none")
    centre = float(values.double().mean())
    half = 0.0 if n == 1 else t_quantile(n - 1) * float(values.double().std()) / math.sqrt(n)
    return Estimate(centre, centre - half, centre + half)


def t_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t: half the width of a 95 % interval, in standard errors.

    Args:
        freedom: degrees of freedom.
    """
    return float(stats.t.ppf(0.975, freedom))
