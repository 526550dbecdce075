"""Several models on the same images, class by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from segmetrics._arguments import one_of
from segmetrics.statistics.bootstrap import Bootstrap
from segmetrics.statistics.counts import FORMULAS, HasImageCounts, ImageCounts, pooled_parts
from segmetrics.statistics.differences import against, check_reference, layout_of
from segmetrics.statistics.intervals import sample
from segmetrics.statistics.pairing import Groups, canonical_order
from segmetrics.statistics.ranks import aligned
from segmetrics.statistics.tables import Tabular


@dataclass(frozen=True)
class ClassOfModel:
    """The score of a class by one model over all images, and the difference to the reference.

    ``pixels`` are those of the target. ``low`` and ``high`` bound the difference of this class
    alone.
    """

    name: str
    model: str
    pixels: int
    value: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassDifferences(Tabular):
    """Classes with the score of every model; as a table one row a class and model."""

    score: str
    reference: str
    level: float
    rows: tuple[ClassOfModel, ...]
    images: int
    groups: int | None = None

    def columns(self) -> dict[str, list[Any]]:
        """One row a class and model."""
        names = ("name", "model", "pixels", "value", "difference", "low", "high")
        columns = {name: [getattr(row, name) for row in self.rows] for name in names}
        return {"class": columns.pop("name"), **columns}

    def __str__(self) -> str:
        table = layout_of("class", [row.name for row in self.rows], self.rows, self.reference)
        return (
            f"{self.score} by class, less that of {self.reference} "
            f"({sample(self.level, self.images, self.groups)})\n{table}\n"
            "intervals: for each class and model alone"
        )


def class_differences(
    models: Mapping[str, HasImageCounts],
    reference: str,
    score: str = "IoU",
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    groups: Groups | None = None,
    seed: int = 0,
) -> ClassDifferences:
    """Score every class of several models, and compare each with a reference model.

    All models are scored on the same resamples. Intervals are percentile intervals of each
    difference alone: expect one in twenty to exclude 0 by chance.

    Args:
        models: an ``ImageScores`` or its ``image_counts()`` by the name of the model, two or more,
            over the same images.
        reference: the name of the model that the others are compared with.
        score: ``"IoU"``, ``"Dice"`` or ``"Acc"``.
        level: the coverage of each interval.
        n_resamples: number of bootstrap resamples.
        groups: the patient or video sequence of each image, as in ``confidence_interval``.
        seed: the same seed gives the same intervals, whatever the order of images and models.

    Raises:
        ValueError: no model is called ``reference``; and as ``ranking``.

    Source: Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), section 13.3.

    Example:
        >>> import torch
        >>> from segmetrics.statistics import ImageCounts
        >>> tp = torch.tensor([[90, 20], [80, 30], [70, 10]])
        >>> old = ImageCounts(tp, 0 * tp, 100 - tp, class_names=("road", "car"))
        >>> new = ImageCounts(tp + torch.tensor([0, 30]), 0 * tp, 100 - tp - torch.tensor([0, 30]),
        ...                   class_names=("road", "car"))
        >>> print(class_differences({"old": old, "new": new}, "old"))
        IoU by class, less that of old (95 %, 3 images)
        class    old                            new
        road   0.800  0.800 +0.000 [+0.000, +0.000]
        car    0.200  0.500 +0.300 [+0.300, +0.300]
        intervals: for each class and model alone
    """
    one_of("score", score, tuple(FORMULAS))
    found = aligned(models)
    check_reference(reference, found)
    counts = {name: table for name, table in found.items() if isinstance(table, ImageCounts)}
    if len(counts) < len(found):
        raise TypeError("`models` must hold the pixel counts of images (`ImageCounts`).")
    order = canonical_order(*(counts[name] for name in sorted(counts)))
    first = counts[reference]
    bootstrap = Bootstrap.of(first, order, groups, level, "percentile", n_resamples, seed)
    parts = {name: pooled_parts(score, table.images(order)) for name, table in counts.items()}
    compared = against(
        bootstrap,
        {name: partial(_scores, first, score, part) for name, part in parts.items()},
        reference,
    )
    pixels = first.targets().sum(0)
    rows = [
        ClassOfModel(
            first.names[c],
            name,
            int(pixels[c]),
            *compared[name].of(c),
        )
        for c in range(len(first.names))
        if c not in first.ignored
        for name in counts
    ]
    return ClassDifferences(
        score, reference, level, tuple(rows), len(order), bootstrap.number_of_groups
    )


def _scores(counts: ImageCounts, kind: str, parts: Tensor, weights: Tensor) -> Tensor:
    """Scores of classes ``(B, C)`` of parts ``(N, 2C)`` that are summed with weights ``(B, N)``."""
    tp, errors = (weights @ parts).chunk(2, -1)
    return counts.scores(kind, tp, torch.zeros_like(tp), errors)
