"""Alignment of a prediction with the axes of its target."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segmetrics.files.grids import axes_and_flips, times
from segmetrics.files.masks import Array, LabelMap
from segmetrics.files.problems import MaskError


def aligned(preds: LabelMap, target: LabelMap, paths: tuple[Path, Path]) -> Array:
    """The prediction's values in the order of the target's axes.

    Where both have a grid and the grids are equal up to permutations and flips of axes, these are
    undone. Files that say nothing of space are compared in the order of their axes; and where one
    is no volume's format at all, arrays as they lie: as nibabel gives them (x, y, z), as SimpleITK
    does (z, y, x), images as (row, column).

    Args:
        preds: the prediction.
        target: its target.
        paths: their files, for messages.

    Returns:
        The values, contiguous, in the target's shape.

    Raises:
        MaskError: the grids or the sizes differ.
    """
    values, size, to_size = preds.values, preds.values.shape, target.values.shape
    placed = preds.grid and target.grid and preds.grid.placed and target.grid.placed
    if preds.grid and target.grid and placed:
        for grid, shape, path in zip(
            (preds.grid, target.grid), (size, to_size), paths, strict=True
        ):
            if not grid.is_regular:
                detail = f"its affine is singular or not finite: {grid.describe(shape)}"
                raise MaskError("grid", path, detail)
        if way := axes_and_flips(preds.grid, size, target.grid, to_size):
            return np.ascontiguousarray(np.flip(values.transpose(way[0]), way[1]))
    elif preds.grid and target.grid and preds.grid.zyx != target.grid.zyx:
        values = np.ascontiguousarray(values.T)
        size = values.shape
    if size != to_size:
        raise _different_sizes(preds, target, size, paths)
    if placed:
        raise _different_grids(preds, target, paths)
    return values


def with_aligned_scores(preds: LabelMap, target: LabelMap, paths: tuple[Path, Path]) -> LabelMap:
    """The prediction with its labels, and its scores if it has some, as ``aligned`` brings them."""
    labels, scores = aligned(preds, target, paths), preds.scores
    if scores is not None and labels is not preds.values:
        of_classes = scores.reshape(-1, *preds.values.shape)
        moved = [aligned(preds._replace(values=some), target, paths) for some in of_classes]
        scores = np.stack(moved).reshape(*scores.shape[: scores.ndim - labels.ndim], *labels.shape)
    return preds._replace(values=labels, scores=scores)


def _different_sizes(
    preds: LabelMap, target: LabelMap, size: tuple[int, ...], paths: tuple[Path, Path]
) -> MaskError:
    to_size = target.values.shape
    detail = f"{times(size)}, its target {paths[1]} is {times(to_size)}"
    in_space = preds.grid is not None or target.grid is not None
    if size == to_size[::-1] and (in_space or len(size) == 3):
        return MaskError("axes", paths[0], detail)
    if len(size) == 3 and size[:2] == to_size and size[2] <= 4:
        return MaskError("channels", paths[0], f"{detail}: {size[2]} channels")
    if preds.grid and target.grid and len(size) == len(to_size) == 3:
        return _different_grids(preds, target, paths)
    return MaskError("sizes", paths[0], detail)


def _different_grids(preds: LabelMap, target: LabelMap, paths: tuple[Path, Path]) -> MaskError:
    assert preds.grid is not None
    assert target.grid is not None
    own, other = preds.grid.describe(preds.values.shape), target.grid.describe(target.values.shape)
    return MaskError("grid", paths[0], f"{own}; its target {paths[1]}: {other}")
