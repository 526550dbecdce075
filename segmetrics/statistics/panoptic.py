"""Segments of every image, the table of panoptic quality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from segmetrics.objects.panoptic import FN, FP, KINDS, TP, panoptic_scores, quality
from segmetrics.statistics.resampled import ImageId, Resampled
from segmetrics.statistics.tables import Table, Tabular
from segmetrics.statistics.weighting import Statistic, Sums


@dataclass(frozen=True, eq=False)
class PanopticCounts(Tabular, Resampled):
    """Segments per image and category, for intervals and comparisons of panoptic quality.

    As a table it has one row an image; ``by_class`` has one row a category.

    Args:
        counts: int64 ``(N, C, 4)``: matched, false and missed segments, and the sum of the IoU of
            matched ones in units of 2⁻⁴⁰.
        class_names: C different names; things first.
        things: the number of categories that are things.
        ids: N different names or integers; ``None`` if the images have no ids.
        settings: all other settings that affect the counts.

    Example:
        >>> import torch
        >>> from segmetrics.statistics import PanopticCounts, confidence_interval
        >>> one = 2**40
        >>> counts = torch.tensor([[[2, 0, 0, 2 * one]], [[1, 0, 1, one]], [[0, 1, 1, 0]]])
        >>> print(confidence_interval(PanopticCounts(counts, ("car",), things=1), "PQ"))
        PQ 0.667 [0.000, 1.000] (95 %, 3 images)
    """

    counts: Tensor
    class_names: tuple[str, ...]
    things: int
    ids: tuple[ImageId, ...] | None = None
    settings: tuple[tuple[str, object], ...] = ()

    def __post_init__(self) -> None:
        if self.counts.ndim != 3 or self.counts.shape[1:] != (len(self.class_names), 4):
            raise ValueError(
                f"`counts` must be (N, C, 4) for C = {len(self.class_names)} names, got "
                f"{tuple(self.counts.shape)}."
            )

    def image_counts(self) -> PanopticCounts:
        """The table itself: statistics call this method of a metric."""
        return self

    def keys(self) -> tuple[str, ...]:
        """The names of the scores."""
        return tuple(self._scores(self.counts[:0].sum(0)))

    def statistic(self, score: str) -> Statistic:
        """A score over weighted images."""
        if score not in self.keys():
            raise ValueError(f"`score` must be one of {', '.join(self.keys())}, got {score!r}.")
        return Sums(
            self.counts.flatten(1).double(),
            lambda sums: self._scores(sums.unflatten(-1, (-1, 4)))[score],
        )

    def targets(self) -> Tensor:
        """The target's segments per image and category; none if predictions may be void."""
        if dict(self.settings).get("allow_unknown_preds_category"):
            return self.counts.new_zeros((len(self.counts), 0))
        return self.counts[..., TP] + self.counts[..., FN]

    def scores(self) -> dict[str, float]:
        """The scores over all images."""
        found = self._scores(self.counts.sum(0))
        return {key: float(value) for key, value in found.items()}

    def columns(self) -> dict[str, list[Any]]:
        """One row an image: its scores, means over the categories in it."""
        found = {key: value.tolist() for key, value in self._scores(self.counts).items()}
        return {"image": list(self.labels), **found}

    def by_class(self) -> Table:
        """One row a category: its scores over all images, and its segments."""
        total = self.counts.sum(0)
        qualities = zip(KINDS, quality(total), strict=True)
        return Table(
            {
                "class": list(self.class_names),
                "isthing": [c < self.things for c in range(len(self.class_names))],
                **{kind.lower(): values.tolist() for kind, values in qualities},
                **{
                    name: total[:, column].tolist()
                    for name, column in (("tp", TP), ("fp", FP), ("fn", FN))
                },
            }
        )

    def _scores(self, counts: Tensor) -> Mapping[str, Tensor]:
        modified = bool(dict(self.settings).get("modified"))
        return panoptic_scores(counts, self.class_names, self.things, modified=modified)
