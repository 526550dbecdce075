"""The loops of the CPU backend: compiled once, kept on disk; they release the GIL.

As in ``counting.cpu_kernels`` a kernel reads a box of the pixels of one map, whose targets come as
codes. It writes of every pixel the class found, its confidence, the log loss and the squared error,
and puts the kind of a bad score in place of the code.
"""

from __future__ import annotations

from math import inf
from math import log as exact_log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics._compile import kernel
from segmetrics.counting.cpu_intrinsics import float_of, fma
from segmetrics.counting.cpu_kernels import Array, Box, Codes, Int64Array, _row_offset, _row_place
from segmetrics.counting.cpu_resize_kernels import _hold_rows, _pick, _resize_row, _runs
from segmetrics.counting.cpu_score_kernels import _find_best
from segmetrics.probabilities.cpu_functions import ONE, exp, log
from segmetrics.probabilities.inputs import (
    NOT_A_NUMBER,
    OUTSIDE_0_1,
    SUM_NOT_1,
)

Floats = NDArray[np.float32]
#: What a kernel writes of the pixels of a box: class, confidence, log loss, squared error, and
#: probabilities ``(C, pixels)``, unless that is empty.
Outputs = tuple[Codes, Floats, Floats, Floats, Floats]
#: Whether scores are logits, what they are multiplied by (1 / temperature), by how much
#: probabilities may miss 1 (both fp32), and True for fp64 scores, otherwise None.
Settings = tuple[bool, float, float, "bool | None"]

#: Pixels that are measured at once.
TILE = 1024


@kernel
def contiguous_scores(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    sizes: Int64Array,
    strides: Int64Array,
    step: int,
    box: Box,
    settings: Settings,
    codes: Codes,
    out: Outputs,
) -> None:
    """Measure fp32 and fp64 scores where those of neighbours are contiguous."""
    scratch = np.empty((2, TILE), scores.dtype), np.empty((3, TILE), np.float32)
    k = 0
    for row in range(box[0], box[1]):
        start = base + _row_offset(row, sizes, strides)
        for first in range(box[2], box[3], TILE):
            n = min(TILE, box[3] - first)
            _measure(
                scores, start + first, label_stride, labels, n, settings, codes, k, out, scratch
            )
            k += n


@kernel
def strided_scores(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    sizes: Int64Array,
    strides: Int64Array,
    step: int,
    box: Box,
    settings: Settings,
    infinity: int | None,
    like: Array,
    codes: Codes,
    out: Outputs,
) -> None:
    """``contiguous_scores`` for other layouts and halves: scores are gathered in a tile first."""
    tile = np.empty(labels * TILE, like.dtype)
    scratch = np.empty((2, TILE), like.dtype), np.empty((3, TILE), np.float32)
    k = 0
    for row in range(box[0], box[1]):
        start = base + _row_offset(row, sizes, strides)
        for first in range(box[2], box[3], TILE):
            n = min(TILE, box[3] - first)
            _gather(scores, start + first * step, step, label_stride, labels, n, infinity, tile)
            _measure(tile, 0, n, labels, n, settings, codes, k, out, scratch)
            k += n


@kernel
def nearest_scores(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    sizes: Int64Array,
    row_places: Int64Array,
    column_places: Int64Array,
    box: Box,
    settings: Settings,
    half: Array | None,
    like: Array,
    codes: Codes,
    out: Outputs,
) -> None:
    """Measure the scores of each pixel's nearest neighbour, see ``counting.cpu_kernels``."""
    tile = np.empty(labels * TILE, like.dtype)
    scratch = np.empty((2, TILE), like.dtype), np.empty((3, TILE), np.float32)
    k = 0
    for row in range(box[0], box[1]):
        start = base + _row_place(row, sizes, row_places)
        for first in range(box[2], box[3], TILE):
            n = min(TILE, box[3] - first)
            places = column_places[first : first + n]
            _pick(scores[start:], label_stride, labels, places, half, tile)
            _measure(tile, 0, n, labels, n, settings, codes, k, out, scratch)
            k += n


