"""The worlds for TorchRL's multi-agent losses and for BenchMARL."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mipi_pl.envs.group import GroupEnv
from mipi_pl.run.overrides import Override
from mipi_pl.run.world import make_world


def group_env(
    *world: Override,
    num_envs: int,
    team_size: int | None = None,
    composition: Mapping[str, int] | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> GroupEnv:
    """Make a TorchRL environment with one group of agents, which steps B episodes at once.

    Args:
        world: name of a world, such as ``"sz"``, and arguments of it: words of the command line, such as
            ``"env.enemy_delta=1"``, or dictionaries, such as ``{"enemy_delta": 1}``.
        num_envs: B.
        team_size: number of agents; there are as many agent slots. None draws teams of the sizes in the config.
        composition: the only team, such as ``{"stalker": 3, "zealot": 2}``, with as many agent slots.
        seed: seed of the episodes.
        device: device of the tensors; the worlds run on the CPU.

    Raises:
        mipi_pl.utils.errors.UserError: if an argument is invalid.

    Examples:
        >>> env = group_env("sz", num_envs=4, team_size=3)
        >>> env.rollout(2)["agents", "reward"].shape
        torch.Size([4, 2, 3, 1])
    """
    return GroupEnv(make_world(world, num_envs, seed, team_size, composition, device)[0])
