"""GRU over packed agents, forward and backward, with one parallel task per episode and without padding.

G = 3 * hidden is the number of gates, in the order of PyTorch: reset, update, new. N, L, Q, V and A are those of
`mipi_pl.models.packing`. The Q * V rows are ordered by step, then agent, then view. The rows of a step go through the
GRU together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from mipi_pl.models.kernels.matrices import product
from mipi_pl.models.kernels.vector import ONE, TWO, entry, exp, row_loop


@row_loop
def _gru_step(input_part: Any, state_part: Any, old: Any, new: Any) -> None:
    """Compute the new state of one row from the two parts of its gates; overwrites `input_part` with the gates."""
    hidden = len(new)
    for j in range(hidden):
        reset = ONE / (ONE + exp(-input_part[j] - state_part[j]))
        update = ONE / (ONE + exp(-input_part[hidden + j] - state_part[hidden + j]))
        candidate = ONE - TWO / (exp(TWO * (input_part[2 * hidden + j] + reset * state_part[2 * hidden + j])) + ONE)
        input_part[j], input_part[hidden + j], input_part[2 * hidden + j] = reset, update, candidate
        new[j] = candidate + update * (old[j] - candidate)


_BLOCK = 64
"""Rows whose input part is computed at once, unless a step has more."""


@row_loop
def _linear(result: Any, to: Any, left: Any, first: Any, weight: Any, bias: Any, rows: Any) -> None:
    """Set result[to + r] = left[first + r] @ weight + bias for 0 <= r < rows."""
    product(result, to, left, first, weight, rows)
    for r in range(to, to + rows):
        for j in range(len(bias)):
            result[r, j] += bias[j]


@row_loop
def _gru_step_backward(
    gate: Any, recurrent: Any, old: Any, grad_output: Any, carried: Any, grad_state_part: Any
) -> None:
    """Compute the gradients of one row; overwrites `gate`, `recurrent` and `carried` with them.

    The gradient of the new state is the sum of `grad_output` and `carried`. `carried` becomes the direct part of the
    gradient of the old state, `gate` the gradient of the input part of the gates.
    """
    hidden = len(old)
    for j in range(hidden):
        reset, update, candidate = gate[j], gate[hidden + j], gate[2 * hidden + j]
        grad_state = grad_output[j] + carried[j]
        grad_candidate = grad_state * (ONE - update) * (ONE - candidate * candidate)
        grad_update = grad_state * (old[j] - candidate) * update * (ONE - update)
        grad_reset = grad_candidate * recurrent[j] * reset * (ONE - reset)
        carried[j] = grad_state * update
        recurrent[j] = grad_candidate * reset
        gate[j], gate[hidden + j], gate[2 * hidden + j] = grad_reset, grad_update, grad_candidate
        grad_state_part[j], grad_state_part[hidden + j] = grad_reset, grad_update
        grad_state_part[2 * hidden + j] = grad_candidate * reset


@entry
def forward(
    rows: Any,
    from_input: Any,
    from_state: Any,
    input_bias: Any,
    state_bias: Any,
    agents: Any,
    agent_starts: Any,
    starts: Any,
    states: Any,
    last: Any,
    gates: Any,
    recurrent: Any,
    before: Any,
) -> None:
    """Compute all states of the GRU.

    Args:
        rows: [Q * V, I], inputs.
        from_input: [I, G], transpose of PyTorch's input weight.
        from_state: [hidden, G], transpose of PyTorch's recurrent weight.
        input_bias: [G].
        state_bias: [G].
        agents: [Q], agent of each row.
        agent_starts: [L + 1], first agent row of each step, and Q.
        starts: [N + 1], first step of each episode, and L.
        states: [Q * V, hidden], written.
        last: [N, A, V, hidden], the initial states; overwritten with the states after the last step.
        gates: [Q * V, G], written for the backward pass: the values of the gates. Empty if there is no backward
            pass.
        recurrent: [Q * V, hidden], written for the backward pass: recurrent part of the new gate, before it is
            multiplied by the reset gate.
        before: [Q * V, hidden], written for the backward pass: the states before each step.
    """
    hidden, n_views, keep = len(from_state), last.shape[2], len(gates) > 0
    for n in prange(len(starts) - 1):
        max_rows, end = last.shape[1] * n_views, agent_starts[starts[n + 1]] * n_views
        buffer = np.empty((0 if keep else max(_BLOCK, max_rows), 3 * hidden), np.float32)
        input_part = gates if keep else buffer
        state_part, old = np.empty((max_rows, 3 * hidden), np.float32), np.empty((max_rows, hidden), np.float32)
        begin = stop = agent_starts[starts[n]] * n_views  # rows of the present block
        for t in range(starts[n], starts[n + 1]):
            first, count = agent_starts[t] * n_views, (agent_starts[t + 1] - agent_starts[t]) * n_views
            if first + count > stop:
                begin, stop = first, min(first + max(_BLOCK, count), end)
                _linear(input_part, begin if keep else 0, rows, begin, from_input, input_bias, stop - begin)
            for r in range(count):
                old[r] = last[n, agents[(first + r) // n_views], r % n_views]
            _linear(state_part, 0, old, 0, from_state, state_bias, count)
            place = first if keep else first - begin
            for r in range(count):
                _gru_step(input_part[place + r], state_part[r], old[r], states[first + r])
                last[n, agents[(first + r) // n_views], r % n_views] = states[first + r]
            if keep:
                recurrent[first : first + count] = state_part[:count, 2 * hidden :]
                before[first : first + count] = old[:count]


@entry
def backward(
    gates: Any,
    recurrent: Any,
    before: Any,
    weight: Any,
    agents: Any,
    agent_starts: Any,
    starts: Any,
    gradient: Any,
    carried: Any,
) -> None:
    """Compute the gradients before the non-linearities by back-propagation through time.

    Args:
        gates: [Q * V, G], written by `forward`; overwritten with the gradient of the input part of the gates.
        recurrent: [Q * V, hidden], written by `forward`; overwritten with the gradient of the recurrent part of
            the new gate.
        before: [Q * V, hidden], written by `forward`.
        weight: [G, hidden], PyTorch's recurrent weight.
        agents: [Q], agent of each row.
        agent_starts: [L + 1], first agent row of each step, and Q.
        starts: [N + 1], first step of each episode, and L.
        gradient: [Q * V, hidden], gradient of the states.
        carried: [N, A, V, hidden], gradient of the last states; overwritten with that of the initial states.
    """
    hidden, n_views = len(weight) // 3, carried.shape[2]
    for n in prange(len(starts) - 1):
        max_rows = carried.shape[1] * n_views
        direct, indirect = np.empty((max_rows, hidden), np.float32), np.empty((max_rows, hidden), np.float32)
        grad_state_part = np.empty((max_rows, 3 * hidden), np.float32)
        for t in range(starts[n + 1] - 1, starts[n] - 1, -1):
            first, count = agent_starts[t] * n_views, (agent_starts[t + 1] - agent_starts[t]) * n_views
            for r in range(count):
                row = first + r
                direct[r] = carried[n, agents[row // n_views], r % n_views]
                _gru_step_backward(
                    gates[row], recurrent[row], before[row], gradient[row], direct[r], grad_state_part[r]
                )
            product(indirect, 0, grad_state_part, 0, weight, count)
            for r in range(count):
                carried[n, agents[(first + r) // n_views], r % n_views] = direct[r] + indirect[r]
