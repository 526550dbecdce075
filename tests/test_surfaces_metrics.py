"""Surface distances against MONAI, distances written out pair by pair, and analytic shapes."""

from __future__ import annotations

import subprocess
import sys
import warnings
from datetime import timedelta
from itertools import product
from math import hypot, inf, isnan, nan, sqrt
from pathlib import Path
from typing import Any

import monai.metrics as monai
import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics.utils import do_metric_reduction, get_code_to_measure_table
from torch import Tensor
from torch.nn.functional import one_hot
from torch.utils.data import DataLoader
from torchmetrics import MetricCollection

from processes import run_processes
from segmetrics import (
    AverageSurfaceDistance,
    BoundaryF1Score,
    BoundaryIoU,
    HausdorffDistance,
    SurfaceDice,
    SurfaceMetrics,
)
from strategies import generators

CLASSES = 3
#: Three classes along a dimension of three could be one-hot.
INDEX: dict[str, Any] = {"input_format": "index"}
SPACINGS = {2: ((1.0, 1.0), (2.5, 0.7)), 3: ((1.0, 1.0, 1.0), (3.0, 0.5, 0.9))}


def blobs(rng: np.random.Generator, shape: tuple[int, ...], classes: int = CLASSES) -> Tensor:
    """A label map of boxes, some with holes in them, over background."""
    labels = np.zeros(shape, np.int64)
    for _ in range(rng.integers(0, 5)):
        corner = [rng.integers(0, length) for length in shape[1:]]
        box = tuple(slice(c, c + rng.integers(1, 6)) for c in corner)
        labels[(rng.integers(0, shape[0]), *box)] = rng.integers(0, classes)
    noise = rng.random(shape) < rng.choice([0, 0.1])
    return torch.from_numpy(np.where(noise, rng.integers(0, classes, shape), labels))


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor, tuple[float, ...]]:
    """Predictions, targets and a spacing, in two or three dimensions."""
    rng = draw(generators())
    dims = draw(st.sampled_from([2, 3]))
    shape = (
        draw(st.integers(1, 3)),
        # a volume of one slice is an image
        *(draw(st.integers(dims - 1, 18 if dims == 2 else 8)) for _ in range(dims)),
    )
    return blobs(rng, shape), blobs(rng, shape), draw(st.sampled_from(SPACINGS[dims]))


def channels(labels: Tensor, classes: int = CLASSES) -> Tensor:
    """One-hot ``(N, C, ...)``; a label that is no class has no channel."""
    valid = (labels >= 0) & (labels < classes)
    return one_hot(labels.where(valid, classes), classes + 1).movedim(-1, 1)[:, :classes].float()


def quiet(function: Any, *arguments: Any, **settings: Any) -> Tensor:
    """Call one of MONAI's functions, which warn of empty masks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, include_background=True, **settings).double()


def averages(per_image: Tensor) -> tuple[Tensor, Tensor]:
    """MONAI's ``mean`` and ``mean_batch``; it gives 0 where nothing is defined, we give nan."""
    macro = do_metric_reduction(per_image.clone(), "mean")[0]
    each, number = do_metric_reduction(per_image.clone(), "mean_batch")
    return macro.double().reshape(()).where(~per_image.isnan().all(), nan), each.double().where(
        number > 0, nan
    )


# --- MONAI ----------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(batches(), st.sampled_from([100, 95, 50, 12.5]), st.booleans(), st.booleans())
def test_pixels_give_monais_distances(batch, percentile, directed, symmetric) -> None:
    preds, target, spacing = batch
    masks = channels(preds), channels(target)
    present = torch.stack(masks).flatten(3).any(-1)
    one_empty = present[0] != present[1]
    limits = [0, 0.7, 2.5]
    cases = [
        (
            HausdorffDistance,
            {"percentile": percentile, "directed": directed},
            quiet(
                monai.compute_hausdorff_distance,
                *masks,
                percentile=percentile,
                directed=directed,
                spacing=spacing,
            ).masked_fill(one_empty, inf),  # there nan for percentiles and directed distances
        ),
        (
            AverageSurfaceDistance,
            {"symmetric": symmetric},
            quiet(
                monai.compute_average_surface_distance,
                *masks,
                symmetric=symmetric,
                spacing=spacing,
            ).masked_fill(one_empty, inf),
        ),
        (
            SurfaceDice,
            {"tolerance": limits},
            quiet(monai.compute_surface_dice, *masks, class_thresholds=limits, spacing=spacing),
        ),
    ]
    for metric, arguments, per_image in cases:
        for average, expected in zip(("macro", "none"), averages(per_image), strict=True):
            found = metric(CLASSES, average=average, **arguments, **INDEX)(preds, target, spacing)
            torch.testing.assert_close(
                found.double(), expected, rtol=1e-5, atol=1e-5, equal_nan=True
            )


