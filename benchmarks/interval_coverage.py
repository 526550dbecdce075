"""Coverage of confidence intervals: samples of populations whose scores are known.

A population is a large finite set of made-up images, so that each of its scores is known exactly.
Samples are drawn from it with replacement, and an interval is computed from each.
``python -m benchmarks.interval_coverage``
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from segmetrics.statistics import ImageCounts, compare, confidence_interval, statistic

SCORES = ("mIoU_D", "mIoU_I", "mIoU_C", "mIoU_I_10", "iou/1")
METHODS = ("percentile", "bca")


@dataclass(frozen=True)
class Population:
    """Images with few of the classes each, and qualities that belong to image and class."""

    name: str
    classes: int
    present: float
    spread: float

    def images(self, number: int, seed: int) -> ImageCounts:
        """Draw the population."""
        draw = torch.Generator().manual_seed(seed)
        shape = (number, self.classes)
        frequency = torch.linspace(1.5, 0.5, self.classes) * self.present
        there = torch.rand(shape, generator=draw) < frequency
        size = torch.randn(shape, generator=draw).mul(self.spread).add(7).exp() * there
        of_image = torch.randn(number, 1, generator=draw)
        of_class = torch.randn(shape, generator=draw)
        found = torch.sigmoid(1.2 + 0.8 * of_image + 0.6 * of_class)
        false = 0.3 * (1 - found) * torch.rand(shape, generator=draw)
        tp = (size * found).long()
        return ImageCounts(tp, (size * false).long(), size.long() - tp)


POPULATIONS = (
    Population("4 classes, objects of similar size", 4, 0.6, 0.4),
    Population("20 classes, three an image, sizes over two decades", 20, 0.15, 1.0),
)


def samples(population: ImageCounts, images: int, repetitions: int) -> Iterator[ImageCounts]:
    """Independent samples of a population."""
    draw = torch.Generator().manual_seed(1)
    for _ in range(repetitions):
        yield population.images(torch.randint(len(population), (images,), generator=draw))


def coverage(
    population: ImageCounts, score: str, method: str, images: int, repetitions: int
) -> float:
    """The share of 95 % intervals that cover the population's score."""
    everything = torch.ones(1, len(population), dtype=torch.float64)
    truth = statistic(score, population)(everything).item()
    held = 0
    for seed, sample in enumerate(samples(population, images, repetitions)):
        interval = confidence_interval(sample, score, method=method, seed=seed)  # type: ignore[arg-type]
        held += interval.low <= truth <= interval.high
    return held / repetitions


def rejections(population: ImageCounts, images: int, repetitions: int) -> tuple[float, float]:
    """How often two equal models are called different at 5 %: bootstrap and sign flips."""
    bootstrap = flips = 0
    for seed, sample in enumerate(samples(population, images, repetitions)):
        draw = torch.Generator().manual_seed(seed)
        found = compare(*(retouched(sample, draw) for _ in range(2)), seed=seed)
        bootstrap += found.p_bootstrap <= 0.05
        flips += found.p_sign_flip <= 0.05
    return bootstrap / repetitions, flips / repetitions


def retouched(sample: ImageCounts, draw: torch.Generator) -> ImageCounts:
    """A model that differs from the sample's own at random, no better and no worse."""
    support = sample.tp + sample.fn
    change = torch.randn(support.shape, generator=draw) * 0.05 * support
    tp: Tensor = (sample.tp + change.long()).clamp(min=0).minimum(support)
    return ImageCounts(tp, sample.fp, support - tp)


def main() -> None:
    """Print the shares as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=600)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 500])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| population | images | score | percentile | BCa |")
    print("|---|---|---|---|---|")
    for kind in POPULATIONS:
        population = kind.images(100_000, seed=0)
        for images in options.images:
            for score in SCORES:
                shares = [
                    f"{100 * coverage(population, score, method, images, options.repetitions):.1f}"
                    for method in METHODS
                ]
                print(f"| {kind.name} | {images} | {score} | {' | '.join(shares)} |", flush=True)
            found = rejections(population, images, options.repetitions)
            print(
                f"{kind.name}, {images} images: equal models told apart at 5 % in "
                f"{100 * found[0]:.1f} % (bootstrap), {100 * found[1]:.1f} % (sign flips)",
                flush=True,
            )


if __name__ == "__main__":
    main()
