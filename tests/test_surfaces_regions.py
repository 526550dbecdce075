"""Regions: unions of classes are measured as masks drawn by hand are; and settings a mask."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medpy.metric.binary import hd95 as medpys_hd95
from scipy import ndimage
from torch import Tensor
from torchmetrics import MetricCollection

from segmetrics import (
    AverageSurfaceDistance,
    BoundaryF1Score,
    HausdorffDistance,
    SegmentationMetrics,
    SurfaceDice,
    SurfaceMetrics,
)
from segmetrics.labels import LabelSpace
from strategies import generators

NAMES = ["background", "necrosis", "edema", "enhancing"]
#: As BraTS has them; they overlap, and their order is no order of classes.
REGIONS = {"WT": NAMES[1:], "TC": ["enhancing", "necrosis"], "ET": ["enhancing"]}
BRATS = LabelSpace(NAMES, regions=REGIONS)
VOID = 255
SPACINGS = {2: (2.5, 0.7), 3: (3.0, 0.5, 0.9)}


def nested(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A label map of boxes over each other, with noise, and void here and there."""
    labels = np.zeros(shape, np.int64)
    for label in rng.integers(0, 4, rng.integers(0, 7)):
        corner = [rng.integers(0, length) for length in shape[1:]]
        box = tuple(slice(c, c + rng.integers(1, 6)) for c in corner)
        labels[(rng.integers(0, shape[0]), *box)] = label
    noise = rng.random(shape) < rng.choice([0, 0.1])
    return np.where(noise, rng.integers(0, 4, shape), labels)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor, tuple[float, ...]]:
    """Predictions, targets with void pixels, and a spacing, in two or three dimensions."""
    rng = draw(generators())
    dims = draw(st.sampled_from([2, 3]))
    shape = (2, *(draw(st.integers(dims, 14 if dims == 2 else 7)) for _ in range(dims)))
    preds, target = nested(rng, shape), nested(rng, shape)
    target[rng.random(shape) < rng.choice([0, 0.1])] = VOID
    return torch.from_numpy(preds), torch.from_numpy(target), SPACINGS[dims]


def union(labels: Tensor, names: list[str]) -> Tensor:
    """The mask of a region, void where the map is void."""
    inside = torch.isin(labels, torch.tensor([NAMES.index(name) for name in names]))
    return torch.where(labels == VOID, VOID, inside.long())


SINGLES: dict[str, tuple[Any, dict[str, Any]]] = {
    "HD95": (HausdorffDistance, {"percentile": 95, "empty_distance": "diagonal"}),
    "ASSD": (AverageSurfaceDistance, {}),
    "NSD": (SurfaceDice, {"tolerance": 1.0, "both_empty": 1.0}),
    "contours": (BoundaryF1Score, {"tolerance": 2}),
}


@settings(max_examples=40)
@given(pairs(), st.sampled_from([*SINGLES]), st.sampled_from(["pixels", "elements"]))
def test_a_region_is_measured_as_its_mask_drawn_by_hand(pair, name, surface) -> None:
    preds, target, spacing = pair
    metric, arguments = SINGLES[name]
    arguments = {**arguments, "ignore_index": VOID, "input_format": "index"}
    if name != "contours":
        arguments |= {"surface": surface, "spacing": spacing}
    found = metric(BRATS, regions=True, average="none", **arguments)(preds, target)
    assert found.shape == (len(REGIONS),)
    for value, names in zip(found, REGIONS.values(), strict=True):
        alone = metric(task="binary", **arguments)
        expected = alone(union(preds, names), union(target, names))
        torch.testing.assert_close(value, expected, rtol=0, atol=0, equal_nan=True)


def test_a_region_of_the_target_ends_at_void() -> None:
    preds = torch.zeros(1, 30, 30).long()
    preds[:, 5:25, 5:25] = NAMES.index("enhancing")
    target = preds.clone()
    target[:, 12:18, 12:18] = VOID
    contour, around_void = 4 * 19, 4 * 7  # of the void all eight neighbours, its corners too
    share = contour / (contour + around_void)
    metric = BoundaryF1Score(BRATS, regions=True, average="none", tolerance=1, ignore_index=VOID)
    expected = [2 * share / (1 + share)] * len(REGIONS)
    assert metric(preds, target).tolist() == pytest.approx(expected)


def drawn(seed: int = 0, shape: tuple[int, ...] = (3, 9, 10, 8)) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(nested(rng, shape)), torch.from_numpy(nested(rng, shape))


def test_all_scores_of_classes_and_regions_come_from_one_update() -> None:
    preds, target = drawn()
    arguments: dict[str, Any] = {"percentile": 95, "spacing": (3.0, 0.5, 0.9), "empty_distance": 99}
    found = SurfaceMetrics(BRATS, tolerance=1.0, **arguments)(preds, target)
    plain = SurfaceMetrics(4, class_names=NAMES, tolerance=1.0, **arguments)(preds, target)
    assert {key: found[key] for key in plain} == plain  # means are over classes, as without
    regions = HausdorffDistance(BRATS, regions=True, average="none", **arguments)(preds, target)
    keys = [f"hausdorff_region/{region}" for region in REGIONS]
    assert [found[key] for key in keys] == regions.tolist()
    others = ("average_surface_distance_region", "surface_dice_region")
    assert {*found} == {*plain, *keys, *(f"{key}/{r}" for key in others for r in REGIONS)}


