"""Kernels of the CPU backend that count: pairs of codes or values, and the tables of images.

What they compute is defined by ``plain.count``, without copies and threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from segmetrics._compile import kernel
from segmetrics.counting.codes import ABSTAINED, HIT, MISSED, PREDICTED, WITH_BAD_PREDS
from segmetrics.counting.cpu_intrinsics import (
    BITS,
    number_of_ones,
    place_of_lowest_one,
    prefetch,
    run_ends,
)
from segmetrics.counting.cpu_kernels import CELLS, LABELS, VALUES, Array, Box, Codes, Int64Array

#: Copies of a histogram, unless it has more than ``CELLS``, see ``tally``.
COPIES = 8
#: Pairs whose runs are looked for at once, and how long these must be on average.
PAIRS, RUN = 2**13, 8
#: Pairs that are counted one by one where runs are too short, before they are looked for again.
NOISE = 2**15


@kernel
def tally(
    rows: Array,
    columns: Array,
    lowest: int | None,
    start: int | None,
    span: int | None,
    histograms: Array,
) -> None:
    """Count pairs into histograms ``(rows, columns, COPIES or 1)`` of the places of labels.

    Codes, without a start, have the place that they say, values that which ``_place`` finds.
    Adding to a cell waits for the addition before it, and neighbours are mostly alike: each of
    several goes to another histogram, where there are as many. There the cells of many pairs are
    found first, in 16 bits each, and the next pairs come while they are counted.
    """
    done = 0
    if histograms.shape[2] == COPIES:
        cells, width = np.empty(LABELS, np.uint16), np.uint16(histograms.shape[1])
        line = histograms.ravel()
        for first in range(0, len(rows), LABELS):
            n = min(LABELS, len(rows) - first)
            some_rows, some_columns = rows[first : first + n], columns[first : first + n]
            for i in range(n):
                row = _place(some_rows[i], lowest, start, span)
                cells[i] = row * width + _place(some_columns[i], lowest, start, span)
            done = first + n // COPIES * COPIES
            for i in range(0, done - first, COPIES):
                prefetch(rows, first + LABELS + i)
                prefetch(columns, first + LABELS + i)
                for copy in range(COPIES):
                    cell = np.uint64(cells[np.uintp(i + copy)])
                    line[cell * np.uint64(COPIES) + np.uint64(copy)] += 1
    for i in range(done, len(rows)):
        row, column = rows[i], columns[i]
        row, column = _place(row, lowest, start, span), _place(column, lowest, start, span)
        histograms[row, column, 0] += 1


@kernel
def tally_runs(
    rows: Array,
    columns: Array,
    lowest: int | None,
    start: int | None,
    span: int | None,
    histograms: Array,
) -> None:
    """``tally`` of values: runs of equal pairs are counted at once, where they are long enough.

    The labels of neighbours are mostly the same, but not those of noise.
    """
    line, width = histograms.ravel(), np.uint64(histograms.shape[1])
    ends, first = np.empty(PAIRS // BITS, np.uint64), 0
    while first + BITS < len(rows):  # the pair behind the last one is looked at, too
        number = min(len(ends), (len(rows) - first - 1) // BITS)
        runs, most = np.uint64(0), np.uint64(number * BITS // RUN)
        for i in range(number):
            place = first + i * BITS
            ends[i] = run_ends(rows, place, 1) | run_ends(columns, place, 1)
            runs += number_of_ones(ends[i])
            if runs > most:
                break
        behind = first + number * BITS
        if runs > most:
            behind = first + NOISE
            some = slice(first, behind)
            tally(rows[some], columns[some], lowest, start, span, histograms)
        else:
            ends[number - 1] |= np.uint64(1 << (BITS - 1))
            done = first
            for i in range(number):
                left = ends[i]
                while left:
                    end = first + i * BITS + place_of_lowest_one(left)
                    row = np.uint64(_place(rows[np.uintp(end)], lowest, start, span))
                    column = np.uint64(_place(columns[np.uintp(end)], lowest, start, span))
                    line[(row * width + column) * np.uint64(COPIES)] += end + 1 - done
                    done = end + 1
                    left &= left - np.uint64(1)
        first = behind
    tally(rows[first:], columns[first:], lowest, start, span, histograms)


@kernel
def sum_copies(histograms: Array) -> None:
    """Add the ``COPIES`` of every cell, which are contiguous, to the first of them."""
    for cell in range(0, len(histograms), COPIES):
        for copy in range(1, COPIES):
            histograms[np.uintp(cell)] += histograms[np.uintp(cell + copy)]


@kernel
def recode(places: Array, rows: Codes, columns: Codes, histogram: Int64Array) -> None:
    """Add the pairs counted by ``tally`` to those of their codes, and forget them.

    Those of unknown values are left out.
    """
    for row in range(len(rows)):
        for column in range(len(columns)):
            for copy in range(COPIES):
                histogram[rows[row], columns[column]] += places[row, column, copy]
    places[:] = 0


@kernel
def tally_images(
    rows: Codes, columns: Codes, box: Box, height: int, labels: int, tables: Array
) -> None:
    """Count the codes of a box into the tables of its images ``(images, 4, codes)``.

    These are the tables of ``codes.fold_tables``; an image has ``height`` rows.
    """
    copies = np.zeros((4, *tables[0].shape), tables.dtype)
    width = box[3] - box[2]
    for image in range(len(tables)):
        top = (box[0] // height + image) * height
        first = (max(top, box[0]) - box[0]) * width
        last = (min(top + height, box[1]) - box[0]) * width
        _tally_marginals(rows[first:last], columns[first:last], labels, copies)
        for copy in copies:
            tables[image] += copy
        copies[:] = 0


@kernel
def _tally_marginals(rows: Codes, columns: Codes, labels: int, copies: Array) -> None:
    """Count targets and predictions, each by itself, in four copies of an image's tables.

    As in ``tally`` cells are found first, and neighbours are counted in different copies.
    """
    codes, size, line = copies.shape[2], np.uint64(copies[0].size), copies.ravel()
    fours, low = np.empty((2, LABELS // 4), np.uint64), np.uint64(CELLS - 1)
    of_target, of_preds = fours.view(np.uint16)
    for first in range(0, len(rows), LABELS):
        n = min(LABELS, len(rows) - first)
        some_rows, some_columns = rows[first : first + n], columns[first : first + n]
        for i in range(n):
            row, column = some_rows[i], some_columns[i]
            table = WITH_BAD_PREDS if column > labels + ABSTAINED else MISSED
            of_target[i] = row + codes * (HIT if row == column else table)
            of_preds[i] = (column if row < labels else codes - 1) + codes * PREDICTED
        for i in range(n // 4):
            for copy in range(4):
                shift, start = np.uint64(copy * 16), np.uint64(copy) * size
                line[start + (fours[0, i] >> shift & low)] += 1
                line[start + (fours[1, i] >> shift & low)] += 1
        for i in range(n // 4 * 4, n):
            line[of_target[i]] += 1
            line[of_preds[i]] += 1


@kernel
def _place(label: Any, lowest: int | None, start: int | None, span: int | None) -> Any:
    """The place of a value among ``span`` from ``start`` on, or ``span``.

    After the largest of 256 values comes the lowest, 0 for bytes, which come without one.
    """
    if start is None:
        return label
    value = np.uint64(label)
    place = np.uint16(np.uint8(value - start))
    known = place < span
    if lowest is not None:
        known &= value - lowest < np.uint64(VALUES)
    return place if known else span
