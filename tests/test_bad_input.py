"""Bad input raises an error that names the fix, and leaves the metric as it was."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

import segmetrics
from definition import plain_confusion_matrix
from segmetrics import functional, surfaces
from segmetrics.counting import Counting, raise_if_bad
from segmetrics.surfaces import maps

METRICS: list[Any] = [
    segmetrics.MeanIoU,
    segmetrics.DiceScore,
    segmetrics.GeneralizedDiceScore,
    segmetrics.TverskyIndex,
    segmetrics.FBetaScore,
    segmetrics.Precision,
    segmetrics.Recall,
    segmetrics.Specificity,
    segmetrics.PixelAccuracy,
    segmetrics.CohenKappa,
    segmetrics.MatthewsCorrCoef,
    segmetrics.ConfusionMatrix,
    segmetrics.SegmentationMetrics,
]


class Output(NamedTuple):
    """What a model of another library gives."""

    logits: Tensor


class Bad(NamedTuple):
    """Inputs that must raise, for these arguments, and what the message must say."""

    preds: Any
    target: Any
    says: list[str]
    arguments: Mapping[str, Any] = MappingProxyType({"num_classes": 3})
    error: type[Exception] = ValueError


def labels(*values: int, dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.tensor([values], dtype=dtype)


def scores(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def with_value(tensor: Tensor, value: float) -> Tensor:
    """The tensor with two bad entries, of the first pixel and the last."""
    flat = tensor.flatten()
    flat[0] = flat[-1] = value
    return flat.view(tensor.shape)


BINARY: dict[str, Any] = {"task": "binary"}
MULTILABEL: dict[str, Any] = {"task": "multilabel", "num_classes": 2}
ONE_HOT: dict[str, Any] = {"num_classes": 3, "input_format": "one-hot"}
EYE = torch.eye(3, dtype=torch.int64)
TWICE = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 1]])

BAD = {
    # label values
    "255 in the target": Bad(
        labels(0, 1, 2), labels(0, 255, 255), ["2 pixels of `target` are 255", "`ignore_index=255`"]
    ),
    "255 in a uint8 target": Bad(
        scores(1, 3, 3), labels(0, 255, 1, dtype=torch.uint8), ["1 pixels", "`ignore_index=255`"]
    ),
    "255 next to another ignored value": Bad(
        labels(0, 1),
        labels(0, 255),
        ["`ignore_index=255`"],
        {"num_classes": 3, "ignore_index": 254},
    ),
    "255 in a binary target": Bad(labels(0, 1), labels(0, 255), ["`target > 0`"], BINARY),
    "255 in binary predictions": Bad(
        labels(0, 255), labels(0, 1), ["`preds > 0`", "Bad values in `preds`: 255"], BINARY
    ),
    "255 in a multilabel target": Bad(
        torch.zeros(1, 2, 3, dtype=torch.uint8),
        torch.full((1, 2, 3), 255),
        ["6 pixels", "`target > 0`"],
        MULTILABEL,
    ),
    "negative target": Bad(
        labels(0, 1, 2),
        labels(-1, 1, -100),
        ["2 pixels of `target` are negative", "`ignore_index`", "Bad values in `target`: -100, -1"],
    ),
    "target too large": Bad(
        labels(0, 1, 2),
        labels(3, 1, 70_000),
        ["2 pixels of `target`", "(0 to 2)", "`num_classes`", "Bad values in `target`: 3, 70000"],
    ),
    "target beyond int64": Bad(
        labels(0, 1, 2),
        torch.tensor([[0, 1, 2**64 - 1]], dtype=torch.uint64),
        ["1 pixels of `target` are neither"],
    ),
    "prediction too large": Bad(
        labels(0, 3, 9),
        labels(0, 1, 2),
        ["2 counted pixels of `preds`", "(0 to 2)", "Bad values in `preds`: 3, 9"],
    ),
    "prediction negative": Bad(labels(-1), labels(0), ["1 counted", "Bad values in `preds`: -1"]),
    "prediction outside, not the ignored value": Bad(
        labels(254, 255),
        labels(0, 1),
        ["1 counted pixels", "Bad values in `preds`: 254"],
        {"num_classes": 3, "ignore_index": 255},
    ),
    "bad in both": Bad(labels(7, 0), labels(255, 0), ["1 pixels of `target` are 255"]),
    "several kinds at once": Bad(
        labels(0, 7, 0, 0),
        labels(255, 1, -1, 9),
        [
            *("`target` are negative", "`target` are 255", "`target` are neither"),
            *("1 counted pixels of `preds`", "Bad values in `target`: -1, 9, 255", "`preds`: 7"),
        ],
    ),
    "more bad values than fit a line": Bad(
        labels(*[0] * 14),
        labels(*range(100, 114)),
        ["14 pixels", "100, 101, 102, 103, 104, 105, 106, 107, 108, 109 and 4 more."],
    ),
    "two ones in a one-hot target": Bad(
        EYE, TWICE, ["1 pixels of `target`", "exactly one 1", "`input_format='index'`"], ONE_HOT
    ),
    "no one in a one-hot prediction": Bad(
        EYE * labels(0, 1, 1).T, EYE, ["1 counted pixels of `preds`", "exactly one 1"], ONE_HOT
    ),
    "a 2 in a one-hot target": Bad(EYE, EYE + EYE, ["3 pixels of `target`"], ONE_HOT),
    "label maps read as one-hot with scores": Bad(
        scores(2, 3, 4), torch.full((2, 3, 4), 2), ["8 pixels of `target`", "exactly one 1"]
    ),
    # score values
    "NaN in logits": Bad(
        with_value(scores(1, 3, 4), torch.nan), labels(0, 1, 2, 0), ["2 counted pixels", "NaN"]
    ),
    "NaN in half precision": Bad(
        with_value(scores(1, 3, 4), torch.nan).half(), labels(0, 1, 2, 0), ["2 counted", "NaN"]
    ),
    "NaN in resized scores": Bad(
        torch.full((1, 3, 2, 2), torch.nan),
        torch.zeros(1, 5, 5, dtype=torch.bool),
        ["25 counted pixels", "NaN"],
        {"num_classes": 3, "upsample": "bilinear"},
    ),
    "NaN in binary logits": Bad(
        with_value(scores(1, 4), torch.nan),
        labels(0, 1, 1, 0),
        ["2 counted pixels", "NaN"],
        {"task": "binary", "from_logits": True},
    ),
    "probability above 1": Bad(
        with_value(scores(1, 4), 1.5), labels(0, 1, 1, 0), ["`from_logits=True`"], BINARY
    ),
    "probability below 0": Bad(
        with_value(scores(1, 2, 4), -0.1),
        torch.zeros(1, 2, 4, dtype=torch.bool),
        ["2 counted pixels", "[0, 1]", "`from_logits=True`"],
        MULTILABEL,
    ),
    "infinite probability": Bad(
        with_value(scores(1, 4), torch.inf), labels(0, 1, 1, 0), ["`from_logits=True`"], BINARY
    ),
    # dtypes
    "soft masks": Bad(
        scores(1, 3, 4),
        scores(1, 4),
        ["`target`", "torch.float32", "soft masks", "`target > 0.5`"],
        error=TypeError,
    ),
    "floating label maps": Bad(
        scores(1, 3, 4), labels(0, 1, 2, 0).half(), ["`target.round().long()`"], error=TypeError
    ),
    "label maps that are nearly integers": Bad(
        scores(1, 3, 4), labels(0, 1, 2, 0) - 1e-4, ["`target.round().long()`"], error=TypeError
    ),
    "resized label maps": Bad(
        scores(1, 3, 4), labels(0, 1, 2, 0) * 0.8, ["mode='nearest'"], error=TypeError
    ),
    "a binary target that is nearly 1": Bad(
        scores(1, 4), torch.full((1, 4), 0.999), ["`target > 0.5`"], BINARY, error=TypeError
    ),
    "a multilabel target of floats": Bad(
        scores(1, 2, 4),
        torch.ones(1, 2, 4, dtype=torch.bfloat16),
        ["`target > 0.5`"],
        MULTILABEL,
        error=TypeError,
    ),
    "NaN in a floating target": Bad(
        scores(1, 3, 2), torch.tensor([[torch.nan, 1]]), ["NaN"], error=TypeError
    ),
    "floating one-hot target": Bad(
        scores(1, 3, 4),
        torch.eye(3)[[0, 1, 2, 0]].T[None],
        ["one-hot", "`target.argmax(1)`"],
        error=TypeError,
    ),
    "floating one-hot points": Bad(
        scores(4, 3), torch.eye(3)[[0, 1, 2, 0]], ["`target.argmax(1)`"], error=TypeError
    ),
    "soft masks that do not sum to 1": Bad(
        scores(1, 3, 4), torch.full((1, 3, 4), 0.2), ["soft masks"], error=TypeError
    ),
    "probabilities as target": Bad(
        scores(1, 3, 4), scores(1, 3, 4).softmax(1), ["`target.argmax(1)`"], error=TypeError
    ),
    "complex predictions": Bad(
        torch.zeros(1, 3, 4, dtype=torch.complex64),
        labels(0, 1, 2, 0),
        ["`preds`", "torch.complex64"],
        error=TypeError,
    ),
    "NumPy target": Bad(
        labels(0, 1), np.zeros((1, 2), int), ["`target`", "ndarray", "as_tensor"], error=TypeError
    ),
    "list of predictions": Bad(
        [[0, 1]], labels(0, 1), ["`preds`", "list", "torch.as_tensor(preds)"], error=TypeError
    ),
    "one map an image, of different sizes": Bad(
        [scores(3, 4, 4), scores(3, 5, 7)],
        [labels(0, 1), labels(0, 1)],
        ["list of 2 Tensor", "Call `update` once for each image", "`preds[i][None]`"],
        error=TypeError,
    ),
    "one NumPy map an image": Bad(
        [np.zeros((4, 4)), np.zeros((5, 7))],
        labels(0, 1),
        ["list of 2 ndarray", "Call `update` once for each image"],
        error=TypeError,
    ),
    "NumPy predictions": Bad(
        np.zeros((1, 2), int), labels(0, 1), ["ndarray", "torch.as_tensor(preds)"], error=TypeError
    ),
    "a model's dict": Bad(
        {"aux": scores(1, 3, 2), "out": scores(1, 3, 2)},
        labels(0, 1),
        ["dict", "'aux', 'out'", '`preds["out"]`'],
        error=TypeError,
    ),
    "a dict of logits": Bad(
        {"loss": torch.ones(()), "logits": scores(1, 3, 2)},
        labels(0, 1),
        ['`preds["logits"]`'],
        error=TypeError,
    ),
    "a model's output": Bad(
        Output(scores(1, 3, 2)), labels(0, 1), ["Output", "`preds.logits`"], error=TypeError
    ),
    # shapes, with the step that makes them fit
    "channels last": Bad(
        scores(2, 4, 5, 3),
        torch.zeros(2, 4, 5, dtype=torch.uint8),
        ["dimension 1 is 4", "Pass `preds.movedim(-1, 1)`."],
    ),
    "channels last of a square": Bad(
        scores(2, 3, 5, 3), torch.zeros(2, 3, 5).bool(), ["Pass `preds.movedim(-1, 1)`."]
    ),
    "channels last to be resized": Bad(
        scores(2, 4, 5, 3),
        torch.zeros(2, 40, 50, dtype=torch.uint8),
        ["Pass `preds.movedim(-1, 1)`."],
        {"num_classes": 3, "upsample": "bilinear"},
    ),
    "one-hot target with channels last": Bad(
        scores(2, 3, 4, 5),
        torch.zeros(2, 4, 5, 3, dtype=torch.int32),
        ["Pass `target.movedim(-1, 1)`."],
    ),
    "multilabel with channels last": Bad(
        scores(2, 4, 5, 2),
        torch.zeros(2, 4, 5, 2, dtype=torch.bool),
        ["Pass `preds.movedim(-1, 1)` and `target.movedim(-1, 1)`."],
        MULTILABEL,
    ),
    "label maps with a last dimension of 1": Bad(
        scores(2, 3, 4, 5), torch.zeros(2, 4, 5, 1, dtype=torch.uint8), ["`target.squeeze(-1)`"]
    ),
    "scores of a single frame": Bad(
        scores(2, 1, 3, 4, 5), torch.zeros(2, 4, 5).bool(), ["Pass `preds.squeeze(1)`."]
    ),
    "binary scores with a last dimension of 1": Bad(
        scores(2, 4, 5, 1), torch.zeros(2, 4, 5).bool(), ["Pass `preds.squeeze(-1)`."], BINARY
    ),
    "no batch dimension": Bad(
        scores(3, 4, 5), torch.zeros(4, 5).long(), ["Pass `preds[None]` and `target[None]`."]
    ),
    "a target without batch dimension": Bad(
        scores(1, 3, 4, 5), torch.zeros(4, 5).long(), ["Pass `target[None]`."]
    ),
    "one-hot target with labels": Bad(
        torch.zeros(2, 4, 5).long(),
        torch.zeros(2, 3, 4, 5).long(),
        ["Pass `target.argmax(1)`."],
    ),
    "label maps as floating predictions": Bad(
        labels(0, 1, 2, 0).float(), labels(0, 1, 2, 2), ["Pass `preds.round().long()`."]
    ),
    "one channel of scores for two classes": Bad(
        scores(2, 1, 4, 5), torch.zeros(2, 4, 5).bool(), ["task='binary'"]
    ),
    "wrong number of classes": Bad(
        scores(2, 4, 5, 5),
        torch.zeros(2, 5, 5, dtype=torch.int64),
        ["`preds`", "(2, 4, 5, 5)", "`num_classes` = 3", "is 4"],
    ),
    "scores without classes": Bad(scores(4), labels(0, 1, 2, 0)[0], ["`preds`", "`num_classes`"]),
    "wrong number of channels": Bad(
        scores(1, 3, 4),
        torch.zeros(1, 2, 4, dtype=torch.bool),
        ["`preds`", "(1, 3, 4)", "`num_classes` = 2"],
        MULTILABEL,
    ),
    "multilabel target without channels": Bad(
        scores(1, 2, 4), labels(0, 1, 1, 0), ["`target`", "(1, 4)", "`num_classes` = 2"], MULTILABEL
    ),
    "one-hot target of too many classes": Bad(
        scores(2, 3, 5), torch.zeros(2, 4, 5, dtype=torch.int64), ["`target`", "(2, 4, 5)", "is 4"]
    ),
    "scores of another size": Bad(
        scores(2, 3, 5, 5),
        torch.zeros(2, 40, 40, dtype=torch.int64),
        ["(2, 3, 5, 5)", "(2, 40, 40)", "`upsample='bilinear'`"],
    ),
    "binary scores of another size": Bad(
        scores(2, 1, 5, 5),
        torch.zeros(2, 40, 40, dtype=torch.int64),
        ["(2, 1, 5, 5)", "(2, 40, 40)", "`upsample='bilinear'`"],
        BINARY,
    ),
    "label maps of another size": Bad(
        torch.zeros(2, 5, 5, dtype=torch.int64),
        torch.zeros(2, 40, 40, dtype=torch.int64),
        ["(2, 5, 5)", "(2, 40, 40)", "mode='nearest'"],
    ),
    "another number of images": Bad(
        scores(3, 3, 5), torch.zeros(2, 5, dtype=torch.int64), ["(3, 3, 5)", "(2, 5)", "same N"]
    ),
    "another number of dimensions": Bad(
        torch.zeros(2, 5, 5, dtype=torch.int64),
        torch.zeros(2, 5, dtype=torch.int64),
        ["(2, 5, 5)", "(2, 5)"],
    ),
    "two channels for binary": Bad(
        scores(2, 2, 5, 5),
        torch.zeros(2, 5, 5, dtype=torch.int64),
        ["(2, 2, 5, 5)", "`num_classes=2`"],
        BINARY,
    ),
    "a scalar": Bad(labels(1)[0, 0], labels(1)[0, 0], ["`preds`", "batch dimension"]),
    "upsampling four dimensions": Bad(
        scores(1, 3, 2, 2, 2, 2),
        torch.zeros(1, 3, 3, 3, 3, dtype=torch.int64),
        ["`upsample`", "1 to 3"],
        {"num_classes": 3, "upsample": "bilinear"},
    ),
    "upsampling nothing": Bad(
        scores(1, 3, 0, 2),
        torch.zeros(1, 3, 3, dtype=torch.int64),
        ["without a pixel", "(1, 3, 0, 2)"],
        {"num_classes": 3, "upsample": "nearest"},
    ),
    "labels that could be one-hot": Bad(
        torch.zeros(2, 3, 5, 5, dtype=torch.uint8),
        torch.zeros(2, 3, 5, 5, dtype=torch.uint8),
        ["(2, 3, 5, 5)", "`input_format='index'`", "`input_format='one-hot'`"],
    ),
    # devices
    "two devices": Bad(
        scores(1, 3, 4),
        torch.zeros(1, 4, dtype=torch.int64, device="meta"),
        ["one device", "cpu and meta"],
    ),
    "the metric on another device": Bad(
        torch.zeros(1, 3, 4, device="meta"),
        torch.zeros(1, 4, dtype=torch.int64, device="meta"),
        ["inputs are on meta", "metric is on cpu"],
    ),
}

INPUTS = [name for name in BAD if name != "the metric on another device"]

GOOD = {
    "multiclass": (labels(0, 1, 1, 2), labels(0, 1, 2, 2)),
    "binary": (labels(0, 1, 1, 0), labels(0, 1, 0, 0)),
    "multilabel": (torch.tensor([[[0, 1], [1, 1]]]), torch.tensor([[[0, 1], [0, 1]]])),
    "one-hot": (EYE, EYE.roll(1, 0)),
}


def good(arguments: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Inputs that fit the arguments."""
    return GOOD[arguments.get("input_format") or arguments.get("task", "multiclass")]


