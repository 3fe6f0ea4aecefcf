"""Fused entity attention: embedding, projections and kernels, one block of steps at a time.

Over a whole batch, each operation would pass tens of megabytes to the next. Blocks keep these intermediates in the
cache. Without a backward pass, each block overwrites the buffers of the previous one. Entities that no agent sees are
skipped.

Lower-case q and p are the numbers of agents and entities in a block; J is the size of a projection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mipi_pl.models.blocks import Array, Block, Blocks
from mipi_pl.models.fused import array_of
from mipi_pl.models.kernels import attention
from mipi_pl.models.packing import AgentRows

_Kernel = Callable[..., None]


def attend(
    inputs: Float[Tensor, "L E I"],
    embed: tuple[Tensor, Tensor],
    query: Float[Tensor, "W W"],
    key_value: Float[Tensor, "2*W W"],
    views: Bool[Tensor, "L V A E"],
    agents: AgentRows,
    heads: int,
) -> Float[Tensor, "Q V W"]:
    """Compute `mipi_pl.models.attention.EntityAttention.of_agents` from the parameters of the module."""
    packed, differentiable = Blocks.from_views(views, agents, heads), torch.is_grad_enabled()
    mixed: Tensor = _Attend.apply(inputs, *embed, query, key_value, packed, differentiable)
    return mixed


def gather(
    inputs: Float[Tensor, "L E I"],
    embed: tuple[Tensor, Tensor],
    query: Float[Tensor, "W W"],
    key: Float[Tensor, "W W"],
    view: Bool[Tensor, "L A E"],
    heads: int,
) -> Float[Tensor, "L H W"]:
    """Return the entity embeddings weighted by the attention of each head, summed over the agents."""
    packed = Blocks.from_views(view.unsqueeze(1), AgentRows.from_mask(view.any(dim=2)), heads)
    gathered: Tensor = _Gather.apply(inputs, *embed, query, key, packed, torch.is_grad_enabled())
    return gathered


def _precision() -> torch.dtype:
    """Precision of the large matrix products: that of `torch.nn.functional.linear`."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32


