"""Scores of single images, and their intervals.

The only part of the command that always needs torch, so it is imported on first use.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch

from segmetrics import scores
from segmetrics.evaluate.extras import Row
from segmetrics.evaluate.metadata import GroupOf
from segmetrics.evaluate.settings import Evaluation
from segmetrics.statistics import (
    KEYS_OF_IMAGES,
    ImageCounts,
    Interval,
    all_scores,
    confidence_intervals,
)


def scores_over(counts: ImageCounts) -> dict[str, float]:
    """All scores over images."""
    found = all_scores(counts, torch.ones(len(counts)))
    return {key: value.item() for key, value in found.items()}


def intervals(
    counts: ImageCounts,
    found: Collection[str],
    over_images: Iterable[str],
    level: float,
    groups: GroupOf | None = None,
) -> dict[str, Interval]:
    """The confidence intervals by key: of scores over all pixels, and of those ``over_images``.

    Those that were not found, or that cannot be resampled, have none.
    """
    keys = {**KEYS_OF_IMAGES, **{key: key for key in over_images}}
    known = {name: key for name, key in keys.items() if name in found}
    of_keys = confidence_intervals(counts, [*known.values()], level=level, groups=groups)
    return {name: of_keys[key] for name, key in known.items()}


def rows(result: Evaluation) -> list[Row]:
    """One row per image."""
    counts = result.images
    assert counts is not None
    pixels = (counts.tp + counts.fn).sum(1)
    columns: dict[str, list[Any]] = {
        "name": list(counts.ids or ()),
        "pixels": pixels.tolist(),
        "mIoU": counts.per_image("IoU").tolist(),
        "mDice": counts.per_image("Dice").tolist(),
    }
    if result.settings.task != "multilabel":
        columns["accuracy"] = scores.ratio(counts.tp.sum(1), pixels).tolist()
    per_class = counts.per_class("IoU").t().tolist()
    for c, (name, values) in enumerate(zip(counts.names, per_class, strict=True)):
        if c not in counts.ignored:
            columns[f"iou/{name}"] = values
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
