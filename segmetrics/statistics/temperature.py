"""The temperature that calibrates a model's logits."""

from __future__ import annotations

from math import exp, log
from typing import Protocol

from torch import Tensor


class HasLosses(Protocol):
    """A metric with the log loss at several temperatures: ``NegativeLogLikelihood``."""

    temperatures: tuple[float, ...]

    def compute(self) -> Tensor: ...


def best_temperature(losses: HasLosses) -> float:
    """The temperature with the lowest log loss of the logits: temperature scaling.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2. The losses
    come from a grid of temperatures in one pass over the data. The result is the minimum of the
    parabola in ln T through the lowest loss and its two neighbours. In a grid with steps of 20 % it
    is within 1 % of the exact one. Fit it on validation data, then divide the model's logits by it:
    predicted labels stay the same. Like ``compute``, every process must call it.

    Args:
        losses: a ``NegativeLogLikelihood`` with at least three ``temperatures``, that was updated.

    Returns:
        A temperature between the lowest and the highest of the grid.

    Raises:
        ValueError: fewer than three temperatures, a loss of every class instead of one, an
            undefined or infinite loss, or the lowest loss is at an end of the grid.

    Example:
        >>> import torch
        >>> from segmetrics import NegativeLogLikelihood
        >>> from segmetrics.statistics import best_temperature
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = torch.randn((4, 3, 64, 64), generator=generator)
        >>> chances = logits.softmax(1).movedim(1, -1).reshape(-1, 3)
        >>> target = chances.multinomial(1, generator=generator).view(4, 64, 64)
        >>> grid = [1.2**i for i in range(8)]
        >>> nll = NegativeLogLikelihood(3, from_logits=True, temperatures=grid)
        >>> nll.update(2 * logits, target)  # twice as confident as it should be
        >>> round(best_temperature(nll))
        2
    """
    temperatures, values = losses.temperatures, losses.compute()
    if len(temperatures) < 3:
        raise ValueError(
            f"`losses` must have at least three temperatures, got {len(temperatures)}. Make it "
            "with `NegativeLogLikelihood(..., from_logits=True, temperatures=[0.5, ..., 4])`."
        )
    if values.ndim != 1:
        raise ValueError(
            f"`losses` must have one loss for each temperature, got {tuple(values.shape)}: one for "
            'each class. Leave out `average="none"`.'
        )
    if not values.isfinite().all():
        raise ValueError(
            f"`losses` must be finite, got {values.tolist()}. Was it updated, and are no logits "
            "infinite?"
        )
    at = int(values.argmin())
    if at in (0, len(temperatures) - 1):
        raise ValueError(
            f"the lowest loss is at the {'highest' if at else 'lowest'} temperature, "
            f"{temperatures[at]:g}. Pass `temperatures` that go further."
        )
    (a, b, c), (x, y, z) = (
        (sequence[at - 1], sequence[at], sequence[at + 1])
        for sequence in ([log(t) for t in temperatures], values.double().tolist())
    )
    left, right = (b - a) * (y - z), (b - c) * (y - x)
    if left == right:  # all three are equal
        return temperatures[at]
    return exp(b - ((b - a) * left - (b - c) * right) / (left - right) / 2)
