"""States are integers: on every device, and the same bits whatever the order and the processes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import every_metric
import segmetrics
from every_metric import EVERY, C, images
from every_metric import test_every_public_metric_is_here as test_every_public_metric_is_here
from processes import run_processes
from segmetrics import (
    BoundaryF1Score,
    FPRAtRecall,
    HausdorffDistance,
    MeanIoU,
    ObjectImageScores,
    ObjectMetrics,
    PanopticQuality,
    SurfaceDice,
)
from segmetrics.distributed import sum_over_processes
from segmetrics.metrics import means
from segmetrics.metrics.base import SHARED, _sum
from segmetrics.metrics.rows import ImageRows


@pytest.fixture(params=EVERY)
def new(request: pytest.FixtureRequest) -> Callable[[], Any]:
    return EVERY[request.param]


def states(metric: Any) -> list[Tensor]:
    return list(metric._states)


def without_float64(tensor: Tensor) -> Tensor:
    """What moves a tensor to a device that has no float64, as Apple's MPS."""
    if tensor.dtype == torch.float64:
        raise TypeError("Cannot convert a float64 tensor: this device has no float64.")
    return tensor.clone()


def test_a_device_without_float64_takes_every_metric(new: Callable[[], Any]) -> None:
    model, untouched = nn.ModuleDict({"layer": nn.Conv2d(3, 3, 1), "metric": new()}), new()
    for seed in range(2):  # before the first update, then with all that a metric remembers
        model._apply(without_float64)
        metric: Any = model["metric"]
        metric(*images(seed))
        untouched(*images(seed))
        torch.testing.assert_close(metric.compute(), untouched.compute(), equal_nan=True)
    model._apply(without_float64)
    assert all(torch.equal(*pair) for pair in zip(states(metric), states(untouched), strict=True))


def test_no_state_is_a_float(new: Callable[[], Any]) -> None:
    metric = new()
    for _ in range(2):
        assert not any(state.is_floating_point() for state in states(metric))
        metric.half()
        metric.update(*images(0))


@pytest.mark.parametrize("seed", range(3))
def test_the_state_is_the_same_in_any_order_and_parts(new: Callable[[], Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    preds, target = images(0, 8)
    whole = new()
    whole.update(preds, target)
    if isinstance(whole, ImageRows):
        pytest.skip("a list of images, in the order of their updates")
    parts = [new() for _ in range(3)]
    for i in rng.permutation(8):
        parts[rng.integers(3)].update(preds[i : i + 1], target[i : i + 1])
    merged = parts[0]
    merged._update_count = max(1, merged._update_count)
    for part in parts[1:]:
        merged.merge_state(part.metric_state)
    assert all(torch.equal(*pair) for pair in zip(states(merged), states(whole), strict=True))
    torch.testing.assert_close(merged.compute(), whole.compute(), rtol=0, atol=0, equal_nan=True)


# --- fixed point ----------------------------------------------------------------------------------

DISTANCES = st.one_of(
    st.floats(1e-6, 1e9), st.just(0.0), st.integers(0, 10**9).map(float), st.just(nan)
)


@given(st.lists(DISTANCES, min_size=1, max_size=50))
def test_distances_are_averaged_to_a_relative_error_of_1e_12(values: list[float]) -> None:
    column = torch.tensor(values, dtype=torch.float64)[:, None]
    state = means.summed(column, means.OF_DISTANCES)
    found = means.mean(state, (1,), means.OF_DISTANCES).item()
    there = [Fraction(value) for value in values if value == value]
    if not there:
        assert found != found
        return
    assert found == pytest.approx(float(sum(there) / len(there)), rel=1e-12, abs=0)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50))
def test_scores_are_averaged_to_less_than_half_a_unit(values: list[float]) -> None:
    state = means.summed(torch.tensor(values, dtype=torch.float64), means.OF_SCORES)
    found = means.mean(state, (), means.OF_SCORES).item()
    exact = sum(map(Fraction, values)) / len(values)
    assert abs(Fraction(found) - exact) <= Fraction(1, 2**41) + Fraction(1, 2**52)