@settings(max_examples=40)
@given(batches())
def test_elements_give_monais_subvoxel_surface_dice(batch) -> None:
    preds, target, spacing = batch
    tolerances = [0.4, 1.0, 2.0]
    expected = quiet(
        monai.compute_surface_dice,
        channels(preds),
        channels(target),
        class_thresholds=tolerances,
        spacing=spacing,
        use_subvoxels=True,
    )
    metric = SurfaceDice(CLASSES, tolerance=tolerances, surface="elements", average="none", **INDEX)
    torch.testing.assert_close(
        metric(preds, target, spacing).double(),
        averages(expected)[1],
        rtol=1e-5,
        atol=1e-5,
        equal_nan=True,
    )


@settings(max_examples=20)
@given(batches(), st.sampled_from([0, 1, 255]))
def test_ignored_pixels_are_removed_from_both_masks_as_monai_does(batch, ignored) -> None:
    preds, target, spacing = batch
    void = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    target = target.where(~void, ignored)
    masks = [channels(labels.where(target != ignored, 254)) for labels in (preds, target)]
    expected = quiet(
        monai.compute_average_surface_distance, *masks, symmetric=True, spacing=spacing
    )
    present = torch.stack(masks).flatten(3).any(-1)
    expected = expected.masked_fill(present[0] != present[1], inf)
    if ignored < CLASSES:
        expected[:, ignored] = nan
    metric = AverageSurfaceDistance(
        CLASSES, ignore_index=ignored, spacing=spacing, average="none", **INDEX
    )
    torch.testing.assert_close(
        metric(preds, target).double(), averages(expected)[1], rtol=1e-5, atol=1e-5, equal_nan=True
    )


# --- pair by pair ---------------------------------------------------------------------------------


