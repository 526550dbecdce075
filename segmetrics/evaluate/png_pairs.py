"""Pairs of PNG files counted by a kernel that reads them, without the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from segmetrics._compile import kernel
from segmetrics.counting.codes import ABSTAINED, IGNORED, histogram_shape
from segmetrics.counting.cpu_readers import Values
from segmetrics.counting.cpu_tally_kernels import COPIES, recode, tally_runs
from segmetrics.counting.settings import Counting
from segmetrics.evaluate.counter import UNCOUNTED, Counted, Int64Array, Layout
from segmetrics.files import Pair
from segmetrics.files.masks import Array
from segmetrics.files.png_files import FREE, MAKE, MOST, call, libraries, read_png_file

#: The place of a name that is no PNG's.
NO_PNG = -1


def counter_of(
    counting: Counting, values: Values, layout: Layout
) -> Callable[[Sequence[Pair]], list[Counted | None]] | None:
    """A function that counts several pairs in one call, in memory of its own: one per thread.

    It returns None for pairs that are no PNGs of one byte per pixel, are damaged, differ in size or
    palette, or have unknown labels. A target that successive pairs share is read once.

    Returns:
        A function; None where the libraries that it needs are missing.
    """
    addresses = libraries()
    if addresses is None:
        return None
    memory, shape = np.empty((5, MOST), np.uint8), histogram_shape(counting)[1:]

    def count(pairs: Sequence[Pair]) -> list[Counted | None]:
        sums, pixels = np.zeros((len(pairs), layout.size), np.int64), np.zeros(len(pairs), np.int64)
        _count(*_names(pairs), addresses, memory, values[1:], shape, sums, pixels)
        sums[:, UNCOUNTED] = pixels - sums[:, : layout.cells].sum(1)
        return [Counted(row) if some else None for row, some in zip(sums, pixels, strict=True)]

    return count


def _names(pairs: Sequence[Pair]) -> tuple[Array, Int64Array]:
    """The names of files, each with a zero at the end, and the places of those of every pair."""
    names, places, last = bytearray(), [], ("", NO_PNG)
    for pair in pairs:
        preds, target = str(pair.preds), str(pair.target)
        if pair.classes or {preds[-4:].lower(), target[-4:].lower()} != {".png"}:
            places.append((NO_PNG, NO_PNG))
            continue
        if target != last[0]:
            last = target, len(names)
            names += os.fsencode(target) + b"\0"
        places.append((len(names), last[1]))
        names += os.fsencode(preds) + b"\0"
    return np.frombuffer(bytes(names), np.uint8), np.array(places, np.int64).reshape(-1, 2)


@kernel
def _count(
    names: Array,
    places: Int64Array,
    addresses: Int64Array,
    memory: Array,
    values: tuple[Any, ...],
    shape: tuple[int, ...],
    sums: Int64Array,
    pixels: Int64Array,
) -> None:
    """Count pairs; write the counts of each to its row of ``sums``, and its number of pixels.

    Both stay 0 for those that are not counted. ``values`` are of ``Values``.
    """
    start, span, codes_of_target, codes_of_preds = values
    counts = np.zeros((np.int64(span) + 1, np.int64(span) + 1, COPIES), np.int32)
    histogram = np.zeros(shape, np.int64)
    data, data_of_target, filtered = memory[0], memory[1], memory[2]
    preds, target = memory[3], memory[4]
    inflater, first = call(addresses[MAKE], (0,)), names.ctypes.data
    last, height, width, palette, colors = NO_PNG, 0, 0, 0, 0
    for i in range(len(places)):
        if places[i, 0] == NO_PNG:
            continue
        if places[i, 1] != last:
            last = places[i, 1]
            height, width, palette, colors = read_png_file(
                first + last, addresses, inflater, data_of_target, filtered, target
            )
        if height == 0:
            continue
        tall, wide, other, others = read_png_file(
            first + places[i, 0], addresses, inflater, data, filtered, preds
        )
        same = colors == others or colors == 0 or others == 0
        for byte in range(min(colors, others)):
            same &= data[other + byte] == data_of_target[palette + byte]
        size = height * width
        if (tall, wide) == (height, width) and same:
            tally_runs(target[:size], preds[:size], None, start, span, counts)
            recode(counts, codes_of_target, codes_of_preds, histogram)
            pixels[i] = _moved(histogram, sums[i], size)
    call(addresses[FREE], (inflater,))


@kernel
def _moved(histogram: Array, sums: Array, size: int) -> int:
    """Move counts of known labels to ``sums``, unless they are not all; their number, or 0."""
    labels, columns = histogram.shape[0] - 5, histogram.shape[0] - 5 + ABSTAINED + 1
    known = histogram[labels + IGNORED].sum() + histogram[:labels, :columns].sum()
    if known == size:
        for row in range(labels):
            for column in range(columns):
                sums[row * columns + column] = histogram[row, column]
    histogram[:] = 0
    return size if known == size else 0
