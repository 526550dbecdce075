"""Time and memory of bootstrap intervals, compared with ``scipy.stats``.

``python -m benchmarks.resampling``
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import scipy.stats
import torch

from benchmarks.memory import peak_of
from segmetrics.statistics import ImageCounts, compare, confidence_interval

SCORES = ("mIoU_D", "mIoU_I", "mIoU_C", "mIoU_I_Q", "mIoU_C_10", "mIoU_C_Q")


def images(number: int, classes: int, present: float) -> ImageCounts:
    """Counts as in ADE20K: an image has few of many classes."""
    draw = torch.Generator().manual_seed(0)
    shape = (number, classes)
    there = torch.rand(shape, generator=draw) < present
    size = torch.randint(1, 40_000, shape, generator=draw) * there
    tp = (size * torch.rand(shape, generator=draw)).long()
    fp = (size * torch.rand(shape, generator=draw) * 0.3).long()
    return ImageCounts(tp, fp, size - tp, tuple(range(number)))


def with_scipy(counts: ImageCounts, n_resamples: int) -> None:
    """The interval of mIoU_D, every resample gathered from the counts."""
    parts = [part.numpy() for part in (counts.tp, counts.tp + counts.fp + counts.fn)]

    def mean_iou(index: np.ndarray) -> float:
        tp, union = (part[index].sum(0) for part in parts)
        return float(np.mean(tp / union))

    scipy.stats.bootstrap(
        (np.arange(len(counts)),),
        mean_iou,
        vectorized=False,
        n_resamples=n_resamples,
        method="percentile",
        rng=np.random.default_rng(0),
    )


def peak_above_counts(options: argparse.Namespace) -> None:
    """Print the MB that one interval needs beyond the counts, in a process of its own."""
    counts = images(options.images, options.classes, options.present)
    step = partial(confidence_interval, counts, options.peak_of, n_resamples=options.resamples)
    print(peak_of(step, "cpu") / 2**20)


def measure(options: argparse.Namespace) -> None:
    """Time every score, interleaved over the rounds, and print a table."""
    counts = images(options.images, options.classes, options.present)
    worse = ImageCounts(counts.tp, 2 * counts.fp, counts.fn, counts.ids)
    n = options.resamples
    steps = {score: partial(confidence_interval, counts, score, n_resamples=n) for score in SCORES}
    steps["mIoU_D, bca"] = partial(confidence_interval, counts, method="bca", n_resamples=n)
    steps["mIoU_D, compare"] = partial(compare, counts, worse, n_resamples=n)
    if options.scipy:
        steps["mIoU_D, scipy.stats.bootstrap"] = partial(with_scipy, counts, n)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, step in steps.items():
            start = perf_counter()
            step()
            times[name].append(perf_counter() - start)
    print(
        f"{options.images} images × {options.classes} classes ({100 * options.present:g} % "
        f"present) × {n} resamples, {torch.get_num_threads()} threads, median of {options.rounds}"
    )
    for name, seconds in times.items():
        print(f"{name}: {median(seconds):.2f} s", flush=True)
    for score in ("mIoU_D", "mIoU_C_Q"):
        arguments = [sys.executable, "-m", "benchmarks.resampling", *sys.argv[1:]]
        root = Path(__file__).parents[1]
        found = subprocess.check_output([*arguments, "--peak-of", score], text=True, cwd=root)
        print(f"{score}: {float(found.split()[-1]):.0f} MB beyond the counts")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--present", type=float, default=0.07)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scipy", action="store_true", help="time scipy too: minutes")
    parser.add_argument("--peak-of", metavar="SCORE", help="measure only this score's memory")
    options = parser.parse_args()
    peak_above_counts(options) if options.peak_of else measure(options)


if __name__ == "__main__":
    main()
