"""Entity attention as differentiable functions: embedding, projections and kernels, for a block of steps at a time.

Over a whole batch each operation would pass tens of megabytes to the next. In blocks they stay in the cache, and what
no backward pass needs is written over by the next block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.fused import array_of
from models.kernels import attention

_BLOCK_ROWS = 2048
"""Entities of one block: their embeddings and projections together are a few megabytes."""

_Kernel = Callable[..., None]


def attend(
    inputs: Float[Tensor, "L E I"],
    embed: tuple[Tensor, Tensor],
    query: Float[Tensor, "W W"],
    key_value: Float[Tensor, "2*W W"],
    views: Bool[Tensor, "L V A E"],
    heads: int,
) -> Float[Tensor, "L V A W"]:
    """`models.attention.EntityAttention.forward` from its parameters."""
    mixed: Tensor = _Attend.apply(inputs, *embed, query, key_value, views.contiguous(), heads, torch.is_grad_enabled())
    return mixed


def gather(
    inputs: Float[Tensor, "L E I"],
    embed: tuple[Tensor, Tensor],
    query: Float[Tensor, "W W"],
    key: Float[Tensor, "W W"],
    view: Bool[Tensor, "L A E"],
    heads: int,
) -> Float[Tensor, "L H W"]:
    """Embedded entities weighted by the attention of each head, summed over the agents."""
    gathered: Tensor = _Gather.apply(inputs, *embed, query, key, view.contiguous(), heads, torch.is_grad_enabled())
    return gathered


def _blocks(steps: int, n_entities: int) -> Iterator[slice]:
    size = max(1, _BLOCK_ROWS // n_entities)
    return (slice(first, min(first + size, steps)) for first in range(0, steps, size))


def _precision() -> torch.dtype:
    """Of the large products: as `torch.nn.functional.linear` would take it."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32


