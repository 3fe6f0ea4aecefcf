"""Fused scores of agents and targets, computed only for the pairs that a view shows."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mipi_pl.models import fused
from mipi_pl.models.fused import array_of
from mipi_pl.models.kernels import targets
from mipi_pl.models.kernels.vector import LANES


def usable(*tensors: Tensor) -> bool:
    """Return whether the kernels support these tensors: `fused.usable`, and rows are multiples of `LANES`."""
    return all(tensor.shape[-1] % LANES == 0 for tensor in tensors) and fused.usable(*tensors)


def score(
    query: Float[Tensor, "L V A hidden"],
    key: Float[Tensor, "L T hidden"],
    weights: Float[Tensor, "L V A units"],
    own: Float[Tensor, "L A units"],
    target: Float[Tensor, "L T units"],
    views: Bool[Tensor, "L V A E"],
    first: int,
) -> Float[Tensor, "L V A T"]:
    """Return <query, key> + <weights, relu(own + target)> where a view shows the target, else 0.

    Args:
        query: query of each agent.
        key: key of each target.
        weights: weights of the pair units of each agent; there may be none.
        own: part of the pair units that depends on the agent.
        target: part of the pair units that depends on the target.
        views: which entities each agent sees.
        first: entity slot of the first target; the T targets are consecutive entities.
    """
    factors = (t.contiguous() for t in (query, key, weights, own, target))
    scores: Tensor = _Score.apply(*factors, views.contiguous(), first)
    return scores


class _Score(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        *factors, views, first = arguments
        query, key = factors[:2]
        scores = query.new_empty(*query.shape[:3], key.shape[1])
        targets.forward(*map(array_of, (*factors, views)), first, array_of(scores))
        ctx.save_for_backward(*factors, views)
        ctx.first = first
        return scores

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *factors, views = ctx.saved_tensors
        grads = tuple(torch.empty_like(factor) for factor in factors)
        arrays = map(array_of, (*factors, views))
        targets.backward(*arrays, ctx.first, array_of(gradients[0].contiguous()), *map(array_of, grads))
        return *grads, None, None
