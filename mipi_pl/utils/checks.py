"""One way to refuse a number that is out of range, and a word that is none of the choices."""

from __future__ import annotations

import math
from enum import Enum
from typing import TypeVar

Choice = TypeVar("Choice", bound=Enum)


class DivergedError(ArithmeticError):
    """Learning has left the finite numbers."""


class WorkerError(RuntimeError):
    """A process that steps environments has died or could not be started."""


def require(name: str, value: float, low: float, high: float = math.inf, *, above: bool = False) -> None:
    """Accept a finite number within [low, high], or (low, high] with `above`.

    Args:
        name: the key as the user writes it.
        value: what was given.
        low: smallest value.
        high: largest value.
        above: whether `low` itself is excluded.

    Raises:
        ValueError: naming what was expected and what was got.

    Examples:
        >>> require("algorithm.gamma", 1.5, 0, 1)
        Traceback (most recent call last):
        ValueError: algorithm.gamma must be at least 0 and at most 1, got 1.5
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if number and (low < value if above else low <= value) and value <= high:
        return
    bound = f"{'above' if above else 'at least'} {low:g}" + (f" and at most {high:g}" if math.isfinite(high) else "")
    raise ValueError(f"{name} must be {bound}, got {value!r}")


def choose(name: str, value: str, choices: type[Choice]) -> Choice:
    """The member of an enumeration with this value.

    Raises:
        ValueError: naming the choices.
    """
    try:
        return choices(value)
    except ValueError:
        allowed = ", ".join(str(choice.value) for choice in choices)
        raise ValueError(f"{name} must be one of {allowed}, got {value!r}") from None