def test_an_infinite_value_makes_the_mean_infinite() -> None:
    state = means.summed(torch.tensor([[1.0, nan], [inf, nan], [3.0, 5.0]]).double(), (20, 60))
    assert means.mean(state, (2,), means.OF_DISTANCES).tolist() == [inf, 5.0]


def test_a_distance_that_is_too_large_is_refused_and_changes_nothing() -> None:
    target = torch.zeros(1, 4, 4, dtype=torch.int64)
    target[0, 1, 1] = 1
    metric = HausdorffDistance(task="binary")
    metric.update(target, target)
    with pytest.raises(ValueError, match=r"larger than 1e\+09.*`spacing`"):
        metric.update(target.roll(2, 1), target, spacing=1e9)
    assert metric.compute() == 0
    metric.update(target.roll(1, 1), target, spacing=1e9)
    assert metric.compute() == 5e8
    far = HausdorffDistance(task="binary", empty_distance=1e10)
    with pytest.raises(ValueError, match="`empty_distance`"):
        far.update(0 * target, target)


def test_more_images_than_a_word_holds_are_refused() -> None:
    metric = MeanIoU(2, aggregation_level="samplewise")
    ones = torch.ones(1, 2, 2, dtype=torch.int64)
    metric.update(ones, ones)
    for _ in range(22):
        metric.merge_state(metric.clone())
    assert metric.compute() == 1
    metric.merge_state(metric.clone())
    with pytest.raises(ValueError, match="at most 8388607 images"):
        metric.compute()
    most = torch.tensor([means.MOST_IMAGES, 0, 0, 5])
    means.check(most, ())
    most[0] += 1
    with pytest.raises(ValueError, match="over 8388608 images"):
        means.check(most, ())


@pytest.mark.parametrize("value", [-2.0, 1.5, inf])
def test_a_value_for_0_by_0_is_a_score_where_images_are_averaged(value: float) -> None:
    with pytest.raises(ValueError, match=r"`zero_division` must be nan or in \[-1, 1\]"):
        MeanIoU(2, zero_division=value, aggregation_level="samplewise")
    assert MeanIoU(2, zero_division=value)


@pytest.mark.parametrize("name", [name for name in EVERY if "regions" not in name])
def test_the_call_that_repr_shows_makes_the_same_states(name: str) -> None:
    metric = EVERY[name]()
    made = eval(repr(metric), vars(every_metric))
    assert repr(made) == repr(metric)
    assert list(made.metric_state) == list(metric.metric_state)


#: They need more, or their weights are always shown.
OTHERS = {"SurfaceDice", "SurfaceMetrics", "PanopticQuality", "PanopticImageScores"}
OTHERS |= {"TverskyIndex", "FBetaScore", "GeneralizedDiceScore"}


@pytest.mark.parametrize("name", sorted({name.split()[0] for name in EVERY} - OTHERS))
def test_arguments_that_are_left_out_are_not_shown(name: str) -> None:
    made = getattr(segmetrics, name)
    assert repr(made(3)) == f"{name}(num_classes=3)"
    assert repr(made(task="binary")) == f"{name}(task='binary')"


@pytest.mark.parametrize("sizes", [[3], (3, 9.5), {"tiny": 0, "rest": 10}])
def test_sizes_are_shown_as_they_can_be_given(sizes: Any) -> None:
    metric = ObjectMetrics(2, sizes=sizes)
    made = eval(repr(metric), vars(every_metric))
    assert made.sizes == metric.sizes
    assert list(made.metric_state) == list(metric.metric_state)
    assert ObjectMetrics(2, sizes=metric.sizes).sizes == metric.sizes


def test_a_preset_is_shown_once() -> None:
    metric = ObjectMetrics.preset("wmh-2017", task="binary", ignore_index=2, spacing=(1, 2))
    assert repr(metric) == (
        "ObjectMetrics.preset('wmh-2017', task='binary', ignore_index=[2], "
        "aggregation_level='samplewise', spacing=(1.0, 2.0), zero_division=1.0)"
    )


