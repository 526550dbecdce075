"""Scores of single images, what is resampled from them, and the worst of them for the report.

The only part of the command that always needs torch: it is imported where these are asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segmetrics import files, scores
from segmetrics.evaluate.extras import Row
from segmetrics.evaluate.settings import BINARY, Evaluation
from segmetrics.evaluate.warnings import Warnings
from segmetrics.files import MaskError
from segmetrics.report import Example
from segmetrics.statistics import (
    KEYS_OF_IMAGES,
    ImageCounts,
    Interval,
    all_scores,
    confidence_interval,
)

#: Images in the report.
EXAMPLES = 12


def scores_over(counts: ImageCounts) -> dict[str, float]:
    """All scores over images."""
    found = all_scores(counts, torch.ones(len(counts)))
    return {key: value.item() for key, value in found.items()}


def intervals(
    counts: ImageCounts, found: Collection[str], over_images: Iterable[str], level: float
) -> dict[str, Interval]:
    """The confidence intervals of scores that were found, by their keys.

    Of those over all pixels that can be resampled, and those ``over_images``.
    """
    keys = {**KEYS_OF_IMAGES, **{key: key for key in over_images}}
    return {
        name: confidence_interval(counts, key, level=level)
        for name, key in keys.items()
        if name in found
    }


def rows(result: Evaluation) -> list[Row]:
    """One row an image."""
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


def examples(result: Evaluation, folder: Path | None) -> Iterator[Example]:
    """The worst images, read again, with the images behind the masks where they are found."""
    counts, space = result.images, result.settings.space
    if result.settings.task == "binary":
        space = BINARY
    assert counts is not None
    values = counts.per_image("IoU")
    order = values.argsort(stable=True)[: int((~values.isnan()).sum())].tolist()
    names = [str(counts.labels[i]) for i in order[:EXAMPLES]]
    images = files.find_images(folder, names) if folder else {}
    for i, name in zip(order, names, strict=False):
        pair = result.scored[name]
        readings = result.settings.readings
        try:
            target_map = files.read_thinned(pair.target, readings.target)
            preds_map = files.read_thinned(pair.preds, readings.preds)
        except MaskError as error:  # changed since it was counted
            result.warnings.add(f"{error}. It is left out of the report's examples.")
            continue
        if target_map.values.ndim != 2:
            continue
        preds = files.aligned(preds_map, target_map, (pair.preds, pair.target))
        preds, target = map(result.settings.labels, (preds, target_map.values))
        yield Example(
            name=name,
            score=values[i].item(),
            target=space.to_classes(target),
            preds=space.to_classes(preds) if space.map_preds else preds.astype(np.int32),
            image=_image(images.get(name), target.shape, result.warnings),
        )


def _image(path: Path | None, size: tuple[int, ...], warnings: Warnings) -> Any:
    """An image, RGB, in the size of its mask; None where there is none that can be read."""
    from PIL import Image

    if path is None:
        return None
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize((size[1], size[0])))
    except Exception as error:  # decoders raise whatever a broken file makes them stumble on
        warnings.add(f"--images: {path} cannot be read and is left out of the report: {error}")
        return None
