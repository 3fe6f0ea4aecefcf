"""Masked softmax over rows padded to whole vectors, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from mipi_pl.models.kernels.vector import (
    FLOAT,
    LANES,
    TINY,
    constant,
    exp_of,
    fma,
    instructions,
    load,
    maximum,
    reduced,
    row_loop,
    store,
    vectors_of,
)


@instructions
def _softmax(_context: Any, weights: Any, scores: Any, at: Any, shown: Any, row: Any, padded: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        weights, scores, at, shown, row, padded = arguments
        kinds = signature.args
        vector = ir.VectorType(FLOAT, LANES)
        zero = ir.Constant(vector, None)
        largest, total = (cgutils.alloca_once(builder, vector) for _ in range(2))
        builder.store(constant(vector, -np.inf), largest)
        builder.store(zero, total)

        def seen_at(place: Any) -> tuple[Any, Any]:
            flags = load(context, builder, kinds[3], shown, builder.add(row, place), LANES)
            score = load(context, builder, kinds[1], scores, builder.add(at, place), LANES)
            return builder.fcmp_ordered(">", flags, zero), score

        with vectors_of(builder, padded) as (place, _):
            seen, score = seen_at(place)
            score = builder.select(seen, score, constant(vector, -np.inf))
            builder.store(maximum(builder, score, builder.load(largest)), largest)
        top = reduced(builder, builder.load(largest), lambda a, b: maximum(builder, a, b))
        with vectors_of(builder, padded) as (place, _):
            seen, score = seen_at(place)
            weight = builder.select(seen, exp_of(builder, builder.fsub(score, top)), zero)
            store(context, builder, kinds[0], weights, builder.add(row, place), weight)
            builder.store(builder.fadd(weight, builder.load(total)), total)
        # TINY avoids 0 / 0 in a row that shows nothing: its weights are 0.
        share = builder.fadd(reduced(builder, builder.load(total), builder.fadd), constant(vector, TINY))
        share = builder.fdiv(constant(vector, 1.0), share)
        with vectors_of(builder, padded) as (place, _):
            index = builder.add(row, place)
            weight = builder.fmul(load(context, builder, kinds[0], weights, index, LANES), share)
            store(context, builder, kinds[0], weights, index, weight)
        return context.get_dummy_value()

    i = types.intp
    return types.void(weights, scores, i, shown, i, i), build


@row_loop
def softmax(weights: Any, row: Any, scores: Any, score_row: Any, shown: Any) -> None:
    """Set weights[row] to the softmax of scores[score_row] over the columns where shown[row] is 1, else to 0.

    The number of columns must be a multiple of LANES. A row that shows nothing becomes zeros.
    """
    padded = weights.shape[1]
    _softmax(weights, scores, score_row * padded, shown, row * padded, padded)


@instructions
def _through_softmax(
    _context: Any, grad_scores: Any, at: Any, weights: Any, row: Any, grad_weights: Any, other: Any, padded: Any
) -> Any:
    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        grad_scores, at, weights, row, grad_weights, other, padded = arguments
        kinds = signature.args
        vector = ir.VectorType(FLOAT, LANES)
        total = cgutils.alloca_once(builder, vector)
        builder.store(ir.Constant(vector, None), total)

        def loaded(place: Any) -> tuple[Any, Any]:
            weight = load(context, builder, kinds[2], weights, builder.add(row, place), LANES)
            return weight, load(context, builder, kinds[4], grad_weights, builder.add(other, place), LANES)

        with vectors_of(builder, padded) as (place, _):
            weight, gradient = loaded(place)
            builder.store(fma(builder, weight, gradient, builder.load(total)), total)
        mean = reduced(builder, builder.load(total), builder.fadd)
        with vectors_of(builder, padded) as (place, _):
            weight, gradient = loaded(place)
            index = builder.add(at, place)
            old = load(context, builder, kinds[0], grad_scores, index, LANES)
            more = fma(builder, weight, builder.fsub(gradient, mean), old)
            store(context, builder, kinds[0], grad_scores, index, more)
        return context.get_dummy_value()

    i = types.intp
    return types.void(grad_scores, i, weights, i, grad_weights, i, i), build


@row_loop
def through_softmax(grad_scores: Any, score_row: Any, weights: Any, row: Any, grad_weights: Any, other: Any) -> None:
    """Back-propagate grad_weights[other] through weights[row] = softmax(scores); add it to grad_scores[score_row]."""
    padded = weights.shape[1]
    _through_softmax(grad_scores, score_row * padded, weights, row * padded, grad_weights, other * padded, padded)
