"""Cells on the CPU: threads share boxes of pixels, and compiled kernels find and count their cells.

A table of 2**16 cells is too large to have one a thread and class. Threads share few copies, and
whoever counts into one holds its lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from itertools import count as numbers
from itertools import product, starmap
from math import prod
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segmetrics._parallel import share
from segmetrics.counting import cpu
from segmetrics.counting.cpu_readers import Box, Maps, label_reader
from segmetrics.counting.settings import Pixels
from segmetrics.probabilities import cpu_cell_kernels as kernels
from segmetrics.probabilities import plain_cells
from segmetrics.probabilities.cells import CELLS, merging
from segmetrics.probabilities.cpu_cell_kernels import BEHIND
from segmetrics.probabilities.inputs import BAD_KINDS, tolerance_of

if TYPE_CHECKING:
    from segmetrics.probabilities.ranking import Ranking

Array = NDArray[Any]

#: Scores that a thread reads at once, and fewer than these are not worth waking another.
SCORES, SCORES_A_THREAD = 2**16, 2**19
#: Tables that threads share, unless there are more classes.
TABLES = 4


def count(pixels: Pixels, ranking: Ranking) -> Tensor:
    """The counts of ``plain_cells.count``."""
    if not (pixels.target.numel() and _compiled(pixels, ranking)):
        return plain_cells.count(pixels, ranking)
    if not ranking.per_image:
        return torch.from_numpy(_counts(pixels, ranking))
    images = [_counts(pixels.image(image), ranking) for image in range(len(pixels.target))]
    return torch.from_numpy(np.stack(images))


def _compiled(pixels: Pixels, ranking: Ranking) -> bool:
    """Whether kernels read these inputs: no fp64, no fp16 probabilities of several classes."""
    dtype, of_classes = pixels.preds.dtype, ranking.task == "multiclass"
    given_halves = of_classes and dtype == torch.float16 and not ranking.from_logits
    if dtype == torch.float64 or given_halves or pixels.target_are == "one-hot":
        return False
    return cpu.countable(ranking) and not pixels.resized


def _counts(pixels: Pixels, ranking: Ranking) -> NDArray[np.int64]:
    """The counts of a batch as of one image."""
    reading, tables = Reading(pixels, ranking), Tables.of(ranking)
    workers = numbers()

    def work(boxes: Iterator[Box]) -> int:
        number, rounded = next(workers), 0
        for box in boxes:
            for table, places, inexact in reading.places(box, number):
                rounded += inexact
                with tables.lock(number, table):
                    kernels.add(places, reading.merged, tables.of_worker(number, table))
        return rounded

    rounded = share(work, reading.boxes, at_most=reading.scores // SCORES_A_THREAD)
    return tables.counts(ranking, sum(rounded), halves=reading.halves)


class Tables(NamedTuple):
    """Copies of the tables ``(copies, tables, places)``, each with a lock."""

    values: NDArray[np.int64]
    locks: list[list[Lock]]

    @staticmethod
    def of(ranking: Ranking) -> Tables:
        """Tables of zeros."""
        copies = max(1, min(torch.get_num_threads(), TABLES // ranking.tables))
        values = np.zeros((copies, ranking.tables, 2 * ranking.resolution + BEHIND), np.int64)
        return Tables(values, [[Lock() for _ in range(ranking.tables)] for _ in range(copies)])

    def lock(self, worker: int, table: int) -> AbstractContextManager[bool]:
        """What a worker holds while it counts."""
        return self.locks[worker % len(self.locks)][table]

    def of_worker(self, worker: int, table: int) -> NDArray[np.int64]:
        """Where a worker counts."""
        part: NDArray[np.int64] = self.values[worker % len(self.values), table]
        return part

    def counts(self, ranking: Ranking, rounded: int, *, halves: bool) -> NDArray[np.int64]:
        """The sums of all copies as ``plain_cells.count`` has them."""
        total, places = self.values[0], 2 * ranking.resolution
        for copy in self.values[1:]:
            total += copy
        counted = int(total[:, :places].sum())
        kinds = total[:, places + 1 : places + 1 + len(BAD_KINDS)]
        bad = kinds.sum(0) if ranking.task == "multilabel" else kinds[0]
        rounded = counted if ranking.resolution < CELLS else rounded
        dtypes = [counted, 0] if halves else [0, counted]
        return np.concatenate([total[:, :places].ravel(), [rounded], dtypes, bad])


class Reading:
    """The scores of a batch, whose places threads find box by box."""

    def __init__(self, pixels: Pixels, ranking: Ranking) -> None:
        self.ranking, self.dtype = ranking, pixels.preds.dtype
        self.of_classes = ranking.task == "multiclass"
        bilinear = ranking.upsample == "bilinear"
        self.halves = self.dtype == torch.float16 and not (self.of_classes or bilinear)
        target, preds = pixels.target.transpose(0, 1), pixels.preds.transpose(0, 1)
        sizes, steps, preds_steps = cpu._merged(target, preds, 0)
        self.maps = Maps.of(preds, sizes, preds_steps)
        if self.dtype == torch.float32:
            self.maps = self.maps._replace(flat=self.maps.flat.view(np.int32))
        self.read_target = label_reader(target, sizes, steps, ranking, target=True)
        at_once = max(1, SCORES // (ranking.num_classes if self.of_classes else 1))
        areas = _areas(prod(sizes[:-1]), sizes[-1], at_once)
        self.boxes = list(starmap(Box, product(range(len(target)), areas)))
        self.scores = preds.numel()
        merge = ranking.resolution < CELLS
        self.merged = (
            merging(
                ranking.resolution, from_logits=ranking.ranks_logits, halves=self.halves
            ).astype(np.uint16)
            if merge
            else None
        )

    def places(self, box: Box, worker: int) -> Iterator[tuple[int, Array, int]]:
        """The places of a box in each of its tables, and how many scores are rounded there."""
        codes = np.empty(box.pixels, np.uint16)
        self.read_target(box, codes)
        return self._of_classes(box, codes, worker) if self.of_classes else self._one(box, codes)

    def _one(self, box: Box, codes: Array) -> Iterator[tuple[int, Array, int]]:
        n, logits = len(codes), self.ranking.from_logits
        bits, places = np.empty((2, n), np.int32)
        self._gather(box, box.channel, bits)
        if self.halves:
            rounded = kernels.half_places(bits, codes, 2, logits, places)
        elif logits:
            rounded = kernels.logit_places(bits, codes, 2, places)
        else:
            smaller = np.empty(n, np.float32)
            rounded = kernels.probability_places(bits.view(np.float32), smaller, codes, 2, places)
        yield (box.channel if self.ranking.task == "multilabel" else 0), places, rounded

    def _of_classes(self, box: Box, codes: Array, worker: int) -> Iterator[tuple[int, Array, int]]:
        n, labels = len(codes), self.ranking.num_classes
        bits, places = np.empty(labels * n, np.int32), np.empty(n, np.int32)
        for label in range(labels):
            self._gather(box, label, bits[label * n : (label + 1) * n])
        scores, smaller = bits.view(np.float32), np.empty(n, np.float32)
        chosen = np.empty(n, np.uint16)
        if self.ranking.from_logits:
            kernels.softmax(scores, codes, labels, chosen)
        else:
            kernels.check_probabilities(scores, codes, labels, tolerance_of(self.dtype), chosen)
        if self.ranking.positive == "right":
            confidence = scores.reshape(labels, n)[chosen, np.arange(n)]
            yield (
                0,
                places,
                kernels.class_places(confidence, smaller, chosen, codes, places, labels),
            )
            return
        for step in range(labels):  # workers begin at different classes
            label = (step + worker * (labels // 2)) % labels
            chosen[:] = label
            part = scores[label * n : (label + 1) * n]
            rounded = kernels.class_places(part, smaller, chosen, codes, places, labels)
            yield label, places, rounded

    def _gather(self, box: Box, channel: int, out: Array) -> None:
        maps, is_half = self.maps, self.dtype == torch.float16
        kernels.gather(
            maps.flat,
            channel * maps.channel,
            maps.sizes,
            maps.strides,
            maps.step,
            box.area,
            16 if self.dtype == torch.bfloat16 else 0,
            _bits_of_halves() if is_half and not self.halves else None,
            out,
        )


def _areas(rows: int, columns: int, at_once: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut pixels into areas of at most so many."""
    wide = min(columns, at_once)
    tall = max(1, at_once // wide)
    for top, left in product(range(0, rows, tall), range(0, columns, wide)):
        yield top, min(top + tall, rows), left, min(left + wide, columns)


@cache
def _bits_of_halves() -> NDArray[np.int32]:
    """The bits in fp32 of the 2**16 fp16 numbers."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    return halves.astype(np.float32).view(np.int32)
