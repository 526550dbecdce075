"""Counting on CUDA: one Triton launch reads scores and labels once, with any strides.

Each program maps a block of pixels to cells of the joint histogram. Neighbouring pixels mostly
share a cell, so a program first reduces the pixels that share a cell with its first or its middle
pixel, with one atomic add each. The rest are added one by one. Programs are distributed over
replicas of the histogram. Both keep a dominant class from serializing atomics on one address.
Integer sums do not depend on the order.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# as Triton has types of its own for kernel arguments

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from segmetrics.counting import codes, plain
from segmetrics.counting.settings import Counting, Pixels

#: Cells of all histograms of a launch, 4 MiB, unless one histogram has more.
SCRATCH = 2**19
MOST_REPLICAS = 64
#: The most pixels of a map whose indices, rounded up to a whole block, fit into int32.
MOST_PIXELS = 2**30


def count(pixels: Pixels, counting: Counting) -> Tensor:
    """The counts of ``plain.count``, for labels and scores, without synchronizing."""
    images = len(pixels.target)
    too_many = max(images, prod(pixels.target.shape[2:])) > MOST_PIXELS
    if too_many or not codes.tabular(counting):
        return plain.count(pixels, counting)
    if not counting.per_image:
        return codes.fold(_histograms(pixels, counting)[0], counting)
    at_once = max(1, SCRATCH // prod(codes.histogram_shape(counting)))
    counts = []
    for first in range(0, max(1, images), at_once):
        some = slice(first, first + at_once)
        part = pixels._replace(preds=pixels.preds[some], target=pixels.target[some])
        counts.append(codes.fold(_histograms(part, counting), counting))
    return torch.cat(counts)


def _histograms(pixels: Pixels, counting: Counting) -> Tensor:
    """Joint histograms ``(images or 1, channels, rows, columns)`` in int64."""
    images = len(pixels.target) if counting.per_image else 1
    shape = (images, *codes.histogram_shape(counting))
    replicas = min(MOST_REPLICAS, max(1, SCRATCH // max(1, prod(shape))))
    device = pixels.target.device
    histograms = torch.zeros((replicas, *shape), dtype=torch.int64, device=device)
    if pixels.target.numel():
        programs, arguments, settings = launch(histograms, pixels, counting)
        with torch.cuda.device_of(histograms):
            _tally[(programs,)](*arguments, **settings)
    return histograms.sum(0)


def launch(
    histograms: Tensor, pixels: Pixels, counting: Counting
) -> tuple[int, tuple[Any, ...], dict[str, Any]]:
    """The number of programs of the launch, the kernel's arguments and its constants."""
    target, preds = pixels.target, pixels.preds
    outer, inner = _dimensions(pixels, counting)
    size = tuple(dimension.size for dimension in inner)
    block, chunk, unroll = _tile(pixels, inner, counting)
    blocks = triton.cdiv(prod(size), block)
    of_target = _table(counting, target.device, target=True)
    of_preds = _table(counting, target.device, target=False)
    arguments = (
        histograms,
        target.view(torch.uint8) if target.dtype == torch.bool else target,
        preds.view(torch.uint8) if preds.dtype == torch.bool else preds,
        of_target and of_target.near,
        of_preds and of_preds.near,
        len(histograms),
        histograms.stride(0),
        blocks,
        size,
        tuple(preds.shape[2:]) if pixels.resized else size,
        (outer.target_stride, target.stride(1)),
        (outer.preds_stride, preds.stride(1)),
        tuple(dimension.target_stride for dimension in inner),
        tuple(dimension.preds_stride for dimension in inner),
    )
    settings = {
        "PER_IMAGE": counting.per_image,
        "CHANNELS": counting.channels,
        "LABELS": counting.labels,
        "ROWS": histograms.shape[-2],
        "COLUMNS": histograms.shape[-1],
        "IGNORED_VALUES": counting.ignore_index,
        "NEAR": len(of_target.near) if of_target else 0,
        "FAR": of_target.far if of_target else (),
        "TARGET_CODES_OF_FAR": of_target.codes_of_far if of_target else (),
        "PREDS_CODES_OF_FAR": of_preds.codes_of_far if of_preds else (),
        "PREDS": _kind(pixels, counting),
        "RESIZE": counting.upsample if pixels.resized else "",
        "CUT": counting.cut,
        "PRECISION": tl.float64 if preds.dtype == torch.float64 else tl.float32,
        "BLOCK": block,
        "CHUNK": chunk,
        "UNROLL": unroll,
        "enable_fp_fusion": False,  # resized scores are equal to plain torch's, bit by bit
    }
    return outer.size * counting.channels * blocks, arguments, settings


