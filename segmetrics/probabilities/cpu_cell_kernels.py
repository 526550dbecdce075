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
from segmetrics.probabilities.cells import BAD, CELLS, OF_LOGIT, OF_PROBABILITY, ZERO
from segmetrics.probabilities.inputs import NOT_A_NUMBER, OUTSIDE_0_1, SUM_NOT_1

Array = NDArray[Any]
Codes = NDArray[np.uint16]
Bits = NDArray[np.int32]
Floats = NDArray[np.float32]
Longs = NDArray[np.int64]
Box = tuple[int, int, int, int]

#: Places behind the cells, for the codes of pixels that do not count, less the labels.
BEHIND = 16
#: Infinity in the bits of fp32 and fp16, and one in those of fp16.
INFINITY, INFINITE_HALF, ONE_HALF = 0x7F800000, 0x7C00, 0x3C00
#: The fp32 number to which adding rounds to an integer, whose lowest bits are that integer's.
ROUNDING = np.float32(1.5 * 2**23)
#: Below it exp is less than the smallest normal fp32 number: 0.
LOWEST = np.float32(-87.0)


@kernel
def gather(
    scores: Array,
    base: int,
    sizes: Longs,
    strides: Longs,
    step: int,
    box: Box,
    shift: int,
    values: Bits | None,
    out: Bits,
) -> None:
    """The bits of a box of scores; those of halves are looked up, or shifted."""
    k, n = 0, box[3] - box[2]
    for row in range(box[0], box[1]):
        rest, start = row, base + box[2] * step
        for dim in range(len(sizes) - 1, -1, -1):
            start += rest % sizes[dim] * strides[dim]
            rest //= sizes[dim]
        part = out[k : k + n]
        if values is not None:
            for i in range(n):
                part[i] = values[np.uint16(scores[np.uintp(start + i * step)])]
        elif step == 1:
            source = scores[start : start + n]
            for i in range(n):
                part[i] = np.int32(source[i]) << shift
        else:
            for i in range(n):
                part[i] = np.int32(scores[np.uintp(start + i * step)]) << shift
        k += n


@kernel
def logit_places(bits: Bits, codes: Codes, labels: int, places: Bits) -> int:
    """The places of logits ``(n,)``; returns how many of those that count are rounded."""
    rounded = 0
    behind, nan = np.int32(2 * CELLS) - np.int32(labels), np.int32(2 * CELLS + NOT_A_NUMBER)
    for i in range(len(codes)):
        b = bits[i] if bits[i] != np.int32(-(2**31)) else np.int32(0)
        key = (b >> OF_LOGIT) ^ (np.int32(-1) if b < 0 else np.int32(-ZERO))
        key &= np.int32(0xFFFF)
        code = np.int32(codes[i])
        counts, possible = code < labels, (b & np.int32(0x7FFFFFFF)) <= INFINITY
        place = 2 * key + code if possible else nan
        places[i] = place if counts else behind + code
        rounded += counts & possible & ((b & np.int32(2**OF_LOGIT - 1)) != 0)
    return rounded


@kernel
def half_places(bits: Bits, codes: Codes, labels: int, logits: bool, places: Bits) -> int:
    """``logit_places`` of fp16 logits or probabilities, of which no cell rounds any."""
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
) -> int:
    """``logit_places`` of fp32 probabilities; ``smaller`` is for those of p and 1 - p."""
    n = len(codes)
    for i in range(n):
        p = probabilities[i] + np.float32(0)  # -0.0 becomes 0.0
        smaller[i] = p if p <= np.float32(0.5) else np.float32(1) - p
    bits = smaller.view(np.int32)
    rounded, behind = 0, np.int32(2 * CELLS) - np.int32(labels)
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
        rounded += counts & possible & ((b & np.int32(2**OF_PROBABILITY - 1)) != 0)
    return rounded


@kernel
def class_places(
    probabilities: Floats, smaller: Floats, right: Codes, codes: Codes, places: Bits, labels: int
) -> int:
    """``probability_places`` where it is known that counted probabilities are possible.

    Positives are pixels whose code is ``right``.
    """
    n = len(codes)
    for i in range(n):
        p = probabilities[i]
        smaller[i] = p if p <= np.float32(0.5) else np.float32(1) - p
    bits = smaller.view(np.int32)
    rounded, behind = 0, np.int32(2 * CELLS) - np.int32(labels)
    for i in range(n):
        b, code = bits[i], codes[i]
        prefix = b >> OF_PROBABILITY
        key = prefix if probabilities[i] <= np.float32(0.5) else np.int32(BAD - 1) - prefix
        counts = code < labels
        places[i] = 2 * key + (code == right[i]) if counts else behind + np.int32(code)
        rounded += counts & ((b & np.int32(2**OF_PROBABILITY - 1)) != 0)
    return rounded


