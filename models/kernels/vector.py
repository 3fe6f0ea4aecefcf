"""Compilation of the kernels and the vector instructions that they share, such as exp.

Matrices are float32, or bfloat16 stored as uint16. Sums are computed in float32 and in a fixed order: with sums that
LLVM reordered freely, a freshly compiled kernel and the same kernel loaded from disk rounded differently.
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

from mipi_pl.utils.compiled import cached

_Function = TypeVar("_Function", bound=Callable[..., Any])
# Sums may be reordered, so that loops vectorise; NaN and infinity keep their meaning.
_FAST: dict[str, Any] = {"fastmath": {"reassoc", "contract", "arcp", "nsz"}, "error_model": "numpy"}
_PART: dict[str, Any] = {**_FAST, "no_cpython_wrapper": True}


def inline(function: _Function) -> _Function:
    """Compile a function that is inlined into its callers."""
    return cast(_Function, njit(**_PART, forceinline=True)(function))


def row_loop(function: _Function) -> _Function:
    """Compile a function that is not inlined, so that LLVM recognises its loop over one row as free of aliases."""
    return cast(_Function, njit(**_PART)(function))


def entry(function: Callable[..., None]) -> Callable[..., None]:
    """Compile a function that Python calls. ``prange`` runs on all threads, and the machine code is cached on disk."""
    return cached(njit(**_FAST, parallel=True, nogil=True)(function), __package__)


def instructions(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a Numba intrinsic of a function that builds LLVM instructions; literal arguments stay constants."""
    return cast(Callable[..., Any], intrinsic(prefer_literal=True)(function))


ZERO, ONE, TWO = np.float32(0.0), np.float32(1.0), np.float32(2.0)
LANES = 16
"""Elements of a vector; rows of scores are padded to a multiple of it."""

FLOAT, INT = ir.FloatType(), ir.IntType(32)
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.693359375, -2.12194440e-4
_SMALLEST, _LARGEST = -87.0, 88.0
# Minimax polynomial of exp on [-ln2/2, ln2/2], relative error below 2e-7 (Cephes).
_POLYNOMIAL = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_CONTRACT = ("contract",)
TINY = float(np.finfo(np.float32).tiny)


# ------------------------------------------------------------------ instructions on floats or vectors of them


def constant(kind: ir.Type, value: float) -> ir.Constant:
    """Return a float32 constant, or a vector of it."""
    rounded = float(np.float32(value))
    return ir.Constant(kind, [rounded] * kind.count if isinstance(kind, ir.VectorType) else rounded)


def _whole(kind: ir.Type) -> ir.Type:
    return ir.VectorType(INT, kind.count) if isinstance(kind, ir.VectorType) else INT


def whole_constant(kind: ir.Type, value: int) -> ir.Constant:
    """Return an integer constant, or a vector of it."""
    return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)


def fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once if the processor supports it."""
    return builder.fadd(builder.fmul(a, b, flags=_CONTRACT), c, flags=_CONTRACT)


def exp_of(builder: Any, x: Any) -> Any:
    """Return exp of a float or a vector; NaN stays NaN. The exp of the C library does not work on vectors."""
    kind = x.type
    for bound, beyond in ((_SMALLEST, "<"), (_LARGEST, ">")):
        x = builder.select(builder.fcmp_ordered(beyond, x, constant(kind, bound)), constant(kind, bound), x)
    name = f"llvm.rint.v{kind.count}f32" if isinstance(kind, ir.VectorType) else "llvm.rint.f32"
    rint = builder.module.declare_intrinsic(name, (), ir.FunctionType(kind, [kind]))
    n = builder.call(rint, [builder.fmul(x, constant(kind, _LOG2_E))])
    r = fma(builder, n, constant(kind, -_LN2_HIGH), x)
    r = fma(builder, n, constant(kind, -_LN2_LOW), r)
    p = constant(kind, _POLYNOMIAL[0])
    for coefficient in _POLYNOMIAL[1:]:
        p = fma(builder, p, r, constant(kind, coefficient))
    p = fma(builder, builder.fmul(p, r), r, builder.fadd(r, constant(kind, 1.0)))
    biased = builder.add(builder.fptosi(n, _whole(kind)), whole_constant(_whole(kind), 127))
    return builder.fmul(p, builder.bitcast(builder.shl(biased, whole_constant(_whole(kind), 23)), kind))


@instructions
def exp(_context: Any, x: Any) -> Any:
    """Return exp in float32, in a form that the compiler can vectorise."""
    return types.float32(types.float32), lambda _context, builder, _signature, arguments: exp_of(builder, arguments[0])


def _address(context: Any, builder: Any, kind: Any, array: Any, at: Any, lanes: int) -> Any:
    """Return a pointer to `lanes` elements of a contiguous array, from the flat index `at` on."""
    pointer = builder.gep(make_array(kind)(context, builder, array).data, [at])
    return builder.bitcast(pointer, ir.VectorType(pointer.type.pointee, lanes).as_pointer())


def load(context: Any, builder: Any, kind: Any, array: Any, at: Any, lanes: int) -> Any:
    """Load a vector of floats. A bfloat16 is the upper half of a float32."""
    vector = builder.load(_address(context, builder, kind, array, at, lanes), align=kind.dtype.bitwidth // 8)
    if kind.dtype != types.uint16:
        return vector
    wide = ir.VectorType(INT, lanes)
    return builder.bitcast(
        builder.shl(builder.zext(vector, wide), whole_constant(wide, 16)), ir.VectorType(FLOAT, lanes)
    )


def store(context: Any, builder: Any, kind: Any, array: Any, at: Any, vector: Any) -> None:
    """Store a vector of floats; bfloat16 is rounded to nearest, ties to even, and NaN stays NaN."""
    lanes = vector.type.count
    if kind.dtype == types.uint16:
        wide = ir.VectorType(INT, lanes)
        bits = builder.bitcast(vector, wide)
        odd = builder.and_(builder.lshr(bits, whole_constant(wide, 16)), whole_constant(wide, 1))
        rounded = builder.add(bits, builder.add(odd, whole_constant(wide, 0x7FFF)))
        is_nan = builder.fcmp_unordered("uno", vector, vector)
        kept = builder.select(is_nan, whole_constant(wide, 0x7FC00000), rounded)
        vector = builder.trunc(builder.lshr(kept, whole_constant(wide, 16)), ir.VectorType(ir.IntType(16), lanes))
    builder.store(vector, _address(context, builder, kind, array, at, lanes), align=kind.dtype.bitwidth // 8)


def vectors_of(builder: Any, count: Any) -> Any:
    """Loop over the vectors of a row of `count` elements; yields the index of the first element of each."""
    begin, step = (ir.Constant(count.type, number) for number in (0, LANES))
    return cgutils.for_range_slice(builder, begin, count, step, count.type)


def chosen(builder: Any, left: Any, right: Any, lanes: list[int]) -> Any:
    """Return the vector of the arguments lanes of the concatenation of `left` and `right`."""
    return builder.shuffle_vector(left, right, ir.Constant(ir.VectorType(INT, len(lanes)), lanes))


def spread(builder: Any, number: Any, lanes: int) -> Any:
    """Return a vector with `number` in every lane."""
    undefined = ir.Constant(ir.VectorType(FLOAT, lanes), ir.Undefined)
    vector = builder.insert_element(undefined, number, whole_constant(INT, 0))
    return chosen(builder, vector, vector, [0] * lanes)


def reduced(builder: Any, vector: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """Combine all lanes by swapping halves, quarters and so on; every lane of the result holds the total."""
    lanes = vector.type.count
    distance = lanes // 2
    while distance:
        vector = combine(vector, chosen(builder, vector, vector, [lane ^ distance for lane in range(lanes)]))
        distance //= 2
    return vector


def maximum(builder: Any, a: Any, b: Any) -> Any:
    """Return the larger value; `b` if either is NaN."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@inline
def padded_to_lanes(count: Any) -> Any:
    """Round up to a multiple of LANES."""
    return (count + LANES - 1) // LANES * LANES
