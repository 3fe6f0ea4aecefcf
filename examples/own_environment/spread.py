"""Simple Spread of PettingZoo (package mpe2) as an entity world: n agents cover n landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mipi_pl.envs.pettingzoo import ParallelWorld

try:
    from mpe2 import simple_spread_v3
except ImportError as error:
    raise ImportError("Simple Spread needs its package: pip install mpe2") from error


def spread(
    team_sizes: Sequence[int], capacity: int, num_envs: int, seed: int = 0, max_steps: int = 25
) -> ParallelWorld:
    """Make the world. It cannot be won; the reward is the mean over the agents."""

    def make(team_size: int) -> Any:
        return simple_spread_v3.parallel_env(N=team_size, max_cycles=max_steps)

    def observe(_: str, observation: np.ndarray) -> dict[str, list[float]]:
        # An agent observes its velocity, its position, the landmarks and the other agents relative to it, and messages.
        n, velocity, position = len(observation) // 6, observation[:2], observation[2:4]
        landmarks = observation[4 : 4 + 2 * n].reshape(n, 2) + position
        own = [1.0, *position, *velocity]
        agents = {f"agent_{i}": own for i in range(n)}  # the row of another agent is the one that it returns itself
        return {**agents, **{f"landmark_{i}": [0.0, *place, 0.0, 0.0] for i, place in enumerate(landmarks)}}

    return ParallelWorld(
        make,
        observe,
        team_sizes=team_sizes,
        capacity=capacity,
        n_others=capacity,
        n_features=5,
        feature_names=("is_agent", "x", "y", "vx", "vy"),
        n_actions=5,
        action_names=("none", "left", "right", "down", "up"),
        max_steps=max_steps,
        num_envs=num_envs,
        seed=seed,
    )
