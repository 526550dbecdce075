"""Pixel counts of every image, the table of most statistics."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from segmetrics._arguments import one_of
from segmetrics.scores import Formula, Statistics, dice, iou, recall
from segmetrics.statistics.resampled import ImageId, Resampled
from segmetrics.statistics.tables import Table, Tabular
from segmetrics.statistics.weighting import (
    ALL_SHARES,
    WORST,
    Statistic,
    Sums,
    fractions,
    mean_of,
    worst_means,
    worst_of,
)

Presence = Literal["target", "either"]

#: The scores of a class by their name in keys.
FORMULAS: dict[str, Formula] = {"IoU": iou, "Dice": dice, "Acc": recall}

_SUFFIXES = ("D", *(f"{level}{q}" for level in "IC" for q in ("", "_1", "_5", "_10", "_Q")))
#: The names of all scores except those of single classes.
KEYS = tuple(f"m{kind}_{suffix}" for kind in FORMULAS for suffix in _SUFFIXES)
#: The keys of the usual scores, by the keys of ``scores.USUAL``.
USUAL_KEYS = {"mIoU": "mIoU_D", "mDice": "mDice_D", "mean_accuracy": "mAcc_D"}
#: The same, with those of a foreground, which are means over one class.
KEYS_OF_IMAGES = {**USUAL_KEYS, "iou": "mIoU_D", "dice": "mDice_D", "recall": "mAcc_D"}


@dataclass(frozen=True, eq=False)
class ImageCounts(Tabular, Resampled):
    """Pixel counts per image and class, and their scores.

    As a table it has one row an image; ``by_class`` has one row a class.

    Args:
        tp: true positives, int64 ``(N, C)``.
        fp: false positives, int64 ``(N, C)``.
        fn: false negatives, int64 ``(N, C)``.
        ids: N different names or integers; ``None`` if the images have no ids.
        class_names: C different names; ``None`` numbers the classes.
        ignored: classes that stay out of averages, as columns of ``tp``.
        presence: a class is present in an image if its target has it (``"target"``), or if its
            target or its prediction has it (``"either"``).
        zero_division: score of a class that no image has; nan leaves it out.

    Raises:
        ValueError: shapes that differ, or names of the wrong number or not unique.

    Example:
        >>> tp, fp, fn = torch.tensor([[[8], [2], [5]], [[1], [0], [4]], [[1], [2], [1]]])
        >>> from segmetrics.statistics import confidence_interval
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
        """The table itself: statistics call this method of a metric."""
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes, by default numbers."""
        return self.class_names or tuple(str(c) for c in range(self.tp.shape[1]))

    def classes(self, keep: Sequence[int]) -> ImageCounts:
        """The counts of some classes, by index, none of them ignored."""
        tp, fp, fn = (part[:, list(keep)] for part in (self.tp, self.fp, self.fn))
        names = tuple(self.names[c] for c in keep)
        return replace(self, tp=tp, fp=fp, fn=fn, class_names=names, ignored=())

    def columns(self) -> dict[str, list[Any]]:
        """One row an image: its means over classes, and the scores of the classes."""
        columns: dict[str, list[Any]] = {"image": list(self.labels)}
        of_class = {kind: self.per_class(kind) for kind in FORMULAS}
        for kind, values in of_class.items():
            columns[f"m{kind}"] = values.nanmean(1).tolist()
        for kind, values in of_class.items():
            for name, column in zip(self.names, values.unbind(1), strict=True):
                columns[f"{kind.lower()}/{name}"] = column.tolist()
        return columns

    def by_class(self) -> Table:
        """One row a class: the images in which it is present, and its scores over all of them."""
        scores = {
            kind.lower(): self.scores(kind, self.tp.sum(0), self.fp.sum(0), self.fn.sum(0)).tolist()
            for kind in FORMULAS
        }
        images = (~self.per_class("IoU").isnan()).sum(0).tolist()
        return Table({"class": list(self.names), "images": images, **scores})

    def per_class(self, kind: str) -> Tensor:
        """Scores per image and class ``(N, C)`` in float64; nan where the class is not present."""
        present = self.tp + self.fn
        if self.presence == "either":
            present = present + self.fp
        return self.scores(kind, self.tp, self.fp, self.fn).where(present > 0, nan)

    def per_image(self, kind: str) -> Tensor:
        """Scores per image ``(N,)``: the mean over the classes present in it."""
        return self.per_class(kind).nanmean(1)

    def scores(self, kind: str, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        """Scores ``(..., C)`` of counts; nan for ignored classes and where a score is 0/0."""
        one_of("score", kind, tuple(FORMULAS))
        # none of the formulas needs true negatives
        scores = FORMULAS[kind](Statistics(tp, fp, fn, torch.zeros_like(tp)), self.zero_division)
        for column in self.ignored:
            scores[..., column] = nan
        return scores

    # --- The protocol of statistics ---------------------------------------------------------------

    def keys(self) -> tuple[str, ...]:
        """The names of the scores. Any other share of worst images is one too."""
        scored = [name for c, name in enumerate(self.names) if c not in self.ignored]
        return (*KEYS, *(f"{kind.lower()}/{name}" for kind in FORMULAS for name in scored))

    def statistic(self, score: str) -> Statistic:
        """The score as a function of weights ``(B, N)`` → ``(B,)`` in float64.

        All scores are ``Sums``, except those of the worst images.

        Raises:
            ValueError: no score, or no class, has that name.
        """
        kind, level, share, column = _parsed(score, self)
        if column is not None:
            return _pooled(kind, self.classes([column]))
        if level == "D":
            return _pooled(kind, self)
        values = self.per_class(kind)
        if level == "I":
            values = values.nanmean(1, keepdim=True)
        if share is None:
            return mean_of(values)
        shares = ALL_SHARES if share == "Q" else (int(share),)
        if not all(1 <= q <= 100 for q in shares):
            raise ValueError(
                f"`score={score!r}`: the share of worst images must be 1 to 100 percent."
            )
        return worst_of(values, fractions(shares))

    def values(self, score: str) -> Tensor:
        """The score of every image ``(N,)``; nan where no class is present.

        Raises:
            ValueError: no score has that name, or it is a score of the worst images.
        """
        kind, _, share, column = _parsed(score, self)
        if share is not None:
            raise ValueError(
                f"`score={score!r}` is a score of the worst images, and a single image has none. "
                f"Pass `m{kind}_I`."
            )
        return self.per_image(kind) if column is None else self.per_class(kind)[:, column]

    def targets(self) -> Tensor:
        """The target pixels of every image and class ``(N, C)``."""
        return self.tp + self.fn

    def signature(self) -> Mapping[str, object]:
        """The classes and the settings of their scores."""
        return {
            name: getattr(self, name) for name in ("names", "ignored", "presence", "zero_division")
        }


class HasImageCounts(Protocol):
    """An object with pixel counts per image: ``ImageScores`` or ``ImageCounts``."""

    def image_counts(self) -> ImageCounts: ...


def all_scores(counts: ImageCounts, weights: Tensor) -> dict[str, Tensor]:
    """Every score of ``ImageScores`` in float64, for one weight ``(N,)`` an image.

    It does not synchronize a device.
    """
    found: dict[str, Tensor] = {}
    weights = weights.double()
    if not len(counts):
        return dict.fromkeys(KEYS, weights.new_full((), nan))
    shares = fractions(WORST + ALL_SHARES).to(weights.device, non_blocking=True)
    for kind in FORMULAS:
        found[f"m{kind}_D"] = _pooled(kind, counts)(weights)
        per_class = counts.per_class(kind)
        for level, values in (("I", per_class.nanmean(1, keepdim=True)), ("C", per_class)):
            found[f"m{kind}_{level}"] = mean_of(values)(weights)
            ordered, order = values.t().sort()
            defined = weights[order].where(~ordered.isnan(), 0.0)
            worst = worst_means(defined, ordered.nan_to_num(), shares).nanmean(0)
            for q, score in zip(WORST, worst, strict=False):
                found[f"m{kind}_{level}_{q}"] = score
            found[f"m{kind}_{level}_Q"] = worst[len(WORST) :].mean()
    return found


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


def _pooled(kind: str, counts: ImageCounts) -> Sums:
    """The mean over classes of their pooled scores. Sums are exact below 2⁵³."""

    def score(sums: Tensor) -> Tensor:
        tp, fn = sums.chunk(2, -1)
        return counts.scores(kind, tp, torch.zeros_like(tp), fn).nanmean(-1)

    return Sums(pooled_parts(kind, counts), score)


def pooled_parts(kind: str, counts: ImageCounts) -> Tensor:
    """The summands of the scores of classes ``(N, 2C)``: true positives and errors.

    No formula distinguishes the two kinds of errors.
    """
    errors = counts.fn if kind == "Acc" else counts.fp + counts.fn
    return torch.cat([counts.tp, errors], 1).double()