@cache  # never freed: captured CUDA graphs read it, and one copy to a device is enough
def _table(counting: Counting, device: torch.device, *, target: bool) -> codes.Table | None:
    """The table of ``codes.table`` on a device."""
    table = codes.table(counting, target=target)
    return table and table._replace(near=torch.from_numpy(table.near).to(device))


def _kind(pixels: Pixels, counting: Counting) -> str:
    """The kind of predictions, for the kernel."""
    if pixels.preds_are == "labels":
        return "labels"
    if counting.task == "multiclass":
        return "scores of classes"
    return "logits" if counting.from_logits else "probabilities"


class Dimension(NamedTuple):
    """A dimension of the label maps, with the strides of both inputs, in elements."""

    size: int
    target_stride: int
    preds_stride: int


def _dimensions(pixels: Pixels, counting: Counting) -> tuple[Dimension, list[Dimension]]:
    """The outer dimension, which programs are distributed over, and the dimensions within a map.

    Adjacent dimensions whose strides allow it are merged, the batch too unless counted per image.
    """
    target, preds = pixels.target, pixels.preds
    shape, of_target, of_preds = (
        [*x[:1], *x[2:]] for x in (target.shape, target.stride(), preds.stride())
    )
    images, *space = map(Dimension, shape, of_target, of_preds)
    if pixels.resized:
        return images, space
    if counting.per_image:
        return images, _merged(space)
    first, *rest = _merged([images, *space])
    return (first, rest) if rest else (Dimension(1, 0, 0), [first])


def _merged(dimensions: list[Dimension]) -> list[Dimension]:
    merged: list[Dimension] = []
    for new in dimensions:
        if new.size == 1:
            continue
        last = merged[-1] if merged else None
        if (
            last
            and last.target_stride == new.size * new.target_stride
            and last.preds_stride == new.size * new.preds_stride
            and last.size * new.size <= MOST_PIXELS
        ):
            merged[-1] = new._replace(size=last.size * new.size)
        else:
            merged.append(new)
    return merged or [Dimension(1, 0, 0)]


