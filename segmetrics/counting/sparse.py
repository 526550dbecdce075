"""Sparse confusion matrices, for more classes than a dense one has room for. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics.counting import codes, cpu
from segmetrics.counting.settings import Counting, Pixels

Array = NDArray[Any]
Int64Array = NDArray[np.int64]

#: Flat indices of cells, and their counts.
Cells = tuple[Int64Array, Int64Array]

NONE: Cells = np.zeros(0, np.int64), np.zeros(0, np.int64)
#: Pixels that are coded at once without a compiled kernel.
BLOCK = 2**20


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """A sparse matrix of counts with the array methods that scores use.

    Args:
        shape: rows and columns.
        cells: the nonzero cells, ``row * columns + column``, ascending.
        counts: their counts, int64.
    """

    shape: tuple[int, int]
    cells: Int64Array
    counts: Int64Array

    @staticmethod
    def sum_of(shape: tuple[int, int], parts: Iterable[Cells]) -> SparseMatrix:
        """The sum of cells in any order, which may repeat."""
        cells, counts = map(np.concatenate, zip(NONE, *parts, strict=True))
        order = np.argsort(cells)
        cells, counts = cells[order], counts[order]
        first = np.flatnonzero(np.diff(cells, prepend=-1))
        sums = np.add.reduceat(counts, first) if len(first) else counts
        return SparseMatrix(shape, cells[first], sums)

    def __add__(self, other: SparseMatrix) -> SparseMatrix:
        return SparseMatrix.sum_of(
            self.shape, [(self.cells, self.counts), (other.cells, other.counts)]
        )

    @property
    def ndim(self) -> int:
        """The number of dimensions, 2."""
        return 2

    @property
    def rows(self) -> Int64Array:
        """The row of every cell."""
        return self.cells // self.shape[1]

    @property
    def columns(self) -> Int64Array:
        """The column of every cell."""
        return self.cells % self.shape[1]

    def dense(self) -> Int64Array:
        """The matrix as an array."""
        found = np.zeros(self.shape, np.int64)
        found.reshape(-1)[self.cells] = self.counts
        return found

    def sum(self, axis: int | None = None) -> Any:
        """The sum over an axis, or over all cells."""
        if axis is None:
            return self.counts.sum()
        by_row = axis in (1, -1)
        total = np.zeros(self.shape[0 if by_row else 1], np.int64)
        np.add.at(total, self.rows if by_row else self.columns, self.counts)
        return total

    def diagonal(self, *_: int) -> Int64Array:
        """The diagonal, one element a row."""
        on_it = self.rows == self.columns
        found = np.zeros(self.shape[0], np.int64)
        found[self.rows[on_it]] = self.counts[on_it]
        return found

    def __getitem__(self, key: Any) -> Int64Array:
        """A row by ``matrix[..., row, :]``, or cells by ``matrix[rows, columns]``."""
        if key[0] is Ellipsis:
            _, row, _ = key
            first, last = np.searchsorted(self.cells, np.array([row, row + 1]) * self.shape[1])
            found = np.zeros(self.shape[1], np.int64)
            found[self.columns[first:last]] = self.counts[first:last]
            return found
        wanted = np.asarray(key[0], np.int64) * self.shape[1] + np.asarray(key[1], np.int64)
        if not len(self.cells):
            return np.zeros_like(wanted)
        place = np.searchsorted(self.cells, wanted).clip(max=len(self.cells) - 1)
        return np.where(self.cells[place] == wanted, self.counts[place], 0)


def count(preds: Array, target: Array, counting: Counting) -> SparseMatrix | None:
    """Count two label maps of one shape: ``(C, C + 1)``, or None if a label is bad."""
    labels, (_, rows, columns) = counting.labels, codes.histogram_shape(counting)
    histogram = SparseMatrix.sum_of((rows, columns), _pairs(preds, target, counting))
    row, column = histogram.rows, histogram.columns
    unknown = (column > labels + codes.ABSTAINED) & (row < labels)
    if (unknown | (row > labels + codes.IGNORED)).any():
        return None
    counted = row < labels
    cells = row[counted] * (labels + 1) + column[counted]
    return SparseMatrix((labels, labels + 1), cells, histogram.counts[counted])


def _pairs(preds: Array, target: Array, counting: Counting) -> Iterator[Cells]:
    """Pairs of codes in parts of the maps, as cells of the joint histogram, with their counts."""
    columns = codes.histogram_shape(counting)[2]
    if target.size and cpu.countable(counting):
        pixels = Pixels(preds[None, None], target[None, None], "labels", "labels")

        def work(boxes: Iterator[cpu.CodedBox]) -> list[Cells]:
            return [
                np.unique(row.astype(np.int64) * columns + column, return_counts=True)
                for _, row, column in boxes
            ]

        yield from chain(*cpu.Coding(pixels, counting).share(work))
        return
    preds, target = preds.ravel(), target.ravel()
    for first in range(0, len(target), BLOCK):
        some = slice(first, first + BLOCK)
        row = codes.target_codes(codes.to_int64(target[some]), counting)
        column = codes.preds_codes(codes.to_int64(preds[some]), counting)
        yield np.unique(row * columns + column, return_counts=True)
