"""Scores of weighted images: functions of weights ``(B, N)``, for B resamples of N images.

Weights say how often each image is in each resample. So a bootstrap, a jackknife and a sign flip
are matrix products, never a pass over the data, and the data set itself is the resample in which
every weight is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor

Statistic = Callable[[Tensor], Tensor]

#: The shares of worst images in percent, and those whose mean is ``Q``.
WORST = (1, 5, 10)
ALL_SHARES = tuple(range(10, 101, 10))


@dataclass(frozen=True, eq=False)
class Sums:
    """A score that depends on the images only through sums over them.

    ``parts (N, K)`` are summed, ``score`` maps sums ``(..., K)`` to scores ``(...)``.
    """

    parts: Tensor
    score: Callable[[Tensor], Tensor]

    def __call__(self, weights: Tensor) -> Tensor:
        return self.score(weights @ self.parts)


def mean_of(values: Tensor) -> Sums:
    """The mean over K of the means of values ``(N, K)`` over the weighted images that have one.

    Infinite values are counted separately, as 0 · ∞ is nan.
    """
    infinite = values.isinf()
    parts = [values.where(values.isfinite(), 0.0), (~values.isnan()).double()]
    if infinite.any():
        parts.append(infinite.double())

    def score(sums: Tensor) -> Tensor:
        total, images, *infinite = sums.chunk(len(parts), -1)
        means = total / images
        for number in infinite:
            means = means.masked_fill(number > 0, torch.inf)
        return means.nanmean(-1)

    return Sums(torch.cat(parts, 1), score)


def fractions(percent: Sequence[int]) -> Tensor:
    """Shares in float64, as in the paper's code: ⌊70 %·90⌋ is 62, since 0.7 · 90 < 63."""
    return torch.tensor([q / 100 for q in percent], dtype=torch.float64)


def worst_of(values: Tensor, shares: Tensor) -> Statistic:
    """Mean of the worst shares of values ``(N, K)``, over K and over the shares.

    The order of the images is the same in every resample, so each column is sorted once, without
    the images that have no value: an image has few of many classes.
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

    Sums over blocks are matrix products; only the block in which a share ends is summed image by
    image. ``images (blocks, SIDE)`` are indices; ``rows (blocks, 2, SIDE)`` hold 1 and the value of
    every image, padded with 0.
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
        # the block in which the share ends, the sums before it, and its images
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


def worst_means(weights: Tensor, values: Tensor, shares: Tensor) -> Tensor:
    """Means ``(..., Q)`` over the worst ⌊share·n⌋ images, at least one; values ``(..., n)`` ascend.

    ``weights (..., n)`` are the multiplicities of the images.
    """
    there = weights.sum(-1, keepdim=True)
    number = (there * shares).floor().clamp(min=1)
    return (_sum_of_first(weights, values, number) / number).where(there > 0, nan)


def _sum_of_first(weights: Tensor, values: Tensor, number: Tensor) -> Tensor:
    """Sums ``(..., Q)`` of the first ``number (..., Q)`` of weighted values, both ``(..., n)``.

    The value that reaches a number counts with the remaining weight, so this equals the sum over
    values that are repeated by their weights.
    """
    there = weights.cumsum(-1)
    total = (weights * values).cumsum(-1)
    last = torch.searchsorted(there, number).clamp(max=values.shape[-1] - 1)
    surplus = there.gather(-1, last) - number
    return total.gather(-1, last) - surplus * values.expand_as(total).gather(-1, last)
