"""Scores of objects: sums over the objects of an image, and functions of the sums.

``SUMMED`` turns the matched objects of an image into integers per class, which add up over images,
batches and processes. ``SCORES`` reads scores off the sums of an image, a data set or a resample.
A new score is a function that reads sums, and one that sums where they are not there yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmetrics.objects.matching import Matched, iou_of_pairs
from segmetrics.objects.table import Bools, Ints

#: Integers per class ``(C,)`` by name.
Sums = Mapping[str, Any]
#: Units of fractions, and of the two words of a physical quantity: the second holds the rest.
FRACTION, WORDS = 2.0**-40, (2.0**-20, 2.0**-60)


@dataclass(frozen=True, eq=False)
class Image:
    """The objects of an image, matched, and what it takes to sum over them.

    Attributes:
        matched: the objects.
        classes: number of classes.
        pixel: area or volume of a pixel, in the unit of volumes.
        strata: names of sizes, each with the smallest number of pixels it holds, rising from 0.
        thresholds: of the IoU, where objects are matched by several.
        count_false: whether false objects enter the means over objects.
    """

    matched: Matched
    classes: int
    pixel: float
    strata: Mapping[str, float]
    thresholds: Sequence[float] = ()
    count_false: bool = True

    def targets(self, values: Any = 1) -> Ints:
        """The sum of integers over the objects of the target that count ``(classes,)``."""
        m = self.matched
        counted = values if self._all_count else np.where(m.counted, values, 0)
        return self._by_class(m.pairs.target.classes, counted)

    def preds(self, values: Any = 1) -> Ints:
        """The sum of integers over the predicted objects ``(classes,)``."""
        return self._by_class(self.matched.pairs.preds.classes, values)

    def _by_class(self, classes: Ints, values: Any) -> Ints:
        total = np.zeros(self.classes, np.int64)
        np.add.at(total, classes, values)
        return total

    @cached_property
    def _all_count(self) -> bool:
        return bool(self.matched.counted.all())

    @cached_property
    def of_classes(self) -> Sequence[tuple[int, Matched]]:
        """The classes that have an object, each with its objects."""
        m, found = self.matched, []
        pairs = replace(m.pairs, target_map=None, preds_map=None)
        there = np.zeros(self.classes, np.bool_)
        there[pairs.target.classes] = there[pairs.preds.classes] = True
        for label in np.flatnonzero(there).tolist():
            target, preds = pairs.target.classes == label, pairs.preds.classes == label
            of_class = pairs.keep(target, preds), m.found[target], m.right[preds]
            found.append((label, Matched(*of_class, m.counted[target], m.iou[target])))
        return found


# --- What is summed -------------------------------------------------------------------------------


def counts(image: Image) -> dict[str, Ints]:
    """Objects: all, those found and right, those that means are over; and the pixels that count."""
    m = image.matched
    alone = image.preds(~m.touched) * image.count_false
    return {
        "target": image.targets(),
        "found": image.targets(m.found),
        "preds": image.preds(),
        "right": image.preds(m.right),
        "objects": image.targets() + alone,
        "pixels": np.full(image.classes, m.pairs.pixels, np.int64),
    }


def overlaps(image: Image) -> dict[str, Ints]:
    """Dice and IoU of each object found with the union of the predicted objects that touch it."""
    m = image.matched
    both = m.pairs.target.sizes + m.touching
    dice = 2 * m.shared / both
    iou = m.shared / (both - m.shared)
    return {
        "dice": image.targets(fractions(dice * m.found)),
        "iou": image.targets(fractions(iou * m.found)),
    }


def volumes(image: Image) -> dict[str, Ints]:
    """Areas or volumes of the objects missed and of the false ones."""
    m = image.matched
    missed = image.targets(m.pairs.target.sizes * ~m.found)
    false = image.preds(m.pairs.preds.sizes * ~m.right)
    return {
        **dict(zip(("missed", "missed_rest"), words(missed * image.pixel), strict=True)),
        **dict(zip(("false", "false_rest"), words(false * image.pixel), strict=True)),
    }


def strata(image: Image) -> dict[str, Ints]:
    """Objects of the target of each size, and those found."""
    m = image.matched
    smallest = list(image.strata.values())
    stratum = np.searchsorted(smallest, m.pairs.target.sizes, side="right") - 1
    columns = {}
    for i, name in enumerate(image.strata):
        columns[f"target/{name}"] = image.targets(stratum == i)
        columns[f"found/{name}"] = image.targets(m.found & (stratum == i))
    return columns


def matches(image: Image) -> dict[str, Ints]:
    """Objects matched above each threshold of several: those that are matched first."""
    iou = image.matched.iou
    return {f"matched/{t:g}": image.targets(iou > t) for t in image.thresholds}


def aggregated(image: Image) -> dict[str, Ints]:
    """Intersections and unions of each object of the target with the one of the largest IoU.

    Predicted objects that are nobody's are added to the unions. Kumar et al., 2017, Algorithm 1.
    """
    pairs = image.matched.pairs
    best = np.lexsort((-iou_of_pairs(pairs), pairs.pair_target))
    of_target = pairs.pair_target[best]
    best = best[
        np.append(True, of_target[1:] != of_target[:-1])[: len(best)]
    ]  # each object's first
    best = best[pairs.pair_pixels[best] > 0]
    target, preds, shared = (
        values[best] for values in (pairs.pair_target, pairs.pair_preds, pairs.pair_pixels)
    )
    joined = pairs.target.sizes.copy()
    joined[target] += pairs.preds.sizes[preds] - shared
    intersection = np.zeros_like(joined)
    intersection[target] = shared
    unused = np.ones(len(pairs.preds.sizes), np.bool_)
    unused[preds] = False
    return {
        "intersection": image.targets(intersection),
        "union": image.targets(joined) + image.preds(pairs.preds.sizes * unused),
    }


def information(image: Image) -> dict[str, Ints]:
    """Variation of information of each class of the image, in bits; all else is one object."""
    columns = {name: np.zeros(image.classes, np.int64) for name in ("images", "information")}
    for label, m in image.of_classes:
        total = m.pairs.pixels
        target, preds = (np.append(s.sizes, total - s.sizes.sum()) for s in sides(m))
        shared = joint(m)
        value = 2 * entropy(shared, total) - entropy(target, total) - entropy(preds, total)
        columns["images"][label] = 1
        columns["information"][label] = fractions(max(value, 0.0))
    return columns


def adapted_rand(image: Image) -> dict[str, Ints]:
    """Adapted Rand error of each class of the image, over the pixels of target objects."""
    columns = {name: np.zeros(image.classes, np.int64) for name in ("rand_images", "rand")}
    for label, m in image.of_classes:
        rest_of_target, _, _ = rests(m)
        shared = np.concatenate([m.pairs.pair_pixels, rest_of_target])
        preds = np.zeros(len(m.pairs.preds.sizes) + 1, np.int64)
        np.add.at(preds, m.pairs.pair_preds, m.pairs.pair_pixels)
        preds[-1] = rest_of_target.sum()
        together, of_target, of_preds = map(same_pairs, (shared, m.pairs.target.sizes, preds))
        if of_target + of_preds:
            columns["rand_images"][label] = 1
            columns["rand"][label] = fractions(1 - 2 * together / (of_target + of_preds))
    return columns


SUMMED: tuple[Callable[[Image], dict[str, Ints]], ...] = (
    counts,
    overlaps,
    volumes,
    strata,
    matches,
    aggregated,
    information,
    adapted_rand,
)

# --- What is read off the sums --------------------------------------------------------------------


def recall(s: Sums) -> Any:
    """The share of the target's objects that are found."""
    return s["found"] / s["target"]


