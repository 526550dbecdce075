"""LLVM intrinsics that Numba does not expose: SIMD vectors, prefetch, single bits.

Arrays are flat here, and those of a call have one dtype.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# because Numba says nothing of types

from __future__ import annotations

from functools import reduce
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # it has neither types nor stubs
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

#: Elements of the vectors of ``blend``.
LANES = 8
#: Bytes of a vector of ``find_best_of_vector``: LLVM takes several where a machine has no such.
VECTOR = 64
#: Elements that ``run_ends`` compares, and the bits of what it returns.
BITS = 64
#: Bytes of such a vector within which elements change places easily.
LANE = 16
#: The bits of a half but for its sign.
MAGNITUDE = 0x7FFF


def _find_best_of_vector(
    typing_context, scores, start, step, labels, few, infinity, best, index, place
):
    """What ``cpu_score_kernels._find_best`` finds for a vector of pixels of channels-last scores.

    Pixels are ``step`` elements apart from ``start`` on. Writes the maximum and its argmax to
    ``best`` and ``index`` from ``place`` on. As many labels as fit into a ``LANE`` are compared at
    once, the last ones with some before them. Where there are fewer, ``few`` is True, and what lies
    behind a pixel's scores is read with them; otherwise it is None.
    """

    def generate(context, builder, signature, arguments):
        _, start, step, labels, _, infinity, *_, place = arguments
        few = signature.args[4] is not types.none
        vectors = _Vectors(context, builder, signature, arguments, VECTOR)
        bits = vectors.of_integers
        zero, at_once = labels.type(0), labels.type(LANE // vectors.size)
        last = zero if few else builder.sub(labels, at_once)
        lowest = vectors.filled(-MAGNITUDE if bits else float("-inf"))
        best = cgutils.alloca_once_value(builder, lowest)
        index = cgutils.alloca_once_value(builder, vectors.filled(0, vectors.integer))
        with cgutils.for_range_slice(builder, zero, labels, at_once, inc=True) as (label, _):
            label = builder.select(builder.icmp_signed("<", label, last), label, last)
            rows = vectors.transposed(0, builder.add(start, label), step)
            if bits:
                rows = [_key(vectors, row, infinity) for row in rows]
            if few:
                known = [builder.icmp_signed("<", zero.type(i), labels) for i in range(len(rows))]
                rows = [builder.select(*pair, lowest) for pair in zip(known, rows, strict=True)]
            score, found = builder.load(best), builder.load(index)
            number = context.cast(builder, label, signature.args[3], vectors.number)
            first = vectors.broadcast(number)
            greater = builder.icmp_signed if bits else builder.fcmp_ordered
            for i, row in enumerate(rows):
                better, this = greater(">", row, score), vectors.filled(i, vectors.integer)
                score = builder.select(better, row, score)
                found = builder.select(better, builder.add(first, this), found)
            if not bits:
                pairs = zip(rows[::2], rows[1::2], strict=True)
                are_nan = [builder.fcmp_unordered("uno", *pair) for pair in pairs]
                nan = vectors.filled(float("nan"))
                score = builder.select(reduce(builder.or_, are_nan), nan, score)
            builder.store(score, best)
            builder.store(found, index)
        vectors.store(builder.load(best), 6, place)
        found = builder.load(index)
        vectors.store(found if bits else builder.sitofp(found, lowest.type), 7, place)
        return context.get_dummy_value()

    given = scores, start, step, labels, few, infinity, best, index, place
    return types.void(*given), generate


def _key(vectors, row, infinity):
    """What ``cpu_score_kernels._key`` says of halves."""
    builder, zero = vectors.builder, vectors.filled(0)
    magnitude = builder.and_(row, vectors.filled(MAGNITUDE))
    is_positive = builder.icmp_signed(">=", row, zero)
    signed = builder.select(is_positive, magnitude, builder.sub(zero, magnitude))
    is_nan = builder.icmp_signed(">", magnitude, vectors.broadcast(infinity))
    return builder.select(is_nan, magnitude, signed)


def _blend(typing_context, first, a, second, b, start, target, place):
    """Write ``first * a + second * b`` of the elements from ``start`` on to ``target``.

    There they go from ``place`` on.
    """

    def generate(context, builder, signature, arguments):
        _, a, _, b, start, _, place = arguments
        vectors = _Vectors(context, builder, signature, arguments)
        of_first = builder.fmul(vectors.load(0, start), vectors.broadcast(a))
        of_second = builder.fmul(vectors.load(2, start), vectors.broadcast(b))
        vectors.store(builder.fadd(of_first, of_second), 5, place)
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


def _run_ends(typing_context, labels, place, step):
    """Which of ``BITS`` elements from a place on differ from those ``step`` behind, as bits.

    The lowest bit is that of the first. Elements behind them are read, too.
    """

    def generate(context, builder, signature, arguments):
        vectors, (_, place, step) = _Vectors(context, builder, signature, arguments), arguments
        following = vectors.load(0, builder.add(place, step), BITS)
        differ = builder.icmp_unsigned("!=", vectors.load(0, place, BITS), following)
        return builder.bitcast(differ, ir.IntType(BITS))

    return types.uint64(labels, types.int64, types.int64), generate


def _number_of_ones(typing_context, bits):
    """How many bits are 1."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


