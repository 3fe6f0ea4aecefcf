"""The kernels of `models.kernels` as differentiable PyTorch functions, and the switch between them and plain PyTorch.

Each backward pass is written out: it gives the gradients of all parameters of a layer at once, without the zeros,
copies and sums that autograd makes between one operation and the next.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from models.kernels import attention
from models.kernels import gru as recurrence
from models.kernels.vector import LANES

_enabled = True


def enable(on: bool) -> None:
    """Let networks on processors use the kernels (the default) or plain PyTorch, in this whole process."""
    global _enabled  # noqa: PLW0603  # one switch for the process, like PyTorch's own number of threads
    _enabled = on


def usable(*tensors: Tensor) -> bool:
    """Whether the kernels are enabled and these tensors are of the kind they take: float32 on a processor.

    Under autocast the large matrix products around the kernels are rounded to bfloat16, the kernels themselves are not.
    """
    return _enabled and all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)


def fits(width: int, heads: int) -> bool:
    """Whether the attention kernels take heads of this size: whole vectors."""
    return width // heads % LANES == 0


def attend(
    inputs: Float[Tensor, "L E I"],
    embed: tuple[Tensor, Tensor],
    query: Float[Tensor, "W W"],
    key_value: Float[Tensor, "2*W W"],
    views: Bool[Tensor, "L V A E"],
    heads: int,
) -> Float[Tensor, "L V A W"]:
    """`models.attention.EntityAttention.forward` from its parameters."""
    mixed: Tensor = _Attend.apply(inputs, *embed, query, key_value, views, heads)
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
    gathered: Tensor = _Gather.apply(inputs, *embed, query, key, view, heads)
    return gathered


def gru(
    rows: Float[Tensor, "L R I"], first: Float[Tensor, "N R hidden"], starts: Int64[Tensor, " N+1"], net: torch.nn.GRU
) -> Float[Tensor, "L R hidden"]:
    """All states of `net`, a GRU of one layer, over episodes that begin at `starts` from the states `first`."""
    parameters = (net.weight_ih_l0, net.weight_hh_l0, net.bias_ih_l0, net.bias_hh_l0)
    states: Tensor = _GRU.apply(rows, first, starts, *parameters, torch.is_grad_enabled())
    return states


def _embed(
    inputs: Tensor, weight: Tensor, bias: Tensor, query: Tensor, n_agents: int, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Embedded entities [L, E, W], those of the agents [L * A, W], and their queries [L, A, W]."""
    rows = linear(inputs, weight, bias).relu_()
    agents = rows[:, :n_agents].reshape(-1, rows.shape[2])
    queries = linear(agents, query * _scale(query, heads))
    return rows, agents, queries.view(len(rows), n_agents, -1)


