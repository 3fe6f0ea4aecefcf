"""The switch between the kernels of `models.kernels` and plain PyTorch, and the GRU as a differentiable function.

Each backward pass is written out: it gives the gradients of all parameters of a layer at once, without the zeros,
copies and sums that autograd makes between one operation and the next.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from models.kernels import gru as recurrence
from models.kernels.vector import LANES
from models.packing import AgentRows

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


def gru(
    rows: Float[Tensor, "Q V I"],
    first: Float[Tensor, "N A V hidden"],
    agents: AgentRows,
    starts: Int64[Tensor, " N+1"],
    net: torch.nn.GRU,
) -> tuple[Float[Tensor, "Q V hidden"], Float[Tensor, "N A V hidden"]]:
    """All states of `net`, a GRU of one layer, over episodes that begin at `starts` from the states `first`.

    Returns:
        A state for each row, and the last one of each agent.
    """
    parameters = (net.weight_ih_l0, net.weight_hh_l0, net.bias_ih_l0, net.bias_hh_l0)
    found: tuple[Tensor, Tensor] = _GRU.apply(rows, first, agents, starts, *parameters, torch.is_grad_enabled())
    return found


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        first: Tensor,
        agents: AgentRows,
        starts: Tensor,
        from_input: Tensor,
        from_state: Tensor,
        input_bias: Tensor,
        state_bias: Tensor,
        differentiable: bool,
    ) -> tuple[Tensor, Tensor]:
        flat, last = rows.flatten(0, 1).contiguous(), first.clone()
        size = first.shape[3]
        states = rows.new_empty(len(flat), size)
        saved = len(flat) if differentiable else 0
        gates, recurrent, before = (rows.new_empty(saved, width) for width in (3 * size, size, size))
        weights = (from_input.t().contiguous(), from_state.t().contiguous(), input_bias, state_bias)
        where = (agents.agent, agents.starts, starts)
        recurrence.forward(*(array_of(t) for t in (flat, *weights, *where, states, last, gates, recurrent, before)))
        ctx.save_for_backward(flat, *where, from_input, from_state, gates, recurrent, before)
        ctx.precision = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else rows.dtype
        ctx.shape = rows.shape
        ctx.spent = False
        return states.view(*rows.shape[:2], size), last

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, *where, from_input, from_state, gates, recurrent, before = ctx.saved_tensors
        if ctx.spent:
            raise RuntimeError("the fused GRU goes backward once: set fused=false for retain_graph=True")
        ctx.spent = True  # the buffers of the forward pass become those of the gradients
        given, carried = (
            gradients[0].flatten(0, 1).contiguous(),
            gradients[1].clone(memory_format=torch.contiguous_format),
        )
        recurrence.backward(*(array_of(t) for t in (gates, recurrent, before, from_state, *where, given, carried)))
        size = recurrent.shape[1]
        of_bias, of_new = (gradient.sum(dim=0) for gradient in (gates, recurrent))
        gates, new, before = (t.to(ctx.precision) for t in (gates, recurrent, before))
        of_input = gates.t() @ rows.to(ctx.precision)
        of_state = torch.cat((gates[:, : 2 * size].t() @ before, new.t() @ before))
        return (
            (gates @ from_input.to(ctx.precision)).float().view(ctx.shape) if ctx.needs_input_grad[0] else None,
            carried,
            None,
            None,
            of_input.float(),
            of_state.float(),
            of_bias,
            torch.cat((of_bias[: 2 * size], of_new)),
            None,
        )


def array_of(tensor: Tensor) -> NDArray[Any]:
    """A tensor's memory for a kernel; NumPy has no bfloat16, so that its bits travel as whole numbers."""
    bits = tensor.detach().view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor.detach()
    array: NDArray[Any] = bits.numpy()
    return array
