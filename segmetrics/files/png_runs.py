"""Filtered RGB pixels of a PNG become runs of equal pixels, in Numba.

Only two rows are kept, so that they stay in the cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segmetrics._compile import kernel
from segmetrics.files.masks import Array
from segmetrics.files.png_kernels import PAETH, UP, WORD, ZEROS, load, undo

Runs = NDArray[np.int32]
#: Bytes of a pixel, and of eight pixels, which fill three words.
RGB, EIGHT = 3, 24


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
            if not undo(kind, stored, above, RGB, row):
                return y, starts[:0], colors[:0]
            found = _cut(row, y * width, starts, colors, found)
        of_above = first
    starts[found] = height * width
    return height, starts[: found + 1].copy(), colors[:found].copy()


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
    left, x = -1, 0
    while x < len(row):
        if x > 0 and x + EIGHT <= len(row):
            same = load(row, x) ^ load(row, x - RGB)
            same |= load(row, x + 8) ^ load(row, x + 8 - RGB)
            same |= load(row, x + 16) ^ load(row, x + 16 - RGB)
            if same == ZEROS:
                x += EIGHT
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
def _color(row: Array, x: int) -> int:
    return int(row[x]) | int(row[x + 1]) << 8 | int(row[x + 2]) << 16


@kernel
def _longer(array: Runs) -> Runs:
    """An array twice as long, whose first half is a copy; the rest is not initialized."""
    copy = np.empty(2 * len(array), array.dtype)
    copy[: len(array)] = array
    return copy
