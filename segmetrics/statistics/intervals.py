"""Per-image counts → intervals and comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from segmetrics._help import explained
from segmetrics.statistics.bootstrap import Bootstrap, Method, share_as_extreme
from segmetrics.statistics.pairing import Groups, canonical_order, paired
from segmetrics.statistics.resampled import PerImage, table_of


@dataclass(frozen=True)
class Interval:
    """A score and its confidence interval; ``print`` shows the usual notation.

    Attributes:
        score: the name of the score.
        estimate: its value over all images.
        low: the lower end of the interval.
        high: the upper end.
        level: the coverage aimed at, in (0, 1).
        method: ``"percentile"`` or ``"bca"``.
        images: the number of images.
        groups: the number of groups that were resampled; ``None`` if images were.
    """

    score: str
    estimate: float
    low: float
    high: float
    level: float
    method: Method
    images: int
    groups: int | None = None

    def _repr_html_(self) -> str:
        """The result as a notebook shows it."""
        from segmetrics._notebook import of_interval

        return of_interval(str(self), self.low, self.estimate, self.high)

    def __str__(self) -> str:
        return (
            f"{printed(self.score)} {self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}] "
            f"({sample(self.level, self.images, self.groups)})"
        )


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images: the difference ``a − b``, its interval and two p-values.

    Attributes:
        score: the name of the score.
        a: its value for the one model.
        b: its value for the other.
        difference: ``a − b``.
        low: the lower end of the difference's interval.
        high: the upper end.
        level: the coverage aimed at, in (0, 1).
        method: ``"percentile"`` or ``"bca"``.
        p_bootstrap: two-sided p-value of "the models are equal", from the resamples.
        p_sign_flip: the same, from exchanging the models; the one to rely on.
        images: the number of images.
        groups: the number of groups that were resampled; ``None`` if images were.
    """

    score: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    level: float
    method: Method
    p_bootstrap: float
    p_sign_flip: float
    images: int
    groups: int | None = None

    def _repr_html_(self) -> str:
        """The result as a notebook shows it."""
        from segmetrics._notebook import of_comparison

        return of_comparison(str(self), self.score, self.a, self.b)

    def __str__(self) -> str:
        return (
            f"{printed(self.score)} {self.a:.3f} vs {self.b:.3f}: "
            f"{self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}] "
            f"({sample(self.level, self.images, self.groups)}), "
            f"p = {self.p_bootstrap:.2g} (bootstrap), {self.p_sign_flip:.2g} (sign flip)"
        )


@explained
def confidence_interval(
    scores: PerImage,
    score: str = "mIoU_D",
    *,
    level: float = 0.95,
    method: Method = "percentile",
    n_resamples: int = 2000,
    groups: Groups | None = None,
    seed: int = 0,
) -> Interval:
    """Bootstrap confidence interval of a score, with images or whole groups resampled.

    Args:
        scores: an ``ImageScores`` (all processes must call this, unless ``compute`` has gathered
            the images before), its ``image_counts()``, or another table with one row an image
            (``Resampled``).

    Returns:
        The score with its interval; ``print`` shows both. All numbers are nan if no resample has a
        score.

    Raises:
        ValueError: an unknown score, or fewer than two images or groups.

    Source: Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), sections 13.3 and 14.3.

    Example:
        >>> from segmetrics.statistics import ImageCounts
        >>> tp, fp, fn = torch.tensor([[[90], [20], [50]], [[5], [9], [8]], [[5], [1], [22]]])
        >>> print(confidence_interval(ImageCounts(tp, fp, fn), "mIoU_D", level=0.9))
        mIoU 0.762 [0.632, 0.870] (90 %, 3 images)
    """
    counts = table_of(scores)
    order = canonical_order(counts)
    bootstrap = Bootstrap.of(counts, order, groups, level, method, n_resamples, seed)
    estimate, low, high, _ = bootstrap.interval(counts.images(order).statistic(score))
    return Interval(
        score, estimate, low, high, level, method, len(counts), bootstrap.number_of_groups
    )


