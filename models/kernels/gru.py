"""The GRU over packed agents, forward and backward: one task per episode, nothing padded.

G = 3 * hidden gates in the order of PyTorch: reset, update, new; N, L, Q, V and A as in `models.packing`. The rows, Q
times V, stand by step, then by agent, then by view; those of one step of an episode go through the GRU side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from mipi_pl.utils.compiled import source_hash
from models.kernels.matrices import product
from models.kernels.vector import ONE, TWO, entry, exp, row_loop


@row_loop
def _gru_step(mine: Any, other: Any, old: Any, new: Any) -> None:
    """One row from the input part `mine` and the recurrent part `other` of its gates: they become what is saved."""
    hidden = len(new)
    for j in range(hidden):
        reset = ONE / (ONE + exp(-mine[j] - other[j]))
        update = ONE / (ONE + exp(-mine[hidden + j] - other[hidden + j]))
        candidate = ONE - TWO / (exp(TWO * (mine[2 * hidden + j] + reset * other[2 * hidden + j])) + ONE)
        mine[j], mine[hidden + j], mine[2 * hidden + j] = reset, update, candidate
        new[j] = candidate + update * (old[j] - candidate)


@row_loop
def _add(total: Any, bias: Any, rows: Any) -> None:
    for r in range(rows):
        for j in range(len(bias)):
            total[r, j] += bias[j]


@row_loop
def _gru_step_backward(gate: Any, kept: Any, old: Any, given: Any, back: Any, mine: Any) -> None:
    """One row: what the state's gradient gives to the gates, and directly to the state before."""
    hidden = len(old)
    for j in range(hidden):
        reset, update, candidate = gate[j], gate[hidden + j], gate[2 * hidden + j]
        of_state = given[j] + back[j]
        of_candidate = of_state * (ONE - update) * (ONE - candidate * candidate)
        of_update = of_state * (old[j] - candidate) * update * (ONE - update)
        of_reset = of_candidate * kept[j] * reset * (ONE - reset)
        back[j] = of_state * update
        kept[j] = of_candidate * reset
        gate[j], gate[hidden + j], gate[2 * hidden + j] = of_reset, of_update, of_candidate
        mine[j], mine[hidden + j], mine[2 * hidden + j] = of_reset, of_update, of_candidate * reset


def _make_forward(source: int) -> Callable[..., int]:
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
    ) -> int:
        """All states of the GRU.

        Args:
            rows: [Q * V, I].
            from_input: [I, G], the transpose of PyTorch's.
            from_state: [hidden, G], likewise.
            input_bias: [G].
            state_bias: [G].
            agents: [Q], the number of each.
            agent_starts: [L + 1], the first of them in each step, and Q.
            starts: [N + 1], the first step of each episode, and L.
            states: [Q * V, hidden], written.
            last: [N, A, V, hidden], the states to begin with; becomes those after the last step.
            gates: [Q * V, G], written for the backward pass: the values of the gates. Empty: none is to follow.
            recurrent: [Q * V, hidden], likewise: recurrent part of the new gate before the reset gate multiplies it.
            before: [Q * V, hidden], likewise: the states before the step.
        """
        hidden, n_views = len(from_state), last.shape[2]
        for n in prange(len(starts) - 1):
            most = last.shape[1] * n_views
            mine, other = np.empty((most, 3 * hidden), np.float32), np.empty((most, 3 * hidden), np.float32)
            old = np.empty((most, hidden), np.float32)
            for t in range(starts[n], starts[n + 1]):
                first, count = agent_starts[t] * n_views, (agent_starts[t + 1] - agent_starts[t]) * n_views
                for r in range(count):
                    old[r] = last[n, agents[(first + r) // n_views], r % n_views]
                product(mine, rows, first, from_input, count)
                _add(mine, input_bias, count)
                product(other, old, 0, from_state, count)
                _add(other, state_bias, count)
                for r in range(count):
                    _gru_step(mine[r], other[r], old[r], states[first + r])
                    last[n, agents[(first + r) // n_views], r % n_views] = states[first + r]
                if len(gates):
                    gates[first : first + count] = mine[:count]
                    recurrent[first : first + count] = other[:count, 2 * hidden :]
                    before[first : first + count] = old[:count]
        return source

    return forward


def _make_backward(source: int) -> Callable[..., int]:
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
    ) -> int:
        """Gradients before the non-linearities, by back-propagation through time.

        Args:
            gates: [Q * V, G], as `forward` left them; become the gradient of their input part.
            recurrent: [Q * V, hidden], likewise; becomes the gradient of the recurrent part of the new gate.
            before: [Q * V, hidden], as `forward` left it.
            weight: [G, hidden] of the state, as PyTorch keeps it.
            agents: [Q].
            agent_starts: [L + 1].
            starts: [N + 1].
            gradient: [Q * V, hidden] of the states.
            carried: [N, A, V, hidden] of the last states; becomes that of the first ones.
        """
        hidden, n_views = len(weight) // 3, carried.shape[2]
        for n in prange(len(starts) - 1):
            most = carried.shape[1] * n_views
            back, through = np.empty((most, hidden), np.float32), np.empty((most, hidden), np.float32)
            total = np.empty((most, 3 * hidden), np.float32)
            for t in range(starts[n + 1] - 1, starts[n] - 1, -1):
                first, count = agent_starts[t] * n_views, (agent_starts[t + 1] - agent_starts[t]) * n_views
                for r in range(count):
                    row = first + r
                    back[r] = carried[n, agents[row // n_views], r % n_views]
                    _gru_step_backward(gates[row], recurrent[row], before[row], gradient[row], back[r], total[r])
                product(through, total, 0, weight, count)
                for r in range(count):
                    carried[n, agents[(first + r) // n_views], r % n_views] = back[r] + through[r]
        return source

    return backward


forward = _make_forward(source_hash(__package__))
backward = _make_backward(source_hash(__package__))
