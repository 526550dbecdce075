"""Filtered RGB pixels of a PNG become runs of equal pixels, in Numba: its specification, section 9.

Masks of segments are flat, so most filtered bytes are zero. Of eight zero pixels in line a row is
written at once, see ``png_kernels``. Only two rows are kept, so that they stay in the cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segmetrics._compile import kernel
from segmetrics.files.masks import Array
from segmetrics.files.png_kernels import AVERAGE, NONE, PAETH, SUB, UP, _paeth, load, store

Runs = NDArray[np.int32]

#: Bytes of a pixel, of two, and of eight pixels, which are three words of eight bytes.
PIXEL, TWO, EIGHT, WORD = 3, 6, 24, 8
#: The bits of a pixel and of two in a word; the highest bit of each byte of a pixel, and the others.
ONE_PIXEL, TWO_PIXELS = np.uint64(0xFFFFFF), np.uint64(0xFFFFFFFFFFFF)
HIGH, LOW, ZERO = np.uint64(0x808080), np.uint64(0x7F7F7F), np.uint64(0)


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
    length = PIXEL * width
    # with a pixel of zeros on the left; on the right words are written that are longer than pixels
    row, above = np.zeros(PIXEL + length + WORD, np.uint8), np.zeros(PIXEL + length + WORD, np.uint8)
    found, of_above = 0, 0
    for y in range(height):
        kind, stored = filtered[y * (length + 1)], y * (length + 1) + 1
        while found + width + 1 > len(starts):
            starts, colors = _longer(starts), _longer(colors)
        begin = found
        if y > 0 and (kind == UP or kind == PAETH) and _are_zero(filtered, stored, length):
            for run in range(of_above, begin):  # the row above once more
                starts[found], colors[found] = starts[run] + width, colors[run]
                found += 1
            of_above = begin
            continue
        row, above = above, row
        if kind == NONE:
            _copy(filtered[stored : stored + length], row[PIXEL:])
        elif kind == SUB:
            _undo_sub(filtered, stored, length, row)
        elif kind == UP:
            _undo_up(filtered[stored : stored + length], above[PIXEL:], row[PIXEL:])
        elif kind == AVERAGE:
            _undo_average(filtered[stored : stored + length], above[PIXEL:], row, row[PIXEL:])
        elif kind == PAETH:
            _undo_paeth(filtered, stored, length, above, row)
        else:
            return y, starts[:0], colors[:0]
        found = _cut(row, length, y * width, starts, colors, found)
        of_above = begin
    starts[found] = height * width
    return height, starts[: found + 1].copy(), colors[:found].copy()


@kernel
def _longer(array: Runs) -> Runs:
    longer = np.empty(2 * len(array), array.dtype)
    longer[: len(array)] = array
    return longer


@kernel
def _are_zero(filtered: Array, start: int, length: int) -> bool:
    end = start + length
    while start + WORD <= end:
        if load(filtered, start) != ZERO:
            return False
        start += WORD
    for i in range(start, end):
        if filtered[i]:
            return False
    return True


@kernel
def _cut(row: Array, length: int, base: int, starts: Runs, colors: Runs, found: int) -> int:
    """Add the runs of a row, and say how many there are by now."""
    starts[found], colors[found] = base, load(row, PIXEL) & ONE_PIXEL
    found += 1
    place = PIXEL  # of the pixel on the left
    while place < length:
        if place + EIGHT <= length:
            one = load(row, place) ^ load(row, place + PIXEL)
            two = load(row, place + 8) ^ load(row, place + 8 + PIXEL)
            three = load(row, place + 16) ^ load(row, place + 16 + PIXEL)
            if one | two | three == ZERO:
                place += EIGHT
                continue
        for _ in range(min(8, (length - place) // PIXEL)):
            left, place = load(row, place) & ONE_PIXEL, place + PIXEL
            color = load(row, place) & ONE_PIXEL
            if color != left:
                starts[found], colors[found] = base + place // PIXEL - 1, color
                found += 1
    return found


@kernel
def _copy(stored: Array, row: Array) -> None:
    for i in range(len(stored)):
        row[i] = stored[i]


@kernel
def _undo_up(stored: Array, above: Array, row: Array) -> None:
    for i in range(len(stored)):
        row[i] = stored[i] + above[i]


@kernel
def _undo_average(stored: Array, above: Array, left: Array, row: Array) -> None:
    for i in range(len(stored)):
        row[i] = stored[i] + ((np.int64(left[i]) + np.int64(above[i])) >> 1)


@kernel
def _undo_sub(filtered: Array, start: int, length: int, row: Array) -> None:
    i = 0
    while i < length:
        left = load(row, i) & ONE_PIXEL
        if i + EIGHT <= length:
            stored = load(filtered, start + i)
            if stored | load(filtered, start + i + 8) | load(filtered, start + i + 16) == ZERO:
                _fill(left, row, PIXEL + i)
                i += EIGHT
                continue
            if stored & TWO_PIXELS == ZERO:
                store(_repeated(left), row, PIXEL + i)
                i += TWO
                continue
        store(_sum(left, _pixel(filtered, start + i)), row, PIXEL + i)
        i += PIXEL


@kernel
def _undo_paeth(filtered: Array, start: int, length: int, above: Array, row: Array) -> None:
    i = 0
    while i < length:
        left, corner = load(row, i) & ONE_PIXEL, load(above, i) & ONE_PIXEL
        word = load(above, PIXEL + i)
        up = word & ONE_PIXEL
        if i + EIGHT <= length and (left == corner or up == corner):
            stored = load(filtered, start + i)
            if stored | load(filtered, start + i + 8) | load(filtered, start + i + 16) == ZERO:
                second, third = load(above, PIXEL + i + 8), load(above, PIXEL + i + 16)
                if left == corner:
                    store(word, row, PIXEL + i)
                    store(second, row, PIXEL + i + 8)
                    store(third, row, PIXEL + i + 16)
                    i += EIGHT
                    continue
                if (
                    word == _repeated(corner)
                    and second == _repeated_from_third(corner)
                    and third == _repeated_from_second(corner)
                ):
                    _fill(left, row, PIXEL + i)
                    i += EIGHT
                    continue
            if stored & TWO_PIXELS == ZERO:
                if left == corner:
                    store(word, row, PIXEL + i)
                    i += TWO
                    continue
                if (word ^ _repeated(corner)) & TWO_PIXELS == ZERO:
                    store(_repeated(left), row, PIXEL + i)
                    i += TWO
                    continue
        residual = _pixel(filtered, start + i)
        if left == corner:
            store(_sum(up, residual), row, PIXEL + i)
        elif up == corner:
            store(_sum(left, residual), row, PIXEL + i)
        else:
            for j in range(i, i + PIXEL):
                predicted = _paeth(row[j], above[PIXEL + j], above[j])
                row[PIXEL + j] = filtered[start + j] + predicted
        i += PIXEL


@kernel
def _pixel(filtered: Array, place: int) -> int:
    """A pixel as one number, without what is behind it, which may be the end of the memory."""
    red, green, blue = filtered[place], filtered[place + 1], filtered[place + 2]
    return np.uint64(red) | np.uint64(green) << np.uint64(8) | np.uint64(blue) << np.uint64(16)


@kernel
def _sum(one: int, other: int) -> int:
    """The sum of two pixels, byte by byte modulo 256."""
    return ((one & LOW) + (other & LOW)) ^ ((one ^ other) & HIGH)


@kernel
def _fill(pixel: int, row: Array, place: int) -> None:
    """Write a pixel eight times."""
    store(_repeated(pixel), row, place)
    store(_repeated_from_third(pixel), row, place + 8)
    store(_repeated_from_second(pixel), row, place + 16)


@kernel
def _repeated(pixel: int) -> int:
    """A pixel again and again, as far as a word goes."""
    return pixel | pixel << np.uint64(24) | pixel << np.uint64(48)


@kernel
def _repeated_from_third(pixel: int) -> int:
    """The same from the third byte on."""
    return pixel >> np.uint64(16) | _repeated(pixel) << np.uint64(8)


@kernel
def _repeated_from_second(pixel: int) -> int:
    """The same from the second byte on."""
    return pixel >> np.uint64(8) | _repeated(pixel) << np.uint64(16)
