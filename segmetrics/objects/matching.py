"""Which objects are found and which are right, read off the table of pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segmetrics.objects.table import Bools, Ints, ObjectPairs

Matching = Literal["overlap", "iou"]


@dataclass(frozen=True, eq=False)
class Matched:
    """The objects of two maps, the pairs of one class, and the matches.

    Attributes:
        pairs: the table; only pairs of one class.
        found: whether each object of the target is found ``(n,)``.
        right: whether each predicted object is right ``(m,)``.
        counted: whether each object of the target counts; all but those too small to.
        iou: of each object of the target with the one that it is matched with, 0 without one
            ``(n,)``; of matching one to one only.
    """

    pairs: ObjectPairs
    found: Bools
    right: Bools
    counted: Bools
    iou: NDArray[np.float64]

    @property
    def touched(self) -> Bools:
        """Whether each predicted object is in a pair ``(m,)``."""
        return _sums(self.pairs.pair_preds, np.ones_like(self.pairs.pair_preds), self.right) > 0

    @property
    def shared(self) -> Ints:
        """Pixels of each object of the target that its predicted objects cover ``(n,)``."""
        return _sums(self.pairs.pair_target, self.pairs.pair_pixels, self.found)

    @property
    def touching(self) -> Ints:
        """Pixels of all predicted objects in a pair with each object of the target ``(n,)``."""
        sizes = self.pairs.preds.sizes[self.pairs.pair_preds]
        return _sums(self.pairs.pair_target, sizes, self.found)


def matched(
    pairs: ObjectPairs,
    matching: Matching = "overlap",
    threshold: float | None = None,
    counted: Bools | None = None,
) -> Matched:
    """Match the objects of one class.

    Args:
        pairs: the table.
        matching: ``"overlap"``: an object of the target is found if predicted objects of its class,
            all together, cover more than ``threshold`` of it, any pixel for ``None``; a predicted
            object is right if objects of the target cover as much of it. ``"iou"``: one to one, by
            descending IoU above ``threshold``, ties in the order of target, then prediction.
        threshold: in [0, 1); ``None`` is any pixel, or an IoU of 0.5.
        counted: the objects of the target that count; all by default.
    """
    pairs = of_one_class(pairs)
    if matching == "iou":
        iou, right = _one_to_one(pairs, 0.5 if threshold is None else threshold)
        found = iou > 0
    else:
        iou = np.zeros(len(pairs.target.sizes))
        found = _covered(pairs.pair_target, pairs.pair_pixels, pairs.target.sizes, threshold)
        right = _covered(pairs.pair_preds, pairs.pair_pixels, pairs.preds.sizes, threshold)
    counted = np.ones_like(found) if counted is None else counted
    return Matched(pairs, found, right, counted, iou)


def of_one_class(pairs: ObjectPairs) -> ObjectPairs:
    """The table without pairs of different classes."""
    same = pairs.target.classes[pairs.pair_target] == pairs.preds.classes[pairs.pair_preds]
    return replace(
        pairs,
        pair_target=pairs.pair_target[same],
        pair_preds=pairs.pair_preds[same],
        pair_pixels=pairs.pair_pixels[same],
    )


def iou_of_pairs(pairs: ObjectPairs) -> NDArray[np.float64]:
    """The IoU of every pair."""
    sizes = pairs.target.sizes[pairs.pair_target] + pairs.preds.sizes[pairs.pair_preds]
    return pairs.pair_pixels / (sizes - pairs.pair_pixels)


def _covered(objects: Ints, pixels: Ints, sizes: Ints, threshold: float | None) -> Bools:
    """The objects that are covered by more than a share of their pixels, or are in any pair."""
    if threshold is None:
        return _sums(objects, np.ones_like(pixels), sizes) > 0
    return _sums(objects, pixels, sizes) / sizes > threshold


def _one_to_one(pairs: ObjectPairs, threshold: float) -> tuple[NDArray[np.float64], Bools]:
    """The IoU of each object of the target with its match, and which predicted ones are right.

    The pair of the largest IoU is matched first; above a half no object has a second one.
    """
    iou = iou_of_pairs(pairs)
    order = np.argsort(-iou, kind="stable")
    order = order[iou[order] > threshold]
    found = np.zeros(len(pairs.target.sizes))
    right = np.zeros(len(pairs.preds.sizes), bool)
    ends = pairs.pair_target[order], pairs.pair_preds[order]
    for one, other, value in zip(*ends, iou[order], strict=True):
        if not (found[one] or right[other]):
            found[one], right[other] = value, True
    return found, right


def _sums(objects: Ints, values: Ints, like: NDArray[np.generic]) -> Ints:
    """The sum over each object's pairs, one for each element of ``like``."""
    total = np.zeros(len(like), np.int64)
    np.add.at(total, objects, values)
    return total
