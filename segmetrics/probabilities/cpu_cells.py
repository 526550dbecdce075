"""Cells on the CPU: threads share boxes of pixels, and compiled kernels find and count their cells.

A table of 2**16 cells is too large to have one a thread and class. Threads share few copies, and
whoever counts into one holds its lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import fields
from itertools import count as numbers
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segmetrics._parallel import number_of_threads, share
from segmetrics.counting.cpu import SCORES_A_THREAD, Coding, countable
from segmetrics.counting.cpu_readers import (
    Box,
    Maps,
    ScoreReaders,
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
#: A table, the places of pixels in it, and how many of their scores are rounded.
Places = Iterator[tuple[int, Array, int]]

#: Pixels of a box.
BOX = 2**16
#: Tables that threads share, unless there are more classes.
TABLES = 4


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
    reading = (
        OfClasses(pixels, ranking) if ranking.task == "multiclass" else OfMaps(pixels, ranking)
    )
    tables, workers = Tables.of(ranking, pixels.target.size), numbers()
    halves = ranking.has_halves(pixels.preds.dtype)
    merged: Any = None
    if ranking.resolution < CELLS:
        merged = merging(ranking.resolution, from_logits=ranking.ranks_logits, halves=halves)
        merged = merged.astype(np.uint16)

    def work(places: Callable[[int], Places]) -> int:
        worker, rounded = next(workers), 0
        for table, of_pixels, inexact in places(worker):
            rounded += inexact
            with tables.lock(worker, table):
                kernels.add(of_pixels, merged, tables.of_worker(worker, table))
        return rounded

    return tables.counts(ranking, sum(reading.share(work)), halves=halves)


class Tables(NamedTuple):
    """Copies of the tables ``(copies, tables, places)``, each with a lock."""

    values: Array
    locks: list[list[Lock]]

    @staticmethod
    def of(ranking: Ranking, pixels: int) -> Tables:
        """Tables of zeros, for so many pixels."""
        copies = max(1, min(number_of_threads(), TABLES // ranking.tables))
        shape = copies, ranking.tables, 2 * ranking.resolution + BEHIND
        values = np.zeros(shape, np.int32 if pixels < 2**31 else np.int64)
        return Tables(values, [[Lock() for _ in range(ranking.tables)] for _ in range(copies)])

    def lock(self, worker: int, table: int) -> AbstractContextManager[bool]:
        """What a worker holds while it counts."""
        return self.locks[worker % len(self.locks)][table]

    def of_worker(self, worker: int, table: int) -> Array:
        """Where a worker counts."""
        part: Array = self.values[worker % len(self.values), table]
        return part

    def counts(self, ranking: Ranking, rounded: int, *, halves: bool) -> NDArray[np.int64]:
        """The sums of all copies as ``plain_cells.count`` has them."""
        places = 2 * ranking.resolution
        counts = np.zeros(ranking.cells + len(BAD_KINDS), np.int64)
        tables, tail = counts[: ranking.cells - 3], counts[ranking.cells - 3 :]
        for copy in self.values:
            tables.reshape(len(copy), -1)[:] += copy[:, :places]
        kinds = self.values[..., places + 1 : places + 1 + len(BAD_KINDS)].sum(0)
        counted = tables.sum()
        tail[0] = counted if ranking.resolution < CELLS else rounded
        tail[1 if halves else 2] = counted
        tail[3:] = kinds.sum(0) if ranking.task == "multilabel" else kinds[0]
        return counts


class OfMaps(Coding):
    """Single scores of pixels, whose places threads find box by box."""

    def __init__(self, pixels: Pixels, ranking: Ranking) -> None:
        self.ranking, self.halves = ranking, ranking.has_halves(pixels.preds.dtype)
        super().__init__(pixels, ranking, readers=READERS, largest=BOX)

    def share(self, work: Callable[[Any], Any]) -> list[Any]:
        """Call ``work`` with what finds a worker's places, in as many threads as are worth it."""
        return share(
            lambda boxes: work(lambda worker: self._places(boxes)),
            self.boxes,
            at_most=self.work // SCORES_A_THREAD,
        )

    def _places(self, boxes: Iterator[Box]) -> Places:
        codes, smaller = np.empty(BOX, np.uint16), np.empty(BOX, np.float32)
        bits, places = np.empty((2, BOX), np.int32)
        logits = self.ranking.from_logits
        for box in boxes:
            n = box.pixels
            self.read_target(box, codes[:n])
            self.read_preds(box, bits[:n])
            coded = codes[:n]
            if self.halves:
                rounded = kernels.half_places(bits[:n], coded, 2, logits, places[:n])
            elif logits:
                rounded = kernels.logit_places(bits[:n], coded, 2, places[:n])
            else:
                scores = bits[:n].view(np.float32)
                of_pixels = scores, smaller[:n], coded
                rounded = kernels.probability_places(*of_pixels, 2, places[:n])
            yield box.channel, places[:n], rounded


