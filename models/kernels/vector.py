"""What all kernels share: how they are compiled, exp, and products of short rows as vector instructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
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
_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_SMALLEST, _LARGEST = np.float32(-87.0), np.float32(88.0)
# Minimax polynomial of exp on [-ln2/2, ln2/2], relative error below 2e-7 (Cephes).
_C2, _C3, _C4 = np.float32(5.0000001201e-1), np.float32(1.6666665459e-1), np.float32(4.1665795894e-2)
_C5, _C6, _C7 = np.float32(8.3334519073e-3), np.float32(1.3981999507e-3), np.float32(1.9875691500e-4)
TINY = np.float32(np.finfo(np.float32).tiny)


@_intrinsic
def _power_of_two(_context: Any, exponent: Any) -> Any:
    """2 ** n of a whole float32 in [-126, 127], made from its bits."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        whole = builder.fptosi(arguments[0], ir.IntType(32))
        biased = builder.add(whole, ir.Constant(ir.IntType(32), 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(ir.IntType(32), 23)), ir.FloatType())

    return types.float32(types.float32), build


@_intrinsic
def _rounded(_context: Any, value: Any) -> Any:
    """The nearest whole float32: numba's own roundings go through 64-bit integers, which are no vectors everywhere."""

    def build(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.rint", [ir.FloatType()]), arguments)

    return types.float32(types.float32), build


@inline
def exp(x: Any) -> Any:
    """Exp in float32, in a form that the compiler turns into vectors, unlike the one of the C library."""
    x = _SMALLEST if x < _SMALLEST else x
    x = _LARGEST if x > _LARGEST else x
    n = _rounded(x * _LOG2_E)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((_C7 * r + _C6) * r + _C5) * r + _C4) * r + _C3) * r + _C2
    return (p * r * r + r + ONE) * _power_of_two(n)


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


def _load(context: Any, builder: Any, kind: Any, array: Any, at: Any, size: int) -> tuple[Any, Any]:
    """`size` numbers of a contiguous array from the flat index `at` on, as a vector, and where they are."""
    pointer = builder.gep(make_array(kind)(context, builder, array).data, [at])
    pointer = builder.bitcast(pointer, ir.VectorType(ir.FloatType(), size).as_pointer())
    return builder.load(pointer, align=4), pointer


def _sum(builder: Any, vector: Any, length: int) -> Any:
    """The sum of a vector by halves, in this order and no other.

    LLVM's own sum, in a free order, rounded one way in a kernel just compiled and another in the same one from disk.
    """
    while length % 2 == 0:
        length //= 2
        halves = ([*range(length)], [*range(length, 2 * length)])
        lanes = ir.VectorType(ir.IntType(32), length)
        low, high = (builder.shuffle_vector(vector, vector, ir.Constant(lanes, half)) for half in halves)
        vector = builder.fadd(low, high)
    total = builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))
    for i in range(1, length):
        total = builder.fadd(total, builder.extract_element(vector, ir.Constant(ir.IntType(32), i)))
    return total


@_intrinsic
def dot(_context: Any, a: Any, at: Any, b: Any, begin: Any, size: Any) -> Any:
    """Inner product of `size` numbers of `a` from the flat index `at` on and of `b` from `begin` on.

    Of fixed size, so that it is a few vector instructions: a loop would be compiled for long rows, and these are short.
    """
    length = size.literal_value

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, _ = _load(context, builder, signature.args[0], arguments[0], arguments[1], length)
        right, _ = _load(context, builder, signature.args[2], arguments[2], arguments[3], length)
        return _sum(builder, builder.fmul(left, right), length)

    return types.float32(a, types.intp, b, types.intp, size), build


@_intrinsic
def add_scaled(_context: Any, total: Any, at: Any, factor: Any, row: Any, begin: Any, size: Any) -> Any:
    """Add factor * row[begin : begin + size] to total[at : at + size], flat indices, fixed size as in `dot`."""
    length = size.literal_value

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        old, pointer = _load(context, builder, signature.args[0], arguments[0], arguments[1], length)
        more, _ = _load(context, builder, signature.args[3], arguments[3], arguments[4], length)
        vector = ir.Constant(old.type, ir.Undefined)
        vector = builder.insert_element(vector, arguments[2], ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), length), [0] * length)
        product = builder.fmul(builder.shuffle_vector(vector, vector, lanes), more, flags=("contract",))
        builder.store(builder.fadd(old, product, flags=("contract",)), pointer, align=4)
        return context.get_dummy_value()

    return types.void(total, types.intp, types.float32, row, types.intp, size), build
