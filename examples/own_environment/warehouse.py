"""Multi-robot warehouse (package rware): robots bring requested shelves to the goals."""

from __future__ import annotations

from collections.abc import Sequence

from mipi_pl.envs.pettingzoo import FromTuples, ParallelWorld

try:
    from rware.warehouse import RewardType, Warehouse
except ImportError as error:
    raise ImportError("the multi-robot warehouse needs its package: pip install rware") from error


def warehouse(
    team_sizes: Sequence[int], capacity: int, num_envs: int, seed: int = 0, max_steps: int = 500, requests: int = 8
) -> ParallelWorld:
    """Make the world rware-tiny with teams of varying size. It cannot be won; each delivery is worth 1."""

    def make(team_size: int) -> FromTuples:
        shelves = {"shelf_columns": 3, "shelf_rows": 1, "column_height": 8}
        times = {"max_inactivity_steps": None, "max_steps": max_steps + 1}  # the world ends episodes at max_steps
        rules = {"msg_bits": 0, "sensor_range": 1, "request_queue_size": requests, "reward_type": RewardType.INDIVIDUAL}
        return FromTuples(Warehouse(n_agents=team_size, **shelves, **times, **rules, normalised_coordinates=True))

    return ParallelWorld(
        make,  # an agent is its own vector: place, load, and the squares around it; it sees no other row
        team_sizes=team_sizes,
        capacity=capacity,
        n_features=71,
        feature_names=("x", "y", "carries", *(f"sensor_{i}" for i in range(68))),
        n_actions=5,
        action_names=("none", "forward", "left", "right", "load"),
        max_steps=max_steps,
        num_envs=num_envs,
        seed=seed,
        team_reward="sum",
    )
