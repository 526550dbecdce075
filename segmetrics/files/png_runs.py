"""PNG files of RGB pixels become runs of equal pixels, in a kernel that releases the GIL.

Runs take a tenth of the time of pixels. Only two rows of these are kept, so that they stay in the
cache. What is unusual or damaged is left to ``png``, see ``png_files``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segmetrics._compile import kernel
from segmetrics.files.masks import Array, Buffer
from segmetrics.files.png_files import FREE, MAKE, call, libraries, read_filtered
from segmetrics.files.png_kernels import PAETH, UP, WORD, ZEROS, load, undo

Runs = NDArray[np.int32]
#: Bytes of a pixel, and of what is compared at once: of 24 pixels, and of 8.
RGB, BLOCK, FEW = 3, 72, 24
#: Bytes of a file, and of its filtered rows, that are read this way at most. Memory that is not
#: written to takes none.
MOST = 2**26


class ColorRuns(NamedTuple):
    """An image of colours cut into runs of equal pixels; a row begins with a run.

    Attributes:
        starts: the first pixel of every run, then the number of pixels.
        colors: the colour of every run, R + 256 G + 65536 B.
        size: height and width.
    """

    starts: Runs
    colors: Runs
    size: tuple[int, int]


def read_color_runs(path: Path, buffer: Buffer) -> ColorRuns | None:
    """The runs of equal pixels of a PNG of RGB in 8 bits; None of all else."""
    addresses = libraries()
    if addresses is None:
        return None
    name = np.frombuffer(os.fsencode(path) + b"\0", np.uint8)
    data, filtered = buffer.empty(2 * MOST).reshape(2, MOST)
    height, width, starts, colors = color_runs_of_file(name, addresses, data, filtered)
    return ColorRuns(starts, colors, (height, width)) if height else None


@kernel
def color_runs_of_file(
    name: Array, addresses: Array, data: Array, filtered: Array
) -> tuple[int, int, Runs, Runs]:
    """Read a file; height, width, and ``color_runs``. The size is 0 where it is left to ``png``."""
    inflater = call(addresses[MAKE], (0,))
    found = read_filtered(name.ctypes.data, addresses, inflater, data, filtered)
    call(addresses[FREE], (inflater,))
    height, width = found[:2]
    rows, starts, colors = color_runs(filtered, height if found[2] == RGB else 0, width)
    return rows if rows == height else 0, width, starts, colors


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
        begin = y * (length + 1) + 1
        kind, stored = filtered[begin - 1], filtered[begin : begin + length]
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
    while x + BLOCK <= len(stored):
        some = ZEROS
        for word in range(x, x + BLOCK, WORD):
            some |= load(stored, word)
        if some != ZEROS:
            return False
        x += BLOCK
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
        if x > 0:
            while x + BLOCK <= len(row) and _are_equal(row, x, BLOCK):
                x += BLOCK
            while x + FEW <= len(row) and _are_equal(row, x, FEW):
                x += FEW
        for _ in range(min(FEW // RGB, (len(row) - x) // RGB)):
            color = _color(row, x)
            if color != left:
                starts[found], colors[found] = base + x // RGB, color
                found += 1
            left = color
            x += RGB
    return found


@kernel
def _are_equal(row: Array, x: int, size: int) -> bool:
    """Whether the pixels of some bytes are all equal to the one on their left."""
    differ = ZEROS
    for word in range(x, x + size, WORD):
        differ |= load(row, word) ^ load(row, word - RGB)
    return bool(differ == ZEROS)


@kernel
def _color(row: Array, x: int) -> int:
    return int(row[x]) | int(row[x + 1]) << 8 | int(row[x + 2]) << 16


@kernel
def _longer(array: Runs) -> Runs:
    """An array twice as long, whose first half is a copy; the rest is not initialized."""
    copy = np.empty(2 * len(array), array.dtype)
    copy[: len(array)] = array
    return copy
