"""Scores of objects against sets of pixels, scikit-image and hypothesis."""

from __future__ import annotations

from math import isnan, nan
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray
from skimage import metrics
from skimage.measure import label as connected

import longhand_objects as longhand
from segmetrics import ObjectMetrics
from segmetrics.objects import cpu, plain

VOID = 255
Maps = tuple[NDArray[Any], NDArray[Any]]


def maps(classes: int = 3, void: bool = True) -> st.SearchStrategy[Maps]:
    """A prediction and a target, images or volumes of a few pixels."""
    size = st.one_of(
        st.tuples(st.integers(1, 8), st.integers(1, 8)),
        st.tuples(st.integers(2, 4), st.integers(2, 4), st.integers(2, 4)),
    )
    labels = st.integers(0, classes - 1)
    of_target = st.one_of(labels, st.just(VOID)) if void else labels
    return size.flatmap(
        lambda s: st.tuples(
            st_numpy.arrays(np.uint8, s, elements=labels, fill=labels),
            st_numpy.arrays(np.uint8, s, elements=of_target, fill=labels),
        )
    )


def ours(pairs: list[Maps], **arguments: Any) -> dict[str, float]:
    metric = ObjectMetrics(3, ignore_index=VOID, input_format="index", **arguments)
    for preds, target in pairs:
        metric.update(torch.from_numpy(preds)[None], torch.from_numpy(target)[None])
    return {key: value.item() for key, value in metric.compute().items()}


def assert_same(found: dict[str, float], expected: dict[str, float], suffix: str = "") -> None:
    for key, value in expected.items():
        if key + suffix in found:
            assert found[key + suffix] == pytest.approx(value, abs=2e-6, nan_ok=True), key


@settings(max_examples=100, deadline=None)
@given(
    maps(),
    st.sampled_from([("overlap", None), ("overlap", 0.0), ("overlap", 0.5), ("iou", None),
                     ("iou", 0.2), ("iou", 0.0)]),
    st.booleans(),
    st.integers(0, 4),
)  # fmt: skip
@example((np.zeros((1, 1), np.uint8), np.ones((1, 1), np.uint8)), ("overlap", None), True, 2)
def test_scores_of_an_image_are_those_of_sets_of_pixels(
    pair: Maps, rule: tuple[str, float | None], full: bool, min_size: int
) -> None:
    found = ours(
        [pair],
        matching=rule[0],
        threshold=rule[1],
        connectivity="full" if full else "faces",
        min_size=min_size,
    )
    preds, target = pair
    sides = longhand.sides(preds, target, (1, 2), full, min_size)
    assert_same(found, longhand.scores(sides, *rule))
    for c, of_class in enumerate(sides, 1):
        assert_same(found, longhand.scores([of_class], *rule), f"/{c}")


@settings(max_examples=60, deadline=None)
@given(maps(classes=2, void=False))
def test_information_and_rand_error_are_those_of_scikit_image(pair: Maps) -> None:
    preds, target = pair
    found = ours([pair])
    numbered = [connected(side, connectivity=side.ndim) for side in (target, preds)]
    if not (preds.any() or target.any()):
        assert isnan(found["variation_of_information"])
        return
    information = metrics.variation_of_information(*numbered).sum()
    assert found["variation_of_information"] == pytest.approx(information, abs=2e-6)
    if (np.bincount(numbered[0][target > 0]) > 1).any():
        error, _, _ = metrics.adapted_rand_error(*numbered)
        assert found["adapted_rand_error"] == pytest.approx(error, abs=2e-6)


def test_objects_are_summed_over_images() -> None:
    rng = np.random.default_rng(0)
    pairs = [
        (rng.integers(0, 3, (9, 7)).astype(np.uint8), rng.integers(0, 3, (9, 7)).astype(np.uint8))
        for _ in range(4)
    ]
    each = [longhand.scores(longhand.sides(p, t, (1, 2)), "iou", 0.3) for p, t in pairs]
    found = ours(pairs, matching="iou", threshold=0.3)
    hits = sum(s["target_objects"] - s["missed_objects"] for s in each)
    assert found["object_recall"] == pytest.approx(hits / sum(s["target_objects"] for s in each))
    samplewise = ours(pairs, matching="iou", threshold=0.3, aggregation_level="samplewise")
    for key in each[0]:
        mean = np.mean([s[key] for s in each])
        assert samplewise[key] == pytest.approx(mean, rel=1e-5, abs=1e-6), key


def test_ties_of_iou_go_to_the_first_of_the_target() -> None:
    """Two objects of one pixel, one predicted object over both: IoU 1/2 with either."""
    target = np.array([[1, 0, 1], [0, 0, 0]], np.uint8)
    preds = np.array([[1, 1, 1], [0, 0, 0]], np.uint8)
    found = ours([(preds, target)], matching="iou", threshold=0.3, sizes=[1.5])
    assert found["missed_objects"] == 1
    assert found["false_objects"] == 0
    apart = np.array([[1, 1, 0], [0, 0, 0]], np.uint8), np.array([[1, 1, 1], [0, 0, 1]], np.uint8)
    assert ours([apart], matching="iou", threshold=0.49)["object_f1"] == 1
    assert ours([apart], matching="iou", threshold=0.5)["object_f1"] == 0


def test_an_iou_of_exactly_a_threshold_is_not_above_it() -> None:
    pair = np.array([[1, 1, 1, 0]], np.uint8), np.array([[1, 1, 1, 1]], np.uint8)
    found = ours([pair], matching="iou", threshold=[0.5, 0.75])
    assert (found["object_f1_iou/0.5"], found["object_f1_iou/0.75"]) == (1, 0)
    assert ours([pair], threshold=0.75)["object_recall"] == 0