def test_keys_of_regions_are_alike_in_both_metrics_with_keys() -> None:
    preds, target = drawn()
    both = MetricCollection(
        SegmentationMetrics(BRATS, per_class=False),
        SurfaceMetrics(BRATS, tolerance=1.0, per_class=False, prefix="val/"),
    )
    keys = {*both(preds, target)}
    for region in REGIONS:
        assert {f"dice_region/{region}", f"val/surface_dice_region/{region}"} <= keys
    assert not [key for key in keys if "edema" in key]


def test_the_mean_of_regions_is_over_regions_then_images() -> None:
    preds, target = drawn()
    of_images = torch.stack(
        [
            HausdorffDistance(BRATS, regions=True, average="none", empty_distance=50)(
                preds[i : i + 1], target[i : i + 1]
            )
            for i in range(len(preds))
        ]
    )
    mean = HausdorffDistance(BRATS, regions=True, empty_distance=50)(preds, target)
    torch.testing.assert_close(mean, of_images.nanmean(1).nanmean())


def test_regions_are_named_in_scalars_and_repr() -> None:
    metric = SurfaceDice(BRATS, tolerance=1.0, regions=True, average="none")
    metric.update(*drawn())
    assert [*metric.compute_scalars()] == [*REGIONS]
    assert metric.regions is True
    assert "regions=True" in repr(metric)
    assert "regions" not in repr(SurfaceMetrics(BRATS, tolerance=1.0))


def test_classes_that_averages_leave_out_are_in_regions() -> None:
    preds, target = drawn()
    everything = LabelSpace(NAMES, regions={"all": NAMES, "healthy": ["background", "edema"]})
    settings: dict[str, Any] = {"regions": True, "average": "none"}
    found = AverageSurfaceDistance(everything, include_background=False, **settings)(preds, target)
    expected = AverageSurfaceDistance(everything, **settings)(preds, target)
    assert torch.equal(found, expected)
    assert expected[0] == 0  # the whole image against itself


