"""Cells on CUDA: one Triton launch reads scores and labels with any strides.

A program finds the cells of a block of pixels and adds them to the one table: two of its cells at
once, pixels of other cells one by one. So the many equal scores of a confident model cause no
contention.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# because types of a kernel's arguments are Triton's own

from __future__ import annotations

from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from segmetrics.counting import codes
from segmetrics.counting.cuda import (
    MOST_PIXELS,
    _add,
    _places,
    _scores,
)
from segmetrics.counting.settings import Pixels
from segmetrics.probabilities import cells, cuda_scores, inputs, plain_cells
from segmetrics.probabilities.cuda_scores import (
    _best,
    _checked,
    _exponentials,
    _kind_where,
    _of_probabilities,
    _read_target,
)
from segmetrics.probabilities.inputs import BAD_KINDS

if TYPE_CHECKING:
    from segmetrics.probabilities.ranking import Ranking


def count(pixels: Pixels, ranking: Ranking) -> Tensor:
    """The counts of ``plain_cells.count``; the host does not wait for them."""
    images = len(pixels.target)
    too_many = max(images, prod(pixels.target.shape[2:])) > MOST_PIXELS
    if too_many or not (compiled(pixels, ranking) and codes.tabular(ranking)):
        return plain_cells.count(pixels, ranking)
    rows = images if ranking.per_image else 1
    shape = (1, rows, 1, ranking.cells + len(BAD_KINDS))
    counts = torch.zeros(shape, dtype=torch.int64, device=pixels.target.device)
    if pixels.target.numel():
        programs, arguments, settings = launch(counts, pixels, ranking)
        with torch.cuda.device_of(counts):
            _rank[(programs,)](*arguments, **settings)
    return counts[0, :, 0] if ranking.per_image else counts[0, 0, 0]


def compiled(pixels: Pixels, ranking: Ranking) -> bool:
    """Whether the kernel reads these dtypes: fp64 and fp16 of classes only as logits."""
    dtype, of_classes = pixels.preds.dtype, ranking.task == "multiclass"
    if of_classes and ranking.from_logits:
        return True
    return dtype != torch.float64 and not (of_classes and dtype == torch.float16)


def launch(
    counts: Tensor, pixels: Pixels, ranking: Ranking
) -> tuple[int, tuple[Any, ...], dict[str, Any]]:
    """How the kernel is started: the number of programs, its arguments and its settings."""
    halves = ranking.has_halves(pixels.preds.dtype)
    merged = _merged(ranking, halves, counts.device) if ranking.resolution < cells.CELLS else None
    programs, arguments, settings = cuda_scores.launch(
        counts, pixels, ranking, merged, replicas=False
    )
    return (
        programs,
        arguments,
        settings
        | {
            "RESOLUTION": ranking.resolution,
            "RIGHT": ranking.positive == "right",
            "HALVES": halves,
        },
    )


@cache  # for ever: captured CUDA graphs read it, and nothing is copied to a device twice
def _merged(ranking: Ranking, halves: bool, device: torch.device) -> Tensor:
    """For every key the cell of a coarser table."""
    merged = cells.merging(ranking.resolution, from_logits=ranking.ranks_logits, halves=halves)
    return torch.from_numpy(merged).to(device, torch.int32)


IGNORED = tl.constexpr(codes.IGNORED)
NOT_A_NUMBER = tl.constexpr(inputs.NOT_A_NUMBER)
OUTSIDE_0_1 = tl.constexpr(inputs.OUTSIDE_0_1)
KINDS = tl.constexpr(len(BAD_KINDS))
OF_LOGIT = tl.constexpr(cells.OF_LOGIT)
OF_PROBABILITY = tl.constexpr(cells.OF_PROBABILITY)
ROUNDED_OF_LOGIT = tl.constexpr(2**cells.OF_LOGIT - 1)
ROUNDED_OF_PROBABILITY = tl.constexpr(2**cells.OF_PROBABILITY - 1)
ZERO = tl.constexpr(cells.ZERO)
BAD = tl.constexpr(cells.BAD)


@triton.jit(do_not_specialize=["blocks"])
def _rank(
    counts,
    target,
    preds,
    target_table,
    merged,
    blocks,
    size,
    preds_size,
    target_map_strides,
    preds_map_strides,
    target_strides,
    preds_strides,
    PER_IMAGE: tl.constexpr,
    CHANNELS: tl.constexpr,
    LABELS: tl.constexpr,
    IGNORED_VALUES: tl.constexpr,
    NEAR: tl.constexpr,
    FAR: tl.constexpr,
    TARGET_CODES_OF_FAR: tl.constexpr,
    PREDS: tl.constexpr,
    RESIZE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
    UNROLL: tl.constexpr,
    LOGITS: tl.constexpr,
    RESOLUTION: tl.constexpr,
    RIGHT: tl.constexpr,
    HALVES: tl.constexpr,
    TOLERANCE: tl.constexpr,
):
    """Add the pixels of a block of a map, one channel of an image, to the tables."""
    image, channel, pixel, inside, code = _read_target(
        target,
        target_table,
        blocks,
        size,
        target_map_strides,
        target_strides,
        CHANNELS,
        LABELS,
        IGNORED_VALUES,
        NEAR,
        FAR,
        TARGET_CODES_OF_FAR,
        BLOCK,
    )

    OF_CLASSES: tl.constexpr = PREDS == "scores of classes"
    ONE_TABLE: tl.constexpr = RIGHT or (CHANNELS == 1 and not OF_CLASSES)
    TABLES: tl.constexpr = 1 if ONE_TABLE else (LABELS if OF_CLASSES else CHANNELS)
    TAIL: tl.constexpr = TABLES * RESOLUTION * 2
    if PER_IMAGE:
        counts += image * (TAIL + 3 + KINDS)
    preds += image * preds_map_strides[0]
    DIMENSIONS: tl.constexpr = len(size)
    rounded = tl.zeros([BLOCK], tl.int32)
    if OF_CLASSES:
        pixels_2d = tl.expand_dims(pixel, 1)
        places = _places(pixels_2d, size, preds_size, preds_strides, RESIZE, PRECISION)
        stride = preds_map_strides[1]
        best, found, possible = _best(
            preds,
            stride,
            inside,
            places,
            DIMENSIONS,
            LABELS,
            RESIZE,
            PRECISION,
            BLOCK,
            CHUNK,
            UNROLL,
        )
        best = tl.where(possible, best, 0)
        if LOGITS:
            total, _, _ = _exponentials(
                preds,
                stride,
                inside,
                places,
                best,
                code,
                1.0,
                DIMENSIONS,
                LABELS,
                RESIZE,
                PRECISION,
                BLOCK,
                CHUNK,
                UNROLL,
            )
            code = _kind_where(~(possible & (total == total)), code, LABELS, NOT_A_NUMBER)
        else:
            total, _, _, outside = _of_probabilities(
                preds,
                stride,
                inside,
                places,
                code,
                DIMENSIONS,
                LABELS,
                RESIZE,
                PRECISION,
                BLOCK,
                CHUNK,
                UNROLL,
            )
            code = _checked(code, total, outside, possible, LABELS, TOLERANCE)
        counted = code < LABELS
        if RIGHT:
            p = best.to(tl.float32)
            if LOGITS:
                p = 1 / total
            key, inexact = _probability_keys(p)
            rounded += inexact.to(tl.int32)
            _add_cells(counts, key, code == found, counted, merged, BLOCK)
        else:
            of_preds, table = preds, counts
            for c in tl.range(0, LABELS):
                scores = tl.sum(
                    _scores(
                        of_preds,
                        tl.expand_dims(inside, 1),
                        places,
                        DIMENSIONS,
                        RESIZE,
                        PRECISION,
                    ),
                    axis=1,
                )
                p = scores.to(tl.float32)
                if LOGITS:
                    p = tl.exp((scores - best).to(tl.float32)) / total
                key, inexact = _probability_keys(p)
                rounded += inexact.to(tl.int32)
                _add_cells(table, key, code == c, counted, merged, BLOCK)
                of_preds += preds_map_strides[1]
                table += 2 * RESOLUTION
    else:
        preds += channel * preds_map_strides[1]
        places = _places(pixel, size, preds_size, preds_strides, RESIZE, PRECISION)
        score = _scores(preds, inside, places, DIMENSIONS, RESIZE, PRECISION)
        if not LOGITS:
            code = _kind_where((score < 0) | (score > 1), code, LABELS, OUTSIDE_0_1)
        code = _kind_where(score != score, code, LABELS, NOT_A_NUMBER)
        counted = code < LABELS
        if HALVES:
            key = _sortable(score.to(tl.float16).to(tl.int16, bitcast=True).to(tl.int32))
            key = tl.where(score == 0, ZERO, key)
        elif LOGITS:
            bits = score.to(tl.int32, bitcast=True)
            key = tl.where(score == 0, ZERO, _sortable(bits >> OF_LOGIT))
            rounded = ((bits & ROUNDED_OF_LOGIT) != 0).to(tl.int32)
        else:
            key, inexact = _probability_keys(score)
            rounded = inexact.to(tl.int32)
        _add_cells(counts + channel * 2 * RESOLUTION, key, code == 1, counted, merged, BLOCK)

    entries = tl.sum(counted.to(tl.int64)) * (LABELS if OF_CLASSES and not RIGHT else 1)
    inexact = tl.sum(tl.where(counted, rounded, 0).to(tl.int64))
    if RESOLUTION < BAD:
        inexact = entries
    counts += TAIL
    tl.atomic_add(counts, inexact, sem="relaxed")
    tl.atomic_add(counts + (1 if HALVES else 2), entries, sem="relaxed")
    if tl.sum((code > LABELS + IGNORED).to(tl.int32)) > 0:
        for kind in tl.static_range(KINDS):
            number = tl.sum((code == LABELS + IGNORED + 1 + kind).to(tl.int32))
            tl.atomic_add(counts + 3 + kind, number.to(tl.int64), mask=number > 0, sem="relaxed")


@triton.jit
def _probability_keys(p):
    """As ``cells.keys``: the cells of fp32 probabilities, and which are rounded."""
    low = p <= 0.5
    smaller = tl.where(p == 0, 0.0, tl.where(low, p, 1 - p))
    bits = smaller.to(tl.int32, bitcast=True)
    prefix = bits >> OF_PROBABILITY
    key = tl.where(low, prefix, BAD - 1 - prefix)
    return key, (bits & ROUNDED_OF_PROBABILITY) != 0


@triton.jit
def _sortable(bits):
    """Maps 16 bits of sign and magnitude to an integer of the same order."""
    return (bits ^ tl.where(bits < 0, -1, -ZERO)) & 0xFFFF


@triton.jit
def _add_cells(table, key, positive, counted, merged, BLOCK: tl.constexpr):
    """Add counted pixels to the negatives and positives of their cells."""
    key = tl.where(counted, key, 0)
    if merged is not None:
        key = tl.load(merged + key)
    _add(table, 2 * key + positive.to(tl.int32), counted, BLOCK)
