"""Fused pair scores of agents and targets, computed only for the pairs that a view shows."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models import fused
from models.fused import array_of
from models.kernels import pairs
from models.kernels.vector import LANES


def usable(weights: Tensor, own: Tensor, target: Tensor) -> bool:
    """Return whether the kernels support these tensors: `models.fused.usable`, and K is a multiple of `LANES`."""
    return weights.shape[-1] % LANES == 0 and fused.usable(weights, own, target)


def score(
    weights: Float[Tensor, "L V A K"],
    own: Float[Tensor, "L A K"],
    target: Float[Tensor, "L T K"],
    views: Bool[Tensor, "L V A E"],
    first: int,
) -> Float[Tensor, "L V A T"]:
    """Return <weights, relu(own + target)> where a view shows the target, else 0.

    Args:
        weights: weights of the K units of each agent.
        own: part of the units that depends on the agent.
        target: part of the units that depends on the target.
        views: which entities each agent sees.
        first: entity slot of the first target; the T targets are consecutive entities.
    """
    scores: Tensor = _Score.apply(weights.contiguous(), own.contiguous(), target.contiguous(), views, first)
    return scores


class _Score(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, own: Tensor, target: Tensor, views: Tensor, first: int) -> Tensor:
        views = views.contiguous()
        scores = weights.new_empty(*weights.shape[:3], target.shape[1])
        pairs.forward(*map(array_of, (weights, own, target, views)), first, array_of(scores))
        ctx.save_for_backward(weights, own, target, views)
        ctx.first = first
        return scores

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weights, own, target, views = ctx.saved_tensors
        grads = tuple(torch.empty_like(tensor) for tensor in (weights, own, target))
        arrays = map(array_of, (weights, own, target, views))
        pairs.backward(*arrays, ctx.first, array_of(gradients[0].contiguous()), *map(array_of, grads))
        return *grads, None, None
