"""Scores of the pairs of agent and target that a view shows, forward and backward, with one parallel task per step.

H is the size of queries and keys, K the number of pair units (0 for none) and T that of targets; the other axes are
those of `mipi_pl.models.attention`. H and K are multiples of LANES. The kernels compute only the pairs that a view
shows. They never store an array of size A * T * K, and the backward pass recomputes the units.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import prange, types
from numba.core import cgutils

from mipi_pl.models.kernels.vector import (
    FLOAT,
    LANES,
    ZERO,
    entry,
    fma,
    instructions,
    load,
    reduced,
    row_loop,
    vectors_of,
    whole_constant,
)


@instructions
def _dot(_context: Any, query: Any, key: Any, weights: Any, own: Any, target: Any) -> Any:
    """Return <query, key> + <weights, relu(own + target)> of one pair; NaN stays NaN."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, vector = signature.args, ir.VectorType(FLOAT, LANES)
        total, zero = cgutils.alloca_once(builder, vector), ir.Constant(vector, None)
        builder.store(zero, total)

        def length(of: int) -> Any:
            return context.make_array(kinds[of])(context, builder, arguments[of]).nitems

        def loaded(of: int, place: Any) -> Any:
            return load(context, builder, kinds[of], arguments[of], place, LANES)

        with vectors_of(builder, length(0)) as (place, _):
            builder.store(fma(builder, loaded(0, place), loaded(1, place), builder.load(total)), total)
        with vectors_of(builder, length(2)) as (place, _):
            unit = builder.fadd(loaded(3, place), loaded(4, place))
            unit = builder.select(builder.fcmp_ordered("<", unit, zero), zero, unit)
            builder.store(fma(builder, loaded(2, place), unit, builder.load(total)), total)
        lanes = reduced(builder, builder.load(total), builder.fadd)
        return builder.extract_element(lanes, whole_constant(ir.IntType(32), 0))

    return types.float32(query, key, weights, own, target), build


@row_loop
def _dot_backward(gradient: Any, query: Any, key: Any, grad_query: Any, grad_key: Any) -> None:
    """Add the gradient of <query, key> to the gradients of its two factors."""
    for k in range(len(query)):
        grad_query[k] += gradient * key[k]
        grad_key[k] += gradient * query[k]


@row_loop
def _pair_backward(
    gradient: Any, weights: Any, own: Any, target: Any, grad_weights: Any, grad_own: Any, grad_target: Any
) -> None:
    """Add the gradient of <weights, relu(own + target)> to the gradients of its three arguments."""
    for k in range(len(weights)):
        unit = own[k] + target[k]
        passed = gradient * weights[k] if unit > ZERO else ZERO
        grad_weights[k] += ZERO if unit < ZERO else gradient * unit
        grad_own[k] += passed
        grad_target[k] += passed


@entry
def forward(query: Any, key: Any, weights: Any, own: Any, target: Any, views: Any, first: int, scores: Any) -> None:
    """Compute <query, key> + <weights, relu(own + target)> where a view shows the target, else 0.

    Args:
        query: [L, V, A, H].
        key: [L, T, H].
        weights: [L, V, A, K].
        own: [L, A, K].
        target: [L, T, K].
        views: [L, V, A, E].
        first: entity slot of the first target.
        scores: [L, V, A, T], written.
    """
    n_views, n_agents, n_targets = scores.shape[1:]
    for step in prange(len(views)):
        for v in range(n_views):
            for a in range(n_agents):
                for t in range(n_targets):
                    scores[step, v, a, t] = (
                        _dot(query[step, v, a], key[step, t], weights[step, v, a], own[step, a], target[step, t])
                        if views[step, v, a, first + t]
                        else ZERO
                    )


@entry
def backward(
    query: Any,
    key: Any,
    weights: Any,
    own: Any,
    target: Any,
    views: Any,
    first: int,
    gradient: Any,
    grad_query: Any,
    grad_key: Any,
    grad_weights: Any,
    grad_own: Any,
    grad_target: Any,
) -> None:
    """Compute the gradients of the inputs of `forward` from the gradient of its output.

    Args: as in the forward kernel; gradient [L, V, A, T] of `scores`; a gradient of the shape of each input,
        written.
    """
    n_views, n_agents, n_targets = gradient.shape[1:]
    for step in prange(len(views)):
        grad_key[step], grad_own[step], grad_target[step] = ZERO, ZERO, ZERO
        for v in range(n_views):
            for a in range(n_agents):
                grad_query[step, v, a], grad_weights[step, v, a] = ZERO, ZERO
                for t in range(n_targets):
                    if views[step, v, a, first + t]:
                        passed = gradient[step, v, a, t]
                        _dot_backward(
                            passed, query[step, v, a], key[step, t], grad_query[step, v, a], grad_key[step, t]
                        )
                        _pair_backward(
                            passed,
                            weights[step, v, a],
                            own[step, a],
                            target[step, t],
                            grad_weights[step, v, a],
                            grad_own[step, a],
                            grad_target[step, t],
                        )
