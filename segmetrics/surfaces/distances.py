"""Measures of the distances between two surfaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

Scalar = float | Tensor


class DirectedDistances(Protocol):
    """Distances from every piece of one surface to the nearest piece of another.

    In float32 and in the units of the spacing. The size of a piece is 1 for pixels, a length or an
    area for elements.
    """

    @property
    def size(self) -> Scalar:
        """The size of the surface."""

    def total(self) -> Scalar:
        """The sum of the distances, weighted by the pieces' sizes."""

    def within(self, tolerance: float) -> Scalar:
        """The size of the surface within a tolerance, which is rounded to float32.

        So a distance and a tolerance that are the same multiple of the spacing compare equal.
        """

    def percentile(self, percent: float) -> Scalar:
        """The distance within which this share of the surface lies.

        Interpolated linearly for pixels; for elements the smallest distance that suffices, see
        ``share_of_size``.
        """

    def pooled(self, other: Self) -> Self:
        """The distances of both surfaces together."""


class Distances(NamedTuple):
    """The distances between two surfaces, in both directions."""

    to_target: DirectedDistances
    to_preds: DirectedDistances


Measure = Callable[[Distances], Scalar]


def hausdorff(
    distances: Distances,
    *,
    percentile: float = 100.0,
    directed: bool = False,
    pooled: bool = False,
) -> Scalar:
    """The ``percentile`` of the distances: the larger of both directions, of one, or pooled."""
    there, back = distances
    if directed:
        return there.percentile(percentile)
    if pooled:
        return there.pooled(back).percentile(percentile)
    to_target, to_preds = (torch.as_tensor(each.percentile(percentile)) for each in distances)
    return torch.maximum(to_target, to_preds)


def average_distance(distances: Distances, *, symmetric: bool = True) -> Scalar:
    """The mean distance of both directions pooled, or from prediction to target only."""
    there, back = distances
    if not symmetric:
        return there.total() / there.size
    return (there.total() + back.total()) / (there.size + back.size)


def surface_dice(distances: Distances, *, tolerance: float) -> Scalar:
    """The share of both surfaces that lies within the tolerance of the other."""
    there, back = distances
    return (there.within(tolerance) + back.within(tolerance)) / (there.size + back.size)


def boundary_f1(distances: Distances, *, tolerance: float) -> Scalar:
    """The harmonic mean of the shares of each surface within the tolerance of the other."""
    there, back = distances
    precision = there.within(tolerance) / there.size
    recall = back.within(tolerance) / back.size
    return 2 * precision * recall / (precision + recall + _TINY)


def share_of_size(percent: float) -> float:
    """The share of a sum of sizes, lowered by more than the rounding of sums."""
    return percent / 100 * (1 - 1e-9)


def _quantile(values: NDArray[np.float32], share: float) -> float:
    """``np.quantile`` in float64, at a tenth of its fixed cost, which is most of a small mask's."""
    place = share * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    parted = np.partition(values, (below, above))
    low, high = float(parted[below]), float(parted[above])
    return low + (high - low) * (place - below)


#: Makes 0 / 0 0 and changes no other quotient.
_TINY = float(np.finfo(np.float64).tiny)


class Pieces:
    """``DirectedDistances`` on the CPU: of each piece, with sizes unless pieces are pixels."""

    def __init__(self, values: NDArray[np.float32], sizes: NDArray[np.float64] | None) -> None:
        self.values = values
        self.sizes = sizes

    @property
    def size(self) -> float:
        return float(len(self.values) if self.sizes is None else self.sizes.sum())

    def total(self) -> float:
        if self.sizes is None:
            return float(self.values.sum(dtype=np.float64))
        return float(self.values @ self.sizes)

    def within(self, tolerance: float) -> float:
        near = self.values <= np.float32(tolerance)
        return float(near.sum() if self.sizes is None else near @ self.sizes)

    def pooled(self, other: Pieces) -> Pieces:
        values = np.concatenate([self.values, other.values])
        if self.sizes is None or other.sizes is None:
            return Pieces(values, None)
        return Pieces(values, np.concatenate([self.sizes, other.sizes]))

    def percentile(self, percent: float) -> float:
        if percent == 100:
            return float(self.values.max())
        if self.sizes is None:
            return _quantile(self.values, percent / 100)
        order = np.argsort(self.values)
        reached = np.cumsum(self.sizes[order])
        first = int(np.searchsorted(reached, reached[-1] * share_of_size(percent)))
        return float(self.values[order[first]])
