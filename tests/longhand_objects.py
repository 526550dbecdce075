"""Scores of objects written out with sets of pixels: the oracle of their tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as connected

Pixels = frozenset[tuple[int, ...]]
Labels = NDArray[Any]


@dataclass
class Sides:
    """The objects of one class, in scan order."""

    target: list[Pixels]
    preds: list[Pixels]
    pixels: int


def pixels_of(mask: Labels) -> Pixels:
    return frozenset(zip(*(axis.tolist() for axis in np.nonzero(mask)), strict=True))


def components(mask: Labels, full: bool) -> list[Pixels]:
    """In the order of their first pixels."""
    numbers = connected(mask, connectivity=mask.ndim if full else 1)
    found = [pixels_of(numbers == n) for n in range(1, numbers.max(initial=0) + 1)]
    return sorted(found, key=min)


def sides(
    preds: Labels,
    target: Labels,
    classes: Sequence[int],
    full: bool = True,
    min_size: int = 0,
    void: int = 255,
) -> list[Sides]:
    """Components of the full maps, without ignored pixels and small components."""
    ignored = pixels_of(target == void)
    of_target = [[o - ignored for o in components(target == c, full)] for c in classes]
    ignored |= {pixel for found in of_target for o in found if len(o) < min_size for pixel in o}
    of_preds = [[o - ignored for o in components(preds == c, full)] for c in classes]
    return [
        Sides(
            [o for o in t if o and len(o) >= min_size],
            [o for o in p if o and len(o) >= min_size],
            target.size - len(ignored),
        )
        for t, p in zip(of_target, of_preds, strict=True)
    ]


def iou(a: Pixels, b: Pixels) -> float:
    return len(a & b) / len(a | b)


def found_and_right(
    s: Sides, matching: str, threshold: float | None
) -> tuple[list[bool], list[bool]]:
    if matching == "overlap":

        def covered(one: Pixels, others: list[Pixels]) -> bool:
            share = len(one & frozenset().union(*others)) / len(one)
            return share > 0 if threshold is None else share > threshold

        return [covered(o, s.preds) for o in s.target], [covered(o, s.target) for o in s.preds]
    pairs = [
        (-iou(t, p), i, j)
        for i, t in enumerate(s.target)
        for j, p in enumerate(s.preds)
        if iou(t, p) > (0.5 if threshold is None else threshold)
    ]
    found, right = [False] * len(s.target), [False] * len(s.preds)
    for _, i, j in sorted(pairs):
        if not found[i] and not right[j]:
            found[i] = right[j] = True
    return found, right


def ratio(a: float, b: float) -> float:
    return a / b if b else nan


def scores(
    per_class: list[Sides], matching: str = "overlap", threshold: float | None = None
) -> dict[str, float]:
    """The scores of an image over some classes."""
    found, right, dices, ious, voi, rand = [], [], [], [], [], []
    missed = false = intersection = union = 0
    for s in per_class:
        found_here, right_here = found_and_right(s, matching, threshold)
        for one, is_found in zip(s.target, found_here, strict=True):
            touching = frozenset().union(*(p for p in s.preds if p & one))
            dices.append(2 * len(one & touching) / (len(one) + len(touching)) * is_found)
            ious.append(iou(one, touching) * is_found)
            missed += len(one) * (not is_found)
        for one, is_right in zip(s.preds, right_here, strict=True):
            if not any(one & t for t in s.target):
                dices.append(0.0)
                ious.append(0.0)
            false += len(one) * (not is_right)
        found += found_here
        right += right_here
        a, b = aggregated_jaccard(s)
        intersection, union = intersection + a, union + b
        if s.target or s.preds:
            voi.append(variation_of_information(s))
            rand.append(adapted_rand_error(s))
    precision, recall = ratio(sum(right), len(right)), ratio(sum(found), len(found))
    f1 = 0.0
    if not found and not right:
        f1 = nan
    elif sum(found) and sum(right):
        f1 = 2 * precision * recall / (precision + recall)
    defined = [value for value in rand if value == value]
    values = {
        "object_precision": precision,
        "object_recall": recall,
        "object_f1": f1,
        "object_dice": ratio(sum(dices), len(dices)),
        "object_iou": ratio(sum(ious), len(ious)),
        "missed_objects": len(found) - sum(found),
        "false_objects": len(right) - sum(right),
        "target_objects": len(found),
        "predicted_objects": len(right),
        "false_negative_volume": missed,
        "false_positive_volume": false,
        "aggregated_jaccard": ratio(intersection, union),
        "variation_of_information": ratio(sum(voi), len(voi)),
        "adapted_rand_error": ratio(sum(defined), len(defined)),
    }
    if not any(s.pixels for s in per_class):  # a wholly ignored image has no score
        return dict.fromkeys(values, nan)
    return values


def aggregated_jaccard(s: Sides) -> tuple[int, int]:
    """Algorithm 1 of Kumar et al., 2017."""
    intersection, union, used = 0, 0, set()
    for one in s.target:
        values = [iou(one, other) for other in s.preds]
        if not values or max(values) == 0:
            union += len(one)
            continue
        best = values.index(max(values))
        used.add(best)
        intersection += len(one & s.preds[best])
        union += len(one | s.preds[best])
    return intersection, union + sum(len(p) for j, p in enumerate(s.preds) if j not in used)


def _table(s: Sides) -> NDArray[np.int64]:
    """Pixels shared by target objects (rows) and predicted ones; the background comes last."""
    table = np.zeros((len(s.target) + 1, len(s.preds) + 1), np.int64)
    for i, t in enumerate(s.target):
        for j, p in enumerate(s.preds):
            table[i, j] = len(t & p)
        table[i, -1] = len(t) - table[i, :-1].sum()
    for j, p in enumerate(s.preds):
        table[-1, j] = len(p) - table[:-1, j].sum()
    table[-1, -1] = s.pixels - table.sum()
    return table


def _entropy(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def variation_of_information(s: Sides) -> float:
    table = _table(s)
    both = _entropy(table.ravel())
    return 2 * both - _entropy(table.sum(0)) - _entropy(table.sum(1))


def adapted_rand_error(s: Sides) -> float:
    table = _table(s)[:-1].astype(float)
    together = (table * (table - 1)).sum()
    sums = [side * (side - 1) for side in (table.sum(0), table.sum(1))]
    return 1 - ratio(2 * together, sums[0].sum() + sums[1].sum())
