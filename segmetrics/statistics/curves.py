"""Curves of each image: AUROC, average precision, best Dice, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from segmetrics.probabilities import curves
from segmetrics.probabilities.cells import edges, edges_of_confidences
from segmetrics.scores import Statistics
from segmetrics.statistics.resampled import ImageId, Resampled
from segmetrics.statistics.tables import Tabular
from segmetrics.statistics.weighting import Statistic, Sums


def _average_precision(tables: Tensor) -> Tensor:
    """The midpoint of its bounds, as a cell holds several scores."""
    lower, upper = curves.average_precision_bounds(tables)
    middle: Tensor = (lower + upper) / 2
    return middle


#: Functions of pooled tables by key, except thresholds and Dice.
OF_TABLES: dict[str, Callable[[Tensor], Tensor]] = {
    "AUROC": curves.auroc,
    "AP": _average_precision,
    "FPR95": partial(curves.fpr_at_recall, recall=0.95),
}
#: Elements of pooled tables that are processed at once: 16 MiB.
AT_ONCE = 2**21


@dataclass(frozen=True, eq=False)
class CurveCounts(Tabular, Resampled):
    """The negatives and positives of every cell of scores, for every image and class.

    Made by ``CurveImageScores.image_counts()``. As a table it has one row an image. A resample of
    the images pools their tables.

    Args:
        tables: int64 ``(N, C, cells, 2)``, with C = 1 for a single curve.
        ids: N different names or integers; ``None`` if the images have no ids.
        class_names: C different names; empty for a single curve.
        ignored: classes that are left out, by index.
        score: the score of the best threshold, see ``BestThreshold``.
        from_logits: whether the cells are those of logits.
        halves: whether the cells are those of fp16.
        of_confidences: whether the cells are those of the confidence max(p, 1 - p) of one score.
    """

    tables: Tensor
    ids: tuple[ImageId, ...] | None = None
    class_names: tuple[str, ...] = ()
    ignored: tuple[int, ...] = ()
    score: str = "dice"
    from_logits: bool = False
    halves: bool = False
    of_confidences: bool = False

    def image_counts(self) -> CurveCounts:
        """The table itself: statistics call this method of a metric."""
        return self

    def keys(self) -> tuple[str, ...]:
        """``AUROC``, ``AP``, ``FPR95``, ``best_<score>``, ``OIS`` and ``best_threshold``.

        For several classes the means over classes, then ``<key>/<class>``.
        """
        means = (*OF_TABLES, f"best_{self.score}", "OIS")
        if not self.class_names:
            return (*means, "best_threshold")
        names = [name for c, name in enumerate(self.class_names) if c not in self.ignored]
        of_classes = (f"{key}/{name}" for key in (*means, "best_threshold") for name in names)
        return (*means, *of_classes)

    def statistic(self, score: str) -> Statistic:
        """A score as a function of weights ``(B, N)`` → ``(B,)`` in float64.

        Raises:
            ValueError: there is no such score.
        """
        key, choose = self._chosen(score)
        if key == "OIS":
            parts = self._at_own_thresholds()
            shape = parts.shape[1:]

            def ois(sums: Tensor) -> Tensor:
                s = Statistics(*sums.unflatten(-1, shape).unbind(-1))
                value: Tensor = choose(curves.FORMULAS[self.score](s))
                return value

            return Sums(parts.flatten(1), ois)
        return partial(self._pooled, key, choose)

    def values(self, score: str) -> Tensor:
        """The score of each single image ``(N,)`` in float64; nan where undefined."""
        key, choose = self._chosen(score)
        return choose(self._of(f"best_{self.score}" if key == "OIS" else key, self.tables))

    def targets(self) -> Tensor:
        """Negatives and positives of every class ``(N, 2 C)``."""
        return self.tables.sum(2).flatten(1)

    def higher_is_better(self, score: str) -> bool:
        """True, except for false positive rates."""
        return not score.startswith("FPR95")

    def is_quality(self, score: str) -> bool:
        """True, except for thresholds."""
        return not score.startswith("best_threshold")

    def columns(self) -> dict[str, list[Any]]:
        """One row an image: its own scores."""
        keys = [key for key in self.keys() if not key.startswith("OIS")]
        return {"image": list(self.labels), **{key: self.values(key).tolist() for key in keys}}

    def best_threshold(self) -> Tensor:
        """The best threshold of every class over all images ``(C,)``, in float64."""
        return self._best(self.tables.sum(0))[1]

    def _best(self, tables: Tensor) -> tuple[Tensor, Tensor]:
        """The best score of tables ``(..., cells, 2)``, and its threshold."""
        best: tuple[Tensor, Tensor] = curves.best(
            curves.over_thresholds(tables, self.score), self._cut
        )
        return best

    @property
    def _cut(self) -> Tensor:
        of = edges_of_confidences if self.of_confidences else edges
        cells = self.tables.shape[2]
        return torch.from_numpy(of(cells, from_logits=self.from_logits, halves=self.halves).cut)

    def _chosen(self, score: str) -> tuple[str, Callable[[Tensor], Tensor]]:
        """A key without its class, and the function that selects or averages ``(..., C)``."""
        if score not in self.keys():
            raise ValueError(f"`score` must be one of {', '.join(self.keys())}, got {score!r}.")
        key, _, name = score.partition("/")
        if name:
            column = self.class_names.index(name)
            return key, lambda values: values[..., column]
        kept = [c for c in range(self.tables.shape[1]) if c not in self.ignored]
        return key, lambda values: values[..., kept].nanmean(-1)

    def _of(self, key: str, tables: Tensor) -> Tensor:
        """Values of tables ``(..., C, cells, 2)``."""
        if key in OF_TABLES:
            return OF_TABLES[key](tables)
        best = self._best(tables)
        return best[1] if key == "best_threshold" else best[0]

    def _pooled(self, key: str, choose: Callable[[Tensor], Tensor], weights: Tensor) -> Tensor:
        """A score of the pooled tables of each resample."""
        parts, shape = self.tables.flatten(1).double(), self.tables.shape[1:]
        step = max(1, AT_ONCE // parts.shape[1])
        return torch.cat(
            [
                choose(self._of(key, (some @ parts).unflatten(-1, shape)))
                for some in weights.split(step)
            ]
        )

    def _at_own_thresholds(self) -> Tensor:
        """Counts of each image at its best threshold ``(N, C, 4)``: tp, fp, fn, tn, in float64.

        An image without positives or without negatives takes the threshold of all images.
        """
        _, thresholds = self._best(self.tables)
        thresholds = thresholds.where(~thresholds.isnan(), self.best_threshold())
        above = (self._cut > thresholds.unsqueeze(-1)).unsqueeze(-1)
        fp, tp = (self.tables * above).sum(2).double().unbind(-1)
        negatives, positives = self.tables.sum(2).double().unbind(-1)
        return torch.stack([tp, fp, positives - tp, negatives - fp], -1)


def of_keys(counts: CurveCounts) -> Iterator[tuple[str, Tensor]]:
    """The scores over all images by key, scalars in float64."""
    everything = torch.ones(1, len(counts), dtype=torch.float64)
    for key in counts.keys():  # noqa: SIM118  # not a mapping
        yield key, counts.statistic(key)(everything)[0]