def test_what_objects_are_scored_by_is_shown() -> None:
    for shown in ("include_background=True", "per_class=False", "both_empty=1.0"):
        assert repr(eval(f"ObjectMetrics(3, {shown})")) == f"ObjectMetrics(num_classes=3, {shown})"


@pytest.mark.parametrize("per_class", [False, True])
def test_columns_of_classes_are_those_that_were_asked_for(per_class: bool) -> None:
    metric = ObjectImageScores(3, per_class=per_class)
    metric.update(torch.ones(1, 3, 3).long(), torch.ones(1, 3, 3).long())
    assert metric.image_counts().class_names == (("1", "2") if per_class else ())


def test_the_recall_of_a_false_positive_rate_is_shown() -> None:
    assert repr(FPRAtRecall(2, recall=0.9)) == "FPRAtRecall(num_classes=2, recall=0.9)"


def test_names_of_states_are_identifiers() -> None:
    several = SurfaceDice(C, tolerance=[0.5, 1, 2, 3]), HausdorffDistance(C, empty_distance=1e-7)
    for metric in (*(new() for new in EVERY.values()), *several):
        assert all(name.isidentifier() for name in metric.metric_state)


@pytest.mark.parametrize("size", [SHARED, SHARED + 1])
def test_states_are_summed_where_they_are(size: int) -> None:
    state = torch.arange(size)
    assert torch.equal(_sum(state, state), 2 * state)
    assert _sum(state.to("meta"), state.to("meta")).device.type == "meta"


def test_a_state_of_another_meaning_has_another_name() -> None:
    """Checkpoints of 0.1.0 held ``sum_...`` in float64 and ``images_...``."""
    for metric in (MeanIoU(2, aggregation_level="samplewise"), HausdorffDistance(2)):
        metric.persistent(True)
        (name,) = metric.metric_state
        old = name.replace("means_", "sum_"), name.replace("means_", "images_")
        with pytest.raises(RuntimeError, match="Unexpected key"):
            metric.load_state_dict(dict.fromkeys(old, torch.zeros(3)))


@pytest.mark.parametrize("name", [name for name in EVERY if "ImageScores" in name])
def test_a_process_without_images_has_the_columns_of_the_others(name: str) -> None:
    metric, empty = EVERY[name](), EVERY[name]()
    metric.update(*images(0))
    assert [state.shape[1:] for state in empty._states] == [s.shape[1:] for s in metric._states]


def panoptic(**arguments: Any) -> PanopticQuality:
    return PanopticQuality([1], [0], **arguments)


def objects(**arguments: Any) -> ObjectMetrics:
    return ObjectMetrics(2, aggregation_level="samplewise", **arguments)


@pytest.mark.parametrize(
    ("new", "settings"),
    [
        *((panoptic, {name: True}) for name in ("modified", "boundary")),
        (panoptic, {"allow_unknown_preds_category": True}),
        (objects, {"per_class": False}),
        *((objects, {name: 1}) for name in ("zero_division", "both_empty", "min_size")),
        *((objects, {"spacing": spacing}) for spacing in (2, (1, 2))),
    ],
)
def test_a_setting_that_changes_the_sums_is_in_the_name_of_the_state(
    new: Callable[..., Any], settings: dict[str, Any]
) -> None:
    assert new().metric_state.keys() != new(**settings).metric_state.keys()


# --- processes ------------------------------------------------------------------------------------


