"""Padding of volumes without their empty slices to a common extent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segmetrics.files.grids import TOLERANCE
from segmetrics.files.masks import LabelMap

Int64Array = NDArray[np.int64]


def united(preds: LabelMap, target: LabelMap) -> tuple[LabelMap, LabelMap]:
    """Both masks with the slices that only one of them has.

    DICOM SEG leaves out slices without any segment, so two of the same scan rarely have the same
    slices. What it leaves out is 0; a mask of a format that holds all slices is not extended. Masks
    that are on different grids come back as they are, and so do all others.
    """
    if not (_is_sparse(preds) or _is_sparse(target)):
        return preds, target
    padding = _padding(preds, target)
    if padding is not None:
        preds, target = (
            _padded(mask, around) for mask, around in zip((preds, target), padding, strict=True)
        )
    if preds.values.ndim != target.values.ndim:  # one slice, and an image
        preds, target = _as_image(preds), _as_image(target)
    return preds, target


def _is_sparse(mask: LabelMap) -> bool:
    return mask.grid is not None and mask.grid.sparse and mask.grid.placed


def _padding(preds: LabelMap, target: LabelMap) -> tuple[Int64Array, Int64Array] | None:
    """The number of missing elements at both ends of each axis, ``(axes, 2)`` a mask.

    None where the grids differ by more than their extent, or a mask that is not sparse lacks some.
    """
    own, to = preds.grid, target.grid
    same_axes = preds.values.ndim == target.values.ndim
    if own is None or to is None or not (same_axes and own.is_regular and to.is_regular):
        return None
    into = np.linalg.pinv(to.steps)
    turn = into @ own.steps  # steps of the prediction, in the target's elements
    signs = np.rint(turn).astype(np.int64)
    axes = np.abs(signs).argmax(0)  # the target's axis of each of the prediction's
    if sorted(axes.tolist()) != list(range(len(axes))) or np.abs(signs).sum() != len(axes):
        return None
    size, to_size = np.array(preds.values.shape), np.array(target.values.shape)
    first = into @ (own.origin - to.origin)
    ends = np.stack([first, first + turn @ (size - 1)], 1)
    corners = np.rint(ends).astype(np.int64)
    if np.abs(ends - corners).max() > TOLERANCE or np.abs(turn - signs).max() > TOLERANCE:
        return None
    low, high = corners.min(1), corners.max(1)
    of_target = np.stack([np.maximum(-low, 0), np.maximum(high - to_size + 1, 0)], 1)
    of_preds = np.stack([np.maximum(low, 0), np.maximum(to_size - 1 - high, 0)], 1)[axes]
    backwards = signs[axes, np.arange(len(axes))] < 0
    of_preds[backwards] = of_preds[backwards, ::-1]
    lacking = (preds, of_preds), (target, of_target)
    if any(around.any() and not _is_sparse(mask) for mask, around in lacking):
        return None
    return of_preds, of_target


def _padded(mask: LabelMap, around: Int64Array) -> LabelMap:
    grid = mask.grid
    if grid is None or not around.any():
        return mask
    origin = grid.origin - grid.steps @ around[:, 0]
    return mask._replace(values=np.pad(mask.values, around), grid=replace(grid, origin=origin))


def _as_image(mask: LabelMap) -> LabelMap:
    """A volume of one slice without that axis."""
    if mask.values.ndim != 3 or 1 not in mask.values.shape or mask.grid is None:
        return mask
    axis = mask.values.shape.index(1)
    return mask._replace(values=mask.values.squeeze(axis), grid=mask.grid.without(axis))