def pixels(mask: np.ndarray, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Places of the pixels with a direct neighbour outside, and ones."""
    around = np.pad(mask, 1)
    places = []
    for place in np.argwhere(mask):
        neighbours = [
            place + 1 + s * step for step in np.eye(mask.ndim, dtype=int) for s in (1, -1)
        ]
        if not all(around[tuple(neighbour)] for neighbour in neighbours):
            places.append(place * spacing)
    return np.array(places).reshape(-1, mask.ndim), np.ones(len(places))


def elements(mask: np.ndarray, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the neighbourhoods that are partly inside, and the reference's sizes."""
    around = np.pad(mask, 1)
    table = get_code_to_measure_table(spacing)[0].double().numpy()
    places, found = [], []
    for place in product(*(range(length + 1) for length in mask.shape)):
        window = around[tuple(slice(p, p + 2) for p in place)].ravel()
        if window.any() and not window.all():
            places.append((np.array(place) - 0.5) * spacing)
            found.append(table[int("".join("01"[int(corner)] for corner in window), 2)])
    return np.array(places).reshape(-1, mask.ndim), np.array(found)


@settings(max_examples=25)
@given(batches(), st.sampled_from([pixels, elements]), st.sampled_from([95, 60]))
def test_distances_are_those_of_all_pairs(batch, surface, percentile) -> None:
    preds, target, spacing = batch
    preds, target = preds[:1], target[:1]
    common = {
        "percentile": percentile,
        "surface": surface.__name__,
        "spacing": spacing,
        "empty_distance": 77,
        **INDEX,
    }
    found = SurfaceMetrics(CLASSES, tolerance=1.2, **common)(preds, target)
    pooled = HausdorffDistance(CLASSES, pooled=True, average="none", **common)(preds, target)
    for label in range(CLASSES):
        sides = [surface((labels[0] == label).numpy(), spacing) for labels in (preds, target)]
        empty = [len(places) == 0 for places, _ in sides]
        (a, a_sizes), (b, b_sizes) = sides
        if any(empty):
            one = not all(empty)
            hausdorff, average, dice = (77, 77, 0) if one else (nan, nan, nan)
            of_both = hausdorff
        else:
            pairs = np.linalg.norm(a[:, None] - b[None], axis=-1)
            there, back = pairs.min(1), pairs.min(0)
            ways = [(there, a_sizes), (back, b_sizes)]
            ways.append(tuple(map(np.concatenate, zip(*ways, strict=True))))
            if surface is pixels:
                percentiles = [np.percentile(way, percentile) for way, _ in ways]
            else:
                share = percentile / 100 - 1e-8  # a share that is reached may be rounded
                percentiles = [
                    np.quantile(way, share, weights=sizes, method="inverted_cdf")
                    for way, sizes in ways
                ]
            hausdorff, of_both = max(percentiles[:2]), percentiles[2]
            total = a_sizes.sum() + b_sizes.sum()
            average = (there @ a_sizes + back @ b_sizes) / total
            dice = ((there <= 1.2) @ a_sizes + (back <= 1.2) @ b_sizes) / total
        expected = {
            "hausdorff": hausdorff,
            "average_surface_distance": average,
            "surface_dice": dice,
        }
        for name, value in expected.items():
            assert found[f"{name}/{label}"].item() == pytest.approx(value, rel=1e-5, nan_ok=True)
        assert pooled[label].item() == pytest.approx(of_both, rel=1e-5, nan_ok=True)


# --- analytic shapes ------------------------------------------------------------------------------


def ball(size: int, radius: float, dims: int, spacing: float = 1.0) -> Tensor:
    axis = (torch.arange(size) - (size - 1) / 2) * spacing
    squares = sum(a.square() for a in torch.meshgrid(*[axis] * dims, indexing="ij"))
    return (squares <= radius**2).long().unsqueeze(0)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("spacing", [1.0, 0.5])
def test_elements_of_concentric_balls_lie_the_difference_of_radii_apart(dims, spacing) -> None:
    size, inner, outer = int(56 / spacing), 16.0, 20.0
    preds, target = (ball(size, radius, dims, spacing) for radius in (inner, outer))
    settings = {"task": "binary", "surface": "elements", "spacing": spacing}
    # a digitised ball is off by less than a pixel, and its steps reach towards the other ball
    average = AverageSurfaceDistance(**settings)(preds, target)
    assert outer - inner - 0.6 * spacing < average < outer - inner
    hausdorff = HausdorffDistance(**settings)(preds, target)
    assert hausdorff.item() == pytest.approx(outer - inner, abs=spacing)
    assert SurfaceDice(tolerance=outer - inner + spacing, **settings)(preds, target) == 1
    assert SurfaceDice(tolerance=outer - inner - 2 * spacing, **settings)(preds, target) == 0


@pytest.mark.parametrize("surface", ["pixels", "elements"])
@pytest.mark.parametrize("spacing", [(2.0, 0.5), (1.5, 3.0, 0.25)])
def test_a_box_grown_on_one_side_is_as_far_as_it_has_grown(surface, spacing) -> None:
    dims = len(spacing)
    target = torch.zeros(1, *[16] * dims, dtype=torch.int64)
    target[(0, *[slice(4, 10)] * dims)] = 1
    for axis in range(dims):
        preds = torch.zeros_like(target)
        box = [slice(4, 10)] * dims
        box[axis] = slice(4, 13)
        preds[(0, *box)] = 1
        metric = HausdorffDistance(task="binary", surface=surface, spacing=spacing)
        assert metric(preds, target).item() == pytest.approx(3 * spacing[axis])


def test_an_empty_channel_is_judged_unless_all_of_it_is_ignored() -> None:
    target = torch.zeros(2, 3, 5, 5, dtype=torch.long)
    target[:, 1] = 255
    metric = HausdorffDistance(
        3, task="multilabel", average="none", both_empty=7, ignore_index=255, empty_distance=1
    )
    found = metric(torch.zeros_like(target), target)
    assert found[[0, 2]].tolist() == [7, 7]
    assert found[1].isnan()


def test_percentiles_are_above_0_and_at_most_100() -> None:
    for percentile in (0.5, 1, 100):
        assert HausdorffDistance(2, percentile=percentile)
    for percentile in (0, -1, 100.5):
        with pytest.raises(ValueError, match=rf"`percentile` must be in .*got {percentile}"):
            HausdorffDistance(2, percentile=percentile)


def test_a_percentile_of_elements_is_the_smallest_distance_that_reaches_it() -> None:
    preds, target = torch.zeros(2, 1, 9, 40, dtype=torch.int64)
    preds[0, [0, 2, 5, 3, 7], [0, 7, 15, 24, 31]] = 1  # 20 elements of one length
    target[0, 8, 38] = 1
    sides = [elements(labels[0].numpy() == 1, (1.0, 1.0))[0] for labels in (preds, target)]
    distances = np.linalg.norm(sides[0][:, None] - sides[1][None], axis=-1).min(1)
    for i, distance in enumerate(sorted(distances)):
        settings = {"task": "binary", "surface": "elements", "directed": True}
        metric = HausdorffDistance(percentile=5 * (i + 1), **settings)
        assert metric(preds, target).item() == pytest.approx(distance, rel=1e-5)


def test_elements_of_a_shifted_edge_have_the_length_and_distance_of_the_drawing() -> None:
    # Two masks that fill an image of 40 rows up to columns 20 and 24. Their contours are the
    # rectangles around them with corners cut off, and share all but the edges and what joins them.
    target, preds = torch.zeros(2, 1, 40, 60, dtype=torch.int64)
    target[:, :, :20], preds[:, :, :24] = 1, 1
    corner = sqrt(0.5)
    length = 2 * (39 + 19 + 2 * corner) + 2 * (39 + 23 + 2 * corner)
    # along the target's edge: 4 to the prediction's, but for what is nearer to its other sides
    there = 33 * 4 + 2 * (1 + 2 + 3)
    # along the prediction's edge: 4 throughout; along its sides beyond the target 1, 2 and 3
    back = (39 + 2 * corner) * 4 + 2 * (1 + 2 + 3)
    settings = {"task": "binary", "surface": "elements"}
    assert HausdorffDistance(**settings)(preds, target) == 4
    average = AverageSurfaceDistance(**settings)(preds, target)
    assert average.item() == pytest.approx((there + back) / length)
    dice = SurfaceDice(tolerance=3.5, **settings)(preds, target)
    assert dice.item() == pytest.approx(1 - (33 + 39 + 2 * corner) / length)


# --- conventions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", ["pixels", "elements"])
@pytest.mark.parametrize("flipped", [False, True])
def test_one_empty_mask_is_as_far_as_said_and_two_are_left_out(surface, flipped) -> None:
    none, some = torch.zeros(2, 6, 8, dtype=torch.int64), torch.zeros(2, 6, 8, dtype=torch.int64)
    some[0, 2:4, 2:5] = 1  # the second image has the class in neither
    pair = (some, none) if flipped else (none, some)
    settings: dict[str, Any] = {"task": "binary", "surface": surface, "spacing": (2.0, 0.5)}
    for metric, arguments in (
        (HausdorffDistance, {}),
        (HausdorffDistance, {"percentile": 95, "directed": True}),
        (AverageSurfaceDistance, {}),
        (AverageSurfaceDistance, {"symmetric": False}),
    ):
        assert metric(**arguments, **settings)(*pair) == inf
        assert metric(**arguments, empty_distance=7.5, **settings)(*pair) == 7.5
        diagonal = metric(**arguments, empty_distance="diagonal", **settings)(*pair)
        assert diagonal.item() == pytest.approx(hypot(6 * 2, 8 * 0.5))
        assert isnan(metric(**arguments, **settings)(none, none))
    assert SurfaceDice(tolerance=100, **settings)(*pair) == 0
    assert isnan(SurfaceDice(tolerance=100, **settings)(none, none))


@pytest.mark.parametrize("spacing", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("steps", [1, 3, 7])
def test_a_tolerance_of_some_pixels_includes_them_whatever_the_rounding(spacing, steps) -> None:
    target, preds = torch.zeros(2, 1, 5, 32, dtype=torch.int64)
    target[0, 2, 2], preds[0, 2, 2 + steps] = 1, 1
    for tolerance in (steps * spacing, sum([spacing] * steps)):
        metric = SurfaceDice(task="binary", tolerance=tolerance, spacing=spacing)
        assert metric(preds, target) == 1


def test_images_are_averaged_with_each_its_own_spacing() -> None:
    rng = np.random.default_rng(2)
    preds, target = blobs(rng, (3, 12, 14)), blobs(rng, (3, 12, 14))
    spacing = [[1.0, 2.0], [0.5, 0.5], [3.0, 1.0]]
    whole, parts = AverageSurfaceDistance(CLASSES), []
    for form in (spacing, np.array(spacing), torch.tensor(spacing)):
        whole.reset()
        whole.update(preds, target, spacing=form)
        parts = [
            AverageSurfaceDistance(CLASSES, spacing=tuple(spacing[i]))(
                preds[i : i + 1], target[i : i + 1]
            )
            for i in range(3)
        ]
        assert whole.compute().item() == pytest.approx(torch.stack(parts).nanmean().item())


def test_a_spacing_collated_by_a_data_loader_is_one_tensor_an_axis() -> None:
    """Batches as large as the number of axes would otherwise be read transposed, in silence."""
    rng = np.random.default_rng(2)
    for dims in (2, 3):
        preds, target = (blobs(rng, (4, *[10] * dims)) for _ in range(2))
        spacing = [tuple(1.0 + (axis + 2 * i) % 5 for axis in range(dims)) for i in range(4)]
        samples = [(preds[i], target[i], spacing[i]) for i in range(4)]
        for metric in (HausdorffDistance, AverageSurfaceDistance):
            parts = [
                metric(CLASSES, empty_distance=9, spacing=spacing[i])(
                    preds[i : i + 1], target[i : i + 1]
                )
                for i in range(4)
            ]
            for size in range(1, 5):
                for p, t, collated in DataLoader(samples[:size], batch_size=size):
                    assert isinstance(collated, list)
                    assert len(collated) == dims
                    found = metric(CLASSES, empty_distance=9)
                    found.update(p, t, spacing=collated)
                    expected = torch.stack(parts[:size]).mean()
                    torch.testing.assert_close(found.compute(), expected)


def test_a_spacing_in_rows_is_one_row_an_image() -> None:
    target = torch.zeros(2, 12, 12, dtype=torch.int64)
    target[:, 3:9, 3:9] = 1
    preds, rows = target.roll(2, 2), [[1.0, 2.0], [1.0, 4.0]]
    for form in (
        rows,
        tuple(map(tuple, rows)),
        np.array(rows),
        torch.tensor(rows),
        list(np.array(rows)),
    ):
        metric = HausdorffDistance(2, include_background=False)
        assert metric(preds, target, spacing=form) == 6  # (4 + 8) / 2
    uneven = [torch.ones(2), torch.ones(3)]
    with pytest.raises(ValueError, match="one length"):
        HausdorffDistance(2)(preds, target, spacing=uneven)


SURFACES: dict[str, Any] = {
    "BoundaryIoU": BoundaryIoU,
    "BoundaryF1Score": BoundaryF1Score,
    "HausdorffDistance": HausdorffDistance,
    "HD95": lambda *c, **k: HausdorffDistance(*c, percentile=95, empty_distance="diagonal", **k),
    "AverageSurfaceDistance": AverageSurfaceDistance,
    "SurfaceDice": lambda *c, **k: SurfaceDice(*c, tolerance=1, **k),
    "elements": lambda *c, **k: SurfaceMetrics(*c, tolerance=1, surface="elements", **k),
}


@pytest.mark.parametrize("metric", SURFACES.values(), ids=list(SURFACES))
def test_a_volume_of_one_slice_is_an_image(metric) -> None:
    rng = np.random.default_rng(13)
    preds, target = blobs(rng, (2, 15, 12)), blobs(rng, (2, 15, 12))
    scores = one_hot(preds, CLASSES).movedim(-1, 1).float()
    expected = metric(CLASSES)(preds, target)
    for axis in (1, 2, 3):
        for more in (1, 2):  # single slices
            forms = [x[(slice(None),) * axis + (None,) * more] for x in (preds, target)]
            found = metric(CLASSES)(*forms)
            torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
        of_scores = scores.unsqueeze(axis + 1), target.unsqueeze(axis)
        found = metric(CLASSES)(*of_scores)
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(
        *(
            torch.stack(list(value.values())) if isinstance(value, dict) else value
            for value in (
                metric(task="binary")(preds[:, None, None] > 0, target[:, None, None] > 0),
                metric(task="binary")(preds > 0, target > 0),
            )
        )
    )


@pytest.mark.parametrize("metric", SURFACES.values(), ids=list(SURFACES))
def test_one_hot_masks_are_measured_as_the_labels_they_stand_for(metric) -> None:
    rng = np.random.default_rng(20)
    preds, target = blobs(rng, (2, 15, 12)), blobs(rng, (2, 15, 12))
    masks = (one_hot(labels, CLASSES).movedim(-1, 1) for labels in (preds, target))
    found = metric(CLASSES, input_format="one-hot")(*masks)
    expected = metric(CLASSES)(preds, target)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("given", [(5.0, 1.0, 2.0), (1.0, 2.0)])
def test_the_spacing_of_a_single_slice_goes_with_it(given) -> None:
    rng = np.random.default_rng(14)
    preds, target = blobs(rng, (2, 15, 12)), blobs(rng, (2, 15, 12))
    arguments: dict[str, Any] = {"empty_distance": "diagonal"}
    expected = HausdorffDistance(CLASSES, spacing=(1.0, 2.0), **arguments)(preds, target)
    volumes = preds[:, None], target[:, None]
    assert HausdorffDistance(CLASSES, spacing=given, **arguments)(*volumes) == expected
    metric = HausdorffDistance(CLASSES, **arguments)
    assert metric(*volumes, spacing=[given, given]) == expected
    if len(given) == 3:
        columns = [x.movedim(1, -1) for x in volumes]
        spacing = (given[1], given[2], given[0])
        assert HausdorffDistance(CLASSES, spacing=spacing, **arguments)(*columns) == expected


def test_an_image_of_one_row_stays_an_image() -> None:
    target = torch.zeros(1, 1, 9, dtype=torch.int64)
    target[..., 2:5] = 1
    assert HausdorffDistance(task="binary")(target.roll(3, 2)[:, None], target[:, None]) == 3


def test_scores_are_not_resized_to_a_single_slice() -> None:
    metric = HausdorffDistance(2, upsample="bilinear")
    with pytest.raises(ValueError, match="single slice"):
        metric(torch.rand(1, 2, 3, 4, 4), torch.zeros(1, 1, 8, 8).long())


def test_a_batch_at_a_time_gives_what_one_batch_gives() -> None:
    rng = np.random.default_rng(3)
    preds, target = blobs(rng, (5, 16, 16)), blobs(rng, (5, 16, 16))
    for average in ("macro", "none"):
        streamed = HausdorffDistance(CLASSES, percentile=95, average=average)
        for i in range(5):
            streamed.update(preds[i : i + 1], target[i : i + 1])
        streamed.update(preds[:0], target[:0])
        whole = HausdorffDistance(CLASSES, percentile=95, average=average)(preds, target)
        torch.testing.assert_close(streamed.compute(), whole, equal_nan=True)


def test_masks_of_multilabel_and_binary_are_measured_each_on_its_own() -> None:
    rng = np.random.default_rng(4)
    preds = torch.from_numpy(rng.random((2, 3, 12, 12)))
    target = torch.from_numpy(rng.integers(0, 2, (2, 3, 12, 12)))
    target[:, 1, :3] = 255
    settings = {"ignore_index": 255, "threshold": 0.6}
    each = AverageSurfaceDistance(3, task="multilabel", average="none", **settings)(preds, target)
    for c in range(3):
        binary = AverageSurfaceDistance(task="binary", **settings)(preds[:, c], target[:, c])
        assert each[c] == binary
        labels = (preds[:, c] > 0.6).long()
        multiclass = AverageSurfaceDistance(2, ignore_index=255, average="none")
        torch.testing.assert_close(multiclass(labels, target[:, c])[1], binary)


def test_scores_are_read_as_the_region_metrics_read_them() -> None:
    rng = np.random.default_rng(5)
    scores = torch.from_numpy(rng.random((2, 4, 6, 7), np.float32))
    target = blobs(rng, (2, 12, 14), 4)
    resized = torch.nn.functional.interpolate(scores, size=(12, 14), mode="bilinear").argmax(1)
    metric = HausdorffDistance(4, upsample="bilinear")
    assert metric(scores, target) == HausdorffDistance(4)(resized, target)


def test_background_and_ignored_classes_stay_out() -> None:
    rng = np.random.default_rng(6)
    preds, target = blobs(rng, (2, 16, 16)), blobs(rng, (2, 16, 16))
    each = HausdorffDistance(CLASSES, average="none")(preds, target)
    without = HausdorffDistance(CLASSES, average="none", include_background=False)(preds, target)
    torch.testing.assert_close(without, each[1:])
    metrics = SurfaceMetrics(
        CLASSES, tolerance=1, ignore_index=2, include_background=False, class_names=["a", "b", "c"]
    )
    assert list(metrics(preds, target)) == [
        *("hausdorff", "average_surface_distance", "surface_dice"),
        *("hausdorff/b", "average_surface_distance/b", "surface_dice/b"),
    ]


# --- one for three --------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", ["pixels", "elements"])
def test_one_update_gives_what_the_single_metrics_give(surface) -> None:
    rng = np.random.default_rng(7)
    preds, target = blobs(rng, (3, 9, 10, 8)), blobs(rng, (3, 9, 10, 8))
    settings: dict[str, Any] = {"surface": surface, "spacing": (2.0, 1.0, 1.0)}
    distances = {"empty_distance": "diagonal", **settings}
    singles = {
        "hausdorff": lambda a: HausdorffDistance(CLASSES, percentile=95, average=a, **distances),
        "average_surface_distance": lambda a: AverageSurfaceDistance(
            CLASSES, average=a, **distances
        ),
        "surface_dice": lambda a: SurfaceDice(CLASSES, tolerance=2, average=a, **settings),
    }
    together = SurfaceMetrics(CLASSES, percentile=95, tolerance=2, prefix="val/", **distances)
    found = together(preds, target)
    for name, single in singles.items():
        assert found.pop(f"val/{name}") == single("macro")(preds, target)
        each = torch.stack([found.pop(f"val/{name}/{c}") for c in range(CLASSES)])
        torch.testing.assert_close(each, single("none")(preds, target), equal_nan=True)
    assert not found
    together.update(preds, target)
    views = {key: view.compute() for key, view in together.items()}
    torch.testing.assert_close(views, together.compute(), equal_nan=True)


def test_a_collection_shares_equal_settings_and_no_others() -> None:
    rng = np.random.default_rng(8)
    preds, target = blobs(rng, (2, 12, 12)), blobs(rng, (2, 12, 12))
    different: dict[str, dict[str, Any]] = {
        "max": {},
        "p95": {"percentile": 95},
        "directed": {"directed": True},
        "elements": {"surface": "elements"},
        "spacing": {"spacing": (1.0, 1.0)},
        "wide": {"spacing": (1.0, 2.0)},
        "empty": {"empty_distance": 3},
        "foreground": {"include_background": False},
        "each": {"average": "none"},
        "ignored": {"ignore_index": 255},
    }
    metrics = {k: HausdorffDistance(CLASSES, **v) for k, v in different.items()}
    collection = MetricCollection({**metrics, "again": HausdorffDistance(CLASSES)})
    collection.update(preds[:0], target[:0])  # all states are equal after it
    collection.update(preds, target)
    groups = [set(group) for group in collection.compute_groups.values()]
    assert {"max", "again"} in groups
    assert len(groups) == len(different)
    for name, arguments in different.items():
        torch.testing.assert_close(
            collection.compute()[name], HausdorffDistance(CLASSES, **arguments)(preds, target)
        )


# --- mistakes -------------------------------------------------------------------------------------

MASK = torch.ones(1, 4, 4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: HausdorffDistance(2, percentile=0), ValueError, "`percentile` must be in"),
        (lambda: HausdorffDistance(2, percentile=100.5), ValueError, "`percentile` must be in"),
        (lambda: HausdorffDistance(2, directed=1), TypeError, "`directed` must be a bool"),
        (lambda: HausdorffDistance(2, surface="edge"), ValueError, "`surface` must be one of"),
        (lambda: HausdorffDistance(2, average="micro"), ValueError, "`average` must be one of"),
        (lambda: HausdorffDistance(2, empty_distance="far"), TypeError, "`empty_distance` must"),
        (lambda: HausdorffDistance(2, spacing=0), ValueError, "`spacing` must be positive"),
        (lambda: HausdorffDistance(2, spacing=(1, inf)), ValueError, "`spacing` must be positive"),
        (lambda: HausdorffDistance(2, spacing=[[1, 1]]), ValueError, "Pass that to `update`"),
        (lambda: HausdorffDistance(2, spacing="wide"), TypeError, "`spacing` must be"),
        (lambda: SurfaceDice(2, tolerance=-1), ValueError, "`tolerance` must be at least 0"),
        (lambda: SurfaceDice(3, tolerance=[1, 2]), ValueError, "each of the 3 classes, got 2"),
        (
            lambda: SurfaceMetrics(2, tolerance=1, average="none"),
            TypeError,
            "no argument `average`",
        ),
        (lambda: HausdorffDistance(2)(MASK, MASK, (1, 1, 1)), ValueError, "each of the 2 axes"),
        (lambda: HausdorffDistance(2)(MASK, MASK, [[1, 1]] * 2), ValueError, "1 images"),
        (lambda: HausdorffDistance(2)(MASK[0], MASK[0]), ValueError, "two or three spatial"),
        (lambda: HausdorffDistance(2)(MASK, MASK + 254), ValueError, "pass `ignore_index=255`"),
    ],
)
def test_mistakes_are_named(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()


def test_repr_shows_what_differs_from_the_defaults() -> None:
    metric = HausdorffDistance(3, percentile=95, empty_distance="diagonal", spacing=(1, 2))
    assert repr(metric) == (
        "HausdorffDistance(num_classes=3, spacing=(1.0, 2.0), empty_distance='diagonal', "
        "percentile=95.0)"
    )
    assert repr(SurfaceDice(task="binary", tolerance=1)) == (
        "SurfaceDice(task='binary', tolerance=1.0)"
    )


def test_a_failing_update_leaves_the_state_as_it_was() -> None:
    rng = np.random.default_rng(9)
    preds, target = blobs(rng, (2, 12, 12)), blobs(rng, (2, 12, 12))
    metric = AverageSurfaceDistance(CLASSES, empty_distance="diagonal")
    metric.update(preds, target)
    before = metric.compute()
    bad = target.clone()
    bad[1, 3, 3] = 99  # the first image is fine
    for call in (metric.update, metric):
        with pytest.raises(ValueError, match="99"):
            call(preds, bad)
    assert metric.compute() == before


# --- processes, threads, no numba -----------------------------------------------------------------


def worker(rank: int, processes: int, store: str) -> None:
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=processes,
        timeout=timedelta(seconds=60),
    )
    rng = np.random.default_rng(10)
    preds, target = blobs(rng, (7, 14, 15)), blobs(rng, (7, 14, 15))
    settings: dict[str, Any] = {"tolerance": 1, "percentile": 95, "empty_distance": "diagonal"}
    alone = SurfaceMetrics(CLASSES, **settings, sync_on_compute=False)
    alone.update(preds, target)
    together = SurfaceMetrics(CLASSES, **settings)
    for i in range(rank, 7, processes):
        together.update(preds[i : i + 1], target[i : i + 1])
    found = together.compute()
    for name, value in alone.compute().items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, equal_nan=True)
    dist.destroy_process_group()


