"""The table of object pairs: kernels against the definition, SciPy, scikit-image and cc3d."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage import measure

from segmetrics.objects import (
    IGNORED,
    NO_OBJECT,
    ObjectPairs,
    cpu,
    object_pairs,
    plain,
    segment_pairs,
)
from segmetrics.objects.table import Runs, Side

CLASSES = 3
SHAPES = st.one_of(
    st.tuples(st.just(1), st.integers(0, 12), st.integers(0, 20)),
    st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 10)),
)
LABELS = st.integers(IGNORED, CLASSES - 1)
SIGNED = (np.int8, np.int16, np.int32, np.int64)
UNSIGNED = (np.uint8, np.uint16, np.uint32, np.uint64, np.bool_)


@st.composite
def pairs_of_maps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two label maps of one shape, of few even regions or of noise."""
    shape = draw(SHAPES)
    preds, target = (draw(arrays(np.int32, shape, elements=LABELS, fill=LABELS)) for _ in range(2))
    return preds, target


def assert_same(one: ObjectPairs, other: ObjectPairs) -> None:
    for name in ("pair_target", "pair_preds", "pair_pixels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)
    for name in Side._fields:
        for side in ("preds", "target"):
            values = (getattr(getattr(pairs, side), name) for pairs in (one, other))
            np.testing.assert_array_equal(*values, strict=True)
    assert one.pixels == other.pixels


def with_itself(labels: np.ndarray, connectivity: str = "full") -> ObjectPairs:
    """The table of a map with itself."""
    return object_pairs(labels, labels, connectivity=connectivity)


@settings(deadline=None, max_examples=200)
@given(pairs_of_maps(), st.booleans())
def test_kernels_give_the_components_and_pairs_of_the_definition(maps, full) -> None:
    plainly = [plain.components(labels, full) for labels in maps]
    compiled = [cpu.components(labels, full) for labels in maps]
    for one, other in zip(plainly, compiled, strict=True):
        np.testing.assert_array_equal(one.map(), other.map())
        np.testing.assert_array_equal(one.classes, other.classes)
    assert_same(cpu.count(*compiled), plain.count(*plainly))


@settings(deadline=None, max_examples=100)
@given(pairs_of_maps(), st.sampled_from([1, 2**20, 2**40, 2**62]), st.data())
def test_kernels_give_the_segments_and_pairs_of_the_definition(maps, unit, data) -> None:
    """Any ids, also such that fit into no single integer together with the category."""
    ids = st.integers(-2, 1)
    pixels = [
        np.stack([m, data.draw(arrays(np.int64, m.shape, elements=ids)) * unit], -1) for m in maps
    ]

    def classify(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return values[:, 0], np.where(values[:, 0] == 1, 0, values[:, 1])  # 1 is stuff

    plainly = [plain.segments(values, classify) for values in pixels]
    compiled = [cpu.segments(values, classify) for values in pixels]
    for one, other in zip(plainly, compiled, strict=True):
        np.testing.assert_array_equal(one.map(), other.map())
        np.testing.assert_array_equal(one.classes, other.classes)
    assert_same(cpu.count(*compiled), plain.count(*plainly))


@settings(deadline=None, max_examples=60)
@given(pairs_of_maps(), st.booleans())
def test_components_are_those_of_scikit_image_and_cc3d(maps, full) -> None:
    labels = maps[0]
    found = cpu.components(labels, full).map()
    expected = np.zeros(labels.shape, np.int64)
    if labels.size:
        expected = measure.label(labels + 3, background=0, connectivity=3 if full else 1)
        same = cc3d.connected_components(
            (labels + 3).astype(np.uint8), connectivity=26 if full else 6
        )
        assert len(np.unique(np.stack([expected.ravel(), same.ravel()]), axis=1).T) == same.max()
    here = labels >= 0
    together = np.unique(np.stack([expected[here], found[here]]), axis=1)
    assert len(np.unique(together[0])) == len(np.unique(together[1])) == together.shape[1]
    assert (found[~here] == labels[~here]).all()


def spiral(length: int) -> np.ndarray:
    """One line, a pixel wide, that winds inwards."""
    labels = np.full((length, length), NO_OBJECT)
    y, x, dy, dx = 0, 0, 0, 1
    for _ in range(length * length):
        labels[y, x] = 0
        ahead = [(y + k * dy, x + k * dx) for k in (1, 2)]
        inside = [0 <= a < length and 0 <= b < length for a, b in ahead]
        if not inside[0] or (inside[1] and labels[ahead[1]] == 0):
            dy, dx = dx, -dy
            if (
                labels[min(max(y + 2 * dy, 0), length - 1), min(max(x + 2 * dx, 0), length - 1)]
                == 0
            ):
                break
        y, x = y + dy, x + dx
    return labels


def snake(length: int) -> np.ndarray:
    """Every second row, joined at alternating ends."""
    labels = np.full((length, length), NO_OBJECT)
    labels[::2] = 0
    labels[1::4, -1] = 0
    labels[3::4, 0] = 0
    return labels


@pytest.mark.parametrize("connectivity", ["full", "faces"])
@pytest.mark.parametrize("line", [spiral(61), snake(61)], ids=["spiral", "snake"])
@pytest.mark.parametrize("turns", range(4))
def test_a_line_that_winds_is_one_object(line, turns, connectivity) -> None:
    labels = np.rot90(line, turns)
    pairs = with_itself(labels, connectivity)
    assert pairs.target.sizes.tolist() == [np.count_nonzero(labels == 0)]
    around, number = ndimage.label(labels != 0, np.ones((3, 3)) if connectivity == "full" else None)
    sizes = with_itself(np.where(labels == 0, NO_OBJECT, 0), connectivity).target.sizes
    assert sorted(sizes) == sorted(np.bincount(around.ravel())[1:])
    assert len(sizes) == number


def test_a_spiral_through_three_dimensions_is_one_object() -> None:
    flat = spiral(21)
    volume = np.full((7, 21, 21), NO_OBJECT)
    volume[::2] = flat
    joints = np.argwhere(flat == 0)[[0, -1]]
    for plane in range(1, 7, 2):
        volume[(plane, *joints[plane // 2 % 2])] = 0
    assert len(with_itself(volume, "faces").target.sizes) == 1


def test_a_checkerboard_is_two_objects_by_corners_and_single_pixels_by_edges() -> None:
    board = np.indices((40, 50)).sum(0) % 2
    assert with_itself(board).target.sizes.tolist() == [1000, 1000]
    by_edges = with_itself(board, "faces")
    assert by_edges.target.sizes.tolist() == [1] * 2000
    assert by_edges.target.classes.tolist() == board.ravel().tolist()
    board = np.indices((4, 6, 8)).sum(0) % 2
    assert len(with_itself(board).target.sizes) == 2
    assert len(with_itself(board, "faces").target.sizes) == 192


def test_sixty_thousand_objects_are_counted_one_by_one() -> None:
    labels = np.full((600, 800), NO_OBJECT)
    labels[::2, ::4] = 0
    shifted = np.roll(labels, 1, 1)
    labels[::2, 1::4] = 0
    pairs = object_pairs(shifted, labels)
    assert len(pairs.target.sizes) == len(pairs.preds.sizes) == 60_000
    np.testing.assert_array_equal(pairs.pair_target, np.arange(60_000))
    np.testing.assert_array_equal(pairs.pair_preds, np.arange(60_000))
    assert (pairs.pair_pixels == 1).all()
    assert (pairs.target.sizes == 2).all()


def test_numbers_of_keys_that_share_a_place_in_the_hash_table_are_kept_when_it_grows() -> None:
    keys = np.arange(300_000)
    places = (keys.astype(np.uint64) * cpu.SPREAD >> np.uint64(32)) % np.uint64(4 * 4096)
    alike = keys[places == places[0]]
    assert len(alike) > 8
    given = np.concatenate([alike, np.arange(500_000, 502_000)])  # 1024 have room at first
    names, first = cpu._names(np.tile(given, 2))
    assert names.tolist() == [*range(len(given))] * 2
    assert first.tolist() == [*range(len(given))]


def test_objects_at_the_border_do_not_wrap_to_the_next_row_or_plane() -> None:
    labels = np.full((2, 4, 5), NO_OBJECT)
    labels[:, :, 0] = labels[:, :, -1] = 0
    assert with_itself(labels).target.sizes.tolist() == [8, 8]
    labels[:] = NO_OBJECT
    labels[0, -1] = labels[1, 0] = 0  # the last row of a plane, and the first of the next
    assert with_itself(labels).target.sizes.tolist() == [5, 5]


@pytest.mark.parametrize("dtype", [*SIGNED, *UNSIGNED])
def test_every_integer_dtype_is_read(dtype) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (2, 9, 13)).astype(dtype)
    assert_same(with_itself(labels), with_itself(labels.astype(np.int64)))


@pytest.mark.parametrize(
    "lay_out",
    [
        lambda x: x.T.copy().T,
        lambda x: np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
        lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
        np.asfortranarray,
    ],
)
def test_any_memory_layout_is_read(lay_out) -> None:
    labels = np.random.default_rng(1).integers(-2, 2, (17, 23))
    assert_same(with_itself(lay_out(labels)), with_itself(labels))


def test_large_classes_and_ids_are_kept() -> None:
    labels = np.array([[2**31, 2**31 + 2**32, 2**62, 2**62]])
    assert with_itself(labels).target.classes.tolist() == [2**31, 2**31 + 2**32, 2**62]
    assert with_itself(np.array([[2**32 - 1, 2**31]], np.uint32)).target.sizes.tolist() == [1, 1]


@given(pairs_of_maps(), st.booleans())
@settings(deadline=None, max_examples=40)
def test_a_map_is_a_volume_of_one_plane(maps, full) -> None:
    preds, target = (labels[0] for labels in maps)
    connectivity = "full" if full else "faces"
    flat = object_pairs(preds, target, connectivity=connectivity)
    volumes = object_pairs(preds[None], target[None], connectivity=connectivity)
    assert_same(flat, volumes)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0, 0), (3, 0, 4)])
def test_maps_without_a_pixel_have_no_objects(shape) -> None:
    pairs = with_itself(np.zeros(shape, np.int32))
    assert len(pairs.target.sizes) == len(pairs.pair_pixels) == pairs.pixels == 0


def test_ignored_pixels_are_taken_off_objects_that_stay_whole() -> None:
    void, none = IGNORED, NO_OBJECT
    target = np.array([[0, void, 0, none, void, void], [none] * 6])
    preds = np.array([[0, 0, 0, none, 0, 0], [none] * 6])
    pairs = object_pairs(preds, target, maps=True)
    # an object that void cuts in two is two in the target, where void is of no class,
    assert pairs.target.sizes.tolist() == [1, 1]
    # and one in the prediction; one of which nothing is left is none
    assert pairs.preds.sizes.tolist() == [2]
    assert pairs.preds.ignored.tolist() == [1]
    assert pairs.pixels == 9
    assert pairs.pair_target.tolist() == [0, 1]
    assert pairs.pair_preds.tolist() == [0, 0]
    assert pairs.preds_map.tolist() == [[0, -1, 0, -1, -1, -1], [-1] * 6]
    assert pairs.target_map.tolist() == [[0, -1, 1, -1, -1, -1], [-1] * 6]


def test_small_objects_of_the_target_become_ignored_and_small_predicted_ones_are_dropped() -> None:
    none = NO_OBJECT
    target = np.array([[0, 0, 0, none, 0, none], [none] * 6, [none] * 6])
    preds = np.array([[0, 0, none, none, 0, 0], [none] * 6, [0, none, 0, 0, none, none]])
    pairs = object_pairs(preds, target, maps=True).at_least(2)
    assert pairs.target.sizes.tolist() == [3]
    assert pairs.preds.sizes.tolist() == [2, 2]  # the second lies on what became ignored, by half
    assert pairs.preds_map.tolist() == [[0, 0, -1, -1, -1, -1], [-1] * 6, [-1, -1, 1, 1, -1, -1]]
    assert pairs.pixels == 17
    assert pairs.pair_pixels.tolist() == [2]
    assert pairs.target_map.tolist()[0] == [0, 0, 0, -1, -1, -1]


def test_what_small_objects_of_the_target_hide_is_ignored_of_predicted_ones() -> None:
    target = np.array([[0, 0, NO_OBJECT, 0, IGNORED]])
    pairs = object_pairs(np.zeros_like(target), target).at_least(2)
    assert (pairs.preds.sizes.tolist(), pairs.preds.ignored.tolist()) == ([3], [2])


@given(pairs_of_maps(), st.integers(1, 6))
@settings(deadline=None, max_examples=60)
def test_the_maps_of_objects_hold_what_the_table_says(maps, size) -> None:
    pairs = object_pairs(*maps, maps=True).at_least(size)
    for side, labels in ((pairs.target, pairs.target_map), (pairs.preds, pairs.preds_map)):
        numbers, sizes = np.unique(labels[labels >= 0], return_counts=True)
        np.testing.assert_array_equal(numbers, np.arange(len(side.sizes)))
        np.testing.assert_array_equal(sizes, side.sizes)
        for number, box in enumerate(side.boxes):
            where = np.nonzero(labels == number)
            assert all(
                a.min() >= low and a.max() <= high
                for a, (low, high) in zip(where, box, strict=True)
            )
    both = (pairs.target_map >= 0) & (pairs.preds_map >= 0)
    assert np.count_nonzero(both) == pairs.pair_pixels.sum()


def test_segments_of_one_class_and_id_are_one_object_wherever_they_lie() -> None:
    pixels = np.array([[[7, 1], [0, 0], [7, 1]], [[3, 5], [3, 6], [9, 9]]])  # category, instance

    def classify(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        classes = np.array([{7: 0, 3: 1, 0: NO_OBJECT, 9: IGNORED}[v] for v in values[:, 0]])
        return classes, np.where(classes == 1, 0, values[:, 1])

    pairs = segment_pairs(pixels, pixels, classify, classify)
    assert pairs.target.classes.tolist() == [0, 1]
    assert pairs.target.sizes.tolist() == [2, 2]
    assert pairs.pixels == 5


@pytest.mark.parametrize("size", [(4, 6), (2, 4, 3)])
def test_runs_give_the_segments_of_their_map(size) -> None:
    pixels = np.random.default_rng(0).integers(0, 3, (*size, 2))
    flat = pixels.reshape(-1, 2)
    starts = np.flatnonzero([True, *(flat[1:] != flat[:-1]).any(1)])
    runs = Runs(np.append(starts, len(flat)), flat[starts], size)

    def classify(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return values[:, 0], values[:, 1]

    volume = pixels.reshape((-1, *size[-2:], 2))
    expected = plain.segments(volume, classify)
    assert expected.map().shape == volume.shape[:3]
    for found in (plain.segments(runs, classify), cpu.segments(runs, classify)):
        np.testing.assert_array_equal(found.map(), expected.map())
        np.testing.assert_array_equal(found.classes, expected.classes)
    pairs = segment_pairs(runs, pixels[..., ::-1], classify, classify, maps=True)
    same = segment_pairs(pixels, pixels[..., ::-1], classify, classify, maps=True)
    assert_same(pairs, same)
    without = segment_pairs(runs, runs, classify, classify)
    assert without.preds_map is None
    assert without.target_map is None
    np.testing.assert_array_equal(pairs.preds_map, same.preds_map)


def test_boxes_hold_segments_that_run_over_the_ends_of_rows_and_planes() -> None:
    pixels = np.repeat([0, 1, 2, 3], [3, 4, 9, 8]).reshape(2, 3, 4)

    def classify(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return values[:, 0], np.zeros(len(values), np.int64)

    pairs = segment_pairs(pixels[..., None], pixels[..., None], classify, classify)
    boxes = [[[x.min(), x.max()] for x in np.nonzero(pixels == one)] for one in range(4)]
    assert pairs.target.boxes.tolist() == pairs.preds.boxes.tolist() == boxes


def test_categories_and_ids_of_any_size_are_kept_distinct() -> None:
    """One number for both, of 64 bits, would have the first two equal."""
    pixels = np.array([[[0, 0], [2**32, 0], [0, 2**32 - 1], [0, 0]]])

    def classify(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (values[:, 0] > 0).astype(np.int64), values[:, 1]

    pairs = segment_pairs(pixels, pixels, classify, classify)
    assert pairs.target.classes.tolist() == [0, 1, 0]
    assert pairs.target.sizes.tolist() == [2, 1, 1]


def test_inputs_are_not_changed() -> None:
    labels = np.random.default_rng(2).integers(-2, 2, (31, 17))
    before = labels.copy()
    with_itself(labels)
    np.testing.assert_array_equal(labels, before)


def test_an_unknown_connectivity_is_refused() -> None:
    with pytest.raises(ValueError, match="`connectivity` must be one of 'full', 'faces', got 8"):
        object_pairs(np.zeros((2, 2), int), np.zeros((2, 2), int), connectivity=8)


def test_maps_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"equal shape.*\(2, 3\) and \(3, 2\)"):
        object_pairs(np.zeros((2, 3), int), np.zeros((3, 2), int))
