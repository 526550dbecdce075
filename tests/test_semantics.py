"""Which number is meant: the rules of counting, averaging and the single metrics, one test each.

The oracles are the formulas in NumPy, longhand, and the peers' ways of counting.
"""

from __future__ import annotations

import weakref
from functools import partial
from math import log, nan
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from monai.metrics import compute_generalized_dice
from torch import Tensor

import segmetrics
from definition import MATRICES
from segmetrics import functional
from strategies import SCORE_DTYPES, Case, cases

close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
equal = np.testing.assert_array_equal

CLASS_METRICS = [
    segmetrics.MeanIoU,
    segmetrics.DiceScore,
    segmetrics.Precision,
    segmetrics.Recall,
    segmetrics.Specificity,
    segmetrics.FBetaScore,
    segmetrics.TverskyIndex,
]
JOINT_METRICS = [
    segmetrics.GeneralizedDiceScore,
    segmetrics.PixelAccuracy,
    segmetrics.CohenKappa,
    segmetrics.MatthewsCorrCoef,
]


def counted_areas(
    truth: np.ndarray, predicted: np.ndarray, labels: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """tp, fp, fn, tn of every label, looked at one after the other."""
    areas = [
        (
            np.sum((truth == label) & (predicted == label)),
            np.sum((truth != label) & (predicted == label)),
            np.sum((truth == label) & (predicted != label)),
            np.sum((truth != label) & (predicted != label)),
        )
        for label in range(labels)
    ]
    return tuple(np.array(areas, float).T)


def divided(numerator: Any, denominator: Any, zero_division: float = nan) -> np.ndarray:
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    quotient = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), zero_division)
    return np.divide(numerator, denominator, out=quotient, where=denominator != 0)


def iou_longhand(
    truth: np.ndarray, predicted: np.ndarray, labels: int, average: str, kept: list[int]
) -> np.ndarray:
    """IoU of one unit, data set or image; nan where nothing counts."""
    tp, fp, fn, _ = counted_areas(truth, predicted, labels)
    if average == "micro":
        return divided(tp[kept].sum(), (tp + fp + fn)[kept].sum())
    score = divided(tp, tp + fp + fn)
    if average == "none":
        score[[c for c in range(labels) if c not in kept]] = nan
        return score
    weights = (tp + fn if average == "weighted" else np.ones(labels))[kept]
    defined = ~np.isnan(score[kept])
    if not weights[defined].any():
        weights = np.ones(len(kept))
    return divided((weights * score[kept])[defined].sum(), weights[defined].sum())


# --- Counts ---------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(cases())
def test_every_counted_pixel_is_in_the_matrix_or_abstained(case: Case) -> None:
    metric = segmetrics.ConfusionMatrix(**case.arguments)
    metric.update(case.preds, case.target)
    assert metric.compute().sum() + metric.abstained.sum() == case.counted.sum()


def test_an_abstention_is_a_miss_of_its_class_and_a_false_alarm_of_none() -> None:
    target, preds = torch.tensor([[0, 0, 1, 1, 2]]), torch.tensor([[0, 255, 255, 1, 0]])
    arguments: dict[str, Any] = {"num_classes": 3, "ignore_index": 255}
    metric = segmetrics.ConfusionMatrix(**arguments)
    metric.update(preds, target)
    equal(metric.compute(), [[1, 0, 0], [0, 1, 0], [1, 0, 0]])
    equal(metric.abstained, [1, 1, 0])
    arguments["average"] = "none"
    close(functional.recall(preds, target, **arguments), [1 / 2, 1 / 2, 0])
    close(functional.precision(preds, target, **arguments), [1 / 2, 1, nan])
    close(functional.mean_iou(preds, target, **arguments), [1 / 3, 1 / 2, 0])
    close(functional.specificity(preds, target, **arguments), [2 / 3, 1, 1])  # tn: 2, 3, 4


@pytest.mark.parametrize("confusion_matrix", MATRICES)
def test_void_may_be_the_number_behind_the_classes(confusion_matrix: Any) -> None:
    target, preds = torch.tensor([[0, 1, 2, 1, 0]]), torch.tensor([[2, 2, 1, 1, 0]])
    equal(confusion_matrix(preds, target, 2, ignore_index=2), [[1, 0], [0, 1]])
    metric = segmetrics.ConfusionMatrix(2, ignore_index=2)
    metric.update(preds, target)
    equal(metric.abstained, [1, 1])