def worker(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/group-of-{size}",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=60),
    )
    preds, target = images(0, 9)
    found = {}
    for name, new in EVERY.items():
        for order in range(2):
            mine = np.random.default_rng(order).permutation(9)[rank::size]
            metric = new()
            for i in mine:
                metric.update(preds[i : i + 1], target[i : i + 1])
            with metric.sync_context():
                found[name, order] = [state.clone() for state in states(metric)]
    large = torch.tensor([2**53 + 1 if rank == 0 else 0, 2**62 // size])
    small = torch.ones(2, 3, dtype=torch.int64)
    sums = sum_over_processes([large, small])
    before = large.clone(), small.clone()
    assert all(torch.equal(*pair) for pair in zip(before, (large, small), strict=True))
    torch.save((found, sums, a_failing_sync()), folder / f"{size}-{rank}")
    dist.destroy_process_group()


def a_failing_sync() -> list[bool]:
    """Whether metrics whose sync fails in ``forward`` are as they were."""

    def fails(tensor: Tensor, group: Any = None) -> list[Tensor]:
        raise RuntimeError("connection closed by peer")

    untouched = []
    for new in EVERY.values():
        metric = new(dist_sync_on_step=True, dist_sync_fn=fails)
        metric.update(*images(1))
        before, count = [state.clone() for state in states(metric)], metric.update_count
        for _ in range(2):
            with pytest.raises(RuntimeError, match="connection closed"):
                metric(*images(2))
        same = all(torch.equal(*pair) for pair in zip(before, states(metric), strict=True))
        untouched.append(same and metric.update_count == count and not metric._is_synced)
    return untouched


@pytest.mark.parametrize("size", [2, 3, 4])
def test_processes_have_the_state_of_one_bit_by_bit(size: int, tmp_path: Path) -> None:
    run_processes(worker, size, size, tmp_path)
    preds, target = images(0, 9)
    expected = {}
    for name, new in EVERY.items():
        metric = new()
        metric.update(preds, target)
        expected[name] = states(metric)
    for rank in range(size):
        found, (large, small), untouched = torch.load(tmp_path / f"{size}-{rank}")
        assert large.tolist() == [2**53 + 1, 2**62 // size * size]
        assert small.tolist() == [[size] * 3] * 2
        assert all(untouched)
        for (name, _), synced in found.items():
            if name.endswith("ImageScores"):  # images in the order of the processes
                synced = [synced[0][synced[0].argsort(0)[:, 0]].sort(0).values, synced[1]]
                whole = [expected[name][0].sort(0).values, expected[name][1]]
            else:
                whole = expected[name]
            assert all(torch.equal(*pair) for pair in zip(synced, whole, strict=True)), name


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_scores_of_images_are_the_plain_mean_of_their_own(seed: int, number: int) -> None:
    preds, target = images(seed, number)
    each = [
        MeanIoU(4, ignore_index=255)(preds[i : i + 1], target[i : i + 1]) for i in range(number)
    ]
    whole = MeanIoU(4, ignore_index=255, aggregation_level="samplewise")(preds, target)
    torch.testing.assert_close(whole, torch.stack(each).nanmean(), equal_nan=True)
    f1 = [
        BoundaryF1Score(4, average="none")(preds[i : i + 1], preds[i : i + 1].argmax(1))
        for i in range(number)
    ]
    assert torch.stack(f1).nanmean() == 1


def test_the_units_of_states_are_those_of_states_that_were_saved_before() -> None:
    """Scores in 2⁻⁴⁰, distances and volumes in 2⁻²⁰ and the rest in 2⁻⁶⁰, sums in 2⁻⁴⁰."""
    preds, target = torch.tensor([[[1, 1, 0, 0]]]), torch.tensor([[[1, 0, 0, 0]]])
    iou = MeanIoU(2, aggregation_level="samplewise", average="none")
    iou.update(preds, target)  # 2/3 and 1/2
    assert {round(2**40 * 2 / 3), 2**39} <= set(states(iou)[0].tolist())
    distance = HausdorffDistance(2, spacing=(1, 2.75))
    distance.update(preds, target)
    assert {11 * 2**18, 0} <= set(states(distance)[0].tolist())
    third = HausdorffDistance(2, spacing=(1, 1 / 3))
    third.update(preds, target)
    whole = 2**20 // 3
    rest = (Fraction(float(np.float32(1 / 3))) - Fraction(whole, 2**20)) * 2**60
    assert {whole, int(rest)} <= set(states(third)[0].tolist())
    objects = ObjectMetrics(2, spacing=(0.5, 1.5))
    objects.update(torch.zeros_like(target), target)
    assert 3 * 2**18 in states(objects)[0]  # the area missed, 0.75
    objects.update(target, target)
    assert 2**40 in states(objects)[0]  # a Dice of 1
