"""Counting on the CPU: threads share boxes of pixels, and compiled kernels count them.

The codes of a box are written into two small buffers, and their pairs are counted in a histogram of
the box. Label maps mostly need no codes: pairs of their values are counted, and coded afterwards.
Where each image has counts of its own, a box may hold many small images; their targets and
predictions are counted without making pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from itertools import chain, product, starmap
from math import ceil, prod
from operator import iadd

import numpy as np

from segmetrics._parallel import Result, number_of_threads, run_jobs
from segmetrics.counting import codes
from segmetrics.counting.cpu_kernels import CELLS
from segmetrics.counting.cpu_readers import (
    SCORES,
    Area,
    Array,
    Box,
    Int64Array,
    ScoreReaders,
    Values,
    flat,
    known_values,
    label_reader,
    steps,
)
from segmetrics.counting.cpu_tally_kernels import (
    COPIES,
    recode,
    sum_copies,
    tally,
    tally_images,
    tally_runs,
)
from segmetrics.counting.settings import Counting, Pixels

#: Pixels of a box, at most.
BOX = 2**18
#: Jobs of a call at most, and cells of all their results: 2 MiB. Short jobs cost less where one is
#: run again, see ``_parallel``, but each has a histogram of its own.
JOBS, RESULTS = 32, 2**18
#: What takes about half a millisecond: scores to compare, where reading a pixel's labels takes as
#: long as ``LABELS_ARE`` of them; and pairs of labels.
SCORES_A_THREAD, LABELS_ARE, PAIRS_A_THREAD = 2**21, 4, 2**20
#: Scores of all classes that are resized at once, about: 512 KiB of fp32.
RESIZED = 2**17
#: Pixels of an image for each cell of a joint histogram of its own, at least.
PIXELS_A_CELL = 32
#: Cells of the tables of several images, unless a single one has more: 2 MiB.
OF_IMAGES = 2**18
#: More labels do not fit into a code; plain torch may find the memory for their histogram.
MOST_LABELS = 2**14 - 16

BYTES = frozenset({np.dtype(np.uint8), np.dtype(np.bool_)})


def count(pixels: Pixels, counting: Counting) -> Int64Array:
    """The counts of ``plain.count``, for labels and scores as arrays of NumPy, at least one."""
    if not counting.per_image:
        return codes.fold(_histogram(pixels, counting), counting)
    images, _, *size = pixels.target.shape
    if prod(size) >= max(BOX, PIXELS_A_CELL * prod(codes.histogram_shape(counting))):
        histograms = [_histogram(pixels.image(image), counting) for image in range(images)]
        return codes.fold(np.stack(histograms), counting)
    at_once = max(1, OF_IMAGES // prod(codes.tables_shape(counting)))
    counts = []
    for first in range(0, images, at_once):
        some = slice(first, first + at_once)
        part = pixels._replace(preds=pixels.preds[some], target=pixels.target[some])
        counts.append(codes.fold_tables(_tables(part, counting), counting))
    return np.concatenate(counts)


def countable(counting: Counting) -> bool:
    """Whether this backend's codes are enough."""
    return counting.labels <= MOST_LABELS and codes.tabular(counting)


def _histogram(pixels: Pixels, counting: Counting) -> Int64Array:
    """The joint histogram ``(channels, rows, columns)`` of codes, int64."""
    if pixels.preds_are == "labels":
        of_values = _histogram_of_values(pixels, counting)
        if of_values is not None:
            return of_values
    shape = codes.histogram_shape(counting)
    copies = COPIES if prod(shape[1:]) <= CELLS else 1
    dtype = np.int32 if pixels.target.size < 2**31 else np.int64

    def work(boxes: Iterator[CodedBox]) -> Int64Array:
        histograms = np.zeros((*shape, copies), dtype)
        for box, rows, columns in boxes:
            tally(rows, columns, None, None, None, histograms[box.channel])
        if copies == COPIES:
            sum_copies(histograms.ravel())
        return histograms[..., 0].astype(np.int64)

    histogram: Int64Array = reduce(iadd, Coding(pixels, counting).share(work, prod(shape)))
    return histogram


