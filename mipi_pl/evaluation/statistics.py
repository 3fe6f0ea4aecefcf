"""Estimates with 95 % intervals over the episodes of one policy: Wilson's for rates, Student's t for means."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def weighted_sum(parts: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    """Weighted sum of independent estimates, with the interval of the square-and-add method.

    The distances between the values and the ends of the intervals are added in squares: method 10 of Newcombe,
    Statistics in Medicine 17 (1998), for Wilson's intervals; Zou and Donner, Statistics in Medicine 27 (2008), for any
    other. The sum of one part with weight 1 is this part.

    Args:
        parts: at least one estimate with an interval.
        weights: weight of each part, of either sign.

    Raises:
        ValueError: if there are no parts, or not as many weights as parts.
    """
    if not parts or len(parts) != len(weights):
        raise ValueError(f"expected a weight for each of at least one part, got {len(weights)} for {len(parts)}")
    value = below = above = 0.0
    for part, weight in zip(parts, weights, strict=True):
        down, up = weight * (part.value - part.low), weight * (part.high - part.value)
        value += weight * part.value
        below += (down if weight > 0 else up) ** 2
        above += (up if weight > 0 else down) ** 2
    return Estimate(value, value - math.sqrt(below), value + math.sqrt(above))


def t_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t: half the width of a 95 % interval, in standard errors.

    Args:
        freedom: degrees of freedom.
    """
    return float(stats.t.ppf(0.975, freedom))
