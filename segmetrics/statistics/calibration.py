"""The calibration of each image: ECE, Brier score and log loss, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import torch
from torch import Tensor

from segmetrics.probabilities.calibration import Norm, calibration_error, real
from segmetrics.statistics.resampled import ImageId, Resampled
from segmetrics.statistics.tables import Tabular
from segmetrics.statistics.weighting import Statistic, Sums

#: The norms of the calibration errors by their keys.
NORMS: dict[str, Norm | Literal["average"]] = {"ECE": "l1", "MCE": "max", "ACE": "average"}
KEYS_OF_CALIBRATION = (*NORMS, "brier", "NLL")


@dataclass(frozen=True, eq=False)
class CalibrationCounts(Tabular, Resampled):
    """The bins of confidences and the sums of errors of every image.

    Made by ``CalibrationImageScores.image_counts()``. As a table it has one row an image. A
    resample of the images pools their bins; scores of C > 1 channels are means over them.

    Args:
        tables: int64 ``(N, C, bins, 3)``: pixels, right pixels, and the sum of confidences in
            multiples of 2**-24; C = 1 except for multilabel.
        squares: int64 ``(N, C)``, sums of squared errors in multiples of 2**-24.
        losses: int64 ``(N, C)``, sums of finite log losses in multiples of 2**-24.
        infinite: int64 ``(N, C)``, numbers of infinite losses.
        ids: N different names or integers; ``None`` if the images have no ids.
    """

    tables: Tensor
    squares: Tensor
    losses: Tensor
    infinite: Tensor
    ids: tuple[ImageId, ...] | None = None

    def image_counts(self) -> CalibrationCounts:
        """The table itself: statistics call this method of a metric."""
        return self

    def keys(self) -> tuple[str, ...]:
        """``ECE``, ``MCE``, ``ACE``, ``brier`` and ``NLL``."""
        return KEYS_OF_CALIBRATION

    def statistic(self, score: str) -> Statistic:
        """A score as a function of weights ``(B, N)`` → ``(B,)`` in float64.

        Raises:
            ValueError: there is no such score.
        """
        if score in NORMS:
            shape, norm = self.tables.shape[1:], NORMS[score]
            return Sums(
                self.tables.flatten(1).double(),
                lambda sums: calibration_error(sums.unflatten(-1, shape), norm).nanmean(-1),
            )
        if score not in KEYS_OF_CALIBRATION:
            raise ValueError(f"`score` must be one of {', '.join(self.keys())}, got {score!r}.")
        total = real(self.squares if score == "brier" else self.losses)
        infinite = self.infinite.double() * (score == "NLL")
        pixels = self.tables[..., 0].sum(-1).double()

        def mean(sums: Tensor) -> Tensor:
            total, infinite, pixels = sums.chunk(3, -1)
            value: Tensor = (total / pixels).where(infinite == 0, inf).nanmean(-1)
            return value

        return Sums(torch.cat([total, infinite, pixels], 1), mean)

    def targets(self) -> Tensor:
        """The counted pixels of every channel ``(N, C)``."""
        return self.tables[..., 0].sum(-1)

    def higher_is_better(self, score: str) -> bool:
        """False: all scores are errors."""
        return False

    def columns(self) -> dict[str, list[Any]]:
        """One row an image: its own scores."""
        values = {key: self.values(key).tolist() for key in KEYS_OF_CALIBRATION}
        return {"image": list(self.labels), **values}
