"""Tables of cells → curves and scores: short pure functions, batched over leading dimensions.

A table ``(..., cells, 2)`` holds the negatives and the positives of every cell, the lowest scores
first; arrays of NumPy or torch, counts or sums of weighted counts. Without a positive or without a
negative every value is nan.

Scores of one cell are a tie. Where a cell has rounded scores their order is not known: ``bounds``
order every cell as it is worst and as it is best.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from segmetrics._arrays import namespace, to_float64
from segmetrics.scores import Statistics, dice, iou, recall, specificity

#: An array of NumPy or torch.
Array = Any


class Curve(NamedTuple):
    """The counts that thresholds between cells give, in float64.

    ``tp`` and ``fp`` are above each cell, ``hits`` and ``alarms`` in it, ``(..., cells)``;
    ``positives`` and ``negatives`` are ``(..., 1)``, nan where there is none of either.
    """

    tp: Array
    fp: Array
    hits: Array
    alarms: Array
    positives: Array
    negatives: Array

    @staticmethod
    def of(table: Array) -> Curve:
        """The counts above every cell and in it."""
        alarms, hits = to_float64(table[..., 0]), to_float64(table[..., 1])
        negatives, positives = alarms.sum(-1)[..., None], hits.sum(-1)[..., None]
        xp, both = namespace(table), (negatives > 0) & (positives > 0)
        return Curve(
            positives - xp.cumsum(hits, -1),
            negatives - xp.cumsum(alarms, -1),
            hits,
            alarms,
            xp.where(both, positives, xp.nan),
            xp.where(both, negatives, xp.nan),
        )

    @property
    def statistics(self) -> Statistics:
        """The counts of ``score > cut`` for every cell, as the scores of counts take them."""
        return Statistics(self.tp, self.fp, self.positives - self.tp, self.negatives - self.fp)


# --- Ranking --------------------------------------------------------------------------------------


def auroc(table: Array, max_fpr: float = 1.0) -> Array:
    """The area under the ROC curve; up to ``max_fpr``, it is rescaled so that chance gives 0.5.

    Hanley and McNeil 1982, rescaled by McClish 1989: scikit-learn's ``roc_auc_score``.
    """
    return _area(Curve.of(table), max_fpr, None)


def auroc_bounds(table: Array, max_fpr: float = 1.0) -> tuple[Array, Array]:
    """``auroc`` with the negatives of each cell first, and with its positives first."""
    curve = Curve.of(table)
    return _area(curve, max_fpr, 0.0), _area(curve, max_fpr, 1.0)


def _area(curve: Curve, max_fpr: float, height: float | None) -> Array:
    """The area under a ROC curve that crosses each cell at a share of its height, or straight."""
    if max_fpr == 1:  # nothing is cut off
        above = curve.tp + curve.hits * (0.5 if height is None else height)
        area = (curve.alarms * above).sum(-1)
        return area / curve.negatives[..., 0] / curve.positives[..., 0]
    xp = namespace(curve.tp)
    left, width = curve.fp / curve.negatives, curve.alarms / curve.negatives
    seen = xp.clip(max_fpr - left, 0, None)
    seen = xp.where(seen < width, seen, width)
    if height is None:
        share = seen / xp.where(width > 0, 2 * width, 1.0)
    else:
        share = xp.full_like(seen, height)
    area = (seen * (curve.tp + curve.hits * share) / curve.positives).sum(-1)
    chance = max_fpr**2 / 2
    return (1 + (area - chance) / (max_fpr - chance)) / 2


def average_precision(table: Array) -> Array:
    """The mean over positives of the precision at their scores.

    No interpolation: scikit-learn's ``average_precision_score``.
    """
    curve = Curve.of(table)
    tp, fp = curve.tp + curve.hits, curve.fp + curve.alarms
    gained = curve.hits * tp / _positive(tp + fp)
    return (gained / curve.positives).sum(-1)


def average_precision_bounds(table: Array) -> tuple[Array, Array]:
    """``average_precision`` with the negatives of each cell first, and with its positives first.

    It is lowest where each positive follows another: with f negatives and n scores above, the
    precisions at a positives add up to ``a - f (H(n + a) - H(n))``, where H are the harmonic
    numbers. It is highest where all positives of a cell are tied.
    """
    curve = Curve.of(table)
    tp, fp = curve.tp + curve.hits, curve.fp + curve.alarms
    lower = curve.hits - fp * harmonic(curve.tp + fp, curve.hits)
    upper = curve.hits * tp / _positive(tp + curve.fp)
    return (lower / curve.positives).sum(-1), (upper / curve.positives).sum(-1)


def harmonic(n: Array, more: Array) -> Array:
    """``1 / (n + 1) + ... + 1 / (n + more)`` to 11 digits, interpolated for fractions."""
    xp = namespace(n)

    def rest(x: Array) -> Array:  # of the harmonic numbers, behind ``log(x) + 1 / (2 x)``
        y = 1 / (x * x)
        return y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y / 240)))

    first = sum(more / ((n + i) * (n + more + i)) for i in range(1, 9))
    a, b = n + 8, n + more + 8
    return first + xp.log1p(more / a) - more / (2 * a * b) + rest(a) - rest(b)


def fpr_at_recall(table: Array, recall: float) -> Array:
    """The smallest false positive rate among thresholds whose recall is at least this."""
    xp, curve = namespace(table), Curve.of(table)
    reached = (curve.tp + curve.hits) / curve.positives >= recall
    rate = (curve.fp + curve.alarms) / curve.negatives
    return xp.amin(xp.where(reached | xp.isnan(rate), rate, xp.inf), -1)


def aurc(table: Array) -> Array:
    """The area under the risk-coverage curve, where positives are right predictions.

    The mean over pixels of the share of errors among those at least as confident; errors of a cell
    are spread evenly over it. Geifman et al., ICLR 2019. nan only without a pixel.
    """
    xp, curve = namespace(table), Curve.of(table)
    above, pixels = curve.tp + curve.fp, curve.hits + curve.alarms
    share = curve.alarms / _positive(pixels)
    risks = pixels * share + (curve.fp - share * above) * harmonic(above, pixels)
    total = pixels.sum(-1)
    return xp.where(total > 0, risks.sum(-1) / _positive(total), xp.nan)


# --- Curves ---------------------------------------------------------------------------------------


class Points(NamedTuple):
    """The points ``score >= threshold`` of one table's curves, thresholds rising ``(cells,)``."""

    recall: Array
    fpr: Array
    precision: Array
    threshold: Array


