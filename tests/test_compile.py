"""A training or validation step that counts compiles to one graph, and counts as eager does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.exc import Unsupported
from torch._dynamo.testing import CompileCounter
from torchmetrics import MetricCollection

from every_metric import EVERY, images
from segmetrics import ConfusionMatrix, DiceScore, MeanIoU, SegmentationMetrics, functional
from segmetrics.counting import Counting, count
from segmetrics.counting.batches import _count_op

CALLS = 25


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch.compiler.reset()


def batches(seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(2, 5, 8, 9, generator=rng),
            torch.randint(0, 5, (2, 8, 9), generator=rng),
        )
        for _ in range(CALLS)
    ]


METRICS: dict[str, Callable[[], Any]] = {
    "global": lambda: MeanIoU(5, ignore_index=[3, 255]),
    "samplewise": lambda: MeanIoU(5, aggregation_level="samplewise"),
    "ConfusionMatrix": lambda: ConfusionMatrix(5, normalize="true"),
    "SegmentationMetrics": lambda: SegmentationMetrics(5),
    "MetricCollection": lambda: MetricCollection([MeanIoU(5), DiceScore(5), ConfusionMatrix(5)]),
}


@pytest.mark.parametrize("name", METRICS)
def test_a_step_with_an_update_compiles_to_one_graph(name: str) -> None:
    metric, eager = METRICS[name](), METRICS[name]()
    if isinstance(metric, MetricCollection):
        for both in (metric, eager):  # groups are made by the first update
            both.update(*batches(1)[0])
    counter = CompileCounter()

    @torch.compile(fullgraph=True, backend=counter)
    def step(scores: Tensor, target: Tensor) -> Tensor:
        metric.update(2 * scores, target)
        return scores.mean()

    for call, (scores, target) in enumerate(batches()):
        eager.update(2 * scores, target)
        if call % 3 == 2:  # in turn with calls outside the graph
            metric.update(2 * scores, target)
        else:
            step(scores, target)
    assert counter.frame_count == 1
    torch.testing.assert_close(metric.compute(), eager.compute(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ["global", "samplewise", "SegmentationMetrics"])
def test_a_step_with_a_forward_compiles_to_one_graph(name: str) -> None:
    metric, eager, counter = METRICS[name](), METRICS[name](), CompileCounter()
    step = torch.compile(metric.forward, fullgraph=True, backend=counter)
    for scores, target in batches():
        value = step(scores, target)
        torch.testing.assert_close(value, eager(scores, target), rtol=0, atol=0)
    assert counter.frame_count == 1
    torch.testing.assert_close(metric.compute(), eager.compute(), rtol=0, atol=0)


def test_a_step_with_functional_calls_compiles_to_one_graph() -> None:
    counter = CompileCounter()

    def step(scores: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        return (
            functional.mean_iou(scores, target, 5, ignore_index=255),
            functional.dice_score(scores, target, 5, aggregation_level="samplewise"),
            functional.confusion_matrix(scores[..., :4, :4], target, 5, upsample="bilinear"),
            functional.pixel_accuracy(scores[:, 0], target > 2, task="binary", from_logits=True),
        )

    compiled = torch.compile(step, fullgraph=True, backend=counter)
    for scores, target in batches():
        for ours, expected in zip(compiled(scores, target), step(scores, target), strict=True):
            torch.testing.assert_close(ours, expected, rtol=0, atol=0)
    assert counter.frame_count == 1


def test_a_step_compiles_with_the_default_compiler() -> None:
    metric, eager = MeanIoU(5), MeanIoU(5)
    step = torch.compile(
        lambda scores, target: metric.update(scores.relu(), target), fullgraph=True
    )
    for scores, target in batches()[:3]:
        step(scores, target)
        eager.update(scores.relu(), target)
    assert torch.equal(metric.compute(), eager.compute())


def test_batches_of_changing_size_compile_to_at_most_two_graphs() -> None:
    metric, eager, counter = MeanIoU(5), MeanIoU(5), CompileCounter()
    step = torch.compile(metric.update, fullgraph=True, backend=counter)
    for call, (scores, target) in enumerate(batches()):
        size = 3 + call % 5
        step(scores[..., :size], target[..., :size])
        eager.update(scores[..., :size], target[..., :size])
    assert counter.frame_count <= 2
    assert torch.equal(metric.compute(), eager.compute())


def test_bad_labels_raise_in_a_compiled_step_on_the_cpu() -> None:
    metric = MeanIoU(5)
    step = torch.compile(metric.update, fullgraph=True, backend="eager")
    scores, target = batches()[0]
    step(scores, target)
    before = metric._states[0]
    with pytest.raises(ValueError, match="ignore_index=255"):
        step(scores, target.index_fill(2, torch.tensor(0), 255))
    assert torch.equal(metric._states[0], before)


@pytest.mark.parametrize(
    "counting",
    [
        Counting.of(5, ignore_index=[255, -1]),
        Counting.of(5, per_image=True),
        Counting.of(5, upsample="bilinear"),
        Counting.of(task="binary", from_logits=True),
        Counting.of(5, task="multilabel", from_logits=True),
    ],
    ids=lambda counting: counting.name,
)
def test_the_operator_keeps_the_rules_of_torch_library(counting: Counting) -> None:
    scores, target = batches()[0]
    if counting.upsample:
        scores = scores[..., :5, :4]
    if counting.task == "binary":
        scores, target = scores[:, 0], target.clamp(max=1)
    if counting.task == "multilabel":
        target = (scores.roll(1) > 0).long()
    torch.library.opcheck(_count_op, (scores, target, *astuple(counting), False))
    assert torch.equal(
        _count_op(scores, target, *astuple(counting), False),
        count(scores, target, counting),
    )


BREAK_THE_GRAPH = (
    *(
        "ImageScores",
        "CalibrationImageScores",
        "CurveImageScores",
        "ObjectImageScores",
        "ObjectMetrics",
        "PanopticImageScores",
        "PanopticQuality",
        "BoundaryIoU",
        "BoundaryF1Score",
        "HausdorffDistance",
    ),
    *("AverageSurfaceDistance", "SurfaceDice", "SurfaceMetrics"),
)


@pytest.mark.parametrize("name", EVERY)
def test_every_metric_compiles_whole_or_says_why_it_does_not(name: str) -> None:
    new, breaks = EVERY[name], name.startswith(BREAK_THE_GRAPH)
    metric, eager, counter = new(), new(), CompileCounter()

    def step(preds: Tensor, target: Tensor) -> None:
        metric.update(preds.clone(), target)

    whole = torch.compile(step, fullgraph=True, backend=counter)
    if breaks:
        with pytest.raises(Unsupported, match="Call their `update` outside of the compiled"):
            whole(*images(0))
        assert not metric.update_called
        whole = torch.compile(step, backend=counter)
    for call in range(12):
        whole(*images(call))
        eager.update(*images(call))
    assert counter.frame_count <= (4 if breaks else 1)
    torch.testing.assert_close(metric._states, eager._states, rtol=0, atol=0)


class Model(nn.Module):
    """A module that owns a metric."""

    def __init__(self, metric: Any) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 1)
        self.metric = metric

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", EVERY)
def test_a_module_that_owns_a_metric_is_scripted_traced_and_exported(name: str) -> None:
    model, x = Model(EVERY[name]()), torch.rand(1, 1, 4, 4)
    model.metric.update(*images(0))
    before = model.metric.compute()
    expected = model(x)
    for deployed in (
        torch.jit.script(model),
        torch.jit.trace(model, x),
        torch.export.export(model, (x,)).module(),
    ):
        assert torch.equal(deployed(x), expected)
    model.metric.update(*images(1))  # which stays a metric
    assert model.metric.compute() is not before


def test_a_module_that_owns_a_collection_is_scripted() -> None:
    model = Model(MetricCollection({"iou": MeanIoU(3), "seg": SegmentationMetrics(3)}))
    assert torch.jit.script(model)(torch.rand(1, 1, 4, 4)).shape == (1, 3, 4, 4)
