"""Risk and coverage: is the prediction right, asked of its confidence."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)
from torch import Tensor
from torchmetrics import MetricCollection

from segmetrics import (
    AURC,
    AUROC,
    ROC,
    AveragePrecision,
    BestThreshold,
    CurveImageScores,
    FPRAtRecall,
    PrecisionRecallCurve,
)
from segmetrics.functional import aurc


def drawn(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits of five classes, mostly right where they are sure, and the truth with void pixels."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(5, (3, 40, 31), generator=generator)
    logits = 2 * torch.randn((3, 5, 40, 31), generator=generator)
    logits.scatter_add_(1, target[:, None], torch.full_like(logits, 2))
    return logits, target.where(torch.rand(target.shape, generator=generator) > 0.1, 255)


def mean_risk(confidence: np.ndarray, right: np.ndarray) -> float:
    """The definition, pixel by pixel, for confidences that all differ."""
    wrong = ~right[np.argsort(-confidence)]
    return float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())


def test_the_area_is_the_mean_of_the_risks() -> None:
    logits, target = drawn()
    metric = AURC(5, from_logits=True, ignore_index=255)
    metric.update(logits[:2], target[:2])
    metric.update(logits[2:], target[2:])
    p, label = logits.softmax(1).max(1)
    kept = target != 255
    expected = mean_risk(p[kept].numpy(), (label == target)[kept].numpy())
    assert metric.compute().item() == pytest.approx(expected, abs=1e-4)
    arguments: Any = {"from_logits": True, "ignore_index": 255}
    assert torch.equal(aurc(logits, target, 5, **arguments), metric.compute())


def test_ties_are_the_mean_over_all_their_orders() -> None:
    confidence, right = [0.75, 0.75, 0.75, 0.5, 0.5], [True, False, True, False, True]
    p = torch.tensor(confidence)
    scores = torch.stack([p, 1 - p])[None]
    scores[0, :, 3:] = 0.5  # the first of equals is predicted
    target = torch.tensor([[0 if found else 1 for found in right]])
    orders = [
        mean_risk(np.arange(5, 0, -1), np.array([right[i] for i in (*first, *last)]))
        for first in permutations(range(3))
        for last in permutations(range(3, 5))
    ]
    assert AURC(2)(scores, target).item() == pytest.approx(np.mean(orders), abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["right", "wrong", "constant"]))
def test_what_is_known_beforehand(seed: int, model: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand((1, 3, 50), generator=generator).softmax(1)
    target = scores.argmax(1)
    if model == "wrong":
        target = (target + 1) % 3
    elif model == "constant":  # it says nothing: its risk is its error rate at every coverage
        scores = torch.tensor([0.5, 0.25, 0.25]).view(1, 3, 1).expand(1, 3, 50).contiguous()
        target = torch.randint(3, (1, 50), generator=generator)
    expected = (scores.argmax(1) != target).double().mean().item()
    assert AURC(3)(scores, target).item() == pytest.approx(expected, abs=1e-6)


def test_it_shares_its_state_with_the_other_scores_of_right_and_wrong() -> None:
    logits, target = drawn(1)
    arguments: Any = {"from_logits": True, "ignore_index": 255}
    scores = [AUROC, AveragePrecision, FPRAtRecall]
    collection = MetricCollection(
        [AURC(5, **arguments), *(score(5, positive="right", **arguments) for score in scores)]
    )
    collection.update(logits, target)
    assert len(collection.compute_groups) == 1
    found = collection.compute()
    assert found["AURC"] < 1 - (logits.argmax(1) == target)[target != 255].float().mean()


def test_the_curve_is_drawn_from_the_most_confident_pixel_on() -> None:
    pytest.importorskip("matplotlib")
    logits, target = drawn(2)
    metric = AURC(5, from_logits=True, ignore_index=255)
    metric.update(logits, target)
    _, axes = metric.plot()
    coverage, risk = axes.get_lines()[0].get_data()
    assert coverage[0] < 0.01
    assert coverage[-1] == pytest.approx(1)
    wrong = (logits.argmax(1) != target)[target != 255].double().mean().item()
    assert risk[-1] == pytest.approx(wrong)
    assert (np.diff(coverage) > 0).all()


def test_nothing_counted_is_nan_and_labels_are_refused() -> None:
    metric = AURC(3, ignore_index=255)
    metric.update(torch.full((1, 3, 4), 1 / 3), torch.full((1, 4), 255))
    assert metric.compute().isnan()
    with pytest.raises(TypeError, match="must hold scores"):
        metric.update(
            torch.zeros((1, 4), dtype=torch.int64), torch.zeros((1, 4), dtype=torch.int64)
        )
    with pytest.raises(TypeError, match="For one foreground class pass task='binary'"):
        AURC()


# --- one score a pixel ----------------------------------------------------------------------------


def of_foreground(seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Logits of the foreground on both sides of 0, some of them 0, and the truth with void."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(2, (3, 30, 21), generator=generator)
    logits = 2 * torch.randn(target.shape, generator=generator) + 3 * target - 1.5
    logits[0, 0, :5] = 0.0
    return logits.to(dtype), target.where(torch.rand(target.shape, generator=generator) > 0.1, 255)


def of_pixels(logits: Tensor, target: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of every pixel |logit|, which ranks as max(p, 1 - p), and whether the prediction is right."""
    kept = target != 255
    z, y = logits.double()[kept].numpy(), target[kept].numpy()
    return np.abs(z), (z > 0) == (y == 1)