def points(table: Array, lowest: Array) -> Points:
    """The points of a table ``(cells, 2)`` whose cells begin at these scores."""
    curve = Curve.of(table)
    tp, fp = curve.tp + curve.hits, curve.fp + curve.alarms
    recall, fpr = tp / curve.positives, fp / curve.negatives
    return Points(recall, fpr, tp / _positive(tp + fp), lowest)


def roc(found: Points) -> tuple[Array, Array, Array]:
    """False positive rates, recalls and thresholds, from the highest threshold on.

    The first is 1, at which nothing is positive.
    """
    xp = namespace(found.fpr)
    ends = (xp.zeros_like(found.fpr[:1]),) * 2 + (xp.ones_like(found.threshold[:1]),)
    parts = found.fpr, found.recall, found.threshold
    fpr, recall, thresholds = (
        xp.concatenate([end, xp.flip(part, (0,))]) for end, part in zip(ends, parts, strict=True)
    )
    return fpr, recall, thresholds


def precision_recall(found: Points) -> tuple[Array, Array, Array]:
    """Precisions, recalls and thresholds, the lowest first; at the end 1 and 0 without one."""
    xp = namespace(found.recall)
    end = xp.ones_like(found.precision[:1])
    return (
        xp.concatenate([found.precision, end]),
        xp.concatenate([found.recall, 0 * end]),
        found.threshold,
    )


def risk_coverage(table: Array) -> tuple[Array, Array]:
    """Coverage and risk of a table ``(cells, 2)`` at every cell in use, the most confident first.

    Positives are right predictions.
    """
    xp, used = namespace(table), table[table.sum(-1) > 0]
    wrong, right = to_float64(used[..., 0]), to_float64(used[..., 1])
    covered = xp.cumsum(xp.flip(wrong + right, (0,)), 0)
    risk = xp.cumsum(xp.flip(wrong, (0,)), 0) / covered
    return covered / (wrong + right).sum(), risk


# --- Thresholds -----------------------------------------------------------------------------------


def youden(s: Statistics) -> Array:
    """Youden's index: recall + specificity - 1."""
    return recall(s) + specificity(s) - 1


#: Scores that have a best threshold.
FORMULAS: dict[str, Callable[[Statistics], Array]] = {
    "dice": dice,
    "f1": dice,
    "iou": iou,
    "youden": youden,
}


def over_thresholds(table: Array, score: str = "dice") -> Array:
    """A score of the foreground ``score > cut[k]`` for every cell, ``(..., cells)``."""
    return FORMULAS[score](Curve.of(table).statistics)


def best(values: Array, cut: Array) -> tuple[Array, Array]:
    """The best of ``over_thresholds``, and the threshold: of equally good ones the nearest 0.5.

    ``cut`` ``(cells,)`` are the thresholds; cells where it is nan have none.
    """
    xp = namespace(values)
    highest = xp.amax(xp.where(xp.isnan(cut), -xp.inf, values), -1)
    tied = (values == highest[..., None]) & ~xp.isnan(cut)
    nearest = xp.where(tied, abs(cut - 0.5), xp.inf).argmin(-1)
    return highest, xp.where(xp.isnan(highest), xp.nan, cut[nearest])


def _positive(counts: Array) -> Array:
    """Counts as divisors: 1 instead of 0."""
    return namespace(counts).where(counts > 0, counts, 1.0)
