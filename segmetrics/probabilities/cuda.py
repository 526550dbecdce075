"""Probabilities on CUDA: one Triton launch reads scores and labels with any strides.

A program measures a block of pixels and adds what it found to one of several replicas of the sums,
as ``counting.cuda`` does: two of its bins at once, pixels of other bins one by one, and its errors
as one number. The scores of a block are read again for their exponentials, from the cache.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# because types of a kernel's arguments are Triton's own

from __future__ import annotations

from functools import cache
from math import inf, prod
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from segmetrics.counting import codes
from segmetrics.counting.cuda import (
    MOST_PIXELS,
    MOST_REPLICAS,
    SCRATCH,
    _places,
    _scores,
)
from segmetrics.counting.settings import Pixels
from segmetrics.probabilities import cuda_scores, inputs, plain
from segmetrics.probabilities.cuda_scores import (
    _best,
    _checked,
    _exponentials,
    _kind_where,
    _of_probabilities,
    _read_target,
)
from segmetrics.probabilities.inputs import BAD_KINDS, Probabilities


def count(pixels: Pixels, reading: Probabilities) -> Tensor:
    """The counts of ``plain.count``, for labels and scores; the host does not wait for them."""
    images = len(pixels.target)
    if max(images, prod(pixels.target.shape[2:])) > MOST_PIXELS or not codes.tabular(reading):
        return plain.count(pixels, reading)
    rows = images if reading.per_image else 1
    bins = reading.tables * reading.bins
    size = 4 * bins + reading.cells - 3 * bins + len(BAD_KINDS)
    replicas = min(MOST_REPLICAS, max(1, SCRATCH // max(1, rows * size)))
    sums = torch.zeros((replicas, rows, 1, size), dtype=torch.int64, device=pixels.target.device)
    if pixels.target.numel():
        programs, arguments, settings = launch(sums, pixels, reading)
        with torch.cuda.device_of(sums):
            _measure[(programs,)](*arguments, **settings)
    total = sums.sum(0).squeeze(1)
    table = total[:, : 4 * bins].view(rows, bins, 2, 2)
    number, confidence = table.sum(-2).unbind(-1)
    of_bins = torch.stack([number, table[:, :, 1, 0], confidence], -1)
    counts = torch.cat([of_bins.flatten(1), total[:, 4 * bins :]], 1)
    return counts if reading.per_image else counts[0]


def launch(
    sums: Tensor, pixels: Pixels, reading: Probabilities
) -> tuple[int, tuple[Any, ...], dict[str, Any]]:
    """How the kernel is started: the number of programs, its arguments and its settings."""
    of_bins = _constants(reading, pixels.target.device)
    programs, arguments, settings = cuda_scores.launch(
        sums, pixels, reading, *of_bins, replicas=True
    )
    return (
        programs,
        arguments,
        settings
        | {
            "BINS": reading.bins,
            "MASS": reading.binning == "mass",
            "CLASSWISE": reading.classwise,
            "TEMPERATURES": 0 if reading.temperatures == (1.0,) else len(reading.temperatures),
        },
    )


@cache  # for ever: captured CUDA graphs read them, and nothing is copied to a device twice
def _constants(reading: Probabilities, device: torch.device) -> tuple[Tensor, Tensor]:
    """The edges of bins, the last one infinite, and the factors of logits."""
    of_bins = torch.from_numpy(inputs.edges(1 if reading.binning == "mass" else reading.bins))
    of_bins = torch.cat([of_bins[:-1], torch.tensor([inf])])
    scales = torch.tensor([1 / temperature for temperature in reading.temperatures])
    return of_bins.to(device), scales.to(device, torch.float32)


IGNORED = tl.constexpr(codes.IGNORED)
NOT_A_NUMBER = tl.constexpr(inputs.NOT_A_NUMBER)
OUTSIDE_0_1 = tl.constexpr(inputs.OUTSIDE_0_1)
KINDS = tl.constexpr(len(BAD_KINDS))
UNIT = tl.constexpr(2.0**inputs.FRACTION_BITS)
INFINITE = tl.constexpr(inputs.INFINITE_LOSS)
SHIFT = tl.constexpr(23 - inputs.CELLS_AN_OCTAVE_BITS)
LOWEST = tl.constexpr((103 << inputs.CELLS_AN_OCTAVE_BITS) - 1)
MASS_CELLS = tl.constexpr(inputs.MASS_CELLS)


@triton.jit(do_not_specialize=["replicas", "replica_stride", "blocks"])
def _measure(
    sums,
    target,
    preds,
    target_table,
    edges,
    scales,
    replicas,
    replica_stride,
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
    BINS: tl.constexpr,
    MASS: tl.constexpr,
    CLASSWISE: tl.constexpr,
    TEMPERATURES: tl.constexpr,
    TOLERANCE: tl.constexpr,
):
    """Add the pixels of a block of a map, one channel of an image, to the sums."""
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

    preds += image * preds_map_strides[0]
    DIMENSIONS: tl.constexpr = len(size)
    if PREDS == "scores of classes":
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
            total, squares, chosen = _exponentials(
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
            possible &= total == total
            code = _kind_where(~possible, code, LABELS, NOT_A_NUMBER)
            loss = tl.log(total) - chosen
            truth = tl.exp(chosen) / total
            p = 1 / total
            squares = squares / (total * total)
        else:
            total, squares, truth, outside = _of_probabilities(
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
            loss = -tl.log(truth)
            truth = truth.to(tl.float32)
            p = best.to(tl.float32)
        square = tl.maximum(squares - truth * truth, 0.0) + (1 - truth) * (1 - truth)
    else:
        preds += channel * preds_map_strides[1]
        places = _places(pixel, size, preds_size, preds_strides, RESIZE, PRECISION)
        score = _scores(preds, inside, places, DIMENSIONS, RESIZE, PRECISION)
        found = tl.full([BLOCK], 1, tl.int32)
        if LOGITS:
            code = _kind_where(score != score, code, LABELS, NOT_A_NUMBER)
            p, loss = _of_logit(score.to(tl.float32), code)
        else:
            impossible = (score < 0) | (score > 1)
            code = _kind_where(impossible, code, LABELS, OUTSIDE_0_1)
            code = _kind_where(score != score, code, LABELS, NOT_A_NUMBER)
            p = score.to(tl.float32)
            loss = -tl.log(tl.where(code == 1, score, 1 - score))
        truth = (code == 1).to(tl.float32)
        square = (p - truth) * (p - truth)

    counted = code < LABELS
    replica = (tl.program_id(0) % replicas).to(tl.int64)
    sums += replica * replica_stride
    if PER_IMAGE:
        TABLES: tl.constexpr = LABELS if CLASSWISE else CHANNELS
        LOSSES: tl.constexpr = TEMPERATURES if TEMPERATURES > 0 else 1
        sums += image * (4 * TABLES * BINS + CHANNELS * (1 + 2 * LOSSES) + KINDS)
    if CLASSWISE:
        errors = sums + 4 * LABELS * BINS
        of_preds, table = preds, sums
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
            of_class = scores.to(tl.float32)
            if LOGITS:
                of_class = tl.exp((scores - best).to(tl.float32)) / total
            _add_bins(table, of_class, code == c, counted, edges, BINS, MASS, BLOCK)
            of_preds += preds_map_strides[1]
            table += 4 * BINS
    else:
        errors = sums + 4 * CHANNELS * BINS
        table = sums + channel * 4 * BINS
        _add_bins(table, p, code == found, counted, edges, BINS, MASS, BLOCK)

    LOSSES_OF: tl.constexpr = TEMPERATURES if TEMPERATURES > 0 else 1
    kinds = errors + CHANNELS * (1 + 2 * LOSSES_OF)
    errors += channel * (1 + 2 * LOSSES_OF)
    tl.atomic_add(errors, tl.sum(_fixed(tl.where(counted, square, 0.0))), sem="relaxed")
    if TEMPERATURES == 0:
        _add_losses(errors + 1, loss, counted)
    for t in tl.static_range(TEMPERATURES):
        scale = tl.load(scales + t)
        if PREDS == "scores of classes":
            total, _, chosen = _exponentials(
                preds,
                preds_map_strides[1],
                inside,
                places,
                best,
                code,
                scale,
                DIMENSIONS,
                LABELS,
                RESIZE,
                PRECISION,
                BLOCK,
                CHUNK,
                UNROLL,
            )
            loss = tl.log(total) - chosen
        else:
            _, loss = _of_logit(score.to(tl.float32) * scale, code)
        _add_losses(errors + 1 + 2 * t, loss, counted)
    if tl.sum((code > LABELS + IGNORED).to(tl.int32)) > 0:
        for kind in tl.static_range(KINDS):
            number = tl.sum((code == LABELS + IGNORED + 1 + kind).to(tl.int32))
            tl.atomic_add(kinds + kind, number.to(tl.int64), mask=number > 0, sem="relaxed")


@triton.jit
def _of_logit(logit, code):
    """The probability of the foreground, and the log loss."""
    rest = tl.exp(-tl.abs(logit))
    p = tl.where(logit < 0, rest, 1.0) / (1 + rest)
    wrong = tl.where(code == 1, -logit, logit)
    return p, tl.log(1 + rest) + tl.maximum(wrong, 0.0)


@triton.jit
def _add_bins(
    table,
    p,
    right,
    counted,
    edges,
    BINS: tl.constexpr,
    MASS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add confidences to the wrong and right halves of their bins: their number and their sum.

    Those of the bins of the first and the middle pixel are added at once.
    """
    p = tl.where(counted, p, 0.0)
    cell = 2 * _bins(p, edges, BINS, MASS) + right.to(tl.int32)
    confidence = _fixed(p)
    rest = counted
    for place in tl.static_range(0, BLOCK, BLOCK // 2):
        common = tl.sum(tl.where(tl.arange(0, BLOCK) == place, cell, 0))
        these = rest & (cell == common)
        number = tl.sum(these.to(tl.int32)).to(tl.int64)
        total = tl.sum(tl.where(these, confidence, 0))
        tl.atomic_add(table + 2 * common, number, mask=number > 0, sem="relaxed")
        tl.atomic_add(table + 2 * common + 1, total, mask=number > 0, sem="relaxed")
        rest &= cell != common
    tl.atomic_add(table + 2 * cell, tl.full([BLOCK], 1, tl.int64), mask=rest, sem="relaxed")
    tl.atomic_add(table + 2 * cell + 1, confidence, mask=rest, sem="relaxed")


@triton.jit
def _bins(p, edges, BINS: tl.constexpr, MASS: tl.constexpr):
    """As ``plain.cells_of``."""
    if MASS:
        smaller = tl.minimum(p, 1 - p)
        rank = tl.maximum((smaller.to(tl.int32, bitcast=True) >> SHIFT) - LOWEST, 0)
        return tl.where(p <= 0.5, rank, MASS_CELLS - 1 - rank)
    place = tl.minimum((p * BINS).to(tl.int32), BINS - 1)
    place -= (p < tl.load(edges + place)).to(tl.int32)
    place += (p >= tl.load(edges + place + 1)).to(tl.int32)
    return place


@triton.jit
def _add_losses(sums, loss, counted):
    """Add the sum of the finite losses and the number of infinite ones."""
    finite = counted & (loss < INFINITE)
    infinite = tl.sum((counted & ~finite).to(tl.int32)).to(tl.int64)
    loss = tl.where(finite, loss, 0.0).to(tl.float32)
    tl.atomic_add(sums, tl.sum(_fixed(loss)), sem="relaxed")
    tl.atomic_add(sums + 1, infinite, mask=infinite > 0, sem="relaxed")


@triton.jit
def _fixed(values):
    return (values * UNIT + 0.5).to(tl.int64)