def test_other_regions_are_another_state_and_equal_ones_share() -> None:
    same = LabelSpace(["a", "b", "c", "d"], regions={"x": ["b", "c", "d"], "y": ["d", "b"]})
    other = LabelSpace(NAMES, regions={"WT": NAMES[1:], "TC": ["enhancing", "edema"]})
    first = LabelSpace(NAMES, regions={"WT": NAMES[1:], "TC": ["enhancing", "necrosis"]})
    spaces = {"first": first, "same": same, "other": other, "brats": BRATS}
    arguments: dict[str, Any] = {"empty_distance": 9, "average": "none"}
    metrics = {
        name: HausdorffDistance(space, regions=True, **arguments) for name, space in spaces.items()
    }
    metrics["classes"] = HausdorffDistance(BRATS, **arguments)
    preds, target = drawn()
    collection = MetricCollection(metrics)
    collection.update(preds, target)
    groups = sorted(sorted(group) for group in collection.compute_groups.values())
    assert groups == [["brats"], ["classes"], ["first", "same"], ["other"]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HausdorffDistance(4, regions=True), "needs a label space that has regions"),
        (
            lambda: SurfaceDice(LabelSpace(NAMES), tolerance=1, regions=True),
            "needs a label space that has regions",
        ),
        (
            lambda: BoundaryF1Score(BRATS, regions=True, task="multilabel"),
            "`regions` are unions of the classes of label maps",
        ),
        (
            lambda: HausdorffDistance(task="binary", regions=True),
            "`regions` are unions of the classes of label maps",
        ),
        (
            lambda: SurfaceDice(BRATS, tolerance=[1, 2], regions=True),
            "each of the 3 regions, got 2",
        ),
        (
            lambda: SurfaceMetrics(BRATS, tolerance=[1, 2, 3, 4]),
            "each of the 7 classes and regions, got 4",
        ),
        (lambda: HausdorffDistance(3, percentile=[95, 0, 50]), "`percentile` must be in"),
        (lambda: HausdorffDistance(3, percentile=[95, 50]), "each of the 3 classes, got 2"),
        (lambda: HausdorffDistance(3, directed=True, pooled=True), "Pass one of them"),
    ],
)
def test_mistakes_are_named(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_regions_must_be_a_bool() -> None:
    with pytest.raises(TypeError, match="`regions` must be a bool"):
        HausdorffDistance(BRATS, regions=["WT"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`pooled` must be a bool"):
        HausdorffDistance(BRATS, pooled=1)  # type: ignore[arg-type]


# --- A setting for each mask ----------------------------------------------------------------------


def test_each_class_and_region_has_its_own_percentile_and_tolerance() -> None:
    preds, target = drawn(1)
    percentiles, tolerances = [95, 90, 50, 99, 80, 70, 60], [3, 0.5, 1, 2, 4, 0.7, 1.5]
    arguments: dict[str, Any] = {"spacing": (3.0, 0.5, 0.9), "empty_distance": 77}
    together = SurfaceMetrics(
        BRATS, percentile=percentiles, tolerance=tolerances, include_background=False, **arguments
    )(preds, target)
    masks = [*((f"/{name}", [name]) for name in NAMES)]
    masks += [(f"_region/{name}", members) for name, members in REGIONS.items()]
    expected = {}
    for (key, members), percentile, tolerance in zip(masks, percentiles, tolerances, strict=True):
        alone = SurfaceMetrics(
            task="binary", percentile=percentile, tolerance=tolerance, **arguments
        )(union(preds, members), union(target, members))
        expected |= {score + key: value for score, value in alone.items()}
    assert together.pop("hausdorff") > 0
    for key in ("average_surface_distance", "surface_dice"):
        together.pop(key)
    expected = {key: value for key, value in expected.items() if "background" not in key}
    torch.testing.assert_close(together, expected, rtol=0, atol=0, equal_nan=True)


def test_regions_of_the_same_classes_may_have_different_tolerances() -> None:
    preds, target = drawn(2)
    twice = LabelSpace(NAMES, regions={"strict": NAMES[1:], "lenient": NAMES[1:]})
    arguments: dict[str, Any] = {"regions": True, "average": "none"}
    found = SurfaceDice(twice, tolerance=[0.0, 9.0], **arguments)(preds, target)
    for value, tolerance in zip(found, (0.0, 9.0), strict=True):
        assert value == SurfaceDice(twice, tolerance=tolerance, **arguments)(preds, target)[0]
    assert found[0] < found[1]


# --- Pooled percentiles ---------------------------------------------------------------------------


@settings(max_examples=40)
@given(pairs())
def test_pooled_hd95_is_medpys(pair) -> None:
    preds, target, spacing = pair
    target = target.where(target != VOID, 0)
    metric = HausdorffDistance(
        4, percentile=95, pooled=True, average="none", spacing=spacing, input_format="index"
    )
    for i in range(len(preds)):
        found = metric(preds[i : i + 1], target[i : i + 1])
        for c, value in enumerate(found):
            masks = (preds[i] == c).numpy(), (target[i] == c).numpy()
            if all(mask.any() for mask in masks):
                # medpy's distances are in float64, ours are rounded to float32
                expected = medpys_hd95(*masks, voxelspacing=spacing)
                assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-6)
            else:  # medpy raises where a mask is empty
                assert value.isnan() if not any(m.any() for m in masks) else value == inf


def test_pooled_elements_weigh_both_surfaces_by_length() -> None:
    target = torch.zeros(1, 20, 40, dtype=torch.int64)
    target[:, 5:15, 5:35] = 1
    preds = torch.zeros_like(target)
    preds[:, 5:15, 5:25] = 1
    arguments: dict[str, Any] = {"task": "binary", "surface": "elements"}
    sides = [HausdorffDistance(percentile=80, pooled=True, **arguments)(*pair)
             for pair in ((preds, target), (target, preds))]  # fmt: skip
    assert sides[0] == sides[1]  # neither surface comes first
    # drawn by hand: the middle of every segment, its length, and how far the other outline is
    pieces = [outline(mask[0].numpy()) for mask in (preds, target)]
    distances, lengths = [], []
    for (here, length), (there, _) in (pieces, pieces[::-1]):
        away = np.linalg.norm(here[:, None] - there[None], axis=2).min(1)
        distances.append(away)
        lengths.append(length)
    away, length = np.concatenate(distances), np.concatenate(lengths)
    order = away.argsort()
    reached = length[order].cumsum()
    expected = away[order][np.searchsorted(reached, 0.8 * reached[-1])]
    assert sides[0].item() == pytest.approx(expected)


def outline(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places and lengths of the segments of marching squares around convex boxes."""
    padded = np.pad(mask, 1)
    filled = ndimage.correlate(padded, np.ones((2, 2), int), mode="constant", origin=(-1, -1))
    places = np.argwhere((filled > 0) & (filled < 4))
    length = np.where(filled[tuple(places.T)] == 2, 1.0, np.sqrt(0.5))
    return places.astype(float), length


def test_pooled_is_the_larger_direction_at_100() -> None:
    preds, target = drawn(3)
    arguments: dict[str, Any] = {"average": "none", "empty_distance": 99}
    found = HausdorffDistance(4, pooled=True, **arguments)(preds, target)
    assert torch.equal(found, HausdorffDistance(4, **arguments)(preds, target))


def test_pooled_lies_between_one_direction_and_the_larger() -> None:
    target = torch.zeros(1, 30, 30, dtype=torch.int64)
    target[:, 3:27, 3:27] = 1
    preds = torch.zeros_like(target)
    preds[:, 3:9, 3:9] = 1  # near the target's corner: its way there is the shorter one
    arguments: dict[str, Any] = {"task": "binary", "percentile": 75}
    larger = HausdorffDistance(**arguments)(preds, target)
    pooled = HausdorffDistance(pooled=True, **arguments)(preds, target)
    directed = HausdorffDistance(directed=True, **arguments)(preds, target)
    assert directed < pooled < larger