def _place_of_lowest_one(typing_context, bits):
    """The place of the lowest bit that is 1, of which there must be one."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.uint64), generate


def _fma(typing_context, a, b, c):
    """``a * b + c`` of fp32, rounded once, on every machine."""

    def generate(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


def _bits_of(typing_context, number):
    """The bits of fp32 as int32."""
    return types.int32(types.float32), _bitcast(ir.IntType(32))


def _float_of(typing_context, bits):
    """The fp32 that has the bits of an int32."""
    return types.float32(types.int32), _bitcast(ir.FloatType())


def _bitcast(kind):
    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], kind)

    return generate


class _Vectors:
    """Vectors of elements of the arrays among a function's arguments, the first of which is one."""

    def __init__(self, context, builder, signature, arguments, size=None):
        self.context, self.builder = context, builder
        self.types, self.arguments = signature.args, arguments
        self.element = context.get_data_type(self.types[0].dtype)
        self.size = context.get_abi_sizeof(self.element)
        self.count = size // self.size if size else LANES
        #: Integers as wide as the elements, which may be such themselves.
        self.number = types.Integer.from_bitwidth(8 * self.size, signed=True)
        self.integer = context.get_data_type(self.number)
        self.of_integers = self.element == self.integer

    def load(self, which, place, count=None):
        """The elements of an array from a place on."""
        vector = ir.VectorType(self.element, count or self.count)
        return self.builder.load(self._pointer(which, place, vector), align=self.size)

    def store(self, vector, which, place):
        """Write the elements of an array from a place on."""
        pointer = self._pointer(which, place, vector.type)
        self.builder.store(vector, pointer, align=self.size)

    def _pointer(self, which, place, pointed):
        array, array_type = self.arguments[which], self.types[which]
        return _pointer(self.context, self.builder, array_type, array, place, pointed)

    def filled(self, value, element=None):
        """A constant vector."""
        return ir.VectorType(element or self.element, self.count)([value] * self.count)

    def broadcast(self, scalar):
        """A vector of one scalar."""
        nothing = ir.VectorType(scalar.type, self.count)(ir.Undefined)
        alone = self.builder.insert_element(nothing, scalar, ir.IntType(32)(0))
        return self.builder.shuffle_vector(alone, alone, _places([0] * self.count))

    def transposed(self, which, start, step):
        """A vector for each element of a ``LANE``: the transpose of a block of elements.

        Elements of a vector are ``step`` apart from ``start`` on; the vectors are adjacent.
        """
        builder, together = self.builder, LANE // self.size
        rows = [
            self._joined(which, start, step, range(first, self.count, together))
            for first in range(together)
        ]
        halves = [
            _places(
                lane + first + i + other
                for lane in range(0, self.count, together)
                for i in range(together // 2)
                for other in (0, self.count)
            )
            for first in (0, together // 2)
        ]
        for _ in range(together.bit_length() - 1):  # interleaved so often, lanes are transposed
            pairs = list(zip(rows[: together // 2], rows[together // 2 :], strict=True))
            rows = [builder.shuffle_vector(*pair, half) for pair in pairs for half in halves]
        return rows

    def _joined(self, which, start, step, numbers):
        """A vector of what lies at several places, some steps from the start."""
        builder, together = self.builder, self.count // len(numbers)
        places = [builder.add(start, builder.mul(step, step.type(number))) for number in numbers]
        parts = [self.load(which, place, together) for place in places]
        while len(parts) > 1:
            both = _places(range(2 * parts[0].type.count))
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [builder.shuffle_vector(*pair, both) for pair in pairs]
        return parts[0]


def _pointer(context, builder, array_type, array, place, pointed):
    """Pointer to what lies in an array from an element on."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [place]), pointed.as_pointer())


def _places(places):
    places = list(places)
    return ir.VectorType(ir.IntType(32), len(places))(places)


find_best_of_vector: Any = intrinsic(_find_best_of_vector)
blend: Any = intrinsic(_blend)
prefetch: Any = intrinsic(_prefetch)
run_ends: Any = intrinsic(_run_ends)
number_of_ones: Any = intrinsic(_number_of_ones)
place_of_lowest_one: Any = intrinsic(_place_of_lowest_one)
fma: Any = intrinsic(_fma)
bits_of: Any = intrinsic(_bits_of)
float_of: Any = intrinsic(_float_of)
