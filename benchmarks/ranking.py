"""Time and memory of rankings of many models on the same images.

``python -m benchmarks.ranking``
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from benchmarks.memory import peak_of
from benchmarks.resampling import images
from segmetrics.statistics import ImageCounts, ranking

SCORES = ("mIoU_D", "mIoU_I", "mIoU_C", "mIoU_I_10", "mIoU_I_Q")


def models(number: int, base: ImageCounts) -> dict[str, ImageCounts]:
    """Models that differ a little, on the same images."""
    draw = torch.Generator().manual_seed(1)
    support = base.tp + base.fn
    found = {}
    for m in range(number):
        change = torch.randn(support.shape, generator=draw) * 0.05 * support
        tp = (base.tp + change.long()).clamp(min=0).minimum(support)
        found[f"model {m}"] = ImageCounts(tp, base.fp, support - tp, base.ids)
    return found


def peak_above_counts(options: argparse.Namespace) -> None:
    """Print the MB that one ranking needs beyond the counts, in a process of its own."""
    counts = models(options.models, images(options.images, options.classes, options.present))
    step = partial(ranking, counts, options.peak_of, n_resamples=options.resamples)
    print(peak_of(step, "cpu") / 2**20)


def measure(options: argparse.Namespace) -> None:
    """Time every score, interleaved over the rounds, and print a table."""
    counts = models(options.models, images(options.images, options.classes, options.present))
    steps = {
        score: partial(ranking, counts, score, n_resamples=options.resamples)
        for score in options.scores
    }
    if "mIoU_I" in steps:
        steps["mIoU_I, rank-then-mean"] = partial(steps["mIoU_I"], method="rank-then-mean")
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, step in steps.items():
            start = perf_counter()
            step()
            times[name].append(perf_counter() - start)
    print(
        f"{options.models} models × {options.images} images × {options.classes} classes "
        f"({100 * options.present:g} % present) × {options.resamples} resamples, "
        f"{torch.get_num_threads()} threads, median of {options.rounds}"
    )
    for name, seconds in times.items():
        print(f"{name}: {median(seconds):.1f} s", flush=True)
    for score in options.scores:
        arguments = [sys.executable, "-m", "benchmarks.ranking", *sys.argv[1:]]
        root = Path(__file__).parents[1]
        found = subprocess.check_output([*arguments, "--peak-of", score], text=True, cwd=root)
        print(f"{score}: {float(found.split()[-1]):.0f} MB beyond the counts", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--present", type=float, default=0.07)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scores", nargs="+", default=SCORES)
    parser.add_argument("--peak-of", metavar="SCORE", help="measure only this score's memory")
    options = parser.parse_args()
    peak_above_counts(options) if options.peak_of else measure(options)


if __name__ == "__main__":
    main()
