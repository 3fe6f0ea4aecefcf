"""Imaginary partitions of the entities into two groups (REFIL; section 4.3 of the MIPI paper)."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor


def draw_groups(episodes: int, count: int, n_entities: int, generator: torch.Generator) -> Bool[Tensor, "G N E"]:
    """Draw `count` partitions per episode: p ~ U(0, 1), then each entity is in group A (True) with probability p.

    Examples:
        >>> draw_groups(2, 3, 4, torch.Generator()).shape
        torch.Size([3, 2, 4])
    """
    share = torch.rand(count, episodes, 1, generator=generator)
    return torch.rand(count, episodes, n_entities, generator=generator) < share


def same_group(groups: Bool[Tensor, "*X E"], n_agents: int) -> Bool[Tensor, "*X A E"]:
    """Return True where an agent and an entity are in the same group.

    For a view, ``view & same_group`` is the `within` mask and ``view & ~same_group`` the `interact` mask.
    """
    return groups[..., :n_agents, None] == groups[..., None, :]
