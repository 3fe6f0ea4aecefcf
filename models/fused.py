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
    rows: Float[Tensor, "L R I"], first: Float[Tensor, "N R hidden"], starts: Int64[Tensor, " N+1"], net: torch.nn.GRU
) -> Float[Tensor, "L R hidden"]:
    """All states of `net`, a GRU of one layer, over episodes that begin at `starts` from the states `first`."""
    parameters = (net.weight_ih_l0, net.weight_hh_l0, net.bias_ih_l0, net.bias_hh_l0)
    states: Tensor = _GRU.apply(rows, first, starts, *parameters, torch.is_grad_enabled())
    return states


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
        recurrence.forward(*(array_of(t) for t in (rows, *weights, first, starts, states, gates, recurrent)))
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
            *(array_of(t) for t in (gates, recurrent, from_state, first, starts, states, gradients[0].contiguous()))
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


def array_of(tensor: Tensor) -> NDArray[Any]:
    """A tensor's memory for a kernel; NumPy has no bfloat16, so that its bits travel as whole numbers."""
    bits = tensor.detach().view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor.detach()
    array: NDArray[Any] = bits.numpy()
    return array
