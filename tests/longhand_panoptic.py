"""Panoptic quality written out longhand: the rules of panopticapi, of its boundary variant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage

VOID = 0


def panoptic_counts(
    target: np.ndarray,
    preds: np.ndarray,
    target_segments: Mapping[int, tuple[int, bool]],
    preds_segments: Mapping[int, int],
    *,
    reach: int | None = None,
) -> dict[int, list[float]]:
    """True, false and missed segments and the sum of IoU, by category.

    The algorithm of `pq_compute_single_core` in panopticapi/evaluation.py of
    github.com/cocodataset/panopticapi, mask by mask; with `reach` that of
    boundary_iou/coco_panoptic_api/evaluation.py of github.com/bowenc0221/boundary-iou-api.

    Args:
        target: ids of segments, 0 is void.
        preds: the same.
        target_segments: id → category, and whether it is a crowd.
        preds_segments: id → category.
        reach: half the width of the bands.
    """
    counts: dict[int, list[float]] = defaultdict(lambda: [0, 0, 0, 0.0])
    found, right = set(), set()
    for true_id, (category, crowd) in target_segments.items():
        truth = target == true_id
        for pred_id, predicted_category in preds_segments.items():
            guess = preds == pred_id
            if crowd or category != predicted_category or not (truth & guess).any():
                continue
            iou = _iou(truth, guess, target == VOID)
            if reach is not None:
                iou = np.nanmin(
                    [iou, _iou(_band(truth, reach), _band(guess, reach), target == VOID)]
                )
            if iou > 0.5:
                counts[category][0] += 1
                counts[category][3] += iou
                found.add(true_id)
                right.add(pred_id)
    for true_id, (category, crowd) in target_segments.items():
        if true_id not in found and not crowd:
            counts[category][2] += 1
    for pred_id, category in preds_segments.items():
        guess = preds == pred_id
        lost = target == VOID
        for true_id, (true_category, crowd) in target_segments.items():
            if crowd and true_category == category:
                lost = lost | (target == true_id)
        if pred_id not in right and not (guess & lost).sum() / guess.sum() > 0.5:
            counts[category][1] += 1
    return counts


def qualities(counts: Mapping[int, list[float]], categories: Mapping[int, bool]) -> dict[str, Any]:
    """PQ, SQ and RQ as means over categories, and PQ by category; nan without segments."""
    of_class = {}
    for category in categories:
        tp, fp, fn, iou = counts.get(category, (0, 0, 0, 0.0))
        segments = tp + fp / 2 + fn / 2
        if segments:
            of_class[category] = iou / segments, iou / tp if tp else 0.0, tp / segments
    found: dict[str, Any] = {}
    for group, wanted in (("", (True, False)), ("_things", (True,)), ("_stuff", (False,))):
        rows = [
            of_class[c] for c, isthing in categories.items() if isthing in wanted and c in of_class
        ]
        means = np.mean(rows, 0) if rows else [np.nan] * 3
        found |= {f"{kind}{group}": x for kind, x in zip(("PQ", "SQ", "RQ"), means, strict=True)}
    return found | {f"pq/{c}": of_class.get(c, (np.nan,))[0] for c in categories}


def _iou(truth: np.ndarray, guess: np.ndarray, void: np.ndarray) -> float:
    union = np.count_nonzero((truth | guess) & ~void)
    return np.count_nonzero(truth & guess) / union if union else np.nan


def _band(mask: np.ndarray, reach: int) -> np.ndarray:
    """The mask minus its erosions by a box; outside of the image nothing is set."""
    return mask & ~ndimage.binary_erosion(mask, np.ones((3,) * mask.ndim), iterations=reach)