@kernel
def linear_scores(
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
    settings: Settings,
    half: Array | None,
    codes: Codes,
    out: Outputs,
) -> None:
    """Measure linearly resized scores, see ``counting.cpu_resize_kernels.linear_codes``."""
    n, runs = box[3] - box[2], _runs(columns, box[2], box[3])
    wide, held = np.empty(4 * labels * n, row_weights.dtype), np.full(4, -1, np.int64)
    resized, behind = np.empty(labels * n, wide.dtype), np.empty(n, wide.dtype)
    scratch = np.empty((2, n), wide.dtype), np.empty((3, n), np.float32)
    k = 0
    for row in range(box[0], box[1]):
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
        _resize_row(wide, slots, row_weights, sizes, linear, row, labels, n, resized, behind)
        _measure(resized, 0, n, labels, n, settings, codes, k, out, scratch)
        k += n


@kernel
def _gather(
    scores: Array,
    start: int,
    step: int,
    label_stride: int,
    labels: int,
    n: int,
    infinity: int | None,
    tile: Array,
) -> None:
    """Scores of ``n`` pixels with stride ``step`` as a tile ``(labels, n)``; halves as fp32."""
    for label in range(labels):
        source, gathered = start + label * label_stride, tile[label * n :]
        if step == 1:
            line = scores[source : source + n]
            for i in range(n):
                gathered[i] = line[i] if infinity is None else _fp32(line[i], infinity)
        else:
            for i in range(n):
                score = scores[np.uintp(source + i * step)]
                gathered[i] = score if infinity is None else _fp32(score, infinity)


@kernel
def _fp32(bits: Any, infinity: int) -> Any:
    """The fp32 value of the bits of a half; ``infinity``, as bits, tells fp16 from bf16."""
    if infinity == 0x7F80:
        return float_of(np.int32(np.int32(bits) << np.int32(16)))
    magnitude = np.int32((np.int32(bits) & np.int32(0x7FFF)) << np.int32(13))
    value = float_of(magnitude) * np.float32(2.0**112)
    special = float_of(np.int32(magnitude | np.int32(0x7F800000)))
    value = special if magnitude >= np.int32(0x0F800000) else value
    return -value if bits < 0 else value


@kernel
def _measure(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    n: int,
    settings: Settings,
    codes: Codes,
    k: int,
    out: Outputs,
    scratch: tuple[Array, Floats],
) -> None:
    """Measure ``n`` contiguous pixels, whose codes and outputs begin at ``k``."""
    logits, scale, tolerance, exact = settings
    found, confidence, loss, square, probabilities = out
    some = slice(k, k + n)
    codes, found = codes[some], found[some]
    confidence, loss, square = confidence[some], loss[some], square[some]
    best, index = scratch[0][0], scratch[0][1]
    total, squares, chosen = scratch[1][0], scratch[1][1], scratch[1][2]
    if labels == 1:
        line = scores[base : base + n]
        found[:] = 1
        if logits:
            _of_logit(line, scale, codes, confidence, loss, square)
        else:
            _of_probability(line, exact, codes, confidence, loss, square)
        return
    _find_best(scores, base, label_stride, labels, n, None, best, index)
    for i in range(n):
        found[i] = np.uint16(index[i])
    if logits:
        _of_logits(
            scores,
            (base, label_stride, labels, scale),
            best,
            (total, squares, chosen),
            codes,
            confidence,
            loss,
            square,
        )
    else:
        _of_probabilities(
            scores,
            (base, label_stride, labels, tolerance, exact),
            best,
            index,
            (total, squares, chosen),
            codes,
            confidence,
            loss,
            square,
        )
    if len(probabilities):
        width = len(out[0])
        for label in range(labels):
            line = scores[base + label * label_stride :]
            written = probabilities[label * width + k :]
            for i in range(n):
                if logits:
                    written[i] = exp(np.float32(line[i] - best[i])) / total[i]
                else:
                    written[i] = np.float32(line[i])


@kernel
def _of_logits(
    scores: Array,
    place: tuple[int, int, int, float],
    best: Array,
    scratch: tuple[Floats, Floats, Floats],
    codes: Codes,
    confidence: Floats,
    loss: Floats,
    square: Floats,
) -> None:
    """Measure pixels by the softmax of their logits."""
    base, label_stride, labels, scale = place
    total, squares, chosen = scratch
    n = len(codes)
    total[:n] = 0
    squares[:n] = 0
    for label in range(labels):
        line = scores[base + label * label_stride :]
        for i in range(n):
            part = exp(np.float32(line[i] - best[i]) * scale)
            total[i] += part
            squares[i] = fma(part, part, squares[i])
    for i in range(n):
        label = min(np.int64(codes[i]), labels - 1)
        chosen[i] = np.float32(scores[np.uintp(base + label * label_stride + i)] - best[i]) * scale
    not_a_number = np.uint16(labels + NOT_A_NUMBER)
    for i in range(n):
        truth = exp(chosen[i]) / total[i]
        confidence[i] = ONE / total[i]
        loss[i] = log(total[i]) - chosen[i]
        square[i] = _square(squares[i] / (total[i] * total[i]), truth)
        bad = (total[i] != total[i]) & (codes[i] < labels)
        codes[i] = not_a_number if bad else codes[i]


