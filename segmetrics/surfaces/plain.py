"""Surfaces in NumPy and SciPy: the definition of the kernels, and the fallback without numba.

A label map is an int32 volume ``(depth, height, width)``, padded by ``NO_CLASS`` on all sides; an
image has depth 1 and no padding along it. Points are flat indices, grouped by class and in raster
order within a class; ``start`` ``(classes + 1,)`` is the offset of each class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]

from segmetrics.surfaces.maps import IGNORED_PIXEL, NO_CLASS

BoolArray = NDArray[np.bool_]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
Float64Array = NDArray[np.float64]


def find_pixels(
    labels: Int32Array, offsets: Int64Array, classes: int
) -> tuple[Int64Array, Int64Array]:
    """Pixels of each class with a different label at one of the ``offsets``: points, ``start``."""
    uneven = np.zeros(len(labels), np.bool_)
    for offset in offsets:
        uneven |= np.roll(labels, -offset) != labels
    found = [np.flatnonzero(uneven & (labels == c)) for c in range(classes)]
    return np.concatenate(found), _start(found)


def find_elements(
    labels: Int32Array, offsets: Int64Array, classes: int
) -> tuple[Int64Array, NDArray[np.uint8], Int64Array]:
    """Neighbourhoods that a class fills in part: points, codes and ``start``.

    The point of a neighbourhood is its first corner; ``offsets`` lead from there to all corners.
    """
    found, codes = [], []
    for c in range(classes):
        code = np.zeros(len(labels), np.uint8)
        for corner, offset in enumerate(offsets):
            code |= (np.roll(labels, -offset) == c).astype(np.uint8) << np.uint8(corner)
        found.append(np.flatnonzero((code > 0) & (code < 2 ** len(offsets) - 1)))
        codes.append(code[found[-1]])
    return np.concatenate(found), np.concatenate(codes), _start(found)


def nearest(
    queries: Int64Array, seeds: Int64Array, size: tuple[int, int, int], spacing: Float64Array
) -> NDArray[np.float32]:
    """Euclidean distance from every query to its nearest seed. Neither may be empty."""
    far = np.ones(size, np.bool_)
    far.flat[seeds] = False
    places = np.unravel_index(np.concatenate([queries, seeds]), size)
    box = tuple(slice(axis.min(), axis.max() + 1) for axis in places)
    distances = ndimage.distance_transform_edt(far[box], sampling=spacing)
    here = tuple(axis[: len(queries)] - b.start for axis, b in zip(places, box, strict=True))
    nearest: NDArray[np.float32] = distances[here].astype(np.float32)
    return nearest


def inner(labels: Int32Array, reach: int) -> BoolArray:
    """Pixels whose window of ``2 * reach + 1`` pixels a side holds one label only."""
    window = [2 * reach + 1 if length > 1 else 1 for length in labels.shape]
    outside = {"mode": "constant", "cval": NO_CLASS}
    lowest = ndimage.minimum_filter(labels, window, **outside)
    highest = ndimage.maximum_filter(labels, window, **outside)
    even: BoolArray = lowest == highest
    return even


def band_counts(
    preds: Int32Array,
    target: Int32Array,
    preds_inner: BoolArray,
    target_inner: BoolArray,
    labels: int,
) -> Int64Array:
    """Hits, predicted and target pixels of each label in the bands ``(labels, 3)``; flat inputs.

    The band of a label: its pixels that are not inner ones. Ignored pixels do not count.
    """
    counted = target != IGNORED_PIXEL
    in_preds = (preds >= 0) & ~preds_inner & counted
    in_target = (target >= 0) & ~target_inner & counted
    hits = in_preds & in_target & (preds == target)
    of = ((preds, hits), (preds, in_preds), (target, in_target))
    return np.stack([np.bincount(map_[where], minlength=labels) for map_, where in of], axis=1)


def _start(found: list[Int64Array]) -> Int64Array:
    return np.cumsum([0, *map(len, found)])
