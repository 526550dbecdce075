"""The usual scores of probabilities from one update, as a flat dict that Lightning logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from segmetrics.counting.settings import InputFormat, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.metrics.base import MetricKwargs
from segmetrics.metrics.calibration import ProbabilityMetric, bins_of, draw_bins
from segmetrics.metrics.views import ThresholdMetric, checked_prefix
from segmetrics.probabilities.calibration import (
    Bins,
    CalibrationRecipe,
    MeanErrorRecipe,
    calibration_error_recipe,
    explained_probability,
)
from segmetrics.probabilities.inputs import BAD_KINDS, ProbabilityArguments
from segmetrics.probabilities.ranking import count_cells
from segmetrics.probabilities.recipes import (
    CurveRecipe,
    auroc_recipe,
    average_precision_recipe,
    best_recipe,
    fpr_at_recall_recipe,
)


def draw_dice(dice: Tensor, threshold: Tensor, best: tuple[float, float]) -> tuple[Any, Any]:
    """Draw the Dice score over the threshold, and mark the best threshold and its score."""
    from segmetrics.plotting import lines

    title = f"best Dice {best[1]:.4f} at {best[0]:.4f}"
    return lines([("", threshold, dice)], ("threshold", "Dice"), title=title, points=[best])


@explained_probability
class ProbabilityMetrics(ThresholdMetric, ProbabilityMetric):
    """The usual scores of probabilities from one update and one sync.

    In [0, 1], but ``NLL`` and multiclass ``brier``. Keys: ``ECE`` and ``MCE``, the expected and the
    maximum calibration error (Guo et al., ICML 2017); ``ACE``, the average one: the mean gap over
    the bins that hold pixels (Neumann et al., 2018), as netcal and MONAI name it; ``brier``
    (``BrierScore``) and ``NLL`` (``NegativeLogLikelihood``). For ``task="binary"`` and
    ``"multilabel"`` also ``AUROC``, ``AP`` (``AveragePrecision``), ``FPR95`` (``FPRAtRecall``), and
    ``best_threshold``, at which the Dice score is the highest, ``best_dice``. Multilabel scores are
    means over the channels, but the best threshold is one for all channels, whose pixels are
    pooled. Each value is that of the metric of its name.

    In a LightningModule ``self.log_dict(self.probabilities)`` in ``on_validation_epoch_end`` logs
    every key, with one sync an epoch and an automatic reset.

    Args:
        n_bins: number of bins of equal width.

    Returns (``compute`` and ``forward``):
        dict of scalars by key, float32, ``best_threshold`` float64; nan if no pixel was counted.

    Example:
        >>> import torch
        >>> from segmetrics import ProbabilityMetrics
        >>> metrics = ProbabilityMetrics(task="binary", n_bins=10)
        >>> metrics.update(torch.tensor([[[0.9, 0.8, 0.7, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]]))
        >>> {name: round(value.item(), 3) for name, value in metrics.compute().items()}
        {'ECE': 0.275, 'MCE': 0.7, 'ACE': 0.275, 'brier': 0.138, 'NLL': 0.409, 'AUROC': 1.0,
         'AP': 1.0, 'FPR95': 0.0, 'best_threshold': 0.7, 'best_dice': 1.0}
    """

    higher_is_better = None  # type: ignore[assignment]  # neither, as in torchmetrics

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
        read_as = ProbabilityArguments(
            ignore_index=ignore_index, task=task, upsample=upsample, input_format=input_format
        )
        error = calibration_error_recipe(
            num_classes, n_bins=n_bins, from_logits=from_logits, **read_as
        )
        super().__init__(error.reading, num_classes, **metric_kwargs)
        self.error = error
        self.recipes: dict[str, CalibrationRecipe] = {
            "ECE": error,
            "MCE": replace(error, norm="max"),
            "ACE": replace(error, norm="average"),
            "brier": MeanErrorRecipe(error.reading, "macro", "brier"),
            "NLL": MeanErrorRecipe(error.reading, "macro", "nll"),
        }
        self.curves: dict[str, CurveRecipe] = {}
        if task != "multiclass":
            self.curves = {
                "AUROC": auroc_recipe(num_classes, from_logits=from_logits, **read_as),
                "AP": average_precision_recipe(num_classes, from_logits=from_logits, **read_as),
                "FPR95": fpr_at_recall_recipe(num_classes, from_logits=from_logits, **read_as),
            }
            best = best_recipe(num_classes, from_logits=from_logits, **read_as)
            self.best = replace(best, average="micro")
            self._add_sum(f"cells_{best.ranking.name}", best.ranking.cells + len(BAD_KINDS))
        self.prefix = keys_prefix
        self._add_views()

    def _keys(self) -> list[str]:
        best = ["best_threshold", "best_dice"] if self.curves else []
        return [self.prefix + key for key in [*self.recipes, *self.curves, *best]]

    def _batch(self, preds: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        bins = super()._batch(preds, target)
        if not self.curves:
            return bins
        cells = count_cells(preds, target, self.best.ranking)
        if cells.device.type == "cpu" and not torch.compiler.is_compiling():
            self.best.ranking.check_dtypes(self._states[1].to(cells.device), cells)
        return (*bins, cells)

    def _check(self, *states: Tensor) -> None:
        super()._check(*states)
        if self.curves:
            self.best.ranking.check(states[1])

    def _value(self, *states: Tensor) -> dict[str, Tensor]:
        values = [recipe.of(states[0]) for recipe in self.recipes.values()]
        if self.curves:
            values += [recipe.of(states[1]) for recipe in self.curves.values()]
            dice, threshold = self.best.best(states[1])
            values += [threshold.squeeze(-1), dice.squeeze(-1)]
        return self._of_keys(values)

    def plot(
        self, val: dict[str, Tensor] | Sequence[dict[str, Tensor]] | None = None, ax: Any = None
    ) -> tuple[Any, Any]:
        """Draw the reliability diagram, see ``CalibrationError.plot``; of multilabel, all channels.

        Given values are drawn as by torchmetrics. Needs matplotlib. Like ``compute``, every
        process must call it, unless values are given.

        Args:
            val: a value of ``compute`` or ``forward``, or a sequence of them over time; by default
                that of the current state.
            ax: matplotlib axes to draw on, instead of a new figure.

        Returns:
            The matplotlib figure and axes.
        """
        if val is not None:
            return self._plot(val, ax)
        ece = self.compute()[f"{self.prefix}ECE"].item()
        return draw_bins(self.bins(), self.counting, self._names(), f"ECE {ece:.4f}", ax)

    def bins(self) -> Bins:
        """The bins over all batches and processes, see ``CalibrationError.bins``."""
        return bins_of(self, self.error)

    def _over_thresholds(self) -> tuple[Tensor, Tensor] | None:
        """Dice ``(n,)`` over the threshold ``(n,)``, of all processes; None without thresholds."""
        if not self.curves:
            return None
        with self._synced():
            dice, threshold = self.best.over_thresholds(self._states[1])
        return dice[0], threshold

    def _arguments(self) -> dict[str, tuple[object, object]]:
        arguments = super()._arguments() | {"n_bins": (self.counting.bins, 15)}
        del arguments["class_names"]
        return arguments | {"prefix": (self.prefix, "")}