class OfClasses(Measuring):
    """Probabilities of several classes, or the largest of them."""

    def __init__(self, pixels: Pixels, ranking: Ranking) -> None:
        common = {field.name: getattr(ranking, field.name) for field in fields(Counting)}
        self.of_classes = ranking.positive == "class"
        super().__init__(pixels, Probabilities(**common), of_classes=self.of_classes)
        self.labels = ranking.num_classes

    def share(self, work: Callable[[Any], Any]) -> list[Any]:
        """As ``OfMaps``."""
        return super().share(lambda boxes: work(lambda worker: self._places(boxes, worker)))

    def _places(self, boxes: Iterator[Measured], worker: int) -> Places:
        places, smaller = np.empty(self.largest, np.int32), np.empty(self.largest, np.float32)
        for _, codes, (found, confidence, *_, probabilities) in boxes:
            n, labels = len(codes), self.labels
            written: Any = smaller[:n], found, codes, places[:n], labels
            if not self.of_classes:
                yield 0, places[:n], kernels.class_places(confidence, *written)
                continue
            for step in range(labels):  # workers begin at different classes
                label = (step + worker * (labels // 2)) % labels
                found[:] = label
                rounded = kernels.class_places(probabilities[label * n :], *written)
                yield label, places[:n], rounded


# --- Readers --------------------------------------------------------------------------------------


def _unresized(scores: Array, sizes: list[int], strides: list[int], ranking: Ranking) -> Any:
    maps, shift = _bits(Maps.of(scores, sizes, strides)), _shift(scores)
    where = maps.sizes, maps.strides, maps.step

    def read(box: Box, out: Array) -> None:
        kernels.unresized_bits(maps.flat, maps.base(box), *where, box.area, shift, out)

    return read


def _nearest(scores: Array, size: list[int], ranking: Ranking) -> Any:
    maps, rows, columns = nearest_places(scores, size, ranking)
    maps, shift = _bits(maps), _shift(scores)

    def read(box: Box, out: Array) -> None:
        place = maps.flat, maps.base(box), maps.sizes, rows, columns
        kernels.nearest_bits(*place, box.area, shift, out)

    return read


def _linear(scores: Array, size: list[int], ranking: Ranking) -> Any:
    maps, between, half = linear_places(scores, size, ranking)
    where: tuple[Any, ...] = (maps.channel, maps.sizes, maps.strides, *between)
    kernel: Any = kernels.linear_scores

    def read(box: Box, out: Array) -> None:
        place = maps.flat, maps.base(box), *where, box.area
        kernel(*place, half, out.view(np.float32))

    return read


READERS = ScoreReaders(_unresized, _nearest, _linear)


def _bits(maps: Maps) -> Maps:
    """fp32 as its bits; those of halves are read so anyway."""
    return maps._replace(flat=maps.flat.view(np.int32)) if maps.flat.itemsize == 4 else maps


def _shift(scores: Array) -> int:
    return 16 if scores.dtype == BFLOAT16 else 0
