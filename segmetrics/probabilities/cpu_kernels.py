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
from segmetrics.counting.cpu_intrinsics import bits_of, float_of, fma
from segmetrics.counting.cpu_kernels import (
    Array,
    Box,
    Codes,
    Longs,
    _find_best,
    _hold_rows,
    _pick,
    _resize_row,
    _row_offset,
    _row_place,
    _runs,
)
from segmetrics.probabilities.inputs import (
    CELLS_AN_OCTAVE_BITS,
    FRACTION_BITS,
    INFINITE_LOSS,
    MASS_CELLS,
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

ONE, HALF = np.float32(1), np.float32(0.5)
UNIT, SMALL, INFINITE = np.float32(2**FRACTION_BITS), np.float32(64), np.float32(INFINITE_LOSS)


@kernel
def contiguous_scores(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    sizes: Longs,
    strides: Longs,
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
    sizes: Longs,
    strides: Longs,
    step: int,
    box: Box,
    settings: Settings,
    infinity: int | None,
    like: Array,
    codes: Codes,
    out: Outputs,
) -> None:
    """``contiguous_scores`` of any other layout and of halves, through a tile of fp32 or fp64."""
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
    sizes: Longs,
    row_places: Longs,
    column_places: Longs,
    box: Box,
    settings: Settings,
    half: Array | None,
    like: Array,
    codes: Codes,
    out: Outputs,
) -> None:
    """Measure what every pixel's nearest neighbour has, see ``counting.cpu_kernels``."""
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
    sizes: Longs,
    strides: Longs,
    rows: Longs,
    row_weights: Array,
    columns: Longs,
    column_weights: Array,
    linear: tuple[bool, bool, bool],
    box: Box,
    settings: Settings,
    half: Array | None,
    codes: Codes,
    out: Outputs,
) -> None:
    """Measure linearly resized scores, see ``counting.cpu_kernels.linear_codes``."""
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
    """Scores of ``n`` pixels, ``step`` apart, as a tile ``(labels, n)``; halves become fp32."""
    for label in range(labels):
        source, gathered = start + label * label_stride, tile[label * n : label * n + n]
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
    """The value of a half of these bits, whose infinity says whether it is fp16 or bf16."""
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
    """Measure ``n`` contiguous pixels, whose codes and outputs lie from ``k`` on."""
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
            (total, squares, chosen),
            codes,
            confidence,
            loss,
            square,
        )
    if len(probabilities):
        width = len(out[0])
        for label in range(labels):
            line = scores[base + label * label_stride : base + label * label_stride + n]
            written = probabilities[label * width + k : label * width + k + n]
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
        line = scores[base + label * label_stride : base + label * label_stride + n]
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
        line = scores[base + label * label_stride : base + label * label_stride + n]
        for i in range(n):
            part = np.float32(line[i])
            total[i] += part
            squares[i] = fma(part, part, squares[i])
            lowest[i] = -ONE if line[i] < 0 else lowest[i]
    for i in range(n):
        code = codes[i]
        if code < labels:
            truth = scores[np.uintp(base + np.int64(code) * label_stride + i)]
            loss[i] = _loss(truth, exact)
            confidence[i] = np.float32(best[i])
            square[i] = _square(squares[i], np.float32(truth))
            if best[i] != best[i]:
                codes[i] = labels + NOT_A_NUMBER
            elif (lowest[i] < 0) | (best[i] > 1):
                codes[i] = labels + OUTSIDE_0_1
            elif not abs(total[i] - ONE) <= tolerance:
                codes[i] = labels + SUM_NOT_1


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
    """The squared error, of the sum of squared probabilities and that of the true class."""
    others = squares - truth * truth
    return (others if others > 0 else np.float32(0)) + (ONE - truth) * (ONE - truth)


@kernel
def _loss(truth: float, exact: bool | None) -> Any:
    """The log loss of the probability of the truth."""
    if exact is None:
        return -log(truth)
    return np.float32(-exact_log(truth) if truth > 0 else inf)


# --- Tallies --------------------------------------------------------------------------------------


@kernel
def tally(
    codes: Codes,
    found: Codes,
    confidence: Floats,
    labels: int,
    edges: Floats | None,
    table: Longs,
) -> None:
    """Count the confidences of a box in a table ``(copies, bins, 2, 2)``.

    There they are told apart by bin and by whether they are right; what is kept is their number
    and their sum. Neighbours go to different copies, as adding waits for the addition before it.
    """
    copies, line = table.shape[0], table.ravel()
    size, bins = table[0].size, table.shape[1]
    for i in range(len(codes)):
        if codes[i] < labels:
            p = confidence[i]
            cell = _cell(p) if edges is None else _bin(p, edges, bins)
            right = np.int64(codes[i] == found[i])
            place = np.uintp((i & (copies - 1)) * size + 4 * cell + 2 * right)
            line[place] += 1
            line[place + np.uintp(1)] += np.int64(p * UNIT + HALF)


@kernel
def tally_classes(
    codes: Codes, probabilities: Floats, labels: int, edges: Floats | None, tables: Longs
) -> None:
    """``tally`` the probability of every class ``(labels, pixels)`` in a table of its own."""
    n = len(codes)
    found = np.empty(n, np.uint16)
    for label in range(labels):
        found[:] = label
        of_class = probabilities[label * n : label * n + n]
        tally(codes, found, of_class, labels, edges, tables[label])