def test_one_score_has_the_area_of_both_probabilities() -> None:
    """torch-uncertainty stacks 1 - p and p."""
    logits, target = of_foreground()
    p = logits.sigmoid()
    arguments: Any = {"ignore_index": 255}
    both = AURC(2, **arguments)(torch.stack([1 - p, p], 1), target)
    assert both > 0.01
    found = AURC(task="binary", **arguments)(p, target)
    assert found.item() == pytest.approx(both.item(), abs=1e-6)
    assert torch.equal(aurc(p[:, None], target, task="binary", **arguments), found)
    of_logits = AURC(task="binary", from_logits=True, **arguments)(logits, target)
    assert of_logits.item() == pytest.approx(both.item(), abs=1e-4)
    coarse = AURC(task="binary", cells=512, **arguments)(p, target)
    assert coarse.item() == pytest.approx(both.item(), abs=1e-3)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_right_against_wrong_of_one_score_is_exact_in_half_precision(
    dtype: torch.dtype, from_logits: bool
) -> None:
    logits, target = of_foreground(1)
    scores = (logits if from_logits else logits.sigmoid()).to(dtype)
    p = scores.double()
    middle = 0.0 if from_logits else 0.5
    kept = target != 255
    confidence = (p - middle).abs()[kept].numpy()
    right = ((p > middle) == (target == 1))[kept].numpy()
    arguments: Any = {
        "task": "binary", "from_logits": from_logits, "ignore_index": 255, "positive": "right"
    }  # fmt: skip
    for score, oracle in ((AUROC, roc_auc_score), (AveragePrecision, average_precision_score)):
        metric = score(**arguments)
        metric.update(scores[:1], target[:1])
        metric.update(scores[1:], target[1:])
        assert metric.compute().item() == pytest.approx(oracle(right, confidence), abs=1e-6)
    assert FPRAtRecall(**arguments)(scores, target) > 0


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1e-9, 0.2, 0.5 - 2**-24, 0.5, 0.75, 0.999, 1.0]), min_size=3),
    st.sampled_from([2**16, 512, 6]),
    st.integers(0, 2**32 - 1),
)
def test_bounds_of_right_against_wrong_hold_the_exact_value(
    values: list[float], cells: int, seed: int
) -> None:
    p = np.array(values, np.float32).astype(np.float64)
    y = np.random.default_rng(seed).integers(2, size=len(p))
    right, confidence = (p > 0.5) == y, np.maximum(p, 1 - p)
    metric = AUROC(task="binary", positive="right", cells=cells)
    metric.update(torch.tensor(p).float()[None], torch.from_numpy(y)[None])
    lower, upper = (bound.item() for bound in metric.bounds())
    if right.all() or not right.any():
        assert np.isnan(lower)
    else:
        assert lower - 1e-6 <= roc_auc_score(right, confidence) <= upper + 1e-6


def test_one_score_shares_its_state_with_the_foregrounds_curves() -> None:
    logits, target = of_foreground(2)
    arguments: Any = {"task": "binary", "from_logits": True, "ignore_index": 255}
    collection = MetricCollection(
        {
            "aurc": AURC(**arguments),
            "right": AUROC(positive="right", **arguments),
            "foreground": AUROC(**arguments),
        }
    )
    collection.update(logits, target)
    assert len(collection.compute_groups) == 1
    confidence, right = of_pixels(logits, target)
    found = {key: value.item() for key, value in collection.compute().items()}
    assert found["right"] == pytest.approx(roc_auc_score(right, confidence), abs=1e-3)
    assert found["aurc"] == pytest.approx(mean_risk(confidence, right), abs=1e-3)
    assert found["foreground"] != pytest.approx(found["right"], abs=0.01)


