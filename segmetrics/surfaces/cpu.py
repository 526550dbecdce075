"""Surfaces on the CPU: kernels that release the GIL, so that threads share the work.

What they compute is defined in ``plain.py``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segmetrics._compile import kernel
from segmetrics.counting.codes import ABSTAINED, IGNORED
from segmetrics.surfaces.maps import IGNORED_PIXEL, NO_CLASS

Bools = NDArray[np.bool_]
Ints = NDArray[np.int32]
Int64Array = NDArray[np.int64]
Floats = NDArray[np.float64]
Codes = NDArray[np.uint16]

#: Labels compared at a time, few enough to stay in the first cache.
BLOCK = 4096
#: How many steps a search may take, for every pixel of the box, before the distance transform of
#: the whole box is the faster way; measured on 512² and 128³.
SEARCH_STEPS = 8
#: The gap in a column without a seed.
NONE = np.int32(2**30)


@kernel
def place_labels(
    preds_codes: Codes,
    target_codes: Codes,
    labels: int,
    background: int,
    without_ignored: bool,
    area: tuple[int, int, int, int],
    preds: Ints,
    target: Ints,
) -> bool:
    """Write the labels of an area's pixels, given as codes, into maps ``(depth, height, width)``.

    Says whether one of the pixels is bad. See ``maps.read_maps``.
    """
    top, bottom, left, right = area
    border = 0 if len(target) == 1 else 1  # of the depth; an image has none
    height, width = target.shape[1] - 2, right - left
    no_class = np.int32(NO_CLASS)
    void = no_class if without_ignored else np.int32(IGNORED_PIXEL)
    bad = False
    for row in range(top, bottom):
        z, y = row // height + border, row % height + 1
        preds_line = preds[z, y, left + 1 :]
        target_line = target[z, y, left + 1 :]
        start = (row - top) * width
        preds_here = preds_codes[start : start + width]
        target_here = target_codes[start : start + width]
        for x in range(width):  # vectorises
            found, truth = np.int32(preds_here[x]), np.int32(target_here[x])
            counted = truth < labels
            bad |= (truth > labels + IGNORED) | (counted & (found > labels + ABSTAINED))
            found = found - background if found < labels else no_class
            found = max(found, no_class)
            truth = max(truth - background, no_class)
            preds_line[x] = found if counted | (not without_ignored) else no_class
            target_line[x] = truth if counted else void
    return bad


@kernel
def find_pixels(labels: Ints, offsets: Int64Array, classes: int) -> tuple[Int64Array, Int64Array]:
    """Pixels of a class with a neighbour of another; see ``plain.find_pixels``."""
    uneven = _uneven(labels, offsets)
    start = np.zeros(classes + 1, np.int64)
    for i in range(len(labels)):
        if uneven[i] and labels[i] >= 0:
            start[labels[i] + 1] += 1
    start = np.cumsum(start)
    free = start.copy()
    found = np.empty(start[-1], np.int64)
    for i in range(len(labels)):
        if uneven[i] and labels[i] >= 0:
            found[free[labels[i]]] = i
            free[labels[i]] += 1
    return found, start


@kernel
def find_elements(
    labels: Ints, offsets: Int64Array, classes: int
) -> tuple[Int64Array, NDArray[np.uint8], Int64Array]:
    """Neighbourhoods that a class fills in part; see ``plain.find_elements``."""
    uneven = _uneven(labels, offsets)
    start = np.zeros(classes + 1, np.int64)
    corners = np.empty(len(offsets), np.int32)
    for i in range(len(labels)):
        if uneven[i]:
            for corner in range(len(offsets)):
                corners[corner] = labels[i + offsets[corner]]
                if _is_new(corners, corner):
                    start[corners[corner] + 1] += 1
    start = np.cumsum(start)
    free = start.copy()
    found = np.empty(start[-1], np.int64)
    codes = np.empty(start[-1], np.uint8)
    for i in range(len(labels)):
        if uneven[i]:
            for corner in range(len(offsets)):
                corners[corner] = labels[i + offsets[corner]]
            for corner in range(len(offsets)):
                if _is_new(corners, corner):
                    code = 0
                    for other in range(len(offsets)):
                        code |= (corners[other] == corners[corner]) << other
                    place = free[corners[corner]]
                    free[corners[corner]] += 1
                    found[place] = i
                    codes[place] = code
    return found, codes, start


@kernel
def _is_new(corners: Ints, corner: int) -> bool:
    """Whether a corner holds a class that no corner before it holds."""
    for before in range(corner):
        if corners[before] == corners[corner]:
            return False
    return bool(corners[corner] >= 0)


@kernel
def _uneven(labels: Ints, offsets: Int64Array) -> Bools:
    """Where a label differs from one of those at the given distances."""
    uneven = np.zeros(len(labels), np.bool_)
    first, last = max(0, -offsets.min()), len(labels) - offsets.max()
    for begin in range(first, last, BLOCK):
        end = min(begin + BLOCK, last)
        out, here = uneven[begin:end], labels[begin:end]
        for offset in offsets:
            there = labels[begin + offset : end + offset]
            for i in range(len(out)):  # vectorises
                out[i] |= here[i] != there[i]
    return uneven


@kernel
def nearest(
    queries: Int64Array, seeds: Int64Array, size: tuple[int, int, int], spacing: Floats
) -> NDArray[np.float32]:
    """Euclidean distance from every query to its nearest seed, both flat and in raster order.

    Two sweeps give the gap from every pixel of the points' box to the nearest seed in its column.
    From there a query looks along its row and those of other planes, as far as a nearer seed can
    be, which is fast where surfaces are close. If that takes too long, the separable distance
    transform of the whole box takes over, whose cost does not grow with the distances.
    """
    query, seed = _places(queries, size), _places(seeds, size)
    low, box = _bounding_box(query, seed)
    query -= low
    seed -= low
    gap = _gap_in_column(seed, box)
    squares = np.empty(len(query), np.float64)
    found = _search(gap, query, spacing, squares)
    if found < len(query):
        everywhere = _squared_distances(gap, spacing)
        for i in range(found, len(query)):
            squares[i] = everywhere[query[i, 0], query[i, 1], query[i, 2]]
    return np.sqrt(squares).astype(np.float32)


@kernel
def _places(flat: Int64Array, size: tuple[int, int, int]) -> Ints:
    """Coordinates ``(points, 3)`` of flat positions."""
    places = np.empty((len(flat), 3), np.int32)
    for i in range(len(flat)):
        line = flat[i] // size[2]
        places[i, 0] = line // size[1]
        places[i, 1] = line % size[1]
        places[i, 2] = flat[i] - line * size[2]
    return places


@kernel
def _bounding_box(query: Ints, seed: Ints) -> tuple[Ints, tuple[int, int, int]]:
    """The lowest coordinates of all points, and the size of the box around them."""
    low, high = seed[0].copy(), seed[0].copy()
    for places in (query, seed):
        for i in range(len(places)):
            for axis in range(3):
                low[axis] = min(low[axis], places[i, axis])
                high[axis] = max(high[axis], places[i, axis])
    size = high - low + 1
    return low, (size[0], size[1], size[2])


@kernel
def _gap_in_column(seed: Ints, box: tuple[int, int, int]) -> Ints:
    """Pixels to the nearest seed above or below, ``NONE`` in columns without one."""
    gap = np.empty(box, np.int32)
    gap[:] = NONE
    for i in range(len(seed)):
        gap[seed[i, 0], seed[i, 1], seed[i, 2]] = 0
    for z in range(box[0]):
        for y in range(1, box[1]):
            _lower(gap[z, y], gap[z, y - 1])
        for y in range(box[1] - 2, -1, -1):
            _lower(gap[z, y], gap[z, y + 1])
    return gap


@kernel
def _lower(row: Ints, other: Ints) -> None:
    """Bring a row's gaps down to one more than its neighbour's."""
    for x in range(len(row)):  # vectorises
        row[x] = min(row[x], np.int32(other[x] + 1))


@kernel
def _search(gap: Ints, query: Ints, spacing: Floats, squares: Floats) -> int:
    """Write the queries' squared distances and return for how many the steps sufficed."""
    depth, _, width = gap.shape
    across, along_column, along_row = spacing
    steps = SEARCH_STEPS * gap.size
    for i in range(len(query)):
        z, y, x = query[i]
        best = np.inf
        for dz in range(max(z + 1, depth - z)):
            base = (dz * across) ** 2
            if base >= best:
                break
            for plane in range(z - dz, z + dz + 1, max(1, 2 * dz)):
                if not 0 <= plane < depth:
                    continue
                row = gap[plane, y]
                for dx in range(max(x + 1, width - x)):
                    aside = base + (dx * along_row) ** 2
                    if aside >= best:
                        break
                    steps -= 1
                    if x >= dx and row[x - dx] < NONE:
                        best = min(best, aside + (row[x - dx] * along_column) ** 2)
                    if x + dx < width and row[x + dx] < NONE:
                        best = min(best, aside + (row[x + dx] * along_column) ** 2)
        if steps < 0:
            return i
        squares[i] = best
    return len(query)