@kernel
def softmax(scores: Floats, codes: Codes, labels: int, label: Codes) -> None:
    """Turn logits ``(labels * n,)`` into probabilities, and write the labels that they choose.

    Where there are none, a counted pixel's code says so.
    """
    n, bits = len(codes), scores.view(np.int32)
    top, total = np.empty(n, np.float32), np.zeros(n, np.float32)
    _find_top(scores, labels, top, label)
    for c in range(labels):
        part, of_part = scores[c * n : (c + 1) * n], bits[c * n : (c + 1) * n]
        _exp_below(part, of_part, top)
        for i in range(n):
            total[i] += part[i]
    for i in range(n):
        impossible = (total[i] != total[i]) & (codes[i] < labels)
        codes[i] = np.uint16(labels + NOT_A_NUMBER) if impossible else codes[i]
        total[i] = np.float32(1) / total[i]
    for c in range(labels):
        part = scores[c * n : (c + 1) * n]
        for i in range(n):
            part[i] *= total[i]


@kernel
def check_probabilities(
    scores: Floats, codes: Codes, labels: int, tolerance: float, label: Codes
) -> None:
    """Check given probabilities ``(labels * n,)``, and write the labels that they choose."""
    n = len(codes)
    top, total, outside = np.empty(n, np.float32), np.zeros(n, np.float32), np.zeros(n, np.bool_)
    _find_top(scores, labels, top, label)
    for c in range(labels):
        part = scores[c * n : (c + 1) * n]
        for i in range(n):
            part[i] += np.float32(0)  # -0.0 becomes 0.0
            total[i] += part[i]
            outside[i] |= (part[i] < np.float32(0)) | (part[i] > np.float32(1))
    for i in range(n):
        if codes[i] < labels:
            if not abs(total[i] - np.float32(1)) <= np.float32(tolerance):
                codes[i] = labels + SUM_NOT_1
            if outside[i]:
                codes[i] = labels + OUTSIDE_0_1
            if total[i] != total[i]:
                codes[i] = labels + NOT_A_NUMBER


@kernel
def _find_top(scores: Floats, labels: int, top: Floats, label: Codes) -> None:
    """Maximum and argmax, the first of equals; NaN stays where it comes first."""
    n = len(top)
    for i in range(n):
        top[i], label[i] = scores[i], 0
    for c in range(1, labels):
        part, number = scores[c * n : (c + 1) * n], np.uint16(c)
        for i in range(n):
            better = part[i] > top[i]
            label[i] = number if better else label[i]
            top[i] = part[i] if better else top[i]


@kernel
def _exp_below(scores: Floats, bits: Bits, top: Floats) -> None:
    """``exp(scores - top)`` of scores of at most ``top``, to 1 ulp; NaN stays NaN."""
    n = len(top)
    powers = np.empty(n, np.float32)
    as_bits = powers.view(np.int32)
    for i in range(n):
        x = scores[i] - top[i]
        x = np.float32(LOWEST) if x < np.float32(LOWEST) else x
        z = x * np.float32(1.4426950408889634) + ROUNDING
        k = z - ROUNDING
        powers[i] = z
        r = x - k * np.float32(0.693359375) - k * np.float32(-2.12194440e-4)
        y = np.float32(1.9875691500e-4)
        y = y * r + np.float32(1.3981999507e-3)
        y = y * r + np.float32(8.3334519073e-3)
        y = y * r + np.float32(4.1665795894e-2)
        y = y * r + np.float32(1.6666665459e-1)
        y = y * r + np.float32(5.0000001201e-1)
        y = y * r * r + r + np.float32(1)
        scores[i] = y if x > np.float32(LOWEST) else (x - x)
    for i in range(n):
        moved = bits[i] + (as_bits[i] << 23)
        keep = (bits[i] & np.int32(0x7FFFFFFF)) - np.int32(1) < np.int32(INFINITY)
        bits[i] = moved if keep & (bits[i] != 0) else bits[i]


@kernel
def add(places: Bits, merged: Codes | None, table: Longs) -> None:
    """Count pixels at their places; those of a coarser table are ``merged``."""
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