@settings(max_examples=25)
@given(cases("multiclass", scores=False))
def test_abstentions_count_as_in_mmsegmentation(case: Case) -> None:
    """``intersect_and_union`` and ``total_area_to_metrics`` of its ``IoUMetric``."""
    outside = [value for value in case.ignored if not 0 <= value < case.labels]
    assume(len(case.ignored) <= 1 and outside == list(case.ignored))
    counted = ~np.isin(case.truth, case.ignored)
    label, pred = case.truth[counted], case.predicted[counted]

    def area(labels: np.ndarray) -> np.ndarray:
        return np.histogram(labels, bins=case.labels, range=(0, case.labels - 1))[0]

    intersect, pred_area, label_area = area(pred[pred == label]), area(pred), area(label)
    union = pred_area + label_area - intersect
    tensors, arguments = (case.preds, case.target), case.arguments
    none: dict[str, Any] = {"average": "none", **arguments}
    close(functional.mean_iou(*tensors, **none), divided(intersect, union))
    close(functional.dice_score(*tensors, **none), divided(2 * intersect, pred_area + label_area))
    close(functional.recall(*tensors, **none), divided(intersect, label_area))
    close(functional.precision(*tensors, **none), divided(intersect, pred_area))
    close(
        functional.pixel_accuracy(*tensors, **arguments),
        divided(intersect.sum(), label_area.sum()),
    )


@settings(max_examples=25)
@given(cases("multiclass", scores=False))
def test_abstentions_count_as_in_cityscapes(case: Case) -> None:
    """``getIouScoreForLabel`` of ``evalPixelLevelSemanticLabeling``: a matrix of all 256 ids."""
    assume(all(0 <= value <= 255 for value in case.ignored))
    matrix = np.zeros((256, 256))
    np.add.at(matrix, (case.truth.ravel(), case.predicted.ravel()), 1)
    ignored = [label for label in range(256) if label >= case.labels or label in case.ignored]

    def iou_for(label: int) -> float:
        if label in ignored:
            return nan
        tp = matrix[label, label]
        fn = matrix[label].sum() - tp
        others = [other for other in range(256) if other not in ignored and other != label]
        fp = matrix[others, label].sum()
        return tp / (tp + fp + fn) if tp + fp + fn else nan

    score = functional.mean_iou(case.preds, case.target, average="none", **case.arguments)
    close(score, [iou_for(label) for label in range(case.labels)])


@pytest.mark.parametrize("confusion_matrix", MATRICES)
@pytest.mark.parametrize("dtype", SCORE_DTYPES)
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, 0.7, 1.0])
def test_positive_is_above_the_threshold_in_float32(
    threshold: float, dtype: torch.dtype, confusion_matrix: Any
) -> None:
    around = torch.tensor(threshold, dtype=dtype)
    below, above = (
        torch.nextafter(around, torch.tensor(end, dtype=dtype)).clamp(0, 1) for end in (0.0, 1.0)
    )
    probabilities = torch.stack([below, around, above]).unsqueeze(0)
    precise = torch.float64 if dtype == torch.float64 else torch.float32
    expected = probabilities.to(precise) > torch.tensor(threshold, dtype=precise)
    target = torch.ones(1, 3, dtype=torch.bool)
    matrix = confusion_matrix(probabilities, target, task="binary", threshold=threshold)
    assert matrix[1, 1] == expected.sum()


@pytest.mark.parametrize("confusion_matrix", MATRICES)
@pytest.mark.parametrize("task", ["binary", "multilabel"])
@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.7])
def test_logits_are_compared_with_the_logit_of_the_threshold(
    threshold: float, task: str, confusion_matrix: Any
) -> None:
    cut = torch.tensor(log(threshold / (1 - threshold)))
    logits = torch.stack([torch.nextafter(cut, cut - 1), cut, torch.nextafter(cut, cut + 1)])
    logits = logits.view(1, 1, 3)
    target = torch.ones(1, 1, 3, dtype=torch.bool)
    classes = None if task == "binary" else 1
    matrix = confusion_matrix(
        logits, target, classes, task=task, threshold=threshold, from_logits=True
    )
    equal(matrix.view(2, 2), [[0, 0], [2, 1]])


@pytest.mark.parametrize("confusion_matrix", MATRICES)
def test_the_first_of_equal_scores_wins(confusion_matrix: Any) -> None:
    scores = torch.zeros(2, 7, 5, 5).contiguous(memory_format=torch.channels_last)
    scores[1, [2, 4, 6]] = torch.inf
    target = torch.zeros(2, 5, 5, dtype=torch.long)
    target[1] = 2
    assert confusion_matrix(scores, target, 7).trace() == target.numel()


@given(cases("multiclass", ignoring=False))
@settings(max_examples=25)
def test_one_hot_means_the_same_as_labels(case: Case) -> None:
    classes = case.labels

    def one_hot(labels: np.ndarray, dtype: torch.dtype = torch.uint8) -> Tensor:
        return torch.from_numpy(np.moveaxis(np.eye(classes)[labels], -1, 1)).to(dtype)

    expected = functional.confusion_matrix(case.preds, case.target, **case.arguments)
    target = one_hot(case.truth, torch.int64)
    equal(
        functional.confusion_matrix(
            one_hot(case.predicted), target, classes, input_format="one-hot"
        ),
        expected,
    )
    beside_scores = one_hot(case.predicted, torch.float32), target
    for input_format in (None, "one-hot"):
        matrix = functional.confusion_matrix(*beside_scores, classes, input_format=input_format)
        equal(matrix, expected)


