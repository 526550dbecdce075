"""Grids: positions of voxels, against nibabel's orientations and longhand."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform

from segmetrics.files import MaskError
from segmetrics.files.alignment import aligned, with_aligned_scores
from segmetrics.files.extents import united
from segmetrics.files.grids import TOLERANCE, Grid, axes_and_flips, without_ones
from segmetrics.files.masks import LabelMap, Reading, Stored
from segmetrics.files.meaning import to_labels

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


@pytest.mark.parametrize("classes", [(), (1,), (3,)])
def test_scores_are_brought_to_the_axes_of_the_target_with_their_labels(
    classes: tuple[int, ...],
) -> None:
    scores = np.random.default_rng(0).random((*classes, *SIZE))
    labels = scores.argmax(0) if classes else (scores > 0.5).view(np.uint8)
    affine, there = oblique(), np.array(ORIENTATIONS[-1])
    grids = [Grid.of_affine(a, 3) for a in (affine @ inv_ornt_aff(there, SIZE), affine)]
    parts = [apply_orientation(part, there) for part in scores.reshape(-1, *SIZE)]
    size = parts[0].shape
    preds = LabelMap(
        apply_orientation(labels, there), grids[0], scores=np.reshape(parts, (*classes, *size))
    )
    target = LabelMap(np.zeros(SIZE, np.uint8), grids[1])
    found = with_aligned_scores(preds, target, (Path("p"), Path("t")))
    assert size != SIZE
    assert np.array_equal(found.values, labels)
    assert found.scores is not None
    assert np.array_equal(found.scores, scores)


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


def test_grids_that_differ_by_exactly_a_thousandth_of_a_voxel_are_equal() -> None:
    affine = np.diag([1000.0, 2000.0, 3000.0, 1.0])  # a thousandth that a float can hold
    grid = Grid.of_affine(affine.copy(), 3)
    affine[0, 3] = 1
    assert axes_and_flips(Grid.of_affine(affine, 3), SIZE, grid, SIZE) is not None


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
    assert Grid.of_affine(np.diag([1e-9, 1.0, 1e3, 1.0]), 3).is_regular
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


# --- masks of different slices --------------------------------------------------------------------


def crop(low: tuple[int, ...], high: tuple[int, ...], orientation: list[list[int]]) -> LabelMap:
    """A part of a scan whose voxels all differ, in another orientation; what it lacks is 0."""
    values = 1 + np.arange(np.prod(SIZE)).reshape(SIZE)
    part = values[tuple(slice(*ends) for ends in zip(low, high, strict=True))]
    affine = oblique()
    affine[:3, 3] += affine[:3, :3] @ low
    there = np.array(orientation)
    grid = Grid.of_affine(affine @ inv_ornt_aff(there, part.shape), 3)
    return LabelMap(np.array(apply_orientation(part, there)), replace(grid, sparse=True))


def in_scan(mask: LabelMap) -> dict[tuple[int, ...], int]:
    """The value of every voxel by its index in the scan."""
    grid, into = mask.grid, np.linalg.inv(oblique())
    assert grid is not None
    places = np.indices(mask.values.shape).reshape(3, -1)
    world = grid.steps @ places + grid.origin[:, None]
    voxels = np.rint(into[:3, :3] @ world + into[:3, 3:]).astype(int).T.tolist()
    return dict(zip(map(tuple, voxels), mask.values.ravel().tolist(), strict=True))


@settings(max_examples=40)
@given(st.data())
def test_parts_of_a_scan_are_brought_to_one_extent(data: st.DataObject) -> None:
    boxes = []
    for _ in range(2):
        ends = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in SIZE]
        assume(all(low < high for low, high in ends))
        boxes.append(tuple(zip(*ends, strict=True)))
    orientations = [data.draw(st.sampled_from(ORIENTATIONS)) for _ in boxes]
    masks = [crop(*box, of) for box, of in zip(boxes, orientations, strict=True)]
    found = list(map(in_scan, united(*masks)))
    low, high = (combine([box[i] for box in boxes], 0) for i, combine in ((0, np.min), (1, np.max)))
    every = set(product(*(range(*ends) for ends in zip(low, high, strict=True))))
    for mask, values in zip(masks, found, strict=True):
        assert values.keys() == every
        own = in_scan(mask)
        assert values == {place: own.get(place, 0) for place in every}


def test_parts_between_voxels_and_parts_of_dense_scans_stay_as_they_are() -> None:
    mask, other = (
        crop((0, 0, 0), (2, 5, 6), ORIENTATIONS[0]),
        crop((1, 0, 0), SIZE, ORIENTATIONS[0]),
    )
    assert mask.grid is not None
    assert other.grid is not None
    moved = other.grid.origin + 0.5 * other.grid.steps[:, 0]
    longer = other.grid.steps.copy()
    longer[:, 2] *= 1.01
    dense = replace(other.grid, sparse=False)
    for grid in (
        replace(other.grid, origin=moved), replace(other.grid, steps=longer), dense,
        dense.nowhere(),
    ):  # fmt: skip
        there = other._replace(grid=grid)
        for pair in ((mask, there), (there, mask)):
            for one, before in zip(united(*pair), pair, strict=True):
                assert one is before
    whole = crop((0, 0, 0), SIZE, ORIENTATIONS[0])
    assert whole.grid is not None
    whole = whole._replace(grid=replace(whole.grid, sparse=False))
    extended, same = united(mask, whole)
    assert same is whole
    assert in_scan(extended).keys() == in_scan(whole).keys()


def test_the_ends_of_int64_are_labels_and_one_further_is_none(tmp_path: Path) -> None:
    largest = np.array([[2**63 - 1, 0]], np.uint64)
    assert to_labels(tmp_path, Stored(largest), Reading()).values.tolist() == [[2**63 - 1, 0]]
    with pytest.raises(MaskError, match=r"9223372036854775808 \(1 pixels\) is beyond int64"):
        to_labels(tmp_path, Stored(largest + np.uint64(1)), Reading())


@pytest.mark.parametrize(
    ("size", "to_size", "in_space", "kind"),
    [
        ((4, 5, 6), (6, 5, 4), (False, False), "axes"),
        ((4, 5, 6), (6, 5, 4), (True, False), "axes"),
        ((4, 5), (5, 4), (False, False), "sizes"),  # a turned image is another image
        ((4, 5), (5, 4), (False, True), "axes"),
        ((4, 5, 4), (4, 5), (False, False), "channels"),
        ((4, 5, 5), (4, 5), (False, False), "sizes"),
        ((4, 5, 6), (4, 5, 7), (False, False), "sizes"),
        ((4, 5, 6), (4, 5, 7), (True, True), "grid"),
    ],
)
def test_other_sizes_are_told_by_what_they_look_like(
    size: tuple[int, ...], to_size: tuple[int, ...], in_space: tuple[bool, bool], kind: str
) -> None:
    masks = [
        LabelMap(np.zeros(shape, np.uint8), Grid.of_affine(np.eye(4), len(shape)) if has else None)
        for shape, has in zip((size, to_size), in_space, strict=True)
    ]
    with pytest.raises(MaskError) as raised:
        aligned(masks[0], masks[1], (Path("p"), Path("t")))
    assert (raised.value.problem.kind, raised.value.problem.file) == (kind, "p")
