"""torch-uncertainty's scores of the same pixels."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from segmetrics import CurveImageScores
from segmetrics.functional import (
    aurc,
    auroc,
    average_precision,
    brier_score,
    calibration_error,
    fpr_at_recall,
    negative_log_likelihood,
)

theirs = pytest.importorskip("torch_uncertainty.metrics.classification")


def drawn() -> tuple[Tensor, Tensor]:
    """Probabilities of two classes ``(96, 2)``, whose confidences have a cell each; the truth."""
    rng = np.random.default_rng(0)
    confidence = 0.5 + rng.permutation(np.arange(1, 97)) / 256
    label = rng.integers(2, size=96)
    p = np.where(label == 1, confidence, 1 - confidence)
    target = np.where(rng.random(96) < confidence, label, 1 - label)
    return torch.from_numpy(np.stack([1 - p, p], 1)).float(), torch.from_numpy(target)


def ours(score: object, **arguments: object) -> float:
    probabilities, target = drawn()
    value: Tensor = score(probabilities.T[None], target[None], 2, **arguments)  # type: ignore[operator]
    return value.item()


def of(metric: object) -> float:
    """Their metric's value."""
    metric.update(*drawn())  # type: ignore[attr-defined]
    value: Tensor = metric.compute()  # type: ignore[attr-defined]
    return value.item()


def test_errors_of_probabilities_are_theirs() -> None:
    assert ours(brier_score) == pytest.approx(of(theirs.BrierScore(num_classes=2)), abs=1e-6)
    assert ours(negative_log_likelihood) == pytest.approx(of(theirs.CategoricalNLL()), abs=1e-6)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_calibration_errors_are_theirs(norm: str) -> None:
    found = ours(calibration_error, n_bins=10, norm=norm)
    their = theirs.CalibrationError(task="multiclass", num_classes=2, num_bins=10, norm=norm)
    assert found == pytest.approx(of(their), abs=1e-6)
    found = ours(calibration_error, n_bins=12, norm=norm, binning="mass")
    their = theirs.AdaptiveCalibrationError(
        task="multiclass", num_classes=2, num_bins=12, norm=norm
    )
    assert found == pytest.approx(of(their), abs=1e-6)


def test_the_area_of_risk_is_theirs_but_for_half_of_the_ends() -> None:
    probabilities, target = drawn()
    confidence, label = probabilities.max(1)
    wrong = (label != target)[confidence.argsort(descending=True)].double()
    n = len(wrong)
    ends = (wrong[0] + wrong.mean()).item() / 2  # they take trapezoids between 1 / n and 1
    assert (n * ours(aurc) - ends) / (n - 1) == pytest.approx(of(theirs.AURC()), abs=1e-6)
    p = probabilities[:, 1]  # of one score they stack 1 - p and p
    metric = theirs.AURC()
    metric.update(p, target)
    found = aurc(p[None], target[None], task="binary").item()
    assert (n * found - ends) / (n - 1) == pytest.approx(metric.compute().item(), abs=1e-6)


@pytest.mark.parametrize("key", ["AUROC", "AP", "FPR95"])
def test_rankings_are_theirs_of_all_pixels_and_as_means_over_images(key: str) -> None:
    probabilities, target = drawn()
    p, y = probabilities[:, 1], target
    metrics = pytest.importorskip("torch_uncertainty.metrics")
    make, score = {
        "AUROC": (metrics.SegmentationBinaryAUROC, auroc),
        "AP": (metrics.SegmentationBinaryAveragePrecision, average_precision),
        "FPR95": (partial(metrics.SegmentationFPR95, pos_label=1), fpr_at_recall),
    }[key]
    metric = make()
    metric.update(p.view(1, 8, 12), y.view(1, 8, 12))
    found = score(p[None], y[None], task="binary")
    assert found.item() == pytest.approx(float(metric.compute()), abs=1e-6)
    images = p.view(3, 4, 8), y.view(3, 4, 8)
    metric = make()
    metric.update(*images)
    tables = CurveImageScores(task="binary", cells=2**16)
    tables.update(*images)
    found = tables.image_counts().values(key).nanmean()
    if key == "AP":  # there it is the middle of its bounds, as several scores may share a cell
        of_images = zip(*(part[:, None] for part in images), strict=True)
        found = torch.stack([score(*image, task="binary") for image in of_images]).mean()
    assert found.item() == pytest.approx(float(metric.compute()), abs=1e-6)