@kernel
def _squared_distances(gap: Ints, spacing: Floats) -> NDArray[np.float64]:
    """Squared distance to the nearest seed everywhere in the box: the separable transform."""
    depth, height, width = gap.shape
    squares = np.empty(gap.shape, np.float64)
    for z in range(depth):
        for y in range(height):
            row = squares[z, y]
            for x in range(width):
                gap_ = gap[z, y, x]
                row[x] = (gap_ * spacing[1]) ** 2 if gap_ < NONE else np.inf
            _lower_envelope(row, spacing[2])
    if depth > 1:
        line = np.empty(depth, np.float64)
        for y in range(height):
            for x in range(width):
                line[:] = squares[:, y, x]
                _lower_envelope(line, spacing[0])
                squares[:, y, x] = line
    return squares


@kernel
def _lower_envelope(line: Floats, step: float) -> None:
    """Replace a line by the lower envelope of the parabolas that stand on its entries.

    Felzenszwalb and Huttenlocher (2012), "Distance transforms of sampled functions", algorithm 1.
    """
    foot = np.empty(len(line), np.int64)  # where the parabolas of the envelope stand
    height = np.empty(len(line), np.float64)
    begin = np.empty(len(line) + 1, np.float64)  # from where each is the lowest
    last = -1
    for i in range(len(line)):
        if line[i] == np.inf:
            continue
        place = i * step
        lifted = line[i] + place * place
        crossing = -np.inf
        while last >= 0:
            other = foot[last] * step
            crossing = (lifted - height[last] - other * other) / (2 * (place - other))
            if crossing > begin[last]:
                break
            last -= 1
            crossing = -np.inf
        last += 1
        foot[last], height[last], begin[last] = i, line[i], crossing
    if last < 0:
        return
    begin[last + 1] = np.inf
    lowest = 0
    for i in range(len(line)):
        while begin[lowest + 1] < i * step:
            lowest += 1
        line[i] = ((i - foot[lowest]) * step) ** 2 + height[lowest]


