"""Lesion-wise Dice and F1 compared with panoptica and MONAI.

``python -m benchmarks.lesions`` prints medians of interleaved runs, their ratios, and peak memory
beyond the inputs. All are given the same binary masks. panoptica (which pins NumPy: install it into
an environment of its own, and name its Python in PANOPTICA_PYTHON) matches by IoU above 0.5 and
gives the Dice of matched lesions; MONAI's ``DiceMetric(per_component=True)`` the Dice of each
lesion of the target with what is predicted nearer to it than to the others. Who is not installed is
left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.elsewhere import Elsewhere
from benchmarks.machine import machine, versions
from benchmarks.memory import peak_of
from benchmarks.timing import ROUNDS, interleaved
from segmetrics import ObjectMetrics

SIZES = ("128x128x128", "100x512x512")
LESIONS = (1, 30, 1000)
#: The variable of the environment that names the Python which has panoptica.
PANOPTICA = "PANOPTICA_PYTHON"
Step = Callable[[], object]
Masks = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def scene(size: tuple[int, ...], lesions: int) -> Masks:
    """Ellipsoids in the target; in the prediction moved, a tenth of them missing, a tenth more."""
    rng = np.random.default_rng(0)
    maps = np.zeros((2, *size), np.uint8)
    for _ in range(lesions):
        radii = rng.integers(2, 5 if lesions > 30 else 10, len(size))
        centre = rng.integers(radii + 2, np.array(size) - radii - 2)
        for side, shift in enumerate((0, rng.integers(-1, 2, len(size)))):
            if rng.random() < 0.9 or lesions == 1:
                _add(maps[side], centre + shift, radii)
    return maps[1], maps[0]


def _add(volume: NDArray[np.uint8], centre: NDArray[np.int64], radii: NDArray[np.int64]) -> None:
    box = tuple(slice(c - r, c + r + 1) for c, r in zip(centre, radii, strict=True))
    axes = (np.linspace(-1, 1, 2 * r + 1) ** 2 for r in radii.tolist())
    volume[box] |= sum(np.ix_(*axes)) <= 1  # type: ignore[arg-type]


def segmetrics(masks: Masks, **arguments: object) -> Step:
    """Dice and F1 of lesions."""
    preds, target = (torch.from_numpy(mask)[None] for mask in masks)
    metric = ObjectMetrics(task="binary", **arguments)  # type: ignore[arg-type]
    return lambda: metric.update(preds, target)


def panoptica(masks: Masks) -> Step:
    """Components, matching and Dice, in an environment of its own."""
    python = os.environ.get(PANOPTICA)
    if not python:
        raise ImportError(PANOPTICA)
    return Elsewhere(python, "panoptica", preds=masks[0], target=masks[1])


def monai(masks: Masks) -> Step:
    """Dice per component, of masks of two channels."""
    from monai.metrics import DiceMetric

    metric = DiceMetric(per_component=True, include_background=False)
    channels = [torch.from_numpy(np.stack([1 - mask, mask])[None]) for mask in masks]
    return lambda: metric(*channels)


CONTENDERS: dict[str, Callable[[Masks], Step]] = {
    "segmetrics": segmetrics,
    "segmetrics, by IoU": lambda masks: segmetrics(masks, matching="iou"),
    "segmetrics, HD95 too": lambda masks: segmetrics(masks, distances=True),
    "panoptica": panoptica,
    "MONAI": monai,
}


def made(masks: Masks, names: list[str]) -> dict[str, Step]:
    """The contenders that are installed and take these masks."""
    steps = {}
    for name in names:
        with suppress(ImportError):
            steps[name] = CONTENDERS[name](masks)
    return steps


def speed(size: str, lesions: int, names: list[str], rounds: int) -> report.Row:
    """Print the times of a scene."""
    masks = scene(_size(size), lesions)
    words = [mask.reshape(-1).view(np.int64) for mask in masks]
    steps = made(masks, names)
    timing = interleaved(lambda: [w.max() for w in words], steps, device="cpu", rounds=rounds)
    form = f"{size}, {lesions} lesion{'s' * (lesions > 1)}"
    print(f"\n{form}")
    ours = timing.contenders["segmetrics"]
    for name, seconds in timing.contenders.items():
        print(f"  {name:22} {1e3 * seconds:10.1f} ms {seconds / ours:8.1f} ×", flush=True)
    return {"form": form, "floor": timing.floor, "seconds": timing.contenders}


def memory(size: str, lesions: int, names: list[str]) -> None:
    """Print the peaks of a scene, each of a process of its own."""
    print(f"\nPeak memory beyond the masks, {size}, {lesions} lesions")
    for name in names:
        command = [sys.executable, "-m", "benchmarks.lesions", "--peak-of", name]
        command += ["--sizes", size, "--lesions", str(lesions)]
        root = Path(__file__).parents[1]
        found = subprocess.check_output(command, text=True, cwd=root).split()[-1]
        print(f"  {name:22} {found} MB", flush=True)


def peak(size: str, lesions: int, name: str) -> None:
    """Print the MB that a contender needs beyond the masks, or a dash where it is not there."""
    for step in made(scene((32, 32, 32), 3), [name]).values():
        step()  # loads and compiles
    (step,) = made(scene(_size(size), lesions), [name]).values() or [None]
    print("-" if step is None else round(peak_of(step, "cpu") / 2**20))


def _size(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x")))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--lesions", nargs="+", type=int, default=LESIONS)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--peak-of", choices=CONTENDERS, help="measure only this one's memory")
    report.add_options(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.peak_of:
        peak(options.sizes[0], options.lesions[0], options.peak_of)
        return
    print(machine("cpu"), versions())
    for size in options.sizes:
        for lesions in options.lesions:
            row = speed(size, lesions, options.only, options.rounds)
            report.save(options, "lesions", [row])
    if not options.no_memory:
        for size in options.sizes:
            memory(size, max(options.lesions), options.only)


if __name__ == "__main__":
    main()
