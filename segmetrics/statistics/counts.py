"""Counts of every image: what all statistics are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from segmetrics._arguments import one_of
from segmetrics.scores import Formula, Statistics, dice, iou, recall
from segmetrics.statistics.tables import Table, Tabular

ImageId = int | str
Presence = Literal["target", "either"]

#: The scores of a class by the name they have in a key.
FORMULAS: dict[str, Formula] = {"IoU": iou, "Dice": dice, "Acc": recall}


@dataclass(frozen=True, eq=False)
class ImageCounts(Tabular):
    """Counts per image and class, with what it takes to score them.

    As a table it has one row an image; ``by_class`` has one row a class.

    Args:
        tp: true positives, int64 ``(N, C)``.
        fp: false positives, int64 ``(N, C)``.
        fn: false negatives, int64 ``(N, C)``.
        ids: N different names or integers; ``None`` where the images have none of their own.
        class_names: C different names; ``None`` numbers the classes.
        ignored: classes that stay out of averages, as columns of ``tp``.
        presence: a class is present in an image if its target has it (``"target"``), or its target
            or its prediction (``"either"``).
        zero_division: score of a class that no image has; nan leaves it out.

    Raises:
        ValueError: shapes that differ, or names that are not as many or not different.

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

    def classes(self, keep: Sequence[int]) -> ImageCounts:
        """The counts of some classes, by index; none of them is ignored any more."""
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


class HasImageCounts(Protocol):
    """Something that keeps counts per image: ``ImageScores`` or ``ImageCounts``."""

    def image_counts(self) -> ImageCounts: ...
