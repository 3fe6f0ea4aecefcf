"""Vectors for networks that know no entities: what one agent observes, and the state of the world."""

from __future__ import annotations

import torch
from torch import Tensor

from mipi_pl.spec import EntitySpec, acting


def observation_size(spec: EntitySpec) -> int:
    """Return O, the length of the vectors of `observations`."""
    return spec.n_features + spec.n_entities * (1 + spec.n_features)


def observations(entities: Tensor, visible: Tensor) -> Tensor:
    """Return one vector per agent: its own features, then each entity slot in order.

    A slot holds whether the agent sees the entity (1 or 0), and the features of the entity, which are zero if the agent
    does not see it. The slots have the same order for all agents, the order that target actions refer to. An agent that
    does not act, because it is dead or absent, observes zeros.

    Args:
        entities: float32 [..., E, F].
        visible: bool [..., A, E].

    Returns:
        float32 [..., A, O] with O = F + E (1 + F).
    """
    n_agents = visible.shape[-2]
    own = entities[..., :n_agents, :] * acting(visible).unsqueeze(-1)
    return torch.cat([own, _slots(visible, entities.unsqueeze(-3))], dim=-1)


def state_size(spec: EntitySpec) -> int:
    """Return S, the length of the vectors of `states`."""
    return spec.n_entities * (1 + spec.n_features)


def states(entities: Tensor, present: Tensor) -> Tensor:
    """Return one vector of the whole world, for central critics and mixers: each entity slot in order.

    A slot holds whether an entity occupies it (1 or 0), and its features.

    Args:
        entities: float32 [..., E, F].
        present: bool [..., E].

    Returns:
        float32 [..., S] with S = E (1 + F).
    """
    return _slots(present, entities)


def _slots(shown: Tensor, entities: Tensor) -> Tensor:
    """Return float32 [..., E (1 + F)] from a mask [..., E] and features [..., E, F]."""
    flag = shown.unsqueeze(-1).to(entities.dtype)
    return torch.cat([flag, entities * flag], dim=-1).flatten(-2)
