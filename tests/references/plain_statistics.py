"""Intervals by hand: Wilson's score interval as a formula, Student's quantile by bisection on its exact series."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054


def wilson(successes: int, trials: int) -> tuple[float, float]:
    rate, z2 = successes / trials, Z_95**2
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    return max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half))


def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile; 12.71 at one degree of freedom is the largest."""
    low, high = Z_95, 13.0
    for _ in range(50):
        middle = (low + high) / 2
        if _t_cdf(middle, freedom) < 0.975:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _t_cdf(t: float, freedom: int) -> float:
    """The finite series in the angle (Abramowitz and Stegun 26.7.3-4), for t > 0."""
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
