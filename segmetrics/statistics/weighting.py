"""Scores of weighted images: functions of weights ``(B, N)``, for B resamples of N images.

Weights say how often each image is in each resample. So a bootstrap, a jackknife and a sign flip
are matrix products, never a pass over the data, and the data set itself is the resample in which
every weight is 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor

from segmetrics.statistics.counts import FORMULAS, ImageCounts

Statistic = Callable[[Tensor], Tensor]

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


@dataclass(frozen=True, eq=False)
class Sums:
    """A score that depends on the images through sums over them only.

    ``parts (N, K)`` are summed, ``score`` maps sums ``(..., K)`` to scores ``(...)``.
    """

    parts: Tensor
    score: Callable[[Tensor], Tensor]

    def __call__(self, weights: Tensor) -> Tensor:
        return self.score(weights @ self.parts)


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
        found[f"m{kind}_D"] = _pooled(kind, counts)(weights)
        per_class = counts.per_class(kind)
        for level, values in (("I", per_class.nanmean(1, keepdim=True)), ("C", per_class)):
            found[f"m{kind}_{level}"] = mean_of(values)(weights)
            ordered, order = values.t().sort()
            defined = weights[order].where(~ordered.isnan(), 0.0)
            worst = _worst_means(defined, ordered.nan_to_num(), shares).nanmean(0)
            for q, score in zip(WORST, worst, strict=False):
                found[f"m{kind}_{level}_{q}"] = score
            found[f"m{kind}_{level}_Q"] = worst[len(WORST) :].mean()
    return found


def statistic(score: str, counts: ImageCounts) -> Statistic:
    """The score as a function of weights ``(B, N)`` → ``(B,)`` in float64.

    Every score but those of the worst images is one of ``Sums``.

    Raises:
        ValueError: no score, or no class, has that name.
    """
    kind, level, share, column = _parsed(score, counts)
    if column is not None:
        return _pooled(kind, counts.classes([column]))
    if level == "D":
        return _pooled(kind, counts)
    values = counts.per_class(kind)
    if level == "I":
        values = values.nanmean(1, keepdim=True)
    if share is None:
        return mean_of(values)
    shares = ALL_SHARES if share == "Q" else (int(share),)
    if not all(1 <= q <= 100 for q in shares):
        raise ValueError(f"`score={score!r}`: the share of worst images must be 1 to 100 percent.")
    return _worst_statistic(values, _fractions(shares))


def image_values(score: str, counts: ImageCounts) -> Tensor:
    """The score of every image ``(N,)``; nan where no class is present.

    Raises:
        ValueError: no score has that name, or it is one of the worst images.
    """
    kind, _, share, column = _parsed(score, counts)
    if share is not None:
        raise ValueError(
            f"`score={score!r}` is a score of the worst images, and no image has it alone. Pass "
            f"`m{kind}_I`."
        )
    return counts.per_image(kind) if column is None else counts.per_class(kind)[:, column]


def _parsed(score: str, counts: ImageCounts) -> tuple[str, str | None, str | None, int | None]:
    """The kind of a score, its level, its share of worst images and its class."""
    if of_class := re.fullmatch(r"(iou|dice|acc)/(.*)", score):
        kind = {"iou": "IoU", "dice": "Dice", "acc": "Acc"}[of_class[1]]
        columns = {name: c for c, name in enumerate(counts.names) if c not in counts.ignored}
        if of_class[2] not in columns:
            raise ValueError(
                f"`score={score!r}` names no scored class. The classes: {', '.join(columns)}."
            )
        return kind, None, None, columns[of_class[2]]
    parsed = re.fullmatch(r"m(IoU|Dice|Acc)_(?:(D)|([IC])(?:_(\d+|Q))?)", score)
    if not parsed:
        raise ValueError(
            f"`score` must be m<kind>_D, m<kind>_I, m<kind>_C, m<kind>_I_<q> or m<kind>_C_<q> with "
            f"kind IoU, Dice or Acc and q a percent or Q, or iou/<class>, dice/<class> or "
            f"acc/<class>, got {score!r}."
        )
    kind, pooled, level, share = parsed.groups()
    return kind, pooled or level, share, None


# --- Scores of weighted images --------------------------------------------------------------------


def _pooled(kind: str, counts: ImageCounts) -> Sums:
    """The mean over classes of their scores over the weighted images; sums are exact below 2⁵³."""
    # no formula tells the two kinds of errors from each other: two columns a class are enough
    errors = counts.fn if kind == "Acc" else counts.fp + counts.fn

    def score(sums: Tensor) -> Tensor:
        tp, fn = sums.chunk(2, -1)
        return counts.scores(kind, tp, torch.zeros_like(tp), fn).nanmean(-1)

    return Sums(torch.cat([counts.tp, errors], 1).double(), score)


def mean_of(values: Tensor) -> Sums:
    """The mean over K of the means of values ``(N, K)`` over the weighted images that have one."""

    def score(sums: Tensor) -> Tensor:
        total, images = sums.chunk(2, -1)
        return (total / images).nanmean(-1)

    return Sums(torch.cat([values.nan_to_num(), (~values.isnan()).double()], 1), score)


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
