"""Counts → scores: short pure functions, batched over leading dimensions, in float64.

Every score is a function of four counts per class: true positives, false positives, false
negatives and true negatives. Leading dimensions may be images or resamples, so one line serves a
data set, an image and a bootstrap.

Every function takes tensors or NumPy arrays and returns the same kind: torch is not imported here.
Annotations say ``Tensor`` for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from segmetrics._arguments import identifier
from segmetrics._arrays import namespace, to_float64, where

if TYPE_CHECKING:
    from torch import Tensor

Array = Any  #: a tensor or a NumPy array
Average = Literal["macro", "micro", "weighted", "none"]
Normalize = Literal["true", "pred", "all"]
WeightType = Literal["square", "simple", "linear"]


class Statistics(NamedTuple):
    """Counts per class, each ``(..., C)`` in int64: ``tp + fp + fn + tn`` pixels are counted.

    A pixel on which the model abstained is a false negative of its class and a false positive of
    none.
    """

    tp: Tensor
    fp: Tensor
    fn: Tensor
    tn: Tensor

    @staticmethod
    def of(hits: Array, predicted: Array, target: Array) -> Statistics:
        """From the marginals of a confusion matrix, each ``(..., C)``."""
        fp, fn = predicted - hits, target - hits
        return Statistics(hits, fp, fn, target.sum(-1)[..., None] - hits - fp - fn)

    @staticmethod
    def of_matrix(matrix: Array) -> Statistics:
        """From a confusion matrix ``(..., C, C + 1)``, whose last column are abstentions."""
        hits = matrix.diagonal(0, -2, -1)
        return Statistics.of(hits, matrix.sum(-2)[..., :-1], matrix.sum(-1))

    @property
    def pixels(self) -> Tensor:
        """Counted pixels ``(..., C)``."""
        return self.tp + self.fp + self.fn + self.tn

    def map(self, function: Callable[[Tensor], Tensor]) -> Statistics:
        """Apply a function to each of the four counts."""
        return Statistics(*map(function, self))


def of_groups(matrix: Array, groups: Sequence[Sequence[int]]) -> Statistics:
    """Statistics of sets of classes, from the confusion matrix ``(..., C, C + 1)`` of classes.

    A set is the union of its classes: a confusion within the set is a hit. Sets may overlap.
    """

    def summed(counts: Tensor, group: Sequence[int]) -> Tensor:
        # indexing by a list would synchronize a GPU
        return sum(counts[..., c] for c in group)  # type: ignore[return-value]  # none is empty

    there, predicted = matrix.sum(-1), matrix.sum(-2)
    xp = namespace(there)
    rows = [sum(matrix[..., c, :] for c in group) for group in groups]
    hits = xp.stack([summed(row, group) for row, group in zip(rows, groups, strict=True)], -1)
    fp = xp.stack([summed(predicted, group) for group in groups], -1) - hits
    fn = xp.stack([summed(there, group) for group in groups], -1) - hits
    return Statistics(hits, fp, fn, there.sum(-1)[..., None] - hits - fp - fn)


# --- Scores of each class: (..., C) → (..., C) ----------------------------------------------------


def iou(s: Statistics, zero_division: float = nan) -> Tensor:
    """Intersection over union, the Jaccard index: ``tp / (tp + fp + fn)``."""
    return ratio(s.tp, s.tp + s.fp + s.fn, zero_division)


def dice(s: Statistics, zero_division: float = nan) -> Tensor:
    """Dice score: ``2 tp / (2 tp + fp + fn)``."""
    return ratio(2 * s.tp, 2 * s.tp + s.fp + s.fn, zero_division)


def tversky(
    s: Statistics, zero_division: float = nan, *, alpha: float = 0.5, beta: float = 0.5
) -> Tensor:
    """Tversky index: ``tp / (tp + alpha fp + beta fn)``."""
    return ratio(s.tp, s.tp + alpha * to_float64(s.fp) + beta * to_float64(s.fn), zero_division)


def f_beta(s: Statistics, zero_division: float = nan, *, beta: float = 1.0) -> Tensor:
    """F score: ``(1 + beta²) tp / ((1 + beta²) tp + beta² fn + fp)``."""
    hits = (1 + beta**2) * to_float64(s.tp)
    return ratio(hits, hits + beta**2 * to_float64(s.fn) + s.fp, zero_division)


def precision(s: Statistics, zero_division: float = nan) -> Tensor:
    """Share of the predicted pixels that are right: ``tp / (tp + fp)``."""
    return ratio(s.tp, s.tp + s.fp, zero_division)


def recall(s: Statistics, zero_division: float = nan) -> Tensor:
    """Share of the target's pixels that are found: ``tp / (tp + fn)``."""
    return ratio(s.tp, s.tp + s.fn, zero_division)


