"""What must hold between scores, whatever their formulas are: no number is expected here.

A library whose scores were each tested against a wrong formula of its own would still fail these.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import segmetrics
from every_metric import EVERY, images
from segmetrics import functional

C = 4
VOID = 255

CLASS_SCORES = ["mean_iou", "dice_score", "precision", "recall", "specificity"]
JOINT_SCORES = ["generalized_dice_score", "pixel_accuracy", "cohen_kappa", "matthews_corrcoef"]
FUNCTIONS: dict[str, Any] = {name: getattr(functional, name) for name in CLASS_SCORES} | {
    "tversky_index": partial(functional.tversky_index, alpha=0.3, beta=0.7),
    "fbeta_score": partial(functional.fbeta_score, beta=2.0),
}
EVERY_FUNCTION = FUNCTIONS | {name: getattr(functional, name) for name in JOINT_SCORES}

#: Scores of contours and surfaces, which must not depend on how an image lies either.
LABELS: dict[str, Any] = {"num_classes": C, "ignore_index": VOID, "input_format": "index"}
SURFACES: dict[str, Any] = {
    "BoundaryIoU": partial(segmetrics.BoundaryIoU, **LABELS),
    "BoundaryF1Score": partial(segmetrics.BoundaryF1Score, **LABELS),
    "HausdorffDistance": partial(segmetrics.HausdorffDistance, **LABELS),
    "AverageSurfaceDistance": partial(
        segmetrics.AverageSurfaceDistance, **LABELS, surface="elements"
    ),
    "SurfaceDice": partial(segmetrics.SurfaceDice, **LABELS, tolerance=1),
}

close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-6, equal_nan=True)
LEVELS = st.sampled_from(["global", "samplewise"])
AVERAGES = st.sampled_from(["macro", "micro", "weighted", "none"])


@st.composite
def maps(draw: st.DrawFn, *, void: bool = True) -> tuple[Tensor, Tensor]:
    """Predictions and targets: coarse or noisy, with classes missing, with void pixels."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(2, 9)), draw(st.integers(2, 9)))
    labels = torch.tensor(draw(st.lists(st.integers(0, C - 1), min_size=1, max_size=6)))
    target = labels[torch.randint(len(labels), shape, generator=generator)]
    other = torch.randint(C, shape, generator=generator)
    right = torch.rand(shape, generator=generator) < draw(st.sampled_from([0.2, 0.9]))
    preds = target.where(right, other)
    if void:
        target = target.where(torch.rand(shape, generator=generator) > 0.2, VOID)
    return preds, target


def score(name: str, maps: tuple[Tensor, Tensor], **arguments: Any) -> Tensor:
    found: Tensor = EVERY_FUNCTION[name](*maps, C, ignore_index=VOID, **arguments)
    return found


# --- between scores -------------------------------------------------------------------------------


@given(maps(), LEVELS)
def test_dice_is_2_iou_by_1_plus_iou(maps: tuple[Tensor, Tensor], level: str) -> None:
    maps = maps[0][:1], maps[1][:1]  # of a unit that is scored
    settings_: dict[str, Any] = {"average": "none", "aggregation_level": level}
    iou = score("mean_iou", maps, **settings_)
    close(score("dice_score", maps, **settings_), 2 * iou / (1 + iou))


@given(maps(), AVERAGES, LEVELS)
def test_f1_and_a_tversky_index_of_halves_are_the_dice_score(
    maps: tuple[Tensor, Tensor], average: str, level: str
) -> None:
    arguments: dict[str, Any] = {
        **{"num_classes": C, "ignore_index": VOID},
        **{"average": average, "aggregation_level": level},
    }
    dice = functional.dice_score(*maps, **arguments)
    close(functional.fbeta_score(*maps, **arguments), dice)
    close(functional.tversky_index(*maps, **arguments), dice)
    iou = functional.mean_iou(*maps, **arguments)
    close(functional.tversky_index(*maps, alpha=1, beta=1, **arguments), iou)
    beyond = functional.tversky_index(*maps, alpha=0, beta=1, **arguments)
    close(beyond, functional.recall(*maps, **arguments))


@given(maps())
def test_f1_is_the_harmonic_mean_of_precision_and_recall(maps: tuple[Tensor, Tensor]) -> None:
    precision, recall, dice = (
        score(name, maps, average="none") for name in ("precision", "recall", "dice_score")
    )
    both = ~(precision.isnan() | recall.isnan()) & (precision + recall > 0)
    close(dice[both], (2 * precision * recall / (precision + recall))[both])


