"""Instructions that LLVM makes of no loop: vectors of elements, and memory asked for ahead."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# because Numba says nothing of types

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # it has neither types nor stubs
from numba import types
from numba.extending import intrinsic

#: Elements of a vector, and so rows and columns of a square: a power of two.
LANES = 8


def _turn(typing_context, source, start, step, target, place, pitch):
    """Write rows of ``source``, ``step`` apart from ``start``, as columns of ``target``.

    Rows of ``target`` lie ``pitch`` apart from ``place``. So scores of one pixel, which lie side by
    side in channels-last memory, come to lie apart and those of one class side by side. Both arrays
    are flat, of one dtype.
    """

    def generate(context, builder, signature, arguments):
        def vectors(which, offset, distance):
            for _ in range(LANES):
                yield _vector(context, builder, signature, arguments, which, offset)
                offset = builder.add(offset, distance)

        sources = vectors(0, *arguments[1:3])
        rows = [builder.load(pointer, align=align) for pointer, align in sources]
        for _ in range(LANES.bit_length() - 1):  # interleaved log2(LANES) times they are turned
            halves = zip(rows[: LANES // 2], rows[LANES // 2 :], strict=True)
            rows = [builder.shuffle_vector(*pair, mask) for pair in halves for mask in MASKS]
        for row, (pointer, align) in zip(rows, vectors(3, *arguments[4:]), strict=True):
            builder.store(row, pointer, align=align)
        return context.get_dummy_value()

    return types.void(source, start, step, target, place, pitch), generate


def _blend(typing_context, first, a, second, b, start, target, place):
    """Write ``first * a + second * b`` of the elements from ``start`` on.

    They go to ``target`` from ``place`` on. The three arrays are flat, and all are of one dtype.
    """

    def generate(context, builder, signature, arguments):
        def scaled(which):
            pointer, align = _vector(context, builder, signature, arguments, which, arguments[4])
            vector, factor = builder.load(pointer, align=align), arguments[which + 1]
            lane = ir.Constant(ir.IntType(32), 0)
            alone = builder.insert_element(ir.Constant(vector.type, ir.Undefined), factor, lane)
            return builder.fmul(vector, builder.shuffle_vector(alone, alone, EVERYWHERE))

        pointer, align = _vector(context, builder, signature, arguments, 5, arguments[6])
        builder.store(builder.fadd(scaled(0), scaled(2)), pointer, align=align)
        return context.get_dummy_value()

    return types.void(first, a, second, b, start, target, place), generate


def _prefetch(typing_context, array, place):
    """Have memory bring an element, which may lie beyond the end of the array, near."""

    def generate(context, builder, signature, arguments):
        byte, integer = ir.IntType(8), ir.IntType(32)
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1], byte)
        function = ir.FunctionType(ir.VoidType(), [pointer.type, integer, integer, integer])
        instruction = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], function)
        to_read, into_every_cache, data_not_code = (ir.Constant(integer, i) for i in (0, 3, 1))
        builder.call(instruction, [pointer, to_read, into_every_cache, data_not_code])
        return context.get_dummy_value()

    return types.void(array, place), generate


def _vector(context, builder, signature, arguments, which, place):
    """Pointer to a vector in one of the arguments, an array, and its alignment."""
    array_type = signature.args[which]
    element = context.get_data_type(array_type.dtype)
    vector = ir.VectorType(element, LANES)
    pointer = _pointer(context, builder, array_type, arguments[which], place, vector)
    return pointer, context.get_abi_sizeof(element)


def _pointer(context, builder, array_type, array, place, pointed):
    """Pointer to what lies in an array from an element on."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [place]), pointed.as_pointer())


def _mask(places: list[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(32), LANES), places)


#: Take elements of two vectors in turn, those of their first or of their second halves.
MASKS = [
    _mask([place for i in range(LANES // 2) for place in (first + i, LANES + first + i)])
    for first in (0, LANES // 2)
]
#: Take the first element for all.
EVERYWHERE = _mask([0] * LANES)

turn: Any = intrinsic(_turn)
blend: Any = intrinsic(_blend)
prefetch: Any = intrinsic(_prefetch)
