"""The calibration of every image, kept under its id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from typing_extensions import Unpack

from segmetrics.counting.settings import InputFormat, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics.base import MetricKwargs
from segmetrics.metrics.calibration import check
from segmetrics.metrics.counted import counting_arguments
from segmetrics.metrics.rows import ScoredImages, each_once, rows_of
from segmetrics.metrics.views import checked_prefix
from segmetrics.probabilities import BAD_KINDS, Probabilities, count
from segmetrics.probabilities.calibration import explained_probability
from segmetrics.statistics import CalibrationCounts, ImageId
from segmetrics.statistics.calibration import KEYS_OF_CALIBRATION


@explained_probability
class CalibrationImageScores(ScoredImages[CalibrationCounts]):
    """Calibration errors, Brier score and log loss, with the bins of every image.

    ``segmetrics.statistics`` gives intervals that resample images and compares two models: an ECE
    with an interval. In [0, 1], but ``NLL`` and multiclass ``brier``. Keys, all as in
    ``ProbabilityMetrics``: ``ECE``, ``MCE`` (Guo et al., ICML 2017), ``ACE``, ``brier``, ``NLL``;
    of multilabel the means over the channels.

    The state has half a kB an image, times the channels of multilabel, gathered over processes.
    With ids, an image that came several times counts once; one id with different counts, or ids for
    some images only, raise ``ValueError`` in ``compute``.

    Args:
        n_bins: number of bins of equal width.

    Inputs of ``update`` and ``forward``:
        ``preds``: scores ``(N, C, ...)`` in fp32, fp64, fp16 or bf16. Binary: ``(N, ...)`` or
        ``(N, 1, ...)``. ``target``: integer or bool labels ``(N, ...)``; one-hot ``(N, C, ...)``.
        Binary: ``(N, ...)`` or ``(N, 1, ...)``. Multilabel: ``(N, C, ...)``. ``...`` is any number
        of spatial dimensions. An empty batch changes nothing.

    Returns (``compute`` and ``forward``):
        dict of float32 scalars by key; nan if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics import CalibrationImageScores
        >>> from segmetrics.statistics import confidence_interval
        >>> images = CalibrationImageScores(task="binary", n_bins=5)
        >>> preds = torch.tensor([[[0.1, 0.8, 0.7]], [[0.3, 0.2, 0.6]], [[0.4, 0.6, 0.1]]])
        >>> images.update(preds, torch.tensor([[[0, 1, 1]], [[1, 0, 1]], [[1, 0, 0]]]))
        >>> print(confidence_interval(images, "ECE"))
        ECE 0.178 [0.144, 0.433] (95 %, 3 images)
    """

    _inputs = ("preds", "target", "image_ids")
    worst_by, worst_title = "ECE", "ECE"

    def __init__(
        self,
        num_classes: int | LabelSpace | None = None,
        *,
        n_bins: int = 15,
        from_logits: bool = False,
        ignore_index: int | Sequence[int] | None = None,
        task: Task = "multiclass",
        upsample: Upsample | None = None,
        input_format: InputFormat | None = None,
        prefix: str | None = None,
        **metric_kwargs: Unpack[MetricKwargs],
    ) -> None:
        keys_prefix = checked_prefix(prefix)
        reading = Probabilities.reading(
            num_classes,
            n_bins=n_bins,
            from_logits=from_logits,
            ignore_index=ignore_index,
            task=task,
            upsample=upsample,
            input_format=input_format,
            per_image=True,
        )
        super().__init__(**metric_kwargs)
        self.counting, self.prefix = reading, keys_prefix
        self.label_space = num_classes if isinstance(num_classes, LabelSpace) else None
        self._add_rows(f"probabilities_{reading.name}", reading.cells + len(BAD_KINDS))
        self._add_views()

    def _keys(self) -> list[str]:
        return [self.prefix + key for key in KEYS_OF_CALIBRATION]

    @explained_probability
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
        return rows_of(count(preds, target, self.counting), image_ids)

    def _value(self, *states: Tensor) -> dict[str, Tensor]:
        rows, first = each_once(states[0])
        counts = self._counts(rows)
        weights = first.double().view(1, -1).to(counts.tables.device)
        values = torch.cat([counts.statistic(key)(weights) for key in KEYS_OF_CALIBRATION])
        return dict(zip(self._keys(), values.float().to(self.device).unbind(), strict=True))

    def _check_rows(self, rows: Tensor) -> None:
        check(rows.sum(0, keepdim=True), self.counting)

    def _counts(self, rows: Tensor, ids: tuple[ImageId, ...] | None = None) -> CalibrationCounts:
        sums = self.counting.sums(rows)
        losses, infinite = sums.losses.squeeze(-1), sums.infinite.squeeze(-1)
        return CalibrationCounts(sums.table, sums.squares, losses, infinite, ids)

    def _arguments(self) -> dict[str, tuple[object, object]]:
        arguments = counting_arguments(self.counting, self.label_space)
        for name in ("threshold", "aggregation_level"):  # there are no such arguments
            del arguments[name]
        return arguments | {
            "n_bins": (self.counting.bins, 15),
            "prefix": (self.prefix, ""),
        }
