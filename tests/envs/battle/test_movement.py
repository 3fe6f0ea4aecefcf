"""The neighbour lists of movement against a search over all units."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

from mipi_pl.envs.battle import rules_movement
from mipi_pl.envs.battle.rules_state import make_pairs, make_units
from mipi_pl.envs.battle.units import FASTEST_PER_S, LOOPS_PER_S, UnitType

TOUCH = 0.02
N = 12


@njit(error_model="numpy")
def neighbours(units: Any, walkers: int, n: int, pairs: np.ndarray, i: int) -> Any:
    near = rules_movement._list_neighbours(units, pairs, rules_movement._find_pairs(units, walkers, n, pairs), i)
    return [units[a].queue for a in range(near)]


def crowd(rng: np.random.Generator) -> tuple[Any, int]:
    """Units in a throng, the first of which walk, as fast as any may."""
    units, walkers = make_units(1, N)[0], int(rng.integers(1, N + 1))
    for name, values in {
        "x": rng.uniform(0, 5, N),
        "y": rng.uniform(0, 5, N),
        "radius": rng.uniform(0.3, 1, N),
    }.items():
        units[name] = values
    units["flies"], units["queue"] = rng.random(N) < 0.3, rng.permutation(N)
    step, angle = rng.uniform(0.5, 1, N) * FASTEST_PER_S / LOOPS_PER_S, rng.uniform(0, 2 * np.pi, N)
    step[units["queue"][walkers:]] = 0.0
    units["next_x"], units["next_y"] = units["x"] + step * np.cos(angle), units["y"] + step * np.sin(angle)
    return units, walkers


def test_all_who_can_be_in_the_way_of_a_walker_are_its_neighbours() -> None:
    rng, met = np.random.default_rng(0), 0
    for _ in range(300):
        units, walkers = crowd(rng)
        i = int(units[rng.integers(walkers)].queue)
        one = units[i]
        step = np.hypot(one.next_x - one.x, one.next_y - one.y)
        # Wherever it turns, its step ends on this circle.
        apart = np.abs(np.hypot(units["next_x"] - one.x, units["next_y"] - one.y) - step)
        in_the_way = (apart < units["radius"] + one.radius - TOUCH) & (units["flies"] == one.flies)
        found = neighbours(units, walkers, N, make_pairs(1, N)[0], i)
        assert set(np.flatnonzero(in_the_way)) - {i} <= set(found) <= set(np.flatnonzero(units["flies"] == one.flies))
        assert i not in found
        assert len(found) == len(set(found))
        met += int(in_the_way.sum()) - 1
    assert met > 300


def test_a_unit_that_is_too_fast_for_these_lists_is_refused() -> None:
    with pytest.raises(ValueError, match=r"hare: speed_per_s must be at most 5.5, got 6"):
        UnitType("hare", health=1.0, speed_per_s=6.0, radius=0.3)
