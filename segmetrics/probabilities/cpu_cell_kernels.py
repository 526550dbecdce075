"""The loops that turn scores into cells and count them, see ``plain_cells`` for what they count.

Scores come as the bits of fp32 (or of fp16) in int32, pixels one after the other. A place of a
table is twice a cell and one more for a positive; behind the cells stand the codes of pixels that
do not count, so that nothing branches on them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics._compile import kernel
from segmetrics.counting.cpu_kernels import _row_offset, _row_place
from segmetrics.counting.cpu_resize_kernels import _hold_rows, _resize_row, _runs
from segmetrics.probabilities.cells import BAD, CELLS, OF_LOGIT, OF_PROBABILITY, ZERO
from segmetrics.probabilities.inputs import NOT_A_NUMBER, OUTSIDE_0_1

Array = NDArray[Any]
Codes = NDArray[np.uint16]
Bits = NDArray[np.int32]
Floats = NDArray[np.float32]
Int64Array = NDArray[np.int64]
Box = tuple[int, int, int, int]

#: Places behind the cells, for the codes of pixels that do not count, less the labels.
BEHIND = 16
#: Infinity in the bits of fp32 and fp16, and one in those of fp16.
INFINITY, INFINITE_HALF, ONE_HALF = 0x7F800000, 0x7C00, 0x3C00
#: What bits are those of.
LOGITS, PROBABILITIES, HALF_LOGITS, HALF_PROBABILITIES = range(4)
#: Pixels whose places are found at once.
TILE = 8192


@kernel
def unresized_bits(
    scores: Array,
    base: int,
    sizes: Int64Array,
    strides: Int64Array,
    step: int,
    box: Box,
    shift: int,
    out: Bits,
) -> None:
    """The bits of a box of scores, moved by so many: bf16 becomes fp32."""
    k, n = 0, box[3] - box[2]
    for row in range(box[0], box[1]):
        start, part = base + _row_offset(row, sizes, strides) + box[2] * step, out[k : k + n]
        if step == 1:
            source = scores[start : start + n]
            for i in range(n):
                part[i] = np.int32(source[i]) << shift
        else:
            for i in range(n):
                part[i] = np.int32(scores[np.uintp(start + i * step)]) << shift
        k += n


@kernel
def nearest_bits(
    scores: Array,
    base: int,
    sizes: Int64Array,
    row_places: Int64Array,
    column_places: Int64Array,
    box: Box,
    shift: int,
    out: Bits,
) -> None:
    """``unresized_bits`` of each pixel's nearest neighbour, see ``counting.cpu_kernels``."""
    k, n = 0, box[3] - box[2]
    places = column_places[box[2] : box[3]]
    for row in range(box[0], box[1]):
        start, part = base + _row_place(row, sizes, row_places), out[k : k + n]
        for i in range(n):
            part[i] = np.int32(scores[np.uintp(start + places[i])]) << shift
        k += n


@kernel
def linear_scores(
    scores: Array,
    base: int,
    label_stride: int,
    sizes: Int64Array,
    strides: Int64Array,
    rows: Int64Array,
    row_weights: Array,
    columns: Int64Array,
    column_weights: Array,
    linear: tuple[bool, bool, bool],
    box: Box,
    half: Array | None,
    out: Floats,
) -> None:
    """Linearly resized scores, see ``counting.cpu_resize_kernels.linear_codes``."""
    n, runs = box[3] - box[2], _runs(columns, box[2], box[3])
    wide, held = np.empty(4 * n, row_weights.dtype), np.full(4, -1, np.int64)
    resized, behind = np.empty(n, wide.dtype), np.empty(n, wide.dtype)
    k = 0
    for row in range(box[0], box[1]):
        slots = _hold_rows(
            scores,
            base,
            label_stride,
            1,
            sizes,
            strides,
            rows,
            columns[:, box[2] : box[3]],
            column_weights[:, box[2] : box[3]],
            runs,
            linear,
            row,
            half,
            wide,
            held,
        )
        _resize_row(wide, slots, row_weights, sizes, linear, row, 1, n, resized, behind)
        out[k : k + n] = resized
        k += n


@kernel
def logit_places(bits: Bits, codes: Codes, labels: int, places: Bits) -> Any:
    """The places of logits ``(n,)``; returns how many of those that count are rounded."""
    rounded = np.int32(0)
    behind, nan = np.int32(2 * CELLS) - np.int32(labels), np.int32(2 * CELLS + NOT_A_NUMBER)
    for i in range(len(codes)):
        b = bits[i] if bits[i] != np.int32(-(2**31)) else np.int32(0)
        key = (b >> OF_LOGIT) ^ (np.int32(-1) if b < 0 else np.int32(-ZERO))
        key &= np.int32(0xFFFF)
        code = np.int32(codes[i])
        counts, possible = code < labels, (b & np.int32(0x7FFFFFFF)) <= INFINITY
        place = 2 * key + code if possible else nan
        places[i] = place if counts else behind + code
        inexact = counts & possible & ((b & np.int32(2**OF_LOGIT - 1)) != 0)
        rounded = np.int32(rounded + np.int32(inexact))
    return rounded