def test_one_hot_leaves_out_an_ignored_class() -> None:
    target = torch.eye(3, dtype=torch.bool)
    matrix = functional.confusion_matrix(
        target.flip(0), target, 3, input_format="one-hot", ignore_index=0
    )
    equal(matrix, [[0, 0, 0], [0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_two_channels_of_integers_are_read_as_said_and_not_guessed(dtype: torch.dtype) -> None:
    one_hot = torch.tensor([[[[0, 1]], [[1, 0]]]], dtype=dtype)  # (1, 2, 1, 2), C = 2
    with pytest.raises(ValueError, match="`input_format='index'` or `input_format='one-hot'`"):
        functional.confusion_matrix(one_hot, one_hot, 2)
    for metric in (segmetrics.HausdorffDistance, segmetrics.BoundaryIoU, segmetrics.ImageScores):
        with pytest.raises(ValueError, match="`input_format='index'`"):
            metric(2).update(one_hot, one_hot)
    for input_format, matrix in (("index", [[2, 0], [0, 2]]), ("one-hot", [[1, 0], [0, 1]])):
        arguments: dict[str, Any] = {"input_format": input_format}
        equal(functional.confusion_matrix(one_hot, one_hot, 2, **arguments), matrix)


METRICS_OF_MAPS: list[Any] = [
    *CLASS_METRICS,
    *JOINT_METRICS,
    segmetrics.ConfusionMatrix,
    segmetrics.SegmentationMetrics,
    segmetrics.ImageScores,
    segmetrics.BoundaryIoU,
    segmetrics.BoundaryF1Score,
    segmetrics.HausdorffDistance,
    segmetrics.AverageSurfaceDistance,
    partial(segmetrics.SurfaceDice, tolerance=1),
    partial(segmetrics.SurfaceMetrics, tolerance=1),
]


@pytest.mark.parametrize("metric", METRICS_OF_MAPS)
@pytest.mark.parametrize("size", [(9, 8), (5, 6, 7)])
def test_a_channel_of_size_one_is_taken_off_labels(metric: Any, size: tuple[int, ...]) -> None:
    rng = torch.Generator().manual_seed(0)
    scores = torch.rand((2, 4, *size), generator=rng)
    labels, target = scores.argmax(1), torch.randint(4, (2, *size), generator=rng)
    expected = metric(4)(labels, target)
    for preds, truth in [
        (labels[:, None], target),
        (labels, target[:, None]),
        (labels[:, None], target[:, None]),
        (scores, target[:, None]),
        (scores.double(), target[:, None].int()),
    ]:
        torch.testing.assert_close(metric(4)(preds, truth), expected, rtol=0, atol=0)
    for form in (scores, labels[:, None]):
        index = metric(4, input_format="index")(form, target[:, None])
        torch.testing.assert_close(index, expected, rtol=0, atol=0)
    one_hot = torch.nn.functional.one_hot(target, 4).movedim(-1, 1)
    torch.testing.assert_close(metric(4)(scores, one_hot), expected, rtol=0, atol=0)


def test_functions_take_a_channel_of_size_one_off_labels() -> None:
    rng = torch.Generator().manual_seed(0)
    scores = torch.rand((2, 4, 6, 5), generator=rng)
    target = torch.randint(4, (2, 6, 5), generator=rng)
    for name in ("mean_iou", "confusion_matrix", "matthews_corrcoef", "generalized_dice_score"):
        function = getattr(functional, name)
        equal(function(scores, target[:, None], 4), function(scores, target, 4))
        equal(
            function(scores.argmax(1, keepdim=True), target, 4),
            function(scores.argmax(1), target, 4),
        )


def test_shapes_that_fit_are_read_as_they_are() -> None:
    """One slice of a volume is no channel where both inputs have it."""
    rng = torch.Generator().manual_seed(0)
    scores = torch.rand((2, 4, 1, 6, 5), generator=rng)
    target = torch.randint(4, (2, 1, 6, 5), generator=rng)
    expected = functional.confusion_matrix(scores[:, :, 0], target[:, 0], 4)
    equal(functional.confusion_matrix(scores, target, 4), expected)
    equal(functional.confusion_matrix(scores, target[:, None], 4), expected)
    equal(functional.confusion_matrix(scores.argmax(1), target, 4), expected)


def test_index_reads_one_hot_looking_maps_as_labels() -> None:
    labels = torch.ones(2, 3, 4, 4, dtype=torch.long)
    matrix = functional.confusion_matrix(labels, labels, 3, input_format="index")
    equal(matrix, np.diag([0, labels.numel(), 0]))


@pytest.mark.parametrize("preds_shape", [(2, 3, 3), (2, 1, 3, 3)])
@pytest.mark.parametrize("target_shape", [(2, 3, 3), (2, 1, 3, 3)])
def test_a_binary_dimension_of_size_one_is_the_channel(
    preds_shape: tuple[int, ...], target_shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    preds, target = rng.random((2, 3, 3)), rng.integers(0, 2, (2, 3, 3))
    tensors = torch.tensor(preds).view(preds_shape), torch.tensor(target).view(target_shape)
    matrix = functional.confusion_matrix(*tensors, task="binary")
    expected = [[np.sum((target == t) & ((preds > 0.5) == p)) for p in (0, 1)] for t in (0, 1)]
    equal(matrix, expected)


def test_binary_ignoring_0_drops_the_negatives() -> None:
    target, preds = torch.tensor([[0, 0, 1, 1, 1]]), torch.tensor([[0, 1, 1, 1, 0]])
    matrix = functional.confusion_matrix(preds, target, task="binary", ignore_index=0)
    equal(matrix, [[0, 0], [1, 2]])
    assert functional.precision(preds, target, task="binary", ignore_index=0) == 1


def test_bad_labels_on_ignored_pixels_do_not_matter() -> None:
    target = torch.tensor([[255, 1, 255]])
    assert functional.pixel_accuracy(torch.tensor([[-7, 1, 9]]), target, 2, ignore_index=255) == 1
    scores = torch.tensor([[[nan, 0, 3], [1, 1, nan]]])
    assert functional.pixel_accuracy(scores, target, 2, ignore_index=255) == 1
    probabilities = torch.tensor([[nan, 0.9, 7]])
    assert functional.pixel_accuracy(probabilities, target, task="binary", ignore_index=255) == 1


@settings(max_examples=30)
@given(cases())
def test_an_update_neither_changes_nor_keeps_its_inputs(case: Case) -> None:
    metric = segmetrics.ConfusionMatrix(**case.arguments)
    preds, target = case.preds.clone(), case.target.clone()
    before = preds.clone(), target.clone()
    metric.update(preds, target)
    torch.testing.assert_close((preds, target), before, rtol=0, atol=0, equal_nan=True)
    kept = [weakref.ref(preds), weakref.ref(target)]
    del preds, target
    assert [tensor() for tensor in kept] == [None, None]


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4)])
@pytest.mark.parametrize("aggregation_level", ["global", "samplewise"])
def test_an_empty_batch_changes_nothing(shape: tuple[int, ...], aggregation_level: str) -> None:
    metric = segmetrics.MeanIoU(3, aggregation_level=aggregation_level)
    metric.update(torch.tensor([[[0, 1, 2]]]), torch.tensor([[[0, 1, 1]]]))
    before = metric.compute()
    n, *space = shape
    metric.update(torch.zeros(n, 3, *space), torch.zeros(shape, dtype=torch.long))
    metric.update(*[torch.zeros(shape, dtype=torch.uint8)] * 2)
    assert metric.compute() == before


def test_a_matrix_is_the_callers_own() -> None:
    metric = segmetrics.ConfusionMatrix(2)
    ones = torch.ones(1, 4, dtype=torch.long)
    metric.update(ones, ones)
    metric.compute().zero_()
    metric.update(ones, ones)
    equal(metric.compute(), [[0, 0], [0, 8]])


def test_more_pixels_than_float32_can_count_in_one_update() -> None:
    n = 2**24 + 3
    ones, wrong = torch.ones(1, dtype=torch.uint8).expand(1, n), torch.tensor([[0]])
    metric = segmetrics.ConfusionMatrix(2)
    metric.update(ones, ones)
    metric.update(wrong, wrong + 1)
    equal(metric.compute(), [[0, 0], [1, n]])


def test_more_than_two_to_the_31_pixels_are_counted_exactly() -> None:
    matrix = torch.tensor([[3, 1, 2], [0, 5, 1], [7, 0, 4]])
    target, preds = (
        torch.cat([torch.full((int(n),), i) for i, n in zip(index, matrix.flatten(), strict=True)])
        for index in (torch.arange(9) // 3, torch.arange(9) % 3)
    )
    metrics = segmetrics.ConfusionMatrix(3), segmetrics.MatthewsCorrCoef(3), segmetrics.MeanIoU(3)
    for metric in metrics:
        metric.update(preds[None], target[None])
        for _ in range(29):
            metric.merge_state(metric.clone())
        metric.update(torch.tensor([[1]]), torch.tensor([[0]]))
    confusion, mcc, miou = (metric.compute() for metric in metrics)
    exact = matrix.numpy().astype(object) * 2**29  # Python's integers
    exact[0, 1] += 1
    assert exact.sum() > 2**33
    assert confusion.tolist() == exact.tolist()
    union = exact.sum(0) + exact.sum(1) - exact.diagonal()
    close(miou, np.mean([exact[c, c] / union[c] for c in range(3)]))
    n, target_pixels, preds_pixels = exact.sum(), exact.sum(1), exact.sum(0)
    covariance = exact.trace() * n - target_pixels @ preds_pixels
    variances = [n * n - pixels @ pixels for pixels in (target_pixels, preds_pixels)]
    close(mcc, covariance / (float(variances[0]) ** 0.5 * float(variances[1]) ** 0.5))


# --- Averages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", CLASS_METRICS)
@pytest.mark.parametrize("average", ["none", None])
def test_none_gives_every_class_and_nan_for_an_ignored_one(metric: Any, average: Any) -> None:
    target, preds = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[0, 1, 2, 0]])
    score = metric(4, average=average)(preds, target)
    assert score.shape == (4,)
    assert not score.isnan()[:3].any()
    without = metric(4, average=average, include_background=False)(preds, target)
    assert torch.equal(without.nan_to_num(), score[1:].nan_to_num())
    ignoring = metric(4, average=average, ignore_index=2)(preds, target)
    assert ignoring.isnan()[2]
    assert not ignoring.isnan()[:2].any()