def precision(s: Sums) -> Any:
    """The share of the predicted objects that are right."""
    return s["right"] / s["preds"]


def f1(s: Sums) -> Any:
    """``2PR / (P + R)``; 0 where one of the two is undefined and an object is missed or false."""
    recalled, precise = s["found"] * s["preds"], s["right"] * s["target"]
    wrong = s["target"] + s["preds"] - s["right"]  # where nothing is found
    nothing = (recalled + precise == 0) * wrong
    return 2 * s["found"] * s["right"] / (recalled + precise + nothing)


def dice(s: Sums) -> Any:
    """The mean Dice of the target's objects; each predicted one that touches none is one more 0."""
    return s["dice"] * FRACTION / s["objects"]


def iou(s: Sums) -> Any:
    """The mean IoU, over the same objects."""
    return s["iou"] * FRACTION / s["objects"]


def aggregated_jaccard(s: Sums) -> Any:
    """Aggregated Jaccard index; Kumar et al., TMI 2017."""
    return s["intersection"] / s["union"]


def variation_of_information(s: Sums) -> Any:
    """Mean over images, in bits; Meila, 2003."""
    return s["information"] * FRACTION / s["images"]


def adapted_rand_error(s: Sums) -> Any:
    """Mean over images, in [0, 1]; Arganda-Carreras et al., 2015."""
    return s["rand"] * FRACTION / s["rand_images"]