def kept(metric: Any) -> tuple[Any, ...]:
    """All that an update may change."""
    state = {name: copy.deepcopy(state) for name, state in metric.metric_state.items()}
    return state, metric.update_count, metric._computed, metric._forward_cache


def assert_raises(bad: Bad, call: Any) -> None:
    with pytest.raises(bad.error) as raised:
        call(bad.preds, bad.target)
    for words in bad.says:
        assert words in str(raised.value)


def assert_untouched(metric: Any, before: tuple[Any, ...]) -> None:
    state, count, computed, forward = kept(metric)
    torch.testing.assert_close(state, before[0], rtol=0, atol=0)
    assert count == before[1]
    assert computed is before[2]
    assert forward is before[3]


@pytest.mark.parametrize("level", ["global", "samplewise"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_raises_and_leaves_the_state(name: str, level: Any) -> None:
    bad = BAD[name]
    metric = segmetrics.MeanIoU(aggregation_level=level, **bad.arguments)
    for call in (metric.update, metric):  # before anything was counted
        before = kept(metric)
        assert_raises(bad, call)
        assert_untouched(metric, before)
    metric(*good(bad.arguments))
    value = metric.compute()
    before = kept(metric)
    for call in (metric.update, metric):
        assert_raises(bad, call)
        assert_untouched(metric, before)
    assert torch.equal(metric.compute(), value)


SURFACES: list[Any] = [
    segmetrics.BoundaryIoU,
    segmetrics.BoundaryF1Score,
    segmetrics.HausdorffDistance,
    segmetrics.AverageSurfaceDistance,
    partial(segmetrics.SurfaceDice, tolerance=1),
    partial(segmetrics.SurfaceMetrics, tolerance=1),
]


@pytest.mark.parametrize("without_numba", [False, True])
@pytest.mark.parametrize("metric_class", SURFACES)
@pytest.mark.parametrize("name", INPUTS)
def test_boundaries_and_surfaces_refuse_what_the_regions_refuse(
    name: str, metric_class: Any, without_numba: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs of good shapes get more dimensions, so that only what is bad is refused."""
    if without_numba:
        monkeypatch.setattr(surfaces, "_reader", lambda _: maps.read_maps)
    bad = BAD[name]

    good_shapes = INPUTS.index(name) < INPUTS.index("channels last")

    def spatial(x: Any) -> Any:
        if isinstance(x, Tensor) and good_shapes and "upsample" not in bad.arguments:
            more = (2, 2) if "input_format" in bad.arguments else (2,)
            return x.view(*x.shape, *[1] * len(more)).expand(*x.shape, *more)
        return x

    metric = metric_class(**bad.arguments)
    for call in (metric.update, metric):
        before = kept(metric)
        with pytest.raises(bad.error) as raised:
            call(spatial(bad.preds), spatial(bad.target))
        assert_untouched(metric, before)
        for words in bad.says:
            assert re.sub(r"^\d+ ", "", words) in str(raised.value)  # of more pixels


@pytest.mark.parametrize("metric_class", [*METRICS, segmetrics.ImageScores])
@pytest.mark.parametrize("name", ["255 in the target", "NaN in logits", "scores of another size"])
def test_every_metric_refuses_bad_input(metric_class: Any, name: str) -> None:
    bad = BAD[name]
    metric = metric_class(3)
    metric(*good(bad.arguments))
    metric.compute()
    before = kept(metric)
    for call in (metric.update, metric):
        assert_raises(bad, call)
        assert_untouched(metric, before)


@pytest.mark.parametrize("name", INPUTS)
def test_a_function_raises_as_its_metric_does(name: str) -> None:
    bad = BAD[name]
    for function in (functional.mean_iou, functional.confusion_matrix):
        assert_raises(bad, partial(function, **bad.arguments))


@pytest.mark.parametrize("name", INPUTS)
def test_plain_torch_finds_the_same_bad_pixels(name: str) -> None:
    assert_raises(BAD[name], partial(plain_confusion_matrix, **BAD[name].arguments))


def test_one_bad_image_keeps_the_whole_batch_out() -> None:
    preds, target = torch.zeros(2, 3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.long)
    target[2, 3, 3] = 255
    metric = segmetrics.ConfusionMatrix(2)
    with pytest.raises(ValueError, match="1 pixels of `target` are 255"):
        metric.update(preds[:1].expand(3, -1, -1, -1)[:, :2], target)
    assert metric.metric_state[next(iter(metric.metric_state))].sum() == 0


def test_infinite_scores_are_valid() -> None:
    inf = torch.inf
    logits = torch.tensor([[[inf, -inf, 0.0, -inf], [0.0, 1.0, inf, -inf]]])
    assert functional.pixel_accuracy(logits, labels(0, 1, 1, 0), 2) == 1
    accuracy = functional.pixel_accuracy(
        torch.tensor([[inf, -inf, 0.1]]), labels(1, 0, 1), task="binary", from_logits=True
    )
    assert accuracy == 1


@pytest.mark.parametrize("metric_class", METRICS)
@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"num_classes": 0}, ValueError, "`num_classes`.*at least 2.*got 0"),
        ({"num_classes": 1}, ValueError, "`num_classes`.*got 1.*task='binary'"),
        ({"num_classes": -3}, ValueError, "`num_classes`.*got -3"),
        ({"num_classes": 3.0}, TypeError, "`num_classes`.*got 3.0"),
        ({"num_classes": True}, TypeError, "`num_classes`.*got True"),
        ({"num_classes": "3"}, TypeError, "`num_classes`.*got '3'"),
        ({}, TypeError, "`num_classes`.*got None"),
        ({"num_classes": 3, "task": "binary"}, ValueError, "`num_classes`.*binary.*got 3"),
        ({"num_classes": 0, "task": "multilabel"}, ValueError, "`num_classes`.*at least 1"),
        ({"num_classes": 3, "task": "panoptic"}, ValueError, "`task`.*'binary'.*got 'panoptic'"),
        ({"num_classes": 3, "upsample": "bicubic"}, ValueError, "`upsample`.*'bilinear'.*bicubic"),
        ({"num_classes": 3, "input_format": "mask"}, ValueError, "`input_format`.*'index'.*mask"),
        ({"num_classes": 3, "ignore_index": 1.5}, TypeError, "`ignore_index`.*got 1.5"),
        ({"num_classes": 3, "ignore_index": "255"}, TypeError, "`ignore_index`"),
        ({"num_classes": 3, "ignore_index": [0, None]}, TypeError, "`ignore_index`.*got None"),
        ({"num_classes": 3, "ignore_index": 2**63}, ValueError, "`ignore_index`.*int64"),
        ({"num_classes": 3, "ignore_index": [0, 1, 2]}, ValueError, "no class is left to score"),
        ({"task": "binary", "ignore_index": 1}, ValueError, "`ignore_index=1`.*foreground"),
        ({"task": "binary", "ignore_index": [0, 1]}, ValueError, "`ignore_index=1`.*foreground"),
        (
            {"num_classes": 2, "task": "multilabel", "ignore_index": 1},
            ValueError,
            "`ignore_index=1`.*foreground",
        ),
        ({"task": "binary", "threshold": 1.5}, ValueError, "`threshold`.*from_logits=True"),
        ({"task": "binary", "threshold": torch.nan}, ValueError, "`threshold`.*got nan"),
        ({"task": "binary", "threshold": "0.5"}, TypeError, "`threshold`.*got '0.5'"),
        ({"task": "binary", "from_logits": 1}, TypeError, "`from_logits`.*got 1"),
        ({"num_classes": 3, "threshold": 0.3}, ValueError, "`threshold=0.3`.*multiclass"),
        ({"task": "binary", "input_format": "one-hot"}, ValueError, "`input_format='one-hot'`"),
        ({"num_classes": 3, "class_names": ["a", "b"]}, ValueError, "`class_names`.*3.*got 2"),
        ({"num_classes": 3, "class_names": "abc"}, TypeError, "`class_names`.*got 'abc'"),
        ({"num_classes": 3, "class_names": [*"aab"]}, ValueError, "`class_names`.*differ"),
        ({"num_classes": 3, "colour": "red"}, (TypeError, ValueError), "colour"),
    ],
)
def test_bad_arguments_raise_where_the_metric_is_made(
    metric_class: Any, arguments: dict[str, Any], error: Any, says: str
) -> None:
    with pytest.raises(error, match=says):
        metric_class(**arguments)


@pytest.mark.parametrize(
    ("metric_class", "arguments", "error", "says"),
    [
        (segmetrics.MeanIoU, {"average": "mean"}, ValueError, "`average`.*'macro'.*got 'mean'"),
        (segmetrics.MeanIoU, {"aggregation_level": "image"}, ValueError, "`aggregation_level`"),
        (segmetrics.CohenKappa, {"aggregation_level": 1}, ValueError, "`aggregation_level`.*got 1"),
        (segmetrics.MeanIoU, {"include_background": None}, TypeError, "`include_background`"),
        (segmetrics.MeanIoU, {"zero_division": "nan"}, TypeError, "`zero_division`.*got 'nan'"),
        (segmetrics.MeanIoU, {"ignore_index": [0, 1, 2]}, ValueError, "no class is left"),
        (
            segmetrics.MeanIoU,
            {"ignore_index": [1, 2], "include_background": False},
            ValueError,
            "no class is left.*`include_background=False`",
        ),
        (segmetrics.GeneralizedDiceScore, {"weight_type": "cube"}, ValueError, "`weight_type`"),
        (segmetrics.ConfusionMatrix, {"normalize": "rows"}, ValueError, "`normalize`.*rows"),
        (segmetrics.TverskyIndex, {"alpha": -0.1}, ValueError, "`alpha`.*at least 0.*got -0.1"),
        (segmetrics.TverskyIndex, {"beta": "1"}, TypeError, "`beta`.*got '1'"),
        (segmetrics.FBetaScore, {"beta": -1}, ValueError, "`beta`.*got -1"),
        (segmetrics.SegmentationMetrics, {"per_class": 1}, TypeError, "`per_class`.*got 1"),
        (segmetrics.SegmentationMetrics, {"prefix": 1}, TypeError, "`prefix`.*got 1"),
    ],
)
def test_bad_arguments_of_single_metrics_raise(
    metric_class: Any, arguments: dict[str, Any], error: Any, says: str
) -> None:
    with pytest.raises(error, match=says):
        metric_class(3, **arguments)


@pytest.mark.parametrize("level", ["global", "samplewise"])
def test_computing_before_an_update_is_nan_with_torchmetrics_warning(level: Any) -> None:
    metric = segmetrics.MeanIoU(3, aggregation_level=level)
    with pytest.warns(UserWarning, match="called before the ``update`` method"):
        assert metric.compute().isnan()
    confusion = segmetrics.ConfusionMatrix(3)
    with pytest.warns(UserWarning, match="called before the ``update`` method"):
        assert confusion.compute().tolist() == [[0] * 3] * 3


def test_good_input_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric_class in METRICS:
            metric = metric_class(3)
            metric(*GOOD["multiclass"])
            metric.compute()


@pytest.mark.parametrize("values", [torch.tensor([2, 255]), np.array([2, 255]), np.array([[2]])])
def test_an_array_of_ignored_values_is_to_be_a_list(values: Any) -> None:
    for metric in (segmetrics.MeanIoU, segmetrics.HausdorffDistance):
        with pytest.raises(TypeError, match=r"Pass `ignore_index\.tolist\(\)`"):
            metric(3, ignore_index=values)
        assert metric(3, ignore_index=values.flatten().tolist())


def test_a_tensor_that_is_spread_over_devices_is_to_be_gathered(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        spread = distribute_tensor(torch.zeros(1, 4, 4).long(), mesh, [Shard(0)])
        for metric in (segmetrics.MeanIoU(2), segmetrics.HausdorffDistance(2)):
            with pytest.raises(TypeError, match=r"DTensor.*`preds\.full_tensor\(\)`"):
                metric.update(spread, spread)
            metric.update(spread.full_tensor(), spread.full_tensor())
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("name", ["ImageScores", "MeanIoU"])
def test_a_lone_map_counted_as_many_images_is_warned_of(name: str) -> None:
    level = {} if name == "ImageScores" else {"aggregation_level": "samplewise"}
    metric, square = getattr(segmetrics, name)(3, **level), torch.zeros(3, 3).long()
    with pytest.warns(UserWarning, match=r"every row is an image.*`preds\[None\]`"):
        metric.update(square, square)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.update(square[None], square[None])
        metric.update(square[:, None], square[:, None])
        metric.update(torch.zeros(3, 3, 3), square)  # scores say which dimension is which
        segmetrics.MeanIoU(3).update(square, square)  # all pixels are counted together


def test_only_floats_that_are_integers_are_taken_for_label_maps() -> None:
    for preds, is_a_map in ((labels(0, 1, 2, 0) * 1.0, True), (scores(1, 4), False)):
        with pytest.raises(ValueError, match="dimension 1 is 4") as raised:
            functional.mean_iou(preds, labels(0, 1, 2, 2), 3)
        assert ("Label maps stored as floats?" in str(raised.value)) == is_a_map


def test_classes_of_one_hot_masks_are_no_ids_that_are_ignored() -> None:
    space = segmetrics.LabelSpace(["a", "b"], ignore_index=1, id_to_class={10: 0, 20: 1})
    masks = torch.eye(2, dtype=torch.long)[None]
    matrix = functional.confusion_matrix(masks, masks, space, input_format="one-hot")
    assert matrix.tolist() == [[1, 0], [0, 1]]


def test_one_hot_points_beside_labels_are_to_be_labels_too() -> None:
    with pytest.raises(ValueError, match=r"Pass `target\.argmax\(1\)`\."):
        functional.confusion_matrix(labels(0, 1, 2, 0)[0], EYE[[0, 1, 2, 0]], 3)


def test_an_id_of_zero_that_is_not_mapped_is_not_called_negative() -> None:
    space = segmetrics.LabelSpace(["a", "b"], id_to_class={7: 0, 8: 1})
    with pytest.raises(ValueError, match=r"^1 pixels of `target` are neither mapped"):
        functional.mean_iou(labels(0, 1), labels(0, 7), space)
    with pytest.raises(ValueError, match=r"^1 pixels of `target` are negative"):
        functional.mean_iou(labels(0, 1), labels(-1, 7), space)


@pytest.mark.parametrize(("number", "more"), [(10, ""), (11, " and 1 more")])
def test_of_bad_values_the_ten_lowest_are_named(number: int, more: str) -> None:
    target = torch.arange(100, 100 + number).flip(0)[None]
    named = ", ".join(map(str, range(100, 110)))
    with pytest.raises(ValueError, match=rf"Bad values in `target`: {named}{more}\.$"):
        functional.mean_iou(torch.zeros_like(target), target, 3)


def test_ignored_values_and_classes_are_not_named_as_bad() -> None:
    target, preds = torch.tensor([[0, 2, 255, 7, 1]]), torch.tensor([[9, 255, 8, 6, 1]])
    with pytest.raises(ValueError, match=r"in `target`: 7\. Bad values in `preds`: 9\.$"):
        functional.mean_iou(preds, target, 3, ignore_index=[255])


def test_bad_pixels_of_other_kinds_have_other_messages() -> None:
    counting = Counting.of(3)
    messages = {"odd": "pixels are odd.", "even": "pixels are even.", "round": "are round."}
    raise_if_bad(torch.zeros(3, dtype=torch.int64), counting, messages=messages)
    with pytest.raises(ValueError, match=r"^2 pixels are odd\. 5 are round\.$"):
        raise_if_bad(torch.tensor([2, 0, 5]), counting, messages=messages)


@pytest.mark.parametrize("shape", [(3, 1), (1, 3), (1, 1), (0, 3)])
def test_single_points_and_single_rows_are_no_image_that_lacks_a_dimension(
    shape: tuple[int, int],
) -> None:
    metric = segmetrics.MeanIoU(3, aggregation_level="samplewise")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.update(torch.zeros(shape).long(), torch.zeros(shape).long())
