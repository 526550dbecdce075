"""Filtered RGB pixels of a PNG become runs of equal pixels, in Numba.

Only two rows are kept, so that they stay in the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics._compile import kernel
from segmetrics.files.masks import Array
from segmetrics.files.png_kernels import AVERAGE, NONE, PAETH, SUB, UP, _paeth, load, store

Runs = NDArray[np.int32]
Word = Any  #: eight bytes as one number
WORD, EVERY, ZEROS = 8, np.uint64(0x0101010101010101), np.uint64(0)
HIGH = np.uint64(0x80) * EVERY
LOW = ~HIGH
BYTE = np.uint64(8)
#: Three words, which pixels of any number of bytes fill.
BLOCK = 3 * WORD
#: Bytes of an RGB pixel, and its bits in a word.
RGB, COLOR = 3, np.uint64(0xFFFFFF)


@kernel
def color_runs(filtered: Array, height: int, width: int) -> tuple[int, Runs, Runs]:
    """Undo the filters of an image of RGB pixels, and cut its rows into runs of equal pixels.

    Args:
        filtered: the bytes that were compressed: of every row its filter, then its bytes.
        height: rows of the image.
        width: pixels of a row.

    Returns:
        How many rows there are in front of one with an unknown filter, in a sound image all; the
        first pixel of every run, then the number of pixels; the colour of every run, R + 256 G +
        65536 B. A row begins with a run.
    """
    starts, colors = np.empty(4096, np.int32), np.empty(4096, np.int32)
    length = RGB * width
    row, above = np.zeros(length, np.uint8), np.zeros(length, np.uint8)
    found, of_above = 0, 0
    for y in range(height):
        begin = y * (length + 1)
        kind, stored = filtered[begin], filtered[begin + 1 : begin + 1 + length]
        while found + width + 1 > len(starts):
            starts, colors = _longer(starts), _longer(colors)
        first = found
        if y > 0 and kind in (UP, PAETH) and _are_zero(stored):
            for run in range(of_above, first):  # the row above once more
                starts[found], colors[found] = starts[run] + width, colors[run]
                found += 1
        else:
            row, above = above, row
            if not undo_row(kind, stored, above, RGB, row):
                return y, starts[:0], colors[:0]
            found = _cut(row, y * width, starts, colors, found)
        of_above = first
    starts[found] = height * width
    return height, starts[: found + 1].copy(), colors[:found].copy()


@kernel
def _longer(array: Runs) -> Runs:
    longer = np.empty(2 * len(array), array.dtype)
    longer[: len(array)] = array
    return longer


@kernel
def _are_zero(stored: Array) -> bool:
    x = 0
    while x + WORD <= len(stored):
        if load(stored, x) != ZEROS:
            return False
        x += WORD
    while x < len(stored):
        if stored[x]:
            return False
        x += 1
    return True


@kernel
def _cut(row: Array, base: int, starts: Runs, colors: Runs, found: int) -> int:
    """Add the runs of a row whose first pixel is ``base``, and say how many there are by now."""
    left, x = np.uint64(0xFFFFFFFF), 0  # no color
    while x < len(row):
        if x > 0 and x + BLOCK <= len(row):
            same = load(row, x) ^ load(row, x - RGB)
            same |= load(row, x + 8) ^ load(row, x + 8 - RGB)
            same |= load(row, x + 16) ^ load(row, x + 16 - RGB)
            if same == ZEROS:
                x += BLOCK
                continue
        for _ in range(min(8, (len(row) - x) // RGB)):
            color = _color(row, x)
            if color != left:
                starts[found], colors[found] = base + x // RGB, color
                found += 1
            left = color
            x += RGB
    return found


@kernel
def _color(row: Array, x: int) -> Word:
    red, green, blue = np.uint64(row[x]), np.uint64(row[x + 1]), np.uint64(row[x + 2])
    return red | green << BYTE | blue << np.uint64(16)


# --- to png_kernels


@kernel
def undo_row(kind: int, stored: Array, above: Array, step: int, row: Array) -> bool:
    """Undo the filter of a row; False if it is unknown."""
    if kind == NONE:
        _copy(stored, row)
    elif kind == SUB:
        _undo_sub(stored, step, row)
    elif kind == UP:
        _undo_up(stored, above, row)
    elif kind == AVERAGE:
        _undo_average(stored, above, step, row)
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
def _undo_up(stored: Array, above: Array, row: Array) -> None:
    for x in range(len(row)):
        row[x] = stored[x] + above[x]


@kernel
def _undo_average(stored: Array, above: Array, step: int, row: Array) -> None:
    for x in range(len(row)):
        left = np.int64(row[x - step]) if x >= step else 0
        row[x] = stored[x] + ((left + np.int64(above[x])) >> 1)


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
def _paeth_of_pixel(left: int, up: int, corner: int, step: int) -> Word:
    found, byte = ZEROS, np.uint64(0xFF)
    for i in range(step):
        bits = BYTE * np.uint64(i)
        one = _paeth(left >> bits & byte, up >> bits & byte, corner >> bits & byte)
        found |= np.uint64(one) << bits
    return found


@kernel
def _ones(step: int) -> Word:
    """A word of which the bits of a pixel are ones."""
    return ~ZEROS >> (np.uint64(64) - BYTE * np.uint64(step))


@kernel
def _sum(a: int, b: int) -> Word:
    """The sums of the bytes of two words, each modulo 256."""
    return ((a & LOW) + (b & LOW)) ^ ((a ^ b) & HIGH)


@kernel
def _fill(pixel: int, step: int, row: Array, x: int) -> None:
    """Write a pixel again and again into a block."""
    word = _repeated(pixel, step)
    store(word, row, x)
    word = _next(word, step)
    store(word, row, x + 8)
    store(_next(word, step), row, x + 16)


@kernel
def _are(first: int, second: int, third: int, pixel: int, step: int) -> bool:
    """Whether a block is a pixel again and again."""
    word = _repeated(pixel, step)
    after = _next(word, step)
    return bool(first == word and second == after and third == _next(after, step))


@kernel
def _repeated(pixel: int, step: int) -> Word:
    """A pixel again and again, as far as a word goes."""
    bits = BYTE * np.uint64(step)
    while bits < np.uint64(64):
        pixel |= pixel << bits
        bits += bits
    return pixel


@kernel
def _next(word: int, step: int) -> Word:
    """What follows a word of repeated pixels."""
    over = np.uint64(WORD % step)  # bytes of the pixel that the word cuts
    if over == 0:
        return word
    return word >> (BYTE * over) | word << (BYTE * (np.uint64(step) - over))
