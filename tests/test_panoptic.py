"""Panoptic quality: against torchmetrics, MONAI and the rules of panopticapi written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import PanopticQualityMetric
from torchmetrics.detection import ModifiedPanopticQuality
from torchmetrics.detection import PanopticQuality as TorchMetricsPQ

from longhand_panoptic import panoptic_counts, qualities
from segmetrics import PanopticQuality
from strategies import LAYOUTS, lay_out

THINGS, STUFFS, VOID = (9, 4, -7), (2, 0), 3
ORDER = (-7, 4, 9, 0, 2)
DTYPES = (torch.int8, torch.int16, torch.int32, torch.int64)


@st.composite
def segment_maps(draw, *, unknown_preds=False, number=2, shape=None):
    """Categories and instances of few even regions, of which many agree, or of noise."""
    shape = shape or draw(st.sampled_from([(30,), (6, 9), (12, 20), (3, 5, 6), (2, 2, 3, 4)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cell = draw(st.integers(1, 4))

    def drawn(values: list[int]) -> np.ndarray:
        cells = rng.choice(values, (number, *(-(-s // cell) for s in shape)))
        for axis in range(1, cells.ndim):
            cells = cells.repeat(cell, axis)
        return cells[(slice(None), *(slice(s) for s in shape))]

    void = [VOID] * draw(st.integers(0, 3))
    target = np.stack([drawn([*THINGS, *STUFFS, *void]), drawn([0, 1, 2])], -1)
    preds = np.stack(
        [drawn([*THINGS, *STUFFS, *(void if unknown_preds else [])]), drawn([0, 1, 2])], -1
    )
    right = rng.random(target.shape[:-1]) < draw(st.sampled_from([0.3, 0.8, 0.95]))
    known = np.isin(target[..., 0], [*THINGS, *STUFFS]) | unknown_preds
    preds = np.where((right & known)[..., None], target, preds)
    dtype, layout = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(LAYOUTS[:4]))
    return tuple(lay_out(torch.from_numpy(x).to(dtype), layout) for x in (preds, target))


def values(metric: PanopticQuality) -> dict[str, float]:
    return {key: value.item() for key, value in metric.compute().items()}


def assert_torchmetrics(found: dict[str, float], pq: torch.Tensor, counts) -> None:
    """torchmetrics gives 0 for a category without a segment, and leaves it out of means."""
    segments = counts.true_positives + counts.false_positives + counts.false_negatives
    expected = pq[..., 0].where(segments > 0, torch.nan)
    np.testing.assert_allclose([found[f"pq/{c}"] for c in ORDER], expected, atol=1e-6)
    for kind, column in zip(("PQ", "SQ", "RQ"), pq.unbind(-1), strict=True):
        kept = column[segments > 0]
        np.testing.assert_allclose(found[kind], kept.mean(), atol=1e-6)
        for group, part in (("_things", slice(3)), ("_stuff", slice(3, None))):
            kept = column[part][segments[part] > 0]
            np.testing.assert_allclose(found[kind + group], kept.mean(), atol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@given(st.data(), st.booleans())
@settings(deadline=None, max_examples=60)
def test_the_numbers_are_those_of_torchmetrics(data, unknown) -> None:
    arguments = {"allow_unknown_preds_category": unknown}
    ours = PanopticQuality(THINGS, STUFFS, **arguments)
    theirs = TorchMetricsPQ(
        THINGS, STUFFS, return_sq_and_rq=True, return_per_class=True, **arguments
    )
    for _ in range(2):
        preds, target = data.draw(segment_maps(unknown_preds=unknown))
        ours.update(preds, target)
        theirs.update(preds.long(), target.long())
    assert_torchmetrics(values(ours), theirs.compute(), theirs)


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.data(), st.booleans())
@settings(deadline=None, max_examples=60)
def test_modified_quality_is_that_of_torchmetrics(data, unknown) -> None:
    arguments = {"allow_unknown_preds_category": unknown}
    ours = PanopticQuality(THINGS, STUFFS, modified=True, **arguments)
    theirs = ModifiedPanopticQuality(THINGS, STUFFS, **arguments)
    preds, target = data.draw(segment_maps(unknown_preds=unknown))
    ours.update(preds, target)
    theirs.update(preds.long(), target.long())
    found = values(ours)
    np.testing.assert_allclose(found["PQ"], theirs.compute(), atol=1e-6)
    assert list(found) == ["PQ", *(f"pq/{c}" for c in ORDER)]


def as_ids(values: np.ndarray) -> tuple[np.ndarray, dict[int, int]]:
    """COCO's form: ids of segments, 0 void, and the categories of ids."""
    ids, categories = np.zeros(values.shape[:-1], int), {}
    for category, instance in np.unique(values.reshape(-1, 2), axis=0).tolist():
        if category in (*THINGS, *STUFFS):
            alike = values[..., 0] == category
            segment = alike & (values[..., 1] == instance) if category in THINGS else alike
            if not ids[segment].any():
                categories[len(categories) + 1] = category
                ids[segment] = len(categories)
    return ids, categories


