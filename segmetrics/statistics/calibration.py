"""The probabilities of every image: calibration errors, Brier score and log loss with intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from segmetrics.probabilities.calibration import calibration_error, real
from segmetrics.statistics.resampled import ImageId, Resampled
from segmetrics.statistics.weighting import Sums


@dataclass(frozen=True, eq=False)
class CalibrationCounts(Resampled):
    """Bins of confidences and sums of errors of every image and class.

    A resample of the images pools their bins. Scores of several classes are means over them.

    Args:
        table: int64 ``(N, C, bins, 3)``: pixels, how many of them are right, and the sum of their
            confidences in fixed point.
        errors: int64 ``(N, C, 3)``: sums of squared errors and of finite log losses in fixed point,
            and how many losses are infinite.
        ids: N different names or integers; ``None`` where the images have none of their own.
    """

    table: Tensor
    errors: Tensor
    ids: tuple[ImageId, ...] | None = None

    def image_counts(self) -> CalibrationCounts:
        """Itself: what ``confidence_interval`` and ``compare`` ask a metric for."""
        return self

    def keys(self) -> tuple[str, ...]:
        """``ECE``, ``MCE``, ``brier`` and ``NLL``."""
        return tuple(SCORES)

    def statistic(self, score: str) -> Sums:
        """A score as a function of weights ``(B, N)`` → ``(B,)`` in float64.

        Raises:
            ValueError: there is no such score.
        """
        if score not in SCORES:
            raise ValueError(f"`score` must be one of {', '.join(SCORES)}, got {score!r}.")
        shape, bins = self.table.shape[1:], self.table[0].numel()
        parts = torch.cat([self.table.flatten(1), self.errors.flatten(1)], 1).double()

        def of_sums(sums: Tensor) -> Tensor:
            table = sums[..., :bins].unflatten(-1, shape)
            errors = sums[..., bins:].unflatten(-1, (shape[0], 3))
            return SCORES[score](table, errors).nanmean(-1)

        return Sums(parts, of_sums)

    def targets(self) -> Tensor:
        """Counted pixels and foreground of every class ``(N, 2 C)``."""
        return self.table[..., :2].sum(2).flatten(1)

    def higher_is_better(self, score: str) -> bool:
        """All are errors."""
        return False


def _mean(total: Tensor, table: Tensor) -> Tensor:
    return real(total) / table[..., 0].sum(-1)


#: A score of bins ``(..., C, bins, 3)`` and errors ``(..., C, 3)``.
SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ECE": lambda table, errors: calibration_error(table, "l1"),
    "MCE": lambda table, errors: calibration_error(table, "max"),
    "brier": lambda table, errors: _mean(errors[..., 0], table),
    "NLL": lambda table, errors: _mean(errors[..., 1], table).masked_fill(
        errors[..., 2] > 0, torch.inf
    ),
}
