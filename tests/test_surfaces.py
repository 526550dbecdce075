"""The surface layer: both backends against each other and against distances written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics.utils import get_code_to_measure_table
from scipy import ndimage

from segmetrics import surfaces
from segmetrics.counting import BAD_KINDS, Counting
from segmetrics.counting.codes import MOST_FAR
from segmetrics.counting.cpu import BOX
from segmetrics.counting.inputs import read
from segmetrics.labels import LabelSpace
from segmetrics.surfaces import bands, cpu, distances, host, maps, plain
from segmetrics.surfaces.elements import sizes
from segmetrics.surfaces.maps import IGNORED_PIXEL, NO_CLASS, moves

SHAPES = st.one_of(
    st.tuples(*[st.integers(1, 12)] * 2),
    st.tuples(*[st.integers(1, 6)] * 3),
)
CLASSES = 3
LABELS = st.integers(IGNORED_PIXEL, CLASSES - 1)


@st.composite
def label_maps(draw: st.DrawFn, number: int = 1) -> list[np.ndarray]:
    """Padded label maps of one shape, of few even regions or of noise."""
    shape = draw(SHAPES)
    maps = []
    for _ in range(number):
        labels = draw(arrays(np.int32, shape, elements=LABELS, fill=LABELS))
        maps.append(np.pad(labels, 1, constant_values=NO_CLASS))
    return maps


def volume(labels: np.ndarray) -> np.ndarray:
    return labels if labels.ndim == 3 else labels[None]


def offsets(labels: np.ndarray, moves: list[tuple[int, ...]]) -> np.ndarray:
    """Distances in the flat map."""
    steps = np.array(labels.strides) // labels.itemsize
    return np.array([np.dot(move, steps) for move in moves])


@settings(max_examples=40, deadline=None)
@given(label_maps(2), st.integers(1, 4), st.tuples(*[st.floats(0.1, 10)] * 3))
def test_compiled_kernels_give_what_scipy_gives(maps, reach, spacing) -> None:
    preds = maps[0]
    finders = {"pixels": "find_pixels", "contour": "find_pixels", "elements": "find_elements"}
    found = []
    for labels in maps:
        for surface, finder in finders.items():
            arguments = labels.ravel(), offsets(labels, moves(surface, labels.ndim)), CLASSES
            both = getattr(cpu, finder)(*arguments), getattr(plain, finder)(*arguments)
            for one, other in zip(*both, strict=True):
                np.testing.assert_array_equal(one, other)
            found.append(both[0][0])
        inside = volume(labels) != NO_CLASS  # where the others' windows may leave the map
        even = cpu.inner(volume(labels), reach), plain.inner(volume(labels), reach)
        np.testing.assert_array_equal(even[0][inside], even[1][inside])
    flat = [array.ravel() for array in (*maps, *(cpu.inner(volume(m), reach) for m in maps))]
    np.testing.assert_array_equal(
        cpu.band_counts(*flat, CLASSES), plain.band_counts(*flat, CLASSES)
    )
    for queries, seeds in zip(found[:3], found[3:], strict=True):
        if len(queries) and len(seeds):
            arguments = np.sort(queries), np.sort(seeds), volume(preds).shape, np.array(spacing)
            one, other = cpu.nearest(*arguments), plain.nearest(*arguments)
            np.testing.assert_allclose(one, other, rtol=2e-7)


@pytest.mark.parametrize("shape", [(1, 60, 70), (20, 30, 25)])
def test_distances_are_exact_where_the_search_gives_way_to_the_whole_transform(shape) -> None:
    rng = np.random.default_rng(0)
    seeds = np.array([0, 5 * shape[2]])  # far from most
    queries = np.sort(rng.choice(np.prod(shape), np.prod(shape) // 2, replace=False))
    spacing = np.array([2.5, 0.7, 1.3])
    difference = (
        np.stack(np.unravel_index(queries, shape))[:, :, None]
        - np.stack(np.unravel_index(seeds, shape))[:, None]
    )
    expected = np.linalg.norm(difference * spacing[:, None, None], axis=0).min(1)
    found = cpu.nearest(queries, seeds, shape, spacing)
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    # a search alone would not have reached that far
    gap = cpu._gap_in_column(cpu._places(seeds, shape), shape)
    places, squares = cpu._places(queries, shape), np.empty(len(queries))
    assert cpu._search(gap, places, spacing, squares) < len(queries)


@pytest.mark.parametrize("shape", [(1, 40, 33), (17, 21, 19)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.5, 0.9), (1.0, 1e-10, 1.0)])
def test_the_separable_transform_is_scipys_everywhere(shape, spacing) -> None:
    rng = np.random.default_rng(1)
    seeded = rng.random(shape) < 0.01
    gap = cpu._gap_in_column(np.argwhere(seeded).astype(np.int32), shape)
    found = np.sqrt(cpu._squared_distances(gap, np.array(spacing)))
    expected = ndimage.distance_transform_edt(~seeded, sampling=spacing)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_column_without_a_seed_is_none_however_flat_pixels_are() -> None:
    preds, target = np.zeros((2, 4, 9), bool)
    preds[1, 2] = target[2, 6] = True
    found = host.distances_of_masks(preds, target, "pixels", (1e-10, 1.0))
    assert (found.to_target.percentile(100), found.to_preds.percentile(100)) == (4, 4)


def test_of_two_masks_the_larger_distance_and_the_mean_of_both_directions_are_given() -> None:
    rng = np.random.default_rng(2)
    few, many = rng.random((30, 30)) < 0.01, rng.random((30, 30)) < 0.1
    for preds, target in ((few, many), (many, few)):
        found = host.distances_of_masks(preds, target, "pixels", (1.0, 1.0))
        pairs = np.linalg.norm(np.argwhere(preds)[:, None] - np.argwhere(target)[None], axis=-1)
        there, back = pairs.min(1), pairs.min(0)
        for percentile in (50, 95, 100):
            both = np.percentile(there, percentile), np.percentile(back, percentile)
            hausdorff = distances.hausdorff(found, percentile=percentile)
            assert hausdorff.item() == pytest.approx(max(both), rel=1e-6)
        mean = np.concatenate([there, back]).mean()
        assert distances.average_distance(found) == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 0.3), (1.0, 1.0, 1.0), (0.2, 0.9, 1.7)])
def test_sizes_of_elements_are_those_of_the_references_table(spacing) -> None:
    corners = 2 ** len(spacing)
    table = get_code_to_measure_table(spacing)[0].numpy()
    # there the first corner is the highest bit
    reverse = [int(f"{code:0{corners}b}"[::-1], 2) for code in range(2**corners)]
    np.testing.assert_allclose(sizes(spacing)[reverse], table, atol=1e-6)


def contour_size(mask: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Length or area of all elements of a mask."""
    labels = np.pad(mask.astype(np.int32) - 1, 1, constant_values=NO_CLASS)
    codes = cpu.find_elements(labels.ravel(), offsets(labels, moves("elements", mask.ndim)), 1)[1]
    return float(sizes(spacing)[codes].sum())