@pytest.mark.parametrize("boundary", [False, True])
@given(segment_maps(number=1, shape=(13, 17)), st.integers(0, 2**32 - 1), st.booleans())
@settings(deadline=None, max_examples=60)
def test_void_and_crowds_are_those_of_panopticapi(boundary, maps, seed, crowded) -> None:
    preds, target = maps
    rng = np.random.default_rng(seed)
    target_ids, target_categories = as_ids(target[0].numpy().astype(int))
    preds_ids, preds_categories = as_ids(preds[0].numpy().astype(int))
    crowds = [i for i in target_categories if crowded and rng.random() < 0.4]
    counts = panoptic_counts(
        target_ids,
        preds_ids,
        {i: (c, i in crowds) for i, c in target_categories.items()},
        preds_categories,
        reach=1 if boundary else None,  # 2 % of the diagonal of 21.4
    )
    crowd = torch.from_numpy(np.isin(target_ids, crowds))[None]
    ours = PanopticQuality(THINGS, STUFFS, boundary=boundary)
    ours.update(preds, target, crowd)
    expected = qualities(counts, {c: c in THINGS for c in ORDER})
    assert list(values(ours)) == list(expected)
    np.testing.assert_allclose(list(values(ours).values()), list(expected.values()), atol=1e-6)


@given(segment_maps(number=1, shape=(24, 30)), st.sampled_from([0.01, 0.05, 0.09]))
@settings(deadline=None, max_examples=30)
def test_the_bands_are_as_wide_as_the_ratio_says(maps, ratio) -> None:
    preds, target = maps
    target_ids, target_categories = as_ids(target[0].numpy().astype(int))
    preds_ids, preds_categories = as_ids(preds[0].numpy().astype(int))
    counts = panoptic_counts(
        target_ids,
        preds_ids,
        {i: (c, False) for i, c in target_categories.items()},
        preds_categories,
        reach=max(1, round(ratio * math.hypot(24, 30))),
    )
    ours = PanopticQuality(THINGS, STUFFS, boundary=True, dilation_ratio=ratio)
    ours.update(preds, target)
    expected = qualities(counts, {c: c in THINGS for c in ORDER})
    np.testing.assert_allclose(list(values(ours).values()), list(expected.values()), atol=1e-6)


def test_monai_gives_the_same_for_the_instances_of_one_class() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 5, (8, 10)).repeat(4, 0).repeat(3, 1)
    preds = np.where(rng.random(target.shape) < 0.15, rng.integers(0, 5, target.shape), target)
    theirs = PanopticQualityMetric(1, metric_name=["pq", "sq", "rq"])
    maps = [np.stack([m, (m > 0).astype(int)])[None] for m in (preds, target)]
    theirs(*map(torch.from_numpy, maps))
    ours = PanopticQuality([1], [0])
    segments = [
        torch.from_numpy(np.stack([m > 0, m], -1)[None].astype(int)) for m in (preds, target)
    ]
    ours.update(*segments)
    found = values(ours)
    expected = torch.stack([x.flatten()[0] for x in theirs.aggregate()])
    np.testing.assert_allclose(
        [found[f"{k}_things"] for k in ("PQ", "SQ", "RQ")], expected, atol=1e-6
    )
