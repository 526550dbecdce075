"""Hugging Face's ``Trainer``: metrics counted batch by batch during evaluation."""

from __future__ import annotations

from copy import deepcopy
from math import nan
from typing import Any, Protocol

from torch import Tensor

from segmetrics._help import explained
from segmetrics.metrics.base import SumMetric


class EvalPrediction(Protocol):
    """The attributes of ``transformers.EvalPrediction`` that are read."""

    predictions: Any
    label_ids: Any


@explained
class ComputeMetrics:
    """``compute_metrics`` of a ``Trainer`` with ``batch_eval_metrics=True``: counts every batch.

    Logits are not collected. With the last batch it returns the scores, which ``Trainer`` logs
    under ``eval_<key>``, and resets. With ``upsample="bilinear"`` the metric takes logits at a
    lower resolution, as SegFormer's at a quarter of the size. ``Trainer`` gathers the batches of
    all processes, so the metric does not sync again.

    Called with ``compute_result=False`` it returns ``{}``, with ``True`` floats by key. A metric
    without keys has the name of its class as key. An undefined score is nan.

    Args:
        metric: a metric of segmetrics. A copy of it, ``ComputeMetrics.metric``, counts. After an
            interrupted evaluation call ``ComputeMetrics.metric.reset()``.

    Raises:
        TypeError: ``metric`` is not a metric of segmetrics, or the model returns more than logits.
        ValueError: ``Trainer`` passes the whole set at once, as ``batch_eval_metrics`` is off.

    Example:
        >>> import torch
        >>> from types import SimpleNamespace
        >>> from segmetrics import SegmentationMetrics
        >>> from segmetrics.integrations.transformers import ComputeMetrics
        >>> compute_metrics = ComputeMetrics(SegmentationMetrics(2, per_class=False))
        >>> labels = torch.tensor([[[0, 1], [1, 1]]])
        >>> batch = SimpleNamespace(predictions=labels, label_ids=labels)  # Trainer passes this
        >>> compute_metrics(batch, compute_result=False)
        {}
        >>> compute_metrics(batch, compute_result=True)["mIoU"]
        1.0
    """

    def __init__(self, metric: SumMetric) -> None:
        if not isinstance(metric, SumMetric):
            raise TypeError(
                f"`metric` must be a metric of segmetrics, got {type(metric).__name__}. For "
                "several scores pass `SegmentationMetrics(...)`."
            )
        self.metric: SumMetric = deepcopy(metric)
        self.metric.reset()
        # Trainer gathers the batches of all processes: a sync would count them once a process
        self.metric.sync_on_compute = self.metric._to_sync = False

    def __call__(
        self, eval_prediction: EvalPrediction, compute_result: bool | None = None
    ) -> dict[str, float]:
        """Count a batch; with ``compute_result`` also return the scores and reset."""
        if compute_result is None:
            raise ValueError(
                "`ComputeMetrics` counts batch by batch, but was called without `compute_result`. "
                "Pass `batch_eval_metrics=True` to `TrainingArguments`."
            )
        preds, target = eval_prediction.predictions, eval_prediction.label_ids
        for name, value in (("predictions", preds), ("label_ids", target)):
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"`{name}` must be a tensor, got {type(value).__name__}. If the model returns "
                    "more than logits, pass `preprocess_logits_for_metrics=lambda outputs, labels: "
                    "outputs[0]` to `Trainer`."
                )
        self.metric.to(target.device)
        self.metric.update(preds, target)
        if not compute_result:
            return {}
        scores = self.metric.compute_scalars()
        self.metric.reset()
        return {key: nan if score is None else score for key, score in scores.items()}
