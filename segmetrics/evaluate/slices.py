"""The slice of a volume for the report: the one with the most errors, upright."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics.files import Grid

Array = NDArray[Any]

#: Slices across a world axis, by its number.
PLANES = ("sagittal", "coronal", "axial")


def worst_slice(preds: Array, target: Array, grid: Grid | None) -> tuple[Array, Array, str]:
    """The slice with the most wrong pixels, upright as in viewers, and its position.

    Slices lie across the axis of the largest spacing, as they are thick. If several axes have it,
    across the one from feet to head, or across the first if the axes are not known.
    """
    steps = np.eye(3) if grid is None else grid.steps
    zyx = grid is None or grid.zyx
    placed = grid is not None and grid.placed
    spacing = np.linalg.norm(steps, axis=0)
    thickest = np.flatnonzero(spacing > spacing.max() * 0.99)
    axis = 0 if zyx else 2
    if len(thickest) == 1:
        axis = int(thickest[0])
    elif placed:
        axis = int(np.abs(steps[2]).argmax())
    wrong = (preds != target) & (target >= 0)
    others = tuple(other for other in range(3) if other != axis)
    errors = wrong.sum(others)
    place = int(errors.argmax()) if errors.any() else target.shape[axis] // 2
    sides = [np.take(side, place, axis) for side in (preds, target)]
    what = "slice"
    if placed:
        sides = [_upright(side, np.delete(steps, axis, 1)) for side in sides]
        what = f"{PLANES[int(np.abs(steps[:, axis]).argmax())]} slice"
    elif not zyx:
        sides = [side.T for side in sides]
    found, truth = map(np.ascontiguousarray, sides)
    return found, truth, f"{what} {place + 1} of {target.shape[axis]}"


def _upright(plane: Array, steps: Array) -> Array:
    """A plane with head or front above, and the patient's right or front at the left."""
    worlds = np.abs(steps).argmax(0).tolist()
    plane = np.flip(plane, tuple(i for i, world in enumerate(worlds) if steps[world, i] > 0))
    return plane.T if worlds[0] < worlds[1] else plane
