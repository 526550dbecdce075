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
from segmetrics.counting.cpu_intrinsics import bits_of, prefetch
from segmetrics.counting.cpu_kernels import _code, _row_offset, _row_place
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
#: Infinity and 1/2 in the bits of fp32; infinity and 1 in those of fp16.
INFINITY, ONE_HALF = 0x7F800000, 0x3F000000
HALF_INFINITY, HALF_ONE = 0x7C00, 0x3C00
#: What bits are those of.
LOGITS, PROBABILITIES, HALF_LOGITS, HALF_PROBABILITIES = range(4)
#: Pixels whose places are found at once, and those of whose scores a line of a cache holds.
TILE, LINE = 2**12, 16


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
        start, part = base + _row_offset(row, sizes, strides) + box[2] * step, out[k:]
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
        start, part = base + _row_place(row, sizes, row_places), out[k:]
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
            place = place if (b >= 0) & (b <= HALF_ONE) else outside
        place = place if (b & np.int32(0x7FFF)) <= HALF_INFINITY else nan
        places[i] = place if code < labels else behind + code
    return 0


@kernel
def probability_places(
    probabilities: Floats, label: int, codes: Codes, labels: int, places: Bits
) -> Any:
    """``logit_places`` of fp32 probabilities that pixels are of a label."""
    behind, this = np.int32(2 * CELLS) - np.int32(labels), np.int32(label)
    rounded, largest = np.int32(0), np.uint32(0)
    for i in range(len(codes)):
        p, code = probabilities[i] + np.float32(0), np.int32(codes[i])  # -0.0 becomes 0.0
        bits, rest = bits_of(p), bits_of(np.float32(1) - p)
        is_low = bits <= np.int32(ONE_HALF)
        smaller = bits if is_low else rest
        place = np.int32(np.int32(smaller >> np.int32(OF_PROBABILITY)) << np.int32(1))
        place = place if is_low else np.int32(np.int32(2 * (BAD - 1)) - place)
        counts, place = code < np.int32(labels), np.int32(place + np.int32(code == this))
        places[i] = place if counts else np.int32(behind + code)
        magnitude = np.uint32(smaller)
        largest, possible = max(largest, magnitude), magnitude <= np.uint32(ONE_HALF)
        inexact = counts & possible & ((smaller & np.int32(2**OF_PROBABILITY - 1)) != 0)
        rounded = np.int32(rounded + np.int32(inexact))
    if largest > np.uint32(ONE_HALF):  # min(p, 1 - p) of some is negative or NaN
        for i in range(len(codes)):
            p = probabilities[i]
            if codes[i] < labels and not (p >= np.float32(0) and p <= np.float32(1)):
                places[i] = 2 * CELLS + (OUTSIDE_0_1 if p == p else NOT_A_NUMBER)
    return rounded


@kernel
def add(places: Bits, merged: Codes | None, table: Array, ahead: tuple[Any, Any], at: int) -> None:
    """Count pixels at their places; ``merged`` maps them to those of a coarser table.

    Meanwhile memory brings near what the next pixels need, from ``at`` on of two arrays.
    """
    end, n = len(table) - BEHIND, len(places)
    for first in range(0, n - LINE + 1, LINE):
        prefetch(ahead[0], at + first)
        prefetch(ahead[1], at + first)
        prefetch(ahead[1], at + first + LINE // 2)  # labels may have 8 bytes
        for i in range(first, first + LINE):
            table[_merge(places[i], merged, end)] += 1
    for i in range(n - n % LINE, n):
        table[_merge(places[i], merged, end)] += 1


@kernel
def _merge(place: int, merged: Codes | None, end: int) -> Any:
    if merged is None:
        return np.uintp(place)
    if place < 2 * CELLS:
        return np.uintp(2 * np.int32(merged[np.uintp(place >> 1)]) + (place & 1))
    return np.uintp(place + end - 2 * CELLS)


@kernel
def count_scores(
    bits: Bits,
    labels: Array,
    meaning: Any,
    form: int,
    merged: Codes | None,
    table: Array,
) -> int:
    """Count a box of single scores ``(n,)``; returns how many of those that count are rounded.

    ``labels`` are codes if ``meaning`` is None, otherwise they have one, see
    ``counting.cpu_readers``.
    """
    codes, places, rounded = np.empty(TILE, np.uint16), np.empty(TILE, np.int32), 0
    for first in range(0, len(labels), TILE):
        n = min(TILE, len(labels) - first)
        scores, coded, found = bits[first : first + n], codes[:n], places[:n]
        if meaning is None:
            coded[:] = labels[first : first + n]
        else:
            last, negative, too_large, others, theirs = meaning
            of_tile = labels[first : first + n]
            _code(of_tile, last, negative, too_large, others, theirs, coded)
        if form == LOGITS:
            rounded += logit_places(scores, coded, 2, found)
        elif form == PROBABILITIES:
            rounded += probability_places(scores.view(np.float32), 1, coded, 2, found)
        else:
            rounded += half_places(scores, coded, 2, form == HALF_LOGITS, found)
        add(found, merged, table, (bits, labels), first + n)
    return rounded


@kernel
def count_classes(
    probabilities: Floats, codes: Codes, some: tuple[int, int], merged: Codes | None, tables: Array
) -> int:
    """``count_scores`` of some classes of a box of probabilities ``(C, n)``, in ``(C, places)``."""
    places, rounded = np.empty(TILE, np.int32), 0
    for label in range(some[0], some[1]):
        of_class = probabilities[label * len(codes) : (label + 1) * len(codes)]
        for first in range(0, len(codes), TILE):
            n = min(TILE, len(codes) - first)
            scores, coded, found = of_class[first : first + n], codes[first : first + n], places[:n]
            rounded += probability_places(scores, label, coded, len(tables), found)
            add(found, merged, tables[label], (of_class, codes), first + n)
    return rounded
