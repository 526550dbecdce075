"""Coverage of sample sizes: pilots drawn from populations whose answer is known.

The true number follows from the spread of the score over many large samples of the population.
``python -m benchmarks.sample_size``
"""

from __future__ import annotations

import argparse

import torch

from benchmarks.interval_coverage import POPULATIONS, samples
from segmetrics.statistics import ImageCounts, sample_size, statistic

SCORES = ("mIoU_D", "mIoU_I", "mIoU_I_10", "iou/1")
LARGE = 2000  # images of the samples that give the true spread


def true_number(population: ImageCounts, score: str, width: float, repetitions: int) -> float:
    """The number of images at which a 95 % interval is ``width`` wide."""
    everything = torch.ones(1, LARGE, dtype=torch.float64)
    values = torch.cat(
        [statistic(score, sample)(everything) for sample in samples(population, LARGE, repetitions)]
    )
    return LARGE * (2 * 1.96 * values.std().item() / width) ** 2


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=600)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--width", type=float, default=0.02)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| population | score | images | true number | median found | interval holds it |")
    print("|---|---|---|---|---|---|")
    for kind in POPULATIONS:
        population = kind.images(100_000, seed=0)
        for score in SCORES:
            true = true_number(population, score, options.width, 2 * options.repetitions)
            for images in options.images:
                found = [
                    sample_size(pilot, score, options.width, seed=seed)
                    for seed, pilot in enumerate(samples(population, images, options.repetitions))
                ]
                held = sum(one.low <= true <= one.high for one in found) / len(found)
                middle = sorted(one.images for one in found)[len(found) // 2]
                print(
                    f"| {kind.name} | {score} | {images} | {true:.0f} | {middle} | "
                    f"{100 * held:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