@given(maps(), LEVELS)
def test_recall_of_all_classes_together_is_the_pixel_accuracy(
    maps: tuple[Tensor, Tensor], level: str
) -> None:
    accuracy = score("pixel_accuracy", maps, aggregation_level=level)
    close(score("recall", maps, average="micro", aggregation_level=level), accuracy)
    close(score("recall", maps, average="weighted", aggregation_level=level), accuracy)


@given(maps(void=False), AVERAGES, LEVELS)
def test_precision_is_recall_with_the_roles_exchanged(
    maps: tuple[Tensor, Tensor], average: str, level: str
) -> None:
    settings_: dict[str, Any] = {"average": average, "aggregation_level": level}
    if average != "weighted":  # by the target's pixels
        precision = score("precision", maps, **settings_)
        close(precision, score("recall", maps[::-1], **settings_))
        for name in ("mean_iou", "dice_score"):
            close(score(name, maps, **settings_), score(name, maps[::-1], **settings_))
    for name in ("pixel_accuracy", "cohen_kappa", "matthews_corrcoef"):
        exchanged = score(name, maps[::-1], aggregation_level=level)
        close(score(name, maps, aggregation_level=level), exchanged)


@given(maps(), st.integers(0, C - 1), st.sampled_from(sorted(FUNCTIONS)), LEVELS)
def test_the_macro_average_over_one_class_is_that_class(
    maps: tuple[Tensor, Tensor], label: int, name: str, level: str
) -> None:
    """A class against the rest is a binary task, and the only class that is not left out."""
    preds, target = maps
    binary = (preds == label).long(), (target == label).long().where(target != VOID, VOID)
    arguments: dict[str, Any] = {"ignore_index": VOID, "aggregation_level": level}
    of_class = FUNCTIONS[name](*maps, C, average="none", **arguments)[label]
    close(FUNCTIONS[name](*binary, task="binary", **arguments), of_class)
    macro = FUNCTIONS[name](*binary, 2, include_background=False, **arguments)
    close(macro, of_class)


# --- of all scores --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY_FUNCTION)
@given(maps(), LEVELS, st.permutations(range(C)))
@settings(max_examples=30)
def test_a_score_does_not_depend_on_how_images_lie_or_classes_are_called(
    name: str, maps: tuple[Tensor, Tensor], level: str, order: list[int]
) -> None:
    arguments = {"aggregation_level": level}
    expected = score(name, maps, **arguments)
    transposed, flipped = (x.mT for x in maps), (x.flip(1) for x in maps)
    reordered = (x.flip(0) for x in maps)
    pixels = torch.randperm(maps[0][0].numel(), generator=torch.Generator().manual_seed(0))
    shuffled = (x.flatten(1)[:, None, pixels] for x in maps)
    table = torch.arange(256)
    table[:C] = torch.tensor(order)
    renamed = (table[x] for x in maps)
    for other in (transposed, flipped, reordered, shuffled, renamed):
        close(score(name, tuple(other), **arguments), expected)  # type: ignore[arg-type]
    if name in FUNCTIONS:
        each = score(name, maps, average="none", **arguments)
        permuted = score(name, tuple(table[x] for x in maps), average="none", **arguments)  # type: ignore[arg-type]
        close(permuted[torch.tensor(order)], each)


@pytest.mark.parametrize("name", EVERY_FUNCTION)
@given(maps(), LEVELS)
@settings(max_examples=30)
def test_a_score_of_all_images_twice_or_with_a_void_border_is_the_same(
    name: str, maps: tuple[Tensor, Tensor], level: str
) -> None:
    arguments = {"aggregation_level": level}
    expected = score(name, maps, **arguments)
    close(score(name, tuple(torch.cat([x, x]) for x in maps), **arguments), expected)  # type: ignore[arg-type]
    preds, target = (
        torch.nn.functional.pad(x, (1, 2, 3, 1), value=value)
        for x, value in zip(maps, (0, VOID), strict=True)
    )
    close(score(name, (preds, target), **arguments), expected)
    void = torch.cat([preds, preds]), torch.cat([target, torch.full_like(target, VOID)])
    close(score(name, void, **arguments), expected)


