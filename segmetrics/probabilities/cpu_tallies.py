"""Tallies of the measurements of a box of pixels: bins, and sums in fixed point."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics._compile import kernel
from segmetrics.counting.cpu_intrinsics import bits_of
from segmetrics.counting.cpu_kernels import Codes, Int64Array
from segmetrics.probabilities.cpu_functions import HALF, ONE
from segmetrics.probabilities.inputs import (
    CELLS_AN_OCTAVE_BITS,
    FRACTION_BITS,
    INFINITE_LOSS,
    MASS_CELLS,
)

Floats = NDArray[np.float32]

#: Copies of a table of at most so many bins, see ``tally``, and the bits of a number of pixels.
COPIES, MOST_COPIED, PACKED = 8, 64, 20
#: Pixels whose bins are computed at once.
TILE = 1024

UNIT, SMALL, INFINITE = np.float32(2**FRACTION_BITS), np.float32(64), np.float32(INFINITE_LOSS)


@kernel
def tally(
    codes: Codes,
    found: Codes,
    confidence: Floats,
    labels: int,
    mass: bool | None,
    table: Int64Array,
) -> None:
    """Count the confidences of a box in a table ``(bins, 2, 2)``, of at most 2**15 pixels.

    The table has a row a bin, a column for wrong and one for right pixels. It holds their
    number and sum of confidences, first packed into one integer. ``mass`` is True for cells, None
    for bins of equal width. An addition to a cell waits for the one before it, so neighbouring
    pixels go to different copies, unless there are many bins.
    """
    bins = len(table)
    copies = COPIES if bins <= MOST_COPIED else 1
    packed, last = np.zeros((2 * bins + 1) * copies, np.int64), np.int32(2 * bins)
    places, values = np.empty(TILE, np.int32), np.empty(TILE, np.int64)
    for first in range(0, len(codes), TILE):
        n = min(TILE, len(codes) - first)
        some, of_class = codes[first : first + n], found[first : first + n]
        chances = confidence[first : first + n]
        for i in range(n):
            counted = some[i] < labels
            p = chances[i] if counted else np.float32(0)
            cell = _bin(p, bins) if mass is None else _cell(p)
            place = np.int32(2 * cell + np.int32(some[i] == of_class[i]))
            places[i] = place if counted else last
        for i in range(n):  # a loop of its own: of many arrays LLVM makes no vectors
            p = chances[i] if some[i] < labels else np.float32(0)
            values[i] = (np.int64(np.int32(p * UNIT + HALF)) << PACKED) + 1
        for i in range(n):
            copy = np.uintp(i & (copies - 1))
            packed[np.uintp(places[i]) * np.uintp(copies) + copy] += values[i]
    line = table.ravel()
    for place in range(2 * bins):
        for copy in range(copies):
            value = packed[place * copies + copy]
            line[2 * place] += value & ((1 << PACKED) - 1)
            line[2 * place + 1] += value >> PACKED


@kernel
def tally_classes(
    codes: Codes, probabilities: Floats, labels: int, mass: bool | None, tables: Int64Array
) -> None:
    """``tally`` the probability of every class ``(labels, pixels)`` in a table of its own."""
    n = len(codes)
    found = np.empty(n, np.uint16)
    for label in range(labels):
        found[:] = label
        of_class = probabilities[label * n : label * n + n]
        tally(codes, found, of_class, labels, mass, tables[label])


@kernel
def tally_bad(codes: Codes, labels: int, kinds: Int64Array) -> None:
    """Count the codes that are not labels."""
    for code in codes:
        if code >= labels:
            kinds[code - labels] += 1


@kernel
def total_squares(square: Floats, codes: Codes, labels: int) -> Any:
    """The sum of squared errors of counted pixels in fixed point."""
    total = np.int64(0)
    for i in range(len(codes)):
        value = square[i] if codes[i] < labels else np.float32(0)
        total += np.int64(np.int32(value * UNIT + HALF))
    return total


@kernel
def total_losses(loss: Floats, codes: Codes, labels: int) -> Any:
    """The sum of finite log losses of counted pixels in fixed point, and the number of others."""
    total, large, infinite = np.int64(0), np.int64(0), np.int64(0)
    for i in range(len(codes)):
        counted, small = codes[i] < labels, loss[i] < SMALL  # which fit into an int32
        total += np.int64(np.int32((loss[i] if counted & small else np.float32(0)) * UNIT + HALF))
        large += np.int64(counted & (not small))
    if large:
        for i in range(len(codes)):
            if codes[i] < labels and not loss[i] < SMALL:
                if loss[i] < INFINITE:
                    total += np.int64(loss[i] * UNIT + HALF)
                else:
                    infinite += 1
    return total, infinite


@kernel
def _bin(p: float, bins: int) -> Any:
    """The bin of a probability, see ``plain.cells_of``."""
    n = np.float32(bins)
    place = np.int32(p * n)
    lower, upper = np.float32(place) / n, np.float32(place + np.int32(1)) / n
    place = np.int32(place - np.int32(p < lower) + np.int32(p >= upper))
    return place if place < bins else np.int32(bins - 1)


@kernel
def _cell(p: float) -> Any:
    """The cell of a probability, see ``plain.cells_of``."""
    rest = ONE - p
    rank = np.int32(bits_of(p if p < rest else rest) >> np.int32(23 - CELLS_AN_OCTAVE_BITS))
    rank = np.int32(rank - np.int32((103 << CELLS_AN_OCTAVE_BITS) - 1))
    rank = rank if rank > 0 else np.int32(0)
    return np.int32(rank if p <= HALF else np.int32(MASS_CELLS - 1) - rank)
