"""Counting on the CPU: threads share boxes of pixels, and compiled kernels count them.

A thread writes the codes of a box into two small buffers and counts their pairs in histograms of
its own. Label maps mostly need no codes: pairs of their values are counted, and coded afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import ceil, prod

import numpy as np
import torch
from torch import Tensor

from segmetrics._parallel import share
from segmetrics.counting import codes, plain
from segmetrics.counting.cpu_kernels import CELLS, COPIES, recode, tally
from segmetrics.counting.cpu_readers import (
    Area,
    Array,
    Box,
    Longs,
    Values,
    flat,
    known_values,
    label_reader,
    linear_score_reader,
    nearest_score_reader,
    score_reader,
)
from segmetrics.counting.inputs import Counting, Pixels

#: Pixels of a box, at most.
BOX = 2**17
#: Scores of all classes that are resized at once, about: 512 KiB of fp32.
RESIZED = 2**17
#: Cells of the histograms of several images, unless a single one has more: 2 MiB.
OF_IMAGES = 2**16
#: More labels do not fit into a code; plain torch may find the memory for their histogram.
MOST_LABELS = 2**15 - 16

BYTES = frozenset({torch.uint8, torch.bool})


def count(pixels: Pixels, counting: Counting) -> Tensor:
    """The counts of ``plain.count``, for labels and scores."""
    if not (pixels.target.numel() and countable(counting)):
        return plain.count(pixels, counting)
    if not counting.per_image:
        return torch.from_numpy(codes.fold(_histograms(pixels, counting)[0], counting))
    at_once = max(1, OF_IMAGES // prod(codes.histogram_shape(counting)))
    counts = []
    for first in range(0, len(pixels.target), at_once):
        some = slice(first, first + at_once)
        part = pixels._replace(preds=pixels.preds[some], target=pixels.target[some])
        counts.append(codes.fold(_histograms(part, counting), counting))
    return torch.from_numpy(np.concatenate(counts))


def countable(counting: Counting) -> bool:
    """Whether this backend's codes are enough."""
    return counting.labels <= MOST_LABELS and codes.tabular(counting)


