"""What both CUDA kernels of probabilities share: their launch, and loads of targets and scores."""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# because types of a kernel's arguments are Triton's own

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import triton
import triton.language as tl
from torch import Tensor

from segmetrics.counting import codes
from segmetrics.counting.cuda import (
    _labels,
    _mapped_codes,
    _offsets,
    _scores,
    _target_codes,
)
from segmetrics.counting.cuda import launch as counting_launch
from segmetrics.counting.settings import Pixels
from segmetrics.probabilities import inputs

if TYPE_CHECKING:
    from segmetrics.probabilities.inputs import Probabilities
    from segmetrics.probabilities.ranking import Ranking


def launch(
    sums: Tensor, pixels: Pixels, reading: Probabilities | Ranking, *between: Any, replicas: bool
) -> tuple[int, tuple[Any, ...], dict[str, Any]]:
    """The number of programs, the arguments and the constants that both kernels have.

    Args:
        sums: what the kernel adds to.
        pixels: the inputs.
        reading: what is counted.
        between: further arguments, behind the table of target codes.
        replicas: whether the kernel takes the number of replicas of ``sums`` and their stride.
    """
    programs, arguments, constants = counting_launch(sums, pixels, reading)
    of_labels = {"ROWS", "COLUMNS", "PREDS_CODES_OF_FAR", "CUT"}
    constants = {name: value for name, value in constants.items() if name not in of_labels}
    sums, target, preds, of_target, _, number, stride, *where = arguments
    of_replicas = (number, stride) if replicas else ()
    return (
        programs,
        (sums, target, preds, of_target, *between, *of_replicas, *where),
        constants
        | {
            "LOGITS": reading.from_logits,
            "TOLERANCE": inputs.tolerance_of(preds.dtype, reading),
        },
    )


IGNORED = tl.constexpr(codes.IGNORED)
NEGATIVE = tl.constexpr(codes.NEGATIVE)
TOO_LARGE = tl.constexpr(codes.TOO_LARGE)
NOT_A_NUMBER = tl.constexpr(inputs.NOT_A_NUMBER)
OUTSIDE_0_1 = tl.constexpr(inputs.OUTSIDE_0_1)
SUM_NOT_1 = tl.constexpr(inputs.SUM_NOT_1)


