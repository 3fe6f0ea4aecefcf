"""Level-based foraging (package lbforaging): agents with levels collect food that may need several of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mipi_pl.envs.pettingzoo import FromTuples, ParallelWorld

try:
    from lbforaging.foraging import ForagingEnv
except ImportError as error:
    raise ImportError("level-based foraging needs its package: pip install lbforaging") from error


def foraging(
    team_sizes: Sequence[int], capacity: int, num_envs: int, seed: int = 0, field: int = 8, foods: int = 3
) -> ParallelWorld:
    """Make the world. Every agent sees everything; an episode is won when all food is collected (return 1)."""

    def make(team_size: int) -> FromTuples:
        levels = {"min_player_level": 1, "max_player_level": 2, "min_food_level": 1, "max_food_level": None}
        size = {"field_size": (field, field), "sight": field, "max_num_food": foods, "max_episode_steps": 51}
        return FromTuples(ForagingEnv(team_size, **levels, **size, force_coop=False))

    def observe(agent: str, observation: np.ndarray) -> dict[str, list[float]]:
        rows = observation.reshape(-1, 3)  # (y, x, level) of the food, of the agent itself, and of the other agents
        own = int(agent.removeprefix("agent_"))
        players = [own, *(i for i in range(len(rows) - foods) if i != own)]
        names = [f"food_{i}" for i in range(foods)] + [f"agent_{i}" for i in players]
        found = zip(names, rows.tolist(), strict=True)
        return {name: [name[0] == "a", x / field, y / field, level / 4] for name, (y, x, level) in found if level > 0}

    def all_eaten(env: Any) -> bool:
        return not env.env.field.any()

    return ParallelWorld(
        make,
        observe,
        team_sizes=team_sizes,
        capacity=capacity,
        n_others=foods,
        n_features=4,
        feature_names=("is_agent", "x", "y", "level"),
        n_actions=6,
        action_names=("none", "north", "south", "west", "east", "load"),
        max_steps=50,
        num_envs=num_envs,
        seed=seed,
        team_reward="sum",
        won=all_eaten,
    )
