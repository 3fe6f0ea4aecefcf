"""A replay datamodule on the scripted world."""

from __future__ import annotations

from functools import partial
from typing import Any

from script_world import ScriptWorld
from worlds import small_mipi

from mipi_pl.datamodules.replay import ReplayDataModule

LENGTHS = [[3, 1, 4], [2, 2, 5], [6]]


def data(**options: Any) -> ReplayDataModule:
    """Connected to a small policy; everything happens within ScriptWorld."""
    module = ReplayDataModule(
        partial(ScriptWorld, LENGTHS),
        **{"num_envs": 3, "batch_size": 4, "warmup_episodes": 5, "steps_per_collection": 4, "capacity": 50, **options},
    )
    module.connect(small_mipi(module.env.entity_spec).actor(greedy=False, seed=0))
    return module