@explained
def confidence_intervals(
    scores: PerImage,
    keys: Sequence[str],
    *,
    level: float = 0.95,
    method: Method = "percentile",
    n_resamples: int = 2000,
    groups: Groups | None = None,
    seed: int = 0,
) -> dict[str, Interval]:
    """The ``confidence_interval`` of several scores from the same resamples, drawn once.

    Args:
        scores: as in ``confidence_interval``.
        keys: the scores, each as ``score`` there.

    Returns:
        The intervals by key.

    Raises:
        ValueError: an unknown score, or fewer than two images or groups.

    Example:
        >>> from segmetrics.statistics import ImageCounts, confidence_intervals
        >>> tp, fp, fn = torch.tensor([[[90], [20], [50]], [[5], [9], [8]], [[5], [1], [22]]])
        >>> found = confidence_intervals(ImageCounts(tp, fp, fn), ["mIoU_D", "mDice_D"], level=0.9)
        >>> print(found["mDice_D"])
        mDice 0.865 [0.774, 0.930] (90 %, 3 images)
    """
    table = table_of(scores)
    order = canonical_order(table)
    bootstrap = Bootstrap.of(table, order, groups, level, method, n_resamples, seed)
    ordered, weights = table.images(order), list(bootstrap.resamples())
    drawn, number = len(table), bootstrap.number_of_groups
    found = {}
    for key in keys:
        estimate, low, high, _ = bootstrap.interval(ordered.statistic(key), weights)
        found[key] = Interval(key, estimate, low, high, level, method, drawn, number)
    return found


@explained
def compare(
    a: PerImage,
    b: PerImage,
    score: str = "mIoU_D",
    *,
    level: float = 0.95,
    method: Method = "percentile",
    n_resamples: int = 2000,
    groups: Groups | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare two models on the same images: ``a − b``, paired image by image.

    Two two-sided p-values for "the models are equal". ``p_bootstrap`` is the share of paired
    resamples whose difference is at least as far from the observed one as that is from zero.
    ``p_sign_flip`` is the share of random exchanges of both models' counts of an image (or group)
    after which they differ at least as much; if there are at most 2¹⁶ exchanges, all are tried.

    Args:
        a: the one model's ``ImageScores``, ``image_counts()`` or other ``Resampled`` table.
        b: the other's, over the same images with the same classes.

    Returns:
        Both scores, the difference with its interval, and the p-values; ``print`` shows them.

    Raises:
        ValueError: the images, their targets or the classes differ.

    Source: Davison and Hinkley, *Bootstrap Methods and their Application* (1997), sections 4.2 to
    4.4; for exchanging models Dror et al., *The Hitchhiker's Guide to Testing Statistical
    Significance in NLP* (ACL 2018), section 3.2.

    Example:
        >>> from segmetrics.statistics import ImageCounts
        >>> tp, fp, fn = torch.tensor([[[9], [4], [5]], [[1], [2], [1]], [[1], [3], [2]]])
        >>> a, b = ImageCounts(tp, fp, fn), ImageCounts(tp - 2, fp, fn + 2)
        >>> print(compare(a, b, "mIoU_I"))
        mIoU_I 0.629 vs 0.411: +0.218 [+0.182, +0.250] (95 %, 3 images),
        p = 0.0005 (bootstrap), 0.25 (sign flip)
    """
    first, second = paired(table_of(a, "a"), table_of(b, "b"))
    order = canonical_order(first, second)
    bootstrap = Bootstrap.of(first, order, groups, level, method, n_resamples, seed)
    first, second = first.images(order), second.images(order)
    score_a, score_b = first.statistic(score), second.statistic(score)
    difference, low, high, drawn = bootstrap.interval(lambda w: score_a(w) - score_b(w))
    both = first.stacked(second).statistic(score)
    everything = torch.ones(1, len(first), dtype=torch.float64)
    return Comparison(
        score=score,
        a=score_a(everything).item(),
        b=score_b(everything).item(),
        difference=difference,
        low=low,
        high=high,
        level=level,
        method=method,
        p_bootstrap=share_as_extreme(drawn - difference, difference, sampled=True),
        p_sign_flip=bootstrap.sign_flip(both, difference),
        images=len(first),
        groups=bootstrap.number_of_groups,
    )


# --- As text --------------------------------------------------------------------------------------


def printed(score: str) -> str:
    """A score as it is printed: ``mIoU_D`` is usually called mIoU."""
    return score.removesuffix("_D")


def sample(level: float, images: int, groups: int | None) -> str:
    """The level and the size of a sample, as they are printed."""
    among = "" if groups is None else f" in {groups} groups"
    return f"{100 * level:g} %, {images} images{among}"
