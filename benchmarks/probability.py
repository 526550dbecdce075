"""Scores of probabilities in one process with torchmetrics: update, compute and memory.

``python -m benchmarks --parts probability``; ``--scale 4`` divides the sides of images by four,
``--only 16x64x64`` measures one case.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import CalibrationError as TheirCalibrationError

from benchmarks.memory import peak_of
from benchmarks.report import Row, milliseconds, table
from benchmarks.timing import interleaved
from segmetrics import BrierScore, CalibrationError, NegativeLogLikelihood, ProbabilityMetrics

#: Images, classes (1: binary) and side, by the name of a case.
CASES = {
    "logits 4x21x520x520": (4, 21, 520),
    "logits 16x512x512": (16, 1, 512),
    "logits 16x64x64": (16, 1, 64),
    "probabilities 4x21x520x520": (4, 21, 520),
    "probabilities 16x512x512": (16, 1, 512),
}
Metric = Callable[..., Any]
OURS: dict[str, Metric] = {
    "CalibrationError": CalibrationError,
    "BrierScore": BrierScore,
    "NegativeLogLikelihood": NegativeLogLikelihood,
    "ProbabilityMetrics": ProbabilityMetrics,
}
THEIRS = "torchmetrics CalibrationError"


def measure(names: Sequence[str], scale: int, rounds: int) -> list[Row]:
    """Seconds of an update and of a compute, and the bytes that an update needs."""
    rows: list[Row] = []
    for name in names:
        preds, target = inputs(name, scale)
        updates, computes = {}, {}
        for contender in (*OURS, THEIRS):
            metric = made(name, contender)
            metric.update(preds, target)
            computes[contender] = compute(metric)
            updates[contender] = update(made(name, contender), preds, target)
        timing = interleaved(preds.sum, updates, device="cpu", rounds=rounds)
        computing = interleaved(preds.sum, computes, device="cpu", rounds=rounds)
        row = {
            "form": name,
            "classes": CASES[name][1],
            "size": list(target.shape),
            "floor": timing.floor,
            "update": timing.contenders,
            "compute": computing.contenders,
            "bytes": {contender: peak(name, contender, scale) for contender in (*OURS, THEIRS)},
        }
        print(f"measured {name}", flush=True)
        rows.append(row)
    return rows


def shown(rows: Sequence[Row]) -> str:
    """A line a contender: milliseconds, the ratio to torchmetrics' and megabytes."""
    lines = []
    for row in rows:
        lines.append([row["form"], "read the inputs", milliseconds(row["floor"]), "", "", ""])
        for name, seconds in row["update"].items():
            ratio = f"{row['update'][THEIRS] / seconds:.1f}x"
            megabytes = f"{row['bytes'][name] / 2**20:.1f}"
            milli = milliseconds(seconds), milliseconds(row["compute"][name])
            lines.append([row["form"], name, milli[0], ratio, milli[1], megabytes])
    return table(["case", "metric", "update ms", "ratio", "compute ms", "MiB"], lines)


def inputs(name: str, scale: int) -> tuple[Tensor, Tensor]:
    """Scores of a model that is mostly right, and the target."""
    images, classes, side = CASES[name]
    generator, side = torch.Generator().manual_seed(0), side // scale
    target = torch.randint(max(2, classes), (images, side, side), generator=generator)
    if classes == 1:
        logits = 2 * torch.randn(target.shape, generator=generator) + 4 * target - 2
        return (logits if name.startswith("logits") else logits.sigmoid()), target
    logits = torch.randn((images, classes, side, side), generator=generator)
    logits.scatter_add_(1, target.unsqueeze(1), torch.full_like(logits, 4))
    return (logits if name.startswith("logits") else logits.softmax(1)), target


def made(name: str, contender: str) -> Any:
    """A metric for a case."""
    classes = CASES[name][1]
    arguments: dict[str, Any] = {"task": "binary"} if classes == 1 else {"num_classes": classes}
    if contender == THEIRS:  # it finds out whether scores are logits
        return TheirCalibrationError(**{"task": "multiclass"} | arguments)
    return OURS[contender](from_logits=name.startswith("logits"), **arguments)


def update(metric: Any, preds: Tensor, target: Tensor) -> Callable[[], None]:
    """One update of a new epoch."""

    def run() -> None:
        metric.reset()
        metric.update(preds, target)

    return run


def compute(metric: Any) -> Callable[[], None]:
    """One compute, without its cache."""

    def run() -> None:
        metric._computed = None
        metric.compute()

    return run


def peak(name: str, contender: str, scale: int) -> int:
    """Bytes that an update needs beyond its inputs, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.probability", name, contender, str(scale)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


if __name__ == "__main__":
    case, contender, scale = sys.argv[1], sys.argv[2], int(sys.argv[3])
    small, big = inputs(case, 8 * scale), inputs(case, scale)
    made(case, contender).update(*small)  # loads, compiles and starts what there is
    metric = made(case, contender)
    print(peak_of(lambda: metric.update(*big), "cpu"))
