"""Per-image counts → intervals and comparisons: how far a score is chance."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Literal

import torch
from torch import Tensor

from segmetrics._arguments import integer, number, one_of
from segmetrics._help import explained
from segmetrics.statistics.resampled import ImageId, PerImage, Resampled, table_of
from segmetrics.statistics.weighting import Statistic

Method = Literal["percentile", "bca"]
Groups = Mapping[ImageId, Hashable] | Sequence[Hashable]

BLOCK = 2**21  # weights drawn at once: 16 MB
EXACT_FLIPS = 2**16


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
            f"{printed(self.score)} {self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}] "
            f"({sample(self.level, self.images, self.groups)})"
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
        scores: an ``ImageScores`` (on several processes every one must call this, unless
            ``compute`` has gathered the images before), its ``image_counts()``, or another table
            with one row an image (``Resampled``).

    Returns:
        The score, its interval, and how it was made; ``print`` writes it as people do. All numbers
        are nan if no resample has a score.

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
    """The ``confidence_interval`` of several scores, from the same resamples, drawn once.

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

    Two p-values for "the models are equal", two-sided. ``p_bootstrap``: the share of paired
    resamples whose difference is as far from the one found as that is from zero.
    ``p_sign_flip``: the share of random exchanges of the two models' counts of an image (or group)
    after which they differ as much; every exchange is tried where there are at most 2¹⁶.

    Args:
        a: the one model's ``ImageScores``, ``image_counts()`` or other ``Resampled`` table.
        b: the other's, over the same images with the same classes.

    Returns:
        Both scores, the difference with its interval, and the p-values; ``print`` writes them as
        people do.

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


