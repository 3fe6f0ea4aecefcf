"""Products and transposes of small matrices that fit into the L1 cache."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from mipi_pl.models.kernels.vector import (
    FLOAT,
    INT,
    LANES,
    ZERO,
    chosen,
    fma,
    instructions,
    load,
    row_loop,
    spread,
    store,
    whole_constant,
)

_ROWS = 8
"""Most rows of a tile that is one vector wide."""
_WIDE_ROWS, _WIDE = 4, 4
"""Most rows of a wide tile, and its vectors per row: with the vectors of the right factor, they fit into registers."""


@instructions
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
    most: Any,
    vectors: Any,
) -> Any:
    """Compute a tile of a product, accumulated in registers: `rows`, from 1 to `most`, times `vectors` * LANES.

    There is code for each number of rows. Few accumulators would leave the processor waiting for each sum.
    """
    n_most, n_vectors = most.literal_value, vectors.literal_value

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, to, out_row, a, at, a_row, a_step, b, begin, b_row, count, rows, _, _ = arguments
        kinds = signature.args
        vector = ir.VectorType(FLOAT, LANES)

        def tile_of(n_rows: int) -> None:
            totals = [[cgutils.alloca_once(builder, vector) for _ in range(n_vectors)] for _ in range(n_rows)]
            for total in (total for row in totals for total in row):
                builder.store(ir.Constant(vector, None), total)
            with cgutils.for_range(builder, count) as loop:
                line = builder.add(begin, builder.mul(loop.index, b_row))
                lines = [
                    load(context, builder, kinds[7], b, builder.add(line, ir.Constant(line.type, LANES * v)), LANES)
                    for v in range(n_vectors)
                ]
                column = builder.add(at, builder.mul(loop.index, a_step))
                for r, row in enumerate(totals):
                    index = builder.add(column, builder.mul(a_row, ir.Constant(a_row.type, r)))
                    number = load(context, builder, kinds[3], a, index, 1)
                    number = spread(builder, builder.extract_element(number, whole_constant(INT, 0)), LANES)
                    for v, total in enumerate(row):
                        builder.store(fma(builder, number, lines[v], builder.load(total)), total)
            for r, row in enumerate(totals):
                index = builder.add(to, builder.mul(out_row, ir.Constant(out_row.type, r)))
                for v, total in enumerate(row):
                    place = builder.add(index, ir.Constant(index.type, LANES * v))
                    store(context, builder, kinds[0], out, place, builder.load(total))

        end = builder.append_basic_block("end_of_tile")
        choice = builder.switch(rows, end)
        for n_rows in range(1, n_most + 1):
            block = builder.append_basic_block(f"tile_of_{n_rows}")
            choice.add_case(ir.Constant(rows.type, n_rows), block)
            with builder.goto_block(block):
                tile_of(n_rows)
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    i = types.intp
    return types.void(out, i, i, a, i, i, i, b, i, i, i, i, most, vectors), build


@row_loop
def multiply(result: Any, left: Any, right: Any, sizes: Any) -> None:
    """Overwrite `result` with left @ right.

    Args:
        result: (array, start, row): row r begins at the flat index start + r * row of a contiguous array.
        left: (array, start, row, step): like `result`, with elements of a row `step` apart; (.., 1, row) is the
            transpose.
        right: (array, start, row): like `result`.
        sizes: (rows, terms, columns): the result is [rows, columns], each element a sum of `terms` products. `columns`
            must be a multiple of LANES.
    """
    out, to, out_row = result
    a, at, a_row, a_step = left
    b, begin, b_row = right
    rows, terms, columns = sizes
    wide = columns - columns % (_WIDE * LANES)
    for c in range(0, wide, _WIDE * LANES):
        for r in range(0, rows, _WIDE_ROWS):
            o, i, left_rows = to + r * out_row + c, at + r * a_row, min(rows - r, _WIDE_ROWS)
            _tile(out, o, out_row, a, i, a_row, a_step, b, begin + c, b_row, terms, left_rows, _WIDE_ROWS, _WIDE)
    for c in range(wide, columns, LANES):
        for r in range(0, rows, _ROWS):
            o, i, left_rows = to + r * out_row + c, at + r * a_row, min(rows - r, _ROWS)
            _tile(out, o, out_row, a, i, a_row, a_step, b, begin + c, b_row, terms, left_rows, _ROWS, 1)


@row_loop
def product(result: Any, to: Any, left: Any, first: Any, right: Any, rows: Any) -> None:
    """Set result[to + r] = left[first + r] @ right for 0 <= r < rows; contiguous matrices of any size."""
    terms, columns = right.shape
    whole = columns - columns % LANES
    sizes = (rows, terms, whole)
    multiply((result, to * columns, columns), (left, first * terms, terms, 1), (right, 0, columns), sizes)
    for r in range(rows):
        result[to + r, whole:] = ZERO
        for k in range(terms):  # outer loop, which fixes the order of every sum
            for c in range(whole, columns):
                result[to + r, c] += left[first + r, k] * right[k, c]


@instructions
def _transpose_square(_context: Any, out: Any, to: Any, out_row: Any, a: Any, at: Any, a_row: Any, last: Any) -> Any:
    """Transpose a square of LANES rows; rows after `last` repeat row `last`."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, to, out_row, a, at, a_row, last = arguments
        rows = []
        for r in range(LANES):
            number = ir.Constant(last.type, r)
            number = builder.select(builder.icmp_signed("<", number, last), number, last)
            at_r = builder.add(at, builder.mul(number, a_row))
            rows.append(load(context, builder, signature.args[3], a, at_r, LANES))
        distance = LANES // 2
        while distance:  # swap the off-diagonal squares, halving their size each time
            for r in (r for r in range(LANES) if not r & distance):
                low = [c if not c & distance else LANES + c - distance for c in range(LANES)]
                high = [c + distance if not c & distance else LANES + c for c in range(LANES)]
                upper, lower = rows[r], rows[r + distance]
                rows[r] = chosen(builder, upper, lower, low)
                rows[r + distance] = chosen(builder, upper, lower, high)
            distance //= 2
        for r, row in enumerate(rows):
            to_r = builder.add(to, builder.mul(out_row, ir.Constant(out_row.type, r)))
            store(context, builder, signature.args[0], out, to_r, row)
        return context.get_dummy_value()

    i = types.intp
    return types.void(out, i, i, a, i, i, i), build


@row_loop
def transpose(out: Any, a: Any, at: Any, a_row: Any, rows: Any) -> None:
    """Set out[c, r] = a[at + r * a_row + c] for 0 <= r < rows and every row c of `out`.

    `out` must have a multiple of LANES rows and columns. Its columns from `rows` on are copies of the column before, up
    to the next multiple of LANES.
    """
    padded = out.shape[1]
    for r in range(0, rows, LANES):
        for c in range(0, len(out), LANES):
            _transpose_square(out, c * padded + r, padded, a, at + r * a_row + c, a_row, rows - 1 - r)
