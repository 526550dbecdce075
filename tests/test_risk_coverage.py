"""Risk and coverage: is the prediction right, asked of its confidence."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import MetricCollection

from segmetrics import AURC, AUROC, AveragePrecision, FPRAtRecall
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
    with pytest.raises(TypeError, match="task"):
        AURC(3, task="binary")  # type: ignore[call-arg]