def _scale(query: Tensor, heads: int) -> float:
    return float((query.shape[0] // heads) ** -0.5)


def _embed_backward(
    saved: tuple[Tensor, Tensor, Tensor, Tensor], heads: int, of_rows: Tensor, of_queries: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the embedding's weight and bias and of the query's weight; `of_rows` [L, E, W] is written over.

    Products are taken in the precision in which the forward pass took them: that of the saved `rows`.
    """
    inputs, query, rows, agents = saved
    flat, scaled = of_queries.flatten(0, 1), (query * _scale(query, heads)).to(rows)
    of_rows[:, : of_queries.shape[1]] += (flat @ scaled).view_as(of_queries)
    torch.ops.aten.threshold_backward.grad_input(of_rows, rows, 0, grad_input=of_rows)
    before = of_rows.flatten(0, 1)
    of_weight = before.t() @ inputs.flatten(0, 1).to(rows)
    of_query = (flat.t() @ agents).float().mul_(_scale(query, heads))
    return of_weight.float(), before.sum(dim=0, dtype=torch.float32), of_query


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
    ) -> Tensor:
        rows, agents, queries = _embed(inputs, weight, bias, query, views.shape[2], heads)
        projected = linear(rows, key_value)
        views = views.contiguous()
        mixed = rows.new_empty(*views.shape[:3], query.shape[0])
        flat = (views.flatten(1, 2), mixed.flatten(1, 2))
        attention.attend_forward(*(_array(t) for t in (queries, projected, *flat)), heads)
        ctx.save_for_backward(inputs, query, rows, agents, queries, key_value, projected, views)
        ctx.heads = heads
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *embedded, queries, key_value, projected, views = ctx.saved_tensors
        of_queries, of_projected = torch.empty_like(queries), torch.empty_like(projected)
        views, came = views.flatten(1, 2), gradients[0].contiguous().flatten(1, 2)
        attention.attend_backward(
            *(_array(t) for t in (queries, projected, views, came, of_queries, of_projected)), ctx.heads
        )
        rows = embedded[2]
        flat = of_projected.flatten(0, 1)
        of_key_value = (flat.t() @ rows.flatten(0, 1)).float()
        of_rows = (flat @ key_value.to(rows)).view_as(rows)
        return None, *_embed_backward(tuple(embedded), ctx.heads, of_rows, of_queries), of_key_value, None, None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, query: Tensor, key: Tensor, view: Tensor, heads: int
    ) -> Tensor:
        rows, agents, queries = _embed(inputs, weight, bias, query, view.shape[1], heads)
        keys = linear(rows, key)
        view = view.contiguous()
        gathered = rows.new_empty(len(rows), heads, query.shape[0])
        attention.gather_forward(*(_array(t) for t in (queries, keys, view, rows, gathered)), heads)
        ctx.save_for_backward(inputs, query, rows, agents, queries, key, keys, view)
        ctx.heads = heads
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *embedded, queries, key, keys, view = ctx.saved_tensors
        rows = embedded[2]
        of_queries, of_keys, of_rows = (torch.empty_like(t) for t in (queries, keys, keys))
        came = gradients[0].contiguous()
        attention.gather_backward(
            *(_array(t) for t in (queries, keys, view, rows, came, of_queries, of_keys, of_rows)), ctx.heads
        )
        flat = of_keys.flatten(0, 1)
        of_key = (flat.t() @ rows.flatten(0, 1)).float()
        of_rows.flatten(0, 1).addmm_(flat, key.to(rows))
        return None, *_embed_backward(tuple(embedded), ctx.heads, of_rows, of_queries), of_key, None, None


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        first: Tensor,
        starts: Tensor,
        from_input: Tensor,
        from_state: Tensor,
        input_bias: Tensor,
        state_bias: Tensor,
        differentiable: bool,
    ) -> Tensor:
        states = rows.new_empty(*rows.shape[:2], first.shape[2])
        saved = rows.shape[:2] if differentiable else (0, 0)
        gates, recurrent = (rows.new_empty(*saved, size) for size in (len(input_bias), first.shape[2]))
        rows, first = rows.contiguous(), first.contiguous()
        weights = (from_input.t().contiguous(), from_state.t().contiguous(), input_bias, state_bias)
        recurrence.forward(*(_array(t) for t in (rows, *weights, first, starts, states, gates, recurrent)))
        ctx.save_for_backward(rows, first, starts, from_input, from_state, gates, states, recurrent)
        ctx.precision = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else rows.dtype
        ctx.spent = False
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, first, starts, from_input, from_state, gates, states, recurrent = ctx.saved_tensors
        if ctx.spent:
            raise RuntimeError("the fused GRU goes backward once: set fused=false for retain_graph=True")
        ctx.spent = True  # the buffers of the forward pass become those of the gradients
        recurrence.backward(
            *(_array(t) for t in (gates, recurrent, from_state, first, starts, states, gradients[0].contiguous()))
        )
        before = torch.cat((first[:1], states[:-1]))
        before[starts[:-1]] = first
        size = first.shape[2]
        of_bias, of_new = (gradient.flatten(0, 1).sum(dim=0) for gradient in (gates, recurrent))
        gates, new, before = (t.flatten(0, 1).to(ctx.precision) for t in (gates, recurrent, before))
        of_input = gates.t() @ rows.flatten(0, 1).to(ctx.precision)
        of_state = torch.cat((gates[:, : 2 * size].t() @ before, new.t() @ before))
        return (
            (gates @ from_input.to(ctx.precision)).float().view_as(rows) if ctx.needs_input_grad[0] else None,
            None,
            None,
            of_input.float(),
            of_state.float(),
            of_bias,
            torch.cat((of_bias[: 2 * size], of_new)),
            None,
        )


def _array(tensor: Tensor) -> NDArray[Any]:
    """A tensor's memory for a kernel; NumPy has no bfloat16, so that its bits travel as whole numbers."""
    bits = tensor.detach().view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor.detach()
    array: NDArray[Any] = bits.numpy()
    return array
