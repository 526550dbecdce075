"""Counting in plain torch: the definition that the other backends are tested against.

Works in blocks of at most 2**20 entries: computes the codes of each pixel, then a bincount of the
pairs. It needs no one-hot tensor, no sort, and no boolean indexing, which would synchronize a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

import torch
from torch import Tensor

from segmetrics.counting.codes import (
    IMPOSSIBLE,
    NOT_ONE_HOT,
    fold,
    histogram_shape,
    preds_codes,
    target_codes,
)
from segmetrics.counting.settings import Counting, Pixels

BLOCK = 2**20
Box = tuple[slice, ...]


def count(pixels: Pixels, counting: Counting) -> Tensor:
    """Count pixels: ``(cells + bad kinds,)`` in int64, per image ``(N, cells + bad kinds)``."""
    if not counting.per_image:
        return fold(histogram(pixels, counting), counting)
    shape = (len(pixels.target), *histogram_shape(counting))
    histograms = torch.zeros(shape, dtype=torch.int64, device=pixels.target.device)
    for image, out in enumerate(histograms):
        out += histogram(pixels.image(image), counting)
    return fold(histograms, counting)


def histogram(pixels: Pixels, counting: Counting) -> Tensor:
    """The joint histogram of target codes and prediction codes, int64."""
    shape = histogram_shape(counting)
    counts = torch.zeros(prod(shape), dtype=torch.int64, device=pixels.target.device)
    for box in boxes(pixels, counting):
        row, column = codes_of(pixels, box, counting)
        channel = torch.arange(shape[0], device=row.device)[box[1]]
        channel = channel.view(-1, *[1] * (row.ndim - 2))
        cell = ((channel * shape[1] + row) * shape[2] + column).flatten()
        if cell.device.type == "cpu":
            counts += cell.bincount(minlength=len(counts))
        else:  # on a GPU bincount synchronizes, to read the largest value
            counts.scatter_add_(0, cell, torch.ones_like(cell))
    return counts.view(shape)


def boxes(pixels: Pixels, counting: Counting, *, copied: bool = False) -> Iterator[Box]:
    """Split the label maps ``(N, channels, *size)`` into boxes of at most ``BLOCK`` entries.

    If the scores of all classes are resized or ``copied``, a box holds at most ``BLOCK`` scores.
    """
    shape = (len(pixels.target), counting.channels, *pixels.target.shape[2:])
    of_classes = (pixels.resized or copied) and counting.task == "multiclass"
    scores_an_entry = counting.labels if of_classes else 1
    limit = max(1, BLOCK // scores_an_entry)
    if not prod(shape):
        return
    dim = next(d for d in range(len(shape)) if prod(shape[d + 1 :]) <= limit)
    step = limit // prod(shape[dim + 1 :])
    for head in product(*(range(length) for length in shape[:dim])):
        for start in range(0, shape[dim], step):
            corner = [slice(i, i + 1) for i in head]
            whole = [slice(0, length) for length in shape[dim + 1 :]]
            yield (*corner, slice(start, min(start + step, shape[dim])), *whole)


def codes_of(pixels: Pixels, box: Box, counting: Counting) -> tuple[Tensor, Tensor]:
    """Codes of target and prediction in a box, each ``(n, channels, *size)`` in int64."""
    target = codes_of_target(pixels, box, counting)
    if pixels.preds_are == "one-hot":
        channels = pixels.preds[_all_channels(box)]
        preds = preds_codes(from_one_hot(channels), counting, one_hot=True)
    elif pixels.preds_are == "labels":
        preds = preds_codes(as_int64(pixels.preds[box]), counting)
    else:
        preds, impossible = decide(scores_of(pixels, box, counting), counting)
        preds = preds.where(~impossible, counting.labels + IMPOSSIBLE)
    return target, preds


def codes_of_target(pixels: Pixels, box: Box, counting: Counting) -> Tensor:
    """Codes of the target in a box, ``(n, channels, *size)`` in int64."""
    if pixels.target_are == "one-hot":
        channels = pixels.target[_all_channels(box)]
        return target_codes(from_one_hot(channels), counting, one_hot=True)
    return target_codes(as_int64(pixels.target[box]), counting)


def scores_of(pixels: Pixels, box: Box, counting: Counting) -> Tensor:
    """The scores in a box, of all classes for multiclass, resized if they are to be."""
    where = _all_channels(box) if counting.task == "multiclass" else box
    if pixels.resized:
        return resize(pixels.preds[where[:2]], pixels.target.shape[2:], box[2:], counting)
    scores: Tensor = pixels.preds[where]
    return scores


def _all_channels(box: Box) -> Box:
    return (box[0], slice(None), *box[2:])


def decide(scores: Tensor, counting: Counting) -> tuple[Tensor, Tensor]:
    """The label of the best score, in int64, and where the scores are invalid."""
    if counting.task == "multiclass":
        best = scores.max(dim=1, keepdim=True)  # argmax is slow over a strided dimension
        return best.indices, best.values.isnan()
    scores = scores if scores.dtype == torch.float64 else scores.float()
    possible = ~scores.isnan() if counting.from_logits else (scores >= 0) & (scores <= 1)
    cut = torch.tensor(counting.cut, dtype=scores.dtype)
    return (scores > cut).to(torch.int64), ~possible


def resize(scores: Tensor, size: tuple[int, ...], box: Box, counting: Counting) -> Tensor:
    """The part ``box`` of ``scores (n, C, ...)`` resized to ``size``, as ``F.interpolate`` would.

    Interpolates one dimension after the other, the last first, in fp32 (fp64 for fp64).
    """
    nearest = counting.upsample == "nearest"
    lengths, firsts = scores.shape[2:], []
    for dim, (span, length) in enumerate(zip(box, lengths, strict=True), start=2):
        scale = length / size[dim - 2]
        first = max(int(span.start * scale) - 2, 0)  # what the box needs, with a margin
        scores = scores.narrow(dim, first, min(int(span.stop * scale) + 3, length) - first)
        firsts.append(first)
    if not nearest and scores.dtype != torch.float64:
        scores = scores.float()
    dtype = torch.float32 if nearest else scores.dtype  # of positions and weights, as in torch
    for dim in reversed(range(2, scores.ndim)):
        span, length, first = box[dim - 2], lengths[dim - 2], firsts[dim - 2]
        if length == size[dim - 2]:  # not interpolated, so that NaN does not leak to a neighbour
            scores = scores.narrow(dim, span.start - first, span.stop - span.start)
            continue
        part = torch.arange(span.start, span.stop, device=scores.device, dtype=dtype)
        stride = torch.tensor(length / size[dim - 2], dtype=dtype)
        if nearest:
            lower = (part * stride).long().clamp(max=length - 1)
            scores = scores.index_select(dim, lower - first)
            continue
        place = (stride * (part + 0.5) - 0.5).clamp(min=0)
        lower = place.long().clamp(max=length - 1)
        upper = (lower + 1).clamp(max=length - 1)
        weight = (place - lower).clamp(max=1).view(-1, *[1] * (scores.ndim - dim - 1))
        below = scores.index_select(dim, lower - first)
        above = scores.index_select(dim, upper - first)
        scores = (1 - weight) * below + weight * above
    return scores


def from_one_hot(channels: Tensor) -> Tensor:
    """Labels ``(n, 1, ...)`` of one-hot ``(n, C, ...)``; ``NOT_ONE_HOT`` without exactly one 1."""
    channels = as_int64(channels)
    ones = channels == 1
    valid = ((ones | (channels == 0)).all(1, keepdim=True)) & (ones.sum(1, keepdim=True) == 1)
    return ones.to(torch.uint8).max(dim=1, keepdim=True).indices.where(valid, NOT_ONE_HOT)


def as_int64(labels: Tensor) -> Tensor:
    """Labels as contiguous int64. Values of uint64 above the range saturate."""
    labels = labels.contiguous()  # searchsorted warns otherwise
    if labels.dtype != torch.uint64:
        return labels.to(torch.int64)
    signed = labels.view(torch.int64)
    return signed.where(signed >= 0, torch.iinfo(torch.int64).max)
