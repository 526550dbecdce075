"""AUROC and average precision, update and compute, against torchmetrics' binned and exact forms.

``python -m benchmarks --parts curves``. Where torchmetrics takes minutes, every contender is timed
by its CPU time on one thread, torchmetrics once, so that a busy machine changes little.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import process_time
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torchmetrics import AUROC as TheirAUROC
from torchmetrics import AveragePrecision as TheirAveragePrecision

from benchmarks.memory import peak_of
from benchmarks.report import Row, milliseconds, table
from benchmarks.timing import FEWEST, LONG, interleaved
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
#: The least that a table of 2**16 cells can cost: to read the inputs, and to increment a count a
#: score.
READING, INCREMENTS = "reading both", "increments alone"
#: Cases in which torchmetrics takes minutes.
SLOW = ("multiclass 4x21x520x520",)


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
            steps[READING] = lambda p=preds, t=target: (p.sum(), t.sum())
            steps[INCREMENTS] = increments(preds, target)
            row: Row = {"form": f"{score}, {name}", "classes": classes, "size": list(target.shape)}
            if name in SLOW:
                row |= {"seconds": cpu_seconds(steps), "timed": "CPU time on one thread"}
            else:
                timing = interleaved(preds.sum, steps, device="cpu", rounds=rounds)
                row |= {"floor": timing.floor, "seconds": timing.contenders}
            rows.append(row | {"bytes": {OURS: peak(name, score, scale)}})
            print(f"measured {score}, {name}", flush=True)
    return rows


def shown(rows: Sequence[Row]) -> str:
    """A line a case: milliseconds, the ratios of others to ours, and our megabytes."""
    names = OURS, BINNED, EXACT, IMAGES, READING, INCREMENTS
    lines = []
    for row in rows:
        seconds = row["seconds"]
        ratios = (f"{seconds[name] / seconds[OURS]:.0f}x" for name in (BINNED, EXACT))
        shown_ms = (milliseconds(seconds[name]) if name in seconds else "" for name in names)
        megabytes = f"{row['bytes'][OURS] / 2**20:.1f}" if "bytes" in row else ""
        lines.append([row["form"], *shown_ms, *ratios, megabytes])
    head = ["update and compute, ms", *names, f"{BINNED} / ours", f"{EXACT} / ours", "MiB"]
    return table(head, lines)


def cpu_seconds(steps: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """CPU seconds of every step on one thread: the median of a few runs, one run of a long one."""
    threads, seconds = torch.get_num_threads(), {}
    torch.set_num_threads(1)
    for name, step in steps.items():
        samples: list[float] = []
        while len(samples) <= FEWEST and sum(samples) < LONG:
            start = process_time()
            step()
            samples.append(process_time() - start)
        seconds[name] = median(samples[1:] or samples)  # the first run may compile
        print(f"{name}: {seconds[name]:.3f} s in {len(samples)} runs", flush=True)
    torch.set_num_threads(threads)
    return seconds


def peak(name: str, score: str, scale: int) -> int:
    """Bytes that our update and compute need beyond inputs and state, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.curves", name, score, str(scale)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


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


if __name__ == "__main__":
    case, score, scale = sys.argv[1], sys.argv[2], int(sys.argv[3])
    task, images, classes, side = CASES[case]
    number = {"num_classes": classes} if task == "multiclass" else {}
    metric = PAIRS[score][0](task=task, **number)
    step(metric, *inputs(task, 1, classes, 64))()  # loads, compiles and starts what there is
    preds, target = inputs(task, images, classes, side // scale)
    print(peak_of(step(metric, preds, target), "cpu"))
