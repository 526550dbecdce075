"""Kernels on a GPU against its copy bandwidth, also with one class that has all pixels.

``python -m benchmarks.gpu`` takes a few minutes. Without a GPU ``TRITON_INTERPRET=1`` and a side of
32 show that it runs; its figures mean nothing then.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import report
from benchmarks.cases import VOID, Case
from benchmarks.contenders import CONTENDERS
from benchmarks.machine import machine, versions
from benchmarks.timing import ROUNDS, interleaved
from segmetrics import MeanIoU
from segmetrics.counting import Counting, cuda, plain
from segmetrics.counting.inputs import read

COPIED = 2**30  # bytes
PEER = "torchmetrics Jaccard"
DOMINATED = 0.97


@dataclass(frozen=True)
class Scene:
    """Inputs with their name, and whether predictions are resized."""

    name: str
    classes: int
    preds: Tensor
    target: Tensor
    resized: bool = False
    peer: Callable[[], object] | None = None


def main() -> None:
    """Measure, print and keep."""
    options = parser().parse_args()
    device = options.device
    bandwidth = copy_bandwidth(device, options.copied)
    rows = []
    for scene in scenes(device, options.side):
        rows.append(measured(scene, device, bandwidth, options.rounds))
        print(f"measured {rows[-1]['form']}, C = {scene.classes}", flush=True)
        del scene
    print(f"\n{machine(device)['gpu']}, {versions()}")
    print(f"copies {bandwidth / 1e9:.0f} GB/s\n\n{table(rows)}")
    if not options.no_save:
        path = options.output or report.default_path(device)
        report.keep(path, device, "bandwidth", [{"form": "copy", "bytes_a_second": bandwidth}])
        report.keep(path, device, "kernels", rows)
        print(f"\nwritten: {path}")


def scenes(device: str, side: int) -> Iterator[Scene]:
    """Scores, then label maps that are hard on atomics, one after the other."""
    for form, classes, images in (
        ("logits fp32", 21, 8),
        ("logits fp32", 150, 4),
        ("logits bf16", 21, 8),
        ("logits fp32 channels-last", 21, 8),
        ("logits fp32 channels-last", 150, 4),
        ("logits fp32 at 1/8", 21, 8),
        ("logits fp32 at 1/8", 150, 4),
        ("labels uint8", 21, 8),
        ("labels int64", 21, 8),
    ):
        case = Case(form, classes, (images, side, side))
        preds, target = case.inputs(device)
        peer = CONTENDERS[PEER](case, preds, target)
        yield Scene(form, classes, preds, target, case.resized, peer)
    for classes in (2, 21, 150):
        generator = torch.Generator(device).manual_seed(0)
        shape = (8, side, side)
        noise = torch.randint(classes, shape, device=device, generator=generator)
        other = torch.randint(classes, shape, device=device, generator=generator)
        rare = torch.rand(shape, device=device, generator=generator) >= DOMINATED
        maps = {
            "noise": (noise, other),
            f"{DOMINATED:.0%} one class": (noise * rare, other * rare),
            "nothing but one class": (noise * 0, other * 0),
        }
        for name, (preds, target) in maps.items():
            yield Scene(f"labels uint8, {name}", classes, preds.byte(), target.byte())


def measured(scene: Scene, device: str, bandwidth: float, rounds: int) -> report.Row:
    """Seconds of the kernel, an update and the peer, peak memory, and whether counts are right."""
    preds, target = scene.preds, scene.target
    counting = Counting.of(
        scene.classes, ignore_index=VOID, upsample="bilinear" if scene.resized else None
    )
    pixels = read(preds, target, counting)
    metric = MeanIoU(
        scene.classes, ignore_index=VOID, upsample="bilinear" if scene.resized else None
    ).to(device)
    steps: dict[str, Callable[[], object]] = {
        "kernel": lambda: cuda.count(pixels, counting),
        "update": lambda: metric.update(preds, target),
    }
    if scene.peer is not None:
        steps[PEER] = scene.peer
    if scene.resized:
        size = target.shape[1:]
        steps["F.interpolate"] = lambda: F.interpolate(preds, size, mode="bilinear")
    differing = (cuda.count(pixels, counting) - plain.count(pixels, counting)).abs().sum().item()
    timing = interleaved(preds.sum, steps, device=device, rounds=rounds)
    moved = preds.nbytes + target.nbytes
    return {
        "form": scene.name,
        "classes": scene.classes,
        "size": list(target.shape),
        "sum": timing.floor,
        "seconds": timing.contenders,
        "repeated": timing.repeated,
        "bytes": moved,
        "share_of_bandwidth": moved / timing.contenders["kernel"] / bandwidth,
        "peak_bytes": {name: peak(step, device) for name, step in steps.items()},
        "differing_counts": differing,
    }


def copy_bandwidth(device: str, size: int) -> float:
    """Bytes read and written a second by a copy on the device, the best of several."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    copy = torch.empty_like(source)
    seconds = [
        interleaved(source.clone, {"copy": lambda: copy.copy_(source)}, device=device, rounds=5)
        for _ in range(3)
    ]
    return 2 * size / min(timing.contenders["copy"] for timing in seconds)


def peak(step: Callable[[], object], device: str) -> int | None:
    """Peak bytes that a step allocates on a GPU, beyond those in use."""
    if not device.startswith("cuda"):
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def table(rows: list[report.Row]) -> str:
    """Milliseconds, shares of the copy bandwidth and megabytes."""
    head = ["", "kernel ms", "update ms", "/ sum()", "of copy", "torchmetrics", "F.interpolate"]
    lines = []
    for row in rows:
        seconds = row["seconds"]
        times = [
            f"{seconds[name] / seconds['update']:.1f}×" if name in seconds else "–"
            for name in (PEER, "F.interpolate")
        ]
        used = row["peak_bytes"]["update"]
        lines.append(
            [
                report.title(row),
                report.milliseconds(seconds["kernel"]),
                report.milliseconds(seconds["update"]),
                f"{seconds['update'] / row['sum']:.2f}",
                f"{row['share_of_bandwidth']:.0%}",
                *times,
                "–" if used is None else f"{used / 1e6:.1f}",
                str(row["differing_counts"]),
            ]
        )
    return report.table([*head, "MB above", "differing"], lines)


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--side", type=int, default=1024, help="of the square label maps")
    options.add_argument("--copied", type=int, default=COPIED, help="bytes of the copied tensor")
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--output", type=Path, help="results file; rows are added or replaced")
    options.add_argument("--no-save", action="store_true", help="only print")
    return options


if __name__ == "__main__":
    main()