def _scale(query: Tensor, heads: int) -> float:
    return float((query.shape[0] // heads) ** -0.5)


def _forward(
    inputs: Tensor, parameters: tuple[Tensor, ...], n_agents: int, heads: int, keep: bool, kernel: _Kernel
) -> tuple[Tensor, Tensor, Tensor]:
    """Run `kernel` on the queries [l, A, W], projections [l, E, P] and embeddings [l, E, W] of each block of l steps.

    Args:
        inputs: [L, E, I].
        parameters: weight [W, I] and bias [W] of the embedding, weights of queries [W, W] and projections [P, W].
        n_agents: A.
        heads: attention heads.
        keep: return them for all steps; otherwise blocks share their memory.
        kernel: called with the block and the three.
    """
    weight, bias, query, projection = (p.to(_precision()) for p in parameters)
    query = query * _scale(query, heads)
    steps, n_entities, _ = inputs.shape
    kept = steps if keep else next(_blocks(steps, n_entities)).stop
    sizes = ((n_entities, len(bias)), (n_agents, len(query)), (n_entities, len(projection)))
    rows, queries, projected = (weight.new_empty(kept, *size) for size in sizes)
    for block in _blocks(steps, n_entities):
        at = block if keep else slice(0, block.stop - block.start)
        flat = rows[at].flatten(0, 1)
        torch.addmm(bias, inputs[block].flatten(0, 1).to(weight.dtype), weight.t(), out=flat).relu_()
        agents = rows[at, :n_agents].reshape(-1, rows.shape[2])
        torch.mm(agents, query.t(), out=queries[at].flatten(0, 1))
        torch.mm(flat, projection.t(), out=projected[at].flatten(0, 1))
        kernel(block, queries[at], projected[at], rows[at])
    return rows, queries, projected


def _backward(saved: tuple[Tensor, ...], heads: int, kernel: _Kernel, has_rows: bool) -> tuple[Tensor, ...]:
    """Gradients of the parameters of `_forward`, in their order.

    Products are taken in the precision in which the forward pass took them, and summed over the blocks in float32.

    Args:
        saved: inputs, weights of queries and projections, and what `_forward` returned.
        heads: attention heads.
        kernel: called with the block, its queries, projections and embeddings, and the gradients of these three, which
            it writes.
        has_rows: whether it writes the last of them.
    """
    inputs, query, projection, rows, queries, projected = saved
    scaled, projection = (query * _scale(query, heads)).to(rows.dtype), projection.to(rows.dtype)
    steps, n_entities, width = rows.shape
    n_agents, size = queries.shape[1], next(_blocks(steps, n_entities)).stop
    of_weight, of_query, of_projection = (
        inputs.new_zeros(shape) for shape in ((width, inputs.shape[2]), query.shape, projection.shape)
    )
    of_bias = inputs.new_zeros(width)
    buffers = [tensor.new_empty(size, *tensor.shape[1:]) for tensor in (queries, projected, rows)]
    for block in _blocks(steps, n_entities):
        embedded = rows[block]
        of_queries, of_projected, of_rows = (buffer[: len(embedded)] for buffer in buffers)
        kernel(block, queries[block], projected[block], embedded, of_queries, of_projected, of_rows)
        flat, of_flat = embedded.flatten(0, 1), of_rows.flatten(0, 1)
        through, asked = of_projected.flatten(0, 1), of_queries.flatten(0, 1)
        of_projection += through.t() @ flat
        of_query += asked.t() @ embedded[:, :n_agents].reshape(-1, width)
        of_flat.addmm_(through, projection, beta=float(has_rows))
        of_rows[:, :n_agents] += (asked @ scaled).view_as(of_queries)
        torch.ops.aten.threshold_backward.grad_input(of_flat, flat, 0, grad_input=of_flat)
        of_weight += of_flat.t() @ inputs[block].flatten(0, 1).to(rows.dtype)
        of_bias += of_flat.sum(dim=0, dtype=torch.float32)
    return of_weight, of_bias, of_query.mul_(_scale(query, heads)), of_projection


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor,
        query: Tensor,
        key_value: Tensor,
        views: Tensor,
        heads: int,
        differentiable: bool,
    ) -> Tensor:
        mixed = torch.empty(*views.shape[:3], query.shape[0], dtype=_precision())
        rows_of = views.flatten(1, 2), mixed.flatten(1, 2)

        def kernel(block: slice, queries: Tensor, projected: Tensor, _: Tensor) -> None:
            arrays = (queries, projected, *(tensor[block] for tensor in rows_of))
            attention.attend_forward(*map(array_of, arrays), heads)

        parameters = (weight, bias, query, key_value)
        made = _forward(inputs, parameters, views.shape[2], heads, differentiable, kernel)
        ctx.save_for_backward(views, inputs, query, key_value, *(made if differentiable else ()))
        ctx.heads = heads
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        views, *saved = ctx.saved_tensors
        rows_of = views.flatten(1, 2), gradients[0].contiguous().flatten(1, 2)

        def kernel(block: slice, queries: Tensor, projected: Tensor, _: Tensor, *of: Tensor) -> None:
            arrays = (queries, projected, *(tensor[block] for tensor in rows_of), *of[:2])
            attention.attend_backward(*map(array_of, arrays), ctx.heads)

        return None, *_backward(tuple(saved), ctx.heads, kernel, has_rows=False), None, None, None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor,
        query: Tensor,
        key: Tensor,
        view: Tensor,
        heads: int,
        differentiable: bool,
    ) -> Tensor:
        gathered = torch.empty(len(view), heads, query.shape[0], dtype=_precision())

        def kernel(block: slice, queries: Tensor, keys: Tensor, rows: Tensor) -> None:
            arrays = (queries, keys, view[block], rows, gathered[block])
            attention.gather_forward(*map(array_of, arrays), heads)

        parameters = (weight, bias, query, key)
        made = _forward(inputs, parameters, view.shape[1], heads, differentiable, kernel)
        ctx.save_for_backward(view, inputs, query, key, *(made if differentiable else ()))
        ctx.heads = heads
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        view, *saved = ctx.saved_tensors
        came = gradients[0].contiguous()

        def kernel(block: slice, queries: Tensor, keys: Tensor, rows: Tensor, *of: Tensor) -> None:
            arrays = (queries, keys, view[block], rows, came[block], *of)
            attention.gather_backward(*map(array_of, arrays), ctx.heads)

        return None, *_backward(tuple(saved), ctx.heads, kernel, has_rows=True), None, None, None
