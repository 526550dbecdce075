"""Counts the bands of two label maps in NumPy arrays, for the command. Needs no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics.counting.codes import IGNORED, preds_codes, target_codes, to_int64
from segmetrics.counting.settings import Counting, Pixels
from segmetrics.surfaces import BandCounting, axes_of_size
from segmetrics.surfaces.cpu import band_counts, inner
from segmetrics.surfaces.cpu_maps import read_maps, readable
from segmetrics.surfaces.maps import IGNORED_PIXEL, NO_CLASS, Maps, volumes

Array = NDArray[Any]


def count_bands(preds: Array, target: Array, counting: BandCounting) -> NDArray[np.int64]:
    """Hits, predicted and target pixels in the labels' bands, ``(labels, 3)``.

    Args:
        preds: labels of one image or volume, none of them bad.
        target: labels of the same shape.
        counting: what is counted.
    """
    shape = [target.shape[axis] for axis in axes_of_size(target.shape)]
    maps = label_maps(preds.reshape(shape), target.reshape(shape), counting)
    (preds,), (target,) = map(volumes, maps)
    reach = counting.reach(shape)
    counts: NDArray[np.int64] = band_counts(
        preds.ravel(), target.ravel(), inner(preds, reach).ravel(), inner(target, reach).ravel(),
        counting.labels,
    )  # fmt: skip
    return counts


def volumes_of(
    preds: Array, target: Array, counting: BandCounting
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The labels of both as volumes ``(depth, height, width)`` without padding, see ``maps``."""
    shape = [target.shape[axis] for axis in axes_of_size(target.shape)]
    maps = label_maps(preds.reshape(shape), target.reshape(shape), counting)
    inner = tuple(slice(1, -1) for _ in shape)
    (of_preds,), (of_target,) = (volumes([side[0][inner]]) for side in maps)
    return np.ascontiguousarray(of_preds), np.ascontiguousarray(of_target)


def label_maps(preds: Array, target: Array, counting: Counting) -> Maps:
    """The label maps, see ``maps.read_maps``."""
    pixels = Pixels(preds[None, None], target[None, None], "labels", "labels")
    if readable(pixels, counting):
        return read_maps(pixels, counting, 0, False)[0]
    of_target = target_codes(to_int64(target), counting)
    of_preds = preds_codes(to_int64(preds), counting)
    found = [np.where(codes < counting.labels, codes, NO_CLASS) for codes in (of_preds, of_target)]
    found[1][of_target == counting.labels + IGNORED] = IGNORED_PIXEL
    return Maps(
        *(np.pad(side, 1, constant_values=NO_CLASS)[None].astype(np.int32) for side in found)
    )
