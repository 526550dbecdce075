"""Objects and their pairs by runs: kernels that release the GIL.

What they compute is defined in ``plain.py``. Neighbours are mostly equal, so a flat map is cut into
runs of equal pixels once; components and pairs are found among the runs.

A components library has no place here. For one map of 1024×2048 with 280 components cc3d 4.1 takes
2.4 ms and this 0.8, for a volume of 512×512×100 with 240 lesions 44 ms and 24. On noise cc3d is
twice as fast (20 and 37 ms), but that is a sixth of the whole: most goes into the pairs, sizes and
boxes of 150,000 objects a map.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segmetrics._compile import kernel
from segmetrics.counting.cpu_intrinsics import BITS, place_of_lowest_one, run_ends
from segmetrics.objects.table import (
    IGNORED,
    NO_OBJECT,
    Classify,
    Ints,
    Meaning,
    ObjectPairs,
    Runs,
    Side,
)

#: The state of ``count_runs``: runs, pixel, pairs found and pixels counted so far.
RUN, OTHER_RUN, BEGIN, FOUND, COUNTED = range(5)

#: Multiplies a key in the hash table: 2**64 divided by the golden ratio, odd.
SPREAD = np.uint64(0x9E3779B97F4A7C15)


class Objects(NamedTuple):
    """Runs of pixels of one object each, and the objects' classes.

    Attributes:
        starts: position of every run's first pixel in the flat map, then the number of pixels.
        numbers: the object of every run, ``NO_OBJECT`` or ``IGNORED``.
        size: of the map.
        classes: class of every object.
    """

    starts: NDArray[Any]
    numbers: NDArray[Any]
    size: tuple[int, int, int]
    classes: Ints

    def map(self) -> NDArray[Any]:
        """The number of the object at every pixel."""
        return np.repeat(self.numbers, np.diff(self.starts)).reshape(self.size)


def components(labels: NDArray[Any], full: bool, meaning: Meaning | None = None) -> Objects:
    """Connected components of a label map; see ``plain.components``."""
    starts, values = _runs(labels.reshape(labels.size, 1))
    classes = values[:, 0] if meaning is None else meaning(values[:, 0])
    depth, height, width = size = _size(labels)
    starts, classes = cut_rows(starts, classes, depth * height, width)
    numbers, first = join_runs(classes, starts, depth * height, height, width, full)
    return Objects(starts, numbers, size, classes[first])


def relabelled(labels: NDArray[Any], new: NDArray[np.int32]) -> NDArray[np.int32]:
    """A map with other labels; see ``plain.relabelled``."""
    volume = labels.reshape((1,) * (3 - labels.ndim) + labels.shape)
    found = np.empty(volume.shape, np.int32)
    relabel(volume, new, found)
    return found.reshape(labels.shape)


def segments(pixels: NDArray[Any] | Runs, classify: Classify) -> Objects:
    """Objects that are given by the values of their pixels; see ``plain.segments``."""
    starts, values, size = pixels if isinstance(pixels, Runs) else _cut(pixels)
    values = values.astype(np.int64, copy=False)
    names, first = _names(_keys(values))
    classes, ids = classify(values[first])
    # values of the same object get the number of the first; values without an object get none
    objects, earliest = _names(_keys(np.stack([classes, ids], 1)))
    is_object = classes[earliest] >= 0
    number = (np.cumsum(is_object) - 1)[objects]
    numbers = np.where(classes >= 0, number, np.where(classes == IGNORED, IGNORED, NO_OBJECT))
    depth, height, width = (1,) * (3 - len(size)) + size
    of_objects = classes[earliest][is_object]
    return Objects(starts, numbers.astype(starts.dtype)[names], (depth, height, width), of_objects)


def numbered(numbers: NDArray[np.int32], classes: Ints) -> Objects:
    """Objects whose numbers are given at every pixel, and their classes."""
    starts, values = _runs(numbers.reshape(numbers.size, 1))
    return Objects(starts, values[:, 0].astype(starts.dtype), _size(numbers), classes)


def count(preds: Objects, target: Objects) -> ObjectPairs:
    """The table of two maps' objects; see ``plain.count``."""
    columns = max(1, len(preds.classes))
    preds_pixels, target_pixels = (np.zeros((len(x.classes), 2), np.int64) for x in (preds, target))
    preds_boxes, target_boxes = _empty_boxes(preds), _empty_boxes(target)
    table, state = new_table(1024), np.zeros(5, np.int64)
    while not count_runs(
        preds.starts,
        preds.numbers,
        target.starts,
        target.numbers,
        target.size,
        columns,
        preds_pixels,
        target_pixels,
        preds_boxes,
        target_boxes,
        *table,
        state,
    ):
        table = larger_table(*table)
    keys, pixels = (column[: state[FOUND]] for column in table[:2])
    order = np.argsort(keys)
    of_target, of_preds = np.divmod(keys[order], columns)
    return ObjectPairs(
        target=Side(target.classes, target_pixels[:, 0], target_pixels[:, 1], target_boxes),
        preds=Side(preds.classes, preds_pixels[:, 0], preds_pixels[:, 1], preds_boxes),
        pair_target=of_target,
        pair_preds=of_preds,
        pair_pixels=pixels[order],
        pixels=int(state[COUNTED]),
    )