@pytest.mark.parametrize("level", ["global", "samplewise"])
def test_none_is_a_vector_even_of_one_class(level: Any) -> None:
    labels = torch.tensor([[0, 1, 1]])
    metric = segmetrics.MeanIoU(
        2, average="none", include_background=False, aggregation_level=level
    )
    assert metric(labels, labels).tolist() == metric.compute().tolist() == [1.0]


def test_an_ignored_class_and_a_left_out_background_have_no_keys() -> None:
    arguments: dict[str, Any] = {"class_names": ["sky", "road", "car"]}
    labels = torch.tensor([[0, 1, 2]])
    keys = segmetrics.SegmentationMetrics(3, ignore_index=[1, 255], **arguments)(labels, labels)
    assert [key for key in keys if "/" in key] == ["iou/sky", "iou/car", "dice/sky", "dice/car"]
    keys = segmetrics.SegmentationMetrics(3, include_background=False, **arguments)(labels, labels)
    assert [key for key in keys if "/" in key] == ["iou/road", "iou/car", "dice/road", "dice/car"]


@settings(max_examples=60)
@given(cases("multiclass"), st.sampled_from(["macro", "micro", "weighted", "none"]), st.booleans())
def test_averages_are_over_the_classes_that_remain(
    case: Case, average: str, include_background: bool
) -> None:
    first = 0 if include_background else 1
    kept = [c for c in range(first, case.labels) if c not in case.ignored]
    assume(kept)
    expected = iou_longhand(*case.pairs(), case.labels, average, kept)
    score = functional.mean_iou(
        case.preds,
        case.target,
        average=average,
        include_background=include_background,
        **case.arguments,
    )
    close(score, expected[first:] if average == "none" else expected)


