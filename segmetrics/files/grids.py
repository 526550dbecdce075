"""Grids: the positions of an array's elements in space, and when two grids are equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: The codes of axes, toward positive and negative world coordinates.
CODES = (("R", "L"), ("A", "P"), ("S", "I"))
#: The largest distance between corners of equal grids, in voxels.
TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Grid:
    """The positions of the elements of an array.

    Args:
        steps: ``(world, axes)``: column i leads from one element to the next along axis i.
        origin: ``(world,)``: the centre of element (0, 0, …).
        zyx: the array's axes are (z, y, x), as SimpleITK gives them; else (x, y, z), as nibabel.
        placed: False where nothing is known of the position and direction of the axes.
        measured: False where the lengths of the steps are unknown, too.
        sparse: everything outside of the array is 0: the format leaves out empty slices.
    """

    steps: Floats
    origin: Floats
    zyx: bool = False
    placed: bool = True
    measured: bool = True
    sparse: bool = False

    @staticmethod
    def unplaced(ndim: int) -> Grid:
        """The grid of an array whose axes are known, (z, y, x), but not its position."""
        return replace(Grid.of_affine(np.eye(4), ndim, zyx=True), placed=False, measured=False)

    @staticmethod
    def of_affine(affine: Floats, ndim: int, *, zyx: bool = False) -> Grid:
        """The grid of an affine ``(4, 4)`` from indices (i, j, k) to RAS+ millimetres.

        Axes of the array beyond the third do not lie in space: their steps are nan.
        """
        steps = np.full((3, ndim), np.nan)
        steps[:, : min(ndim, 3)] = affine[:3, : min(ndim, 3)]
        return Grid(steps[:, ::-1] if zyx else steps, np.asarray(affine[:3, 3], np.float64), zyx)

    @property
    def spacing(self) -> Floats:
        """The distance between neighbours along each axis."""
        return np.asarray(np.linalg.norm(self.steps, axis=0))

    @property
    def is_regular(self) -> bool:
        """Whether its axes are finite and independent."""
        finite = bool(np.isfinite(self.steps).all() and np.isfinite(self.origin).all())
        if not finite or not self.spacing.all():
            return False
        return bool(np.linalg.matrix_rank(self.steps / self.spacing) == self.steps.shape[1])

    def nowhere(self) -> Grid:
        """The same axes and spacing, without a position."""
        return replace(self, placed=False)

    def without(self, axis: int) -> Grid:
        """The grid without an axis of one element."""
        return replace(self, steps=np.delete(self.steps, axis, 1))

    def describe(self, size: Sequence[int]) -> str:
        """Size, spacing, origin and axis codes, in the order (x, y, z); directions if oblique."""
        order = slice(None, None, -1 if self.zyx else 1)
        axes = "".join(
            CODES[row][int(step[row] < 0)]
            for step in self.steps.T[order]
            for row in [int(np.abs(step).argmax())]
        )
        spacing, origin = map(_shown, (self.spacing[order], self.origin))
        found = f"{times(size[order])} voxels {axes}, spacing {spacing} mm, origin {origin} mm"
        directions = self.steps / self.spacing
        if np.isclose(np.abs(directions).max(0), 1, rtol=0, atol=1e-12).all():
            return found
        return f"{found}, directions {' '.join(map(_shown, directions.T[order]))}"


def axes_and_flips(
    grid: Grid, size: Sequence[int], to: Grid, to_size: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The permutation and flips that map an array to an equal grid with other axes.

    Returns:
        The permutation of its axes and which of the result are then flipped; None where the grids
        differ by more than a thousandth of a voxel in a corner.
    """
    if len(size) != len(to_size):
        return None
    turn = np.linalg.pinv(grid.steps) @ to.steps
    axes = tuple(int(axis) for axis in np.abs(turn).argmax(0))
    if sorted(axes) != list(range(len(axes))) or [size[axis] for axis in axes] != list(to_size):
        return None
    flips = tuple(i for i, axis in enumerate(axes) if turn[axis, i] < 0)
    steps, origin = grid.steps[:, axes], grid.origin.copy()
    for i in flips:
        origin += steps[:, i] * (to_size[i] - 1)
        steps[:, i] *= -1
    corners = np.array(list(product(*((-0.5, length - 0.5) for length in to_size)))).T
    away = (steps - to.steps) @ corners + (origin - to.origin)[:, None]
    close = np.linalg.norm(away, axis=0).max() <= TOLERANCE * to.spacing.min()
    return (axes, flips) if close else None


def without_ones(values: NDArray[Any], grid: Grid | None) -> tuple[NDArray[Any], Grid | None]:
    """Without axes of length 1, the last first, while two remain: a volume of a slice is an image.

    Unless it is the one slice that is not empty, of a volume of several: see ``united``. An axis
    beyond space that remains leaves no grid.
    """
    if grid is not None and grid.sparse and grid.placed:
        return values, grid
    for axis in reversed(range(values.ndim)):
        if values.ndim > 2 and values.shape[axis] == 1:
            values = values.squeeze(axis)
            grid = grid.without(axis) if grid else None
    in_space = grid is not None and not np.isnan(grid.steps).all(0).any()
    return values, grid if in_space else None


def times(size: Sequence[int]) -> str:
    """A size as it is printed."""
    return "×".join(map(str, size))


def _shown(numbers: Floats) -> str:
    return f"({', '.join(f'{number + 0.0:.6g}' for number in numbers.tolist())})"
