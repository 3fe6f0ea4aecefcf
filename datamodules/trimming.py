"""Trimming of a batch to its longest episode and to the entity slots that any of its episodes fills."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.datamodules.episodes import OBSERVED, PER_STEP


def trim(episodes: TensorDictBase, n_agents: int, rows: Tensor | None = None) -> TensorDict:
    """Return episodes, cut to the longest of them and to the entity slots that any of them fills.

    Agents and other entities are cut separately, so that the agents remain the first A' entities.

    Args:
        episodes: episodes in the layout of `mipi_pl.datamodules.episodes.empty_episodes`.
        n_agents: A, number of agent slots.
        rows: int64 [N], indices of the episodes to return; None for all.
    """
    rows = torch.arange(len(episodes)) if rows is None else rows
    valid = episodes.get(keys.VALID)[rows]
    steps = int(valid.sum(dim=1).max()) + 1
    filled = filled_slots(episodes.get(keys.PRESENT)[:, :steps][rows].flatten(0, 1), n_agents)
    return TensorDict(
        {
            **{
                key: kept_slots(key, episodes.get(key)[:, :steps], n_agents, filled, rows)
                for key in (*OBSERVED, keys.ACTION, *PER_STEP)
            },
            keys.VALID: valid[:, :steps],
            keys.WON: episodes.get(keys.WON)[rows],
            keys.COMPOSITION: episodes.get(keys.COMPOSITION)[rows],
        },
        batch_size=rows.shape,
    )


def filled_slots(present: Tensor, n_agents: int) -> tuple[int, int]:
    """Return the smallest numbers of agent slots (at least 1) and other slots that hold all present entities.

    Args:
        present: bool [*X, E].
        n_agents: A, number of agent slots.
    """
    filled = present.flatten(0, -2).any(dim=0)
    agents, others = (int(part.nonzero().max()) + 1 if part.any() else 0 for part in filled.tensor_split([n_agents]))
    return max(agents, 1), others


def kept_slots(key: Any, values: Tensor, n_agents: int, filled: tuple[int, int], rows: Tensor | None = None) -> Tensor:
    """Cut values to the filled slots; agents and other entities separately, so that the agents remain the first.

    Args:
        key: key of `mipi_pl.spec` that the values belong to.
        values: [N, T, ...].
        n_agents: A, number of agent slots.
        filled: numbers of agent slots and other slots to keep, from `filled_slots`.
        rows: indices of the episodes to keep; None keeps all.
    """
    agents, others = filled
    if key in (keys.VISIBLE, keys.ACTION_MASK, keys.ACTION):
        values = values[:, :, :agents]
    if rows is not None:  # indexing copies, so it comes after the slice above, which is a view
        values = values[rows]
    dim = {keys.ENTITIES: 2, keys.PRESENT: 2, keys.VISIBLE: 3}.get(key)
    if dim is None or values.shape[dim] == agents + others:
        return values
    return torch.cat((values.narrow(dim, 0, agents), values.narrow(dim, n_agents, others)), dim=dim)
