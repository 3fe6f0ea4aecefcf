"""A world of the user's own whose kind of score depends on an argument, which is an object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mipi_pl.envs.matrix import MatrixGame


def always() -> bool:
    return True


class ScoredGame(MatrixGame):
    """The matrix game, which can be won only with a rule for winning."""

    def __init__(self, *positional: Any, rule: Callable[[], bool] | None = None, **named: Any) -> None:
        if rule is not None and not callable(rule):
            raise TypeError(f"rule must be callable, got {rule!r}")
        super().__init__(*positional, **named)
        self.winnable = rule is not None
