"""Objects and their pairs by NumPy and SciPy: the definition, and the way without numba.

Maps are volumes ``(depth, height, width)`` of integers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]

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


class Objects(NamedTuple):
    """The number of the object at every pixel, and the objects' classes.

    Where there is no object, ``numbers`` are ``NO_OBJECT`` or ``IGNORED``.
    """

    numbers: Ints
    classes: Ints

    def map(self) -> Ints:
        """The number of the object at every pixel."""
        return self.numbers


def components(labels: NDArray[Any], full: bool, meaning: Meaning | None = None) -> Objects:
    """Connected components of the classes of a label map.

    Args:
        labels: classes from 0 on, ``NO_OBJECT`` or ``IGNORED``.
        full: whether pixels that share a corner or an edge are connected, not only a face.
        meaning: says what the values of ``labels`` mean, see ``table.Meaning``.
    """
    if meaning is not None:
        labels = meaning(labels.reshape(-1).astype(np.int64)).reshape(labels.shape)
    found = np.zeros(labels.shape, np.int64)
    structure = ndimage.generate_binary_structure(3, 3 if full else 1)
    number = 0
    for label in np.unique(labels[labels >= 0]):
        pieces, pieces_of_label = ndimage.label(labels == label, structure, output=np.int64)
        found += np.where(pieces > 0, pieces + number, 0)
        number += pieces_of_label
    return _in_raster_order(found, labels)


def relabelled(labels: NDArray[Any], new: NDArray[np.int32]) -> NDArray[np.int32]:
    """A map with other labels: ``new`` holds those for ``IGNORED``, ``NO_OBJECT``, 0, 1 and on."""
    return new[labels.astype(np.intp) - IGNORED]


def segments(pixels: NDArray[Any] | Runs, classify: Classify) -> Objects:
    """Objects that are given by the values of their pixels, connected or not.

    Args:
        pixels: the values of every pixel ``(depth, height, width, values)``, or their runs.
        classify: see ``table.Classify``.
    """
    if isinstance(pixels, Runs):
        flat = np.repeat(pixels.values, np.diff(pixels.starts), axis=0)
        pixels = flat.reshape((1,) * (3 - len(pixels.size)) + pixels.size + flat.shape[1:])
    values, place = np.unique(
        pixels.reshape(-1, pixels.shape[-1]).astype(np.int64), axis=0, return_inverse=True
    )
    of_values, ids = classify(values)
    place = place.ravel()  # NumPy 2.0 gives it one more dimension
    classes = of_values[place].reshape(pixels.shape[:-1])
    _, named = np.unique(np.stack([of_values, ids]), axis=1, return_inverse=True)
    found = named.ravel()[place] + 1
    return _in_raster_order(np.where(classes >= 0, found.reshape(classes.shape), 0), classes)


def numbered(numbers: NDArray[np.int32], classes: Ints) -> Objects:
    """Objects whose numbers are given at every pixel, and their classes."""
    return Objects(numbers.astype(np.int64), classes)


def count(preds: Objects, target: Objects) -> ObjectPairs:
    """The table of two maps' objects."""
    ignored = (preds.numbers == IGNORED) | (target.numbers == IGNORED)
    both = ~ignored & (target.numbers >= 0) & (preds.numbers >= 0)
    found = np.stack([target.numbers[both], preds.numbers[both]])
    pairs, pixels = np.unique(found, axis=1, return_counts=True)
    return ObjectPairs(
        target=_side(target, preds, ignored),
        preds=_side(preds, target, ignored),
        pair_target=pairs[0],
        pair_preds=pairs[1],
        pair_pixels=pixels.astype(np.int64),
        pixels=int(np.count_nonzero(~ignored)),
    )


def _in_raster_order(found: Ints, labels: NDArray[Any]) -> Objects:
    """Number objects from 0 on by their first pixels; 0 in ``found`` is none."""
    names, first = np.unique(found, return_index=True)
    order = np.argsort(first[names > 0])
    number = np.zeros(found.max(initial=0) + 1, np.int64)
    number[names[names > 0][order]] = np.arange(len(order))
    none = np.where(labels == IGNORED, IGNORED, NO_OBJECT)
    classes = labels.ravel()[first[names > 0][order]].astype(np.int64)
    return Objects(np.where(found > 0, number[found], none), classes)


def _side(objects: Objects, other: Objects, ignored: NDArray[np.bool_]) -> Side:
    number = len(objects.classes)
    boxes = np.empty((number, 3, 2), np.int64)
    boxes[..., 0], boxes[..., 1] = np.array(objects.numbers.shape), -1
    for one in range(number):
        where = np.nonzero((objects.numbers == one) & ~ignored)
        if len(where[0]):
            boxes[one] = [(axis.min(), axis.max()) for axis in where]
    here = objects.numbers >= 0
    sizes = np.bincount(objects.numbers[here & ~ignored], minlength=number)
    lost = np.bincount(objects.numbers[here & (other.numbers == IGNORED)], minlength=number)
    return Side(objects.classes, sizes, lost, boxes)