# --- Resampling -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bootstrap:
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
        counts: Resampled,
        order: Tensor,
        groups: Groups | None,
        level: float,
        method: Method,
        n_resamples: int,
        seed: int,
    ) -> Bootstrap:
        """Check the arguments and number the groups of the images in their canonical order."""
        one_of("method", method, ("percentile", "bca"))
        if not 0 < number("level", level) < 1:
            raise ValueError(f"`level` must be in (0, 1), got {level}. For 95 % pass `level=0.95`.")
        if integer("n_resamples", n_resamples) < 1:
            raise ValueError(f"`n_resamples` must be at least 1, got {n_resamples}.")
        if groups is None:
            unit, units = torch.arange(len(counts)), len(counts)
        else:
            labels = groups_of(counts, groups)
            place = {label: i for i, label in enumerate(sorted(set(labels), key=sort_key))}
            unit, units = torch.tensor([place[label] for label in labels])[order], len(place)
        if units < 2:
            raise ValueError(
                f"a bootstrap needs at least two {'images' if groups is None else 'groups'}, "
                f"got {units}."
            )
        return Bootstrap(unit, units, groups is not None, level, method, n_resamples, seed)

    @property
    def number_of_groups(self) -> int | None:
        return self.units if self.grouped else None

    def interval(
        self, statistic: Statistic, weights: Iterable[Tensor] | None = None
    ) -> tuple[float, float, float, Tensor]:
        """The estimate, the bounds, and the score of every resample in which it is defined.

        ``weights`` are those of ``resamples``, where they have been drawn already.
        """
        estimate = statistic(torch.ones(1, len(self.unit), dtype=torch.float64))
        blocks = self.resamples() if weights is None else weights
        resampled = torch.cat([statistic(block) for block in blocks])
        resampled = resampled[~resampled.isnan()]
        if estimate.isnan() or not len(resampled):
            return nan, nan, nan, resampled
        tails = torch.tensor([(1 - self.level) / 2, (1 + self.level) / 2], dtype=torch.float64)
        if self.method == "bca":
            jackknifed = self.evaluate(statistic, self.leaving_one_out())
            tails = _bca_tails(tails, estimate, resampled, jackknifed[~jackknifed.isnan()])
        low, high = _quantiles(resampled, tails)
        return estimate.item(), low, high, resampled

    def sign_flip(self, stacked: Statistic, difference: float) -> float:
        """p-value of exchanging the two models, whose images stand one set behind the other."""
        flips, sampled = self.exchanges()

        def difference_of(exchanged: Tensor) -> Tensor:
            kept = 1 - exchanged
            swap = torch.cat([exchanged, kept], 1)
            return stacked(torch.cat([kept, exchanged], 1)) - stacked(swap)

        differences = torch.cat([difference_of(block) for block in flips])
        return share_as_extreme(differences, difference, sampled=sampled)

    def exchanges(self) -> tuple[Iterator[Tensor], bool]:
        """Which images are exchanged, 0 or 1 ``(B, N)``, and whether that is a sample of all."""
        sampled = 2**self.units > EXACT_FLIPS
        flips = self._flips() if sampled else self._all_flips()
        return (block[:, self.unit] for block in flips), sampled

    def together(self, statistics: Sequence[Statistic]) -> tuple[Tensor, Tensor]:
        """The values ``(M,)`` of several scores, and those of every resample ``(B, M)``.

        Without the resamples in which one of them is undefined.
        """
        everything = torch.ones(1, len(self.unit), dtype=torch.float64)
        resampled = torch.cat(
            [torch.stack([one(block) for one in statistics], 1) for block in self.resamples()]
        )
        values = torch.cat([one(everything) for one in statistics])
        return values, resampled[~resampled.isnan().any(1)]

    def evaluate(self, statistic: Statistic, weights: Iterable[Tensor]) -> Tensor:
        """The statistic of every resample of groups, as weights of their images."""
        return torch.cat([statistic(block[:, self.unit]) for block in weights])

    def blocks(self, rows: int) -> Iterator[range]:
        """The numbers of rows, as many at once as fit a block of weights."""
        step = max(1, BLOCK // len(self.unit))
        return (range(start, min(start + step, rows)) for start in range(0, rows, step))

    def resamples(self) -> Iterator[Tensor]:
        """Weights of the images ``(B, N)`` in resamples of the groups."""
        generator = torch.Generator().manual_seed(self.seed)
        for block in self.blocks(self.n_resamples):
            shape = (len(block), self.units)
            drawn = torch.randint(self.units, shape, generator=generator)
            drawn += torch.arange(len(block)).unsqueeze(1) * self.units
            times = drawn.flatten().bincount(minlength=drawn.numel()).view(shape).double()
            yield times[:, self.unit]

    def leaving_one_out(self) -> Iterator[Tensor]:
        """Weights of the groups ``(B, U)``, each once left out."""
        for block in self.blocks(self.units):
            weights = torch.ones(len(block), self.units, dtype=torch.float64)
            weights[range(len(block)), block] = 0
            yield weights

    def _flips(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        for block in self.blocks(self.n_resamples):
            yield torch.randint(2, (len(block), self.units), generator=generator).double()

    def _all_flips(self) -> Iterator[Tensor]:
        for block in self.blocks(2**self.units):
            numbers = torch.arange(block.start, block.stop).unsqueeze(1)
            yield (numbers >> torch.arange(self.units) & 1).double()


def _quantiles(values: Tensor, tails: Tensor) -> list[float]:
    """Interpolated quantiles; between two infinite values they are infinite."""
    found = values.quantile(tails)
    if found.isnan().any():
        found = found.where(~found.isnan(), values.quantile(tails, interpolation="nearest"))
    return found.tolist()


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


def share_as_extreme(differences: Tensor, found: float, *, sampled: bool) -> float:
    """Two-sided p-value; a sample counts the difference found itself as one more."""
    differences = differences[~differences.isnan()]
    extreme = int((differences.abs() >= abs(found) - 1e-12).sum())  # equal up to rounding
    if found != found or not len(differences):
        return nan
    return (extreme + sampled) / (len(differences) + sampled)


# --- Order, groups and pairs of images ------------------------------------------------------------


def canonical_order(*models: Resampled) -> Tensor:
    """The images in an order that does not depend on who delivered them first.

    By id; without ids by the rows themselves, since images with equal rows are exchangeable.
    """
    ids = models[0].ids
    if ids is not None:
        return torch.tensor(sorted(range(len(ids)), key=lambda image: sort_key(ids[image])))
    rows = torch.cat([model.rows() for model in models], 1)
    if rows.is_floating_point():  # nan is equal to nan
        rows = torch.cat([rows.where(~rows.isnan(), 0.0), rows.isnan().to(rows.dtype)], 1)
    _, place = torch.unique(rows, dim=0, return_inverse=True)
    order: Tensor = place.argsort(stable=True)
    return order


def sort_key(label: Hashable) -> tuple[str, Any]:
    """Labels of different types are sorted by type."""
    return type(label).__name__, label


def groups_of(counts: Resampled, groups: Groups) -> list[Hashable]:
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


def paired(
    a: Resampled, b: Resampled, names: tuple[str, str] = ("a", "b")
) -> tuple[Resampled, Resampled]:
    """Both with their images in the order of ``a``; raises unless they are the same images."""
    both = f"`{names[0]}` and `{names[1]}`"
    if type(a) is not type(b):
        raise ValueError(
            f"{both} must be of one kind, got {type(a).__name__} and {type(b).__name__}."
        )
    theirs = b.signature()
    for name, setting in a.signature().items():
        other = theirs[name]
        if setting != other and (setting == setting or other == other):  # nan is equal to nan
            raise ValueError(
                f"{both} must score the same classes in the same way, but `{name}` is "
                f"{setting} and {other}."
            )
    if (a.ids is None) != (b.ids is None):
        raise ValueError(f"{both} must both have image ids, or neither. Give both to `update`.")
    if a.ids is not None and b.ids is not None:
        if differing := set(a.ids) ^ set(b.ids):
            raise ValueError(
                f"{both} must hold the same images, but {len(differing)} are in one only, "
                f"among them {sorted(differing, key=sort_key)[:3]}."
            )
        place = {image: i for i, image in enumerate(b.ids)}
        b = b.images(torch.tensor([place[image] for image in a.ids]))
    if len(a) != len(b):
        raise ValueError(f"{both} must hold the same images, got {len(a)} and {len(b)}.")
    differs = (a.targets() != b.targets()).any(1).nonzero().flatten().tolist()
    if differs:
        first = differs[0] if a.ids is None else repr(a.ids[differs[0]])
        raise ValueError(
            f"{both} saw different targets in {len(differs)} images, image {first} the first. "
            "Were they shuffled? Pass `image_ids` to `update`."
        )
    return a, b


# --- In words -------------------------------------------------------------------------------------


def printed(score: str) -> str:
    """``mIoU_D`` is what everyone calls mIoU."""
    return score.removesuffix("_D")


def sample(level: float, images: int, groups: int | None) -> str:
    among = "" if groups is None else f" in {groups} groups"
    return f"{100 * level:g} %, {images} images{among}"