@kernel
def half_places(bits: Bits, codes: Codes, labels: int, logits: bool, places: Bits) -> int:
    """``logit_places`` of fp16 logits or probabilities, which no cell rounds."""
    behind = np.int32(2 * CELLS) - np.int32(labels)
    nan, outside = np.int32(2 * CELLS + NOT_A_NUMBER), np.int32(2 * CELLS + OUTSIDE_0_1)
    for i in range(len(codes)):
        b = bits[i] if bits[i] != np.int32(-ZERO) else np.int32(0)
        key = (b ^ (np.int32(-1) if b < 0 else np.int32(-ZERO))) & np.int32(0xFFFF)
        code = np.int32(codes[i])
        place = 2 * key + code
        if not logits:
            place = place if (b >= 0) & (b <= ONE_HALF) else outside
        place = place if (b & np.int32(0x7FFF)) <= INFINITE_HALF else nan
        places[i] = place if code < labels else behind + code
    return 0


@kernel
def probability_places(
    probabilities: Floats, smaller: Floats, codes: Codes, labels: int, places: Bits
) -> Any:
    """``logit_places`` of fp32 probabilities; ``smaller`` is for those of p and 1 - p."""
    n = len(codes)
    for i in range(n):
        p = probabilities[i] + np.float32(0)  # -0.0 becomes 0.0
        smaller[i] = p if p <= np.float32(0.5) else np.float32(1) - p
    bits = smaller.view(np.int32)
    rounded, behind = np.int32(0), np.int32(2 * CELLS) - np.int32(labels)
    nan, outside = np.int32(2 * CELLS + NOT_A_NUMBER), np.int32(2 * CELLS + OUTSIDE_0_1)
    for i in range(n):
        p, b, code = probabilities[i], bits[i], np.int32(codes[i])
        prefix = b >> OF_PROBABILITY
        key = prefix if p <= np.float32(0.5) else np.int32(BAD - 1) - prefix
        counts, possible = code < labels, (p >= np.float32(0)) & (p <= np.float32(1))
        place = 2 * key + code
        place = place if possible else outside
        place = place if p == p else nan
        places[i] = place if counts else behind + code
        inexact = counts & possible & ((b & np.int32(2**OF_PROBABILITY - 1)) != 0)
        rounded = np.int32(rounded + np.int32(inexact))
    return rounded


@kernel
def class_places(
    probabilities: Floats, smaller: Floats, label: int, codes: Codes, labels: int, places: Bits
) -> Any:
    """``probability_places`` of a class, where counted probabilities are known to be possible."""
    n = len(codes)
    for i in range(n):
        p = probabilities[i]
        smaller[i] = p if p <= np.float32(0.5) else np.float32(1) - p
    bits = smaller.view(np.int32)
    rounded, behind = np.int32(0), np.int32(2 * CELLS) - np.int32(labels)
    for i in range(n):
        b, code = bits[i], codes[i]
        prefix = b >> OF_PROBABILITY
        key = prefix if probabilities[i] <= np.float32(0.5) else np.int32(BAD - 1) - prefix
        counts = code < labels
        places[i] = 2 * key + (code == label) if counts else behind + np.int32(code)
        inexact = counts & ((b & np.int32(2**OF_PROBABILITY - 1)) != 0)
        rounded = np.int32(rounded + np.int32(inexact))
    return rounded


@kernel
def add(places: Bits, merged: Codes | None, table: Array) -> None:
    """Count pixels at their places; ``merged`` maps them to those of a coarser table."""
    if merged is None:
        for i in range(len(places)):
            table[np.uintp(places[i])] += 1
        return
    end = len(table) - BEHIND
    for i in range(len(places)):
        place = places[i]
        if place < 2 * CELLS:
            place = 2 * np.int32(merged[np.uintp(place >> 1)]) + (place & 1)
        else:
            place += end - 2 * CELLS
        table[np.uintp(place)] += 1


@kernel
def count_scores(bits: Bits, codes: Codes, form: int, merged: Codes | None, table: Array) -> int:
    """Count a box of single scores ``(n,)``; returns how many of those that count are rounded."""
    places, smaller = np.empty(TILE, np.int32), np.empty(TILE, np.float32)
    rounded = 0
    for first in range(0, len(codes), TILE):
        n = min(TILE, len(codes) - first)
        scores, coded, found = bits[first : first + n], codes[first : first + n], places[:n]
        if form == LOGITS:
            rounded += logit_places(scores, coded, 2, found)
        elif form == PROBABILITIES:
            of_pixels = scores.view(np.float32), smaller[:n]
            rounded += probability_places(*of_pixels, coded, 2, found)
        else:
            rounded += half_places(scores, coded, 2, form == HALF_LOGITS, found)
        add(found, merged, table)
    return rounded


@kernel
def count_classes(
    probabilities: Floats, codes: Codes, some: tuple[int, int], merged: Codes | None, tables: Array
) -> int:
    """``count_scores`` of some classes of a box of probabilities ``(C, n)``, in ``(C, places)``."""
    places, smaller = np.empty(TILE, np.int32), np.empty(TILE, np.float32)
    rounded = 0
    for label in range(some[0], some[1]):
        of_class = probabilities[label * len(codes) : (label + 1) * len(codes)]
        for first in range(0, len(codes), TILE):
            n = min(TILE, len(codes) - first)
            scores, coded, found = of_class[first : first + n], codes[first : first + n], places[:n]
            rounded += class_places(scores, smaller[:n], label, coded, len(tables), found)
            add(found, merged, tables[label])
    return rounded
