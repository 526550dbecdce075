"""Image-level scores written out in loops over images and classes, after Wang et al. (2023)."""

import math

import numpy as np
from numpy.typing import NDArray

Counts = list[list[tuple[int, int, int]]]  # of each image, of each class: tp, fp, fn
KINDS = ("IoU", "Dice", "Acc")


def count(preds: NDArray, target: NDArray, classes: int, ignored: tuple[int, ...]) -> Counts:
    """Counts of label maps ``(N, ...)``."""
    counted = []
    for p, t in zip(preds, target, strict=True):
        keep = ~np.isin(t, ignored)
        p, t = p[keep], t[keep]
        counted.append(
            [
                (
                    int(np.sum((p == c) & (t == c))),
                    int(np.sum((p == c) & (t != c))),
                    int(np.sum((p != c) & (t == c))),
                )
                for c in range(classes)
            ]
        )
    return counted


def score_of(kind: str, tp: int, fp: int, fn: int) -> float:
    """One score; nan where it is 0/0."""
    if kind == "IoU":
        above, below = tp, tp + fp + fn
    elif kind == "Dice":
        above, below = 2 * tp, 2 * tp + fp + fn
    else:
        above, below = tp, tp + fn
    return above / below if below else math.nan


def mean(values: list[float]) -> float:
    """The mean of the defined values; nan without any."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def worst(values: list[float], q: int) -> float:
    """The mean of the worst ⌊q %⌋ of the defined values, at least of one."""
    defined = sorted(value for value in values if not math.isnan(value))
    return mean(defined[: max(1, int(q / 100 * len(defined)))])


def scores(counts: Counts, classes: list[int], presence: str = "target") -> dict[str, float]:
    """Every score of ``ImageScores`` over the given classes."""
    found = {}
    for kind in KINDS:
        per_class: dict[int, list[float]] = {c: [] for c in classes}
        per_image = []
        for image in counts:
            of_image = []
            for c in classes:
                tp, fp, fn = image[c]
                present = tp + fn > 0 or (presence == "either" and fp > 0)
                value = score_of(kind, tp, fp, fn) if present else math.nan
                of_image.append(value)
                per_class[c].append(value)
            per_image.append(mean(of_image))
        pooled = []
        for c in classes:
            tp, fp, fn = (sum(image[c][part] for image in counts) for part in range(3))
            pooled.append(score_of(kind, tp, fp, fn))
        found[f"m{kind}_D"] = mean(pooled)
        found[f"m{kind}_I"] = mean(per_image)
        found[f"m{kind}_C"] = mean([mean(values) for values in per_class.values()])
        for q in (1, 5, 10):
            found[f"m{kind}_I_{q}"] = worst(per_image, q)
            found[f"m{kind}_C_{q}"] = mean([worst(values, q) for values in per_class.values()])
        shares = range(10, 101, 10)
        found[f"m{kind}_I_Q"] = mean([worst(per_image, q) for q in shares])
        found[f"m{kind}_C_Q"] = mean(
            [mean([worst(values, q) for values in per_class.values()]) for q in shares]
        )
    return found
