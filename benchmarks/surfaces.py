"""Surfaces and boundaries compared with MONAI, torchmetrics and OpenCV, in one process.

``python -m benchmarks.surfaces`` prints medians of interleaved runs, their ratios, and peak memory
above the inputs. MONAI is given one-hot masks made beforehand, we label maps. ``--folder FOLDER``
measures volumes in files instead: see ``surface_folders.py``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import monai.metrics as monai
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, one_hot
from torchmetrics.segmentation import HausdorffDistance as TorchmetricsHausdorff

from benchmarks import report
from benchmarks.machine import machine, versions
from benchmarks.memory import peak_of
from benchmarks.timing import ROUNDS, interleaved
from segmetrics import (
    AverageSurfaceDistance,
    BoundaryF1Score,
    BoundaryIoU,
    HausdorffDistance,
    SurfaceDice,
    SurfaceMetrics,
)

CLASSES = 5
SCENES = ("organs", "regions", "unrelated regions")
PARTS = ("distances", "bands", "memory")
SHAPES = ((2, 512, 512), (1, 128, 128, 128))
STREET = (1, 1024, 2048)
STREET_CLASSES = 19


def scene(kind: str, shape: tuple[int, ...], classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    """Predictions and targets: some balls and the same a little moved, or regions of all sizes."""
    rng = np.random.default_rng(0)
    n, *size = shape
    if kind == "organs":
        places = np.indices(size).reshape(len(size), -1)
        scale = min(size)
        maps = np.zeros((2, n, np.prod(size)), np.int64)
        for image in range(n):
            for label in range(1, classes):
                middle = rng.uniform(0.25, 0.75, len(size)) * size
                moved = middle + rng.normal(0, 0.015 * scale, len(size))
                for side, centre in enumerate((moved, middle)):
                    inside = np.linalg.norm(places - centre[:, None], axis=0) < scale / (4 + label)
                    maps[side, image, inside] = label
        preds, target = maps.reshape(2, *shape)
    else:
        cell = max(size) / 12  # regions are about as large
        coarse = [round(length / cell) + 2 for length in size]
        noise = torch.from_numpy(rng.standard_normal((3 * classes, n, *coarse)))
        mode = "bilinear" if len(size) == 2 else "trilinear"
        fields = interpolate(noise, size, mode=mode).numpy().reshape(3, classes, *shape)
        other = fields[1] if kind == "unrelated regions" else fields[0] + 0.3 * fields[1]
        preds, target = other.argmax(0), fields[0].argmax(0)
    return torch.from_numpy(preds), torch.from_numpy(target)


def contenders(preds: Tensor, target: Tensor) -> dict[str, dict[str, Callable[[], object]]]:
    """The timed functions: each score by MONAI and by us."""
    masks = [one_hot(labels, CLASSES).movedim(-1, 1).float() for labels in (preds, target)]
    ours = {
        "HD95": HausdorffDistance(CLASSES, percentile=95),
        "average distance": AverageSurfaceDistance(CLASSES),
        "surface Dice": SurfaceDice(CLASSES, tolerance=1),
        "all three": SurfaceMetrics(CLASSES, percentile=95, tolerance=1),
        "all three, elements": SurfaceMetrics(
            CLASSES, percentile=95, tolerance=1, surface="elements"
        ),
    }
    theirs: dict[str, Callable[[], object]] = {
        "HD95": lambda: monai.compute_hausdorff_distance(
            *masks, include_background=True, percentile=95
        ),
        "average distance": lambda: monai.compute_average_surface_distance(
            *masks, include_background=True, symmetric=True
        ),
        "surface Dice": lambda: monai.compute_surface_dice(
            *masks, [1.0] * CLASSES, include_background=True
        ),
    }
    steps: dict[str, dict[str, Callable[[], object]]] = {}
    for name, metric in ours.items():
        steps[name] = {"segmetrics": lambda metric=metric: metric.update(preds, target)}
        if name in theirs:
            steps[name]["MONAI"] = theirs[name]
    return steps


def bands_by_opencv(preds: np.ndarray, target: np.ndarray, classes: int) -> np.ndarray:
    """Boundary IoU, class by class on two threads."""
    reach = round(0.02 * np.hypot(*target.shape))
    kernel = np.ones((3, 3), np.uint8)

    def of_class(label: int) -> float:
        bands = []
        for labels in (preds, target):
            mask = (labels == label).astype(np.uint8)
            padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
            bands.append(mask - cv2.erode(padded, kernel, iterations=reach)[1:-1, 1:-1])
        both = cv2.countNonZero(bands[0] & bands[1])
        return both / max(1, cv2.countNonZero(bands[0] | bands[1]))

    with ThreadPoolExecutor(2) as pool:
        return np.array(list(pool.map(of_class, range(classes))))


def distances(scenes: list[str], rounds: int) -> Iterator[report.Row]:
    """Print times of the distances."""
    for shape in SHAPES:
        for kind in scenes:
            preds, target = scene(kind, shape)
            print(f"\n{'×'.join(map(str, shape))}, {CLASSES} classes, {kind}")
            steps = contenders(preds, target)
            timed = interleaved(
                preds.sum,
                {f"{score}|{who}": s for score, by in steps.items() for who, s in by.items()},
                device="cpu",
                rounds=rounds,
            )
            floor, timing = timed.floor, timed.contenders
            slowest = max(timing[f"{score}|segmetrics"] for score in list(steps)[:3])
            for score, by in steps.items():
                ours = timing[f"{score}|segmetrics"]
                line = f"  {score:20} {1e3 * ours:8.1f} ms"
                if "MONAI" in by:
                    theirs = timing[f"{score}|MONAI"]
                    line += f"   MONAI {1e3 * theirs:8.1f} ms   {theirs / ours:5.1f} ×"
                elif score == "all three":
                    line += f"   {ours / slowest:.2f} of the slowest alone"
                print(line, flush=True)
                form = f"{score}, {kind}, {'×'.join(map(str, shape))}"
                seconds = {who: timing[f"{score}|{who}"] for who in by}
                yield {"form": form, "classes": CLASSES, "floor": floor, "seconds": seconds}


def torchmetrics_hausdorff(rounds: int) -> report.Row:
    """Print the time of torchmetrics, on masks small enough for it."""
    preds, target = scene("organs", (2, 64, 64))
    theirs = TorchmetricsHausdorff(
        CLASSES, include_background=True, input_format="index", spacing=[1.0, 1.0]
    )
    ours = HausdorffDistance(CLASSES)
    timed = interleaved(
        preds.sum,
        {
            "segmetrics": lambda: ours.update(preds, target),
            "torchmetrics": lambda: theirs.update(preds, target),
        },
        device="cpu",
        rounds=rounds,
    )
    timing = timed.contenders
    print(
        f"\nHausdorff distance at 2×64×64, {CLASSES} classes: "
        f"{1e3 * timing['segmetrics']:.1f} ms, torchmetrics {1e3 * timing['torchmetrics']:.0f} ms, "
        f"{timing['torchmetrics'] / timing['segmetrics']:.0f} ×"
    )
    form = "Hausdorff distance, organs, 2×64×64"
    return {"form": form, "classes": CLASSES, "floor": timed.floor, "seconds": timing}


def bands(rounds: int) -> report.Row:
    """Print times of boundary scores at the size of a street scene."""
    preds, target = (labels.byte() for labels in scene("regions", STREET, STREET_CLASSES))
    arrays = preds[0].numpy(), target[0].numpy()
    iou = BoundaryIoU(STREET_CLASSES, average="none")
    expected = bands_by_opencv(*arrays, STREET_CLASSES)
    np.testing.assert_allclose(iou(preds, target).nan_to_num().numpy(), expected, rtol=1e-5)
    f1 = BoundaryF1Score(STREET_CLASSES)
    cv2.setNumThreads(1)  # the classes are shared between threads
    timed = interleaved(
        preds.sum,
        {
            "BoundaryIoU": lambda: iou.update(preds, target),
            "OpenCV": lambda: bands_by_opencv(*arrays, STREET_CLASSES),
            "BoundaryF1Score": lambda: f1.update(preds, target),
        },
        device="cpu",
        rounds=rounds,
    )
    timing = timed.contenders
    print(
        f"\nBoundaryIoU at {'×'.join(map(str, STREET))}, {STREET_CLASSES} classes: "
        f"{1e3 * timing['BoundaryIoU']:.1f} ms, OpenCV {1e3 * timing['OpenCV']:.1f} ms, "
        f"{timing['OpenCV'] / timing['BoundaryIoU']:.1f} ×"
        f"\nBoundaryF1Score there: {1e3 * timing['BoundaryF1Score']:.1f} ms"
    )
    form = f"BoundaryIoU, regions, {'×'.join(map(str, STREET))}"
    seconds = {"segmetrics": timing["BoundaryIoU"], "OpenCV": timing["OpenCV"]}
    return {"form": form, "classes": STREET_CLASSES, "floor": timed.floor, "seconds": seconds}


METRICS: dict[str, Callable[[], object]] = {
    "BoundaryIoU": lambda: BoundaryIoU(STREET_CLASSES),
    "BoundaryF1Score": lambda: BoundaryF1Score(STREET_CLASSES),
    "SurfaceMetrics": lambda: SurfaceMetrics(STREET_CLASSES, tolerance=1),
    "SurfaceMetrics, elements": lambda: SurfaceMetrics(
        STREET_CLASSES, tolerance=1, surface="elements"
    ),
}


def peak(name: str) -> None:
    """Print the MB that one update with scores needs beyond them, in a process of its own."""
    metric = METRICS[name]()
    metric.update(*scored(scene("regions", (1, 64, 64), STREET_CLASSES)))  # loads and compiles
    preds, target = scored(scene("regions", STREET, STREET_CLASSES))
    print(peak_of(lambda: metric.update(preds, target), "cpu") / 2**20)


def scored(maps: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Scores that choose the predicted labels, and the target."""
    preds, target = maps
    scores = torch.zeros(len(preds), STREET_CLASSES, *preds.shape[1:])
    return scores.scatter_(1, preds.unsqueeze(1), 1.0), target


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=SCENES)
    parser.add_argument("--peak-of", choices=METRICS, help="measure only this metric's memory")
    parser.add_argument("--folder", metavar="FOLDER", help="see surface_folders.py")
    report.add_options(parser)
    options, others = parser.parse_known_args()
    warnings.simplefilter("ignore")
    if options.peak_of:
        peak(options.peak_of)
        return
    print(machine("cpu"), versions())
    if options.folder:
        sys.stdout.flush()
        command = [sys.executable, "-m", "benchmarks.surface_folders", "--folder", options.folder]
        command += ["--output", str(options.output)] if options.output else []
        command += ["--no-save"] if options.no_save else []
        raise SystemExit(subprocess.call([*command, *others], cwd=Path(__file__).parents[1]))
    if others:
        parser.error(f"unknown arguments: {' '.join(others)}")
    if "distances" in options.parts:
        for row in distances(options.scenes, options.rounds):
            report.save(options, "surfaces", [row])
        report.save(options, "surfaces", [torchmetrics_hausdorff(options.rounds)])
    if "bands" in options.parts:
        report.save(options, "surfaces", [bands(options.rounds)])
    if "memory" in options.parts:
        print(f"\nPeak memory of scores {'×'.join(map(str, (1, STREET_CLASSES, *STREET[1:])))}")
        for name in METRICS:
            command = [sys.executable, "-m", "benchmarks.surfaces", "--peak-of", name]
            root = Path(__file__).parents[1]
            found = subprocess.check_output(command, text=True, cwd=root).split()[-1]
            print(f"  {name}: {float(found):.0f} MB beyond the inputs", flush=True)


if __name__ == "__main__":
    main()
