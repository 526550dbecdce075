"""AUROC and average precision, update and compute, against torchmetrics' binned and exact forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torchmetrics import AUROC as TheirAUROC
from torchmetrics import AveragePrecision as TheirAveragePrecision

from benchmarks.report import Row, milliseconds, table
from benchmarks.timing import interleaved
from segmetrics import AUROC, AveragePrecision, CurveImageScores
from segmetrics.probabilities.cells import keys

#: Task, images, classes and side.
CASES = {
    "binary 16x512x512": ("binary", 16, 1, 512),
    "binary 16x64x64": ("binary", 16, 1, 64),
    "multiclass 4x21x520x520": ("multiclass", 4, 21, 520),
}
PAIRS: dict[str, Any] = {
    "AUROC": (AUROC, TheirAUROC),
    "AveragePrecision": (AveragePrecision, TheirAveragePrecision),
}
OURS, BINNED, EXACT, IMAGES = "ours", "thresholds=100", "exact", "512 cells an image"
#: The least that a table of 2**16 cells can cost: to increment one of its counts a score.
INCREMENTS = "increments alone"


def measure(names: Sequence[str], scale: int, rounds: int) -> list[Row]:
    """Seconds of an update and its compute, by contender."""
    rows: list[Row] = []
    for name in names:
        task, images, classes, side = CASES[name]
        preds, target = inputs(task, images, classes, side // scale)
        number = {"num_classes": classes} if task == "multiclass" else {}
        for score, (ours, theirs) in PAIRS.items():
            made: dict[str, Any] = {
                OURS: ours(task=task, **number),
                BINNED: theirs(task=task, thresholds=100, **number),
                EXACT: theirs(task=task, **number),
                IMAGES: CurveImageScores(task=task, **number),
            }
            steps = {key: step(metric, preds, target) for key, metric in made.items()}
            steps[INCREMENTS] = increments(preds, target)
            timing = interleaved(preds.sum, steps, device="cpu", rounds=rounds)
            rows.append(
                {
                    "form": f"{score}, {name}",
                    "classes": classes,
                    "size": list(target.shape),
                    "floor": timing.floor,
                    "seconds": timing.contenders,
                }
            )
            print(f"measured {score}, {name}", flush=True)
    return rows


def shown(rows: Sequence[Row]) -> str:
    """A line a case: milliseconds, and the ratios of others to ours."""
    lines = []
    for row in rows:
        seconds = row["seconds"]
        ratios = (f"{seconds[name] / seconds[OURS]:.0f}x" for name in (BINNED, EXACT))
        shown_ms = (milliseconds(seconds[name]) for name in (OURS, BINNED, EXACT, IMAGES))
        least = milliseconds(seconds[INCREMENTS]) if INCREMENTS in seconds else ""
        lines.append([row["form"], *shown_ms, least, *ratios])
    head = ["update and compute, ms", OURS, BINNED, EXACT, IMAGES, INCREMENTS]
    return table([*head, f"{BINNED} / ours", f"{EXACT} / ours"], lines)


def step(metric: Any, preds: Tensor, target: Tensor) -> Callable[[], None]:
    """One epoch of one batch."""

    def run() -> None:
        metric.update(preds, target)
        metric.compute()
        metric.reset()

    return run


def increments(preds: Tensor, target: Tensor) -> Callable[[], None]:
    """A loop in one thread that counts scores whose cells are known."""
    table = np.zeros(2**17, np.int32)
    cells = 2 * keys(preds, from_logits=False)[0].flatten().int().numpy()
    cells += np.resize(target.numpy(), len(cells)) == 1

    @njit(nogil=True)
    def count(cells: Any, table: Any) -> None:
        for cell in cells:
            table[np.uintp(cell)] += 1

    return lambda: count(cells, table)


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
