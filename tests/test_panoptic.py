"""Panoptic quality: against torchmetrics, MONAI and the rules of panopticapi written out."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import PanopticQualityMetric
from torchmetrics.detection import ModifiedPanopticQuality
from torchmetrics.detection import PanopticQuality as TorchMetricsPQ

from longhand_panoptic import panoptic_counts, qualities
from segmetrics import LabelSpace, PanopticImageScores, PanopticQuality, functional
from segmetrics.labels import CITYSCAPES
from segmetrics.metrics import means
from segmetrics.metrics.panoptic import check_segments
from segmetrics.objects.panoptic import TP
from segmetrics.statistics import compare, confidence_interval
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


def test_bands_that_share_no_pixel_are_no_match() -> None:
    """A pixel of a thing amid void, in a prediction whose band lies in the void altogether."""
    thing = THINGS[0]
    target, preds = torch.full((2, 1, 13, 17, 2), VOID)
    target[0, 6, 8] = preds[0, 4:9, 6:11] = torch.tensor([thing, 1])
    for boundary, quality in ((False, 1), (True, 0)):
        ours = PanopticQuality(THINGS, STUFFS, boundary=boundary, allow_unknown_preds_category=True)
        ours.update(preds, target)
        assert values(ours)[f"pq/{thing}"] == quality


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


# --- what is counted ------------------------------------------------------------------------------


def segments(*pixels: tuple[int, int]) -> torch.Tensor:
    """An image of one row."""
    return torch.tensor([pixels])


def test_the_keys_and_the_values_of_the_paper() -> None:
    """Figure 2 of the paper: two matches, one false, one missed."""
    target = segments((1, 0), (1, 0), (1, 1), (1, 1), (1, 2), (0, 0))
    preds = segments((1, 5), (1, 5), (1, 6), (1, 6), (0, 0), (1, 7))
    metric = PanopticQuality([1], [0])
    metric.update(preds, target)
    found = values(metric)
    assert list(found) == [
        *("PQ", "SQ", "RQ", "PQ_things", "SQ_things", "RQ_things"),
        *("PQ_stuff", "SQ_stuff", "RQ_stuff", "pq/1", "pq/0"),
    ]
    assert found["PQ_things"] == pytest.approx(2 / (2 + 0.5 + 0.5))
    assert found["SQ_things"] == 1
    assert found["PQ_stuff"] == 0  # the one pixel each does not match
    assert found["PQ"] == pytest.approx(1 / 3)


def test_an_iou_of_exactly_one_half_is_no_match() -> None:
    target = segments((1, 0), (1, 0), (0, 0), (0, 0))
    preds = segments((1, 0), (0, 0), (0, 0), (0, 0))
    metric = PanopticQuality([1], [0])
    metric.update(preds, target)
    assert values(metric)["PQ_things"] == 0
    assert values(metric)["RQ_stuff"] == 1


def test_a_category_without_a_segment_is_nan_and_out_of_means() -> None:
    maps = segments((1, 0), (0, 0))
    metric = PanopticQuality([1, 2], [0, 3])
    metric.update(maps, maps)
    found = values(metric)
    assert found["PQ"] == found["PQ_things"] == found["pq/1"] == 1
    assert math.isnan(found["pq/2"])
    assert math.isnan(found["pq/3"])


def test_where_all_categories_are_things_there_is_nothing_on_stuff() -> None:
    assert "PQ_stuff" not in PanopticQuality([1], []).keys()  # noqa: SIM118
    assert "PQ_things" not in PanopticQuality([], [1]).keys()  # noqa: SIM118


def test_a_predicted_segment_mostly_on_void_or_crowds_of_its_category_is_no_false_alarm() -> None:
    def false_alarms(target, crowd) -> float:
        preds = segments((1, 0), (1, 0), (1, 0), (1, 0), (0, 0))
        metric = PanopticQuality([1, 2], [0])
        metric.update(preds, target, torch.tensor([crowd]))
        return metric.metric_state[next(iter(metric.metric_state))].view(-1, 4)[0, 1].item()

    void, crowd, other, stuff = (255, 0), (1, 3), (2, 3), (0, 0)
    none = [False] * 5
    assert false_alarms(segments(void, void, void, stuff, stuff), none) == 0
    assert false_alarms(segments(void, void, stuff, stuff, stuff), none) == 1
    inside = [True, True, True, False, False]
    assert false_alarms(segments(crowd, crowd, crowd, stuff, stuff), inside) == 0
    assert false_alarms(segments(crowd, crowd, void, stuff, stuff), inside) == 0
    assert false_alarms(segments(other, other, other, stuff, stuff), inside) == 1


def test_a_crowd_is_no_segment_of_the_modified_quality_either() -> None:
    both = segments((1, 1), (1, 1), (2, 3), (0, 0), (0, 0))
    metric = PanopticQuality([1, 2], [0], modified=True)
    metric.update(both, both, torch.tensor([[True, True, False, False, False]]))
    expected = {"PQ": 1, "pq/1": math.nan, "pq/2": 1, "pq/0": 1}
    assert values(metric) == pytest.approx(expected, nan_ok=True)


def test_more_dimensions_than_a_volume_has_are_counted_as_points() -> None:
    rng = torch.Generator().manual_seed(0)
    target, other = torch.randint(2, (2, 2, 4, 3, 3, 5, 2), generator=rng)
    preds = target.where(torch.rand(target.shape, generator=rng) < 0.9, other)
    metrics = PanopticQuality([1], [0]), PanopticQuality([1], [0])
    metrics[0].update(preds, target)
    metrics[1].update(preds.flatten(1, -2), target.flatten(1, -2))
    assert torch.equal(metrics[0]._states[0], metrics[1]._states[0])


def test_more_segments_than_a_sum_holds_are_refused() -> None:
    counts = torch.zeros(2, 4, dtype=torch.int64)
    counts[1, TP] = means.MOST_IMAGES
    check_segments(counts)
    counts[1, TP] += 1
    with pytest.raises(ValueError, match="the IoU of 8388608 matched segments"):
        check_segments(counts)


def test_things_of_a_label_space_are_named_and_mapped() -> None:
    space = LabelSpace(
        ["road", "car", "person"],
        ignore_index=0,
        id_to_class={7: "road", 26: "car", 24: "person"},
        things=["car", "person"],
    )
    target = segments((7, 0), (26, 0), (26, 1), (24, 0), (0, 9))
    preds = segments((0, 0), (1, 0), (1, 3), (2, 0), (2, 1))
    metric = PanopticQuality(space)
    metric.update(preds, target)
    assert list(metric.keys())[-3:] == ["pq/car", "pq/person", "pq/road"]
    assert values(metric)["PQ"] == 1  # the prediction on void is none
    both = PanopticQuality(replace(space, map_preds=True))
    both.update(target[:, :4], target[:, :4])
    assert values(both)["PQ"] == 1
    assert repr(metric) == "PanopticQuality(things=LabelSpace(3 classes: road, car, person))"
    cityscapes = PanopticQuality(CITYSCAPES)
    assert cityscapes.categories.things == 8
    colors = dict(zip(CITYSCAPES.names, CITYSCAPES.colors, strict=True))
    drawn = cityscapes.label_space
    assert dict(zip(drawn.names, drawn.colors, strict=True)) == colors


def test_an_ignored_class_of_a_label_space_is_void() -> None:
    space = LabelSpace(["void", "road", "car"], ignore_index=0, things=["car"])
    metric = PanopticQuality(space)
    metric.update(segments((1, 0), (1, 0), (2, 0)), segments((1, 0), (0, 0), (2, 0)))
    assert values(metric)["PQ"] == 1
    assert metric.class_names == ("car", "road")


def test_masks_of_points_and_of_any_dimensions_are_counted_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(3, (2, 4, 6, 5, 2), generator=generator)
    preds = torch.where(torch.rand(2, 4, 6, 5, 1, generator=generator) < 0.8, target, 1)
    found = []
    for shape in [(2, 4, 6, 5, 2), (2, 120, 2), (2, 24, 5, 2), (2, 2, 2, 3, 2, 5, 2)]:
        metric = PanopticQuality([1, 2], [0])
        metric.update(preds.reshape(shape), target.reshape(shape))
        found.append(metric.compute())
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.uint64])
def test_unsigned_and_large_ids_are_read(dtype) -> None:
    largest = torch.iinfo(dtype).max
    maps = torch.tensor([[[1, 0], [1, 1], [1, 2], [0, 7]]]).to(dtype)
    if dtype != torch.uint64:
        maps[0, 0, 1] = largest
    metric = PanopticQuality([1], [0])
    metric.update(maps, maps)
    assert metric.metric_state[next(iter(metric.metric_state))].view(-1, 4)[0, 0] == 3


def test_the_function_gives_the_metrics_numbers() -> None:
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(4, (3, 40, 2), generator=generator)
    preds = torch.where(torch.rand(3, 40, 1, generator=generator) < 0.9, target, 3)
    metric = PanopticQuality([1, 2, 3], [0], modified=True)
    expected = metric(preds, target)
    found = functional.panoptic_quality(preds, target, [1, 2, 3], [0], modified=True)
    assert found == expected == metric.compute()


def test_more_segments_than_the_sum_holds_are_refused() -> None:
    metric = PanopticQuality([1], [0])
    metric.update(segments((1, 0)), segments((1, 0)))
    (name,) = metric.metric_state
    setattr(metric, name, metric.metric_state[name] * 2**23)
    with pytest.raises(ValueError, match="may have overflowed"):
        metric.compute()


# --- single images --------------------------------------------------------------------------------


def kept(seed: int, quality: float) -> PanopticImageScores:
    metric = PanopticImageScores([1, 2], [0, 3])
    rng = np.random.default_rng(7)
    noise = np.random.default_rng(seed)
    for image in range(12):
        target = rng.integers(0, 4, (1, 6, 5, 2)).repeat(3, 1).repeat(3, 2)
        right = noise.random((1, 18, 15, 1)) < quality
        preds = np.where(right, target, noise.integers(0, 4, target.shape))
        metric.update(*map(torch.from_numpy, (preds, target)), image_ids=[f"{image}.png"])
    return metric


def test_the_images_give_the_scores_of_the_data_set_and_of_each_image() -> None:
    images, whole = kept(0, 0.9), PanopticQuality([1, 2], [0, 3])
    counts = images.image_counts()
    rng, noise = np.random.default_rng(7), np.random.default_rng(0)
    for image in range(12):
        target = rng.integers(0, 4, (1, 6, 5, 2)).repeat(3, 1).repeat(3, 2)
        right = noise.random((1, 18, 15, 1)) < 0.9
        preds = np.where(right, target, noise.integers(0, 4, target.shape))
        alone = whole(*map(torch.from_numpy, (preds, target)))
        place = counts.ids.index(f"{image}.png")
        for key in ("PQ", "RQ_things", "pq/2"):
            expected = alone[key].item()
            assert counts.values(key)[place].item() == pytest.approx(expected, nan_ok=True)
    assert values(whole) == pytest.approx(values(images), nan_ok=True)
    assert counts.scores() == pytest.approx(values(images), nan_ok=True)
    worst, score = images.worst(1)[0]
    assert score == counts.values("PQ").min() == counts.values("PQ")[counts.ids.index(worst)]


def test_the_interval_is_a_bootstrap_of_the_pooled_segments() -> None:
    counts = kept(0, 0.9).image_counts()
    interval = confidence_interval(counts, "PQ", n_resamples=2000, seed=0)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(2000):
        tp, fp, fn, iou = counts.counts[rng.integers(0, 12, 12)].sum(0).double().unbind(-1)
        drawn.append(np.nanmean((iou * 2.0**-40 / (tp + fp / 2 + fn / 2)).numpy()))
    assert interval.estimate == pytest.approx(values(kept(0, 0.9))["PQ"])
    np.testing.assert_allclose(
        [interval.low, interval.high], np.quantile(drawn, [0.025, 0.975]), atol=0.01
    )


def test_two_models_on_the_same_images_are_compared() -> None:
    comparison = compare(kept(0, 0.95), kept(1, 0.85), "PQ")
    assert comparison.difference > 0
    assert comparison.p_sign_flip < 0.05
    other = PanopticImageScores([1, 2], [0, 3], boundary=True)
    other.update(torch.zeros(1, 4, 4, 2, dtype=int), torch.zeros(1, 4, 4, 2, dtype=int))
    with pytest.raises(ValueError, match="boundary"):
        compare(kept(0, 0.9), other, "PQ")


def test_a_category_has_one_row_and_an_image_one_row() -> None:
    counts = kept(0, 0.9).image_counts()
    rows = counts.by_class().columns()
    assert rows["class"] == ["1", "2", "0", "3"]
    assert rows["isthing"] == [True, True, False, False]
    assert np.nanmean(rows["pq"]) == pytest.approx(counts.scores()["PQ"])
    assert rows["tp"] == counts.counts.sum(0)[:, 0].tolist()
    assert sorted(counts.columns()["image"]) == sorted(f"{image}.png" for image in range(12))
    assert len(counts.columns()["PQ"]) == 12
    assert replace(counts, ids=None).columns()["image"] == list(range(12))


# --- bad input ------------------------------------------------------------------------------------

GOOD = torch.tensor([[[[1, 0], [0, 0]], [[1, 1], [0, 0]]]])


@pytest.mark.parametrize(
    ("preds", "target", "error", "message"),
    [
        (GOOD.float(), GOOD, TypeError, r"`preds` must hold integers.*float32. Pass `preds.long"),
        (GOOD, GOOD.double(), TypeError, r"`target` must hold integers.*float64"),
        (GOOD > 0, GOOD > 0, TypeError, r"`preds` must hold integers.*bool"),
        (GOOD.numpy(), GOOD, TypeError, "`preds` must be a torch.Tensor, got ndarray"),
        (GOOD[..., [0]], GOOD[..., [0]], ValueError, r"\(N, \.\.\., 2\).*torch.stack"),
        (GOOD[:, :1], GOOD, ValueError, r"equal shape.*\(1, 1, 2, 2\) and \(1, 2, 2, 2\)"),
        (GOOD[0, 0], GOOD[0, 0], ValueError, r"\(N, \.\.\., 2\) of equal shape"),
        (GOOD + torch.tensor([4, 0]), GOOD, ValueError, "image 0 .*unknown category 4, 5: neither"),
        (GOOD - torch.tensor([0, 1]), GOOD, ValueError, "image 0 .*`preds` holds a thing without"),
        (GOOD, GOOD - torch.tensor([0, 1]), ValueError, "`target` holds a thing without an id"),
    ],
)
@pytest.mark.parametrize("call", ["update", "forward"])
def test_bad_input_is_named_and_nothing_is_counted(call, preds, target, error, message) -> None:
    metric = PanopticQuality([1], [0])
    metric.update(GOOD, GOOD)
    before = {name: state.clone() for name, state in metric.metric_state.items()}
    with pytest.raises(error, match=message):
        getattr(metric, call)(preds, target)
    assert all(torch.equal(before[name], state) for name, state in metric.metric_state.items())
    assert metric.update_count == 1


@pytest.mark.parametrize(("number", "rest"), [(10, ": neither"), (11, " …: neither")])
def test_ten_unknown_categories_are_listed(number, rest) -> None:
    preds = torch.zeros(1, 1, number, 2, dtype=torch.long)
    preds[..., 0] = 100 + torch.arange(number)
    listed = ", ".join(str(100 + i) for i in range(10))
    with pytest.raises(ValueError, match=f"unknown category {listed}{rest}"):
        PanopticQuality([1], [0]).update(preds, torch.zeros_like(preds))


def test_the_image_of_an_unknown_category_is_named() -> None:
    preds = torch.cat([GOOD, GOOD, GOOD])
    preds[2, 0, 0, 0] = 77
    with pytest.raises(ValueError, match=r"image 2 of the batch.*unknown category 77"):
        PanopticQuality([1], [0]).update(preds, torch.cat([GOOD] * 3))


def test_images_with_ids_are_named_by_these() -> None:
    preds = torch.cat([GOOD, GOOD])
    preds[1, 0, 0, 1] = -1
    metric = PanopticImageScores([1], [0])
    with pytest.raises(
        ValueError, match="image 'munster_3', 1 of the batch: `preds` holds a thing"
    ):
        metric.update(preds, torch.cat([GOOD] * 2), image_ids=["ulm_1", "munster_3"])
    assert not len(metric.image_counts())


@pytest.mark.parametrize(
    ("crowd", "got"),
    [
        (torch.zeros(1, 2, 2), r"torch\.float32 \(1, 2, 2\)"),
        (torch.zeros(1, 2, dtype=bool), r"torch\.bool \(1, 2\)"),
        ([True], r"\[True\]"),
    ],
)
def test_a_crowd_is_a_bool_mask_of_the_targets_size(crowd, got) -> None:
    with pytest.raises(ValueError, match=rf"`crowd` must be bool \(1, 2, 2\), got {got}\."):
        PanopticQuality([1], [0]).update(GOOD, GOOD, crowd)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"things": [1], "stuffs": [1, 2]}, ValueError, "1 is in `things` and in `stuffs`"),
        ({"things": [], "stuffs": []}, ValueError, "at least one category"),
        ({"things": ["car"], "stuffs": [1]}, TypeError, "`things` must be a collection of int"),
        ({"things": 3, "stuffs": [1]}, TypeError, "`things` must be a collection of integers"),
        ({"things": [1.0], "stuffs": [2]}, TypeError, "`things` must be a collection"),
        ({"things": CITYSCAPES, "stuffs": [1]}, ValueError, "`stuffs` is not given"),
        ({"things": LabelSpace(["a", "b"])}, ValueError, "the label space has no `things`"),
        (
            {"things": [2**63], "stuffs": [1]},
            ValueError,
            "must fit into int64, got 9223372036854775808",
        ),
        ({"things": [1], "stuffs": [-(2**63) - 1]}, ValueError, "must fit into int64"),
        ({"things": [1], "class_names": {2: "car"}}, ValueError, r"must name the categories \[1\]"),
        ({"things": [1], "class_names": ["a", "b"]}, ValueError, "must be 1 different names"),
        ({"things": [1, 2], "class_names": "ab"}, TypeError, "must be a sequence of strings"),
        ({"things": [1, 2], "class_names": [1, 2]}, TypeError, "must be a sequence of strings"),
        ({"things": [1], "modified": 1}, TypeError, "`modified` must be a bool"),
        ({"things": [1], "dilation_ratio": 0}, ValueError, "`dilation_ratio` must be greater"),
        ({"things": [1], "return_per_class": True}, TypeError, "has no argument"),
    ],
)
def test_impossible_arguments_are_refused(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        PanopticQuality(**arguments)


def test_bands_need_two_or_three_dimensions() -> None:
    with pytest.raises(ValueError, match=r"`boundary=True` needs two or three spatial dimensions"):
        PanopticQuality([1], [0], boundary=True).update(GOOD[:, 0], GOOD[:, 0])
