"""A first observation for an actor."""

from __future__ import annotations

import torch
from tensordict import TensorDict

AVAILABLE = [[True, True, True, True], [True, False, True, False], [False, False, True, False]]
"""Actions that are available to each of three agents."""


def observation(available: list[list[bool]], envs: int = 1) -> TensorDict:
    """One agent per row of `available`, all the same otherwise."""
    agents, actions = len(available), len(available[0])
    g = torch.Generator().manual_seed(0)
    return TensorDict(
        {
            "entities": torch.randn(agents, 3, generator=g).expand(envs, agents, 3),
            "is_init": torch.ones(envs, 1, dtype=torch.bool),
            "agents": {
                "visible": torch.ones(envs, agents, agents, dtype=torch.bool),
                "action_mask": torch.tensor(available).expand(envs, agents, actions),
            },
        },
        batch_size=[envs],
    )