@triton.jit
def _read_target(
    target,
    target_table,
    blocks,
    size,
    target_map_strides,
    target_strides,
    CHANNELS: tl.constexpr,
    LABELS: tl.constexpr,
    IGNORED_VALUES: tl.constexpr,
    NEAR: tl.constexpr,
    FAR: tl.constexpr,
    TARGET_CODES_OF_FAR: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A program's image and channel, its pixels, their mask, and their codes."""
    program = tl.program_id(0)
    image = (program // blocks // CHANNELS).to(tl.int64)
    channel = (program // blocks % CHANNELS).to(tl.int64)
    pixel = program % blocks * BLOCK + tl.arange(0, BLOCK)
    pixels = 1
    for dim in tl.static_range(len(size)):
        pixels *= size[dim]
    inside = pixel < pixels

    target += image * target_map_strides[0] + channel * target_map_strides[1]
    label = _labels(target + _offsets(pixel, size, target_strides), inside)
    if target_table is None:
        code = _target_codes(label, LABELS, IGNORED_VALUES)
    else:
        code = tl.where(label < 0, LABELS + NEGATIVE, LABELS + TOO_LARGE)
        code = _mapped_codes(label, target_table, NEAR, FAR, TARGET_CODES_OF_FAR, code)
    code = tl.where(inside, code, LABELS + IGNORED).to(tl.int32)
    return image, channel, pixel, inside, code


@triton.jit
def _checked(code, total, outside, possible, LABELS: tl.constexpr, TOLERANCE: tl.constexpr):
    """Codes, or kinds of bad pixels where counted pixels have impossible probabilities."""
    checked = tl.where(tl.abs(total - 1) <= TOLERANCE, code, LABELS + SUM_NOT_1)
    checked = tl.where(outside, LABELS + OUTSIDE_0_1, checked)
    checked = tl.where(possible, checked, LABELS + NOT_A_NUMBER)
    return tl.where(code < LABELS, checked, code)


@triton.jit
def _kind_where(bad, code, LABELS: tl.constexpr, KIND: tl.constexpr):
    """Codes, or the kind of bad scores where counted pixels have them."""
    return tl.where(bad & (code < LABELS), LABELS + KIND, code)


@triton.jit
def _best(
    preds,
    stride,
    inside,
    places,
    DIMENSIONS: tl.constexpr,
    LABELS: tl.constexpr,
    RESIZE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """The maximum and argmax of every pixel, and whether it has no NaN."""
    best = tl.full([BLOCK], float("-inf"), PRECISION)
    found = tl.zeros([BLOCK], tl.int32)
    possible = tl.full([BLOCK], 1, tl.int1)
    for first in tl.range(0, LABELS, CHUNK, loop_unroll_factor=UNROLL):
        scores, of_class, known = _chunk(
            preds, stride, inside, places, first, DIMENSIONS, LABELS, RESIZE, PRECISION, CHUNK
        )
        scores = tl.where(known, scores, float("-inf"))
        largest = tl.max(scores, axis=1)
        # the first class that has it, or -1 where there is a NaN
        of_class = tl.where(scores == tl.expand_dims(largest, 1), of_class, LABELS)
        of_class = tl.min(tl.where(scores == scores, of_class, -1), axis=1)
        possible &= of_class >= 0
        found = tl.where(largest > best, of_class, found)
        best = tl.where(largest > best, largest, best)
    return best, found, possible


@triton.jit
def _exponentials(
    preds,
    stride,
    inside,
    places,
    best,
    code,
    scale,
    DIMENSIONS: tl.constexpr,
    LABELS: tl.constexpr,
    RESIZE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """Sums of exponentials and of their squares, and the true class's logit less the maximum."""
    total = tl.zeros([BLOCK], tl.float32)
    squares = tl.zeros([BLOCK], tl.float32)
    chosen = tl.zeros([BLOCK], tl.float32)
    for first in tl.range(0, LABELS, CHUNK, loop_unroll_factor=UNROLL):
        scores, of_class, known = _chunk(
            preds, stride, inside, places, first, DIMENSIONS, LABELS, RESIZE, PRECISION, CHUNK
        )
        logits = (scores - tl.expand_dims(best, 1)).to(tl.float32) * scale
        parts = tl.where(known, tl.exp(logits), 0.0)
        total += tl.sum(parts, axis=1)
        squares += tl.sum(parts * parts, axis=1)
        is_truth = known & (of_class == tl.expand_dims(code, 1))
        chosen += tl.sum(tl.where(is_truth, logits, 0.0), axis=1)
    return total, squares, chosen


@triton.jit
def _of_probabilities(
    preds,
    stride,
    inside,
    places,
    code,
    DIMENSIONS: tl.constexpr,
    LABELS: tl.constexpr,
    RESIZE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """Sums of probabilities and their squares, the true one's, and if one is outside [0, 1]."""
    total = tl.zeros([BLOCK], tl.float32)
    squares = tl.zeros([BLOCK], tl.float32)
    truth = tl.zeros([BLOCK], PRECISION)
    outside = tl.zeros([BLOCK], tl.int32)
    for first in tl.range(0, LABELS, CHUNK, loop_unroll_factor=UNROLL):
        scores, of_class, known = _chunk(
            preds, stride, inside, places, first, DIMENSIONS, LABELS, RESIZE, PRECISION, CHUNK
        )
        parts = tl.where(known, scores, 0.0).to(tl.float32)
        total += tl.sum(parts, axis=1)
        squares += tl.sum(parts * parts, axis=1)
        is_truth = known & (of_class == tl.expand_dims(code, 1))
        truth += tl.sum(tl.where(is_truth, scores, 0.0), axis=1)
        outside += tl.sum((known & ((scores < 0) | (scores > 1))).to(tl.int32), axis=1)
    return total, squares, truth, outside > 0


@triton.jit
def _chunk(
    preds,
    stride,
    inside,
    places,
    first,
    DIMENSIONS: tl.constexpr,
    LABELS: tl.constexpr,
    RESIZE: tl.constexpr,
    PRECISION: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """The scores of some classes, these classes, and their mask."""
    of_class = first + tl.expand_dims(tl.arange(0, CHUNK), 0)
    known = tl.expand_dims(inside, 1) & (of_class < LABELS)
    pointers = preds + of_class.to(tl.int64) * stride
    return _scores(pointers, known, places, DIMENSIONS, RESIZE, PRECISION), of_class, known
