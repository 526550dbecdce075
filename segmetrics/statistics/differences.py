"""Scores of several models on the same images, less those of one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan
from typing import Any, NamedTuple

import torch
from torch import Tensor

from segmetrics.statistics.bootstrap import Bootstrap, quantiles
from segmetrics.statistics.intervals import sample
from segmetrics.statistics.pairing import Groups, canonical_order
from segmetrics.statistics.ranks import aligned
from segmetrics.statistics.resampled import PerImage
from segmetrics.statistics.tables import Tabular, layout
from segmetrics.statistics.weighting import Statistic, Sums

#: Columns whose quantiles are computed at once: torch takes up to 2²⁴ values.
COLUMNS = 256


@dataclass(frozen=True)
class ScoreOfModel:
    """A score of a model over all images, and its difference to the reference.

    ``low`` and ``high`` bound the difference of this score and model alone. ``higher_is_better`` is
    None for amounts, such as the number of objects.
    """

    score: str
    model: str
    value: float
    difference: float
    low: float
    high: float
    higher_is_better: bool | None = True


@dataclass(frozen=True)
class ScoreDifferences(Tabular):
    """Scores of all models; as a table one row a score and model."""

    reference: str
    level: float
    rows: tuple[ScoreOfModel, ...]
    images: int
    groups: int | None = None

    def columns(self) -> dict[str, list[Any]]:
        """One row a score and model."""
        names = ("score", "model", "value", "difference", "low", "high", "higher_is_better")
        return {name: [getattr(row, name) for row in self.rows] for name in names}

    def __str__(self) -> str:
        return (
            f"scores, less those of {self.reference} "
            f"({sample(self.level, self.images, self.groups)})\n"
            f"{layout_of('score', [row.score for row in self.rows], self.rows, self.reference)}\n"
            "intervals: for each score and model alone"
        )


def score_differences(
    models: Mapping[str, PerImage],
    reference: str,
    scores: Sequence[str] | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    groups: Groups | None = None,
    seed: int = 0,
) -> ScoreDifferences:
    """Compute several scores of several models, and compare each with that of a reference model.

    All models are scored on the same resamples. Intervals are percentile intervals of each
    difference alone: expect one in twenty to exclude 0 by chance. Resamples without one of the two
    scores are left out.

    Args:
        models: an ``ImageScores``, an ``ObjectImageScores``, their ``image_counts()`` or another
            table with one row an image (``Resampled``) by the name of the model, two or more, all
            of one kind and over the same images.
        reference: the name of the model that the others are compared with.
        scores: the scores, by default all ``keys()`` of the tables.
        level: the coverage of each interval.
        n_resamples: number of bootstrap resamples.
        groups: the patient or video sequence of each image, as in ``confidence_interval``.
        seed: the same seed gives the same intervals, whatever the order of images and models.

    Raises:
        ValueError: no model is called ``reference``, a score that there is not; and as ``ranking``.

    Source: Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), section 13.3.

    Example:
        >>> import torch
        >>> from segmetrics import ObjectImageScores
        >>> from segmetrics.statistics import score_differences
        >>> target = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> target[:, 1:3, 1:3] = target[:, 5:7, 5:7] = 1  # two lesions in each image
        >>> half, all_ = ObjectImageScores(task="binary"), ObjectImageScores(task="binary")
        >>> half.update(target * (torch.arange(8) < 4), target)
        >>> all_.update(target, target)
        >>> print(score_differences({"half": half, "all": all_}, "half", ["object_f1"]))
        scores, less those of half (95 %, 3 images)
        score       half                            all
        object_f1  0.667  1.000 +0.333 [+0.333, +0.333]
        intervals: for each score and model alone
    """
    found = aligned(models)
    check_reference(reference, found)
    first = found[reference]
    order = canonical_order(*(found[name] for name in sorted(found)))
    bootstrap = Bootstrap.of(first, order, groups, level, "percentile", n_resamples, seed)
    keys = first.keys() if scores is None else tuple(scores)
    statistics: dict[str, Statistic] = {}
    for name, table in found.items():
        ordered = table.images(order)
        statistics[name] = partial(_together, [ordered.statistic(key) for key in keys])
    compared = against(bootstrap, statistics, reference)
    rows = [
        ScoreOfModel(
            key, name, *numbers, first.higher_is_better(key) if first.is_quality(key) else None
        )
        for i, key in enumerate(keys)
        for name, numbers in ((name, compared[name].of(i)) for name in found)
    ]
    return ScoreDifferences(reference, level, tuple(rows), len(order), bootstrap.number_of_groups)


class Against(NamedTuple):
    """K scores of a model, less those of the reference, with bounds: each ``(K,)``."""

    value: Tensor
    difference: Tensor
    low: Tensor
    high: Tensor

    def of(self, score: int) -> tuple[float, float, float, float]:
        """The numbers of one score."""
        value, difference, low, high = (float(part[score]) for part in self)
        return value, difference, low, high


def against(
    bootstrap: Bootstrap, statistics: Mapping[str, Statistic], reference: str
) -> dict[str, Against]:
    """K scores of every model, which ``statistics`` give as ``(B, K)``, less the reference's."""
    everything = torch.ones(1, len(bootstrap.unit), dtype=torch.float64)
    values = {name: statistic(everything)[0] for name, statistic in statistics.items()}
    resampled: dict[str, list[Tensor]] = {name: [] for name in statistics}
    for block in bootstrap.resamples():
        those = {name: statistic(block) for name, statistic in statistics.items()}
        for name, of_model in those.items():
            resampled[name].append(of_model - those[reference])
    level = bootstrap.level
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    found = {}
    for name, drawn in resampled.items():
        parts = torch.cat(drawn).split(COLUMNS, 1)
        difference = values[name] - values[reference]
        bounds = torch.cat([quantiles(part, tails) for part in parts], 1)
        low, high = bounds.masked_fill(difference.isnan(), nan)
        found[name] = Against(values[name], difference, low, high)
    return found


def check_reference(reference: str, models: Mapping[str, object]) -> None:
    """Raise where no model has this name."""
    if reference not in models:
        raise ValueError(f"`reference` must be one of {', '.join(models)}, got {reference!r}.")


def layout_of(head: str, names: Sequence[str], rows: Sequence[Any], reference: str) -> str:
    """A table with a column a model: values, and the differences to the reference.

    Args:
        head: the head of the first column.
        names: the names of ``rows``.
        rows: with ``model``, ``value``, ``difference``, ``low`` and ``high``.
        reference: the model without differences.
    """
    models = list(dict.fromkeys(row.model for row in rows))
    cells = {
        model: [
            f"{row.value:.3f}"
            if model == reference
            else f"{row.value:.3f} {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
            for row in rows
            if row.model == model
        ]
        for model in models
    }
    return layout({head: list(dict.fromkeys(names)), **cells}, right=models)


def _together(statistics: Sequence[Statistic], weights: Tensor) -> Tensor:
    """Several scores of resamples ``(B, K)``; sums are one matrix product."""
    sums = [statistic for statistic in statistics if isinstance(statistic, Sums)]
    if len(sums) < len(statistics):
        return torch.stack([statistic(weights) for statistic in statistics], 1)
    parts = [one.parts for one in sums]
    every = (weights @ torch.cat(parts, 1)).split([part.shape[1] for part in parts], 1)
    return torch.stack([one.score(of_one) for one, of_one in zip(sums, every, strict=True)], 1)
