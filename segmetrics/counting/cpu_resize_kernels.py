"""Kernels of the CPU backend: codes of the labels that resized scores choose.

What they compute is defined by ``plain.resize`` and ``plain.codes_of``. How boxes are read,
``cpu_kernels.py`` says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from segmetrics._compile import kernel
from segmetrics.counting.cpu_intrinsics import LANES, blend
from segmetrics.counting.cpu_kernels import Array, Box, Codes, Int64Array, _row_place
from segmetrics.counting.cpu_score_kernels import TILE, _choose, _find_best, _find_best_between


@kernel
def nearest_codes(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    sizes: Int64Array,
    row_places: Int64Array,
    column_places: Int64Array,
    box: Box,
    limits: Array,
    infinity: int | None,
    impossible: int,
    codes: Codes,
) -> None:
    """Codes of the labels that scores choose where a pixel takes its nearest neighbour's.

    ``row_places`` says for every dimension but the last, one after the other, where in ``scores``
    its places lie; ``column_places`` for the last.
    """
    tile = np.empty(labels * TILE, scores.dtype)
    best, index = np.empty(TILE, scores.dtype), np.empty(TILE, scores.dtype)
    width = box[3] - box[2]
    before = np.int64(-1)
    k = 0
    for row in range(box[0], box[1]):
        start = base + _row_place(row, sizes, row_places)
        if start == before:
            codes[k : k + width] = codes[k - width : k]
            k += width
            continue
        before = start
        for first in range(box[2], box[3], TILE):
            n = min(TILE, box[3] - first)
            for label in range(labels):
                for i in range(n):
                    source = np.uintp(start + column_places[first + i] + label * label_stride)
                    tile[np.uintp(label * TILE + i)] = scores[source]
            _find_best(tile, 0, TILE, labels, n, infinity, best, index)
            _choose(best, index, n, limits, impossible, codes[k : k + n])
            k += n


@kernel
def linear_codes(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    sizes: Int64Array,
    strides: Int64Array,
    rows: Int64Array,
    row_weights: Array,
    columns: Int64Array,
    column_weights: Array,
    linear: tuple[bool, bool, bool],
    box: Box,
    limits: Array,
    half: Array | None,
    impossible: int,
    codes: Codes,
) -> None:
    """Codes of the labels that linearly resized scores choose, see ``plain.resize``.

    ``sizes`` and ``strides`` are those of images, depth and height. ``rows`` are a pixel's
    neighbours before and after it ``(2, depth + height)``, ``columns`` ``(2, width)`` where those
    along the width lie; weights are shaped alike. ``linear`` says along which of the three
    dimensions there is anything between neighbours.

    Source rows are resized along the width first, for all labels, and kept in ``wide`` for the
    rows that need them too, in the slot of their parity: neighbouring rows differ by one.
    """
    _, depth, height = sizes
    n, slots = box[3] - box[2], np.zeros((2, 2), np.int64)
    runs = _runs(columns, box[2], box[3])
    wide, held = np.empty(4 * labels * n, row_weights.dtype), np.full(4, -1, np.int64)
    resized, behind = np.empty(labels * n, wide.dtype), np.empty(n, wide.dtype)
    best, index = np.empty(n, wide.dtype), np.empty(n, wide.dtype)
    k = 0
    for row in range(box[0], box[1]):
        h = depth + row % height
        if row == box[0] or h == depth or rows[0, h] != rows[0, h - 1]:  # else as before
            slots = _hold_rows(
                scores,
                base,
                label_stride,
                labels,
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
        if linear[1] and not linear[0]:
            a, b = row_weights[:, h]
            _find_best_between(wide, slots[0, 0], slots[0, 1], a, b, labels, n, best, index)
        else:
            _resize_row(wide, slots, row_weights, sizes, linear, row, labels, n, resized, behind)
            _find_best(resized, 0, n, labels, n, None, best, index)
        _choose(best, index, n, limits, impossible, codes[k : k + n])
        k += n


@kernel
def _hold_rows(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    sizes: Int64Array,
    strides: Int64Array,
    rows: Int64Array,
    columns: Int64Array,
    weights: Array,
    runs: Int64Array,
    linear: tuple[bool, bool, bool],
    row: int,
    half: Array | None,
    wide: Array,
    held: Int64Array,
) -> Any:
    """Resize the source rows of a row along the width, unless ``wide`` holds them already.

    Returns where in ``wide`` those before and after it begin ``(depth, height)``; ``held`` says
    which they are.
    """
    depth, height, n = sizes[1], sizes[2], columns.shape[1]
    slots = np.zeros((2, 2), np.int64)
    d, h = row // height % depth, depth + row % height
    image = base + row // height // depth * strides[0]
    for i in range(2 if linear[0] else 1):
        for j in range(2 if linear[1] else 1):
            start = image + rows[i, d] * strides[1] + rows[j, h] * strides[2]
            slot = rows[i, d] % 2 * 2 + rows[j, h] % 2
            slots[i, j] = slot * labels * n
            if held[slot] != start:
                held[slot] = start
                source, out = scores[start:], wide[slot * labels * n :]
                if linear[2]:
                    _widen(source, label_stride, labels, runs, weights[0], weights[1], half, out)
                else:
                    _pick(source, label_stride, labels, columns[0], half, out)
    return slots


@kernel
def _resize_row(
    wide: Array,
    slots: Int64Array,
    weights: Array,
    sizes: Int64Array,
    linear: tuple[bool, bool, bool],
    row: int,
    labels: int,
    n: int,
    resized: Array,
    behind: Array,
) -> None:
    """A resized row ``(labels, n)`` of the rows that ``_hold_rows`` holds."""
    depth, height = sizes[1], sizes[2]
    d, h = row // height % depth, depth + row % height
    a, b = weights[0, h], weights[1, h]
    for first in range(0, labels * n, n):
        before, after = slots[0, 0] + first, slots[0, 1] + first
        _between(wide, before, after, a, b, linear[1], resized, first, n)
        if linear[0]:
            before, after = slots[1, 0] + first, slots[1, 1] + first
            _between(wide, before, after, a, b, linear[1], behind, 0, n)
            for x in range(n):
                y = np.uintp(first + x)
                resized[y] = weights[0, d] * resized[y] + weights[1, d] * behind[x]


@kernel
def _runs(columns: Int64Array, first: int, last: int) -> Int64Array:
    """Where columns begin that lie between the same two places, and these: ``(3, runs + 1)``.

    The last one is the end.
    """
    runs = np.empty((3, last - first + 1), np.int64)
    k = 0
    for i in range(first, last):
        left, right = columns[0, i], columns[1, i]
        if k == 0 or left != runs[1, k - 1] or right != runs[2, k - 1]:
            runs[0, k], runs[1, k], runs[2, k] = i - first, left, right
            k += 1
    runs[0, k] = last - first
    return runs[:, : k + 1]


@kernel
def _widen(
    scores: Array,
    label_stride: int,
    labels: int,
    runs: Int64Array,
    rest: Array,
    weight: Array,
    half: Array | None,
    out: Array,
) -> None:
    """What lies between the scores at two places each, for every label ``(labels, n)``.

    ``LANES`` are written at once, too many at the end of a run: the next one writes over them.
    """
    n = len(rest)
    for run in range(runs.shape[1] - 1):
        i, left, right = runs[0, run], runs[1, run], runs[2, run]
        while i < runs[0, run + 1]:
            for label in range(labels):
                offset, first = label * label_stride, label * n
                before, after = scores[np.uintp(left + offset)], scores[np.uintp(right + offset)]
                a = before if half is None else half[before]
                b = after if half is None else half[after]
                if i + LANES <= n:
                    blend(rest, a, weight, b, i, out, first + i)
                else:
                    for k in range(i, n):
                        out[np.uintp(first + k)] = rest[k] * a + weight[k] * b
            i += LANES


@kernel
def _pick(
    scores: Array,
    label_stride: int,
    labels: int,
    places: Int64Array,
    half: Array | None,
    out: Array,
) -> None:
    """Scores at given places, for every label ``(labels, n)``; bits of halves are looked up."""
    n = len(places)
    for label in range(labels):
        for i in range(n):
            score = scores[np.uintp(places[i] + label * label_stride)]
            out[np.uintp(label * n + i)] = score if half is None else half[score]


@kernel
def _between(
    rows: Array,
    before: int,
    after: int,
    rest: float,
    weight: float,
    linear: bool,
    out: Array,
    first: int,
    n: int,
) -> None:
    """What lies between two rows; the first, where there is nothing between."""
    for i in range(n):
        score = rows[np.uintp(before + i)]
        if linear:
            score = rest * score + weight * rows[np.uintp(after + i)]
        out[np.uintp(first + i)] = score