@pytest.mark.parametrize("cells", [2**16, 512, 6])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_thresholds_of_one_scores_confidence_give_the_returned_scores(
    dtype: torch.dtype, from_logits: bool, cells: int
) -> None:
    """``max(p, 1 - p) > t``, in the precision of the scores or better, keeps what was counted."""
    logits, target = of_foreground(4)
    logits[1] *= 8  # of the probabilities some are 0 and 1, of the confidences some 0.5
    scores = (logits if from_logits else logits.sigmoid()).to(dtype)
    z, y = scores.double()[target != 255], target[target != 255]
    arguments: Any = {
        "task": "binary", "from_logits": from_logits, "ignore_index": 255, "positive": "right",
        "cells": cells,
    }  # fmt: skip

    def kept(threshold: float) -> Tensor:
        if from_logits:
            cut = float(np.float32(np.log(threshold / (1 - threshold))))
            return z.abs() > cut
        return torch.maximum(z, 1 - z) > threshold

    right = (z > (0 if from_logits else 0.5)) == (y == 1)
    for score in ("youden", "f1"):
        found = BestThreshold(score=score, **arguments)(scores, target)
        above = kept(found["best_threshold"].item())
        tp, fp = (above & right).sum().item(), (above & ~right).sum().item()
        total = right.sum().item()
        value = {
            "youden": tp / total - fp / (~right).sum().item(),
            "f1": 2 * tp / (tp + fp + total),
        }[score]
        assert found[f"best_{score}"].item() == pytest.approx(value, abs=1e-6)
    images = CurveImageScores(score="youden", **arguments)
    images.update(scores, target)
    found = images.compute()
    above = kept(images.image_counts().best_threshold().item())  # in float64
    value = (above & right).sum() / right.sum() - (above & ~right).sum() / (~right).sum()
    assert found["best_youden"].item() == pytest.approx(value.item(), abs=1e-6)


@pytest.mark.parametrize("cells", [2**16, 512, 2])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_threshold_below_one_half_keeps_every_pixel(
    dtype: torch.dtype, from_logits: bool, cells: int
) -> None:
    """Of the confidences 0.5, 0.9 and 0.9 the first is right, and one of the others."""
    p, target = torch.tensor([[0.5, 0.9, 0.9]]), torch.tensor([[0, 1, 0]])
    found = BestThreshold(
        task="binary", from_logits=from_logits, positive="right", score="f1", cells=cells
    )((p.logit() if from_logits else p).to(dtype), target)
    assert found["best_f1"].item() == pytest.approx(0.8)
    assert 0.49 < found["best_threshold"] < 0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_curves_of_one_scores_confidence_are_those_of_scikit_learn(dtype: torch.dtype) -> None:
    logits, target = of_foreground(5)
    p = logits.sigmoid().to(dtype)
    z, y = p.double()[target != 255].numpy(), target[target != 255].numpy()
    confidence, right = np.maximum(z, 1 - z), (z > 0.5) == (y == 1)
    arguments: Any = {"task": "binary", "ignore_index": 255, "positive": "right"}
    fpr, recall, thresholds = ROC(**arguments)(p, target)
    expected = roc_curve(right, confidence, drop_intermediate=False)
    for found, theirs in zip((fpr, recall), expected, strict=False):
        np.testing.assert_allclose(found, theirs, atol=1e-6)
    np.testing.assert_allclose(thresholds[1:], expected[2][1:], atol=1e-6)
    precision, recall, thresholds = PrecisionRecallCurve(**arguments)(p, target)
    expected = precision_recall_curve(right, confidence)
    for found, theirs in zip((precision, recall, thresholds), expected, strict=True):
        np.testing.assert_allclose(found, theirs, atol=1e-6)


def test_what_one_score_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="flatten"):
        AURC(3, task="multilabel")
    with pytest.raises(ValueError, match="One score a pixel: pass task='binary'"):
        AURC(2)(torch.rand(2, 3, 4), torch.ones(2, 3, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="must be even"):
        AURC(task="binary", cells=511)
