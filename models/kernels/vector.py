"""What all kernels share: how they are compiled, exp, small matrix products and softmax as vector instructions.

Matrices may be float32, or bfloat16 held as uint16; sums are taken in float32 and in a fixed order. LLVM's own sums, in
a free order, rounded one way in a kernel just compiled and another in the same one from disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

_Function = TypeVar("_Function", bound=Callable[..., Any])
# Sums may be taken in any order, so that they run in vectors; NaN and infinity keep their meaning.
_FAST: dict[str, Any] = {"fastmath": {"reassoc", "contract", "arcp", "nsz"}, "error_model": "numpy"}
_PART: dict[str, Any] = {**_FAST, "no_cpython_wrapper": True}


def inline(function: _Function) -> _Function:
    """Compile a function that becomes part of its callers."""
    return cast(_Function, njit(**_PART, forceinline=True)(function))


def row_loop(function: _Function) -> _Function:
    """Compile a function that stays a call: alone, its loop over one row is recognised as free of aliases."""
    return cast(_Function, njit(**_PART)(function))


def entry(function: _Function) -> _Function:
    """Compile a function that Python calls; ``prange`` runs on all threads, the machine code is kept on disk.

    It has to be made inside a function of `mipi_pl.compiled.source_hash`, or the code on disk outlives its source.
    """
    return cast(_Function, njit(**_FAST, cache=True, parallel=True, nogil=True)(function))


def _intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that writes its own instructions; a number that is known when it is compiled stays known."""
    return cast(Callable[..., Any], intrinsic(prefer_literal=True)(function))


ONE, TWO = np.float32(1.0), np.float32(2.0)
LANES = 16
"""Numbers in a vector; rows of scores are padded to whole vectors."""

_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.693359375, -2.12194440e-4
_SMALLEST, _LARGEST = -87.0, 88.0
# Minimax polynomial of exp on [-ln2/2, ln2/2], relative error below 2e-7 (Cephes).
_POLYNOMIAL = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_CONTRACT = ("contract",)
_TINY = float(np.finfo(np.float32).tiny)


# ------------------------------------------------------------------ instructions on floats or vectors of them


def _const(kind: ir.Type, value: float) -> ir.Constant:
    rounded = float(np.float32(value))
    return ir.Constant(kind, [rounded] * kind.count if isinstance(kind, ir.VectorType) else rounded)


def _whole(kind: ir.Type) -> ir.Type:
    return ir.VectorType(_INT, kind.count) if isinstance(kind, ir.VectorType) else _INT


def _int(kind: ir.Type, value: int) -> ir.Constant:
    return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return builder.fadd(builder.fmul(a, b, flags=_CONTRACT), c, flags=_CONTRACT)


def _exp(builder: Any, x: Any) -> Any:
    """Exp of a float or a vector, unlike the one of the C library, which is no vector instruction; NaN stays NaN."""
    kind = x.type
    for bound, beyond in ((_SMALLEST, "<"), (_LARGEST, ">")):
        x = builder.select(builder.fcmp_ordered(beyond, x, _const(kind, bound)), _const(kind, bound), x)
    name = f"llvm.rint.v{kind.count}f32" if isinstance(kind, ir.VectorType) else "llvm.rint.f32"
    rint = builder.module.declare_intrinsic(name, (), ir.FunctionType(kind, [kind]))
    n = builder.call(rint, [builder.fmul(x, _const(kind, _LOG2_E))])
    r = _fma(builder, n, _const(kind, -_LN2_HIGH), x)
    r = _fma(builder, n, _const(kind, -_LN2_LOW), r)
    p = _const(kind, _POLYNOMIAL[0])
    for coefficient in _POLYNOMIAL[1:]:
        p = _fma(builder, p, r, _const(kind, coefficient))
    p = _fma(builder, builder.fmul(p, r), r, builder.fadd(r, _const(kind, 1.0)))
    biased = builder.add(builder.fptosi(n, _whole(kind)), _int(_whole(kind), 127))
    return builder.fmul(p, builder.bitcast(builder.shl(biased, _int(_whole(kind), 23)), kind))


@_intrinsic
def exp(_context: Any, x: Any) -> Any:
    """Exp in float32, in a form that the compiler turns into vectors."""
    return types.float32(types.float32), lambda _context, builder, _signature, given: _exp(builder, given[0])