@kernel
def _of_probabilities(
    scores: Array,
    place: tuple[int, int, int, float, bool | None],
    best: Array,
    truth: Array,
    scratch: tuple[Floats, Floats, Floats],
    codes: Codes,
    confidence: Floats,
    loss: Floats,
    square: Floats,
) -> None:
    """Measure pixels by their probabilities."""
    base, label_stride, labels, tolerance, exact = place
    total, squares, lowest = scratch
    n = len(codes)
    total[:n] = 0
    squares[:n] = 0
    lowest[:n] = 0
    for label in range(labels):
        line = scores[base + label * label_stride :]
        for i in range(n):
            part = np.float32(line[i])
            total[i] += part
            squares[i] = fma(part, part, squares[i])
            lowest[i] = -ONE if line[i] < 0 else lowest[i]
    for i in range(n):
        label = min(np.int64(codes[i]), labels - 1)
        truth[i] = scores[np.uintp(base + label * label_stride + i)]
    for i in range(n):
        loss[i] = _loss(truth[i], exact)
    for i in range(n):
        confidence[i] = np.float32(best[i])
        square[i] = _square(squares[i], np.float32(truth[i]))
    not_a_number, outside = np.uint16(labels + NOT_A_NUMBER), np.uint16(labels + OUTSIDE_0_1)
    for i in range(n):
        counted, kind = codes[i] < labels, np.uint16(labels + SUM_NOT_1)
        kind = codes[i] if abs(total[i] - ONE) <= tolerance else kind
        kind = outside if (lowest[i] < 0) | (best[i] > 1) else kind
        kind = not_a_number if best[i] != best[i] else kind
        codes[i] = kind if counted else codes[i]


@kernel
def _of_logit(
    scores: Array,
    scale: float,
    codes: Codes,
    confidence: Floats,
    loss: Floats,
    square: Floats,
) -> None:
    """Measure pixels by the sigmoid of a logit, the foreground's."""
    for i in range(len(codes)):
        logit = np.float32(scores[i]) * scale
        rest = exp(-abs(logit))
        total = ONE + rest
        p = (rest if logit < 0 else ONE) / total
        truth = np.float32(codes[i] == 1)
        wrong = -logit if codes[i] == 1 else logit
        confidence[i] = p
        loss[i] = log(total) + (wrong if wrong > 0 else np.float32(0))
        square[i] = (p - truth) * (p - truth)
        bad = (logit != logit) & (codes[i] < 2)
        codes[i] = np.uint16(2 + NOT_A_NUMBER) if bad else codes[i]


@kernel
def _of_probability(
    scores: Array,
    exact: bool | None,
    codes: Codes,
    confidence: Floats,
    loss: Floats,
    square: Floats,
) -> None:
    """Measure pixels by the probability of the foreground."""
    for i in range(len(codes)):
        p, truth = np.float32(scores[i]), np.float32(codes[i] == 1)
        confidence[i] = p
        loss[i] = _loss(scores[i] if codes[i] == 1 else ONE - scores[i], exact)
        square[i] = (p - truth) * (p - truth)
        counted, possible = codes[i] < 2, (scores[i] >= 0) & (scores[i] <= 1)
        kind = np.uint16(2 + OUTSIDE_0_1) if scores[i] == scores[i] else np.uint16(2 + NOT_A_NUMBER)
        codes[i] = kind if counted & (not possible) else codes[i]


@kernel
def _square(squares: float, truth: float) -> Any:
    """The squared error from the sum of squared probabilities and the true class's probability."""
    others = squares - truth * truth
    return (others if others > 0 else np.float32(0)) + (ONE - truth) * (ONE - truth)


@kernel
def _loss(truth: float, exact: bool | None) -> Any:
    """The log loss of the true class's probability."""
    if exact is None:
        return -log(truth)
    return np.float32(-exact_log(truth) if truth > 0 else inf)
