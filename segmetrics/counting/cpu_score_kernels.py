"""Kernels of the CPU backend: codes of the labels that scores choose, where nothing is resized.

What they compute is defined by ``plain.codes_of``: the first of the largest scores, or whether a
score is above its threshold. How boxes are read, ``cpu_kernels.py`` says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from segmetrics._compile import kernel
from segmetrics.counting.cpu_intrinsics import LANE, VECTOR, find_best_of_vector, prefetch
from segmetrics.counting.cpu_kernels import LABELS, Array, Box, Codes, Int64Array, _row_offset

#: Pixels whose scores are compared at once, where these are contiguous.
BLOCK = 2**15
#: Pixels whose scores are gathered into a contiguous tile where they are not.
TILE = 256
#: Bytes ahead of the current pixel that are prefetched from channels-last scores.
AHEAD = 2**13


@kernel
def contiguous_score_codes(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    sizes: Int64Array,
    strides: Int64Array,
    step: int,
    box: Box,
    limits: Array,
    infinity: int | None,
    impossible: int,
    codes: Codes,
) -> None:
    """Codes of the labels that scores choose, where those of neighbours are contiguous.

    The layouts are kernels of their own: each takes seconds to compile, and few programs need two.
    """
    block = min(BLOCK, box[3] - box[2])
    best, index = np.empty(block, scores.dtype), np.empty(block, scores.dtype)
    k = 0
    for row in range(box[0], box[1]):
        start = base + _row_offset(row, sizes, strides)
        for first in range(box[2], box[3], block):
            n = min(block, box[3] - first)
            _find_best(scores, start + first, label_stride, labels, n, infinity, best, index)
            _choose(best, index, n, limits, impossible, codes[k : k + n])
            k += n


@kernel
def channels_last_score_codes(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    sizes: Int64Array,
    strides: Int64Array,
    step: int,
    box: Box,
    limits: Array,
    infinity: int | None,
    impossible: int,
    codes: Codes,
) -> None:
    """``contiguous_score_codes`` where the scores of a pixel are contiguous."""
    block = min(LABELS, box[3] - box[2])
    best, index = np.empty(block, scores.dtype), np.empty(block, scores.dtype)
    k = 0
    for row in range(box[0], box[1]):
        start = base + _row_offset(row, sizes, strides)
        for first in range(box[2], box[3], block):
            n = min(block, box[3] - first)
            place = start + first * step
            _find_best_channels_last(scores, place, step, labels, n, infinity, best, index)
            _choose(best, index, n, limits, impossible, codes[k : k + n])
            k += n


@kernel
def strided_score_codes(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    sizes: Int64Array,
    strides: Int64Array,
    step: int,
    box: Box,
    limits: Array,
    infinity: int | None,
    impossible: int,
    codes: Codes,
) -> None:
    """``contiguous_score_codes`` of any other layout: scores are gathered in a tile first."""
    block = min(TILE, box[3] - box[2])
    tile = np.empty(labels * block, scores.dtype)
    best, index = np.empty(block, scores.dtype), np.empty(block, scores.dtype)
    k = 0
    for row in range(box[0], box[1]):
        start = base + _row_offset(row, sizes, strides)
        for first in range(box[2], box[3], block):
            n = min(block, box[3] - first)
            place = start + first * step
            for label in range(labels):
                source, gathered = place + label * label_stride, tile[label * block :]
                for i in range(n):
                    gathered[i] = scores[np.uintp(source + i * step)]
            _find_best(tile, 0, block, labels, n, infinity, best, index)
            _choose(best, index, n, limits, impossible, codes[k : k + n])
            k += n


@kernel
def _find_best(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    n: int,
    infinity: int | None,
    best: Array,
    index: Array,
) -> None:
    """Maximum and argmax over labels of ``n`` contiguous pixels; NaN beats all, ties go first.

    Labels are the outer loop, so that the inner one runs over many pixels at once; four at a time,
    so that what was found so far is seldom read and written. They are found in the dtype of the
    scores, which makes both equally wide.
    """
    kind = index.dtype.type
    a = scores[base : base + n]
    for i in range(n):
        best[i], index[i] = _key(a[i], infinity), 0
    for label in range(1, labels - 3, 4):
        place = base + label * label_stride
        a, place = scores[place : place + n], place + label_stride
        b, place = scores[place : place + n], place + label_stride
        c, place = scores[place : place + n], place + label_stride
        d = scores[place : place + n]
        in_a, in_b, in_c, in_d = kind(label), kind(label + 1), kind(label + 2), kind(label + 3)
        for i in range(n):
            score, found = _better(_key(a[i], infinity), in_a, best[i], index[i])
            score, found = _better(_key(b[i], infinity), in_b, score, found)
            score, found = _better(_key(c[i], infinity), in_c, score, found)
            best[i], index[i] = _better(_key(d[i], infinity), in_d, score, found)
    for label in range(labels - (labels - 1) % 4, labels):
        place = base + label * label_stride
        a, in_a = scores[place : place + n], kind(label)
        for i in range(n):
            best[i], index[i] = _better(_key(a[i], infinity), in_a, best[i], index[i])


@kernel
def _find_best_channels_last(
    scores: Array,
    base: int,
    step: int,
    labels: int,
    n: int,
    infinity: int | None,
    best: Array,
    index: Array,
) -> None:
    """``_find_best`` of channels-last scores, pixels ``step`` apart.

    Vectors of pixels may overlap. Few labels are read with what lies behind them, if it is there.
    """
    lanes, together = VECTOR // scores.itemsize, LANE // scores.itemsize
    few, dense = labels < together, step < 2 * labels
    fit = min(n, (len(scores) - base - together) // step + 1) if few else n
    done = fit if fit >= lanes else 0
    for first in range(0, done, lanes):
        i = min(first, done - lanes)
        place = base + i * step
        for line in range(step if dense else 0):
            prefetch(scores, place + AHEAD // scores.itemsize + line * lanes)
        if few:
            find_best_of_vector(scores, place, step, labels, True, infinity, best, index, i)
        else:
            find_best_of_vector(scores, place, step, labels, None, infinity, best, index, i)
    for i in range(done, n):
        place = base + i * step
        best[i], index[i] = _key(scores[place], infinity), 0
        for label in range(1, labels):
            score = _key(scores[place + label], infinity)
            best[i], index[i] = _better(score, label, best[i], index[i])


@kernel
def _find_best_between(
    rows: Array,
    before: int,
    after: int,
    rest: float,
    weight: float,
    labels: int,
    n: int,
    best: Array,
    index: Array,
) -> None:
    """``_find_best`` of what lies between two rows ``(labels, n)``, which is not kept."""
    kind = index.dtype.type
    for i in range(n):
        best[i] = rest * rows[np.uintp(before + i)] + weight * rows[np.uintp(after + i)]
        index[i] = 0
    for label in range(1, labels - 1, 2):
        a, b = before + label * n, after + label * n
        c, d = a + n, b + n
        in_a, in_c = kind(label), kind(label + 1)
        for i in range(n):
            score = rest * rows[np.uintp(a + i)] + weight * rows[np.uintp(b + i)]
            score, found = _better(score, in_a, best[i], index[i])
            other = rest * rows[np.uintp(c + i)] + weight * rows[np.uintp(d + i)]
            best[i], index[i] = _better(other, in_c, score, found)
    if labels % 2 == 0:
        a, b, in_a = before + (labels - 1) * n, after + (labels - 1) * n, kind(labels - 1)
        for i in range(n):
            score = rest * rows[np.uintp(a + i)] + weight * rows[np.uintp(b + i)]
            best[i], index[i] = _better(score, in_a, best[i], index[i])


@kernel
def _better(score: float, label: int, best: float, index: int) -> tuple[float, int]:
    better = (score > best) | (score != score)  # a NaN comes in and is never beaten
    return (score if better else best), (label if better else index)


@kernel
def _key(score: Any, infinity: int | None) -> Any:
    """What scores are compared by: they themselves, or for bits of a half in int16 an int16.

    A half is a sign and a magnitude; two zeros get one key, and a NaN, whose magnitude is above
    infinity, the highest.
    """
    if infinity is None:
        return score
    magnitude = np.int16(score & 0x7FFF)
    key = magnitude if score >= 0 else np.int16(-magnitude)
    return magnitude if magnitude > infinity else key


@kernel
def _choose(
    best: Array, index: Array, n: int, limits: Array, impossible: int, codes: Codes
) -> None:
    """Codes of ``n`` pixels: the best label, one more above the cut, or that it is impossible.

    ``limits`` are the lowest and the highest possible score (NaN is neither) and the cut, which
    only binary and multilabel scores can exceed.
    """
    lowest, highest, cut = limits
    for i in range(n):
        code = np.uint16(index[i] + (best[i] > cut))
        codes[i] = code if (best[i] >= lowest) & (best[i] <= highest) else np.uint16(impossible)