def _address(context: Any, builder: Any, kind: Any, array: Any, at: Any, lanes: int) -> Any:
    """Pointer to `lanes` numbers of a contiguous array, from the flat index `at` on."""
    pointer = builder.gep(make_array(kind)(context, builder, array).data, [at])
    return builder.bitcast(pointer, ir.VectorType(pointer.type.pointee, lanes).as_pointer())


def _load(context: Any, builder: Any, kind: Any, array: Any, at: Any, lanes: int) -> Any:
    """A vector of floats; bfloat16 is the upper half of a float32."""
    found = builder.load(_address(context, builder, kind, array, at, lanes), align=kind.dtype.bitwidth // 8)
    if kind.dtype != types.uint16:
        return found
    wide = ir.VectorType(_INT, lanes)
    return builder.bitcast(builder.shl(builder.zext(found, wide), _int(wide, 16)), ir.VectorType(_FLOAT, lanes))


def _store(context: Any, builder: Any, kind: Any, array: Any, at: Any, vector: Any) -> None:
    """Write a vector of floats; to bfloat16 by rounding to the nearest, ties to even, NaN to NaN."""
    lanes = vector.type.count
    if kind.dtype == types.uint16:
        wide = ir.VectorType(_INT, lanes)
        bits = builder.bitcast(vector, wide)
        odd = builder.and_(builder.lshr(bits, _int(wide, 16)), _int(wide, 1))
        rounded = builder.add(bits, builder.add(odd, _int(wide, 0x7FFF)))
        is_nan = builder.fcmp_unordered("uno", vector, vector)
        kept = builder.select(is_nan, _int(wide, 0x7FC00000), rounded)
        vector = builder.trunc(builder.lshr(kept, _int(wide, 16)), ir.VectorType(ir.IntType(16), lanes))
    builder.store(vector, _address(context, builder, kind, array, at, lanes), align=kind.dtype.bitwidth // 8)


def _chosen(builder: Any, left: Any, right: Any, lanes: list[int]) -> Any:
    """The vector of these lanes, counted through both vectors."""
    return builder.shuffle_vector(left, right, ir.Constant(ir.VectorType(_INT, len(lanes)), lanes))


def _spread(builder: Any, number: Any, lanes: int) -> Any:
    """A vector of one number."""
    one = builder.insert_element(ir.Constant(ir.VectorType(_FLOAT, lanes), ir.Undefined), number, _int(_INT, 0))
    return _chosen(builder, one, one, [0] * lanes)


def _reduced(builder: Any, vector: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """All lanes combined, in every lane: by exchanging halves, quarters, ..."""
    lanes = vector.type.count
    distance = lanes // 2
    while distance:
        vector = combine(vector, _chosen(builder, vector, vector, [lane ^ distance for lane in range(lanes)]))
        distance //= 2
    return vector


def _maximum(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


# ------------------------------------------------------------------ small matrix products


@inline
def add_product(total: Any, left: Any, weight: Any) -> None:
    """total[R, J] += left[R, K] @ weight[K, J]; two rows and four k at a time, so that each load serves twice."""
    rows, width = total.shape
    depth = left.shape[1]
    even, fours = rows - rows % 2, depth - depth % 4
    for r in range(0, even, 2):
        for k in range(0, fours, 4):
            a0, a1, a2, a3 = left[r, k], left[r, k + 1], left[r, k + 2], left[r, k + 3]
            b0, b1, b2, b3 = left[r + 1, k], left[r + 1, k + 1], left[r + 1, k + 2], left[r + 1, k + 3]
            for j in range(width):
                w0, w1, w2, w3 = weight[k, j], weight[k + 1, j], weight[k + 2, j], weight[k + 3, j]
                total[r, j] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
                total[r + 1, j] += b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
    for r in range(rows):
        for k in range(0 if r >= even else fours, depth):
            for j in range(width):
                total[r, j] += left[r, k] * weight[k, j]


@_intrinsic
def _tile(
    _context: Any,
    out: Any,
    to: Any,
    out_row: Any,
    a: Any,
    at: Any,
    a_row: Any,
    a_step: Any,
    b: Any,
    begin: Any,
    b_row: Any,
    count: Any,
    rows: Any,
) -> Any:
    """`rows` times LANES numbers of a product, in registers until they are complete."""
    n_rows = rows.literal_value

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        out, to, out_row, a, at, a_row, a_step, b, begin, b_row, count, _ = given
        kinds = signature.args
        vector = ir.VectorType(_FLOAT, LANES)
        totals = [cgutils.alloca_once(builder, vector) for _ in range(n_rows)]
        for total in totals:
            builder.store(ir.Constant(vector, None), total)
        with cgutils.for_range(builder, count) as loop:
            line = _load(context, builder, kinds[7], b, builder.add(begin, builder.mul(loop.index, b_row)), LANES)
            column = builder.add(at, builder.mul(loop.index, a_step))
            for r, total in enumerate(totals):
                index = builder.add(column, builder.mul(a_row, ir.Constant(a_row.type, r)))
                number = builder.extract_element(_load(context, builder, kinds[3], a, index, 1), _int(_INT, 0))
                builder.store(_fma(builder, _spread(builder, number, LANES), line, builder.load(total)), total)
        for r, total in enumerate(totals):
            index = builder.add(to, builder.mul(out_row, ir.Constant(out_row.type, r)))
            _store(context, builder, kinds[0], out, index, builder.load(total))
        return context.get_dummy_value()

    i = types.intp
    return types.void(out, i, i, a, i, i, i, b, i, i, i, rows), build


@row_loop
def multiply(result: Any, left: Any, right: Any, sizes: Any) -> None:
    """Result = left @ right, written over what was there.

    Args:
        result: (array, start, row): row r begins at the flat index start + r * row of a contiguous array.
        left: (array, start, row, step): the numbers of a row are `step` apart; (.., 1, row) is the transpose.
        right: (array, start, row).
        sizes: (rows, terms, columns), of the result and of its sums; columns are a multiple of LANES.
    """
    out, to, out_row = result
    a, at, a_row, a_step = left
    b, begin, b_row = right
    rows, terms, columns = sizes
    fours = rows - rows % 4
    for c in range(0, columns, LANES):
        for r in range(0, fours, 4):
            _tile(out, to + r * out_row + c, out_row, a, at + r * a_row, a_row, a_step, b, begin + c, b_row, terms, 4)
        for r in range(fours, rows):
            _tile(out, to + r * out_row + c, out_row, a, at + r * a_row, a_row, a_step, b, begin + c, b_row, terms, 1)


@_intrinsic
def _transpose_square(_context: Any, out: Any, to: Any, out_row: Any, a: Any, at: Any, a_row: Any, last: Any) -> Any:
    """A square of LANES rows; those after `last` repeat it."""

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        out, to, out_row, a, at, a_row, last = given
        rows = []
        for r in range(LANES):
            number = ir.Constant(last.type, r)
            number = builder.select(builder.icmp_signed("<", number, last), number, last)
            at_r = builder.add(at, builder.mul(number, a_row))
            rows.append(_load(context, builder, signature.args[3], a, at_r, LANES))
        distance = LANES // 2
        while distance:  # exchange the squares beside the diagonal, half as large each time
            for r in (r for r in range(LANES) if not r & distance):
                low = [c if not c & distance else LANES + c - distance for c in range(LANES)]
                high = [c + distance if not c & distance else LANES + c for c in range(LANES)]
                upper, lower = rows[r], rows[r + distance]
                rows[r] = _chosen(builder, upper, lower, low)
                rows[r + distance] = _chosen(builder, upper, lower, high)
            distance //= 2
        for r, row in enumerate(rows):
            to_r = builder.add(to, builder.mul(out_row, ir.Constant(out_row.type, r)))
            _store(context, builder, signature.args[0], out, to_r, row)
        return context.get_dummy_value()

    i = types.intp
    return types.void(out, i, i, a, i, i, i), build


@row_loop
def transpose(out: Any, a: Any, at: Any, a_row: Any, rows: Any) -> None:
    """out[c, r] = a[at + r * a_row + c] for as many columns, a multiple of LANES, as `out` has rows.

    The rows of `out` are padded to a multiple of LANES, with copies of the last column.
    """
    padded = out.shape[1]
    for r in range(0, rows, LANES):
        for c in range(0, len(out), LANES):
            _transpose_square(out, c * padded + r, padded, a, at + r * a_row + c, a_row, rows - 1 - r)


# ------------------------------------------------------------------ softmax over padded rows


@_intrinsic
def _softmax(_context: Any, weights: Any, scores: Any, at: Any, shown: Any, row: Any, padded: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        weights, scores, at, shown, row, padded = given
        kinds = signature.args
        vector = ir.VectorType(_FLOAT, LANES)
        zero, step = ir.Constant(vector, None), ir.Constant(padded.type, LANES)
        largest, total = (cgutils.alloca_once(builder, vector) for _ in range(2))
        builder.store(_const(vector, -np.inf), largest)
        builder.store(zero, total)

        def parts() -> Any:
            return cgutils.for_range_slice(builder, ir.Constant(padded.type, 0), padded, step, padded.type)

        def seen_at(place: Any) -> tuple[Any, Any]:
            flags = _load(context, builder, kinds[3], shown, builder.add(row, place), LANES)
            found = _load(context, builder, kinds[1], scores, builder.add(at, place), LANES)
            return builder.fcmp_ordered(">", flags, zero), found

        with parts() as (place, _):
            seen, found = seen_at(place)
            found = builder.select(seen, found, _const(vector, -np.inf))
            builder.store(_maximum(builder, found, builder.load(largest)), largest)
        top = _reduced(builder, builder.load(largest), lambda a, b: _maximum(builder, a, b))
        with parts() as (place, _):
            seen, found = seen_at(place)
            weight = builder.select(seen, _exp(builder, builder.fsub(found, top)), zero)
            _store(context, builder, kinds[0], weights, builder.add(row, place), weight)
            builder.store(builder.fadd(weight, builder.load(total)), total)
        # A row that shows nothing has weights of 0, not 0 / 0.
        share = builder.fadd(_reduced(builder, builder.load(total), builder.fadd), _const(vector, _TINY))
        share = builder.fdiv(_const(vector, 1.0), share)
        with parts() as (place, _):
            index = builder.add(row, place)
            weight = builder.fmul(_load(context, builder, kinds[0], weights, index, LANES), share)
            _store(context, builder, kinds[0], weights, index, weight)
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


@_intrinsic
def _through_softmax(
    _context: Any, of_scores: Any, at: Any, weights: Any, row: Any, of_weights: Any, other: Any, padded: Any
) -> Any:
    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        of_scores, at, weights, row, of_weights, other, padded = given
        kinds = signature.args
        vector = ir.VectorType(_FLOAT, LANES)
        step = ir.Constant(padded.type, LANES)
        total = cgutils.alloca_once(builder, vector)
        builder.store(ir.Constant(vector, None), total)

        def parts() -> Any:
            return cgutils.for_range_slice(builder, ir.Constant(padded.type, 0), padded, step, padded.type)

        def loaded(place: Any) -> tuple[Any, Any]:
            weight = _load(context, builder, kinds[2], weights, builder.add(row, place), LANES)
            return weight, _load(context, builder, kinds[4], of_weights, builder.add(other, place), LANES)

        with parts() as (place, _):
            weight, gradient = loaded(place)
            builder.store(_fma(builder, weight, gradient, builder.load(total)), total)
        mean = _reduced(builder, builder.load(total), builder.fadd)
        with parts() as (place, _):
            weight, gradient = loaded(place)
            index = builder.add(at, place)
            old = _load(context, builder, kinds[0], of_scores, index, LANES)
            more = _fma(builder, weight, builder.fsub(gradient, mean), old)
            _store(context, builder, kinds[0], of_scores, index, more)
        return context.get_dummy_value()

    i = types.intp
    return types.void(of_scores, i, weights, i, of_weights, i, i), build


@row_loop
def through_softmax(of_scores: Any, score_row: Any, weights: Any, row: Any, of_weights: Any, other: Any) -> None:
    """Add to of_scores[score_row] the gradient that weights[row], made from those scores, pass on of_weights[other]."""
    padded = weights.shape[1]
    _through_softmax(of_scores, score_row * padded, weights, row * padded, of_weights, other * padded, padded)


@inline
def padded_to_lanes(count: Any) -> Any:
    """The next multiple of LANES."""
    return (count + LANES - 1) // LANES * LANES