def test_pixels_of_the_background_still_count_as_errors_of_the_others() -> None:
    target, preds = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[1, 0, 1, 0]])
    arguments: dict[str, Any] = {"average": "micro", "include_background": False}
    close(functional.mean_iou(preds, target, 2, **arguments), 1 / 3)


def test_weighted_iou_is_the_frequency_weighted_iou() -> None:
    target, preds = torch.tensor([[0, 0, 0, 1, 2]]), torch.tensor([[0, 0, 1, 1, 1]])
    close(
        functional.mean_iou(preds, target, 4, average="weighted"),
        3 / 5 * 2 / 3 + 1 / 5 * 1 / 3 + 1 / 5 * 0,
    )


@pytest.mark.parametrize("metric", [segmetrics.MeanIoU, segmetrics.DiceScore])
def test_false_alarms_on_an_image_without_a_weighted_class_score_0(metric: Any) -> None:
    """torchmetrics' ``DiceScore`` gives 0.5 and 0.1308 for these inputs."""
    target, preds = torch.zeros(2, 2, 8, 8, dtype=torch.int64)
    target[0, :4] = preds[0, :4] = 1
    preds[1, :, :4] = 1
    settings_: dict[str, Any] = {"average": "weighted", "aggregation_level": "samplewise"}
    assert metric(2, include_background=False, **settings_)(preds, target) == 0.5
    multilabel = [torch.stack([torch.zeros_like(x), x], 1) for x in (preds, target)]
    assert metric(2, task="multilabel", **settings_)(*multilabel) == 0.5
    alone = functional.mean_iou(
        preds[1:], target[1:], 2, include_background=False, average="weighted"
    )
    assert alone == 0


def test_weights_of_left_out_classes_leave_the_plain_mean_of_the_others() -> None:
    target = torch.zeros(1, 6, dtype=torch.int64)
    arguments: dict[str, Any] = {"average": "weighted", "include_background": False}
    for zero_division in (0.0, 0.25, 1.0):
        score = functional.mean_iou(target, target, 3, zero_division=zero_division, **arguments)
        assert score == zero_division
    preds = torch.tensor([[0, 0, 1, 1, 1, 0]])
    score = functional.mean_iou(preds, target, 3, zero_division=1.0, **arguments)
    assert score == 0.5  # class 1 is 0, class 2 is 0 / 0
    assert torch.isnan(functional.mean_iou(target, target, 3, **arguments))


