"""Error rates of rankings: models whose true scores are known, on samples of a population.

For ten models that are equally good: how often any pair is called different at 5 %. For ten models
of which some are better: how often all intervals, all intervals of pairs and all places hold the
truth. ``python -m benchmarks.ranking_errors``
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch

from benchmarks.interval_coverage import POPULATIONS, samples
from segmetrics.statistics import ImageCounts, Ranking, RankingMethod, ranking, statistic

#: The share of missed pixels that each model finds; the score of a sample's own model is 0.
EQUAL_MODELS = (0.0,) * 10
GRADED_MODELS = (0.0, 0.0, 0.0, 0.0, 0.02, 0.02, 0.05, 0.05, 0.1, 0.2)
FIRST_SEED = 1000  # the population and its samples are drawn with smaller ones
METHODS: tuple[RankingMethod, ...] = ("mean-then-rank", "rank-then-mean")


@dataclass(frozen=True)
class Rates:
    """The shares of samples in which a ranking was wrong or covered the truth."""

    any_false_difference: float
    intervals_hold: float
    pairs_hold: float
    places_hold: float


def model(images: ImageCounts, found: float, draw: torch.Generator) -> ImageCounts:
    """A model that finds a share of the missed pixels, and differs from others at random."""
    support = images.tp + images.fn
    noise = torch.randn(support.shape, generator=draw) * 0.05 * support
    tp = (images.tp + found * images.fn + noise).long().clamp(min=0).minimum(support)
    return ImageCounts(tp, images.fp, support - tp)


def models(images: ImageCounts, skills: tuple[float, ...], seed: int) -> dict[str, ImageCounts]:
    """The models by name, on the same images."""
    draw = torch.Generator().manual_seed(FIRST_SEED + seed)
    return {f"model {m}": model(images, skill, draw) for m, skill in enumerate(skills)}


def true_scores(population: ImageCounts, skills: tuple[float, ...], score: str) -> dict[str, float]:
    """The score of every model over the population; equal skills have one score."""
    everything = torch.ones(1, len(population), dtype=torch.float64)
    draw = torch.Generator().manual_seed(FIRST_SEED)
    by_skill = {
        skill: statistic(score, model(population, skill, draw))(everything).item()
        for skill in set(skills)
    }
    return {f"model {m}": by_skill[skill] for m, skill in enumerate(skills)}


def rates(
    population: ImageCounts,
    skills: tuple[float, ...],
    *,
    score: str,
    method: RankingMethod = "mean-then-rank",
    images: int,
    repetitions: int,
    n_resamples: int = 2000,
) -> Rates:
    """Rank the models on samples of the population, and compare with the truth."""
    truth = true_scores(population, skills, score)
    found = torch.zeros(4)
    for seed, drawn in enumerate(samples(population, images, repetitions)):
        result = ranking(
            models(drawn, skills, seed), score, method=method, n_resamples=n_resamples, seed=seed
        )
        found += torch.tensor(judged(result, truth))
    return Rates(*(found / repetitions).tolist())


def judged(result: Ranking, truth: dict[str, float]) -> tuple[bool, bool, bool, bool]:
    """Whether equal models are called different; whether intervals and ranks cover the truth."""
    false = any(pair.significant and truth[pair.a] == truth[pair.b] for pair in result.pairs)
    intervals = all(m.low <= truth[m.name] <= m.high for m in result.models)
    pairs = all(p.low <= truth[p.a] - truth[p.b] <= p.high for p in result.pairs)
    places = all(
        m.best <= 1 + sum(value > truth[m.name] for value in truth.values())
        and m.worst >= sum(value >= truth[m.name] for value in truth.values())
        for m in result.models
    )
    return false, intervals, pairs, places


def main() -> None:
    """Print the shares as tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=600)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--scores", nargs="+", default=["mIoU_D", "mIoU_I", "mIoU_I_10"])
    parser.add_argument("--resamples", type=int, default=2000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| population | images | score | an equal pair called different | intervals hold | "
        "pairs hold | places hold |"
    )
    print("|---|---|---|---|---|---|---|")
    for kind in POPULATIONS:
        population = kind.images(100_000, seed=0)
        for images in options.images:
            for score in options.scores:
                each = {
                    "score": score,
                    "images": images,
                    "repetitions": options.repetitions,
                    "n_resamples": options.resamples,
                }
                methods = METHODS if score in ("mIoU_D", "mIoU_I") else METHODS[:1]
                false = [
                    rates(population, EQUAL_MODELS, method=method, **each).any_false_difference
                    for method in methods
                ]
                graded = rates(population, GRADED_MODELS, **each)
                held = (graded.intervals_hold, graded.pairs_hold, graded.places_hold)
                print(
                    f"| {kind.name} | {images} | {score} | "
                    f"{' / '.join(f'{100 * share:.1f}' for share in false)} | "
                    f"{' | '.join(f'{100 * share:.1f}' for share in held)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