def specificity(s: Statistics, zero_division: float = nan) -> Tensor:
    """Share of the other pixels that are left alone: ``tn / (tn + fp)``."""
    return ratio(s.tn, s.tn + s.fp, zero_division)


# --- Scores of all classes together: (..., C) → (...) ---------------------------------------------


def pixel_accuracy(s: Statistics, zero_division: float = nan) -> Tensor:
    """Share of the counted pixels that are right: ``Σ tp / n``."""
    return ratio(s.tp.sum(-1), s.pixels[..., 0], zero_division)


def cohen_kappa(s: Statistics, zero_division: float = nan) -> Tensor:
    """Cohen's kappa: agreement beyond chance, ``(p_o - p_e) / (1 - p_e)``."""
    n = s.pixels
    chance = (ratio(s.tp + s.fp, n) * ratio(s.tp + s.fn, n)).sum(-1)
    observed = ratio(s.tp.sum(-1), n[..., 0])
    return ratio(observed - chance, 1 - chance, zero_division)


def matthews_corrcoef(s: Statistics, zero_division: float = nan) -> Tensor:
    """Matthews correlation coefficient for C classes, Gorodkin's R_K."""
    n, predicted, target = map(to_float64, (s.pixels, s.tp + s.fp, s.tp + s.fn))
    abstained = n[..., 0] - predicted.sum(-1)
    n_total = n[..., 0]
    covariance = s.tp.sum(-1) * n_total - (predicted * target).sum(-1)
    # n² - Σ x² as Σ x (n - x), which is exactly 0 where one label has all pixels
    preds_variance = (predicted * (n - predicted)).sum(-1) + abstained * (n_total - abstained)
    target_variance = (target * (n - target)).sum(-1)
    sqrt = namespace(n).sqrt
    return ratio(covariance, sqrt(preds_variance) * sqrt(target_variance), zero_division)


def generalized_dice(
    s: Statistics, zero_division: float = nan, *, weight_type: WeightType = "square"
) -> Tensor:
    """Generalised Dice score: ``2 Σ w tp / Σ w (|pred| + |target|)``.

    A class absent from the target gets the largest finite weight.
    """
    support = to_float64(s.tp + s.fn)
    power = {"square": 2, "simple": 1, "linear": 0}[weight_type]
    weight = support.clip(1) ** -power
    present = namespace(weight).amax(where(support > 0, weight, 0.0), -1)[..., None]
    largest = where(present > 0, present, 1.0)
    weight = where(support > 0, weight, largest)
    hits = (weight * s.tp).sum(-1)
    return ratio(2 * hits, (weight * (2 * s.tp + s.fp + s.fn)).sum(-1), zero_division)


# --- Averages over classes ------------------------------------------------------------------------

Formula = Callable[[Statistics, float], "Tensor"]


@dataclass(frozen=True)
class Score:
    """A formula and its average: statistics of all labels → the reported number.

    ``average`` is ``"joint"`` if the formula itself combines the classes. ``first`` is the first
    class that counts, ``ignored`` are classes left out of averages.
    """

    formula: Formula
    average: Average | Literal["joint"]
    zero_division: float = nan
    first: int = 0
    ignored: tuple[int, ...] = ()

    def of(self, s: Statistics) -> Tensor:
        """Score ``(..., C)`` statistics: ``(...)``, or the classes' scores for ``"none"``."""
        xp = namespace(s.tp)
        counted = s.pixels.sum(-1) > 0
        classes = xp.arange(s.tp.shape[-1], device=s.tp.device)
        keep = classes >= self.first
        for ignored in self.ignored:
            keep &= classes != ignored
        if self.average in ("micro", "joint"):
            s = s.map(lambda counts: where(keep, counts, 0))
            if self.average == "micro":
                s = s.map(lambda counts: counts.sum(-1))
            return where(counted, self.formula(s, self.zero_division), nan)

        scores = where(keep, self.formula(s, self.zero_division), nan)
        if self.average == "none":
            return where(counted[..., None], scores[..., self.first :], nan)
        weights = to_float64(~xp.isnan(scores))
        if self.average == "weighted":
            support = (s.tp + s.fn) * weights
            # with false positives only, all weights would be 0
            weights = where(support.sum(-1)[..., None] > 0, support, weights)
        mean = ratio((weights * xp.nan_to_num(scores)).sum(-1), weights.sum(-1))
        return where(counted, mean, nan)

    @property
    def name(self) -> str:
        """The settings as an identifier."""
        formula = self.formula
        if isinstance(formula, partial):
            parts = [formula.func.__name__, *(x for kv in formula.keywords.items() for x in kv)]
        else:
            parts = [getattr(formula, "__name__", type(formula).__name__)]
        return identifier(*parts, self.average, self.zero_division, self.first, *self.ignored)


