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
FORMS = tuple(f"{score}, {name}" for name in CASES for score in PAIRS)
#: Metrics whose memory is measured.
MEASURED = (AUROC, AveragePrecision, FPRAtRecall, AURC, BestThreshold, ROC, PrecisionRecallCurve)
OURS, BINNED, EXACT, IMAGES = "ours", "thresholds=100", "exact", "512 cells an image"
#: The least that a table of 2**16 cells can cost: to increment one of its counts a score.
INCREMENTS = "increments alone"
#: Cases in which torchmetrics takes minutes.
SLOW = ("multiclass 4x21x520x520",)


def measure(forms: Sequence[str], scale: int, rounds: int) -> list[Row]:
    """Seconds of an update and its compute, by contender; the floor reads both inputs."""
    rows: list[Row] = []
    for form in forms:
        score, name = form.split(", ")
        task, images, classes, side = CASES[name]
        preds, target = inputs(task, images, classes, side // scale)
        number, (ours, theirs) = classes_of(name), PAIRS[score]
        made: dict[str, Any] = {
            OURS: ours(task=task, **number),
            BINNED: theirs(task=task, thresholds=100, **number),
            EXACT: theirs(task=task, **number),
            IMAGES: CurveImageScores(task=task, **number),
        }
        steps = {key: step(metric, preds, target) for key, metric in made.items()}
        steps[INCREMENTS] = increments(preds, target)
        both = reading(preds, target)
        row: Row = {"form": form, "classes": classes, "size": list(target.shape)}
        if name in SLOW:
            seconds = cpu_seconds({"floor": both, **steps})
            row |= {"floor": seconds.pop("floor"), "seconds": seconds, "timed": "one thread's CPU"}
        else:
            timing = interleaved(both, steps, device="cpu", rounds=rounds)
            row |= {"floor": timing.floor, "seconds": timing.contenders}
        rows.append(row)
        print(f"measured {form}", flush=True)
    return rows


def memory(names: Sequence[str], scale: int) -> list[Row]:
    """Bytes that an update, its compute and a reset need beyond the inputs and the state."""
    rows: list[Row] = []
    for name in names:
        found = {metric.__name__: peak(name, metric.__name__, scale) for metric in MEASURED}
        _, images, classes, side = CASES[name]
        state = 8 * 2**17 * classes
        row = {"form": name, "classes": classes, "size": [images, side // scale, side // scale]}
        rows.append(row | {"state": state, "bytes": found})
        print(f"{name}, MiB above inputs and state, state {state / 2**20:.0f}: ", end="")
        print({who: round(size / 2**20, 1) for who, size in found.items()}, flush=True)
    return rows


def shown(rows: Sequence[Row]) -> str:
    """A line a case: milliseconds, and the ratios of others to ours."""
    names = OURS, BINNED, EXACT, IMAGES, INCREMENTS
    lines = []
    for row in rows:
        seconds = row["seconds"]
        ratios = (f"{seconds[name] / seconds[OURS]:.0f}x" for name in (BINNED, EXACT))
        shown_ms = (milliseconds(seconds[name]) if name in seconds else "" for name in names)
        lines.append([row["form"], milliseconds(row["floor"]), *shown_ms, *ratios])
    head = ["update and compute, ms", "reading both", *names]
    return table([*head, f"{BINNED} / ours", f"{EXACT} / ours"], lines)


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
    """Bytes of ``memory``, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.curves", name, score, str(scale)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def classes_of(name: str) -> dict[str, int]:
    """The argument that says how many classes a case has."""
    task, _, classes, _ = CASES[name]
    return {"num_classes": classes} if task == "multiclass" else {}


def reading(preds: Tensor, target: Tensor) -> Callable[[], None]:
    """Reads both inputs once."""

    def run() -> None:
        preds.sum()
        target.sum()

    return run


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
    name, scale = sys.argv[1], int(sys.argv[3])
    task, images, classes, side = CASES[name]
    kind = next(metric for metric in MEASURED if metric.__name__ == sys.argv[2])
    metric = kind(task=task, **classes_of(name))
    step(metric, *inputs(task, 1, classes, 64))()  # loads, compiles and starts what there is
    preds, target = inputs(task, images, classes, side // scale)
    print(peak_of(step(metric, preds, target), "cpu"))
