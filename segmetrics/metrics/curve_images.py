"""The ranking of every image's pixels, kept under its id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from typing_extensions import Unpack

from segmetrics._arguments import one_of
from segmetrics.counting.settings import InputFormat, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics.base import MetricKwargs
from segmetrics.metrics.counted import checked_names, counting_arguments, default_names
from segmetrics.metrics.rows import ScoredImages, each_once, rows_of
from segmetrics.metrics.views import ThresholdMetric, checked_prefix
from segmetrics.probabilities import curves
from segmetrics.probabilities.inputs import BAD_KINDS
from segmetrics.probabilities.ranking import Positive, Ranking, count_cells
from segmetrics.probabilities.recipes import explained_curve
from segmetrics.statistics import CurveCounts, ImageId
from segmetrics.statistics.curves import of_keys


@explained_curve
class CurveImageScores(ThresholdMetric, ScoredImages[CurveCounts]):
    """AUROC, average precision and the best threshold, with the table of every image.

    ``segmetrics.statistics`` gives intervals that resample images and compares two models. Scores
    are in [0, 1]. Keys: ``AUROC``, ``AP``, ``FPR95``; ``best_dice``, the Dice of all images
    at the one threshold that is best for it (ODS), and ``best_threshold``; ``OIS``, the Dice of
    counts pooled at the best threshold of each image. Arbelaez et al., "Contour Detection and
    Hierarchical Image Segmentation", PAMI 2011, section 3.1. For several classes the means over
    them, followed by ``<key>/<class>``.

    The state has 4 kB an image and class, gathered over processes: 512 cells, of equal width in
    ``arcsin(sqrt(p))``, in which scores are tied. With ids, an image that came several times counts
    once; one id with different counts, or ids for some images only, raise ``ValueError`` in
    ``compute``.

    Args:
        score: what the best thresholds are best for, as in keys: ``"dice"``, ``"f1"``, ``"iou"`` or
            ``"youden"``.
        cells: from 2 to 2**16, per image and class.

    Inputs of ``update`` and ``forward``:
        ``preds``: scores ``(N, C, ...)`` in fp32, fp64, fp16 or bf16. Binary: ``(N, ...)`` or
        ``(N, 1, ...)``. ``target``: integer or bool labels ``(N, ...)``; one-hot ``(N, C, ...)``.
        Binary: ``(N, ...)`` or ``(N, 1, ...)``. Multilabel: ``(N, C, ...)``. ``...`` is any number
        of spatial dimensions. An empty batch changes nothing.

    Returns (``compute`` and ``forward``):
        dict of scalars by key, float32, thresholds float64; nan without a positive or without a
        negative.

    Example:
        >>> import torch
        >>> from segmetrics import CurveImageScores
        >>> from segmetrics.statistics import confidence_interval
        >>> images = CurveImageScores(task="binary")
        >>> preds = torch.tensor([[[0.1, 0.8, 0.7]], [[0.3, 0.2, 0.6]], [[0.4, 0.6, 0.1]]])
        >>> images.update(preds, torch.tensor([[[0, 1, 1]], [[1, 0, 1]], [[1, 0, 0]]]))
        >>> {key: round(value.item(), 3) for key, value in images.compute().items()}
        {'AUROC': 0.875, 'AP': 0.902, 'FPR95': 0.25, 'best_dice': 0.909, 'OIS': 0.909,
         'best_threshold': 0.3}
        >>> print(confidence_interval(images, "AUROC"))
        AUROC 0.875 [0.500, 1.000] (95 %, 3 images)
    """

    _inputs = ("preds", "target", "image_ids")
    worst_by, worst_title = "AP", "average precision"

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        score: str = "dice",
        ignore_index: int | Sequence[int] | None = None,
        task: Task = "multiclass",
        from_logits: bool = False,
        positive: Positive = "class",
        cells: int = 512,
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        class_names: Sequence[str] | None = None,
        prefix: str | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        one_of("score", score, tuple(curves.FORMULAS))
        keys_prefix = checked_prefix(prefix)
        ranking = Ranking.ranking(
            num_classes,
            ignore_index=ignore_index,
            task=task,
            from_logits=from_logits,
            positive=positive,
            cells=cells,
            upsample=upsample,
            input_format=input_format,
            per_image=True,
        )
        super().__init__(**metric_kwargs)
        self.counting, self.score, self.prefix = ranking, score, keys_prefix
        self.label_space = num_classes if isinstance(num_classes, LabelSpace) else None
        self.class_names = checked_names(class_names, ranking, self.label_space)
        self._packed = ranking.tables * ranking.resolution
        self._add_rows(f"cells_{ranking.name}", self._packed + 3 + len(BAD_KINDS))
        self._add_views()

    def _keys(self) -> list[str]:
        none = torch.zeros(0, self._packed + 3 + len(BAD_KINDS), dtype=torch.int64)
        return [self.prefix + key for key in self._counts(none).keys()]  # noqa: SIM118

    @explained_curve
    def update(
        self,
        preds: Tensor,
        target: Tensor,
        image_ids: Tensor | Iterable[ImageId] | None = None,
    ) -> None:
        """Count a batch.

        Args:
            image_ids: one name or integer an image, unique in the data set, for all images or none.
        """
        self._add(self._batch(preds, target, image_ids))

    def _batch(
        self, preds: Tensor, target: Tensor, image_ids: Tensor | Iterable[ImageId] | None = None
    ) -> tuple[Tensor, ...]:
        counts = count_cells(preds, target, self.counting)
        negatives, positives = self.counting.table(counts).flatten(1, 2).unbind(-1)
        packed = negatives + (positives << 32)  # an image has fewer than 2**31 pixels
        return rows_of(torch.cat([packed, counts[:, self.counting.cells - 3 :]], 1), image_ids)

    def _value(self, *states: Tensor) -> dict[str, Tensor]:
        rows, first = each_once(states[0])
        found = of_keys(self._counts(rows[first].cpu()))
        return self._of_keys(value for _, value in found)

    def _check_rows(self, rows: Tensor) -> None:
        tail = rows[:, self._packed :].sum(0)
        self.counting.check(torch.cat([tail.new_zeros(self.counting.cells - 3), tail])[None])

    def _counts(self, rows: Tensor, ids: tuple[ImageId, ...] | None = None) -> CurveCounts:
        ranking = self.counting
        packed = rows[:, : self._packed].view(-1, ranking.tables, ranking.resolution)
        several = ranking.task != "binary" and ranking.positive == "class"
        names = self.class_names or [str(label) for label in range(ranking.num_classes)]
        return CurveCounts(
            torch.stack([packed & (2**32 - 1), packed >> 32], -1),
            ids=ids,
            class_names=tuple(names) if several else (),
            ignored=ranking.ignored_classes if several else (),
            score=self.score,
            from_logits=ranking.ranks_logits,
            halves=bool(rows[:, self._packed + 1].any()),
            of_confidences=ranking.folds,
        )

    def _arguments(self) -> dict[str, tuple[object, object]]:
        arguments = counting_arguments(self.counting, self.label_space)
        for name in ("threshold", "aggregation_level"):  # there are no such arguments
            del arguments[name]
        return arguments | {
            "score": (self.score, "dice"),
            "positive": (self.counting.positive, "class"),
            "cells": (self.counting.resolution, 512),
            "class_names": (self.class_names, default_names(self.label_space)),
            "prefix": (self.prefix, ""),
        }
