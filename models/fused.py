"""The switch between the kernels of `mipi_pl.models.kernels` and plain PyTorch, and the fused GRU.

The backward passes of the fused layers are written by hand. Each computes all gradients of a layer at once and avoids
the zeros, copies and sums that autograd inserts between operations.
"""

from __future__ import annotations

from typing import Any

import numba
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from mipi_pl.models.kernels import gru as recurrence
from mipi_pl.models.kernels.vector import LANES
from mipi_pl.models.packing import AgentRows

_COMPILATION_OFF = bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]
_enabled = True


def enable(on: bool) -> None:
    """Choose between the kernels (True, the default) and plain PyTorch for CPU networks, for the whole process."""
    global _enabled  # noqa: PLW0603  # one switch for the process, like PyTorch's number of threads
    _enabled = on


def enabled() -> bool:
    """Return the choice of `enable`."""
    return _enabled


def usable(*tensors: Tensor) -> bool:
    """Return whether the kernels are enabled and all tensors are float32 on the CPU.

    Under autocast, the large matrix products around the kernels use bfloat16. The kernels compute in float32. With
    NUMBA_DISABLE_JIT=1 they are not usable, because they consist of vector instructions that Python does not have.
    """
    return (
        _enabled and not _COMPILATION_OFF and all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)
    )


def fits(width: int, heads: int) -> bool:
    """Return whether the attention kernels support this head size: a multiple of `LANES`."""
    return width // heads % LANES == 0


def gru(
    rows: Float[Tensor, "Q V I"],
    first: Float[Tensor, "N A V hidden"],
    agents: AgentRows,
    starts: Int64[Tensor, " N+1"],
    net: torch.nn.GRU,
) -> tuple[Float[Tensor, "Q V hidden"], Float[Tensor, "N A V hidden"]]:
    """Run the one-layer GRU `net` over packed episodes.

    Args:
        rows: inputs of the GRU.
        first: recurrent states before the first step of each episode.
        agents: step and agent of each row.
        starts: first step of each episode, and L.
        net: GRU whose parameters are used.

    Returns:
        The recurrent state after each row, and the last state of each agent.
    """
    parameters = (net.weight_ih_l0, net.weight_hh_l0, net.bias_ih_l0, net.bias_hh_l0)
    states: tuple[Tensor, Tensor] = _GRU.apply(rows, first, agents, starts, *parameters, torch.is_grad_enabled())
    return states


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
            raise RuntimeError(
                "the fused GRU goes backward once, got a second backward pass: set fused=false for retain_graph=True"
            )
        ctx.spent = True  # the kernel overwrites the saved buffers with gradients
        grad_states, grad_last = (
            gradients[0].flatten(0, 1).contiguous(),
            gradients[1].clone(memory_format=torch.contiguous_format),
        )
        buffers = (gates, recurrent, before, from_state, *where, grad_states, grad_last)
        recurrence.backward(*(array_of(t) for t in buffers))
        grad_first = grad_last  # overwritten by the kernel
        size = recurrent.shape[1]
        grad_bias, grad_new_bias = (gradient.sum(dim=0) for gradient in (gates, recurrent))
        gates, new, before = (t.to(ctx.precision) for t in (gates, recurrent, before))
        grad_from_input = gates.t() @ rows.to(ctx.precision)
        grad_from_state = torch.cat((gates[:, : 2 * size].t() @ before, new.t() @ before))
        return (
            (gates @ from_input.to(ctx.precision)).float().view(ctx.shape) if ctx.needs_input_grad[0] else None,
            grad_first,
            None,
            None,
            grad_from_input.float(),
            grad_from_state.float(),
            grad_bias,
            torch.cat((grad_bias[: 2 * size], grad_new_bias)),
            None,
        )


def array_of(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor's memory as a NumPy array; bfloat16, which NumPy lacks, as the uint16 of the same bits."""
    bits = tensor.detach().view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor.detach()
    array: NDArray[Any] = bits.numpy()
    return array