def _tables(pixels: Pixels, counting: Counting) -> Int64Array:
    """The tables ``(images, channels, 4, codes)`` of ``codes.fold_tables``, int64."""
    shape = codes.tables_shape(counting)
    coding = Coding(pixels, counting, in_order=1)
    height = prod(coding.sizes[1:-1])

    def work(boxes: Iterator[CodedBox]) -> list[tuple[slice, int, Array]]:
        parts = []
        for box, rows, columns in boxes:
            images = slice(box.area[0] // height, ceil(box.area[1] / height))
            tables = np.zeros((images.stop - images.start, *shape[1:]), np.int32)
            tally_images(rows, columns, box.area, height, counting.labels, tables)
            parts.append((images, box.channel, tables))
        return parts

    tables = np.zeros((len(pixels.target), *shape), np.int64)
    for images, channel, part in chain(*coding.share(work)):
        tables[images, channel] += part
    return tables


#: A box, and the codes of its targets and predictions.
CodedBox = tuple[Box, Array, Array]


class Coding:
    """The pixels of a batch ``(n, ...)``, which threads turn into codes box by box.

    Dimensions behind the first ``in_order`` (-1: all but the last) may be taken as they lie in
    memory. Boxes are cut by ``sizes``: the last is that of columns, the others together of rows.
    They have at most ``largest`` pixels, by default ``BOX``. ``readers`` are those of scores.
    ``at_most`` threads are worth waking.
    """

    def __init__(
        self,
        pixels: Pixels,
        counting: Counting,
        *,
        in_order: int = 0,
        readers: ScoreReaders = SCORES,
        largest: int | None = None,
    ) -> None:
        target, preds = pixels.target.swapaxes(0, 1), pixels.preds.swapaxes(0, 1)
        widest = largest = largest or BOX
        if pixels.resized:
            target, preds = _as_volumes(target), _as_volumes(preds)
            self.sizes, target_steps = list(target.shape[1:]), steps(target)[1:]
            reader = readers.nearest if counting.upsample == "nearest" else readers.linear
            self.read_preds = reader(preds, self.sizes, counting)
            widest = max(1, min(largest, RESIZED * len(target) // len(preds)))
        else:
            self.sizes, target_steps, preds_steps = _merged(target, preds, in_order)
            if pixels.preds_are == "scores":
                self.read_preds = readers.unresized(preds, self.sizes, preds_steps, counting)
            else:
                self.read_preds = label_reader(
                    preds, self.sizes, preds_steps, counting, target=False
                )
        self.read_target = label_reader(target, self.sizes, target_steps, counting, target=True)
        self.pixels = target.size
        scores = len(preds) // len(target) if pixels.preds_are == "scores" else 0
        self.at_most = self.pixels * (LABELS_ARE + scores) // SCORES_A_THREAD
        rows, columns = prod(self.sizes[:-1]), self.sizes[-1]
        areas = _cut(rows, columns, widest, largest) if self.pixels else []
        self.boxes = list(starmap(Box, product(range(len(target)), areas)))

    def share(self, work: Callable[[Iterator[CodedBox]], Result], cells: int = 1) -> list[Result]:
        """Call ``work`` with boxes and their codes, in as many threads as these are worth.

        The results of all calls have at most ``RESULTS`` cells, or one of ``cells`` a thread.
        """
        threads = min(number_of_threads(), self.at_most)
        jobs = max(threads, min(JOBS, RESULTS // cells)) if threads > 1 else 1
        boxes = max(1, ceil(len(self.boxes) / jobs))
        parts = [self.boxes[i : i + boxes] for i in range(0, len(self.boxes), boxes)]
        largest = max((box.pixels for box in self.boxes), default=0)
        free: list[Array] = []  # buffers that no thread uses; fresh memory would fault page by page

        def work_on(part: list[Box]) -> Result:
            try:
                buffers = free.pop()
            except IndexError:
                buffers = np.empty((2, largest), np.uint16)
            result = work(self._coded(part, *buffers))
            free.append(buffers)
            return result

        return run_jobs(work_on, parts, at_most=self.at_most)

    def _coded(self, boxes: list[Box], of_target: Array, of_preds: Array) -> Iterator[CodedBox]:
        for box in boxes:
            rows, columns = of_target[: box.pixels], of_preds[: box.pixels]
            self.read_target(box, rows)
            self.read_preds(box, columns)
            yield box, rows, columns


class ValuePairs:
    """Counts pairs of known values, fewer than 2**31: of values first, of codes afterwards."""

    def __init__(self, counting: Counting, values: Values) -> None:
        self.values = values
        self.shape = codes.histogram_shape(counting)[1:]
        self.places = np.zeros((values.span + 1, values.span + 1, COPIES), np.int32)

    def add(self, target: Array, preds: Array) -> None:
        """Count pairs."""
        of_bytes = target.dtype in BYTES and preds.dtype in BYTES
        count = tally_runs if of_bytes else tally  # runs of more bytes take longer to find
        count(target, preds, *self.values[:3], self.places)

    def take(self) -> Int64Array:
        """The joint histogram of codes, without pairs of unknown values; counting starts anew."""
        histogram = np.zeros(self.shape, np.int64)
        recode(self.places, *self.values[3:], histogram)
        return histogram


def _histogram_of_values(pixels: Pixels, counting: Counting) -> Int64Array | None:
    """``_histogram`` of labels that lie in line; None if the sum lacks pairs: of unknown ones."""
    target, preds = pixels.target.swapaxes(0, 1), pixels.preds.swapaxes(0, 1)
    dtypes = {target.dtype, preds.dtype}
    unsigned = np.dtype(np.uint64) in dtypes
    values = None if unsigned else known_values(counting, of_bytes=dtypes <= BYTES)
    size = target.size
    if values is None or len(target) > 1 or size >= 2**31:
        return None
    if not (target.flags.c_contiguous and preds.flags.c_contiguous):
        _, *strides = _merged(target, preds, 0)
        if strides != [[1], [1]]:
            return None
    rows, columns = flat(target), flat(preds)
    places = COPIES * (int(values.span) + 1) ** 2
    at_most = size // max(PAIRS_A_THREAD, places)
    pieces = min(JOBS, at_most) if min(number_of_threads(), at_most) > 1 else 1
    piece = ceil(size / pieces)

    def work(first: int) -> Int64Array:
        pairs = ValuePairs(counting, values)
        pairs.add(rows[first : first + piece], columns[first : first + piece])
        return pairs.take()

    of_pieces = run_jobs(work, range(0, size, piece), at_most=at_most)
    histogram: Int64Array = reduce(iadd, of_pieces)[None]
    return histogram if histogram.sum() == size else None


def _as_volumes(maps: Array) -> Array:
    """Maps of one to three spatial dimensions with all three: depth, height and width."""
    while maps.ndim < 5:
        maps = maps[:, :, None]
    return maps


def _merged(target: Array, preds: Array, in_order: int) -> tuple[list[int], list[int], list[int]]:
    """Sizes of the dimensions of pixels, and their strides in target and predictions.

    Where these need not be ``in_order``, they are taken in the order in which the predictions lie
    in memory, and dimensions that continue one another are one.
    """
    dims = list(zip(steps(preds)[1:], steps(target)[1:], target.shape[1:], strict=True))
    merged = [(1, 1, 1)]
    for step, target_step, size in sorted(dims[in_order:], reverse=True):
        outer_step, outer_target_step, outer = merged[-1]
        if size == 1:
            continue
        if (outer_step, outer_target_step) == (size * step, size * target_step) or outer == 1:
            merged[-1] = step, target_step, outer * size
        else:
            merged.append((step, target_step, size))
    merged = dims[:in_order] + merged
    preds_steps, target_steps, sizes = (list(column) for column in zip(*merged, strict=True))
    return sizes, target_steps, preds_steps


def _cut(rows: int, columns: int, widest: int, largest: int) -> Iterator[Area]:
    """Cut pixels into areas of at most ``largest``, as wide as may be, and about equal.

    If there are several they are as many for every thread.
    """
    wide = ceil(columns / _parts(columns, widest))
    tall = ceil(rows / _parts(rows, largest // wide))
    for top, left in product(range(0, rows, tall), range(0, columns, wide)):
        yield top, min(top + tall, rows), left, min(left + wide, columns)


def _parts(length: int, longest: int) -> int:
    threads = number_of_threads()
    return 1 if length <= longest else threads * ceil(length / longest / threads)
