"""Validation of numbers and choices."""

from __future__ import annotations

import math
from enum import Enum
from numbers import Integral
from typing import TypeVar

Choice = TypeVar("Choice", bound=Enum)

LOST_AFTER_S = 120.0
"""Default of `lost_after_s` in train.yaml: seconds without a sign of life after which a process counts as lost."""
_SHORTEST_LOST_AFTER_S, _LONGEST_LOST_AFTER_S = 5.0, 7 * 86_400.0


def require(name: str, value: float, low: float, high: float = math.inf, *, above: bool = False) -> None:
    """Check that a value is a finite number in [low, high], or in (low, high] with `above`.

    Args:
        name: config key as the user writes it, for the message.
        value: value to check.
        low: lower bound.
        high: upper bound, included.
        above: whether to exclude `low` itself.

    Raises:
        ValueError: if the check fails; the message gives the expected range and the value.

    Examples:
        >>> require("algorithm.gamma", 1.5, 0, 1)
        Traceback (most recent call last):
        ValueError: algorithm.gamma must be at least 0 and at most 1, got 1.5
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if is_number and (low < value if above else low <= value) and value <= high:
        return
    kind = "a finite number " if value == math.inf == high else ""
    bound = f"{'above' if above else 'at least'} {low:g}" + (f" and at most {high:g}" if math.isfinite(high) else "")
    raise ValueError(f"{name} must be {kind}{bound}, got {value!r}")


def require_seed(value: object) -> None:
    """Check that a value is a whole number from 0, also one of NumPy.

    Raises:
        ValueError: if it is not.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < 0:
        raise ValueError(f"seed must be a whole number from 0, got {value!r}")


def require_lost_after(name: str, value: float) -> None:
    """Check the seconds without a sign of life, which is given every second, after which a process counts as lost.

    Args:
        name: config key as the user writes it, for the message.
        value: seconds; at most a week.

    Raises:
        ValueError: if the value is out of range.
    """
    require(name, value, _SHORTEST_LOST_AFTER_S, _LONGEST_LOST_AFTER_S)


def choose(name: str, value: str, choices: type[Choice]) -> Choice:
    """Return the enumeration member with a given value.

    Args:
        name: config key as the user writes it, for the message.
        value: value of the member.
        choices: enumeration.

    Raises:
        ValueError: if no member has the value; the message lists all values.
    """
    try:
        return choices(value)
    except ValueError:
        allowed = ", ".join(str(choice.value) for choice in choices)
        raise ValueError(f"{name} must be one of {allowed}, got {value!r}") from None
