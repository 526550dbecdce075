"""``segmetrics compare ... --panoptic``: models by their panoptic quality on the same images."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from segmetrics.evaluate.comparison import Comparison
from segmetrics.evaluate.models import SameImages
from segmetrics.evaluate.panoptic import count, plan
from segmetrics.evaluate.segments import Format, SegmentSettings
from segmetrics.evaluate.settings import NotScored
from segmetrics.evaluate.warnings import Warnings
from segmetrics.evaluate.workers import Progress, number_of_workers
from segmetrics.evaluate.writing import counted
from segmetrics.files import Pair, Problem
from segmetrics.statistics import PanopticCounts, ScoreDifferences


@dataclass(frozen=True, kw_only=True)
class PanopticModels(SameImages):
    """The segments of every image by model."""

    tables: Mapping[str, PanopticCounts]
    seconds: float
    workers: int


@dataclass(frozen=True, eq=False, kw_only=True)
class PanopticComparison(Comparison):
    """Several models by a score of panoptic quality.

    Args:
        models: what was counted.
    """

    models: PanopticModels

    @property
    def counts(self) -> Mapping[str, PanopticCounts]:
        """The segments of every image by model."""
        return self.models.tables

    @property
    def run(self) -> dict[str, float]:
        """How much was counted, and how."""
        models = self.models
        return {
            "images_scored": len(self.images),
            "seconds": models.seconds,
            "workers": models.workers,
        }

    def how_fast(self) -> str:
        """The amount of data, and the time it took."""
        models = self.models
        return (
            f"{counted(len(self.names), 'model')}, {counted(len(self.images), 'image')} counted in "
            f"{models.seconds:.1f} s ({counted(models.workers, 'worker')})"
        )

    @cached_property
    def scores(self) -> ScoreDifferences | None:
        """The scores of all models, less those of the best model."""
        return self.score_differences(self.counts)

    @property
    def printed_scores(self) -> Collection[str]:
        """All of them: means, then the PQ of every category."""
        return next(iter(self.counts.values())).keys()


def count_models(
    targets: Path,
    predictions: Mapping[str, Path],
    labels: str | None,
    score: str,
    *,
    boundary: bool,
    match: tuple[str, str] | None,
    workers: int | None,
    keep_going: bool,
    progress: Progress,
    check: Callable[[Sequence[Pair]], None],
    warnings: Warnings,
) -> PanopticModels:
    """Count the segments of several models; an image counts for all of them or for none.

    Args:
        targets: a JSON of COCO's format, or a folder of Cityscapes' masks.
        predictions: the same by model.
        labels: the label space of folders.
        score: what will be compared.
        boundary: whether segments match by their bands, too.
        match: how names correspond, as in ``evaluate``.
        workers: the number of workers.
        keep_going: leave out images that one model lacks, or that cannot be scored.
        progress: called as predictions are done.
        check: called with all pairs before any is counted; may raise.
        warnings: gets what looks wrong as it is found.

    Raises:
        NotScored: there are files that cannot be scored; with ``keep_going`` only if no image is
            left.
        ValueError: an unknown score, or invalid files.
    """
    planned = {name: plan(path, targets, labels, match) for name, path in predictions.items()}
    format_ = next(iter(planned.values()))[0]
    _check_score(score, format_)
    images = {name: {pair.name for pair in pairs} for name, (_, pairs, _) in planned.items()}
    shared, every = set.intersection(*images.values()), set.union(*images.values())
    problems: list[tuple[str, Problem]] = []

    def add(name: str, some: Sequence[Problem]) -> None:  # one of a target is reported once
        known = {problem for _, problem in problems}
        problems.extend((name, problem) for problem in some if problem not in known)

    for name, (_, _, without_pair) in planned.items():
        add(name, without_pair)
    if problems and not (keep_going and shared):
        raise NotScored([problem for _, problem in problems], rest=bool(shared))
    pairs_of = {
        name: [pair for pair in pairs if pair.name in shared]
        for name, (_, pairs, _) in planned.items()
    }
    check([pair for pairs in pairs_of.values() for pair in pairs])
    begin, counts = time.monotonic(), {}
    for i, (name, pairs) in enumerate(pairs_of.items()):

        def shift(done: int, all_: int, wrong: int, i: int = i) -> None:
            progress(i * len(shared) + done, len(planned) * len(shared), len(problems) + wrong)

        settings = SegmentSettings(planned[name][0], boundary)
        ledger = count(pairs, settings, workers, shift, warnings=warnings)
        counts[name] = ledger.counts
        add(name, ledger.problems)
    scored = sorted(set.intersection(*(set(of_model) for of_model in counts.values())))
    if problems and not (keep_going and scored):
        raise NotScored([problem for _, problem in problems], rest=bool(scored))
    tables = {
        name: PanopticCounts(
            torch.from_numpy(np.stack([of_model[image] for image in scored])),
            tuple(format_.names),
            format_.things,
            tuple(scored),
            (("boundary", boundary),),
        )
        for name, of_model in counts.items()
    }
    return PanopticModels(
        tables=tables,
        left_out=sorted(problems),
        dropped=sorted(every - {*scored}),
        seconds=time.monotonic() - begin,
        workers=number_of_workers(workers, len(format_.names), 1),
    )


def _check_score(score: str, format_: Format) -> None:
    none = torch.zeros(0, len(format_.names), 4, dtype=torch.int64)
    keys = PanopticCounts(none, tuple(format_.names), format_.things).keys()
    if score not in keys:
        means = ", ".join(key for key in keys if "/" not in key)
        raise ValueError(
            f"--score {score}: with --panoptic it is one of {means}, or pq/CATEGORY, as "
            f"{next(key for key in keys if '/' in key)}."
        )