def test_weights_are_renormalised_over_defined_classes() -> None:
    target, preds = torch.tensor([[0, 0, 0, 1]]), torch.tensor([[0, 0, 0, 0]])
    close(functional.precision(preds, target, 2, average="weighted"), 3 / 4)


@pytest.mark.parametrize("zero_division", [0.0, 1.0, 0.25])
@pytest.mark.parametrize("average", ["macro", "weighted", "none"])
@pytest.mark.parametrize(
    ("metric", "undefined"),
    [
        (segmetrics.MeanIoU, [2]),
        (segmetrics.DiceScore, [2]),
        (segmetrics.TverskyIndex, [2]),
        (segmetrics.FBetaScore, [2]),
        (segmetrics.Precision, [1, 2]),
        (segmetrics.Recall, [2]),
    ],
)
def test_a_class_without_denominator_scores_zero_division(
    metric: Any, undefined: list[int], average: str, zero_division: float
) -> None:
    target, preds = torch.tensor([[0, 0, 0, 1]]), torch.tensor([[0, 0, 0, 0]])
    plain = metric(3, average="none")(preds, target).double().numpy()
    assert np.flatnonzero(np.isnan(plain)).tolist() == undefined
    filled = np.nan_to_num(plain, nan=zero_division)
    score = metric(3, average=average, zero_division=zero_division)(preds, target)
    weights = {"macro": [1, 1, 1], "weighted": [3, 1, 0]}
    close(score, filled if average == "none" else np.average(filled, weights=weights[average]))


@pytest.mark.parametrize("zero_division", [nan, 0.0, 1.0])
def test_kappa_and_correlation_of_one_label_are_zero_division(zero_division: float) -> None:
    ones = torch.ones(1, 7, dtype=torch.long)
    arguments: dict[str, Any] = {"num_classes": 3, "zero_division": zero_division}
    close(functional.cohen_kappa(ones, ones, **arguments), zero_division)
    close(functional.matthews_corrcoef(ones, ones, **arguments), zero_division)
    varied = torch.arange(7).unsqueeze(0) % 3
    close(functional.matthews_corrcoef(ones, varied, **arguments), zero_division)


@pytest.mark.parametrize("zero_division", [nan, 0.0, 1.0])
@pytest.mark.parametrize("metric", CLASS_METRICS + JOINT_METRICS)
def test_without_a_counted_pixel_every_score_is_nan(metric: Any, zero_division: float) -> None:
    void = torch.full((2, 3), 255)
    for task in ("multiclass", "binary", "multilabel"):
        arguments = {"task": task, "ignore_index": 255, "zero_division": zero_division}
        if task != "binary":
            arguments["num_classes"] = 3
        for level in ("global", "samplewise"):
            assert metric(aggregation_level=level, **arguments)(void, void).isnan()


def test_without_a_counted_pixel_the_confusion_matrix_is_zero() -> None:
    void = torch.full((2, 3), 255)
    for normalize in (None, "true", "pred", "all"):
        matrix = functional.confusion_matrix(void, void, 3, ignore_index=255, normalize=normalize)
        equal(matrix, np.zeros((3, 3)))


@settings(max_examples=45)
@given(cases("multiclass"), st.sampled_from(["macro", "micro", "weighted", "none"]), st.booleans())
def test_samplewise_scores_every_image_and_averages_over_images(
    case: Case, average: str, include_background: bool
) -> None:
    first = 0 if include_background else 1
    kept = [c for c in range(first, case.labels) if c not in case.ignored]
    assume(kept)
    images = np.array(
        [
            iou_longhand(*case.pairs(image), case.labels, average, kept)
            for image in range(len(case.truth))
        ]
    )
    defined = ~np.isnan(images)
    expected = divided(np.where(defined, images, 0).sum(0), defined.sum(0))
    metric = segmetrics.MeanIoU(
        average=average,
        include_background=include_background,
        aggregation_level="samplewise",
        **case.arguments,
    )
    for image in range(len(case.truth)):
        metric.update(case.preds[image : image + 1], case.target[image : image + 1])
    close(metric.compute(), expected[first:] if average == "none" else expected)


