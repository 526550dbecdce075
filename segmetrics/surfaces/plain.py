"""Surfaces by NumPy and SciPy: the definition, and what is used where numba is not installed.

A label map is an int32 array padded by ``NO_CLASS`` on all sides, seen as a volume
``(depth, height, width)``; an image has depth 1 and no padding there. Points are positions in the
flat map, class after class and within a class in raster order; ``start`` ``(classes + 1,)`` says
where each class begins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]

from segmetrics.surfaces.maps import IGNORED_PIXEL, NO_CLASS

Bools = NDArray[np.bool_]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Floats = NDArray[np.float64]


def find_pixels(labels: Ints, offsets: Longs, classes: int) -> tuple[Longs, Longs]:
    """Pixels of a class with another label at one of the ``offsets``: points and ``start``."""
    uneven = np.zeros(len(labels), np.bool_)
    for offset in offsets:
        uneven |= np.roll(labels, -offset) != labels
    found = [np.flatnonzero(uneven & (labels == c)) for c in range(classes)]
    return np.concatenate(found), _start(found)


def find_elements(
    labels: Ints, offsets: Longs, classes: int
) -> tuple[Longs, NDArray[np.uint8], Longs]:
    """Neighbourhoods that a class fills in part: points, codes and ``start``.

    A neighbourhood stands at its first corner; ``offsets`` lead from there to all its corners.
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
    queries: Longs, seeds: Longs, size: tuple[int, int, int], spacing: Floats
) -> NDArray[np.float32]:
    """Euclidean distance from every query to its nearest seed; at least one of each."""
    far = np.ones(size, np.bool_)
    far.flat[seeds] = False
    places = np.unravel_index(np.concatenate([queries, seeds]), size)
    box = tuple(slice(axis.min(), axis.max() + 1) for axis in places)
    distances = ndimage.distance_transform_edt(far[box], sampling=spacing)
    here = tuple(axis[: len(queries)] - b.start for axis, b in zip(places, box, strict=True))
    nearest: NDArray[np.float32] = distances[here].astype(np.float32)
    return nearest


def inner(labels: Ints, reach: int) -> Bools:
    """Pixels with one label throughout the window that reaches ``reach`` pixels to all sides."""
    window = [2 * reach + 1 if length > 1 else 1 for length in labels.shape]
    outside = {"mode": "constant", "cval": NO_CLASS}
    lowest = ndimage.minimum_filter(labels, window, **outside)
    highest = ndimage.maximum_filter(labels, window, **outside)
    even: Bools = lowest == highest
    return even


def band_counts(
    preds: Ints, target: Ints, preds_inner: Bools, target_inner: Bools, labels: int
) -> Longs:
    """Hits, predicted and target pixels of each label in the bands ``(labels, 3)``; flat inputs.

    A label's band are its pixels that are not inner ones. Ignored pixels do not count.
    """
    counted = target != IGNORED_PIXEL
    in_preds = (preds >= 0) & ~preds_inner & counted
    in_target = (target >= 0) & ~target_inner & counted
    hits = in_preds & in_target & (preds == target)
    of = ((preds, hits), (preds, in_preds), (target, in_target))
    return np.stack([np.bincount(map_[where], minlength=labels) for map_, where in of], axis=1)


def _start(found: list[Longs]) -> Longs:
    return np.cumsum([0, *map(len, found)])
