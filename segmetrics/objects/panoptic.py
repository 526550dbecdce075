"""Panoptic quality: segments as objects, integer counts of matches, and scores of the counts.

Kirillov et al., "Panoptic Segmentation", CVPR 2019; rules of void and crowd as in panopticapi.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segmetrics._arrays import namespace, to_float64
from segmetrics.objects.table import IGNORED, Bools, Ints, ObjectPairs
from segmetrics.scores import ratio

Array = Any  #: a tensor or a NumPy array

#: What is summed of a class: segments matched, false and missed, and the IoU of those matched in
#: units of ``UNIT``.
TP, FP, FN, IOU = range(4)
UNIT = 2.0**-40
#: Panoptic, segmentation and recognition quality.
KINDS = ("PQ", "SQ", "RQ")


@dataclass(frozen=True)
class Categories:
    """What categories mean: things are the classes from 0 on, followed by stuff.

    Attributes:
        target: category in the target → class.
        preds: predicted category → class.
        things: number of classes that are things.
        classes: number of classes.
        allow_unknown: whether unknown predicted categories are void; otherwise they raise.
    """

    target: tuple[tuple[int, int], ...]
    preds: tuple[tuple[int, int], ...]
    things: int
    classes: int
    allow_unknown: bool

    def of_target(self, values: Ints) -> tuple[Ints, Ints]:
        """Classes and ids of (category, instance) or (category, instance, crowd).

        An unknown category is void. The class of a crowd is ``classes`` higher.
        """
        classes = _looked_up(values[:, 0], self.target)
        classes, ids = self._checked(classes, values, "target")
        if values.shape[1] > 2:
            crowd = (values[:, 2] != 0) & (classes >= 0)
            classes = classes + self.classes * crowd
        return classes, ids

    def of_preds(self, values: Ints) -> tuple[Ints, Ints]:
        """Classes and ids of (category, instance).

        Raises:
            ValueError: an unknown category.
        """
        classes = _looked_up(values[:, 0], self.preds)
        unknown = np.unique(values[classes == IGNORED, 0]).tolist()
        if unknown and not self.allow_unknown:
            listed = ", ".join(map(str, unknown[:10])) + " …" * (len(unknown) > 10)
            raise ValueError(
                f"`preds` holds the unknown category {listed}: neither a thing nor stuff. If it "
                "means void, pass `allow_unknown_preds_category=True`."
            )
        return self._checked(classes, values, "preds")

    def _checked(self, classes: Ints, values: Ints, name: str) -> tuple[Ints, Ints]:
        """The instances of stuff are one segment; a thing has an id."""
        thing = (classes >= 0) & (classes < self.things)
        if (without := thing & (values[:, 1] < 0)).any():
            category, instance = values[without][0, :2].tolist()
            raise ValueError(
                f"`{name}` holds a thing without an id: category {category} with instance "
                f"{instance}. Instances of things are numbered from 0 on; if the pixels are of no "
                "instance, give them a category that is neither a thing nor stuff."
            )
        return classes, np.where(thing, values[:, 1], 0)


class Outcome(NamedTuple):
    """The matches of the segments of an image.

    Attributes:
        classes: class of the segments matched ``(k,)``.
        iou: that of each match ``(k,)``.
        missed: whether each segment of the target is missed ``(n,)``.
        false: whether each predicted one is a false alarm ``(m,)``.
    """

    classes: Ints
    iou: NDArray[np.float64]
    missed: Bools
    false: Bools


def outcome_of(
    pairs: ObjectPairs,
    classes: int,
    *,
    modified_from: int | None = None,
    bands: ObjectPairs | None = None,
) -> Outcome:
    """Match the segments of an image; see ``matched_counts``."""
    target, preds = pairs.target, pairs.preds
    same = target.classes[pairs.pair_target] == preds.classes[pairs.pair_preds]
    of_target, of_preds = pairs.pair_target[same], pairs.pair_preds[same]
    shared, union = pairs.pair_pixels[same], _unions(pairs)[same]
    iou, matches = shared / union, 2 * shared > union
    if bands is not None:
        shared, union = _shared(bands, of_target, of_preds)
        iou = np.minimum(iou, shared / union)  # segments that share pixels have a band that counts
        matches &= 2 * shared > union
    class_of_pair = target.classes[of_target]
    if modified_from is not None:
        matches |= class_of_pair >= modified_from

    found, right = np.zeros(len(target.sizes), np.bool_), np.zeros(len(preds.sizes), np.bool_)
    found[of_target[matches]] = right[of_preds[matches]] = True
    lost = preds.ignored.copy()  # to void and to crowds of the class
    crowd = target.classes[pairs.pair_target] == preds.classes[pairs.pair_preds] + classes
    np.add.at(lost, pairs.pair_preds[crowd], pairs.pair_pixels[crowd])
    missed = ~found & (target.ignored <= target.sizes) & (target.classes < classes)
    false = ~right & (2 * lost <= preds.sizes + preds.ignored)
    return Outcome(class_of_pair[matches], iou[matches], missed, false)


def matched_counts(
    pairs: ObjectPairs,
    classes: int,
    *,
    modified_from: int | None = None,
    bands: ObjectPairs | None = None,
) -> Ints:
    """The counts ``(classes, 4)`` of an image, see ``TP``, ``FP``, ``FN``, ``IOU``.

    Segments match if their IoU is above 0.5. Void pixels are in no union; a segment mostly on void,
    or a predicted one on void and crowds of its class, is no error if it matches none.

    Args:
        pairs: the segments; a crowd's class is ``classes`` higher.
        classes: number of classes.
        modified_from: for classes from here on, stuff, the IoU is summed of all pairs that share
            pixels, over all segments of the target (Porzi et al., CVPR 2019).
        bands: the same segments, of which only the pixels near their contours count: then the IoU
            is the smaller of both (Cheng et al., CVPR 2021).
    """
    target, preds = pairs.target, pairs.preds
    outcome = outcome_of(pairs, classes, modified_from=modified_from, bands=bands)
    counts = np.zeros((classes, 4), np.int64)
    np.add.at(counts[:, TP], outcome.classes, 1)
    np.add.at(counts[:, FP], preds.classes[outcome.false], 1)
    np.add.at(counts[:, FN], target.classes[outcome.missed], 1)
    np.add.at(counts[:, IOU], outcome.classes, np.round(outcome.iou / UNIT).astype(np.int64))
    if modified_from is not None:
        of_stuff = (target.classes >= modified_from) & (target.classes < classes)
        segments = np.bincount(target.classes[of_stuff], minlength=classes)
        counts[modified_from:, TP] = segments[modified_from:]
        counts[modified_from:, [FP, FN]] = 0
    return counts


def panoptic_scores(
    counts: Array, names: Sequence[str], things: int, *, modified: bool = False
) -> dict[str, Any]:
    """The scores ``(...)`` of counts ``(..., C, 4)`` by key, see ``PanopticQuality``.

    Args:
        counts: a tensor or a NumPy array, as the scores are then.
        names: of the C categories; things first.
        things: how many of them are things.
        modified: whether the counts are those of ``modified_from``.
    """
    of_class = dict(zip(KINDS, quality(counts), strict=True))
    groups = {"": slice(None), "_things": slice(things), "_stuff": slice(things, None)}
    if modified:
        groups = {"": slice(None)}
    elif things in (0, len(names)):  # one of them has no category
        groups.pop("_stuff" if things else "_things")
    found = {
        f"{kind}{group}": _mean(of_class[kind][..., classes])
        for group, classes in groups.items()
        for kind in KINDS[: 1 if modified else None]
    }
    return found | {f"pq/{name}": of_class["PQ"][..., c] for c, name in enumerate(names)}


def quality(counts: Array) -> tuple[Array, Array, Array]:
    """Panoptic, segmentation and recognition quality of counts ``(..., 4)``; nan of no segment.

    Example:
        >>> import numpy as np
        >>> from segmetrics.objects.panoptic import UNIT, quality
        >>> pq, sq, rq = quality(np.array([3, 1, 1, 2.4 / UNIT]))
        >>> print(f"{pq:.2f} {sq:.2f} {rq:.2f}")
        0.60 0.80 0.75
    """
    tp, fp, fn, iou = (to_float64(counts[..., column]) for column in (TP, FP, FN, IOU))
    segments = tp + (fp + fn) / 2
    recognition = ratio(tp, segments)
    of_matched = iou * UNIT / (tp + (tp == 0)) + 0 * recognition
    return ratio(iou * UNIT, segments), of_matched, recognition


def _mean(values: Array) -> Array:
    """The mean over the last dimension of what is defined."""
    xp = namespace(values)
    return ratio(xp.nan_to_num(values).sum(-1), (~xp.isnan(values)).sum(-1))


def _unions(pairs: ObjectPairs) -> Ints:
    """The union of each pair that shares pixels."""
    both = pairs.target.sizes[pairs.pair_target] + pairs.preds.sizes[pairs.pair_preds]
    unions: Ints = both - pairs.pair_pixels
    return unions


def _shared(pairs: ObjectPairs, target: Ints, preds: Ints) -> tuple[Ints, Ints]:
    """Intersection and union of some pairs, whether they share pixels or not."""
    columns = max(1, len(pairs.preds.sizes))
    keys, wanted = pairs.pair_target * columns + pairs.pair_preds, target * columns + preds
    place = np.searchsorted(keys, wanted)
    there = np.append(keys, -1)[place] == wanted
    shared = np.where(there, np.append(pairs.pair_pixels, 0)[place], 0)
    return shared, pairs.target.sizes[target] + pairs.preds.sizes[preds] - shared


def _looked_up(values: Ints, table: Sequence[tuple[int, int]]) -> Ints:
    """The class of each category, ``IGNORED`` for unknown ones."""
    known, classes = np.array(sorted(table), np.int64).reshape(-1, 2).T
    place = np.searchsorted(known, values).clip(max=len(known) - 1)
    return np.where(known[place] == values, classes[place], IGNORED)