def _empty_boxes(objects: Objects) -> Ints:
    """The boxes of objects without a pixel: begin after the last place, end before the first."""
    boxes = np.empty((len(objects.classes), 3, 2), np.int64)
    boxes[..., 0], boxes[..., 1] = np.array(objects.size), -1
    return boxes


def _cut(pixels: NDArray[Any]) -> Runs:
    """The runs of a map ``(..., W, values)``."""
    return Runs(*_runs(pixels.reshape(-1, pixels.shape[-1])), pixels.shape[:-1])


def _runs(pixels: NDArray[Any]) -> tuple[NDArray[Any], Ints]:
    """The starts of the runs of equal pixels ``(n, values)``, then n; the values of every run."""
    pixels = np.ascontiguousarray(pixels)
    dtype = np.int32 if pixels.size < 2**31 else np.int64
    if not pixels.size:
        return np.zeros(1, dtype), np.zeros((0, pixels.shape[1]), np.int64)
    flat = pixels.view(f"u{pixels.itemsize}").reshape(-1)  # four dtypes: fewer kernels are compiled
    starts, state = np.zeros(4096, dtype), np.array([1, 0])
    while not find_runs(flat, pixels.shape[1], starts, state):
        starts = np.append(starts, np.empty_like(starts))
    starts = starts[: state[0] + 1]
    return starts, pixels.take(starts[:-1], 0).astype(np.int64, copy=False)


def _keys(values: Ints) -> Ints:
    """One number for each row ``(n, values)``, different for different rows."""
    if values.shape[1] == 1:
        return np.ascontiguousarray(values[:, 0])
    keys, spans = np.zeros(len(values), np.int64), 1
    for column in values.T if len(values) else ():
        low, span = int(column.min()), int(column.max()) - int(column.min()) + 1
        if spans * span >= 2**63:
            keys, column = (np.unique(part, return_inverse=True)[1] for part in (keys, column))
            low, spans, span = 0, len(values), len(values)
        keys, spans = keys * span + (column - low), spans * span
    return keys


def _names(keys: Ints) -> tuple[Ints, Ints]:
    """Number distinct keys by first occurrence, and return where each first occurs."""
    names, state = np.empty(len(keys), np.int64), np.zeros(2, np.int64)
    table = new_table(1024)
    while not name_keys(keys, names, *table, state):
        table = larger_table(*table)
    return names, table[1][: state[1]]


def _size(volume: NDArray[Any]) -> tuple[int, int, int]:
    depth, height, width = volume.shape[:3]
    return depth, height, width


@kernel
def relabel(labels: NDArray[Any], new: NDArray[np.int32], found: NDArray[np.int32]) -> None:
    """Look up every label, from ``IGNORED`` on, in ``new``."""
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                found[z, y, x] = new[labels[z, y, x] - IGNORED]


@kernel
def find_runs(flat: NDArray[Any], values: int, starts: NDArray[Any], state: Ints) -> bool:
    """Add the starts of runs from ``state`` on (runs, place), and say whether there was room.

    A run is of equal pixels with several values each; see ``_runs``.
    """
    found, place = state
    while found + BITS < len(starts) and place + BITS + values <= len(flat):
        left = run_ends(flat, place, values)
        while left:
            found = _add_start(place + place_of_lowest_one(left), values, starts, found)
            left &= left - np.uint64(1)
        place += BITS
    complete = found + BITS < len(starts)
    if complete:
        for i in range(place, len(flat) - values):
            if flat[i] != flat[i + values]:
                found = _add_start(i, values, starts, found)
        starts[found] = len(flat) // values
    state[:] = found, place
    return bool(complete)