def _histograms(pixels: Pixels, counting: Counting) -> Longs:
    """Joint histograms ``(images, channels, rows, columns)``, or of all images as of one, int64."""
    target, preds = _maps(pixels.target, counting), _maps(pixels.preds, counting)
    shape = len(target), *codes.histogram_shape(counting)
    copies = COPIES if prod(shape[2:]) <= CELLS else 1
    dtype = np.int32 if target.numel() < 2**31 else np.int64
    widest = BOX
    if pixels.resized:
        target, preds = as_volumes(target), as_volumes(preds)
        sizes, steps = list(target.shape[2:]), list(target.stride()[2:])
        reader = nearest_score_reader if counting.upsample == "nearest" else linear_score_reader
        read_preds = reader(preds, sizes, counting)
        widest = max(1, min(BOX, RESIZED * shape[1] // preds.shape[1]))
    else:
        sizes, steps, preds_steps = _merged(target, preds)
        if pixels.preds_are == "scores":
            read_preds = score_reader(preds, sizes, preds_steps, counting)
        else:
            if shape[:2] == (1, 1) and steps == preds_steps == [1] and sizes[0] < 2**31:
                histogram = _histogram_of_values(target, preds, counting)
                if histogram is not None:
                    return histogram
            read_preds = label_reader(preds, sizes, preds_steps, counting, target=False)
    read_target = label_reader(target, sizes, steps, counting, target=True)

    def work(boxes: Iterator[Box]) -> Longs:
        histograms = np.zeros((*shape[:2], copies, *shape[2:]), dtype)
        codes_of_target, codes_of_preds = np.empty((2, BOX), np.uint16)
        for box in boxes:
            rows, columns = codes_of_target[: box.pixels], codes_of_preds[: box.pixels]
            read_target(box, rows)
            read_preds(box, columns)
            tally(rows, columns, None, None, None, histograms[box.image, box.channel])
        return np.asarray(histograms.sum(2, np.int64))

    areas = list(cut(prod(sizes[:-1]), sizes[-1], widest))
    boxes = (Box(*place) for place in product(range(shape[0]), range(shape[1]), areas))
    return _sum(share(work, boxes, at_most=2 * target.numel() // BOX))


class ValuePairs:
    """Counts pairs of known values, fewer than 2**31: of values first, of codes afterwards."""

    def __init__(self, counting: Counting, values: Values) -> None:
        self.values = values
        self.shape = codes.histogram_shape(counting)[1:]
        self.places = np.zeros((COPIES, values.span + 1, values.span + 1), np.int32)

    def add(self, target: Array, preds: Array) -> None:
        """Count pairs."""
        tally(target, preds, *self.values[:3], self.places)

    def take(self) -> Longs:
        """The joint histogram of codes, without pairs of unknown values; counting starts anew."""
        histogram = np.zeros(self.shape, np.int64)
        recode(self.places, *self.values[3:], histogram)
        return histogram


def _histogram_of_values(target: Tensor, preds: Tensor, counting: Counting) -> Longs | None:
    """The joint histogram of labels that lie in line; None if there may be unknown ones."""
    dtypes = {target.dtype, preds.dtype}
    values = None if torch.uint64 in dtypes else known_values(counting, of_bytes=dtypes <= BYTES)
    if values is None:
        return None
    rows, columns = flat(target), flat(preds)

    def work(starts: Iterator[int]) -> Longs:
        pairs = ValuePairs(counting, values)
        for start in starts:
            some = slice(start, start + BOX)
            pairs.add(rows[some], columns[some])
        return pairs.take()[None, None]

    starts = range(0, len(rows), BOX)
    histogram = _sum(share(work, starts, at_most=len(starts)))
    return histogram if histogram.sum() == len(rows) else None


def _maps(tensor: Tensor, counting: Counting) -> Tensor:
    """A tensor ``(N, C, ...)`` as ``(images, C, n, ...)``, where n images are counted as one."""
    return tensor.unsqueeze(2) if counting.per_image else tensor.transpose(0, 1).unsqueeze(0)


def as_volumes(maps: Tensor) -> Tensor:
    """Maps of one to three spatial dimensions with all three: depth, height and width."""
    while maps.ndim < 6:
        maps = maps.unsqueeze(3)
    return maps


def _merged(target: Tensor, preds: Tensor) -> tuple[list[int], list[int], list[int]]:
    """Sizes of the dimensions of pixels, and their strides in target and predictions.

    Counts do not depend on the order of pixels: they are taken in the order in which the
    predictions lie in memory, and dimensions that continue one another are one.
    """
    dims = zip(preds.stride()[2:], target.stride()[2:], target.shape[2:], strict=True)
    merged = [(1, 1, 1)]
    for step, target_step, size in sorted(dims, reverse=True):
        outer_step, outer_target_step, outer = merged[-1]
        if size == 1:
            continue
        if (outer_step, outer_target_step) == (size * step, size * target_step) or outer == 1:
            merged[-1] = step, target_step, outer * size
        else:
            merged.append((step, target_step, size))
    preds_steps, target_steps, sizes = (list(column) for column in zip(*merged, strict=True))
    return sizes, target_steps, preds_steps


def cut(rows: int, columns: int, widest: int) -> Iterator[Area]:
    """Cut pixels into areas of at most ``BOX``, as wide as may be, and about equal."""
    wide = ceil(columns / ceil(columns / widest))
    tall = ceil(rows / ceil(rows / (BOX // wide)))
    for top, left in product(range(0, rows, tall), range(0, columns, wide)):
        yield top, min(top + tall, rows), left, min(left + wide, columns)


def _sum(histograms: list[Longs]) -> Longs:
    total = histograms[0]
    for histogram in histograms[1:]:
        total += histogram
    return total