@kernel
def tally_bad(codes: Codes, labels: int, kinds: Longs) -> None:
    """Count the codes that are no labels."""
    for code in codes:
        if code >= labels:
            kinds[code - labels] += 1


@kernel
def total_squares(square: Floats, codes: Codes, labels: int) -> Any:
    """The sum of squared errors of counted pixels in fixed point."""
    total = np.int64(0)
    for i in range(len(codes)):
        value = square[i] if codes[i] < labels else np.float32(0)
        total += np.int64(np.int32(value * UNIT + HALF))
    return total


@kernel
def total_losses(loss: Floats, codes: Codes, labels: int) -> Any:
    """The sum of the finite log losses of counted pixels in fixed point, and how many are not."""
    total, large, infinite = np.int64(0), np.int64(0), np.int64(0)
    for i in range(len(codes)):
        counted, small = codes[i] < labels, loss[i] < SMALL  # which fit into an int32
        total += np.int64(np.int32((loss[i] if counted & small else np.float32(0)) * UNIT + HALF))
        large += np.int64(counted & (not small))
    if large:
        for i in range(len(codes)):
            if codes[i] < labels and not loss[i] < SMALL:
                if loss[i] < INFINITE:
                    total += np.int64(loss[i] * UNIT + HALF)
                else:
                    infinite += 1
    return total, infinite


@kernel
def _bin(p: float, edges: Floats, bins: int) -> Any:
    """The bin of a probability, see ``plain.cells_of``; the last edge is infinite."""
    place = min(np.int64(p * np.float32(bins)), bins - 1)
    place -= p < edges[np.uintp(place)]
    place += p >= edges[np.uintp(place + 1)]
    return place


@kernel
def _cell(p: float) -> Any:
    """The cell of a probability, see ``plain.cells_of``."""
    rest = ONE - p
    rank = np.int64(bits_of(p if p < rest else rest)) >> (23 - CELLS_AN_OCTAVE_BITS)
    rank = max(rank - (103 << CELLS_AN_OCTAVE_BITS) + 1, 0)
    return rank if p <= HALF else MASS_CELLS - 1 - rank


# --- exp and log ----------------------------------------------------------------------------------

LOG2_E, LN_2, LN_2_REST = (
    np.float32(1.4426950408889634),
    np.float32(0.6931471805599453),
    np.float32(-1.904654299957768e-09),
)
#: Adding it rounds to an integer, which is then in the last bits.
ROUNDER = np.float32(1.5 * 2**23)
#: Below it the exponential is less than the smallest normal fp32.
LEAST = np.float32(-87.33654)
#: (exp(r) - 1 - r) / r² for |r| <= ln(2) / 2, least squares.
E5, E4, E3, E2, E1 = (
    np.float32(0.00019826478091999888),
    np.float32(0.0013946077087894082),
    np.float32(0.008333430625498295),
    np.float32(0.041666269302368164),
    np.float32(0.1666666567325592),
)
#: (log(1 + m) - m + m²/2) / m³ for sqrt(1/2) <= 1 + m < sqrt(2): Cephes, ``logf``.
L8, L7, L6, L5, L4, L3, L2, L1, L0 = (
    np.float32(7.0376836292e-2),
    np.float32(-1.1514610310e-1),
    np.float32(1.1676998740e-1),
    np.float32(-1.2420140846e-1),
    np.float32(1.4249322787e-1),
    np.float32(-1.6668057665e-1),
    np.float32(2.0000714765e-1),
    np.float32(-2.4999993993e-1),
    np.float32(3.3333331174e-1),
)
SMALLEST, SQRT_HALF = np.float32(2.0**-126), np.int32(0x3F3504F3)
INFINITY, NAN = np.float32(inf), np.float32(np.nan)


@kernel
def exp(x: float) -> Any:
    """The exponential of an fp32 x <= 0, within 1 ulp; 0 where it is no normal number."""
    shifted = fma(x, LOG2_E, ROUNDER)
    power = shifted - ROUNDER
    r = fma(power, -LN_2_REST, fma(power, -LN_2, x))
    series = fma(fma(fma(fma(fma(E5, r, E4), r, E3), r, E2), r, E1), r, HALF)
    mantissa = fma(series * r, r, r) + ONE
    bits = np.int32((bits_of(shifted) << np.int32(23)) + np.int32(127 << 23))
    return np.float32(0) if x < LEAST else mantissa * float_of(bits)


@kernel
def log(x: float) -> Any:
    """The natural logarithm of an fp32 x >= 0, within 1 ulp, denormals too."""
    denormal = x < SMALLEST
    bits = bits_of(x * np.float32(2**23) if denormal else x)
    power = np.int32(np.int32(bits - SQRT_HALF) >> np.int32(23))
    m = float_of(np.int32(bits - np.int32(power << np.int32(23)))) - ONE
    exponent = np.float32(power) - (np.float32(23) if denormal else np.float32(0))
    series = fma(fma(fma(fma(L8, m, L7), m, L6), m, L5), m, L4)
    series = fma(fma(fma(fma(series, m, L3), m, L2), m, L1), m, L0)
    square = m * m
    rest = fma(-HALF, square, fma(exponent, LN_2_REST, series * m * square))
    value = fma(exponent, LN_2, m + rest)
    return value if x > 0 else (-INFINITY if x == 0 else NAN)
