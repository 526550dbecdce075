"""Counts wrong pixels by kind (boundary, extent, segment), and pixels by their distance to a
boundary. Needs no torch.

Label maps are int32 volumes ``(depth, height, width)`` without padding, with the sentinels
``NO_CLASS`` and, in targets, ``IGNORED_PIXEL``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from segmetrics._compile import kernel
from segmetrics.objects.cpu import components
from segmetrics.surfaces.maps import IGNORED_PIXEL, NO_CLASS

BoolArray = NDArray[np.bool_]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]

#: The columns of ``count_errors``.
RIGHT, FALSE, MISSED = 0, slice(1, 4), slice(4, 7)
#: Sentinel: the square of a distance that is out of reach.
FAR = 2**30
#: The kinds of errors, of false and of missed pixels alike.
KINDS = ("boundary", "extent", "segment")


def count_errors(preds: Int32Array, target: Int32Array, labels: int, reach: int) -> Int64Array:
    """Pixels of every label ``(labels, 7)``: right, false of three kinds, missed of three kinds.

    Candidates for boundary errors are the wrong pixels of a class that have true positives and true
    negatives of it both within ``reach``, and the wrong pixels within ``reach`` of those. They are
    boundary errors if their connected piece touches both. Any other wrong pixel is an extent error
    if its segment, the connected pixels of the class in the prediction (false) or in the target
    (missed), holds a right pixel, and a segment error if not. Pixels that touch at a corner are
    connected. A distance is within ``reach`` if it rounds to at most ``reach``. Segments are found
    in the whole maps; only then are ignored pixels left out.

    Source: Bernhard et al., "What's Outside the Intersection? Fine-grained Error Analysis for
    Semantic Segmentation Beyond IoU", WACV 2024, section 3.
    """
    right = (preds == target) & (target >= 0)
    counts = np.zeros((labels, 7), np.int64)
    counts[:, RIGHT] = np.bincount(target[right], minlength=labels)
    at_boundary = _boundary_errors(preds, target, labels, reach)
    for columns, of, boundary in ((FALSE, preds, at_boundary[0]), (MISSED, target, at_boundary[1])):
        objects = components(of, True)
        numbers = objects.map()
        hit = np.zeros(len(objects.classes) + 1, np.bool_)
        hit[numbers[right]] = True
        wrong = (of >= 0) & ~right & (target != IGNORED_PIXEL)
        kind = np.where(boundary[wrong], 0, np.where(hit[numbers[wrong]], 1, 2))
        found = np.bincount(of[wrong] * 3 + kind, minlength=3 * labels)
        counts[:, columns] = found.reshape(labels, 3)
    return counts


def count_near_boundaries(
    preds: Int32Array, target: Int32Array, labels: int, reach: int
) -> Int64Array:
    """Right, predicted and target pixels of every label ``(reach, labels, 3)`` near boundaries.

    Entry d − 1 counts the pixels within d of the nearest pixel with a different label in the
    target, ignored ones included: the trimap of width d around all boundaries.

    Source: Kohli, Ladický and Torr, "Robust Higher Order Potentials for Enforcing Label
    Consistency", IJCV 82 (2009), section 5.3; Csurka et al., "What is a good evaluation measure for
    semantic segmentation?", BMVC 2013, section 3.
    """
    ring = _rings(target, reach)
    near = (ring <= reach) & (target >= 0)
    ring, preds, target = ring[near] - 1, preds[near], target[near]
    counts = np.zeros((reach, labels, 3), np.int64)
    for column, (of, where) in enumerate(
        ((target, preds == target), (preds, preds >= 0), (target, target >= 0))
    ):
        found = np.bincount(ring[where] * labels + of[where], minlength=reach * labels)
        counts[..., column] = found.reshape(reach, labels)
    return counts.cumsum(0)


# --- Boundary errors ------------------------------------------------------------------------------


def _boundary_errors(
    preds: Int32Array, target: Int32Array, labels: int, reach: int
) -> tuple[BoolArray, BoolArray]:
    """False and missed pixels that are boundary errors."""
    false, missed = np.zeros((2, *preds.shape), np.bool_)
    differ = preds != target
    for c in np.union1d(preds[differ], target[differ]).tolist():
        if not 0 <= c < labels:
            continue
        in_preds, in_target = preds == c, target == c
        box = _box(in_preds | in_target, reach)
        in_preds, in_target = in_preds[box], in_target[box]
        wrong = in_preds != in_target
        both = _near(wrong, in_preds & in_target, reach)
        both &= _near(wrong, ~(in_preds | in_target), reach)
        for of_class, found in ((in_preds & ~in_target, false), (in_target & ~in_preds, missed)):
            found[box] |= _near(of_class, of_class & both, reach)
    return _touching(false, preds, preds, target), _touching(missed, target, preds, target)


def _touching(
    errors: BoolArray, of: Int32Array, preds: Int32Array, target: Int32Array
) -> BoolArray:
    """The errors whose connected piece touches true positives and true negatives of the class."""
    pieces = components(np.where(errors, of, NO_CLASS), True)
    numbers = pieces.map()[errors]
    hit, neither = np.zeros((2, len(pieces.classes)), np.bool_)
    sides = [1 if length > 1 else 0 for length in errors.shape]
    pads = [(side, side) for side in sides]
    # a sentinel beyond the border, which is neither right nor of another class
    beyond = np.iinfo(np.int32).min
    wide = [np.pad(side, pads, constant_values=beyond) for side in (preds, target)]
    places = np.nonzero(errors)
    own = of[errors]
    for move in product(*(range(-side, side + 1) for side in sides)):
        there = tuple(axis + side + m for axis, side, m in zip(places, sides, move, strict=True))
        in_preds, in_target = (side[there] for side in wide)
        hit[numbers[(in_preds == own) & (in_target == own)]] = True
        neither[numbers[(in_preds != own) & (in_target != own) & (in_target != beyond)]] = True
    kept: BoolArray = errors.copy()
    kept[errors] = (hit & neither)[numbers]
    return kept


# --- Distances ------------------------------------------------------------------------------------


def _rings(target: Int32Array, reach: int) -> Int64Array:
    """Distance to the nearest pixel with a different label, rounded up, at most reach + 1."""
    rings = np.full(target.shape, reach + 1, np.int64)
    for c in np.unique(target[target >= 0]).tolist():
        inside = target == c
        box = _box(inside, reach)
        inside = inside[box]
        squares = squared_distances(inside, ~inside, reach)[inside]
        rings[box][inside] = np.minimum(np.ceil(np.sqrt(squares)), reach + 1)
    return rings


def _near(places: BoolArray, seeds: BoolArray, reach: int) -> BoolArray:
    """The places whose distance to a seed rounds to at most ``reach``."""
    near: BoolArray = places & (squared_distances(places, seeds, reach) <= reach * (reach + 1))
    return near


@kernel
def squared_distances(places: BoolArray, seeds: BoolArray, reach: int) -> Int32Array:
    """Squared distance from every place to the nearest seed; ``FAR`` if that is out of reach.

    A seed is out of reach if it is more than ``reach`` away along an axis. Two sweeps find the gap
    to the nearest seed in each column; each place then takes the minimum over the columns within
    reach.
    """
    depth, height, width = places.shape
    gap = np.full(places.shape, reach + 1, np.int32)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if seeds[z, y, x]:
                    gap[z, y, x] = 0
                elif y:
                    gap[z, y, x] = min(gap[z, y, x], gap[z, y - 1, x] + 1)
        for y in range(height - 2, -1, -1):
            for x in range(width):
                gap[z, y, x] = min(gap[z, y, x], gap[z, y + 1, x] + 1)
    found = np.full(places.shape, FAR, np.int32)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if not places[z, y, x]:
                    continue
                best = FAR
                for plane in range(max(0, z - reach), min(depth, z + reach + 1)):
                    for column in range(max(0, x - reach), min(width, x + reach + 1)):
                        away = gap[plane, y, column]
                        if away <= reach:
                            dz, dx = plane - z, column - x
                            best = min(best, away * away + dz * dz + dx * dx)
                found[z, y, x] = best
    return found


def _box(inside: BoolArray, margin: int) -> tuple[slice, ...]:
    """The smallest box of all pixels inside, with a margin."""
    return tuple(_sides(inside, margin))


def _sides(inside: BoolArray, margin: int) -> Iterator[slice]:
    for axis in range(inside.ndim):
        others = tuple(other for other in range(inside.ndim) if other != axis)
        (filled,) = np.nonzero(inside.any(others))
        yield slice(max(0, filled.min() - margin), filled.max() + margin + 1)
