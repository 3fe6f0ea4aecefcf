"""Estimates with 95 % intervals: Wilson for rates, Student's t for means."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A value and the 95 % interval around it."""

    value: float
    low: float
    high: float


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
    rate, z2 = successes / trials, Z_95**2
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    return Estimate(rate, max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half)))


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
    """The 97.5 % quantile of Student's t, by bisection on its distribution function."""
    low, high = Z_95, 13.0  # 12.71 at one degree of freedom is the largest
    for _ in range(50):
        middle = (low + high) / 2
        if _t_cdf(middle, freedom) < 0.975:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _t_cdf(t: float, freedom: int) -> float:
    # Exact finite series in the angle (Abramowitz and Stegun 26.7.3-4), for t > 0.
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine2 = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2 == 1
    term = math.cos(angle) if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= (k - 1) / k * cosine2
        total += term
    both_sides = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return 0.5 + both_sides / 2