def test_processes_together_measure_what_one_measures(tmp_path: Path) -> None:
    run_processes(worker, 3, 3, str(tmp_path / "store"))


def test_any_number_of_threads_gives_the_same_bits() -> None:
    rng = np.random.default_rng(11)
    preds, target = blobs(rng, (3, 40, 40)), blobs(rng, (3, 40, 40))
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            metric = AverageSurfaceDistance(CLASSES, surface="elements", average="none", **INDEX)
            results.append(metric(preds, target))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
import torch
from segmetrics import BoundaryF1Score, BoundaryIoU, SurfaceMetrics
preds, target = torch.load(sys.argv[1])
found = SurfaceMetrics(3, tolerance=1, surface="elements", empty_distance=9)(preds, target)
found["iou"] = BoundaryIoU(3, dilation_ratio=0.1)(preds, target)
found["f1"] = BoundaryF1Score(3)(preds, target)
torch.save(found, sys.argv[2])
"""


def test_without_numba_scipy_gives_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(12)
    preds, target = blobs(rng, (2, 20, 24)), blobs(rng, (2, 20, 24))
    torch.save((preds, target), tmp_path / "maps")
    paths = [str(tmp_path / name) for name in ("maps", "found")]
    subprocess.run([sys.executable, "-c", WITHOUT_NUMBA, *paths], check=True)
    found = torch.load(tmp_path / "found")
    expected = SurfaceMetrics(3, tolerance=1, surface="elements", empty_distance=9)(preds, target)
    expected["iou"] = BoundaryIoU(3, dilation_ratio=0.1)(preds, target)
    expected["f1"] = BoundaryF1Score(3)(preds, target)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0, equal_nan=True)


# --- Both masks empty -----------------------------------------------------------------------------


def test_both_empty_is_worth_what_the_challenge_says() -> None:
    """BraTS: HD95 is 0 where both are empty, the diagonal of its volumes where one is."""
    empty, full = torch.zeros(1, 8, 8).long(), torch.zeros(1, 8, 8).long()
    full[:, 2:5, 2:5] = 1
    preds, target = torch.cat([empty, empty, full]), torch.cat([empty, full, empty])
    brats = HausdorffDistance(task="binary", percentile=95, empty_distance=373.1287, both_empty=0.0)
    assert brats(preds, target).item() == pytest.approx(2 * 373.1287 / 3)  # 248.75
    left_out = HausdorffDistance(task="binary", percentile=95, empty_distance=373.1287)
    assert left_out(preds, target).item() == pytest.approx(373.1287)
    assert SurfaceDice(task="binary", tolerance=1.0, both_empty=1.0)(preds, target) == 1 / 3
    average = AverageSurfaceDistance(task="binary", empty_distance=6.0, both_empty=0.0)
    assert average(preds, target) == 4.0


def test_both_empty_of_all_three_scores() -> None:
    empty = torch.zeros(2, 6, 6).long()
    surfaces = SurfaceMetrics(2, tolerance=1.0, both_empty=0.0, include_background=False)
    value = surfaces(empty, empty)
    assert value["hausdorff/1"] == value["average_surface_distance/1"] == 0
    assert value["surface_dice/1"] == 1
    assert "both_empty=0.0" in repr(surfaces)


def test_an_image_of_nothing_but_void_is_no_pair_of_empty_masks() -> None:
    empty = torch.zeros(2, 6, 6).long()
    void = empty.clone()
    void[1] = 255
    for arguments in ({"task": "binary"}, {"num_classes": 2, "include_background": False}):
        dice = SurfaceDice(**arguments, tolerance=1.0, both_empty=1.0, ignore_index=255)
        assert dice(empty, void) == 1
        assert dice(empty[:1], void[1:]).isnan()
    channels = torch.zeros(1, 2, 6, 6).long()
    one_void = channels.clone()
    one_void[:, 1] = 255
    multilabel = SurfaceDice(
        2, task="multilabel", tolerance=1.0, both_empty=1.0, ignore_index=255, average="none"
    )
    torch.testing.assert_close(
        multilabel(channels, one_void), torch.tensor([1.0, float("nan")]), equal_nan=True
    )


def test_both_empty_is_in_the_name_of_the_state() -> None:
    def state(**arguments: float) -> str:
        return next(iter(HausdorffDistance(2, **arguments).metric_state))

    assert len({state(), state(both_empty=0.0), state(both_empty=1.0)}) == 3
    with pytest.raises(TypeError, match="`both_empty` must be a number"):
        HausdorffDistance(2, both_empty="zero")  # type: ignore[arg-type]
