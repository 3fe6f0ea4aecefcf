"""Small on-policy algorithms for the random batches of `worlds`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from worlds import SGD

from mipi_pl.algorithms.mappo import MAPPO
from mipi_pl.spec import EntitySpec
from models.agent import EntityAgent
from models.critics import EntityCritic
from models.marginal import MarginalPolicy

LEARNED = ("agent.trunk", "agent.policy_logits", "critic", "marginal")
"""What MAPPO trains; the agent's critic head is not."""


def small_mappo(
    spec: EntitySpec,
    *,
    width: int = 8,
    heads: int = 2,
    hidden: int = 4,
    optimizer: Any = SGD,
    seed: int = 0,
    **options: Any,
) -> MAPPO:
    """MAPPO with tiny networks."""
    torch.manual_seed(seed)
    return MAPPO(
        spec,
        agent=partial(EntityAgent, width=width, heads=heads, hidden=hidden),
        critic=partial(EntityCritic, width=width, heads=heads, hidden=hidden),
        policy_optimizer=optimizer,
        critic_optimizer=optimizer,
        marginal_optimizer=optimizer,
        **{
            "marginal": partial(MarginalPolicy, width=width, hidden=hidden),
            "epochs": 2,
            "minibatches": 1,
            "value_decay": 0.9,
            **options,
        },
    )