@pytest.mark.parametrize("metric", CLASS_METRICS + JOINT_METRICS)
@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_samplewise_is_the_mean_of_the_images_own_scores(metric: Any, task: str) -> None:
    torch.manual_seed(0)
    preds, target = torch.randint(0, 2, (2, 5, 3, 4, 4))
    target[1] = 255  # an image without a counted pixel is left out
    arguments: dict[str, Any] = {"task": task, "ignore_index": 255}
    if task != "binary":
        arguments["num_classes"] = 3
    if task == "multiclass":
        arguments["input_format"] = "index"
    images = [metric(**arguments)(preds[i : i + 1], target[i : i + 1]).item() for i in (0, 2, 3, 4)]
    samplewise = metric(aggregation_level="samplewise", **arguments)
    samplewise.update(preds[:2], target[:2])
    samplewise.update(preds[2:], target[2:])
    close(samplewise.compute(), np.nanmean(images))


@pytest.mark.parametrize(
    ("metric", "argument"),
    [
        *((metric, {"average": "macro"}) for metric in JOINT_METRICS),
        *((metric, {"include_background": True}) for metric in JOINT_METRICS[1:]),
        (segmetrics.ConfusionMatrix, {"average": "macro"}),
        (segmetrics.ConfusionMatrix, {"include_background": True}),
        (segmetrics.ConfusionMatrix, {"aggregation_level": "global"}),
        (segmetrics.ConfusionMatrix, {"zero_division": 0.0}),
        (segmetrics.SegmentationMetrics, {"average": "macro"}),
    ],
)
def test_an_argument_that_means_nothing_is_not_in_the_signature(
    metric: Any, argument: dict[str, Any]
) -> None:
    with pytest.raises((TypeError, ValueError), match=next(iter(argument))):
        metric(3, **argument)


@pytest.mark.parametrize(
    "argument",
    [{"average": "none"}, {"average": None}, {"average": "micro"}, {"include_background": False}],
)
def test_binary_refuses_averages_and_background(argument: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="foreground"):
        segmetrics.MeanIoU(task="binary", **argument)


def test_the_mean_over_background_and_object_is_two_classes() -> None:
    target, probabilities = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0.1, 0.8, 0.9, 0.7]])
    mean = functional.mean_iou(probabilities > 0.5, target, 2)
    foreground = functional.mean_iou(probabilities, target, task="binary")
    background = functional.mean_iou(1 - probabilities, 1 - target, task="binary")
    close(mean, (foreground + background) / 2)
    close(foreground, 2 / 3)


# --- Single metrics -------------------------------------------------------------------------------


@settings(max_examples=25)
@given(cases())
def test_pixel_accuracy_is_the_share_of_right_entries(case: Case) -> None:
    right = (case.truth == case.predicted)[case.counted]
    close(
        functional.pixel_accuracy(case.preds, case.target, **case.arguments),
        divided(right.sum(), right.size),
    )


def test_normalized_matrices_include_abstentions_in_the_row_only() -> None:
    target, preds = torch.tensor([[0, 0, 0, 1]]), torch.tensor([[0, 1, 255, 1]])
    expected = {
        "true": [[1 / 3, 1 / 3, 0], [0, 1, 0], [0, 0, 0]],
        "pred": [[1, 1 / 2, 0], [0, 1 / 2, 0], [0, 0, 0]],
        "all": [[1 / 4, 1 / 4, 0], [0, 1 / 4, 0], [0, 0, 0]],
    }
    for normalize, matrix in expected.items():
        metric = segmetrics.ConfusionMatrix(3, ignore_index=255, normalize=normalize)
        close(metric(preds, target), matrix)


def test_an_ignored_entry_of_multilabel_leaves_the_pixels_other_entries() -> None:
    target = torch.tensor([[[1, 255], [0, 1]]])  # two channels of two pixels
    preds = torch.tensor([[[1, 1], [1, 1]]])
    matrices = functional.confusion_matrix(preds, target, 2, task="multilabel", ignore_index=255)
    equal(matrices, [[[0, 0], [0, 1]], [[0, 1], [0, 1]]])


@settings(max_examples=25)
@given(cases("multilabel"))
def test_multilabel_classes_are_their_channels_foregrounds(case: Case) -> None:
    expected = []
    for truth, predicted in case.channels():
        tp, fp, fn, _ = counted_areas(truth, predicted, 2)
        expected.append(divided(tp[1], (tp + fp + fn)[1]))
    score = functional.mean_iou(case.preds, case.target, average="none", **case.arguments)
    close(score, expected)


def test_multilabel_may_have_one_class() -> None:
    labels = torch.tensor([[[0, 1, 1]]])
    assert functional.mean_iou(labels, labels, 1, task="multilabel") == 1
    assert functional.confusion_matrix(labels, labels, 1, task="multilabel").shape == (1, 2, 2)


def generalized_dice_longhand(
    truth: np.ndarray, predicted: np.ndarray, classes: list[int], weight_type: str
) -> float:
    power = {"square": 2, "simple": 1, "linear": 0}[weight_type]
    support = {c: np.sum(truth == c) for c in classes}
    weights = {c: 1 / float(n) ** power for c, n in support.items() if n}
    largest = max(weights.values(), default=1.0)
    hits = total = 0.0
    for c in classes:
        weight = weights.get(c, largest)
        hits += 2 * weight * np.sum((truth == c) & (predicted == c))
        total += weight * (support[c] + np.sum(predicted == c))
    return hits / total if total else nan