#: The usual scores of a data set: formulas, and what they are averaged over.
USUAL: Mapping[str, tuple[Formula, Average | Literal["joint"]]] = {
    "mIoU": (iou, "macro"),
    "mDice": (dice, "macro"),
    "pixel_accuracy": (pixel_accuracy, "joint"),
    "mean_accuracy": (recall, "macro"),
    "fw_iou": (iou, "weighted"),
}

#: The usual scores of a foreground.
OF_FOREGROUND: Mapping[str, Formula] = {
    "iou": iou, "dice": dice, "precision": precision, "recall": recall,
}  # fmt: skip

#: Titles of keys that differ from the key.
TITLES = {
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "fw_iou": "frequency-weighted IoU",
    "mIoU_category": "mIoU of categories",
    "iou": "IoU",
    "dice": "Dice",
    "boundary_iou": "boundary IoU",
    "iIoU_category": "iIoU of categories",
    "iiou": "iIoU",
    "boundary_error": "boundary errors",
    "extent_error": "extent errors",
    "segment_error": "segment errors",
}


def usual(
    matrix: Array,
    *,
    ignored: tuple[int, ...] = (),
    groups: Sequence[Sequence[int]] = (),
    zero_division: float = nan,
) -> dict[str, float]:
    """The usual scores of a confusion matrix ``(C, C + 1)``, and ``mIoU_category`` of groups.

    Ignored classes are left out of averages over classes.
    """
    s = Statistics.of_matrix(matrix)
    values = {
        name: Score(
            formula, average, zero_division, ignored=() if average == "joint" else ignored
        ).of(s)
        for name, (formula, average) in USUAL.items()
    }
    if groups:
        of_groups_ = Score(iou, "macro", zero_division).of(of_groups(matrix, groups))
        values["mIoU_category"] = of_groups_
    return {name: value.item() for name, value in values.items()}


def of_classes(s: Statistics, zero_division: float = nan) -> dict[str, float]:
    """The usual means over classes with masks of their own, from statistics ``(C,)``."""
    return {
        name: Score(formula, average, zero_division).of(s).item()
        for name, (formula, average) in USUAL.items()
        if average != "joint"
    }


def of_foreground(matrix: Array, zero_division: float = nan) -> dict[str, float]:
    """The usual scores of class 1 of two, from their confusion matrix ``(2, 3)``."""
    s = Statistics.of_matrix(matrix)
    values = {
        name: Score(formula, "none", zero_division).of(s)[1].item()
        for name, formula in OF_FOREGROUND.items()
    }
    return values | {"pixel_accuracy": Score(pixel_accuracy, "joint", zero_division).of(s).item()}


def ratio(numerator: Array, denominator: Array, zero_division: float = nan) -> Tensor:
    """``numerator / denominator`` in float64, ``zero_division`` where the denominator is 0."""
    possible = denominator != 0
    # divide by 1 instead of 0, as NumPy would warn
    quotient: Tensor = to_float64(numerator) / to_float64(where(possible, denominator, 1))
    return where(possible, quotient, zero_division)


def normalized(matrix: Array, normalize: Normalize | None) -> Tensor:
    """A confusion matrix ``(..., C, C + 1)`` without its last column: int64, or shares in float64.

    ``"true"`` divides by the row, abstained pixels included, ``"pred"`` by the column, ``"all"`` by
    all counted pixels; an empty row or column gives 0.
    """
    counts: Tensor = matrix[..., :-1]
    if normalize is None:
        return counts
    total = {
        "true": matrix.sum(-1)[..., :, None],
        "pred": counts.sum(-2)[..., None, :],
        "all": matrix.sum((-2, -1))[..., None, None],
    }[normalize]
    return ratio(counts, total, 0.0)