@kernel
def _add_start(place: int, values: int, starts: NDArray[Any], found: int) -> int:
    """Add the run behind the pixel that the value at ``place`` belongs to, if it is new."""
    start = (place if values == 1 else place // values) + 1
    found += start != starts[found - 1]
    starts[found - 1] = start
    return found


@kernel
def cut_rows(
    starts: NDArray[Any], classes: Ints, rows: int, width: int
) -> tuple[NDArray[Any], Ints]:
    """Runs of different classes; a run of an object lies within a row."""
    cut, cut_classes = (
        np.empty(len(starts) + rows, starts.dtype),
        np.empty(len(starts) + rows, np.int64),
    )
    found, row_end = 0, 0
    for i in range(len(classes)):
        begin = starts[i]
        while begin < starts[i + 1]:
            end, joined = starts[i + 1], found > 0 and cut_classes[found - 1] == classes[i]
            if classes[i] >= 0:
                if begin >= row_end:
                    row_end = (begin // width + 1) * width
                end, joined = min(end, row_end), joined and begin > row_end - width
            if not joined:
                cut[found], cut_classes[found] = begin, classes[i]
                found += 1
            begin = end
    cut[found] = starts[-1]
    return cut[: found + 1].copy(), cut_classes[:found].copy()


@kernel
def join_runs(
    classes: Ints, starts: NDArray[Any], rows: int, height: int, width: int, full: bool
) -> tuple[NDArray[Any], Ints]:
    """Number the components among runs, and say which run is the first of each.

    A union-find among the runs of objects: the parent of one is an earlier one of its component, or
    itself.
    """
    numbers = np.empty(len(classes), starts.dtype)
    number = 0
    for i in range(len(classes)):
        numbers[i] = IGNORED if classes[i] == IGNORED else NO_OBJECT
        number += classes[i] >= 0
    runs, of_objects = np.empty(number, np.int64), np.empty(number, np.int64)
    ends = np.empty((number, 2), np.int32)  # of the run within its row
    first_of_row = np.empty(rows + 1, np.int64)
    parents = np.arange(number)
    number, row = 0, -1
    for i in range(len(classes)):
        if classes[i] >= 0:
            while starts[i] >= (row + 1) * width:
                row += 1
                first_of_row[row] = number
            runs[number], of_objects[number] = i, classes[i]
            ends[number, 0] = starts[i] - row * width
            ends[number, 1] = starts[i + 1] - row * width
            number += 1
    first_of_row[row + 1 :] = number
    for row in range(rows):
        if first_of_row[row] == first_of_row[row + 1]:
            continue
        y = row % height
        if y > 0:
            _join_rows(row - 1, row, of_objects, ends, first_of_row, full, parents)
        if row >= height:
            _join_rows(row - height, row, of_objects, ends, first_of_row, full, parents)
            if full and y > 0:
                _join_rows(row - height - 1, row, of_objects, ends, first_of_row, full, parents)
            if full and y < height - 1:
                _join_rows(row - height + 1, row, of_objects, ends, first_of_row, full, parents)
    found = 0
    for i in range(number):
        found += parents[i] == i
    first = np.empty(found, np.int64)
    found = 0
    for i in range(number):  # parents come first: they are numbers already
        if parents[i] == i:
            first[found] = runs[i]
            parents[i] = found
            found += 1
        else:
            parents[i] = parents[parents[i]]
        numbers[runs[i]] = parents[i]
    return numbers, first


@kernel
def _join_rows(
    one: int,
    other: int,
    classes: Ints,
    ends: NDArray[np.int32],
    first_of_row: Ints,
    full: bool,
    parents: Ints,
) -> None:
    """Join the runs of one class that touch between two rows."""
    i, j = first_of_row[one], first_of_row[other]
    last, other_last = first_of_row[one + 1], first_of_row[other + 1]
    corner = 1 if full else 0
    while i < last and j < other_last:
        touch = ends[i, 0] < ends[j, 1] + corner and ends[j, 0] < ends[i, 1] + corner
        if touch and classes[i] == classes[j]:
            _join(i, j, parents)
        end, other_end = ends[i, 1], ends[j, 1]
        next_touches = full and end == other_end and j + 1 < other_last
        if next_touches and ends[j + 1, 0] == end and classes[i] == classes[j + 1]:
            _join(i, j + 1, parents)  # by a corner
        if end <= other_end:
            i += 1
        else:
            j += 1


@kernel
def _join(one: int, other: int, parents: Ints) -> None:
    one, other = _root(one, parents), _root(other, parents)
    parents[max(one, other)] = min(one, other)


@kernel
def _root(run: int, parents: Ints) -> int:
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run


@kernel
def count_runs(
    preds_starts: NDArray[Any],
    preds_numbers: NDArray[Any],
    target_starts: NDArray[Any],
    target_numbers: NDArray[Any],
    size: tuple[int, int, int],
    columns: int,
    preds_pixels: Ints,
    target_pixels: Ints,
    preds_boxes: Ints,
    target_boxes: Ints,
    keys: Ints,
    pixels: Ints,
    slots: Ints,
    state: Ints,
) -> bool:
    """Intersect the runs of two maps from ``state`` on, and say whether the table had room.

    Adds the objects' pixels that count and that are ignored ``(n, 2)``, widens their boxes
    ``(n, 3, 2)``, and adds to the table: ``target * columns + preds`` and the pixels of each pair.
    (To grow the table here would make every step of the loop ten times as slow.)
    """
    height, width = size[1:]
    i, j, begin, found, counted = state
    row, row_end = 0, 0
    while begin < preds_starts[-1] and found < len(keys):
        end = min(preds_starts[i + 1], target_starts[j + 1])
        here, there = preds_numbers[i], target_numbers[j]
        ignored = here == IGNORED or there == IGNORED
        counted += 0 if ignored else end - begin
        if here >= 0:
            preds_pixels[here, int(ignored)] += end - begin
        if there >= 0:
            target_pixels[there, int(ignored)] += end - begin
        if not ignored and (here >= 0 or there >= 0):
            if begin >= row_end:
                row = begin // width
                row_end = (row + 1) * width
            last_row, left, right = row, begin - row * width, end - 1 - row * width
            if end > row_end:
                last_row, left, right = (end - 1) // width, 0, width - 1
            if here >= 0:
                _widen(preds_boxes[here], row, last_row, height, left, right)
            if there >= 0:
                _widen(target_boxes[there], row, last_row, height, left, right)
        if here >= 0 and there >= 0:
            key = there * columns + here
            slot = _hash(key) & (len(slots) - 1)
            while slots[slot] >= 0 and keys[slots[slot]] != key:
                slot = (slot + 1) & (len(slots) - 1)
            if slots[slot] < 0:
                slots[slot] = found
                keys[found], pixels[found] = key, 0
                found += 1
            pixels[slots[slot]] += end - begin
        i += end == preds_starts[i + 1]
        j += end == target_starts[j + 1]
        begin = end
    state[:] = i, j, begin, found, counted
    return bool(begin == preds_starts[-1])


@kernel
def name_keys(given: Ints, names: Ints, keys: Ints, first: Ints, slots: Ints, state: Ints) -> bool:
    """Number keys from ``state`` on (how many are numbered, numbers); returns whether they fit."""
    i, found = state
    while i < len(given) and found < len(keys):
        slot = _hash(given[i]) & (len(slots) - 1)
        while slots[slot] >= 0 and keys[slots[slot]] != given[i]:
            slot = (slot + 1) & (len(slots) - 1)
        if slots[slot] < 0:
            slots[slot] = found
            keys[found], first[found] = given[i], i
            found += 1
        names[i] = slots[slot]
        i += 1
    state[:] = i, found
    return bool(i == len(given))


def new_table(capacity: int) -> tuple[Ints, Ints, Ints]:
    """A hash table: keys and values in order of insertion, and the places of keys."""
    return *np.empty((2, capacity), np.int64), np.full(4 * capacity, -1, np.int64)


def larger_table(keys: Ints, values: Ints, slots: Ints) -> tuple[Ints, Ints, Ints]:
    """A hash table with the same keys and four times the room."""
    larger = new_table(4 * len(keys))
    larger[0][: len(keys)], larger[1][: len(keys)] = keys, values
    place_keys(keys, larger[2])
    return larger


@kernel
def place_keys(keys: Ints, slots: Ints) -> None:
    """Enter keys that differ into an empty hash table."""
    for entry in range(len(keys)):
        slot = _hash(keys[entry]) & (len(slots) - 1)
        while slots[slot] >= 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = entry


@kernel
def _hash(key: int) -> int:
    return int((np.uint64(key) * SPREAD) >> np.uint64(32))


@kernel
def _widen(box: Ints, row: int, last_row: int, height: int, left: int, right: int) -> None:
    """Widen the box ``(3, 2)`` of an object by a run, from a row of the volume to another."""
    plane, last_plane = row // height, last_row // height
    top, bottom = row - plane * height, last_row - last_plane * height
    if plane != last_plane:
        top, bottom = 0, height - 1
    box[0, 0], box[0, 1] = min(box[0, 0], plane), last_plane
    box[1, 0], box[1, 1] = min(box[1, 0], top), max(box[1, 1], bottom)
    box[2, 0], box[2, 1] = min(box[2, 0], left), max(box[2, 1], right)