@kernel
def inner(labels: Ints, reach: int) -> Bools:
    """Pixels with one label throughout their window; see ``plain.inner``.

    A line's window is even where the run of equal labels that ends at its far end is long enough,
    a plane's where its lines have been even, and of one label, for long enough.
    """
    depth, height, width = labels.shape
    needed = 2 * reach + 1
    even = np.zeros(labels.shape, np.bool_)
    line = np.empty(width, np.bool_)
    lines = np.empty(width, np.int32)
    for z in range(depth):
        lines[:] = 0
        for y in range(height):
            row, above = labels[z, y], labels[z, max(y - 1, 0)]
            line[:] = False
            run = 0
            for x in range(width):
                run = run + 1 if x and row[x] == row[x - 1] else 1
                if run >= needed:
                    line[x - reach] = True
            for x in range(width):  # vectorises
                lines[x] = (lines[x] * (row[x] == above[x]) + 1) * line[x]
            if y >= reach:
                for x in range(width):
                    even[z, y - reach, x] = lines[x] >= needed
    if depth > 1:  # a volume
        planes = np.zeros((height, width), np.int32)
        for z in range(depth):
            for y in range(height):
                row, below = labels[z, y], labels[max(z - 1, 0), y]
                for x in range(width):
                    planes[y, x] = (planes[y, x] * (row[x] == below[x]) + 1) * even[z, y, x]
            if z >= reach:
                even[z - reach] = planes >= needed
        even[max(depth - reach, 0) :] = False
    return even


@kernel
def band_counts(
    preds: Ints, target: Ints, preds_inner: Bools, target_inner: Bools, labels: int
) -> Int64Array:
    """Hits, predicted and target pixels in the bands; see ``plain.band_counts``."""
    counts = np.zeros((labels, 3), np.int64)
    for i in range(len(target)):
        if target[i] == IGNORED_PIXEL:
            continue
        in_preds = preds[i] >= 0 and not preds_inner[i]
        in_target = target[i] >= 0 and not target_inner[i]
        if in_preds:
            counts[preds[i], 1] += 1
            if in_target and preds[i] == target[i]:
                counts[preds[i], 0] += 1
        if in_target:
            counts[target[i], 2] += 1
    return counts
