"""The softmax over rows that are padded to whole vectors, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from models.kernels.vector import (
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
)


def _parts(builder: Any, padded: Any) -> Any:
    """A loop over the vectors of a row."""
    begin, step = (ir.Constant(padded.type, number) for number in (0, LANES))
    return cgutils.for_range_slice(builder, begin, padded, step, padded.type)


@instructions
def _softmax(_context: Any, weights: Any, scores: Any, at: Any, shown: Any, row: Any, padded: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        weights, scores, at, shown, row, padded = given
        kinds = signature.args
        vector = ir.VectorType(FLOAT, LANES)
        zero = ir.Constant(vector, None)
        largest, total = (cgutils.alloca_once(builder, vector) for _ in range(2))
        builder.store(constant(vector, -np.inf), largest)
        builder.store(zero, total)

        def seen_at(place: Any) -> tuple[Any, Any]:
            flags = load(context, builder, kinds[3], shown, builder.add(row, place), LANES)
            found = load(context, builder, kinds[1], scores, builder.add(at, place), LANES)
            return builder.fcmp_ordered(">", flags, zero), found

        with _parts(builder, padded) as (place, _):
            seen, found = seen_at(place)
            found = builder.select(seen, found, constant(vector, -np.inf))
            builder.store(maximum(builder, found, builder.load(largest)), largest)
        top = reduced(builder, builder.load(largest), lambda a, b: maximum(builder, a, b))
        with _parts(builder, padded) as (place, _):
            seen, found = seen_at(place)
            weight = builder.select(seen, exp_of(builder, builder.fsub(found, top)), zero)
            store(context, builder, kinds[0], weights, builder.add(row, place), weight)
            builder.store(builder.fadd(weight, builder.load(total)), total)
        # A row that shows nothing has weights of 0, not 0 / 0.
        share = builder.fadd(reduced(builder, builder.load(total), builder.fadd), constant(vector, TINY))
        share = builder.fdiv(constant(vector, 1.0), share)
        with _parts(builder, padded) as (place, _):
            index = builder.add(row, place)
            weight = builder.fmul(load(context, builder, kinds[0], weights, index, LANES), share)
            store(context, builder, kinds[0], weights, index, weight)
        return context.get_dummy_value()

    i = types.intp
    return types.void(weights, scores, i, shown, i, i), build


@row_loop
def softmax(weights: Any, row: Any, scores: Any, score_row: Any, shown: Any) -> None:
    """weights[row] becomes the softmax of scores[score_row] where shown[row] is 1, and 0 where it is 0.

    Rows have a multiple of LANES columns. A row that shows nothing gives zeros.
    """
    padded = weights.shape[1]
    _softmax(weights, scores, score_row * padded, shown, row * padded, padded)


@instructions
def _through_softmax(
    _context: Any, of_scores: Any, at: Any, weights: Any, row: Any, of_weights: Any, other: Any, padded: Any
) -> Any:
    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        of_scores, at, weights, row, of_weights, other, padded = given
        kinds = signature.args
        vector = ir.VectorType(FLOAT, LANES)
        total = cgutils.alloca_once(builder, vector)
        builder.store(ir.Constant(vector, None), total)

        def loaded(place: Any) -> tuple[Any, Any]:
            weight = load(context, builder, kinds[2], weights, builder.add(row, place), LANES)
            return weight, load(context, builder, kinds[4], of_weights, builder.add(other, place), LANES)

        with _parts(builder, padded) as (place, _):
            weight, gradient = loaded(place)
            builder.store(fma(builder, weight, gradient, builder.load(total)), total)
        mean = reduced(builder, builder.load(total), builder.fadd)
        with _parts(builder, padded) as (place, _):
            weight, gradient = loaded(place)
            index = builder.add(at, place)
            old = load(context, builder, kinds[0], of_scores, index, LANES)
            more = fma(builder, weight, builder.fsub(gradient, mean), old)
            store(context, builder, kinds[0], of_scores, index, more)
        return context.get_dummy_value()

    i = types.intp
    return types.void(of_scores, i, weights, i, of_weights, i, i), build


@row_loop
def through_softmax(of_scores: Any, score_row: Any, weights: Any, row: Any, of_weights: Any, other: Any) -> None:
    """Add to of_scores[score_row] the gradient that weights[row], made from those scores, pass on of_weights[other]."""
    padded = weights.shape[1]
    _through_softmax(of_scores, score_row * padded, weights, row * padded, of_weights, other * padded, padded)
