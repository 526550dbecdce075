"""The filters of PNG undone, in Numba: its specification, section 9.

Where a pixel is one byte, eight are taken at once as one number. Label maps are flat, so nearly all
filtered bytes are zero, and a block of zeros needs no arithmetic: Paeth's filter predicts the pixel
above where the pixels on the left and above it on the left are equal, and the pixel on the left
where those above are all equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # it has neither types nor stubs
from numba import types
from numba.extending import intrinsic

from segmetrics._compile import kernel
from segmetrics.files.masks import Array

Word = Any  #: eight bytes as one number, the first in the lowest bits

NONE, SUB, UP, AVERAGE, PAETH = range(5)
#: Bytes that are taken at once, and a byte repeated so often: the byte times ``EVERY``.
WORD, EVERY, ZEROS = 8, np.uint64(0x0101010101010101), np.uint64(0)
#: The highest bit of every byte, and the others.
HIGH = np.uint64(0x80) * EVERY
LOW = ~HIGH
#: Bytes of a block: three words, which pixels of 1, 2, 3, 4, 6 and 8 bytes fill.
BLOCK = 3 * WORD
#: Bits of a byte, and the place of the last one.
BYTE, LAST = np.uint64(8), np.uint64(56)


@kernel
def unfilter(filtered: Array, step: int, rows: Array) -> int:
    """Undo the filters of an image.

    Args:
        filtered: the bytes that were compressed: of every row its filter, then its bytes.
        step: bytes of a pixel, at least 1: so far away is the pixel on the left.
        rows: what the rows held before, uint8 ``(rows, bytes of a row)``, is written here.

    Returns:
        How many rows there are in front of one with an unknown filter: in a sound image all.
    """
    width = rows.shape[1]
    above = np.zeros(width, np.uint8)
    for y in range(len(rows)):
        start = y * (width + 1)
        stored, row = filtered[start + 1 : start + 1 + width], rows[y]
        if not undo(filtered[start], stored, above, step, row):
            return y
        above = row
    return len(rows)


@kernel
def undo(kind: int, stored: Array, above: Array, step: int, row: Array) -> bool:
    """Undo the filter of a row, below ``above``; False if there is no such filter."""
    if kind == NONE:
        _copy(stored, row)
    elif kind == SUB and step == 1:
        _undo_sub_of_bytes(stored, row)
    elif kind == SUB:
        _undo_sub(stored, step, row)
    elif kind == UP:
        _undo_up(stored, above, row)
    elif kind == AVERAGE:
        _undo_average(stored, above, step, row)
    elif kind == PAETH and step == 1:
        _undo_paeth_of_bytes(stored, above, row)
    elif kind == PAETH:
        _undo_paeth(stored, above, step, row)
    else:
        return False
    return True


@kernel
def _copy(stored: Array, row: Array) -> None:
    for x in range(len(row)):  # slices are not assigned in vectors
        row[x] = stored[x]


@kernel
def _undo_sub(stored: Array, step: int, row: Array) -> None:
    pixel, left, x = _ones(step), ZEROS, 0
    while x + BLOCK <= len(row):
        word = load(stored, x)
        if word | load(stored, x + 8) | load(stored, x + 16) == ZEROS:
            _fill(left, step, row, x)
            x += BLOCK
            continue
        left = _sum(left, word & pixel)
        store(left, row, x)
        x += step
    while x < len(row):
        row[x] = stored[x] + (row[x - step] if x >= step else 0)
        x += 1


@kernel
def _undo_sub_of_bytes(stored: Array, row: Array) -> None:
    whole, left = len(row) // WORD * WORD, ZEROS
    for x in range(0, whole, WORD):
        word = left * EVERY
        if load(stored, x) != ZEROS:
            word = _sum(word, _running_sums(load(stored, x)))
        store(word, row, x)
        left = word >> LAST
    for x in range(whole, len(row)):
        row[x] = stored[x] + (row[x - 1] if x else 0)


@kernel
def _undo_up(stored: Array, above: Array, row: Array) -> None:
    for x in range(len(row)):
        row[x] = stored[x] + above[x]


@kernel
def _undo_average(stored: Array, above: Array, step: int, row: Array) -> None:
    for x in range(len(row)):
        left = np.int64(row[x - step]) if x >= step else 0
        row[x] = stored[x] + ((left + np.int64(above[x])) >> 1)


@kernel
def _undo_paeth(stored: Array, above: Array, step: int, row: Array) -> None:
    pixel, left, corner, x = _ones(step), ZEROS, ZEROS, 0
    while x + BLOCK <= len(row):
        word, first = load(stored, x), load(above, x)
        if word | load(stored, x + 8) | load(stored, x + 16) == ZEROS:
            second, third = load(above, x + 8), load(above, x + 16)
            if left == corner:
                store(first, row, x)
                store(second, row, x + 8)
                store(third, row, x + 16)
                left = corner = third >> (np.uint64(64) - BYTE * np.uint64(step))
                x += BLOCK
                continue
            if _are(first, second, third, corner, step):
                _fill(left, step, row, x)
                x += BLOCK
                continue
        up = first & pixel
        if left == corner:
            left = up
        elif up != corner:
            left = _paeth_of_pixel(left, up, corner, step)
        left, corner = _sum(left, word & pixel), up
        store(left, row, x)
        x += step
    while x < len(row):
        a, c = (row[x - step], above[x - step]) if x >= step else (np.uint8(0), np.uint8(0))
        row[x] = stored[x] + _paeth(a, above[x], c)
        x += 1


@kernel
def _undo_paeth_of_bytes(stored: Array, above: Array, row: Array) -> None:
    whole, left, corner = len(row) // WORD * WORD, np.uint8(0), np.uint8(0)
    for first in range(0, whole, WORD):
        word = load(above, first)
        if load(stored, first) == ZEROS:
            if left == corner:
                store(word, row, first)
                left = corner = np.uint8(word >> LAST)
                continue
            if word == np.uint64(corner) * EVERY:
                store(np.uint64(left) * EVERY, row, first)
                continue
        for x in range(first, first + WORD):
            left, corner = np.uint8(stored[x] + _paeth(left, above[x], corner)), above[x]
            row[x] = left
    for x in range(whole, len(row)):
        left, corner = np.uint8(stored[x] + _paeth(left, above[x], corner)), above[x]
        row[x] = left


@kernel
def _paeth(left: int, up: int, corner: int) -> int:
    """The Paeth predictor: the nearest of the three to ``left + up - corner``; first of ties."""
    a, b, c = np.int32(left), np.int32(up), np.int32(corner)
    of_left, of_up, of_corner = abs(b - c), abs(a - c), abs(a + b - 2 * c)
    if of_left <= of_up and of_left <= of_corner:
        return left
    return up if of_up <= of_corner else corner


@kernel
def _paeth_of_pixel(left: Word, up: Word, corner: Word, step: int) -> Word:
    found, byte = ZEROS, np.uint64(0xFF)
    for i in range(step):
        bits = BYTE * np.uint64(i)
        one = _paeth(left >> bits & byte, up >> bits & byte, corner >> bits & byte)
        found |= np.uint64(one) << bits
    return found


@kernel
def _sum(a: Word, b: Word) -> Word:
    """The sums of the bytes of two words, each modulo 256."""
    return ((a & LOW) + (b & LOW)) ^ ((a ^ b) & HIGH)


@kernel
def _running_sums(word: Word) -> Word:
    """Of every byte the sum of those up to it, modulo 256."""
    for bytes_ in range(3):
        word = _sum(word, word << (BYTE << np.uint64(bytes_)))
    return word


@kernel
def _ones(step: int) -> Word:
    """A word of which the bits of a pixel are ones."""
    return ~ZEROS >> (np.uint64(64) - BYTE * np.uint64(step))


@kernel
def _fill(pixel: Word, step: int, row: Array, x: int) -> None:
    """Write a pixel again and again into a block."""
    word = _repeated(pixel, step)
    store(word, row, x)
    word = _next(word, step)
    store(word, row, x + 8)
    store(_next(word, step), row, x + 16)


@kernel
def _are(first: Word, second: Word, third: Word, pixel: Word, step: int) -> bool:
    """Whether a block is a pixel again and again."""
    word = _repeated(pixel, step)
    after = _next(word, step)
    return bool(first == word and second == after and third == _next(after, step))


@kernel
def _repeated(pixel: Word, step: int) -> Word:
    """A pixel again and again, as far as a word goes."""
    bits = BYTE * np.uint64(step)
    while bits < np.uint64(64):
        pixel |= pixel << bits
        bits += bits
    return pixel


@kernel
def _next(word: Word, step: int) -> Word:
    """What follows a word of repeated pixels."""
    over = np.uint64(WORD % step)  # bytes of the pixel that the word cuts
    if over == 0:
        return word
    return word >> (BYTE * over) | word << (BYTE * (np.uint64(step) - over))


# --- LLVM intrinsics that Numba does not expose: eight bytes of an array at any place -------------


def _load(typing_context: Any, array: Any, place: Any) -> Any:
    """The bytes from an offset on, as one integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], *arguments)
        return builder.load(pointer, align=1)

    return types.uint64(array, types.int64), generate


def _store(typing_context: Any, word: Any, array: Any, place: Any) -> Any:
    """Write an integer to the bytes from an offset on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word, *array_and_place = arguments
        pointer = _pointer(context, builder, signature.args[1], *array_and_place)
        builder.store(word, pointer, align=1)
        return context.get_dummy_value()

    return types.void(types.uint64, array, types.int64), generate


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, place: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [place]), ir.IntType(64).as_pointer())


load: Any = intrinsic(_load)
store: Any = intrinsic(_store)
