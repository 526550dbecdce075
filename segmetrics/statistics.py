"""Per-image counts → intervals and comparisons: how far a score is chance.

Every score is a function of weights and counts: ``weights (B, N)`` say how often each of N images
is in each of B resamples. So a bootstrap, a jackknife and a sign flip are matrix products, never a
pass over the data, and the data set itself is the resample in which every weight is 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from segmetrics._arguments import integer, number, one_of
from segmetrics.scores import Formula, Statistics, dice, iou, recall

ImageId = int | str
Presence = Literal["target", "either"]
Method = Literal["percentile", "bca"]
Groups = Mapping[ImageId, Hashable] | Sequence[Hashable]
Statistic = Callable[[Tensor], Tensor]

#: The scores of a class by the name they have in a key.
FORMULAS: dict[str, Formula] = {"IoU": iou, "Dice": dice, "Acc": recall}
#: The shares of worst images, in percent, and those that ``Q`` is the mean of.
WORST = (1, 5, 10)
ALL_SHARES = tuple(range(10, 101, 10))

_SUFFIXES = ("D", *(f"{level}{q}" for level in "IC" for q in ("", "_1", "_5", "_10", "_Q")))
#: The names of all scores but the per-class ones.
KEYS = tuple(f"m{kind}_{suffix}" for kind in FORMULAS for suffix in _SUFFIXES)
#: Those that are usual scores, by the keys of ``scores.USUAL``.
USUAL_KEYS = {"mIoU": "mIoU_D", "mDice": "mDice_D", "mean_accuracy": "mAcc_D"}
#: And those of a foreground, which are means over one class.
KEYS_OF_IMAGES = {**USUAL_KEYS, "iou": "mIoU_D", "dice": "mDice_D", "recall": "mAcc_D"}

BLOCK = 2**21  # weights drawn at once: 16 MB
EXACT_FLIPS = 2**16


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """Counts per image and class, with what it takes to score them.

    Args:
        tp: true positives, int64 ``(N, C)``.
        fp: false positives, int64 ``(N, C)``.
        fn: false negatives, int64 ``(N, C)``.
        ids: N different names or integers; ``None`` where the images have none of their own.
        class_names: C different names; ``None`` numbers the classes.
        ignored: classes that stay out of averages, as columns of ``tp``.
        presence: a class is present in an image if its target has it (``"target"``), or its target
            or its prediction (``"either"``).
        zero_division: score, over all images together, of a class that none of them has; nan leaves
            it out of averages.

    Raises:
        ValueError: shapes that differ, or names that are not as many or not different.

    Example:
        >>> tp, fp, fn = torch.tensor([[[8], [2], [5]], [[1], [0], [4]], [[1], [2], [1]]])
        >>> print(confidence_interval(ImageCounts(tp, fp, fn), "mIoU_I"))
        mIoU_I 0.600 [0.500, 0.800] (95 %, 3 images)
    """

    tp: Tensor
    fp: Tensor
    fn: Tensor
    ids: tuple[ImageId, ...] | None = None
    class_names: tuple[str, ...] | None = None
    ignored: tuple[int, ...] = ()
    presence: Presence = "target"
    zero_division: float = nan

    def __post_init__(self) -> None:
        if self.tp.ndim != 2 or not self.tp.shape == self.fp.shape == self.fn.shape:
            shapes = ", ".join(str(tuple(counts.shape)) for counts in (self.tp, self.fp, self.fn))
            raise ValueError(f"`tp`, `fp` and `fn` must all be (N, C), got {shapes}.")
        for name, values, length in (
            ("ids", self.ids, len(self.tp)),
            ("class_names", self.class_names, self.tp.shape[1]),
        ):
            if values is not None and not len(values) == len(set(values)) == length:
                raise ValueError(f"`{name}` must be {length} different names, got {values!r}.")
        one_of("presence", self.presence, ("target", "either"))

    def __len__(self) -> int:
        return len(self.tp)

    def image_counts(self) -> ImageCounts:
        """Itself: what ``confidence_interval`` and ``compare`` ask a metric for."""
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes; their numbers where they have none."""
        return self.class_names or tuple(str(c) for c in range(self.tp.shape[1]))

    @property
    def labels(self) -> Sequence[ImageId]:
        """The ids of the images; their numbers where they have none."""
        return range(len(self)) if self.ids is None else self.ids

    def images(self, keep: Tensor) -> ImageCounts:
        """The counts of some images, by index."""
        ids = None if self.ids is None else tuple(self.ids[i] for i in keep.tolist())
        return replace(self, tp=self.tp[keep], fp=self.fp[keep], fn=self.fn[keep], ids=ids)

    def per_class(self, kind: str) -> Tensor:
        """Scores per image and class ``(N, C)`` in float64; nan where the class is not present."""
        present = self.tp + self.fn
        if self.presence == "either":
            present = present + self.fp
        return self._scores(kind, self.tp, self.fp, self.fn).where(present > 0, nan)

    def per_image(self, kind: str) -> Tensor:
        """Scores per image ``(N,)``: the mean over the classes present in it."""
        return self.per_class(kind).nanmean(1)

    def pooled(self, kind: str) -> Statistic:
        """Scores of the classes over weighted images ``(..., C)``; sums are exact below 2⁵³."""
        parts = torch.cat([self.tp, self.fp, self.fn], 1).double()
        return lambda weights: self._scores(kind, *(weights @ parts).chunk(3, -1))

    def _scores(self, kind: str, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        one_of("score", kind, tuple(FORMULAS))
        # none of the formulas needs true negatives
        scores = FORMULAS[kind](Statistics(tp, fp, fn, torch.zeros_like(tp)), self.zero_division)
        for column in self.ignored:
            scores[..., column] = nan
        return scores


class HasImageCounts(Protocol):
    """Something that keeps counts per image: ``ImageScores`` or ``ImageCounts``."""

    def image_counts(self) -> ImageCounts: ...


@dataclass(frozen=True)
class Interval:
    """A score and its confidence interval; prints as people write it.

    Attributes:
        score: which score.
        estimate: its value over all images.
        low: the lower end of the interval.
        high: the upper end.
        level: the coverage aimed at, in (0, 1).
        method: ``"percentile"`` or ``"bca"``.
        images: how many images there are.
        groups: how many groups were drawn; ``None`` where images were.
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
        """What a notebook shows."""
        from segmetrics._notebook import of_interval

        return of_interval(self)

    def __str__(self) -> str:
        return (
            f"{_printed(self.score)} {self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}] "
            f"({_sample(self.level, self.images, self.groups)})"
        )


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images: the difference ``a − b``, its interval and two p-values.

    Attributes:
        score: which score.
        a: the one model's.
        b: the other's.
        difference: ``a − b``.
        low: the lower end of the difference's interval.
        high: the upper end.
        level: the coverage aimed at, in (0, 1).
        method: ``"percentile"`` or ``"bca"``.
        p_bootstrap: two-sided p-value of "the models are equal", from the resamples.
        p_sign_flip: the same, from exchanging the models; the one to believe where it matters.
        images: how many images there are.
        groups: how many groups were drawn; ``None`` where images were.
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
        """What a notebook shows."""
        from segmetrics._notebook import of_comparison

        return of_comparison(self)

    def __str__(self) -> str:
        return (
            f"{_printed(self.score)} {self.a:.3f} vs {self.b:.3f}: "
            f"{self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}] "
            f"({_sample(self.level, self.images, self.groups)}), "
            f"p = {self.p_bootstrap:.2g} (bootstrap), {self.p_sign_flip:.2g} (sign flip)"
        )


def confidence_interval(
    scores: HasImageCounts,
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
        scores: an ``ImageScores`` (on several processes every one must call this, unless
            ``compute`` has gathered the images before), or its ``image_counts()``.
        score: a key of ``ImageScores``, with any percent in place of 1, 5, 10 (``"mIoU_C_20"``), or
            ``"iou/<class>"``, ``"dice/<class>"``, ``"acc/<class>"`` for a class over the data set.
            A resample in which the score is undefined (the class is absent) is left out.
        level: the coverage aimed at, in (0, 1).
        method: ``"percentile"``, or ``"bca"``, which also mends bias and skew.
        n_resamples: number of bootstrap resamples.
        groups: what belongs together (patients, video sequences) and is drawn as one: a mapping
            from image id to group, or, for images without ids, one group an image.
        seed: the same seed gives the same interval, whatever the order of images and the number of
            processes.

    Raises:
        ValueError: an unknown score, or fewer than two images or groups.

    Source: Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), sections 13.3 and 14.3.

    Example:
        >>> tp, fp, fn = torch.tensor([[[90], [20], [50]], [[5], [9], [8]], [[5], [1], [22]]])
        >>> print(confidence_interval(ImageCounts(tp, fp, fn), "mIoU_D", level=0.9))
        mIoU 0.762 [0.632, 0.870] (90 %, 3 images)
    """
    counts = scores.image_counts()
    order = _canonical_order(counts)
    bootstrap = _Bootstrap.of(counts, order, groups, level, method, n_resamples, seed)
    estimate, low, high, _ = bootstrap.interval(statistic(score, counts.images(order)))
    return Interval(
        score, estimate, low, high, level, method, len(counts), bootstrap.number_of_groups
    )


def compare(
    a: HasImageCounts,
    b: HasImageCounts,
    score: str = "mIoU_D",
    *,
    level: float = 0.95,
    method: Method = "percentile",
    n_resamples: int = 2000,
    groups: Groups | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare two models on the same images: ``a − b``, paired image by image.

    Two p-values for "the models are equal", two-sided. ``p_bootstrap``: the share of paired
    resamples whose difference is as far from the one found as that is from zero.
    ``p_sign_flip``: the share of random exchanges of the two models' counts of an image (or group)
    after which they differ as much; every exchange is tried where there are at most 2¹⁶.

    Args:
        a: the one model's ``ImageScores`` or ``image_counts()``.
        b: the other's, over the same images with the same classes.
        score: as in ``confidence_interval``, and so are the rest.
        level: the coverage of the interval of the difference.
        method: ``"percentile"`` or ``"bca"``.
        n_resamples: number of bootstrap resamples, and of sampled sign flips.
        groups: what is drawn and exchanged as one.
        seed: of both kinds of draws.

    Raises:
        ValueError: the images, their targets or the classes differ.

    Source: Davison and Hinkley, *Bootstrap Methods and their Application* (1997), sections 4.2 to
    4.4; for exchanging models Dror et al., *The Hitchhiker's Guide to Testing Statistical
    Significance in NLP* (ACL 2018), section 3.2.

    Example:
        >>> tp, fp, fn = torch.tensor([[[9], [4], [5]], [[1], [2], [1]], [[1], [3], [2]]])
        >>> a, b = ImageCounts(tp, fp, fn), ImageCounts(tp - 2, fp, fn + 2)
        >>> print(compare(a, b, "mIoU_I"))
        mIoU_I 0.629 vs 0.411: +0.218 [+0.182, +0.250] (95 %, 3 images),
        p = 0.0005 (bootstrap), 0.25 (sign flip)
    """
    first, second = _paired(a.image_counts(), b.image_counts())
    order = _canonical_order(first, second)
    bootstrap = _Bootstrap.of(first, order, groups, level, method, n_resamples, seed)
    first, second = first.images(order), second.images(order)
    score_a, score_b = statistic(score, first), statistic(score, second)
    difference, low, high, resampled = bootstrap.interval(lambda w: score_a(w) - score_b(w))
    both = statistic(score, _stacked(first, second))
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
        p_bootstrap=_share_as_extreme(resampled - difference, difference, sampled=True),
        p_sign_flip=bootstrap.sign_flip(both, difference),
        images=len(first),
        groups=bootstrap.number_of_groups,
    )


def all_scores(counts: ImageCounts, weights: Tensor) -> dict[str, Tensor]:
    """Every score of ``ImageScores`` in float64, for one weight ``(N,)`` an image.

    Reads nothing back from a device.
    """
    found: dict[str, Tensor] = {}
    weights = weights.double()
    if not len(counts):
        return dict.fromkeys(KEYS, weights.new_full((), nan))
    shares = _fractions(WORST + ALL_SHARES).to(weights.device, non_blocking=True)
    for kind in FORMULAS:
        found[f"m{kind}_D"] = counts.pooled(kind)(weights).nanmean()
        per_class = counts.per_class(kind)
        for level, values in (("I", per_class.nanmean(1, keepdim=True)), ("C", per_class)):
            found[f"m{kind}_{level}"] = _weighted_mean(weights, values).nanmean()
            ordered, order = values.t().sort()
            defined = weights[order].where(~ordered.isnan(), 0.0)
            worst = _worst_means(defined, ordered.nan_to_num(), shares).nanmean(0)
            for q, score in zip(WORST, worst, strict=False):
                found[f"m{kind}_{level}_{q}"] = score
            found[f"m{kind}_{level}_Q"] = worst[len(WORST) :].mean()
    return found


def statistic(score: str, counts: ImageCounts) -> Statistic:
    """The score as a function of weights ``(B, N)`` → ``(B,)`` in float64.

    Raises:
        ValueError: no score, or no class, has that name.
    """
    if of_class := re.fullmatch(r"(iou|dice|acc)/(.*)", score):
        kind = {"iou": "IoU", "dice": "Dice", "acc": "Acc"}[of_class[1]]
        columns = {name: c for c, name in enumerate(counts.names) if c not in counts.ignored}
        if of_class[2] not in columns:
            raise ValueError(
                f"`score={score!r}` names no scored class. The classes: {', '.join(columns)}."
            )
        column, pooled = columns[of_class[2]], counts.pooled(kind)
        return lambda weights: pooled(weights)[:, column]

    parsed = re.fullmatch(r"m(IoU|Dice|Acc)_(?:D|([IC])(?:_(\d+|Q))?)", score)
    if not parsed:
        raise ValueError(
            f"`score` must be m<kind>_D, m<kind>_I, m<kind>_C, m<kind>_I_<q> or m<kind>_C_<q> with "
            f"kind IoU, Dice or Acc and q a percent or Q, or iou/<class>, dice/<class> or "
            f"acc/<class>, got {score!r}."
        )
    kind, level, share = parsed.groups()
    if level is None:
        pooled = counts.pooled(kind)
        return lambda weights: pooled(weights).nanmean(-1)
    values = counts.per_class(kind)
    if level == "I":
        values = values.nanmean(1, keepdim=True)
    if share is None:
        return lambda weights: _weighted_mean(weights, values).nanmean(-1)
    shares = ALL_SHARES if share == "Q" else (int(share),)
    if not all(1 <= q <= 100 for q in shares):
        raise ValueError(f"`score={score!r}`: the share of worst images must be 1 to 100 percent.")
    return _worst_statistic(values, _fractions(shares))


# --- Scores of weighted images --------------------------------------------------------------------


def _weighted_mean(weights: Tensor, values: Tensor) -> Tensor:
    """Means ``(..., K)`` of values ``(N, K)`` over the weighted images that have one."""
    defined = ~values.isnan()
    return (weights @ values.nan_to_num()) / (weights @ defined.double())


def _fractions(percent: Sequence[int]) -> Tensor:
    """Divided first, as the paper's code does: ⌊70 %·90⌋ is 62, since 0.7 · 90 < 63 in float64."""
    return torch.tensor([q / 100 for q in percent], dtype=torch.float64)


def _worst_statistic(values: Tensor, shares: Tensor) -> Statistic:
    """Mean of the worst shares of values ``(N, K)``, over K and over the shares.

    The order of the images is the same in every resample, so they are sorted once, and each column
    without the images that lack it: of 150 classes an image has ten.
    """
    columns = [_Column.of(column) for column in values.unbind(1) if not column.isnan().all()]
    longest = max((column.images.numel() for column in columns), default=1)
    step = max(1, 2**19 // longest)  # resamples at once: 4 MB of weights

    def evaluate(weights: Tensor) -> Tensor:
        if not columns:
            return weights.new_full((len(weights),), nan)
        scores = []
        for some in weights.split(step):
            by_image = some.t().contiguous()
            worst = torch.stack([column.worst_means(by_image, shares) for column in columns])
            scores.append(worst.nanmean(0).mean(0))
        return torch.cat(scores)

    return evaluate


@dataclass(frozen=True)
class _Column:
    """The images that have a value, in ascending order of it, in blocks.

    The sums over blocks are matrix products, so that only the block in which a share ends is looked
    at image by image. ``images (blocks, SIDE)`` are indices; ``rows (blocks, 2, SIDE)`` hold a 1
    and the value of every image, and 0 behind the last.
    """

    images: Tensor
    rows: Tensor

    SIDE = 32

    @staticmethod
    def of(values: Tensor) -> _Column:
        """The column of values ``(N,)``, of which some are not nan."""
        images = (~values.isnan()).nonzero().squeeze(1)
        images = images[values[images].argsort()]
        rows = torch.stack([torch.ones_like(values[images]), values[images]])
        missing = -len(images) % _Column.SIDE
        images, rows = (torch.nn.functional.pad(part, (0, missing)) for part in (images, rows))
        rows = rows.unflatten(1, (-1, _Column.SIDE)).transpose(0, 1)
        return _Column(images.view(-1, _Column.SIDE), rows.contiguous())

    def worst_means(self, weights: Tensor, shares: Tensor) -> Tensor:
        """Means ``(Q, B)`` over the worst ⌊share·n⌋ images, with weights ``(N, B)``."""
        drawn = weights.index_select(0, self.images.flatten()).unflatten(0, self.images.shape)
        there, total = (self.rows @ drawn).cumsum(0).unbind(1)
        number = (there[-1] * shares.unsqueeze(1)).floor().clamp(min=1)
        # the block in which the share ends, what comes before it, and what is in it
        last = torch.searchsorted(there.t().contiguous(), number.t().contiguous()).t()
        last = last.clamp(max=len(there) - 1)
        before = (last - 1).clamp(min=0)
        counted, summed = (sums.gather(0, before).where(last > 0, 0.0) for sums in (there, total))
        ones, values = self.rows[last].unbind(2)
        inside = drawn[last, :, torch.arange(drawn.shape[2])] * ones
        missing = (number - counted).unsqueeze(2)
        worst = summed + _sum_of_first(inside, values, missing).squeeze(2)
        means: Tensor = (worst / number).where(there[-1] > 0, nan)
        return means


def _worst_means(weights: Tensor, values: Tensor, shares: Tensor) -> Tensor:
    """Means ``(..., Q)`` over the worst ⌊share·n⌋ images, at least one; values ``(..., n)`` ascend.

    ``weights (..., n)`` say how often each image is there.
    """
    there = weights.sum(-1, keepdim=True)
    number = (there * shares).floor().clamp(min=1)
    return (_sum_of_first(weights, values, number) / number).where(there > 0, nan)


def _sum_of_first(weights: Tensor, values: Tensor, number: Tensor) -> Tensor:
    """Sums ``(..., Q)`` of the first ``number (..., Q)`` of weighted values, both ``(..., n)``.

    The value at which a number is reached counts with the rest that is missing, so this equals
    repeating every value as often as its weight says.
    """
    there = weights.cumsum(-1)
    total = (weights * values).cumsum(-1)
    last = torch.searchsorted(there, number).clamp(max=values.shape[-1] - 1)
    surplus = there.gather(-1, last) - number
    return total.gather(-1, last) - surplus * values.expand_as(total).gather(-1, last)


# --- Resampling -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Bootstrap:
    """What is drawn, and how often. ``unit (N,)`` is the number of each image's group."""

    unit: Tensor
    units: int
    grouped: bool
    level: float
    method: Method
    n_resamples: int
    seed: int

    @staticmethod
    def of(
        counts: ImageCounts,
        order: Tensor,
        groups: Groups | None,
        level: float,
        method: Method,
        n_resamples: int,
        seed: int,
    ) -> _Bootstrap:
        """Check the arguments and number the groups of the images in their canonical order."""
        one_of("method", method, ("percentile", "bca"))
        if not 0 < number("level", level) < 1:
            raise ValueError(f"`level` must be in (0, 1), got {level}. For 95 % pass `level=0.95`.")
        if integer("n_resamples", n_resamples) < 1:
            raise ValueError(f"`n_resamples` must be at least 1, got {n_resamples}.")
        if groups is None:
            unit, units = torch.arange(len(counts)), len(counts)
        else:
            labels = _groups_of(counts, groups)
            place = {label: i for i, label in enumerate(sorted(set(labels), key=_sort_key))}
            unit, units = torch.tensor([place[label] for label in labels])[order], len(place)
        if units < 2:
            raise ValueError(
                f"a bootstrap needs at least two {'images' if groups is None else 'groups'}, "
                f"got {units}."
            )
        return _Bootstrap(unit, units, groups is not None, level, method, n_resamples, seed)

    @property
    def number_of_groups(self) -> int | None:
        return self.units if self.grouped else None

    def interval(self, statistic: Statistic) -> tuple[float, float, float, Tensor]:
        """The estimate, the bounds, and the score of every resample in which it is defined."""
        estimate = statistic(torch.ones(1, len(self.unit), dtype=torch.float64))
        resampled = self._evaluate(statistic, self._resamples())
        resampled = resampled[~resampled.isnan()]
        if estimate.isnan() or not len(resampled):
            return nan, nan, nan, resampled
        tails = torch.tensor([(1 - self.level) / 2, (1 + self.level) / 2], dtype=torch.float64)
        if self.method == "bca":
            jackknifed = self._evaluate(statistic, self._leaving_one_out())
            tails = _bca_tails(tails, estimate, resampled, jackknifed[~jackknifed.isnan()])
        low, high = resampled.quantile(tails).tolist()
        return estimate.item(), low, high, resampled

    def sign_flip(self, stacked: Statistic, difference: float) -> float:
        """p-value of exchanging the two models, whose images stand one set behind the other."""
        exact = 2**self.units <= EXACT_FLIPS

        def difference_of(exchanged: Tensor) -> Tensor:
            kept = 1 - exchanged
            swap = torch.cat([exchanged, kept], 1)
            return stacked(torch.cat([kept, exchanged], 1)) - stacked(swap)

        flips = self._all_flips() if exact else self._flips()
        return _share_as_extreme(
            self._evaluate(difference_of, flips), difference, sampled=not exact
        )

    def _evaluate(self, statistic: Statistic, weights: Iterator[Tensor]) -> Tensor:
        """The statistic of every resample of groups, as weights of their images."""
        return torch.cat([statistic(block[:, self.unit]) for block in weights])

    def _blocks(self, rows: int) -> Iterator[range]:
        step = max(1, BLOCK // len(self.unit))
        return (range(start, min(start + step, rows)) for start in range(0, rows, step))

    def _resamples(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        for block in self._blocks(self.n_resamples):
            shape = (len(block), self.units)
            drawn = torch.randint(self.units, shape, generator=generator)
            drawn += torch.arange(len(block)).unsqueeze(1) * self.units
            yield drawn.flatten().bincount(minlength=drawn.numel()).view(shape).double()

    def _leaving_one_out(self) -> Iterator[Tensor]:
        for block in self._blocks(self.units):
            weights = torch.ones(len(block), self.units, dtype=torch.float64)
            weights[range(len(block)), block] = 0
            yield weights

    def _flips(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        for block in self._blocks(self.n_resamples):
            yield torch.randint(2, (len(block), self.units), generator=generator).double()

    def _all_flips(self) -> Iterator[Tensor]:
        for block in self._blocks(2**self.units):
            numbers = torch.arange(block.start, block.stop).unsqueeze(1)
            yield (numbers >> torch.arange(self.units) & 1).double()


def _bca_tails(tails: Tensor, estimate: Tensor, resampled: Tensor, jackknifed: Tensor) -> Tensor:
    """The shares of the bootstrap distribution at which a BCa interval ends.

    Efron and Tibshirani (1993), equations 14.10, 14.14 and 14.15; resamples equal to the estimate
    count half.
    """
    below = ((resampled < estimate).double() + (resampled <= estimate).double()).mean() / 2
    half = 0.5 / len(resampled)  # every resample on one side: the bias is not infinite
    bias = torch.special.ndtri(below.clamp(half, 1 - half))
    skew = jackknifed.mean() - jackknifed
    spread = 6 * skew.square().sum() ** 1.5
    acceleration = float(skew.pow(3).sum() / spread) if spread > 0 else 0.0
    shifted = bias + torch.special.ndtri(tails)
    ends: Tensor = torch.special.ndtr(bias + shifted / (1 - acceleration * shifted))
    return ends


def _share_as_extreme(differences: Tensor, found: float, *, sampled: bool) -> float:
    """Two-sided p-value; a sample counts the difference found itself as one more."""
    differences = differences[~differences.isnan()]
    extreme = int((differences.abs() >= abs(found) - 1e-12).sum())  # equal up to rounding
    if found != found or not len(differences):
        return nan
    return (extreme + sampled) / (len(differences) + sampled)


# --- Order, groups and pairs of images ------------------------------------------------------------


def _canonical_order(*models: ImageCounts) -> Tensor:
    """The images in an order that does not depend on who delivered them first.

    By id; without ids by the counts themselves, since images with equal counts are exchangeable.
    """
    ids = models[0].ids
    if ids is not None:
        return torch.tensor(sorted(range(len(ids)), key=lambda image: _sort_key(ids[image])))
    rows = torch.cat([part for model in models for part in (model.tp, model.fp, model.fn)], 1)
    _, place = torch.unique(rows, dim=0, return_inverse=True)
    order: Tensor = place.argsort(stable=True)
    return order


def _sort_key(label: Hashable) -> tuple[str, Any]:
    """Labels of different types are sorted by type."""
    return type(label).__name__, label


def _groups_of(counts: ImageCounts, groups: Groups) -> list[Hashable]:
    """The group of every image."""
    if counts.ids is None:
        if isinstance(groups, Mapping):
            raise TypeError(
                "`groups` is a mapping from image id to group, but the images have no ids. Pass "
                "`image_ids` to `update`, or a sequence with one group an image."
            )
        if len(groups) != len(counts):
            raise ValueError(f"`groups` must be {len(counts)} long, as images, got {len(groups)}.")
        return list(groups)
    if not isinstance(groups, Mapping):
        raise TypeError(
            "`groups` must be a mapping from image id to group where images have ids, since their "
            f"order is not that of the data set, got {type(groups).__name__}."
        )
    if missing := [image for image in counts.ids if image not in groups]:
        raise ValueError(f"`groups` lacks {len(missing)} images, among them {missing[:3]}.")
    return [groups[image] for image in counts.ids]


def _paired(a: ImageCounts, b: ImageCounts) -> tuple[ImageCounts, ImageCounts]:
    """Both with their images in the order of ``a``; raises unless they are the same images."""
    for name in ("names", "ignored", "presence"):
        if getattr(a, name) != getattr(b, name):
            raise ValueError(
                f"`a` and `b` must score the same classes in the same way, but `{name}` is "
                f"{getattr(a, name)} and {getattr(b, name)}."
            )
    if (a.ids is None) != (b.ids is None):
        raise ValueError("`a` and `b` must both have image ids, or neither. Give both to `update`.")
    if a.ids is not None and b.ids is not None:
        if differing := set(a.ids) ^ set(b.ids):
            raise ValueError(
                f"`a` and `b` must hold the same images, but {len(differing)} are in one only, "
                f"among them {sorted(differing, key=_sort_key)[:3]}."
            )
        place = {image: i for i, image in enumerate(b.ids)}
        b = b.images(torch.tensor([place[image] for image in a.ids]))
    if len(a) != len(b):
        raise ValueError(f"`a` and `b` must hold the same images, got {len(a)} and {len(b)}.")
    differs = ((a.tp + a.fn) != (b.tp + b.fn)).any(1).nonzero().flatten().tolist()
    if differs:
        first = differs[0] if a.ids is None else repr(a.ids[differs[0]])
        raise ValueError(
            f"`a` and `b` saw different targets in {len(differs)} images, image {first} the first. "
            "Were they shuffled? Pass `image_ids` to `update`."
        )
    return a, b


def _stacked(a: ImageCounts, b: ImageCounts) -> ImageCounts:
    """The images of both, one set behind the other."""
    parts = ((a.tp, b.tp), (a.fp, b.fp), (a.fn, b.fn))
    tp, fp, fn = (torch.cat(part) for part in parts)
    return replace(a, tp=tp, fp=fp, fn=fn, ids=None)


# --- In words -------------------------------------------------------------------------------------


def _printed(score: str) -> str:
    """``mIoU_D`` is what everyone calls mIoU."""
    return score.removesuffix("_D")


def _sample(level: float, images: int, groups: int | None) -> str:
    among = "" if groups is None else f" in {groups} groups"
    return f"{100 * level:g} %, {images} images{among}"