def test_the_drawing_has_eight_pixels_and_twelve_elements() -> None:
    mask = np.zeros((4, 4), bool)
    mask[:3, :3] = True
    labels = np.pad(mask.astype(np.int32) - 1, 1, constant_values=NO_CLASS)
    assert len(cpu.find_pixels(labels.ravel(), offsets(labels, moves("pixels", 2)), 1)[0]) == 8
    codes = cpu.find_elements(labels.ravel(), offsets(labels, moves("elements", 2)), 1)[1]
    lengths = sorted(sizes((1.0, 1.0))[codes])
    np.testing.assert_allclose(lengths, [0.5**0.5] * 4 + [1.0] * 8)


def test_elements_of_a_box_are_its_faces_with_edges_and_corners_cut_off() -> None:
    a, b, c = 4, 6, 9
    faces = 2 * ((a - 1) * (b - 1) + (b - 1) * (c - 1) + (a - 1) * (c - 1))
    edges = 4 * ((a - 1) + (b - 1) + (c - 1)) * 0.5**0.5
    corners = 8 * 3**0.5 / 8
    box = np.ones((a, b, c), bool)
    assert contour_size(box, (1.0, 1.0, 1.0)) == pytest.approx(faces + edges + corners)
    assert contour_size(box, (2.0, 2.0, 2.0)) == pytest.approx(4 * (faces + edges + corners))


def test_elements_of_a_disc_have_its_length_times_the_bias_of_eight_directions() -> None:
    y, x = np.indices((301, 301)) - 150
    disc = x**2 + y**2 <= 140**2
    bias = 8 * (2**0.5 - 1) / np.pi  # an even mix of directions drawn in steps of 45 degrees
    assert contour_size(disc, (1.0, 1.0)) == pytest.approx(2 * np.pi * 140 * bias, rel=0.005)


# --- maps -----------------------------------------------------------------------------------------


READERS = pytest.mark.parametrize("reader", [maps.read_maps, surfaces._read_on_cpu])