def at_thresholds(thresholds: Sequence[float]) -> dict[str, Callable[[Sums], Any]]:
    """F1 and accuracy, TP / (TP + FP + FN), of objects matched above each IoU, and their means."""

    def at(t: float, s: Sums) -> tuple[Any, Any]:
        tp, both = s[f"matched/{t:g}"], s["target"] + s["preds"]
        return 2 * tp / both, tp / (both - tp)

    def score(i: int, some: Sequence[float]) -> Callable[[Sums], Any]:
        return lambda s: sum(at(t, s)[i] for t in some) / len(some)

    found: dict[str, Callable[[Sums], Any]] = {}
    for i, name in enumerate(("object_f1_iou", "object_accuracy_iou") if thresholds else ()):
        found[name] = score(i, thresholds)
        found |= {f"{name}/{t:g}": score(i, [t]) for t in thresholds}
    return found


#: The scores by key.
SCORES: dict[str, Callable[[Sums], Any]] = {
    "object_precision": precision,
    "object_recall": recall,
    "object_f1": f1,
    "object_dice": dice,
    "object_iou": iou,
    "missed_objects": lambda s: s["target"] - s["found"],
    "false_objects": lambda s: s["preds"] - s["right"],
    "target_objects": lambda s: s["target"],
    "predicted_objects": lambda s: s["preds"],
    "false_negative_volume": lambda s: s["missed"] * WORDS[0] + s["missed_rest"] * WORDS[1],
    "false_positive_volume": lambda s: s["false"] * WORDS[0] + s["false_rest"] * WORDS[1],
    "aggregated_jaccard": aggregated_jaccard,
    "variation_of_information": variation_of_information,
    "adapted_rand_error": adapted_rand_error,
}
#: Scores whose smaller values are better.
ERRORS = (
    "object_hd95",
    "missed_objects",
    "false_objects",
    "false_negative_volume",
    "false_positive_volume",
    "variation_of_information",
    "adapted_rand_error",
)
#: Scores that say nothing of quality.
AMOUNTS = ("target_objects", "predicted_objects")

# --- Helpers --------------------------------------------------------------------------------------


def fractions(values: Any) -> Any:
    """Numbers as multiples of ``FRACTION``."""
    return np.rint(np.asarray(values) / FRACTION).astype(np.int64)


def words(values: NDArray[Any]) -> tuple[Ints, Ints]:
    """Physical quantities as multiples of ``WORDS``."""
    whole = np.floor(values / WORDS[0])
    rest = np.rint((values - whole * WORDS[0]) / WORDS[1])
    return whole.astype(np.int64), rest.astype(np.int64)


def sides(m: Matched) -> tuple[Any, Any]:
    """The objects of the target and the predicted ones."""
    return m.pairs.target, m.pairs.preds


def rests(m: Matched) -> tuple[Ints, Ints, int]:
    """Pixels of each object, target and predicted, in no pair; and pixels without an object."""
    pairs = m.pairs
    target, preds = pairs.target.sizes.copy(), pairs.preds.sizes.copy()
    np.subtract.at(target, pairs.pair_target, pairs.pair_pixels)
    np.subtract.at(preds, pairs.pair_preds, pairs.pair_pixels)
    outside = pairs.pixels - pairs.pair_pixels.sum() - target.sum() - preds.sum()
    return target, preds, int(outside)


def joint(m: Matched) -> Ints:
    """Pixels of every pair, the rest of both maps being one more object of each."""
    target, preds, outside = rests(m)
    return np.concatenate([m.pairs.pair_pixels, target, preds, [outside]])


def entropy(sizes: Ints, total: int) -> float:
    """The entropy of a pixel's object, in bits."""
    shares = sizes[sizes > 0] / total
    return float(-(shares * np.log2(shares)).sum())


def same_pairs(sizes: Ints) -> int:
    """Ordered pairs of different pixels in one object."""
    return int((sizes * (sizes - 1)).sum())


__all__ = ["AMOUNTS", "ERRORS", "SCORES", "SUMMED", "Bools", "Image", "Sums"]
