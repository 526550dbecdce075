"""Probabilities on the CPU: threads share boxes of pixels, and compiled kernels measure them.

A thread writes the class, confidence, log loss and squared error of each pixel of a box into small
buffers, which are then tallied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, reduce
from operator import iadd
from typing import Any, NamedTuple, cast

import numpy as np

from segmetrics._parallel import Result, share
from segmetrics.counting.cpu import Coding
from segmetrics.counting.cpu_readers import (
    INFINITY,
    Array,
    Box,
    Int64Array,
    Maps,
    ScoreReaders,
    linear_places,
    nearest_places,
    score_classes,
    values_of_halves,
)
from segmetrics.counting.settings import Pixels
from segmetrics.probabilities import cpu_kernels, cpu_tallies
from segmetrics.probabilities.inputs import BAD_KINDS, Probabilities, tolerance_of

#: Pixels of a box, at most, and probabilities where those of all classes are written.
BOX, WRITTEN = 2**15, 2**17


def count(pixels: Pixels, reading: Probabilities) -> Int64Array:
    """The counts of ``plain.count``, of scores and labels as arrays of NumPy, at least one."""
    if not reading.per_image:
        return _counts(pixels, reading)
    images = range(len(pixels.target))
    return np.stack([_counts(pixels.image(i), reading) for i in images])


def _counts(pixels: Pixels, reading: Probabilities) -> Int64Array:
    """The counts of all images as of one."""
    measuring = Measuring(pixels, reading)
    counts: Int64Array = reduce(iadd, measuring.share_boxes(partial(_tallied, measuring, reading)))
    return counts


def _tallied(measuring: Measuring, reading: Probabilities, boxes: Iterator[Measured]) -> Int64Array:
    """The counts of a thread's boxes."""
    labels, bins, temperatures = reading.labels, reading.bins, reading.temperatures
    mass = None if reading.binning == "width" else True
    tables = np.zeros((reading.tables, bins, 2, 2), np.int64)
    totals = np.zeros((reading.channels, 1 + 2 * len(temperatures)), np.int64)
    kinds = np.zeros(1 + len(BAD_KINDS), np.int64)
    for measured in boxes:
        box, codes, (found, confidence, loss, square, probabilities) = measured
        if reading.classwise:
            cpu_tallies.tally_classes(codes, probabilities, labels, mass, tables)
        else:
            cpu_tallies.tally(codes, found, confidence, labels, mass, tables[box.channel])
        cpu_tallies.tally_bad(codes, labels, kinds)
        total = totals[box.channel]
        total[0] += cpu_tallies.total_squares(square, codes, labels)
        for place, temperature in enumerate(temperatures):
            if temperatures != (1.0,):
                measuring.measure(measured, temperature)
            total[1 + 2 * place : 3 + 2 * place] += cpu_tallies.total_losses(loss, codes, labels)
    number, confidence = tables.sum(-2).transpose(2, 0, 1)
    of_bins = np.stack([number, tables[..., 1, 0], confidence], -1)
    return np.concatenate([of_bins.ravel(), totals.ravel(), kinds[1:]])


class Measured(NamedTuple):
    """A box, the codes of its targets, and what ``cpu_kernels.Outputs`` are of its pixels.

    Codes of bad scores are their kinds.
    """

    box: Box
    codes: Array
    out: tuple[Array, Array, Array, Array, Array]


class Measuring(Coding):
    """The pixels of a batch, which threads measure box by box."""

    def __init__(
        self, pixels: Pixels, reading: Probabilities, *, of_classes: bool | None = None
    ) -> None:
        of_classes = reading.classwise if of_classes is None else of_classes
        self.written = reading.labels if of_classes else 0
        self.largest = max(1, min(BOX, WRITTEN // max(1, self.written)))
        super().__init__(pixels, reading, readers=READERS, largest=self.largest)

    def share_boxes(self, work: Callable[[Iterator[Any]], Result]) -> list[Result]:
        """Call ``work`` with ``Measured`` boxes, in as many threads as these are worth."""
        return share(
            lambda boxes: work(self._measured(boxes)),
            self.boxes,
            at_most=self.at_most,
        )

    def measure(self, measured: Measured, temperature: float) -> None:
        """Measure a box at a temperature, by which logits are divided."""
        self.read_preds(measured.box, temperature, measured.codes, measured.out)

    def _measured(self, boxes: Iterator[Box]) -> Iterator[Measured]:
        codes, found = np.empty((2, self.largest), np.uint16)
        floats = np.empty((3 + self.written) * self.largest, np.float32)
        for box in boxes:
            n = box.pixels
            confidence, loss, square = floats[: 3 * n].reshape(3, n)
            out = found[:n], confidence, loss, square, floats[3 * n : (3 + self.written) * n]
            measured = Measured(box, codes[:n], out)
            self.read_target(box, measured.codes)
            self.measure(measured, 1.0)
            yield measured


# --- Readers --------------------------------------------------------------------------------------

#: Writes the outputs of a box at a temperature, see ``Measured``.
Reader = Callable[[Box, float, Array, Any], None]


def _unresized(
    scores: Array, sizes: list[int], strides: list[int], reading: Probabilities
) -> Reader:
    maps, infinity = Maps.of(scores, sizes, strides), INFINITY.get(scores.dtype)
    where = maps.channel, score_classes(reading), maps.sizes, maps.strides, maps.step
    settings, like = _settings(scores, reading), _like(scores)

    def read(box: Box, temperature: float, codes: Array, out: Any) -> None:
        place = maps.flat, maps.base(box), *where, box.area, settings(temperature)
        if maps.step == 1 and infinity is None:
            cpu_kernels.contiguous_scores(*place, codes, out)
        else:
            cpu_kernels.strided_scores(*place, infinity, like, codes, out)

    return read


def _nearest(scores: Array, size: list[int], reading: Probabilities) -> Reader:
    maps, rows, columns = nearest_places(scores, size, reading)
    half = None
    if scores.dtype in INFINITY:
        maps, half = maps._replace(flat=maps.flat.view(np.uint16)), values_of_halves(scores.dtype)
    where = maps.channel, score_classes(reading), maps.sizes, rows, columns
    settings, like = _settings(scores, reading), _like(scores)

    def read(box: Box, temperature: float, codes: Array, out: Any) -> None:
        place = maps.flat, maps.base(box), *where, box.area, settings(temperature)
        cpu_kernels.nearest_scores(*place, half, like, codes, out)

    return read


def _linear(scores: Array, size: list[int], reading: Probabilities) -> Reader:
    maps, between, half = linear_places(scores, size, reading)
    of_maps: tuple[Any, ...] = maps.channel, score_classes(reading), maps.sizes, maps.strides
    where, kernel = of_maps + between, cast(Any, cpu_kernels.linear_scores)
    settings = _settings(scores, reading)

    def read(box: Box, temperature: float, codes: Array, out: Any) -> None:
        place = maps.flat, maps.base(box), *where, box.area, settings(temperature)
        kernel(*place, half, codes, out)

    return read


READERS = ScoreReaders(_unresized, _nearest, _linear)


def _settings(scores: Array, reading: Probabilities) -> Callable[[float], tuple[Any, ...]]:
    """``cpu_kernels.Settings`` by temperature."""
    logits, tolerance = reading.from_logits, np.float32(tolerance_of(scores.dtype, reading))
    exact = True if scores.dtype == np.float64 else None
    return lambda temperature: (logits, np.float32(1 / temperature), tolerance, exact)


def _like(scores: Array) -> Array:
    """An array of the dtype in which scores are compared."""
    return np.empty(0, np.float64 if scores.dtype == np.float64 else np.float32)
