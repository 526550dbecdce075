"""AUROC and average precision, update and compute, beside torchmetrics' binned and exact forms.

``python -m benchmarks.curves`` prints milliseconds and ratios; ``--scale 4`` divides the sides of
images by four, ``--rounds 3`` takes fewer rounds. Each case runs in this one process.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import AUROC as TheirAUROC
from torchmetrics import AveragePrecision as TheirAveragePrecision

from benchmarks.report import milliseconds, table
from benchmarks.timing import interleaved
from segmetrics import AUROC, AveragePrecision, CurveImageScores

#: The name of a case, its task, images, classes and side.
CASES = (
    ("binary 16x512x512", "binary", 16, 1, 512),
    ("binary 16x64x64", "binary", 16, 1, 64),
    ("multiclass 4x21x520x520", "multiclass", 4, 21, 520),
)
PAIRS: dict[str, Any] = {
    "AUROC": (AUROC, TheirAUROC),
    "AveragePrecision": (AveragePrecision, TheirAveragePrecision),
}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--scale", type=int, default=1)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    rows = []
    for name, task, images, classes, side in CASES:
        for score, seconds in measured(task, images, classes, side // given.scale, given.rounds):
            ours = seconds["ours"]
            ratios = (f"{value / ours:.0f}x" for key, value in seconds.items() if key != "ours")
            rows.append([name, score, *map(milliseconds, seconds.values()), *ratios])
            print(f"measured {name} {score}", flush=True)
    kinds = ["thresholds=100", "exact", "512 cells an image"]
    print(table(["case", "score", "ours", *kinds, *(f"{kind}: ratio" for kind in kinds)], rows))


def measured(
    task: Any, images: int, classes: int, side: int, rounds: int
) -> list[tuple[str, dict[str, float]]]:
    """Seconds of an update and its compute, by score and contender."""
    preds, target = inputs(task, images, classes, side)
    number = {"num_classes": classes} if task == "multiclass" else {}
    found = []
    for score, (ours, theirs) in PAIRS.items():
        made: dict[str, Any] = {
            "ours": ours(task=task, **number),
            "thresholds=100": theirs(task=task, thresholds=100, **number),
            "exact": theirs(task=task, **number),
            "512 cells an image": CurveImageScores(task=task, **number),
        }
        steps = {key: step(metric, preds, target) for key, metric in made.items()}
        timing = interleaved(preds.sum, steps, device="cpu", rounds=rounds)
        found.append((score, timing.contenders))
    return found


def step(metric: Any, preds: Tensor, target: Tensor) -> Callable[[], None]:
    """One epoch of one batch."""

    def run() -> None:
        metric.update(preds, target)
        metric.compute()
        metric.reset()

    return run


def inputs(task: str, images: int, classes: int, side: int) -> tuple[Tensor, Tensor]:
    """Probabilities of a model that is mostly right and mostly sure."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(max(2, classes), (images, side, side), generator=generator)
    if task == "binary":
        logits = 2 * torch.randn(target.shape, generator=generator) + 4 * target - 2
        return logits.sigmoid(), target
    logits = torch.randn((images, classes, side, side), generator=generator)
    logits.scatter_add_(1, target.unsqueeze(1), torch.full_like(logits, 4))
    return logits.softmax(1), target


if __name__ == "__main__":
    main()
