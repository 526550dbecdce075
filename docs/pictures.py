"""Pictures of the pages of metrics: four predictions of one target, each with its score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import segmetrics

#: Metrics of a foreground, by the name of their page.
METRICS: dict[str, Callable[[], Any]] = {
    "mean-iou": lambda: segmetrics.MeanIoU(2, average="none"),
    "dice-score": lambda: segmetrics.DiceScore(2, average="none"),
    "generalized-dice-score": lambda: segmetrics.GeneralizedDiceScore(2),
    "tversky-index": lambda: segmetrics.TverskyIndex(2, alpha=0.3, beta=0.7, average="none"),
    "f-beta-score": lambda: segmetrics.FBetaScore(2, beta=2, average="none"),
    "precision": lambda: segmetrics.Precision(2, average="none"),
    "recall": lambda: segmetrics.Recall(2, average="none"),
    "specificity": lambda: segmetrics.Specificity(2, average="none"),
    "pixel-accuracy": lambda: segmetrics.PixelAccuracy(2),
    "cohen-kappa": lambda: segmetrics.CohenKappa(2),
    "matthews-corrcoef": lambda: segmetrics.MatthewsCorrCoef(2),
    "boundary-iou": lambda: segmetrics.BoundaryIoU(2, average="none"),
    "boundary-f1-score": lambda: segmetrics.BoundaryF1Score(2, average="none"),
    "hausdorff-distance": lambda: segmetrics.HausdorffDistance(2, average="none"),
    "average-surface-distance": lambda: segmetrics.AverageSurfaceDistance(2, average="none"),
    "surface-dice": lambda: segmetrics.SurfaceDice(2, tolerance=2, average="none"),
    "object-metrics": lambda: _object_f1,
    "panoptic-quality": lambda: _panoptic_quality,
}
#: Metrics of probabilities, which draw themselves.
CURVES: dict[str, Callable[[], Any]] = {
    "calibration-error": lambda: segmetrics.CalibrationError(task="binary"),
    "auroc": lambda: segmetrics.ROC(task="binary"),
    "roc": lambda: segmetrics.ROC(task="binary"),
    "average-precision": lambda: segmetrics.PrecisionRecallCurve(task="binary"),
    "aurc": lambda: segmetrics.AURC(task="binary"),
    "precision-recall-curve": lambda: segmetrics.PrecisionRecallCurve(task="binary"),
    "probability-metrics": lambda: segmetrics.ProbabilityMetrics(task="binary"),
}


def _object_f1(preds: Tensor, target: Tensor) -> Tensor:
    score: Tensor = segmetrics.ObjectMetrics(2)(preds, target)["object_f1"]
    return score


def _panoptic_quality(preds: Tensor, target: Tensor) -> Tensor:
    """Of discs as things: components are instances."""
    from scipy.ndimage import label

    sides = (
        torch.stack([x, torch.from_numpy(label(x[0])[0])[None].long()], -1) for x in (preds, target)
    )
    quality: Tensor = segmetrics.PanopticQuality(things=[1], stuffs=[0])(*sides)["pq/1"]
    return quality


def scenes() -> tuple[Tensor, dict[str, Tensor]]:
    """A target ``(1, H, W)`` of two discs, and predictions of it by what is wrong with them."""
    y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")

    def disc(center: tuple[int, int], radius: int) -> Tensor:
        return (y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2

    large, small = disc((52, 42), 30), disc((18, 80), 7)
    target = large | small
    predictions = {
        "moved by 3 pixels": target.roll((3, 3), (0, 1)),
        "too small by 3 pixels": disc((52, 42), 27) | disc((18, 80), 4),
        "small one missed": large,
        "a false alarm": target | disc((84, 86), 7),
    }
    return target[None].long(), {name: mask[None].long() for name, mask in predictions.items()}


def write(folder: Path) -> None:
    """Write one SVG for each metric."""
    folder.mkdir(parents=True, exist_ok=True)
    for metrics, draw in ((METRICS, _draw), (CURVES, _draw_curve), (DRAWN, _draw_by)):
        for name, metric in metrics.items():
            path = folder / f"{name}.svg"
            if not path.is_file():
                draw(path, metric)


def overconfident() -> tuple[Tensor, Tensor]:
    """Probabilities of the foreground, and what is there."""
    draw = torch.Generator().manual_seed(0)
    probability = torch.rand(1, 200, 200, generator=draw)
    return probability, (torch.rand(1, 200, 200, generator=draw) < 0.2 + 0.6 * probability).long()


def _draw_curve(path: Path, make: Callable[[], Any]) -> None:
    """What a metric draws of an overconfident model."""
    probability, target = overconfident()
    metric = make()
    metric.update(probability, target)
    figure, _ = metric.plot()
    figure.set_size_inches(4, 3.2)
    figure.savefig(path, metadata={"Date": None}, transparent=True)


def _draw(path: Path, metric: Callable[[], Any]) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    target, predictions = scenes()
    with rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(8, 2.3), layout="constrained")
        for axes, (name, preds) in zip(figure.subplots(1, 4), predictions.items(), strict=True):
            score = metric()(preds, target)
            value = score[-1] if score.ndim else score  # of the foreground
            axes.contourf(preds[0], levels=[0.5, 1], colors=["#4c78a8"], alpha=0.55)
            axes.contour(target[0], levels=[0.5], colors=["#e45756"], linewidths=1.5)
            axes.set_title(f"{name}\n{value.item():.3f}")
            axes.set(xticks=[], yticks=[], aspect="equal")
            axes.invert_yaxis()
        figure.savefig(path, metadata={"Date": None}, transparent=True)


# --- Pictures of their own ------------------------------------------------------------------------


def _loss(axes: Any, losses: dict[str, Callable[[Tensor], Tensor]]) -> None:
    """What one pixel costs, by the probability of its class."""
    p = torch.linspace(0.005, 1, 200)
    for name, loss in losses.items():
        axes.plot(p, loss(p), label=name)
    axes.set(xlabel="probability given to what is there", ylabel="loss of the pixel")
    axes.legend(frameon=False)


def _thresholds(axes: Any) -> None:
    """Dice over the threshold, and the best one."""
    probability, target = overconfident()
    steps = torch.linspace(0.02, 0.98, 49).tolist()
    dice = [segmetrics.DiceScore(task="binary", threshold=t)(probability, target) for t in steps]
    best = segmetrics.BestThreshold(task="binary")(probability, target)
    axes.plot(steps, dice)
    axes.plot(best["best_threshold"], best["best_dice"], "o", color="#e45756")
    axes.set(xlabel="threshold", ylabel="Dice")


def _fpr(axes: Any) -> None:
    """The ROC curve, read at a recall of 0.95."""
    probability, target = overconfident()
    fpr, recall, _ = segmetrics.ROC(task="binary")(probability, target)
    at = segmetrics.FPRAtRecall(task="binary")(probability, target).item()
    axes.plot(fpr, recall)
    axes.plot([0, at, at], [0.95, 0.95, 0], "--", color="#e45756")
    axes.set(xlabel=f"false positive rate: {at:.2f}", ylabel="recall", xlim=(0, 1), ylim=(0, 1))


def _heat_map(axes: Any) -> None:
    matrix = segmetrics.ConfusionMatrix(3, class_names=["road", "car", "sky"])
    matrix.update(*_street())
    matrix.plot(ax=axes)


def _bars(axes: Any) -> None:
    iou = segmetrics.MeanIoU(3, average="none", class_names=["road", "car", "sky"])
    iou.update(*_street())
    iou.plot(ax=axes)


def _street() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    target = torch.multinomial(torch.tensor([0.6, 0.1, 0.3]), 10_000, True, generator=draw)[None]
    right = torch.rand(target.shape, generator=draw) < torch.tensor([0.9, 0.6, 0.95])[target]
    return target.where(right, torch.randint(0, 3, target.shape, generator=draw)), target


#: Pictures that are neither four predictions nor a metric's own.
DRAWN: dict[str, Callable[[Any], None]] = {
    "brier-score": lambda axes: _loss(axes, {"binary": lambda p: (1 - p) ** 2}),
    "negative-log-likelihood": lambda axes: _loss(axes, {"NLL": lambda p: -p.log()}),
    "best-threshold": _thresholds,
    "fpr-at-recall": _fpr,
    "confusion-matrix": _heat_map,
    "segmentation-metrics": _bars,
}


def _draw_by(path: Path, draw: Callable[[Any], None]) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(4, 3.2), layout="constrained")
        draw(figure.subplots())
        figure.savefig(path, metadata={"Date": None}, transparent=True)
