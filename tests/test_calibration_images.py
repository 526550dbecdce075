"""The calibration of every image: what is kept of it, and intervals that resample images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segmetrics import CalibrationImageScores, CurveImageScores, ProbabilityMetrics, functional
from segmetrics.statistics import compare, confidence_interval

KEYS = ("ECE", "MCE", "ACE", "brier", "NLL")


def scenes(images: int = 12, classes: int = 4, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    """Logits that are too confident by a factor, and targets with void pixels."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((images, classes, 20, 21), generator=generator) * 2
    chances = logits.softmax(1).movedim(1, -1).reshape(-1, classes)
    target = chances.multinomial(1, generator=generator).view(images, 20, 21)
    target[0] = 255
    target[1, :5] = 255
    return logits * scale, target


def test_values_over_all_images_are_those_of_probability_metrics() -> None:
    logits, target = scenes()
    images = CalibrationImageScores(4, from_logits=True, ignore_index=255, prefix="val/")
    pooled = ProbabilityMetrics(4, from_logits=True, ignore_index=255, prefix="val/")
    for part in (slice(0, 5), slice(5, None)):
        images.update(logits[part], target[part])
        pooled.update(logits[part], target[part])
    torch.testing.assert_close(images.compute(), pooled.compute(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_channels_are_scored_one_by_one(task: Any) -> None:
    logits, _ = scenes()
    target = (torch.rand(logits.shape, generator=torch.Generator().manual_seed(1)) < 0.4).long()
    if task == "binary":
        logits, target = logits[:, 0], target[:, 0]
    classes = None if task == "binary" else 4
    images = CalibrationImageScores(classes, task=task, from_logits=True)
    pooled = ProbabilityMetrics(classes, task=task, from_logits=True)
    values, expected = images(logits, target), pooled(logits, target)
    torch.testing.assert_close(values, {key: expected[key] for key in KEYS}, rtol=1e-6, atol=1e-7)


def test_the_scores_of_an_image_are_those_of_it_alone() -> None:
    logits, target = scenes()
    images = CalibrationImageScores(4, from_logits=True, ignore_index=255)
    images.update(logits, target, image_ids=[f"{i:02}.png" for i in range(12)])
    table = images.image_counts()
    alone = [
        functional.calibration_error(
            logits[i : i + 1], target[i : i + 1], 4, from_logits=True, ignore_index=255
        )
        for i in range(12)
    ]
    torch.testing.assert_close(
        table.values("ECE").float(), torch.stack(alone), rtol=1e-6, atol=1e-7, equal_nan=True
    )
    worst = images.worst(1)[0]
    assert worst[1] == pytest.approx(max(v.item() for v in alone if not v.isnan()))
    assert table.columns()["image"][:2] == ["00.png", "01.png"]


def test_images_without_ids_are_rows_by_their_number() -> None:
    logits, target = scenes()
    images = CalibrationImageScores(4, from_logits=True, ignore_index=255)
    images.update(logits, target)
    columns = images.image_counts().columns()
    assert columns["image"] == list(range(12))
    assert list(columns) == ["image", *KEYS]


def test_an_interval_of_the_ece_resamples_images() -> None:
    """As a bootstrap in NumPy that counts every drawn image anew."""
    logits, target = scenes()
    images = CalibrationImageScores(4, from_logits=True, ignore_index=255)
    images.update(logits, target)
    interval = confidence_interval(images, "ECE", n_resamples=2000)
    rng = np.random.default_rng(1)
    values = []
    for _ in range(400):
        drawn = torch.from_numpy(rng.integers(0, 12, 12))
        values.append(
            functional.calibration_error(
                logits[drawn], target[drawn], 4, from_logits=True, ignore_index=255
            ).item()
        )
    low, high = np.percentile(values, [2.5, 97.5])
    assert interval.low == pytest.approx(low, abs=4e-3)
    assert interval.high == pytest.approx(high, abs=4e-3)


def test_two_models_are_compared_by_their_calibration() -> None:
    logits, target = scenes()
    confident = CalibrationImageScores(4, from_logits=True, ignore_index=255)
    confident.update(logits, target)
    calibrated = CalibrationImageScores(4, from_logits=True, ignore_index=255)
    calibrated.update(logits / 2, target)
    result = compare(calibrated, confident, "ECE")
    assert result.p_sign_flip < 0.05
    assert calibrated.compute()["ECE"] < confident.compute()["ECE"]


def test_one_impossible_pixel_makes_the_loss_infinite_and_a_resample_without_it_finite() -> None:
    p = torch.tensor([[[0.5, 0.5]], [[0.0, 1.0]]])
    images = CalibrationImageScores(task="binary")
    images.update(p, torch.ones(2, 1, 2).long())
    assert images.compute()["NLL"] == torch.inf
    assert images.image_counts().values("NLL").tolist() == [pytest.approx(np.log(2)), np.inf]


def test_tables_of_other_sizes_are_not_compared() -> None:
    draw = torch.Generator().manual_seed(0)
    preds, target = torch.rand(3, 5, 7, generator=draw), torch.ones(3, 5, 7, dtype=torch.int64)
    made: list[tuple[Any, Any, str]] = [
        (CurveImageScores(task="binary"), CurveImageScores(task="binary", cells=64), "AUROC"),
        (
            CalibrationImageScores(task="binary"),
            CalibrationImageScores(task="binary", n_bins=10),
            "ECE",
        ),
    ]
    for a, b, score in made:
        for metric in (a, b):
            metric.update(preds, target)
        with pytest.raises(ValueError, match=r"in the same way, but `tables.shape\[1:\]` is \(1, "):
            compare(a, b, score)


def test_an_unknown_score_names_those_that_there_are() -> None:
    images = CalibrationImageScores(task="binary")
    images.update(torch.rand(2, 3, 3), torch.ones(2, 3, 3).long())
    with pytest.raises(ValueError, match="`score` must be one of ECE, MCE, ACE, brier, NLL"):
        images.image_counts().statistic("AUROC")