def test_an_object_missed_and_a_false_one_have_an_f1_of_zero() -> None:
    pair = np.array([[1, 0, 0]], np.uint8), np.array([[0, 0, 1]], np.uint8)
    assert ours([pair])["object_f1"] == 0


@pytest.mark.parametrize("seed", range(4))
def test_small_objects_of_the_target_are_ignored_pixels_for_every_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    preds, target = np.kron(rng.integers(0, 3, (2, 8, 9)), np.ones((2, 2), int)).astype(np.uint8)
    target[rng.random(target.shape) < 0.05] = 0
    target[rng.random(target.shape) < 0.05] = 1
    objects = connected(target, connectivity=2)
    small = (np.bincount(objects.ravel())[objects] < 8) & (target > 0)
    assert small.any()
    arguments: dict[str, Any] = {"min_size": 8, "distances": True, "tolerance": 1.0}
    found = ours([(preds, target)], **arguments)
    expected = ours([(preds, np.where(small, VOID, target).astype(np.uint8))], **arguments)
    assert found == pytest.approx(expected, nan_ok=True)
    # a predicted object of two pixels loses one, and is then too small itself
    pair = np.array([[2, 2, 0, 2, 2]], np.uint8), np.array([[1, 0, 0, 2, 2]], np.uint8)
    assert ours([pair], min_size=2)["predicted_objects"] == 1


def test_a_class_of_more_than_eight_bits_has_objects() -> None:
    labels = torch.tensor([[[0, 256, 256, 0, 255]]])
    metric = ObjectMetrics(300, per_class=False)
    assert metric(labels, labels)["object_f1"] == 1
    assert metric.compute()["target_objects"] == 2
    with pytest.raises(ValueError, match="256"):
        ObjectMetrics(256).update(labels, labels)


def test_two_halves_of_a_prediction_find_an_object_together() -> None:
    target = np.array([[1, 1, 1, 1, 1, 1]] * 2, np.uint8)
    preds = np.array([[1, 1, 0, 0, 1, 1]] * 2, np.uint8)
    assert ours([(preds, target)], threshold=0.5)["object_recall"] == 1
    assert ours([(preds, target)], threshold=0.7)["object_recall"] == 0
    assert ours([(preds, target)])["object_dice"] == pytest.approx(16 / 20)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([3], {"small": 0.5, "large": 1.0}),
        ([2, 4], {"small": 0.0, "medium": 1.0, "large": 1.0}),
        ({"one": 0, "more": 2, "huge": 100}, {"one": 0.0, "more": 1.0, "huge": nan}),
    ],
)
def test_recall_by_size_has_edges_of_choice(sizes: Any, expected: dict[str, float]) -> None:
    target = np.array([[1, 0, 1, 1, 0, 1, 1], [0, 0, 0, 0, 0, 1, 1]], np.uint8)
    preds = np.array([[0, 0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0]], np.uint8)
    found = ours([(preds, target)], sizes=sizes)
    recalls = {k.split("/")[1]: v for k, v in found.items() if k.startswith("object_recall/")}
    assert {name: recalls[name] for name in expected} == pytest.approx(expected, nan_ok=True)


def test_sizes_of_images_are_those_of_coco_and_volumes_have_none() -> None:
    target = np.zeros((200, 200), np.uint8)
    target[:31, :33], target[40:72, :32], target[100:196, :96] = 1, 1, 1  # 1023, 1024, 9216
    target[100:195, 100:197] = 1  # 9215
    preds = np.where(np.arange(200)[:, None] < 60, target, 0).astype(np.uint8)
    found = ours([(preds, target)])
    assert found["object_recall/small"] == 1
    assert found["object_recall/medium"] == 0.5
    assert found["object_recall/large"] == 0
    volume = np.stack([target, target])
    assert isnan(ours([(volume, volume)])["object_recall/small"])


def test_sizes_and_volumes_are_in_the_units_of_the_spacing() -> None:
    target = np.zeros((4, 6, 6), np.uint8)
    target[0, 0, :2], target[2, 3:5, 3:5] = 1, 1  # 2 and 4 voxels
    preds = np.zeros_like(target)
    preds[3, 0, :3] = 1
    metric = ObjectMetrics(2, spacing=(3.0, 0.5, 0.5), sizes=[2, 3])
    found = metric(torch.from_numpy(preds)[None], torch.from_numpy(target)[None])
    assert found["false_negative_volume"] == 6 * 0.75
    assert found["false_positive_volume"] == 3 * 0.75
    assert found["object_recall/small"] == 0  # 1.5
    assert found["object_recall/large"] == 0  # 3.0
    assert found["object_recall/medium"].isnan()
    metric = ObjectMetrics(2, min_size=3)
    found = metric(torch.from_numpy(preds)[None], torch.from_numpy(target)[None], (3.0, 0.5, 0.5))
    assert (found["target_objects"], found["predicted_objects"]) == (1, 0)


@pytest.mark.parametrize("size", [(5, 7), (3, 5, 7)])
def test_labels_are_looked_up_alike_on_every_backend(size: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    padded = rng.integers(-2, 4, [length + 2 for length in size]).astype(np.int32)
    labels = padded[(slice(1, -1),) * len(size)]  # not contiguous
    new = np.array([-2, -1, -1, 0, 7, 3], np.int32)
    expected = [new[label + 2] for label in labels.ravel().tolist()]
    for backend in (plain, cpu):
        assert backend.relabelled(labels, new).ravel().tolist() == expected
