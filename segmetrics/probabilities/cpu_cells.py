"""Cells on the CPU: threads share boxes of pixels, and compiled kernels find and count their cells.

A table of 2**16 cells is too large to have one a thread and class. Threads share a few copies; a
thread locks the part of a copy that it counts into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import count as numbers
from itertools import pairwise
from math import ceil
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segmetrics._parallel import Result, number_of_threads, share
from segmetrics.counting.cpu import Coding, countable
from segmetrics.counting.cpu_readers import (
    Box,
    Maps,
    ScoreReaders,
    labels_in_line,
    linear_places,
    nearest_places,
)
from segmetrics.counting.settings import BFLOAT16, Counting, Pixels
from segmetrics.probabilities import cpu_cell_kernels as kernels
from segmetrics.probabilities.cells import CELLS, merging
from segmetrics.probabilities.cpu import Measured, Measuring
from segmetrics.probabilities.cpu_cell_kernels import BEHIND
from segmetrics.probabilities.inputs import BAD_KINDS, Probabilities

if TYPE_CHECKING:
    from segmetrics.probabilities.ranking import Ranking

Array = NDArray[Any]

#: Pixels of a box.
BOX = 2**18
#: Tables of all copies together, and copies where there are more classes.
TABLES, COPIES = 4, 2
#: Parts of a copy that workers who share it lock one by one.
PARTS = 4


def count(pixels: Pixels, ranking: Ranking) -> NDArray[np.int64]:
    """The counts of ``plain_cells.count``, of arrays of NumPy that are ``compiled``."""
    if not ranking.per_image:
        return _counts(pixels, ranking)
    images = range(len(pixels.target))
    return np.stack([_counts(pixels.image(image), ranking) for image in images])


def compiled(pixels: Pixels, ranking: Ranking) -> bool:
    """Whether kernels read these arrays.

    They read no fp64 but logits of classes, no fp16 probabilities of classes, and no fp16 that
    would be resized if it had another size.
    """
    dtype = pixels.preds.dtype
    if pixels.target_are == "one-hot" or not (pixels.target.size and countable(ranking)):
        return False
    if ranking.task == "multiclass":
        return ranking.from_logits or dtype in (np.float32, BFLOAT16)
    as_it_lies = ranking.has_halves(dtype) or pixels.resized
    return dtype in (np.float32, BFLOAT16) or (dtype == np.float16 and as_it_lies)


def _counts(pixels: Pixels, ranking: Ranking) -> NDArray[np.int64]:
    """The counts of a batch as of one image."""
    of_classes = ranking.task == "multiclass"
    reading = OfClasses(pixels, ranking) if of_classes else OfMaps(pixels, ranking)
    copies, workers = Copy.several(ranking, pixels, reading.at_most), numbers()

    def work(boxes: Iterator[Any]) -> int:
        return reading.count(boxes, copies[next(workers) % len(copies)])

    rounded = reading.share_boxes(work)
    tables = [copy.tables for copy in copies[: len(rounded)]]
    scores = pixels.target.size * (ranking.tables if of_classes else 1)
    return _sum(ranking, tables, scores, sum(rounded), ranking.has_halves(pixels.preds.dtype))


class Copy(NamedTuple):
    """A copy of the tables ``(tables, places)``; a thread locks the part it counts into."""

    tables: Array
    locks: list[Lock]

    @staticmethod
    def several(ranking: Ranking, pixels: Pixels, at_most: int) -> list[Copy]:
        """Zeroed copies: one a thread, of so many at most, unless that takes too much memory."""
        threads, tables = max(1, min(number_of_threads(), at_most)), ranking.tables
        copies = min(threads, max(COPIES, TABLES // tables))
        parts = 1 if copies == threads else min(PARTS, tables)
        several = copies > 1 and pixels.target.size < 2**31
        dtype = np.int32 if several else np.int64  # a single one may become the sum
        zeros = np.zeros((copies, tables, 2 * ranking.resolution + BEHIND), dtype)
        return [Copy(part, [Lock() for _ in range(parts)]) for part in zeros]

    def lock(self, table: int) -> Lock:
        """The lock of a table."""
        return self.locks[table * len(self.locks) // len(self.tables)]

    def parts(self) -> Iterator[tuple[tuple[int, int], Lock]]:
        """Where a part of the tables begins and ends, and its lock."""
        parts = len(self.locks)
        edges = [ceil(len(self.tables) * part / parts) for part in range(parts + 1)]
        yield from zip(pairwise(edges), self.locks, strict=True)


def _sum(
    ranking: Ranking, copies: list[Array], scores: int, rounded: int, halves: bool
) -> NDArray[np.int64]:
    """The sums of all copies as ``plain_cells.count`` has them, of so many scores."""
    places, size = 2 * ranking.resolution, ranking.cells + len(BAD_KINDS)
    behind: NDArray[np.int64] = np.sum([c[:, places:] for c in copies], axis=0, dtype=np.int64)
    if len(copies) == len(copies[0]) == 1 and copies[0].dtype == np.int64:
        counts = copies[0][0, :size]
    else:
        counts = np.empty(size, np.int64)
        tables = counts[: ranking.cells - 3].reshape(len(copies[0]), -1)
        tables[:] = copies[0][:, :places]
        for copy in copies[1:]:
            tables += copy[:, :places]
    tail, kinds = counts[ranking.cells - 3 :], behind[:, 1 : 1 + len(BAD_KINDS)]
    tail[:3], tail[3:] = 0, kinds.sum(0) if ranking.task == "multilabel" else kinds[0]
    counted = scores - behind.sum()
    tail[0] = counted if ranking.resolution < CELLS else rounded
    tail[1 if halves else 2] = counted
    return counts


class OfMaps(Coding):
    """Single scores of pixels, which threads count box by box."""

    def __init__(self, pixels: Pixels, ranking: Ranking) -> None:
        super().__init__(pixels, ranking, readers=READERS, largest=BOX)
        self.labels_of = labels_in_line(pixels.target.swapaxes(0, 1), self.sizes, ranking)
        halves, logits = ranking.has_halves(pixels.preds.dtype), ranking.from_logits
        forms = (kernels.PROBABILITIES, kernels.LOGITS, kernels.HALF_PROBABILITIES)
        self.form = (*forms, kernels.HALF_LOGITS)[2 * halves + logits]
        self.merged = _merged(ranking, halves=halves)
        # threads that draw the next box are far from each other: they count in other tables
        step = ceil(len(self.boxes) / number_of_threads())
        self.boxes = [box for first in range(step) for box in self.boxes[first::step]]

    def share_boxes(self, work: Callable[[Iterator[Any]], Result]) -> list[Result]:
        """Call ``work`` with boxes, in as many threads as these are worth."""
        return share(work, self.boxes, at_most=self.at_most)

    def count(self, boxes: Iterator[Box], copy: Copy) -> int:
        """Count boxes in a copy; returns how many scores are rounded."""
        largest, rounded = max(box.pixels for box in self.boxes), 0
        codes, bits = np.empty(largest, np.uint16), np.empty(largest, np.int32)
        for box in boxes:
            labels, meaning = codes[: box.pixels], None
            if self.labels_of is None:
                self.read_target(box, labels)
            else:
                labels, meaning = self.labels_of(box)
            scores = self.read_preds(box, bits[: box.pixels])
            of_channel = self.form, self.merged, copy.tables[box.channel]
            with copy.lock(box.channel):
                rounded += kernels.count_scores(scores, labels, meaning, *of_channel)
        return rounded


class OfClasses(Measuring):
    """Probabilities of several classes, or the largest of them."""

    def __init__(self, pixels: Pixels, ranking: Ranking) -> None:
        common = {field.name: getattr(ranking, field.name) for field in fields(Counting)}
        self.of_classes = ranking.positive == "class"
        reading = Probabilities(**common, tolerance=ranking.tolerance)
        super().__init__(pixels, reading, of_classes=self.of_classes)
        self.labels = ranking.num_classes
        self.merged = _merged(ranking, halves=False)

    def count(self, boxes: Iterator[Measured], copy: Copy) -> int:
        """As ``OfMaps.count``."""
        rounded = 0
        for _, codes, (found, confidence, *_, probabilities) in boxes:
            if self.of_classes:
                for part, lock in copy.parts():
                    with lock:
                        of_part = probabilities, codes, part, self.merged, copy.tables
                        rounded += kernels.count_classes(*of_part)
                continue
            behind = codes - np.uint16(self.labels - 2)  # of a pixel that does not count
            right = np.where(codes < self.labels, codes == found, behind)
            of_right = right, None, kernels.PROBABILITIES, self.merged, copy.tables[0]
            with copy.lock(0):
                rounded += kernels.count_scores(confidence.view(np.int32), *of_right)
        return rounded


def _merged(ranking: Ranking, *, halves: bool) -> Any:
    """For every key the cell of a coarser table, or None."""
    if ranking.resolution == CELLS:
        return None
    of_keys = merging(ranking.resolution, from_logits=ranking.ranks_logits, halves=halves)
    return of_keys.astype(np.uint16)


# --- Readers --------------------------------------------------------------------------------------


def _unresized(scores: Array, sizes: list[int], strides: list[int], ranking: Ranking) -> Any:
    maps, shift = _bits(Maps.of(scores, sizes, strides)), _shift(scores)
    where = maps.sizes, maps.strides, maps.step
    in_line = scores.itemsize == 4 and maps.step == 1 and maps.sizes.prod() == 1

    def read(box: Box, out: Array) -> Array:
        first = maps.base(box)
        if in_line:  # nothing is copied
            return maps.flat[first + box.area[2] : first + box.area[3]]
        kernels.unresized_bits(maps.flat, first, *where, box.area, shift, out)
        return out

    return read


def _nearest(scores: Array, size: list[int], ranking: Ranking) -> Any:
    maps, rows, columns = nearest_places(scores, size, ranking)
    maps, shift = _bits(maps), _shift(scores)

    def read(box: Box, out: Array) -> Array:
        place = maps.flat, maps.base(box), maps.sizes, rows, columns
        kernels.nearest_bits(*place, box.area, shift, out)
        return out

    return read


def _linear(scores: Array, size: list[int], ranking: Ranking) -> Any:
    maps, between, half = linear_places(scores, size, ranking)
    where: tuple[Any, ...] = (maps.channel, maps.sizes, maps.strides, *between)
    kernel: Any = kernels.linear_scores

    def read(box: Box, out: Array) -> Array:
        place = maps.flat, maps.base(box), *where, box.area
        kernel(*place, half, out.view(np.float32))
        return out

    return read


READERS = ScoreReaders(_unresized, _nearest, _linear)


def _bits(maps: Maps) -> Maps:
    """fp32 as int32 bits; halves are read as bits anyway."""
    return maps._replace(flat=maps.flat.view(np.int32)) if maps.flat.itemsize == 4 else maps


def _shift(scores: Array) -> int:
    return 16 if scores.dtype == BFLOAT16 else 0
