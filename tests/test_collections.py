"""Metrics in a ``MetricCollection``: equal settings count once, unequal ones never share."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isnan, nan
from types import FrameType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import BinaryJaccardIndex, MulticlassJaccardIndex
from torchmetrics.wrappers import (
    BootStrapper,
    ClasswiseWrapper,
    MetricTracker,
    MinMaxMetric,
    Running,
)

from every_metric import EVERY, images
from segmetrics import (
    ConfusionMatrix,
    DiceScore,
    FBetaScore,
    ImageScores,
    MeanIoU,
    PixelAccuracy,
    Recall,
    SegmentationMetrics,
    TverskyIndex,
)
from segmetrics.counting import count

Batch = tuple[Tensor, Tensor]


def labels(seed: int, classes: int = 5, shape: tuple[int, ...] = (2, 16, 16)) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    preds = torch.randint(classes, shape, generator=generator)
    return preds, torch.randint(classes, shape, generator=generator)


@contextmanager
def calls_of(function: Callable[..., Any]) -> Iterator[list[str]]:
    """Every call of a function while the block runs, whoever calls it."""
    calls: list[str] = []

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is function.__code__:
            calls.append(event)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield calls
    finally:
        sys.setprofile(before)


# --- equal settings share -------------------------------------------------------------------------


def test_equal_settings_count_once_from_the_second_update_on() -> None:
    metrics = MetricCollection([MeanIoU(21), DiceScore(21), PixelAccuracy(21)])
    alone = [MeanIoU(21), DiceScore(21), PixelAccuracy(21)]
    counted = []
    for seed in range(4):
        with calls_of(count) as calls:
            metrics.update(*labels(seed, 21))
        counted.append(len(calls))
        for metric in alone:
            metric.update(*labels(seed, 21))
    assert counted == [3, 1, 1, 1]
    assert metrics.compute() == {type(metric).__name__: metric.compute() for metric in alone}

    metrics.reset()
    with calls_of(count) as calls:
        metrics.update(*labels(9, 21))
    assert len(calls) == 1
    alone[0].reset()
    alone[0].update(*labels(9, 21))
    assert metrics.compute()["MeanIoU"] == alone[0].compute()


def test_whatever_is_read_off_the_same_counts_shares_them() -> None:
    metrics = MetricCollection(
        {
            "iou": MeanIoU(5, ignore_index=[255, 254]),
            "classes": MeanIoU(5, ignore_index=(254, 255), average="none", zero_division=1.0),
            "foreground": DiceScore(5, ignore_index=[254, 255], include_background=False),
            "tversky": TverskyIndex(5, alpha=0.3, beta=0.7, ignore_index=[254, 255]),
            "matrix": ConfusionMatrix(5, ignore_index=[254, 255], normalize="true"),
            "all": SegmentationMetrics(5, ignore_index=[254, 255], prefix="val/"),
        },
    )
    alone = copy.deepcopy(dict(metrics.items()))
    for seed in range(3):
        with calls_of(count) as calls:
            metrics.update(*labels(seed))
        for metric in alone.values():
            metric.update(*labels(seed))
    assert len(calls) == 1
    values = metrics.compute()
    for name, metric in alone.items():
        value = metric.compute()
        for key, expected in value.items() if isinstance(value, dict) else [(name, value)]:
            torch.testing.assert_close(values[key], expected, rtol=0, atol=0)


def test_forward_update_and_copies_of_a_collection_can_be_mixed() -> None:
    metrics = MetricCollection([MeanIoU(5), DiceScore(5)], prefix="val_")
    alone = MeanIoU(5)
    for seed, call in enumerate(["update", "forward", "update", "compute", "update", "forward"]):
        if call == "compute":
            metrics = metrics.clone()
        else:
            getattr(metrics, call)(*labels(seed))
            alone.update(*labels(seed))
        assert metrics.compute()["val_MeanIoU"] == alone.compute()


# --- unequal settings never share -----------------------------------------------------------------

PREDS, TARGET = labels(0)
SCORES = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(1))
MASK = (TARGET > 2).long()
MILLION = torch.tensor([0.1, 0.9]).expand(1, 2**19, 2).flatten(1).contiguous()
MILLION[0, 0] = 0.5

VOID_OR_CLASS = (
    [MeanIoU(5, ignore_index=255), MeanIoU(5, ignore_index=3)],
    [MulticlassJaccardIndex(5, ignore_index=i, validate_args=False) for i in (255, 3)],
    (PREDS, TARGET),
)
THRESHOLDS = (
    [MeanIoU(task="binary", ignore_index=255, threshold=t) for t in (0.3, 0.7)],
    [BinaryJaccardIndex(t, ignore_index=255, validate_args=False) for t in (0.3, 0.7)],
    (SCORES, MASK),
)

#: two metrics of ours, two of torchmetrics, a telling batch; and the first batch, which tells none
FIRST_BATCHES: dict[str, tuple[tuple[list[Any], list[Any], Batch], Batch]] = {
    "empty": (VOID_OR_CLASS, (PREDS[:0], TARGET[:0])),
    "all ignored": (THRESHOLDS, (SCORES, torch.full_like(MASK, 255))),
    "without the ignored value": (VOID_OR_CLASS, (PREDS, TARGET.where(TARGET != 3, 0))),
    "no score between the thresholds": (THRESHOLDS, (SCORES.round(), MASK)),
    "one differing pixel in a million": (THRESHOLDS, (MILLION, torch.zeros_like(MILLION).long())),
}


@pytest.mark.parametrize(("pair", "first"), FIRST_BATCHES.values(), ids=list(FIRST_BATCHES))
def test_unequal_settings_stay_right_where_torchmetrics_merges_them_for_ever(
    pair: tuple[list[Any], list[Any], Batch], first: Batch
) -> None:
    ours, theirs, telling = pair

    def right(metrics: list[Metric]) -> list[bool]:
        """Whether each metric reports in a collection what it reports alone."""
        alone = copy.deepcopy(metrics)
        together = MetricCollection(dict(zip("ab", copy.deepcopy(metrics), strict=True)))
        for batch in (first, telling, telling):
            together.update(*batch)
            for metric in alone:
                metric.update(*batch)
        assert alone[0].compute() != alone[1].compute()
        reported = together.compute()
        return [reported[k] == m.compute() for k, m in zip("ab", alone, strict=True)]

    assert right(ours) == [True, True]
    assert right(theirs) == [True, False]


CHOICES: dict[str, list[Any]] = {
    "metric": [MeanIoU, DiceScore, Recall, FBetaScore],
    "num_classes": [2, 3, 21],
    "task": ["multiclass", "binary", "multilabel"],
    "ignore_index": [None, 0, 255, -1, -100, [0, 255], [255, 0], [2, 55]],
    "threshold": [0.5, 0.25, 0.05, 1e-5],
    "from_logits": [False, True],
    "upsample": [None, "bilinear", "nearest"],
    "input_format": [None, "index"],
    "aggregation_level": ["global", "samplewise"],
    "average": ["macro", "micro", "weighted", "none"],
    "include_background": [True, False],
    "zero_division": [nan, 0.0, 1.0],
}
SETTINGS = st.fixed_dictionaries({k: st.sampled_from(v) for k, v in CHOICES.items()})


def made(drawn: dict[str, Any]) -> tuple[Metric, tuple[object, ...]]:
    """The metric of drawn settings, and what decides the value of its state."""
    drawn = dict(drawn)
    if drawn["task"] == "multiclass":
        drawn |= {"threshold": 0.5, "from_logits": False}
    if drawn["task"] == "binary":
        drawn |= {"num_classes": None, "average": "macro", "include_background": True}
    ignored = drawn["ignore_index"]
    values = frozenset(ignored if isinstance(ignored, list) else [ignored])
    decides: list[object] = [drawn[k] for k in ("task", "num_classes", "threshold", "from_logits")]
    decides += [values, drawn["upsample"], drawn["input_format"], drawn["aggregation_level"]]
    if drawn["aggregation_level"] == "samplewise":
        undefined = None if isnan(drawn["zero_division"]) else drawn["zero_division"]
        decides += [drawn["metric"], drawn["average"], drawn["include_background"], undefined]
    metric = drawn.pop("metric")(drawn.pop("num_classes"), **drawn)
    return metric, tuple(decides)


@settings(max_examples=150)
@given(SETTINGS, SETTINGS, st.sets(st.sampled_from(list(CHOICES))))
def test_states_have_one_name_exactly_where_settings_count_the_same(
    drawn: dict[str, Any], others: dict[str, Any], changed: set[str]
) -> None:
    """Names are what torchmetrics compares exactly, so that unequal ones never merge."""
    try:
        one, decides = made(drawn)
        other, other_decides = made(drawn | {name: others[name] for name in changed})
    except ValueError:  # no class is left to average
        return
    assert (one.metric_state.keys() == other.metric_state.keys()) == (decides == other_decides)


# --- in a collection and in torchmetrics' wrappers ------------------------------------------------


def test_keys_that_collide_in_a_collection_are_told_apart() -> None:
    metrics = MetricCollection(
        {"all": SegmentationMetrics(5), "objects": SegmentationMetrics(5, ignore_index=0)}
    )
    one, other = SegmentationMetrics(5), SegmentationMetrics(5, ignore_index=0)
    for metric in (metrics, one, other):
        metric.update(*labels(0))
    expected = {f"all_{key}": value for key, value in one.compute().items()}
    expected |= {f"objects_{key}": value for key, value in other.compute().items()}
    assert metrics.compute() == expected


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("call", ["update", "forward"])
def test_a_running_window_has_the_value_of_its_updates(name: str, call: str) -> None:
    running, window = Running(EVERY[name](), window=2), EVERY[name]()
    for step in range(5):
        getattr(running, call)(*images(step))
        if step >= 3:
            window.update(*images(step))
    torch.testing.assert_close(running.compute(), window.compute(), rtol=0, atol=0, equal_nan=True)


def test_a_list_of_images_that_was_handed_out_survives_a_reset() -> None:
    metric = ImageScores(4, ignore_index=255)
    metric.update(*images(0))
    handed_out = metric.metric_state
    metric.reset()
    assert all(len(state) == 1 for state in handed_out.values())
    assert not len(metric.image_counts())


@pytest.mark.parametrize("metric", [SegmentationMetrics, ImageScores])
def test_a_tracker_of_scores_by_key_asks_for_their_direction(metric: Any) -> None:
    def new() -> MetricCollection:
        return MetricCollection([metric(5), MeanIoU(5)])

    for wrapped in (metric(5), new()):
        with pytest.raises(AttributeError, match="provide the `maximize` argument explicitly"):
            MetricTracker(wrapped)
    tracker, epochs = MetricTracker(new(), maximize=True), []
    for seed in range(3):
        tracker.increment()
        tracker.update(*labels(seed))
        epochs.append(tracker.compute())
    best = {key: max(epoch[key].item() for epoch in epochs) for key in epochs[0]}
    assert tracker.best_metric() == best


def test_torchmetrics_wrappers_take_a_metric() -> None:
    plain, per_class = MeanIoU(5), MeanIoU(5, average="none")
    named = ClasswiseWrapper(MeanIoU(5, average="none"), labels=list("abcde"), prefix="iou/")
    extremes = MinMaxMetric(MeanIoU(5))
    tracker = MetricTracker(MeanIoU(5))
    resampled = BootStrapper(MeanIoU(5), num_bootstraps=4, mean=False, raw=True, quantile=None)
    history = []
    for seed in range(3):
        for metric in (plain, per_class, named, extremes, resampled):
            metric.update(*labels(seed))
        history.append(plain.compute())
        extremes.compute()
        tracker.increment()
        tracker.update(*labels(seed))
    names = [f"iou/{letter}" for letter in "abcde"]
    assert named.compute() == dict(zip(names, per_class.compute(), strict=True))
    reported = extremes.compute()
    assert (reported["raw"], reported["max"]) == (history[-1], max(history))
    assert tracker.best_metric() == max(tracker.compute_all())
    assert resampled.compute()["raw"].shape == (4,)
