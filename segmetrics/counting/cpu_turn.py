"""Turning squares of scores, so that those of one pixel, which lie side by side in channels-last
memory, come to lie apart and those of one class side by side.

Written for LLVM, which makes a few shuffles of registers of it; a loop moves score after score.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# because Numba and llvmlite say nothing of types

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

#: Rows and columns of a square: a power of two.
SIDE = 8


def _turn(typing_context, source, start, step, target, place, pitch):
    """Write rows of ``source``, ``step`` apart from ``start``, as columns of ``target``.

    Rows of ``target`` lie ``pitch`` apart from ``place``. Both arrays are flat, of one dtype.
    """

    def generate(context, builder, signature, arguments):
        element = context.get_data_type(signature.args[0].dtype)
        bytes_of_element = context.get_abi_sizeof(element)
        row = ir.VectorType(element, SIDE)

        def pointers(array_type, array, offset, distance):
            data = context.make_array(array_type)(context, builder, array).data
            for _ in range(SIDE):
                yield builder.bitcast(builder.gep(data, [offset]), row.as_pointer())
                offset = builder.add(offset, distance)

        rows = [
            builder.load(pointer, align=bytes_of_element)
            for pointer in pointers(signature.args[0], *arguments[:3])
        ]
        for _ in range(SIDE.bit_length() - 1):  # interleaved log2(SIDE) times they are turned
            halves = zip(rows[: SIDE // 2], rows[SIDE // 2 :], strict=True)
            rows = [builder.shuffle_vector(*pair, mask) for pair in halves for mask in MASKS]
        for turned, pointer in zip(rows, pointers(signature.args[3], *arguments[3:]), strict=True):
            builder.store(turned, pointer, align=bytes_of_element)
        return context.get_dummy_value()

    return types.void(source, start, step, target, place, pitch), generate


def _interleave(first: int) -> ir.Constant:
    """A mask that takes elements of two rows in turn, from ``first`` on."""
    places = [place for i in range(SIDE // 2) for place in (first + i, SIDE + first + i)]
    return ir.Constant(ir.VectorType(ir.IntType(32), SIDE), places)


MASKS = _interleave(0), _interleave(SIDE // 2)
turn: Any = intrinsic(_turn)