def _scale(query: Tensor, heads: int) -> float:
    return float((query.shape[0] // heads) ** -0.5)


def _forward(
    inputs: Tensor, parameters: tuple[Tensor, ...], packed: Blocks, keep: bool, kernel: _Kernel
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute embeddings [p, W], queries [q, W] and projections [p, J] of each block and run `kernel` on them.

    Args:
        inputs: [L, E, I].
        parameters: weight [W, I] and bias [W] of the embedding, weights of queries [W, W] and projections [J, W].
        packed: rows of the batch and their blocks.
        keep: whether to keep the results of all blocks; otherwise the blocks share their memory.
        kernel: called with the block and its queries, projections and embeddings, as arrays.

    Returns:
        Embeddings, queries and projections; meaningful only with `keep`.
    """
    weight, bias, query, projection = (p.to(_precision()) for p in parameters)
    query = query * _scale(query, packed.heads)
    counts = (len(packed.rows.row), len(packed.rows.of_asked)) if keep else map(packed.most, ("entities", "agents"))
    n_rows, n_queries = counts
    sizes = ((n_rows, len(bias)), (n_queries, len(query)), (n_rows, len(projection)))
    rows, queries, projected = buffers = tuple(weight.new_empty(*size) for size in sizes)
    rows_array, queries_array, projected_array = map(array_of, buffers)
    for block in packed.blocks:
        at, query_at = block.entities, block.agents
        if not keep:
            at, query_at = (slice(0, used.stop - used.start) for used in (at, query_at))
        embedded = rows[at]
        torch.addmm(bias, packed.inputs(inputs, block).to(weight.dtype), weight.t(), out=embedded).relu_()
        torch.mm(embedded.index_select(0, packed.of_asked(block)), query.t(), out=queries[query_at])
        torch.mm(embedded, projection.t(), out=projected[at])
        kernel(block, queries_array[query_at], projected_array[at], rows_array[at])
    return rows, queries, projected


def _backward(saved: tuple[Tensor, ...], packed: Blocks, kernel: _Kernel, has_rows: bool) -> tuple[Tensor, ...]:
    """Compute the gradients of the parameters of `_forward`, in the same order.

    The products have the precision of the forward pass. Their sums over the blocks are float32.

    Args:
        saved: inputs, weights of queries and projections, and the results of `_forward`.
        packed: rows of the batch and their blocks.
        kernel: called with the block, its queries, projections and embeddings, and buffers for the gradients of these
            three, all as arrays. It writes the first two of these buffers, and the third with `has_rows`.
        has_rows: whether `kernel` writes the gradients of the embeddings.
    """
    inputs, query, projection, rows, queries, projected = saved
    scale, width = _scale(query, packed.heads), rows.shape[1]
    scaled, projection = (query * scale).to(rows.dtype), projection.to(rows.dtype)
    grad_weight, grad_query, grad_projection = (
        inputs.new_zeros(shape) for shape in ((width, inputs.shape[2]), query.shape, projection.shape)
    )
    grad_bias = inputs.new_zeros(width)
    sizes = ((queries, "agents"), (projected, "entities"), (rows, "entities"))
    buffers = [tensor.new_empty(packed.most(of), tensor.shape[1]) for tensor, of in sizes]
    arrays, grad_arrays = (
        [array_of(tensor) for tensor in tensors] for tensors in ((queries, projected, rows), buffers)
    )
    for block in packed.blocks:
        places = (block.agents, block.entities, block.entities)
        counts = [place.stop - place.start for place in places]
        block_arrays = (array[place] for array, place in zip(arrays, places, strict=True))
        kernel(block, *block_arrays, *(array[:count] for array, count in zip(grad_arrays, counts, strict=True)))
        block_grad_query, block_grad_projection, grad_rows = (
            buffer[:count] for buffer, count in zip(buffers, counts, strict=True)
        )
        embedded, agents = rows[block.entities], packed.of_asked(block)
        grad_projection += block_grad_projection.t() @ embedded
        grad_query += block_grad_query.t() @ embedded.index_select(0, agents)
        grad_rows.addmm_(block_grad_projection, projection, beta=float(has_rows))
        grad_rows.index_add_(0, agents, block_grad_query @ scaled)
        torch.ops.aten.threshold_backward.grad_input(grad_rows, embedded, 0, grad_input=grad_rows)
        grad_weight += grad_rows.t() @ packed.inputs(inputs, block).to(rows.dtype)
        grad_bias += grad_rows.sum(dim=0, dtype=torch.float32)
    return grad_weight, grad_bias, grad_query.mul_(scale), grad_projection


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor,
        query: Tensor,
        key_value: Tensor,
        packed: Blocks,
        differentiable: bool,
    ) -> Tensor:
        n_queries = len(packed.rows.of_asked)
        mixed = torch.empty(n_queries, packed.views.shape[1], query.shape[0], dtype=_precision())
        out = array_of(mixed)

        def kernel(block: Block, queries: Array, projected: Array, _: Array) -> None:
            where = packed.for_kernel(block)
            attention.attend_forward(queries, projected, *where, out[block.agents], packed.heads)

        results = _forward(inputs, (weight, bias, query, key_value), packed, differentiable, kernel)
        ctx.save_for_backward(inputs, query, key_value, *(results if differentiable else ()))
        ctx.packed = packed
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        packed, gradient = ctx.packed, array_of(gradients[0].contiguous())

        def kernel(block: Block, queries: Array, projected: Array, _: Array, *grads: Array) -> None:
            where = packed.for_kernel(block)
            attention.attend_backward(queries, projected, *where, gradient[block.agents], *grads[:2], packed.heads)

        return None, *_backward(ctx.saved_tensors, packed, kernel, has_rows=False), None, None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor,
        query: Tensor,
        key: Tensor,
        packed: Blocks,
        differentiable: bool,
    ) -> Tensor:
        gathered = torch.empty(len(packed.views), packed.heads, query.shape[0], dtype=_precision())
        out = array_of(gathered)

        def kernel(block: Block, queries: Array, keys: Array, rows: Array) -> None:
            where = packed.for_kernel(block)
            attention.gather_forward(queries, keys, *where, rows, out[block.steps], packed.heads)

        results = _forward(inputs, (weight, bias, query, key), packed, differentiable, kernel)
        ctx.save_for_backward(inputs, query, key, *(results if differentiable else ()))
        ctx.packed = packed
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        packed, gradient = ctx.packed, array_of(gradients[0].contiguous())

        def kernel(block: Block, queries: Array, keys: Array, rows: Array, *grads: Array) -> None:
            where = packed.for_kernel(block)
            attention.gather_backward(queries, keys, *where, rows, gradient[block.steps], *grads, packed.heads)

        return None, *_backward(ctx.saved_tensors, packed, kernel, has_rows=True), None, None
