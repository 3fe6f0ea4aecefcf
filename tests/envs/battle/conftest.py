"""Fixtures of battles: an arena in which a test places the units, and the families."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from arena import Arena

from mipi_pl.envs.battle.env import BattleEnv

FAMILIES: dict[str, list[dict[str, Any]]] = {
    "marines": [{"types": ["marine"], "min": 1, "max": 64}],
    "sz": [{"types": ["stalker", "zealot"], "min": 3, "max": 64}],
    "csz": [{"types": ["stalker", "zealot"], "min": 3, "max": 6}, {"types": ["colossus"], "min": 0, "max": 2}],
    "mmm": [{"types": ["marine", "marauder"], "min": 3, "max": 6}, {"types": ["medivac"], "min": 0, "max": 2}],
}


@pytest.fixture
def arena() -> Callable[..., Arena]:
    """Build an arena from (type, x, y) of agents and enemies."""
    return Arena


@pytest.fixture
def make_battle() -> Callable[..., BattleEnv]:
    """A battle of a family: name, team sizes, and any other value."""

    def make(family: str, team_sizes: Sequence[int] = (3, 4, 5), capacity: int = 8, **more: Any) -> BattleEnv:
        more = {"num_envs": 3, "parallel": False, **more}
        return BattleEnv(FAMILIES[family], team_sizes, capacity, **more)

    return make
