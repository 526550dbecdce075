"""Grids: positions of voxels, against nibabel's orientations and longhand."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform

from segmetrics.files.grids import TOLERANCE, Grid, axes_and_flips, without_ones

SIZE = (4, 5, 6)
ORIENTATIONS = [
    [[axis, flip] for axis, flip in zip(axes, flips, strict=True)]
    for axes in permutations(range(3))
    for flips in product((1, -1), repeat=3)
]


def oblique() -> np.ndarray:
    """An affine of axes that are neither parallel to the world's nor of one length."""
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)) + 3 * np.eye(3))
    affine = np.eye(4)
    affine[:3, :3] = rotation * [0.5, 2.0, 3.0]
    affine[:3, 3] = [-7.0, 11.5, 3.0]
    return affine


@pytest.mark.parametrize("zyx", [False, True])
@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_a_grid_is_described_by_nibabels_codes_and_zooms(
    orientation: list[list[int]], zyx: bool
) -> None:
    plain = np.diag([0.5, 2.0, 3.0, 1.0])
    plain[:3, 3] = [-7.0, 11.5, 3.0]
    affine = plain @ inv_ornt_aff(np.array(orientation), SIZE)
    codes = "".join(nib.aff2axcodes(affine))
    zooms = ", ".join(f"{zoom:g}" for zoom in nib.affines.voxel_sizes(affine))
    origin = ", ".join(f"{x:g}" for x in affine[:3, 3])
    found = Grid.of_affine(affine, 3, zyx=zyx).describe(SIZE[::-1] if zyx else SIZE)
    expected = f"4×5×6 voxels {codes}, spacing ({zooms}) mm, origin ({origin}) mm"
    assert found == expected


def test_an_oblique_grid_is_described_with_its_directions() -> None:
    affine = oblique()
    found = Grid.of_affine(affine, 3).describe(SIZE)
    assert "".join(nib.aff2axcodes(affine)) in found
    columns = (affine[:3, :3] / [0.5, 2.0, 3.0]).T
    directions = " ".join(f"({', '.join(f'{x:.6g}' for x in column)})" for column in columns)
    assert found.endswith(f"mm, directions {directions}")
    assert Grid.of_affine(affine, 3, zyx=True).describe(SIZE[::-1]) == found


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_an_array_is_brought_to_the_axes_of_an_equal_grid(orientation: list[list[int]]) -> None:
    affine, values = oblique(), np.arange(np.prod(SIZE)).reshape(SIZE)
    there = np.array(orientation)
    turned, of_turned = apply_orientation(values, there), affine @ inv_ornt_aff(there, SIZE)
    # as nibabel would bring it back
    back = ornt_transform(io_orientation(of_turned), io_orientation(affine))
    assert np.array_equal(apply_orientation(turned, back), values)
    found = axes_and_flips(
        Grid.of_affine(of_turned, 3), turned.shape, Grid.of_affine(affine, 3), SIZE
    )
    assert found is not None
    axes, flips = found
    assert np.array_equal(np.flip(turned.transpose(axes), flips), values)


@pytest.mark.parametrize(
    ("share", "equal"), [(0.99, True), (1.01, False), (-0.99, True), (-1.01, False)]
)
def test_grids_are_equal_up_to_a_thousandth_of_a_voxel_at_every_corner(
    share: float, equal: bool
) -> None:
    affine = np.diag([0.5, 2.0, 3.0, 1.0])
    grid, off = Grid.of_affine(affine, 3), share * TOLERANCE * 0.5  # of the smallest spacing
    for axis in range(3):
        moved = affine.copy()
        moved[axis, 3] += off
        found = axes_and_flips(Grid.of_affine(moved, 3), SIZE, grid, SIZE)
        assert (found is not None) == equal
        longer = affine.copy()  # wrong at the far corner by as much
        longer[axis, axis] += off / (SIZE[axis] - 0.5)
        found = axes_and_flips(Grid.of_affine(longer, 3), SIZE, grid, SIZE)
        assert (found is not None) == equal
        last = affine.copy()  # right at the last voxel's centre, wrong at the first corner
        last[axis, axis] += off / (SIZE[axis] - 0.5)
        last[axis, 3] -= off * (SIZE[axis] - 1) / (SIZE[axis] - 0.5)
        found = axes_and_flips(Grid.of_affine(last, 3), SIZE, grid, SIZE)
        assert (found is not None) == equal


def test_grids_of_other_sizes_and_axes_differ() -> None:
    grid = Grid.of_affine(np.eye(4), 3)
    assert axes_and_flips(grid, SIZE, grid, SIZE) == ((0, 1, 2), ())
    assert axes_and_flips(grid, SIZE, grid, (4, 5, 7)) is None
    assert axes_and_flips(grid, SIZE, grid, (4, 5)) is None
    flat = Grid.of_affine(np.eye(4), 2)
    assert axes_and_flips(flat, (4, 5), grid, (4, 5)) is None


def test_a_regular_grid_has_finite_independent_axes() -> None:
    affine = oblique()
    assert Grid.of_affine(affine, 3).is_regular
    assert np.allclose(Grid.of_affine(affine, 3).spacing, [0.5, 2.0, 3.0])
    assert np.allclose(Grid.of_affine(affine, 3, zyx=True).spacing, [3.0, 2.0, 0.5])
    for row, column, value in ((0, 0, np.nan), (1, 3, np.inf)):
        broken = affine.copy()
        broken[row, column] = value
        assert not Grid.of_affine(broken, 3).is_regular
    for axis in (0 * affine[:, 1], affine[:, 1]):  # no length, and the direction of another
        broken = affine.copy()
        broken[:, 0] = axis
        assert not Grid.of_affine(broken, 3).is_regular
    assert not Grid.of_affine(affine, 4).is_regular  # an axis beyond space


def test_axes_of_one_voxel_are_dropped_while_two_remain() -> None:
    affine = oblique()
    values, grid = without_ones(np.zeros((4, 1, 6)), Grid.of_affine(affine, 3))
    assert values.shape == (4, 6)
    assert grid is not None
    assert np.allclose(grid.spacing, [0.5, 3.0])
    values, grid = without_ones(np.zeros((1, 1, 6)), Grid.of_affine(affine, 3))
    assert values.shape == (1, 6)  # the last ones first
    assert grid is not None
    assert np.allclose(grid.spacing, [0.5, 3.0])
    values, grid = without_ones(np.zeros((4, 5, 6, 2)), Grid.of_affine(affine, 4))
    assert (values.shape, grid) == ((4, 5, 6, 2), None)
    values, grid = without_ones(np.zeros((4, 5, 6, 1)), Grid.of_affine(affine, 4))
    assert values.shape == SIZE
    assert grid is not None
    sparse = Grid(np.eye(3), np.zeros(3), sparse=True)
    for grid, shape in ((sparse, (1, 5, 6)), (sparse.nowhere(), (5, 6))):
        assert without_ones(np.zeros((1, 5, 6)), grid)[0].shape == shape
