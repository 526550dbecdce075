"""Cityscapes' instance-weighted IoU (iIoU): pixels of larger objects have smaller weights.

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016, section
4.1. True positives and false negatives of an instance are weighted by the average size of its class
over its own size; false positives belong to no instance and are not weighted.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics._compile import kernel
from segmetrics.labels import CITYSCAPES

Array = NDArray[Any]
Int64Array = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Label ids of the classes that have instances, with their average size in pixels.
SIZES = {
    24: 3462.4756337644,  # person
    25: 3930.4788056518,  # rider
    26: 12794.0202738185,  # car
    27: 27855.1264367816,  # truck
    28: 35732.1511111111,  # bus
    31: 67583.7075812274,  # train
    32: 6298.7200839748,  # motorcycle
    33: 4672.3249222261,  # bicycle
}
#: Caravan and trailer have no class, but predicting one on a vehicle hits the category.
STRAYS = (29, 30)
CATEGORIES = {"human": (24, 25), "vehicle": (26, 27, 28, *STRAYS, 31, 32, 33)}
#: Instances are numbered ``1000 * label id + k``; smaller values are labels without instances.
FIRST = 1000

_CATEGORY_OF = np.zeros(256, np.uint8)
for _number, _ids in enumerate(CATEGORIES.values(), start=1):
    _CATEGORY_OF[list(_ids)] = _number
_OTHERS = [i for i in CITYSCAPES.id_to_class or () if i not in CATEGORIES["vehicle"]]


def count(preds: Array, target: Array, instances: Array) -> tuple[Floats, int]:
    """Weighted hits and misses of one image.

    Args:
        preds: predicted label ids.
        target: label ids.
        instances: instance ids, below 2**16.

    Returns:
        Of each class of ``SIZES``, then each category, hits and misses; and how many pixels of
        classes other than vehicles are predicted as one of ``STRAYS``.

    Raises:
        ValueError: an instance of no known label.
    """
    sizes, hits, hits_of_category = np.zeros((3, 2**16), np.int64)
    ids = preds.astype(np.uint8) if preds.dtype != np.uint8 else preds
    tally(ids.ravel(), instances.ravel(), _CATEGORY_OF, sizes, hits, hits_of_category)
    weighted = np.zeros((len(SIZES) + len(CATEGORIES), 2))
    rows = {label: row for row, label in enumerate(SIZES)}
    for instance in np.flatnonzero(sizes).tolist():
        label = instance // FIRST
        if label >= 34:
            raise ValueError(
                f"instance {instance} has the label {label}, which Cityscapes does not have"
            )
        if label not in rows:
            continue
        size, category = sizes[instance], len(SIZES) + _CATEGORY_OF[label] - 1
        weight = SIZES[label] / size
        for row, hit in ((rows[label], hits[instance]), (category, hits_of_category[instance])):
            weighted[row] += hit * weight, (size - hit) * weight
    strays = target[(preds == STRAYS[0]) | (preds == STRAYS[1])]
    return weighted, int(np.isin(strays, _OTHERS).sum())


def iious(
    images: Sequence[Floats], confusion: Int64Array, strays: int
) -> tuple[dict[str, float], dict[str, float]]:
    """The iIoU of classes and categories, by name.

    Weights are summed as if with infinite precision, so that the order of images does not matter.

    Args:
        images: what ``count`` gave of each.
        confusion: counts ``(19, 20)`` of Cityscapes' classes.
        strays: sum of what ``count`` gave.
    """
    names, class_of = CITYSCAPES.names, CITYSCAPES.id_to_class or {}
    sums = [[fsum(of_images) for of_images in row] for row in np.stack(images, -1).tolist()]

    def score(row: int, false: int) -> float:
        hits, misses = sums[row]
        total = hits + misses + false
        return hits / total if total else nan

    def false_alarms(members: Sequence[int]) -> int:
        others = [c for c in range(len(names)) if c not in members]
        return int(confusion[np.ix_(others, members)].sum())

    classes = {
        names[class_of[label]]: score(row, false_alarms([class_of[label]]))
        for row, label in enumerate(SIZES)
    }
    categories = {}
    for row, (name, ids) in enumerate(CATEGORIES.items(), start=len(SIZES)):
        members = [class_of[i] for i in ids if i in class_of]
        false = false_alarms(members) + (strays if name == "vehicle" else 0)
        categories[name] = score(row, false)
    return classes, categories


@kernel
def tally(
    preds: Array,
    instances: Array,
    category_of: Array,
    sizes: Int64Array,
    hits: Int64Array,
    hits_of_category: Int64Array,
) -> None:
    """Count every instance's pixels, and those whose label or category is predicted."""
    for i in range(len(instances)):
        instance = np.int64(instances[i])
        if instance > FIRST:
            label = instance // FIRST
            sizes[instance] += 1
            hits[instance] += preds[i] == label
            hits_of_category[instance] += category_of[preds[i]] == category_of[label]