def _tile(pixels: Pixels, inner: list[Dimension], counting: Counting) -> tuple[int, int, int]:
    """Pixels of a block, classes read at once, and the unroll factor of the loop over classes."""
    if pixels.preds_are == "labels" or counting.task != "multiclass":
        return 256 if pixels.resized else 1024, 1, 1
    if pixels.preds.stride(1) == 1 and inner[-1].preds_stride != 1:  # channels-last
        whole = min(64, triton.next_power_of_2(counting.labels))
        block = min(1024, 2048 // whole) // (4 if pixels.resized else 1)
        if not 8 < counting.labels <= 64:
            return block, whole, 1
        chunk = max(8, whole // 4)  # fewer lanes without a class: 21 take three chunks of 8
        return block, chunk, triton.cdiv(counting.labels, chunk)
    return (256, 1, 2) if pixels.resized else (1024, 1, 4)


IGNORED = tl.constexpr(codes.IGNORED)
NEGATIVE = tl.constexpr(codes.NEGATIVE)
IS_255 = tl.constexpr(codes.IS_255)
TOO_LARGE = tl.constexpr(codes.TOO_LARGE)
ABSTAINED = tl.constexpr(codes.ABSTAINED)
OUTSIDE = tl.constexpr(codes.OUTSIDE)
IMPOSSIBLE = tl.constexpr(codes.IMPOSSIBLE)


@triton.jit(do_not_specialize=["replicas", "replica_stride", "blocks"])
def _tally(
    histograms,
    target,
    preds,
    target_table,
    preds_table,
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
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    IGNORED_VALUES: tl.constexpr,
    NEAR: tl.constexpr,
    FAR: tl.constexpr,
    TARGET_CODES_OF_FAR: tl.constexpr,
    PREDS_CODES_OF_FAR: tl.constexpr,
    PREDS: tl.constexpr,
    RESIZE: tl.constexpr,
    CUT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """Add a block of pixels of one channel of an image to a histogram."""
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
        row = _target_codes(label, LABELS, IGNORED_VALUES)
    else:
        row = tl.where(label < 0, LABELS + NEGATIVE, LABELS + TOO_LARGE)
        row = _mapped_codes(label, target_table, NEAR, FAR, TARGET_CODES_OF_FAR, row)

    preds += image * preds_map_strides[0]
    if PREDS == "labels":
        preds += channel * preds_map_strides[1]
        label = _labels(preds + _offsets(pixel, size, preds_strides), inside)
        if preds_table is None:
            column = _preds_codes(label, LABELS, IGNORED_VALUES)
        else:
            column = tl.full([BLOCK], LABELS + OUTSIDE, tl.int32)
            column = _mapped_codes(label, preds_table, NEAR, FAR, PREDS_CODES_OF_FAR, column)
    elif PREDS == "scores of classes":
        pixels_2d = tl.expand_dims(pixel, 1)
        places = _places(pixels_2d, size, preds_size, preds_strides, RESIZE, PRECISION)
        best = tl.full([BLOCK], float("-inf"), PRECISION)
        column = tl.zeros([BLOCK], tl.int32)
        impossible = tl.zeros([BLOCK], tl.int1)
        for first in tl.range(0, LABELS, CHUNK, loop_unroll_factor=UNROLL):
            of_class = first + tl.expand_dims(tl.arange(0, CHUNK), 0)
            pointers = preds + of_class.to(tl.int64) * preds_map_strides[1]
            known = tl.expand_dims(inside, 1) & (of_class < LABELS)
            scores = _scores(pointers, known, places, len(size), RESIZE, PRECISION)
            scores = tl.where(known, scores, float("-inf"))
            largest = tl.max(scores, axis=1)
            # the first class with the largest score, or -1 for NaN
            of_class = tl.where(scores == tl.expand_dims(largest, 1), of_class, LABELS)
            of_class = tl.min(tl.where(scores == scores, of_class, -1), axis=1)
            impossible |= of_class < 0
            column = tl.where(largest > best, of_class, column)
            best = tl.where(largest > best, largest, best)
        column = tl.where(impossible, LABELS + IMPOSSIBLE, column)
    else:
        preds += channel * preds_map_strides[1]
        places = _places(pixel, size, preds_size, preds_strides, RESIZE, PRECISION)
        score = _scores(preds, inside, places, len(size), RESIZE, PRECISION)
        possible = score == score
        if PREDS == "probabilities":
            possible = (score >= 0) & (score <= 1)
        column = (score > tl.full([BLOCK], CUT, PRECISION)).to(tl.int32)
        column = tl.where(possible, column, LABELS + IMPOSSIBLE)

    histogram = image * CHANNELS + channel if PER_IMAGE else channel
    replica = (program % replicas).to(tl.int64)
    histograms += replica * replica_stride + histogram * ROWS * COLUMNS
    _add(histograms, (row * COLUMNS + column).to(tl.int32), inside, BLOCK)


@triton.jit
def _add(histogram, cell, rest, BLOCK: tl.constexpr):
    """Add 1 to the cell of each pixel, at once for the cells of the first and the middle pixel."""
    for place in tl.static_range(0, BLOCK, BLOCK // 2):
        common = tl.sum(tl.where(tl.arange(0, BLOCK) == place, cell, 0))
        number = tl.sum((rest & (cell == common)).to(tl.int32))
        tl.atomic_add(histogram + common, number.to(tl.int64), mask=number > 0, sem="relaxed")
        rest &= cell != common
    tl.atomic_add(histogram + cell, tl.full([BLOCK], 1, tl.int64), mask=rest, sem="relaxed")


@triton.jit
def _target_codes(label, LABELS: tl.constexpr, IGNORED_VALUES: tl.constexpr):
    """As ``codes.target_codes``."""
    code = tl.where(label < 0, LABELS + NEGATIVE, label)
    code = tl.where(label >= LABELS, LABELS + TOO_LARGE, code)
    if LABELS <= 255:
        code = tl.where(label == 255, LABELS + IS_255, code)
    for i in tl.static_range(len(IGNORED_VALUES)):
        code = tl.where(label == IGNORED_VALUES[i], LABELS + IGNORED, code)
    return code


@triton.jit
def _preds_codes(label, LABELS: tl.constexpr, IGNORED_VALUES: tl.constexpr):
    """As ``codes.preds_codes``."""
    code = tl.where((label < 0) | (label >= LABELS), LABELS + OUTSIDE, label)
    for i in tl.static_range(len(IGNORED_VALUES)):
        if IGNORED_VALUES[i] < 0 or IGNORED_VALUES[i] >= LABELS:
            code = tl.where(label == IGNORED_VALUES[i], LABELS + ABSTAINED, code)
    return code


@triton.jit
def _mapped_codes(
    label,
    table,
    NEAR: tl.constexpr,
    FAR: tl.constexpr,
    CODES_OF_FAR: tl.constexpr,
    otherwise,
):
    """As ``codes.table``."""
    near = (label >= 0) & (label < NEAR)
    code = tl.where(near, tl.load(table + label, mask=near, other=0), otherwise)
    for i in tl.static_range(len(FAR)):
        code = tl.where(label == FAR[i], CODES_OF_FAR[i], code)
    return code


@triton.jit
def _labels(pointers, inside):
    """Labels as int64. Values of uint64 above the range saturate."""
    labels = tl.load(pointers, mask=inside, other=0).to(tl.int64)
    if pointers.dtype.element_ty == tl.uint64:
        labels = tl.where(labels < 0, 2**63 - 1, labels)
    return labels


@triton.jit
def _scores(
    pointers,
    inside,
    places,
    DIMENSIONS: tl.constexpr,
    RESIZE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The scores of pixels, resized if they are to be."""
    if RESIZE != "bilinear":
        scores = _score(pointers + places, inside, PRECISION)
    elif DIMENSIONS == 1:
        scores = _on_line(pointers, inside, places[0], PRECISION)
    elif DIMENSIONS == 2:
        scores = _on_plane(pointers, inside, places[0], places[1], PRECISION)
    else:
        scores = _in_volume(pointers, inside, places[0], places[1], places[2], PRECISION)
    return scores


@triton.jit
def _in_volume(pointers, inside, z, y, x, PRECISION: tl.constexpr):
    below = _on_plane(pointers + z[0], inside, y, x, PRECISION)
    above = _on_plane(pointers + z[1], inside, y, x, PRECISION)
    return _mixed(below, above, z)


@triton.jit
def _on_plane(pointers, inside, y, x, PRECISION: tl.constexpr):
    below = _on_line(pointers + y[0], inside, x, PRECISION)
    above = _on_line(pointers + y[1], inside, x, PRECISION)
    return _mixed(below, above, y)


@triton.jit
def _on_line(pointers, inside, x, PRECISION: tl.constexpr):
    below = _score(pointers + x[0], inside, PRECISION)
    above = _score(pointers + x[1], inside, PRECISION)
    return _mixed(below, above, x)


@triton.jit
def _mixed(below, above, between):
    weight, resized = between[2], between[3]
    return tl.where(resized, (1 - weight) * below + weight * above, below)


@triton.jit
def _score(pointers, inside, PRECISION: tl.constexpr):
    return tl.load(pointers, mask=inside, other=0).to(PRECISION)


@triton.jit
def _places(
    pixel,
    size,
    preds_size,
    strides,
    RESIZE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Offsets of the scores of pixels; to interpolate, :func:`_between` for each dimension."""
    if RESIZE == "":
        places = _offsets(pixel, size, strides)
    elif RESIZE == "nearest":
        places = tl.zeros_like(pixel).to(tl.int64)
        for dim in tl.static_range(len(size)):
            scale = _scale(preds_size[dim], size[dim], tl.float32)
            place = (_position(pixel, size, dim).to(tl.float32) * scale).to(tl.int64)
            places += tl.minimum(place, preds_size[dim] - 1) * strides[dim]
    else:
        places = (_between(pixel, size, preds_size, strides, 0, PRECISION),)
        if len(size) > 1:
            places += (_between(pixel, size, preds_size, strides, 1, PRECISION),)
        if len(size) > 2:
            places += (_between(pixel, size, preds_size, strides, 2, PRECISION),)
    return places


@triton.jit
def _between(
    pixel,
    size,
    preds_size,
    strides,
    DIM: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """For one dimension: the offsets of the scores below and above a pixel, the weight of the one
    above, and whether the dimension is resized.
    """
    place = _position(pixel, size, DIM).to(PRECISION) + 0.5
    place = tl.maximum(_scale(preds_size[DIM], size[DIM], PRECISION) * place - 0.5, 0.0)
    lower = tl.minimum(place.to(tl.int64), preds_size[DIM] - 1)
    upper = tl.minimum(lower + 1, preds_size[DIM] - 1)
    weight = tl.minimum(place - lower.to(PRECISION), 1.0)
    resized = preds_size[DIM] != size[DIM]
    return lower * strides[DIM], upper * strides[DIM], weight, resized


@triton.jit
def _scale(preds_size, size, PRECISION: tl.constexpr):
    """Scores per pixel, rounded as in Python and torch."""
    return (tl.cast(preds_size, tl.float64) / tl.cast(size, tl.float64)).to(PRECISION)


@triton.jit
def _offsets(pixel, size, strides):
    """Offsets of pixels of a map of this size, in int64."""
    offsets = tl.zeros_like(pixel).to(tl.int64)
    for dim in tl.static_range(len(size)):
        offsets += _position(pixel, size, dim).to(tl.int64) * strides[dim]
    return offsets


@triton.jit
def _position(pixel, size, DIM: tl.constexpr):
    """The index of pixels in one dimension of a map of this size."""
    for dim in tl.static_range(len(size) - 1, DIM, -1):
        pixel = pixel // size[dim]
    return pixel if DIM == 0 else pixel % size[DIM]