@given(maps(), LEVELS, st.data())
@settings(max_examples=30)
def test_a_split_batch_counts_as_the_whole(
    maps: tuple[Tensor, Tensor], level: Any, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(maps[0])))
    whole, parts = (
        segmetrics.SegmentationMetrics(C, ignore_index=VOID, aggregation_level=level)
        for _ in range(2)
    )
    whole.update(*maps)
    for part in (slice(cut), slice(cut, None)):
        parts.update(*(x[part] for x in maps))
    torch.testing.assert_close(parts.compute(), whole.compute(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", SURFACES)
@given(maps(), st.permutations(range(C)))
@settings(max_examples=15)
def test_contours_and_surfaces_do_not_depend_on_how_images_lie_or_classes_are_called(
    name: str, maps: tuple[Tensor, Tensor], order: list[int]
) -> None:
    new = SURFACES[name]
    expected = new()(*maps)
    table = torch.arange(256)
    table[:C] = torch.tensor(order)
    for change in (
        lambda x: x.mT,
        lambda x: x.flip(1),
        lambda x: x.rot90(1, (1, 2)),
        lambda x: x.flip(0),
        lambda x: torch.cat([x, x]),
        lambda x: table[x],
        lambda x: x[:, None],
        lambda x: x.unsqueeze(-1),
    ):
        close(new()(*map(change, maps)), expected)
    each = new(average="none")(*maps)
    close(new(average="none")(*(table[x] for x in maps))[torch.tensor(order)], each)


@given(maps(void=False))
@settings(max_examples=20)
def test_distances_are_the_same_with_the_roles_exchanged_and_scale_with_the_spacing(
    maps: tuple[Tensor, Tensor],
) -> None:
    for metric in (
        segmetrics.HausdorffDistance,
        segmetrics.AverageSurfaceDistance,
        partial(segmetrics.SurfaceDice, tolerance=1),
    ):
        close(metric(C)(*maps), metric(C)(*maps[::-1]))
    for metric in (segmetrics.HausdorffDistance, segmetrics.AverageSurfaceDistance):
        close(metric(C, spacing=2.5)(*maps), 2.5 * metric(C)(*maps))
    whole = segmetrics.HausdorffDistance(C)(*maps)
    for percentile in (50, 95):
        assert not segmetrics.HausdorffDistance(C, percentile=percentile)(*maps) > whole


def test_overlapping_tiles_count_twice_unless_repeats_are_void() -> None:
    torch.manual_seed(0)
    target, preds = torch.randint(0, 3, (2, 1, 100, 100))
    whole = functional.confusion_matrix(preds, target, 3)
    corners = [(y, x) for y in (0, 36) for x in (0, 36)]
    repeated = segmetrics.ConfusionMatrix(3)
    once = segmetrics.ConfusionMatrix(3, ignore_index=VOID)
    seen = torch.zeros(100, 100, dtype=torch.bool)
    for y, x in corners:
        tile = slice(y, y + 64), slice(x, x + 64)
        here = (slice(None), *tile)
        repeated.update(preds[here], target[here])
        once.update(preds[here], target[here].where(~seen[tile], VOID))
        seen[tile] = True
    assert repeated.compute().sum() == 4 * 64 * 64
    assert torch.equal(once.compute(), whole)


# --- of every metric ------------------------------------------------------------------------------


def values_of(name: str, maps: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """What a metric computes, by key; without the order of images and the names of theirs."""
    found = EVERY[name]()(*maps)
    if isinstance(found, tuple):
        return {str(i): value for i, value in enumerate(found)}
    return dict(found) if isinstance(found, Mapping) else {"": found}


#: Probabilities lie in a dimension of their own, behind that of the images.
CHANGES: dict[str, Any] = {
    "transposed": lambda x: x.mT,
    "flipped": lambda x: x.flip(-1),
    "images in another order": lambda x: x.flip(0),
    "all images twice": lambda x: torch.cat([x, x]),
}
#: Numbers of objects and of voxels; over all images they are sums.
NUMBERS = ("objects", "volume", "TP", "FP", "FN", "tp", "fp", "fn")
#: What twice the images change: the number of worst images, and the order within a rounded cell.
OF_NUMBER = ("_1", "_5", "_10", "_Q")


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", EVERY)
def test_a_metric_does_not_depend_on_how_images_lie_or_follow(name: str, change: str) -> None:
    if name.startswith("Panoptic") and change in ("transposed", "flipped"):
        pytest.skip("there the halves of an image are its instances")
    maps, twice = images(7, 4), change == "all images twice"
    expected = values_of(name, maps)
    for key, value in values_of(name, tuple(map(CHANGES[change], maps))).items():
        of_number = (
            key.endswith(OF_NUMBER) or key[:2] == "AP" or name in ("AURC", "AveragePrecision")
        )
        if not (twice and of_number):
            added_up = name == "ConfusionMatrix" or ("samplewise" not in name and is_number(key))
            close(value, expected[key] * (2 if twice and added_up else 1))


def is_number(key: str) -> bool:
    return key.split("/")[0].endswith(NUMBERS)


@pytest.mark.parametrize("name", EVERY)
def test_void_images_and_what_is_predicted_in_them_do_not_count(name: str) -> None:
    preds, target = images(8, 3)
    void = torch.cat([preds, preds]), torch.cat([target, torch.full_like(target, VOID)])
    expected = values_of(name, (preds, target))
    for key, value in values_of(name, void).items():
        close(value, expected[key])
