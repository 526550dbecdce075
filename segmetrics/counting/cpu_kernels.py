"""The loops of the CPU backend: compiled once, kept on disk; they release the GIL.

A kernel reads a *box*: rows ``box[0]`` to ``box[1]`` and columns ``box[2]`` to ``box[3]`` of the
pixels of one map. An array stands here as a flat one; ``base`` is where the map begins in it.
Columns lie ``step`` apart; what lies between rows is said by the sizes and strides of the remaining
dimensions. The pixels' codes are written one after the other, for ``tally`` to count their pairs.

An index that might be negative is checked for every element, and its loop does not become vectors:
inner loops read slices from 0 on, or make their indices ``np.uintp``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics._compile import kernel
from segmetrics.counting.codes import ABSTAINED, HIT, MISSED, PREDICTED, WITH_BAD_PREDS
from segmetrics.counting.cpu_intrinsics import (
    BITS,
    LANE,
    LANES,
    VECTOR,
    blend,
    draw,
    find_best_of_vector,
    in_threads,
    number_of_ones,
    place_of_lowest_one,
    prefetch,
    run_ends,
)

Array = NDArray[Any]
Codes = NDArray[np.uint16]
Longs = NDArray[np.int64]
Box = tuple[int, int, int, int]

#: Labels that are coded, and pairs of labels that are counted, at once.
LABELS = 2**10
#: Known values lie among so many, as many as a byte has.
VALUES = 2**8
#: Histograms of a thread, unless one has more than ``CELLS``, see ``tally``.
COPIES = 8
#: Pairs whose runs are looked for at once, and how long these must be on average.
PAIRS, RUN = 2**13, 8
#: Cells of a histogram that 16 bits can tell apart.
CELLS = 2**16
#: Pixels whose scores are compared at once, where these are contiguous.
BLOCK = 2**15
#: Pixels whose scores are gathered into a contiguous tile where they are not.
TILE = 256
#: Bytes ahead of the current pixel that are prefetched from channels-last scores.
AHEAD = 2**13


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
            ends[i] = run_ends(rows, place) | run_ends(columns, place)
            runs += number_of_ones(ends[i])
            if runs > most:
                break
        behind = first + number * BITS
        if runs > most:
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
def tally_pieces(
    rows: Array,
    columns: Array,
    lowest: int | None,
    start: int | None,
    span: int | None,
    in_runs: bool | None,
    histograms: Array,
    piece: int,
    drawn: Longs,
) -> None:
    """``tally`` of the pieces that a thread draws, into the first of the next thread's histograms.

    It is ``tally_runs`` unless ``in_runs`` is None, as it should be for more than bytes: runs of
    these take longer to find than to count. ``drawn`` says how many pairs and how many threads'
    histograms were drawn before.
    """
    mine = histograms[draw(drawn, 1, 1)]
    first = draw(drawn, 0, piece)
    while first < len(rows):
        some = slice(first, first + piece)
        if in_runs is not None:
            tally_runs(rows[some], columns[some], lowest, start, span, mine)
        else:
            tally(rows[some], columns[some], lowest, start, span, mine)
        first = draw(drawn, 0, piece)
    sum_copies(mine.ravel())


@kernel
def tally_together(team: int, threads: int, arguments: tuple[Any, ...]) -> None:
    """``tally_pieces`` in several threads at once, see ``_parallel.run_in_threads``."""
    in_threads(team, threads, tally_pieces, arguments)


@kernel
def sum_copies(histograms: Array) -> None:
    """Add the ``COPIES`` of every cell, which are contiguous, to the first; zero the others."""
    for cell in range(0, len(histograms), COPIES):
        count = 0
        for copy in range(COPIES):
            count += histograms[np.uintp(cell + copy)]
            histograms[np.uintp(cell + copy)] = 0
        histograms[np.uintp(cell)] = count


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


@kernel
def recode(places: Array, rows: Codes, columns: Codes, histogram: Longs) -> None:
    """Add the pairs counted by ``tally_pieces`` to those of their codes, and forget them.

    Those of unknown values are left out.
    """
    for row in range(len(rows)):
        for column in range(len(columns)):
            for thread in range(len(places)):
                histogram[rows[row], columns[column]] += places[thread, row, column, 0]
    places[..., 0] = 0


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
        _tally_apart(rows[first:last], columns[first:last], labels, copies)
        for copy in copies:
            tables[image] += copy
        copies[:] = 0


@kernel
def _tally_apart(rows: Codes, columns: Codes, labels: int, copies: Array) -> None:
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
def contiguous_label_codes(
    labels: Array,
    base: int,
    sizes: Longs,
    strides: Longs,
    step: int,
    box: Box,
    last: int,
    negative: int,
    too_large: int,
    others: Array,
    codes_of_others: Codes,
    codes: Codes,
) -> None:
    """Codes of contiguous labels: those up to ``last`` are their own, ``others`` have theirs."""
    k = 0
    for row in range(box[0], box[1]):
        start = base + _row_offset(row, sizes, strides)
        for first in range(box[2], box[3], LABELS):
            n = min(LABELS, box[3] - first)
            values, out = labels[start + first : start + first + n], codes[k : k + n]
            _code(values, last, negative, too_large, others, codes_of_others, out)
            k += n


@kernel
def strided_label_codes(
    labels: Array,
    base: int,
    sizes: Longs,
    strides: Longs,
    step: int,
    box: Box,
    last: int,
    negative: int,
    too_large: int,
    others: Array,
    codes_of_others: Codes,
    codes: Codes,
) -> None:
    """``contiguous_label_codes`` of labels ``step`` apart, which are gathered first."""
    gathered = np.empty(LABELS, labels.dtype)
    k = 0
    for row in range(box[0], box[1]):
        start = base + _row_offset(row, sizes, strides)
        for first in range(box[2], box[3], LABELS):
            n = min(LABELS, box[3] - first)
            place, values, out = start + first * step, gathered[:n], codes[k : k + n]
            for i in range(n):
                values[i] = labels[np.uintp(place + i * step)]
            _code(values, last, negative, too_large, others, codes_of_others, out)
            k += n


@kernel
def _code(
    values: Array,
    last: int,
    negative: int,
    too_large: int,
    others: Array,
    codes_of_others: Codes,
    codes: Codes,
) -> None:
    if last & (last + 1) == 0:  # labels are what has no other bits than the last one
        bits, other_labels = last, False
        for i in range(len(values)):
            bits |= values[i]
            codes[i] = np.uint16(values[i])
        for other in others:
            other_labels |= 0 <= other <= last
        if bits == last and not other_labels:
            return
    for i in range(len(values)):
        code = np.uint16(values[i]) if values[i] <= last else np.uint16(too_large)
        codes[i] = code if values[i] >= 0 else np.uint16(negative)
    for other in range(len(others)):
        value, code = others[other], codes_of_others[other]
        for i in range(len(values)):
            codes[i] = code if values[i] == value else codes[i]


@kernel
def look_up(table: Codes, codes: Codes) -> None:
    """Put in place of every code what a table has for it."""
    for i in range(len(codes)):
        codes[i] = table[codes[i]]


@kernel
def contiguous_score_codes(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    sizes: Longs,
    strides: Longs,
    step: int,
    box: Box,
    limits: Array,
    infinity: int | None,
    impossible: int,
    codes: Codes,
) -> None:
    """Codes of the labels that scores choose, where those of neighbours are contiguous.

    The layouts are kernels of their own: each takes seconds to compile, and few programs need two.
    """
    block = min(BLOCK, box[3] - box[2])
    best, index = np.empty(block, scores.dtype), np.empty(block, scores.dtype)
    k = 0
    for row in range(box[0], box[1]):
        start = base + _row_offset(row, sizes, strides)
        for first in range(box[2], box[3], block):
            n = min(block, box[3] - first)
            _find_best(scores, start + first, label_stride, labels, n, infinity, best, index)
            _choose(best, index, n, limits, impossible, codes[k : k + n])
            k += n


@kernel
def channels_last_score_codes(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    sizes: Longs,
    strides: Longs,
    step: int,
    box: Box,
    limits: Array,
    infinity: int | None,
    impossible: int,
    codes: Codes,
) -> None:
    """``contiguous_score_codes`` where the scores of a pixel are contiguous."""
    block = min(LABELS, box[3] - box[2])
    best, index = np.empty(block, scores.dtype), np.empty(block, scores.dtype)
    k = 0
    for row in range(box[0], box[1]):
        start = base + _row_offset(row, sizes, strides)
        for first in range(box[2], box[3], block):
            n = min(block, box[3] - first)
            place = start + first * step
            _find_best_channels_last(scores, place, step, labels, n, infinity, best, index)
            _choose(best, index, n, limits, impossible, codes[k : k + n])
            k += n


@kernel
def strided_score_codes(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    sizes: Longs,
    strides: Longs,
    step: int,
    box: Box,
    limits: Array,
    infinity: int | None,
    impossible: int,
    codes: Codes,
) -> None:
    """``contiguous_score_codes`` of any other layout: scores are gathered in a tile first."""
    block = min(TILE, box[3] - box[2])
    tile = np.empty(labels * block, scores.dtype)
    best, index = np.empty(block, scores.dtype), np.empty(block, scores.dtype)
    k = 0
    for row in range(box[0], box[1]):
        start = base + _row_offset(row, sizes, strides)
        for first in range(box[2], box[3], block):
            n = min(block, box[3] - first)
            place = start + first * step
            for label in range(labels):
                source, gathered = place + label * label_stride, tile[label * block :]
                for i in range(n):
                    gathered[i] = scores[np.uintp(source + i * step)]
            _find_best(tile, 0, block, labels, n, infinity, best, index)
            _choose(best, index, n, limits, impossible, codes[k : k + n])
            k += n


@kernel
def nearest_codes(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    sizes: Longs,
    row_places: Longs,
    column_places: Longs,
    box: Box,
    limits: Array,
    infinity: int | None,
    impossible: int,
    codes: Codes,
) -> None:
    """Codes of the labels that scores choose where a pixel takes its nearest neighbour's.

    ``row_places`` says for every dimension but the last, one after the other, where in ``scores``
    its places lie; ``column_places`` for the last.
    """
    tile = np.empty(labels * TILE, scores.dtype)
    best, index = np.empty(TILE, scores.dtype), np.empty(TILE, scores.dtype)
    width = box[3] - box[2]
    before = np.int64(-1)
    k = 0
    for row in range(box[0], box[1]):
        start = base + _row_place(row, sizes, row_places)
        if start == before:
            codes[k : k + width] = codes[k - width : k]
            k += width
            continue
        before = start
        for first in range(box[2], box[3], TILE):
            n = min(TILE, box[3] - first)
            for label in range(labels):
                for i in range(n):
                    source = np.uintp(start + column_places[first + i] + label * label_stride)
                    tile[np.uintp(label * TILE + i)] = scores[source]
            _find_best(tile, 0, TILE, labels, n, infinity, best, index)
            _choose(best, index, n, limits, impossible, codes[k : k + n])
            k += n


@kernel
def linear_codes(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    sizes: Longs,
    strides: Longs,
    rows: Longs,
    row_weights: Array,
    columns: Longs,
    column_weights: Array,
    linear: tuple[bool, bool, bool],
    box: Box,
    limits: Array,
    half: Array | None,
    impossible: int,
    codes: Codes,
) -> None:
    """Codes of the labels that linearly resized scores choose, see ``plain.resize``.

    ``sizes`` and ``strides`` are those of images, depth and height. ``rows`` are a pixel's
    neighbours before and after it ``(2, depth + height)``, ``columns`` ``(2, width)`` where those
    along the width lie; weights are shaped alike. ``linear`` says along which of the three
    dimensions there is anything between neighbours.

    Source rows are resized along the width first, for all labels, and kept in ``wide`` for the
    rows that need them too. Neighbouring ones differ by one, so their parity tells them apart.
    """
    height, n = sizes[2], box[3] - box[2]
    runs = _runs(columns, box[2], box[3])
    wide, held = np.empty(4 * labels * n, row_weights.dtype), np.full(4, -1, np.int64)
    resized, behind = np.empty(labels * n, wide.dtype), np.empty(n, wide.dtype)
    best, index = np.empty(n, wide.dtype), np.empty(n, wide.dtype)
    k = 0
    for row in range(box[0], box[1]):
        slots = _hold_rows(
            scores,
            base,
            label_stride,
            labels,
            sizes,
            strides,
            rows,
            columns[:, box[2] : box[3]],
            column_weights[:, box[2] : box[3]],
            runs,
            linear,
            row,
            half,
            wide,
            held,
        )
        if linear[1] and not linear[0]:
            a, b = row_weights[:, sizes[1] + row % height]
            _find_best_between(wide, slots[0, 0], slots[0, 1], a, b, labels, n, best, index)
        else:
            _resize_row(wide, slots, row_weights, sizes, linear, row, labels, n, resized, behind)
            _find_best(resized, 0, n, labels, n, None, best, index)
        _choose(best, index, n, limits, impossible, codes[k : k + n])
        k += n


@kernel
def _hold_rows(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    sizes: Longs,
    strides: Longs,
    rows: Longs,
    columns: Longs,
    weights: Array,
    runs: Longs,
    linear: tuple[bool, bool, bool],
    row: int,
    half: Array | None,
    wide: Array,
    held: Longs,
) -> Any:
    """Resize the source rows of a row along the width, unless ``wide`` holds them already.

    Returns where in ``wide`` those before and after it begin ``(depth, height)``; ``held`` says
    which they are.
    """
    depth, height, n = sizes[1], sizes[2], columns.shape[1]
    slots = np.zeros((2, 2), np.int64)
    d, h = row // height % depth, depth + row % height
    image = base + row // height // depth * strides[0]
    for i in range(2 if linear[0] else 1):
        for j in range(2 if linear[1] else 1):
            start = image + rows[i, d] * strides[1] + rows[j, h] * strides[2]
            slot = rows[i, d] % 2 * 2 + rows[j, h] % 2
            slots[i, j] = slot * labels * n
            if held[slot] != start:
                held[slot] = start
                source, out = scores[start:], wide[slot * labels * n :]
                if linear[2]:
                    _widen(source, label_stride, labels, runs, weights[0], weights[1], half, out)
                else:
                    _pick(source, label_stride, labels, columns[0], half, out)
    return slots


@kernel
def _resize_row(
    wide: Array,
    slots: Longs,
    weights: Array,
    sizes: Longs,
    linear: tuple[bool, bool, bool],
    row: int,
    labels: int,
    n: int,
    resized: Array,
    behind: Array,
) -> None:
    """A resized row ``(labels, n)`` of the rows that ``_hold_rows`` holds."""
    depth, height = sizes[1], sizes[2]
    d, h = row // height % depth, depth + row % height
    a, b = weights[0, h], weights[1, h]
    for first in range(0, labels * n, n):
        before, after = slots[0, 0] + first, slots[0, 1] + first
        _between(wide, before, after, a, b, linear[1], resized, first, n)
        if linear[0]:
            before, after = slots[1, 0] + first, slots[1, 1] + first
            _between(wide, before, after, a, b, linear[1], behind, 0, n)
            for x in range(n):
                y = np.uintp(first + x)
                resized[y] = weights[0, d] * resized[y] + weights[1, d] * behind[x]


@kernel
def _runs(columns: Longs, first: int, last: int) -> Longs:
    """Where columns begin that lie between the same two places, and these: ``(3, runs + 1)``.

    The last one is the end.
    """
    runs = np.empty((3, last - first + 1), np.int64)
    k = 0
    for i in range(first, last):
        left, right = columns[0, i], columns[1, i]
        if k == 0 or left != runs[1, k - 1] or right != runs[2, k - 1]:
            runs[0, k], runs[1, k], runs[2, k] = i - first, left, right
            k += 1
    runs[0, k] = last - first
    return runs[:, : k + 1]


@kernel
def _widen(
    scores: Array,
    label_stride: int,
    labels: int,
    runs: Longs,
    rest: Array,
    weight: Array,
    half: Array | None,
    out: Array,
) -> None:
    """What lies between the scores at two places each, for every label ``(labels, n)``.

    ``LANES`` are written at once, too many at the end of a run: the next one writes over them.
    """
    n = len(rest)
    for run in range(runs.shape[1] - 1):
        i, left, right = runs[0, run], runs[1, run], runs[2, run]
        while i < runs[0, run + 1]:
            for label in range(labels):
                offset, first = label * label_stride, label * n
                before, after = scores[np.uintp(left + offset)], scores[np.uintp(right + offset)]
                a = before if half is None else half[before]
                b = after if half is None else half[after]
                if i + LANES <= n:
                    blend(rest, a, weight, b, i, out, first + i)
                else:
                    for k in range(i, n):
                        out[np.uintp(first + k)] = rest[k] * a + weight[k] * b
            i += LANES


@kernel
def _pick(
    scores: Array, label_stride: int, labels: int, places: Longs, half: Array | None, out: Array
) -> None:
    """Scores at given places, for every label ``(labels, n)``; bits of halves are looked up."""
    n = len(places)
    for label in range(labels):
        for i in range(n):
            score = scores[np.uintp(places[i] + label * label_stride)]
            out[np.uintp(label * n + i)] = score if half is None else half[score]


@kernel
def _between(
    rows: Array,
    before: int,
    after: int,
    rest: float,
    weight: float,
    linear: bool,
    out: Array,
    first: int,
    n: int,
) -> None:
    """What lies between two rows; the first, where there is nothing between."""
    for i in range(n):
        score = rows[np.uintp(before + i)]
        if linear:
            score = rest * score + weight * rows[np.uintp(after + i)]
        out[np.uintp(first + i)] = score


@kernel
def _row_offset(row: int, sizes: Longs, strides: Longs) -> Any:
    offset = np.int64(0)
    for dim in range(len(sizes) - 1, -1, -1):
        offset += row % sizes[dim] * strides[dim]
        row //= sizes[dim]
    return offset


@kernel
def _row_place(row: int, sizes: Longs, places: Longs) -> Any:
    place, end = np.int64(0), len(places)
    for dim in range(len(sizes) - 1, -1, -1):
        end -= sizes[dim]
        place += places[end + row % sizes[dim]]
        row //= sizes[dim]
    return place


@kernel
def _find_best(
    scores: Array,
    base: int,
    label_stride: int,
    labels: int,
    n: int,
    infinity: int | None,
    best: Array,
    index: Array,
) -> None:
    """Maximum and argmax over labels of ``n`` contiguous pixels; NaN beats all, ties go first.

    Labels are the outer loop, so that the inner one runs over many pixels at once; four at a time,
    so that what was found so far is seldom read and written. They are found in the dtype of the
    scores, which makes both equally wide.
    """
    kind = index.dtype.type
    a = scores[base : base + n]
    for i in range(n):
        best[i], index[i] = _key(a[i], infinity), 0
    for label in range(1, labels - 3, 4):
        place = base + label * label_stride
        a, place = scores[place : place + n], place + label_stride
        b, place = scores[place : place + n], place + label_stride
        c, place = scores[place : place + n], place + label_stride
        d = scores[place : place + n]
        in_a, in_b, in_c, in_d = kind(label), kind(label + 1), kind(label + 2), kind(label + 3)
        for i in range(n):
            score, found = _better(_key(a[i], infinity), in_a, best[i], index[i])
            score, found = _better(_key(b[i], infinity), in_b, score, found)
            score, found = _better(_key(c[i], infinity), in_c, score, found)
            best[i], index[i] = _better(_key(d[i], infinity), in_d, score, found)
    for label in range(labels - (labels - 1) % 4, labels):
        place = base + label * label_stride
        a, in_a = scores[place : place + n], kind(label)
        for i in range(n):
            best[i], index[i] = _better(_key(a[i], infinity), in_a, best[i], index[i])


@kernel
def _find_best_channels_last(
    scores: Array,
    base: int,
    step: int,
    labels: int,
    n: int,
    infinity: int | None,
    best: Array,
    index: Array,
) -> None:
    """``_find_best`` of channels-last scores, pixels ``step`` apart.

    Vectors of pixels may overlap. Few labels are read with what lies behind them, if it is there.
    """
    lanes, together = VECTOR // scores.itemsize, LANE // scores.itemsize
    few, dense = labels < together, step < 2 * labels
    fit = min(n, (len(scores) - base - together) // step + 1) if few else n
    done = fit if fit >= lanes else 0
    for first in range(0, done, lanes):
        i = min(first, done - lanes)
        place = base + i * step
        for line in range(step if dense else 0):
            prefetch(scores, place + AHEAD // scores.itemsize + line * lanes)
        if few:
            find_best_of_vector(scores, place, step, labels, True, infinity, best, index, i)
        else:
            find_best_of_vector(scores, place, step, labels, None, infinity, best, index, i)
    for i in range(done, n):
        place = base + i * step
        best[i], index[i] = _key(scores[place], infinity), 0
        for label in range(1, labels):
            score = _key(scores[place + label], infinity)
            best[i], index[i] = _better(score, label, best[i], index[i])


@kernel
def _find_best_between(
    rows: Array,
    before: int,
    after: int,
    rest: float,
    weight: float,
    labels: int,
    n: int,
    best: Array,
    index: Array,
) -> None:
    """``_find_best`` of what lies between two rows ``(labels, n)``, which is not kept."""
    kind = index.dtype.type
    for i in range(n):
        best[i] = rest * rows[np.uintp(before + i)] + weight * rows[np.uintp(after + i)]
        index[i] = 0
    for label in range(1, labels - 1, 2):
        a, b = before + label * n, after + label * n
        c, d = a + n, b + n
        in_a, in_c = kind(label), kind(label + 1)
        for i in range(n):
            score = rest * rows[np.uintp(a + i)] + weight * rows[np.uintp(b + i)]
            score, found = _better(score, in_a, best[i], index[i])
            other = rest * rows[np.uintp(c + i)] + weight * rows[np.uintp(d + i)]
            best[i], index[i] = _better(other, in_c, score, found)
    if labels % 2 == 0:
        a, b, in_a = before + (labels - 1) * n, after + (labels - 1) * n, kind(labels - 1)
        for i in range(n):
            score = rest * rows[np.uintp(a + i)] + weight * rows[np.uintp(b + i)]
            best[i], index[i] = _better(score, in_a, best[i], index[i])


@kernel
def _better(score: float, label: int, best: float, index: int) -> tuple[float, int]:
    better = (score > best) | (score != score)  # a NaN comes in and is never beaten
    return (score if better else best), (label if better else index)


@kernel
def _key(score: Any, infinity: int | None) -> Any:
    """What scores are compared by: they themselves, or for bits of a half in int16 an int16.

    A half is a sign and a magnitude; two zeros get one key, and a NaN, whose magnitude is above
    infinity, the highest.
    """
    if infinity is None:
        return score
    magnitude = np.int16(score & 0x7FFF)
    key = magnitude if score >= 0 else np.int16(-magnitude)
    return magnitude if magnitude > infinity else key


@kernel
def _choose(
    best: Array, index: Array, n: int, limits: Array, impossible: int, codes: Codes
) -> None:
    """Codes of ``n`` pixels: the best label, one more above the cut, or that it is impossible.

    ``limits`` are the lowest and the highest possible score (NaN is neither) and the cut, which
    only binary and multilabel scores can exceed.
    """
    lowest, highest, cut = limits
    for i in range(n):
        code = np.uint16(index[i] + (best[i] > cut))
        codes[i] = code if (best[i] >= lowest) & (best[i] <= highest) else np.uint16(impossible)
