"""Boundary bands and contours against OpenCV's and SciPy's morphology, class by class."""

from __future__ import annotations

from math import ceil, hypot, isnan, nan
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from segmetrics import BoundaryF1Score, BoundaryIoU, MeanIoU
from strategies import generators

CLASSES = 4
VOID = 255
INDEX: dict[str, Any] = {"input_format": "index"}


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets with void pixels, in two or three dimensions, even or noisy."""
    rng = draw(generators())
    dims = draw(st.sampled_from([2, 3]))
    # a volume of one slice is an image
    size = [draw(st.integers(dims - 1, 30 if dims == 2 else 9)) for _ in range(dims)]
    shape = (draw(st.integers(1, 3)), *size)
    maps = []
    for _ in range(2):
        scale = rng.choice([0.5, 3.0])
        fields = rng.random((CLASSES, *shape))
        maps.append(ndimage.gaussian_filter(fields, (0, 0, *[scale] * dims)).argmax(0))
    preds, target = maps
    target[ndimage.gaussian_filter(rng.random(shape), 1) < rng.choice([0, 0.4])] = VOID
    preds[rng.random(shape) < 0.02] = VOID  # abstained
    return preds, target


def eroded(mask: np.ndarray, times: int) -> np.ndarray:
    """Erosion with a box of threes, in which the outside of the image is outside the mask."""
    if mask.ndim == 2:  # as the authors of the Boundary IoU do it
        padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        return cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=times)[1:-1, 1:-1] > 0
    return ndimage.binary_erosion(mask, np.ones((3,) * 3), times)


def bands(labels: np.ndarray, void: np.ndarray, ratio: float) -> np.ndarray:
    """The bands of all classes in one image ``(C, ...)``."""
    times = max(1, round(ratio * hypot(*labels.shape)))
    masks = [labels == c for c in range(CLASSES)]
    return np.stack([mask & ~eroded(mask, times) & ~void for mask in masks])


def quotient(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return intersection / union


@settings(max_examples=60)
@given(batches(), st.sampled_from([0.001, 0.02, 0.11, 0.6]))
def test_boundary_iou_is_that_of_bands_eroded_by_opencv_and_scipy(batch, ratio) -> None:
    preds, target = batch
    intersections, unions = [], []
    for image, truth in zip(preds, target, strict=True):
        of_preds, of_target = (bands(labels, truth == VOID, ratio) for labels in (image, truth))
        space = tuple(range(1, of_preds.ndim))
        intersections.append((of_preds & of_target).sum(space))
        unions.append((of_preds | of_target).sum(space))
    per_image = quotient(np.stack(intersections), np.stack(unions))
    pooled = quotient(np.sum(intersections, 0), np.sum(unions, 0))
    defined = ~np.isnan(per_image)
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(RuntimeWarning)
        expected = {
            ("global", "none"): pooled,
            ("global", "macro"): np.nanmean(pooled),
            ("global", "micro"): quotient(np.sum(intersections), np.sum(unions)),
            ("samplewise", "none"): quotient(np.nansum(per_image, 0), defined.sum(0)),
            ("samplewise", "macro"): np.nanmean(np.nanmean(per_image, 1)),
        }
    for (level, average), value in expected.items():
        metric = BoundaryIoU(
            CLASSES,
            dilation_ratio=ratio,
            ignore_index=VOID,
            average=average,
            aggregation_level=level,
            **INDEX,
        )
        found = metric(torch.from_numpy(preds), torch.from_numpy(target))
        np.testing.assert_allclose(found.numpy(), value, rtol=1e-5)


@pytest.mark.parametrize("size", [(80, 100), (75, 100), (600, 600), (200, 9, 160)])
def test_bands_of_an_image_of_usual_size_are_as_wide_and_as_whole_as_opencvs(size) -> None:
    """Half a pixel is rounded to even: 2.56 to 3, 2.5 to 2; and no pixel of a large one is lost."""
    rng = np.random.default_rng(0)
    fields = ndimage.gaussian_filter(rng.random((2, CLASSES, *size)), (0, 0, *[4] * len(size)))
    preds, target = fields.argmax(1)
    void = np.zeros(size, bool)
    of_preds, of_target = (bands(labels, void, 0.02) for labels in (preds, target))
    space = tuple(range(1, of_preds.ndim))
    expected = (of_preds & of_target).sum(space) / (of_preds | of_target).sum(space)
    metric = BoundaryIoU(CLASSES, average="none", **INDEX)
    found = metric(*(torch.from_numpy(x[None]) for x in (preds, target)))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


@settings(max_examples=60)
@given(batches(), st.sampled_from([0.0075, 0.1, 1.0, 1.5, 3.0]))
def test_boundary_f1_is_that_of_contours_and_scipys_distances(batch, tolerance) -> None:
    preds, target = batch
    scores = np.full((len(preds), CLASSES), nan)
    for i, (image, truth) in enumerate(zip(preds, target, strict=True)):
        limit = tolerance
        if tolerance < 1:
            limit = max(1, ceil(tolerance * hypot(*truth.shape)))
        for c in range(CLASSES):
            contours = [
                (labels == c) & ~eroded(labels == c, 1) & (truth != VOID)
                for labels in (image, truth)
            ]
            if not any(contour.any() for contour in contours):
                continue
            shares = [0.0, 0.0]
            if all(contour.any() for contour in contours):
                for side, (one, other) in enumerate((contours, contours[::-1])):
                    distances = ndimage.distance_transform_edt(~other)
                    shares[side] = (distances[one] <= limit).mean()
            scores[i, c] = 2 * shares[0] * shares[1] / sum(shares) if sum(shares) else 0
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(RuntimeWarning)
        each = np.nanmean(scores, 0)
        macro = np.nanmean(each)
    for average, value in (("none", each), ("macro", macro)):
        metric = BoundaryF1Score(
            CLASSES, tolerance=tolerance, ignore_index=VOID, average=average, **INDEX
        )
        for i in range(len(preds)):
            metric.update(*(torch.from_numpy(maps[i : i + 1]) for maps in (preds, target)))
        np.testing.assert_allclose(metric.compute().numpy(), value, rtol=1e-5)


@pytest.mark.parametrize("metric", [BoundaryIoU, BoundaryF1Score])
def test_void_costs_nothing_where_the_prediction_goes_on_below_it(metric) -> None:
    """Were the void removed from both maps first, its border would be contour of both."""
    target = torch.zeros(1, 40, 40, dtype=torch.int64)
    target[:, :, 20:] = 1
    preds = target.clone()
    assert metric(2, ignore_index=VOID)(preds, target) == 1
    target[:, 5:15, 2:12] = VOID
    score = metric(2, ignore_index=VOID, average="none")(preds, target)
    assert score[1] == 1
    # the target's class ends at the void, the predicted one does not
    assert 0.5 < score[0] < 1
    assert (
        score[0]
        == metric(2, ignore_index=VOID, average="none")(preds.where(target != VOID, 0), target)[0]
    )


def test_a_band_as_wide_as_the_image_makes_boundary_iou_the_iou() -> None:
    rng = np.random.default_rng(0)
    preds, target = torch.from_numpy(rng.integers(0, CLASSES, (2, 3, 20, 24)))
    for settings_ in ({}, {"average": "none"}, {"aggregation_level": "samplewise"}):
        wide = BoundaryIoU(CLASSES, dilation_ratio=1.0, **settings_)
        torch.testing.assert_close(
            wide(preds, target), MeanIoU(CLASSES, **settings_)(preds, target)
        )


def masks(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(ndimage.gaussian_filter(rng.random(shape), 2) > 0.5).long()


@pytest.mark.parametrize("metric", [BoundaryIoU, BoundaryF1Score])
def test_binary_and_multilabel_masks_are_scored_each_on_its_own(metric) -> None:
    rng = np.random.default_rng(1)
    preds, target = (torch.stack([masks(rng, 24, 20) for _ in range(6)]) for _ in range(2))
    preds, target = preds.view(2, 3, 24, 20), target.view(2, 3, 24, 20)
    target[:, 1, 4:9] = VOID
    each = metric(3, task="multilabel", ignore_index=VOID, average="none")(preds, target)
    for c in range(3):
        both = metric(2, ignore_index=VOID, average="none")(preds[:, c], target[:, c])
        assert each[c] == both[1]
        assert each[c] == metric(task="binary", ignore_index=VOID)(preds[:, c], target[:, c])


@pytest.mark.parametrize("metric", [BoundaryIoU, BoundaryF1Score])
def test_without_a_counted_pixel_there_is_no_score(metric) -> None:
    void = torch.full((1, 6, 6), VOID)
    assert isnan(metric(2, ignore_index=VOID)(torch.zeros(1, 6, 6, dtype=torch.int64), void))
    empty = torch.zeros(0, 6, 6, dtype=torch.int64)
    assert isnan(metric(2)(empty, empty))


def test_different_settings_have_states_of_different_names() -> None:
    for metric, name in ((BoundaryIoU, "dilation_ratio"), (BoundaryF1Score, "tolerance")):
        one, other, again = (metric(3, **{name: value}) for value in (0.01, 0.02, 0.01))
        assert set(one._defaults) == set(again._defaults)
        assert not set(one._defaults) & set(other._defaults)
        assert not set(one._defaults) & set(metric(3, **{name: 0.01}, ignore_index=1)._defaults)
    assert not set(BoundaryIoU(3)._defaults) & set(MeanIoU(3)._defaults)


MASK = torch.ones(1, 4, 4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BoundaryIoU(2, dilation_ratio=0), "`dilation_ratio` must be greater than 0"),
        (lambda: BoundaryIoU(2, average="mean"), "`average` must be one of"),
        (lambda: BoundaryIoU(2)(MASK, MASK + 254), "16 pixels of `target` are 255"),
        (lambda: BoundaryIoU(5)(MASK, MASK + 254), "16 pixels of `target` are 255"),
        (lambda: BoundaryIoU(5, aggregation_level="samplewise")(MASK, MASK + 7), "values.*: 8"),
        (lambda: BoundaryIoU(2)(MASK[0], MASK[0]), "two or three spatial dimensions"),
        (lambda: BoundaryF1Score(2, tolerance=0), "`tolerance` must be greater than 0"),
        (lambda: BoundaryF1Score(2, average="weighted"), "`average` must be one of"),
        (lambda: BoundaryF1Score(2)(MASK, MASK + 254), "255"),
    ],
)
def test_mistakes_are_named(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