@settings(max_examples=60)
@given(cases("multiclass"), st.sampled_from(["square", "simple", "linear"]), st.booleans())
def test_generalized_dice_weighs_by_the_target_of_the_data_set(
    case: Case, weight_type: str, include_background: bool
) -> None:
    classes = [
        c for c in range(0 if include_background else 1, case.labels) if c not in case.ignored
    ]
    assume(classes)
    score = functional.generalized_dice_score(
        case.preds,
        case.target,
        weight_type=weight_type,
        include_background=include_background,
        **case.arguments,
    )
    close(score, generalized_dice_longhand(*case.pairs(), classes, weight_type))


@pytest.mark.parametrize("weight_type", ["square", "simple", "linear"])
@pytest.mark.parametrize("include_background", [True, False])
def test_samplewise_generalized_dice_is_monais(weight_type: str, include_background: bool) -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 5, (6, 9, 9))
    target[1] %= 3  # classes are absent from the target, but predicted
    target[2] = 4
    preds = np.where(rng.random(target.shape) < 0.6, target, rng.integers(0, 5, target.shape))
    one_hot = [torch.from_numpy(np.eye(5)[x]).movedim(-1, 1) for x in (preds, target)]
    expected = compute_generalized_dice(
        *one_hot,
        include_background=include_background,
        weight_type={"linear": "uniform"}.get(weight_type, weight_type),
        sum_over_classes=True,
    )
    score = functional.generalized_dice_score(
        torch.from_numpy(preds),
        torch.from_numpy(target),
        5,
        weight_type=weight_type,
        include_background=include_background,
        aggregation_level="samplewise",
    )
    close(score, expected.mean())


@settings(max_examples=25)
@given(cases("multiclass"), st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 0.7, 2.0]))
def test_tversky_weighs_false_positives_by_alpha_and_false_negatives_by_beta(
    case: Case, alpha: float, beta: float
) -> None:
    tp, fp, fn, _ = counted_areas(*case.pairs(), case.labels)
    expected = divided(tp, tp + alpha * fp + beta * fn)
    kept = [c for c in range(case.labels) if c not in case.ignored]
    score = functional.tversky_index(
        case.preds, case.target, alpha=alpha, beta=beta, average="none", **case.arguments
    )
    close(score[kept], expected[kept])


def test_tversky_and_f_beta_default_to_the_dice_score() -> None:
    torch.manual_seed(0)
    preds, target = torch.randint(0, 4, (2, 2, 9, 9))
    dice = functional.dice_score(preds, target, 4)
    assert functional.tversky_index(preds, target, 4) == dice
    assert functional.fbeta_score(preds, target, 4) == dice
    iou = functional.tversky_index(preds, target, 4, alpha=1, beta=1)
    assert iou == functional.mean_iou(preds, target, 4)


@pytest.mark.parametrize("prefix", [None, "val/", "epoch_"])
def test_segmentation_metrics_of_binary_have_five_keys(prefix: str | None) -> None:
    target, preds = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0.1, 0.8, 0.9, 0.2]])
    scores = segmetrics.SegmentationMetrics(task="binary", prefix=prefix)(preds, target)
    expected = {"iou": 1 / 3, "dice": 1 / 2, "precision": 1 / 2, "recall": 1 / 2}
    expected["pixel_accuracy"] = 1 / 2
    assert list(scores) == [(prefix or "") + key for key in expected]
    close(torch.stack(list(scores.values())), list(expected.values()))


@settings(max_examples=25)
@given(cases("multiclass"))
def test_segmentation_metrics_are_the_single_scores(case: Case) -> None:
    values = segmetrics.SegmentationMetrics(prefix="val/", **case.arguments)(
        case.preds, case.target
    )
    tensors, arguments = (case.preds, case.target), case.arguments
    per_class = {"average": "none", **arguments}
    iou, dice = (f(*tensors, **per_class) for f in (functional.mean_iou, functional.dice_score))
    kept = [c for c in range(case.labels) if c not in case.ignored]
    expected = {
        "val/mIoU": functional.mean_iou(*tensors, **arguments),
        "val/mDice": functional.dice_score(*tensors, **arguments),
        "val/pixel_accuracy": functional.pixel_accuracy(*tensors, **arguments),
        "val/mean_accuracy": functional.recall(*tensors, **arguments),
        "val/fw_iou": functional.mean_iou(*tensors, average="weighted", **arguments),
        **{f"val/iou/{c}": iou[c] for c in kept},
        **{f"val/dice/{c}": dice[c] for c in kept},
    }
    assert list(values) == list(expected)
    torch.testing.assert_close(values, expected, rtol=0, atol=0, equal_nan=True)
