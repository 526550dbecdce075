"""The number of images that an interval of a given width needs."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, nan

import torch

from segmetrics._arguments import number
from segmetrics.statistics.bootstrap import Bootstrap
from segmetrics.statistics.intervals import printed
from segmetrics.statistics.pairing import Groups, canonical_order
from segmetrics.statistics.resampled import PerImage, table_of


@dataclass(frozen=True)
class SampleSize:
    """The number of images that an interval of ``width`` needs; prints as a sentence.

    ``images`` is the number, ``[low, high]`` its confidence interval. ``width_now`` is the width
    with the ``images_now`` images of the pilot. ``groups`` is the number of groups of images
    (patients, video sequences) that are needed, if they are as large as the pilot's.
    """

    score: str
    width: float
    level: float
    images: int
    low: int
    high: int
    images_now: int
    width_now: float
    groups: int | None = None

    def __str__(self) -> str:
        in_groups = "" if self.groups is None else f" in {self.groups:,} groups"
        return (
            f"{printed(self.score)}: {self.images:,} images{in_groups} "
            f"[{self.low:,}, {self.high:,}] for a {100 * self.level:g} % interval "
            f"{self.width:g} wide; {self.images_now:,} images give {self.width_now:.3f}"
        )


def sample_size(
    counts: PerImage,
    score: str = "mIoU_D",
    width: float = 0.02,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    groups: Groups | None = None,
    seed: int = 0,
) -> SampleSize:
    """The number of images that a confidence interval of a score needs to be ``width`` wide.

    The given images are a pilot. The standard error of the score, from bootstrap resamples of them,
    shrinks as 1 / √n. The interval of the number comes from the contributions of single images to
    the error (their jackknife influence): it is wide if a handful of images decide the score.
    Future images must come from the same population as the pilot.

    Args:
        counts: an ``ImageScores``, its ``image_counts()`` or another table with one row an image
            (``Resampled``): the pilot.
        score: as in ``confidence_interval``.
        width: the distance between the bounds, in the score's own units; 0.02 is ± 0.01.
        level: the coverage of the interval, and that of ``[low, high]``.
        n_resamples: number of bootstrap resamples.
        groups: the patient or video sequence of each image, as in ``confidence_interval``.
        seed: the seed of the resamples.

    Raises:
        ValueError: a width that is not positive, fewer than two images or groups, or a score that
            is undefined or does not vary.

    Source: Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), chapters 6 and 11.

    Example:
        >>> import torch
        >>> from segmetrics.statistics import ImageCounts
        >>> draw = torch.Generator().manual_seed(0)
        >>> tp = torch.randint(50, 100, (200, 1), generator=draw)
        >>> pilot = ImageCounts(tp, 0 * tp, 100 - tp)
        >>> print(sample_size(pilot, "mIoU_I", width=0.02))
        mIoU_I: 698 images [600, 812] for a 95 % interval 0.02 wide; 200 images give 0.037
    """
    if not number("width", width) > 0:
        raise ValueError(f"`width` must be positive, got {width}. For ± 0.01 pass `width=0.02`.")
    images = table_of(counts, "counts")
    order = canonical_order(images)
    bootstrap = Bootstrap.of(images, order, groups, level, "percentile", n_resamples, seed)
    one = images.images(order).statistic(score)
    _, drawn = bootstrap.together([one])
    error = drawn.std().item() if len(drawn) > 1 else nan
    if not error > 0:
        raise ValueError(
            f"`score={score!r}` does not vary over resamples of these {len(images)} images: it is "
            "undefined, or the same in every image. Give more images."
        )
    z = torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=torch.float64)).item()
    shrink = (2 * z * error / width) ** 2
    # the variance is a mean over images, with a variance of its own
    jackknifed = bootstrap.evaluate(one, bootstrap.leaving_one_out())
    jackknifed = jackknifed[~jackknifed.isnan()]
    shares = (jackknifed - jackknifed.mean()).square()
    if not shares.sum() > 0:
        raise ValueError(
            f"`score={score!r}` is decided by too few of these {len(images)} images: leaving any "
            "one out changes nothing. Give more images, or a score of more of them."
        )
    variance = shares.var() / shares.mean().square() / len(shares) + 2 / len(drawn)
    margin = z * variance.sqrt().item()
    per_unit = len(images) / bootstrap.units

    def needed(factor: float) -> int:
        return max(2, ceil(float(shrink * factor * bootstrap.units)))

    return SampleSize(
        score=score,
        width=width,
        level=level,
        images=ceil(needed(1) * per_unit),
        low=ceil(needed(exp(-margin)) * per_unit),
        high=ceil(needed(exp(margin)) * per_unit),
        images_now=len(images),
        width_now=2 * z * error,
        groups=None if groups is None else needed(1),
    )
