"""The GRU over packed steps, forward and backward: one task per episode, nothing padded.

R is the number of rows that go through the GRU side by side (views times agents), G = 3 * hidden its gates in the order
of PyTorch: reset, update, new; L and N as in `models.agent`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from mipi_pl.compiled import source_hash
from models.kernels.matrices import add_product
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
def _begin(total: Any, bias: Any) -> None:
    for r in range(total.shape[0]):
        for j in range(total.shape[1]):
            total[r, j] = bias[j]


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
        first: Any,
        starts: Any,
        states: Any,
        gates: Any,
        recurrent: Any,
    ) -> int:
        """All states of the GRU.

        Args:
            rows: [L, R, I].
            from_input: [I, G], the transpose of PyTorch's.
            from_state: [hidden, G], likewise.
            input_bias: [G].
            state_bias: [G].
            first: [N, R, hidden].
            starts: [N + 1], the first step of each episode, and L.
            states: [L, R, hidden], written.
            gates: [L, R, G], written for the backward pass: the values of the gates. Empty: none is to follow.
            recurrent: [L, R, hidden], likewise: recurrent part of the new gate before the reset gate multiplies it.
        """
        hidden = len(from_state)
        for n in prange(len(starts) - 1):
            mine, other = (
                np.empty((rows.shape[1], 3 * hidden), np.float32),
                np.empty((rows.shape[1], 3 * hidden), np.float32),
            )
            for t in range(starts[n], starts[n + 1]):
                before = first[n] if t == starts[n] else states[t - 1]
                _begin(mine, input_bias)
                add_product(mine, rows[t], from_input)
                _begin(other, state_bias)
                add_product(other, before, from_state)
                for r in range(rows.shape[1]):
                    _gru_step(mine[r], other[r], before[r], states[t, r])
                if len(gates):
                    gates[t] = mine
                    recurrent[t] = other[:, 2 * hidden :]
        return source

    return forward


def _make_backward(source: int) -> Callable[..., int]:
    @entry
    def backward(gates: Any, recurrent: Any, weight: Any, first: Any, starts: Any, states: Any, gradient: Any) -> int:
        """Gradients before the non-linearities, by back-propagation through time.

        Args:
            gates: [L, R, G], as `forward` left them; become the gradient of their input part.
            recurrent: [L, R, hidden], likewise; becomes the gradient of the recurrent part of the new gate.
            weight: [G, hidden] of the state, as PyTorch keeps it.
            first: [N, R, hidden].
            starts: [N + 1].
            states: [L, R, hidden].
            gradient: [L, R, hidden] of the states.
        """
        for n in prange(len(starts) - 1):
            carried = np.zeros(states.shape[1:], np.float32)
            total = np.empty(gates.shape[1:], np.float32)
            for t in range(starts[n + 1] - 1, starts[n] - 1, -1):
                before = first[n] if t == starts[n] else states[t - 1]
                for r in range(len(total)):
                    _gru_step_backward(gates[t, r], recurrent[t, r], before[r], gradient[t, r], carried[r], total[r])
                add_product(carried, total, weight)
        return source

    return backward


forward = _make_forward(source_hash(__package__))
backward = _make_backward(source_hash(__package__))
