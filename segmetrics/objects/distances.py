"""HD95 and surface Dice of single objects: only the boxes around them are transformed."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics.objects.rules import Penalty, Rules
from segmetrics.objects.scores import FRACTION, WORDS, Image, Sums, fractions, words
from segmetrics.objects.table import Bools, Ints

#: The columns of sums, in this order.
COLUMNS = ("hd95_finite", "hd95_infinite", "hd95", "hd95_rest", "surface_dice")


def distances(image: Image, rules: Rules, spacing: Sequence[float]) -> dict[str, Ints]:
    """HD95 and surface Dice of each object found, with the predicted objects that touch it.

    One that is missed has the distance ``missed_distance``, a predicted one that touches none
    ``false_distance``; nan leaves it out. The surface Dice of both is 0.
    """
    m = image.matched
    diagonal = _diagonal(image, spacing)
    values = np.full(len(m.found), _distance(rules.missed_distance, diagonal))
    dice = np.zeros(len(m.found))
    for one in np.flatnonzero(m.found & m.counted):
        values[one], dice[one] = _measured(image, int(one), rules, spacing)
    false = np.where(m.touched, np.nan, _distance(rules.false_distance, diagonal))
    if not image.count_false:
        false[:] = np.nan
    columns = {}
    of_target, of_preds = _columns(values), _columns(false)
    for i, name in enumerate(COLUMNS[:4]):
        columns[name] = image.targets(of_target[i]) + image.preds(of_preds[i])
    return {**columns, COLUMNS[4]: image.targets(fractions(dice))}


def _columns(values: NDArray[np.float64]) -> list[NDArray[np.int64] | Bools]:
    """Distances as integers: whether finite, whether infinite, and the two words."""
    finite = np.isfinite(values)
    return [finite, np.isinf(values), *words(np.where(finite, values, 0))]


def _measured(
    image: Image, one: int, rules: Rules, spacing: Sequence[float]
) -> tuple[float, float]:
    """HD95 and surface Dice of an object of the target."""
    from segmetrics.surfaces import distances as measures
    from segmetrics.surfaces.host import distances_of_masks

    pairs = image.matched.pairs
    assert pairs.target_map is not None
    assert pairs.preds_map is not None
    others = pairs.pair_preds[pairs.pair_target == one]
    boxes = np.concatenate([pairs.target.boxes[[one]], pairs.preds.boxes[others]])
    first, last = boxes[..., 0].min(0), boxes[..., 1].max(0)
    dims = pairs.target_map.ndim
    box = tuple(slice(a, b + 1) for a, b in zip(first[3 - dims :], last[3 - dims :], strict=True))
    target = pairs.target_map[box] == one
    preds = np.isin(pairs.preds_map[box], others)
    found = distances_of_masks(preds, target, rules.surface, tuple(spacing))
    distance = measures.hausdorff(found, percentile=95.0) if rules.distances else 0.0
    if rules.tolerance is None:
        return float(distance), 0.0
    if rules.averaged_shares:
        found = distances_of_masks(preds, target, "pixels", tuple(spacing))
        shares = [way.within(rules.tolerance) / way.size for way in found]
        return float(distance), float(sum(shares) / 2)
    return float(distance), float(measures.surface_dice(found, tolerance=rules.tolerance))


def _diagonal(image: Image, spacing: Sequence[float]) -> float:
    """That of the image, in the units of the spacing."""
    target_map = image.matched.pairs.target_map
    assert target_map is not None
    return hypot(*(size * step for size, step in zip(target_map.shape, spacing, strict=True)))


def _distance(penalty: Penalty, diagonal: float) -> float:
    return diagonal if penalty == "diagonal" else penalty


def hd95(s: Sums) -> Any:
    """The mean HD95 of the objects that have one; infinite if one is."""
    total = s["hd95"] * WORDS[0] + s["hd95_rest"] * WORDS[1]
    infinite = s["hd95_infinite"] / (s["hd95_infinite"] == 0)  # 0, or a number / 0
    return total / (s["hd95_finite"] + s["hd95_infinite"]) + infinite


def surface_dice(s: Sums) -> Any:
    """The mean surface Dice, over the objects that the mean Dice is over."""
    return s["surface_dice"] * FRACTION / s["objects"]