@READERS
@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([(5, 7), (1, 6), (3, 4, 5)]),
    st.sampled_from([[], [255], [-1, 1], [3, 255]]), st.integers(0, 1), st.booleans(),
    st.sampled_from(["none", "in the target", "predicted", "predicted of ignored pixels"]),
)  # fmt: skip
def test_labels_of_maps_are_read_as_is_said(
    reader, seed, size, ignored, background, without_ignored, bad
) -> None:
    rng = np.random.default_rng(seed)
    some = [0, 1, 2, *ignored]
    target, preds = rng.choice(some, (2, 1, *size))
    if bad == "predicted of ignored pixels":
        preds[np.isin(target, ignored)] = 7
    elif bad != "none":
        (preds if bad == "predicted" else target).flat[rng.integers(target.size)] = 7
    counting = Counting.of(3, ignore_index=ignored, input_format="index")
    pixels = read(torch.from_numpy(preds), torch.from_numpy(target), counting)
    found, is_bad = reader(pixels, counting, background, without_ignored)
    left_out = np.isin(target, ignored)
    known = ~left_out & (target != 7)
    assert bool(is_bad) == ((target == 7).any() or (known & (preds == 7)).any())
    if is_bad:
        return
    expected = []
    for labels, is_target in ((preds, False), (target, True)):
        # an ignored value within the classes is no abstention where it is predicted
        of_class = (labels >= background) & (labels < 3) & ~(is_target & left_out)
        values = np.where(of_class, labels - background, NO_CLASS)
        values[left_out & (is_target | without_ignored)] = (
            NO_CLASS if without_ignored else IGNORED_PIXEL
        )
        expected.append(np.pad(values[0], 1, constant_values=NO_CLASS)[None])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(one), other)


@READERS
@pytest.mark.parametrize("size", [(2, 5), (1, 4), (2, 3, 4)])
def test_every_channel_of_masks_that_overlap_has_a_map(reader, size) -> None:
    rng = np.random.default_rng(0)
    preds, target = rng.integers(0, 2, (2, 1, 4, *size))
    counting = Counting.of(4, task="multilabel")
    pixels = read(torch.from_numpy(preds), torch.from_numpy(target), counting)
    found, is_bad = reader(pixels, counting, 1, False)
    assert not is_bad
    around = [(0, 0), *[(1, 1)] * len(size)]
    for one, masks in zip(found, (preds, target), strict=True):
        expected = np.pad(masks[0] - 1, around, constant_values=NO_CLASS)
        np.testing.assert_array_equal(np.asarray(one), expected)


@pytest.mark.parametrize("number", [3, MOST_FAR + 1])  # ids that no table has: few, too many
def test_ids_of_any_number_are_the_labels_of_maps(number) -> None:
    rng = np.random.default_rng(0)
    ids = 10**6 + np.arange(number)
    classes = {int(value): int(value) % 2 for value in ids}
    space = LabelSpace(["a", "b"], ignore_index=7, id_to_class=classes, map_preds=True)
    counting = surfaces.BandCounting(**vars(Counting.of(space)))
    preds, target = rng.choice([7, *ids], (2, 20, 30))
    found = bands.label_maps(preds, target, counting)
    for one, values, void in zip(found, (preds, target), (NO_CLASS, IGNORED_PIXEL), strict=True):
        expected = np.pad(np.where(values == 7, void, values % 2), 1, constant_values=NO_CLASS)
        assert one.dtype == np.int32
        np.testing.assert_array_equal(one, expected[None])


@READERS
def test_lines_longer_than_a_box_are_read_to_their_end(reader) -> None:
    rng = np.random.default_rng(0)
    preds, target = torch.from_numpy(rng.integers(0, 3, (2, 1, 2, BOX + 100)))
    counting = Counting.of(3, input_format="index")
    found, is_bad = reader(read(preds, target, counting), counting, 0, False)
    assert not is_bad
    for one, labels in zip(found, (preds, target), strict=True):
        expected = np.pad(labels, [(0, 0), (1, 1), (1, 1)], constant_values=NO_CLASS)
        np.testing.assert_array_equal(np.asarray(one), expected)


@pytest.mark.parametrize("per_image", [False, True])
def test_bad_pixels_on_the_cpu_are_0_since_reading_has_raised(per_image) -> None:
    counting = Counting.of(3, input_format="index", per_image=per_image)
    preds, target = torch.zeros(2, 4, 5).long(), torch.full((2, 4, 5), 9)
    with pytest.raises(ValueError, match="40 pixels of `target`"):
        list(surfaces.images(preds, target, counting))
    found = surfaces.bad_pixels(preds, target, counting)
    assert found.shape == ((2,) if per_image else ()) + (len(BAD_KINDS),)
    assert not found.any()
