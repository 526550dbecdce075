"""Kernels of the CPU backend: codes of labels.

Kernels are compiled once, kept on disk, and release the GIL. Those for scores are in
``cpu_score_kernels.py`` and ``cpu_resize_kernels.py``; ``cpu_tally_kernels.py`` counts the codes.
What a code is, ``codes.py`` says; what is computed, ``plain.codes_of`` defines.

A kernel reads a *box*: rows ``box[0]`` to ``box[1]`` and columns ``box[2]`` to ``box[3]`` of the
pixels of one map. Arrays are flat; ``base`` is where the map begins in one. Columns are ``step``
elements apart, rows as the sizes and strides of the remaining dimensions say. The pixels' codes are
written one after the other.

An index that might be negative is checked for every element, which prevents vectorization: inner
loops read slices from 0 on, or make their indices ``np.uintp``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics._compile import kernel

Array = NDArray[Any]
Codes = NDArray[np.uint16]
Int64Array = NDArray[np.int64]
Box = tuple[int, int, int, int]

#: Labels that are coded at once.
LABELS = 2**10
#: Known values lie among so many, as many as a byte has.
VALUES = 2**8
#: Cells of a histogram that 16 bits can number.
CELLS = 2**16


@kernel
def label_codes(
    labels: Array,
    base: int,
    sizes: Int64Array,
    strides: Int64Array,
    step: int,
    box: Box,
    last: int,
    negative: int,
    too_large: int,
    others: Array,
    codes_of_others: Codes,
    codes: Codes,
) -> None:
    """Codes of labels: those up to ``last`` are their own, ``others`` have theirs.

    Labels that are not contiguous are gathered first.
    """
    gathered = np.empty(LABELS, labels.dtype)
    k = 0
    for row in range(box[0], box[1]):
        start = base + _row_offset(row, sizes, strides)
        for first in range(box[2], box[3], LABELS):
            n = min(LABELS, box[3] - first)
            place = start + first * step
            if step == 1:
                values = labels[place : place + n]
            else:
                values = gathered[:n]
                for i in range(n):
                    values[i] = labels[np.uintp(place + i * step)]
            _code(values, last, negative, too_large, others, codes_of_others, codes[k : k + n])
            k += n


@kernel
def _code(
    values: Array,
    last: int,
    negative: int,
    too_large: int,
    others: Array,
    codes_of_others: Codes,
    codes: Codes,
) -> None:
    # Each label is loaded once. While a late helper reads it, see ``_parallel``, the caller may be
    # writing the next batch, and a code must stay inside the histogram whatever it finds.
    if last & (last + 1) == 0:  # labels are what has no other bits than the last one
        bits, other_labels = last, False
        for i in range(len(values)):
            value = values[i]
            bits |= value
            codes[i] = np.uint16(value)
        for other in others:
            other_labels |= 0 <= other <= last
        if bits == last and not other_labels:
            return
    for i in range(len(values)):
        value = values[i]
        code = np.uint16(value) if value <= last else np.uint16(too_large)
        codes[i] = code if value >= 0 else np.uint16(negative)
    for other in range(len(others)):
        value, code = others[other], codes_of_others[other]
        for i in range(len(values)):
            codes[i] = code if values[i] == value else codes[i]


@kernel
def look_up(table: Codes, codes: Codes) -> None:
    """Put in place of every code what a table has for it."""
    for i in range(len(codes)):
        codes[i] = table[codes[i]]


@kernel
def _row_offset(row: int, sizes: Int64Array, strides: Int64Array) -> Any:
    offset = np.int64(0)
    for dim in range(len(sizes) - 1, -1, -1):
        offset += row % sizes[dim] * strides[dim]
        row //= sizes[dim]
    return offset


@kernel
def _row_place(row: int, sizes: Int64Array, places: Int64Array) -> Any:
    place, end = np.int64(0), len(places)
    for dim in range(len(sizes) - 1, -1, -1):
        end -= sizes[dim]
        place += places[end + row % sizes[dim]]
        row //= sizes[dim]
    return place
