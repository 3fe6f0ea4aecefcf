"""Entity attention as differentiable functions: embedding, projections and kernels, for a block of steps at a time.

Over a whole batch each operation would pass tens of megabytes to the next. In blocks they stay in the cache, and what
no backward pass needs is written over by the next block. Entities that nobody sees are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from models.blocks import Array, Block, Blocks
from models.fused import array_of
from models.kernels import attention
from models.packing import AgentRows

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
    """`models.attention.EntityAttention.of_agents` from its parameters."""
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
    """Embedded entities weighted by the attention of each head, summed over the agents."""
    packed = Blocks.from_views(view.unsqueeze(1), AgentRows.from_mask(view.any(dim=2)), heads)
    gathered: Tensor = _Gather.apply(inputs, *embed, query, key, packed, torch.is_grad_enabled())
    return gathered


def _precision() -> torch.dtype:
    """Of the large products: as `torch.nn.functional.linear` would take it."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32


def _scale(query: Tensor, heads: int) -> float:
    return float((query.shape[0] // heads) ** -0.5)


def _forward(
    inputs: Tensor, parameters: tuple[Tensor, ...], packed: Blocks, keep: bool, kernel: _Kernel
) -> tuple[Tensor, Tensor, Tensor]:
    """Run `kernel` on the queries [q, W], projections [p, J] and embeddings [p, W] of each block.

    Args:
        inputs: [L, E, I].
        parameters: weight [W, I] and bias [W] of the embedding, weights of queries [W, W] and projections [J, W].
        packed: the rows.
        keep: return them for all steps; otherwise blocks share their memory.
        kernel: called with the block and the three, as arrays.
    """
    weight, bias, query, projection = (p.to(_precision()) for p in parameters)
    query = query * _scale(query, packed.heads)
    counts = (len(packed.rows.row), len(packed.rows.of_asked)) if keep else map(packed.most, ("entities", "agents"))
    n_rows, n_queries = counts
    sizes = ((n_rows, len(bias)), (n_queries, len(query)), (n_rows, len(projection)))
    rows, queries, projected = made = tuple(weight.new_empty(*size) for size in sizes)
    rows_array, queries_array, projected_array = map(array_of, made)
    for block in packed.blocks:
        at, asking = block.entities, block.agents
        if not keep:
            at, asking = (slice(0, used.stop - used.start) for used in (at, asking))
        embedded = rows[at]
        torch.addmm(bias, packed.inputs(inputs, block).to(weight.dtype), weight.t(), out=embedded).relu_()
        torch.mm(embedded.index_select(0, packed.of_asked(block)), query.t(), out=queries[asking])
        torch.mm(embedded, projection.t(), out=projected[at])
        kernel(block, queries_array[asking], projected_array[at], rows_array[at])
    return rows, queries, projected


def _backward(saved: tuple[Tensor, ...], packed: Blocks, kernel: _Kernel, has_rows: bool) -> tuple[Tensor, ...]:
    """Gradients of the parameters of `_forward`, in their order.

    Products are taken in the precision in which the forward pass took them, and summed over the blocks in float32.

    Args:
        saved: inputs, weights of queries and projections, and what `_forward` returned.
        packed: the rows.
        kernel: called with the block, its queries, projections and embeddings, and the gradients of these three, which
            it writes; all as arrays.
        has_rows: whether it writes the last of them.
    """
    inputs, query, projection, rows, queries, projected = saved
    scale, width = _scale(query, packed.heads), rows.shape[1]
    scaled, projection = (query * scale).to(rows.dtype), projection.to(rows.dtype)
    of_weight, of_query, of_projection = (
        inputs.new_zeros(shape) for shape in ((width, inputs.shape[2]), query.shape, projection.shape)
    )
    of_bias = inputs.new_zeros(width)
    sizes = ((queries, "agents"), (projected, "entities"), (rows, "entities"))
    buffers = [tensor.new_empty(packed.most(of), tensor.shape[1]) for tensor, of in sizes]
    arrays, written = ([array_of(tensor) for tensor in tensors] for tensors in ((queries, projected, rows), buffers))
    for block in packed.blocks:
        places = (block.agents, block.entities, block.entities)
        counts = [place.stop - place.start for place in places]
        read = (array[place] for array, place in zip(arrays, places, strict=True))
        kernel(block, *read, *(array[:count] for array, count in zip(written, counts, strict=True)))
        asked, through, of_rows = (buffer[:count] for buffer, count in zip(buffers, counts, strict=True))
        embedded, agents = rows[block.entities], packed.of_asked(block)
        of_projection += through.t() @ embedded
        of_query += asked.t() @ embedded.index_select(0, agents)
        of_rows.addmm_(through, projection, beta=float(has_rows))
        of_rows.index_add_(0, agents, asked @ scaled)
        torch.ops.aten.threshold_backward.grad_input(of_rows, embedded, 0, grad_input=of_rows)
        of_weight += of_rows.t() @ packed.inputs(inputs, block).to(rows.dtype)
        of_bias += of_rows.sum(dim=0, dtype=torch.float32)
    return of_weight, of_bias, of_query.mul_(scale), of_projection


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
        asked = len(packed.rows.of_asked)
        mixed = torch.empty(asked, packed.views.shape[1], query.shape[0], dtype=_precision())
        out = array_of(mixed)

        def kernel(block: Block, queries: Array, projected: Array, _: Array) -> None:
            where = packed.for_kernel(block)
            attention.attend_forward(queries, projected, *where, out[block.agents], packed.heads)

        made = _forward(inputs, (weight, bias, query, key_value), packed, differentiable, kernel)
        ctx.save_for_backward(inputs, query, key_value, *(made if differentiable else ()))
        ctx.packed = packed
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        packed, came = ctx.packed, array_of(gradients[0].contiguous())

        def kernel(block: Block, queries: Array, projected: Array, _: Array, *of: Array) -> None:
            where = packed.for_kernel(block)
            attention.attend_backward(queries, projected, *where, came[block.agents], *of[:2], packed.heads)

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

        made = _forward(inputs, (weight, bias, query, key), packed, differentiable, kernel)
        ctx.save_for_backward(inputs, query, key, *(made if differentiable else ()))
        ctx.packed = packed
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        packed, came = ctx.packed, array_of(gradients[0].contiguous())

        def kernel(block: Block, queries: Array, keys: Array, rows: Array, *of: Array) -> None:
            where = packed.for_kernel(block)
            attention.gather_backward(queries, keys, *where, rows, came[block.steps], *of, packed.heads)

        return None, *_backward(ctx.saved_tensors, packed, kernel, has_rows=True), None, None
