"""Fixture of a small Resource Collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mipi_pl.envs.resource.env import ResourceCollection


@pytest.fixture
def make_world() -> Callable[..., ResourceCollection]:
    """Team sizes and any other value."""

    def make(team_sizes: Sequence[int] = (3, 4, 5), capacity: int = 8, **more: Any) -> ResourceCollection:
        return ResourceCollection(team_sizes, capacity, **{"num_envs": 3, "parallel": False, **more})

    return make
