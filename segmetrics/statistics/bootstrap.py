"""Resamples of images or of groups, as weights: bootstrap, jackknife and sign flips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import nan
from typing import Literal

import torch
from torch import Tensor

from segmetrics._arguments import integer, number, one_of
from segmetrics.statistics.pairing import Groups, groups_of, sort_key
from segmetrics.statistics.resampled import Resampled
from segmetrics.statistics.weighting import Statistic

Method = Literal["percentile", "bca"]

BLOCK = 2**21  # weights drawn at once: 16 MB
EXACT_FLIPS = 2**16  # the most sign flips that are all tried


@dataclass(frozen=True)
class Bootstrap:
    """The units that are resampled, and how often. ``unit (N,)`` is the unit of each image."""

    unit: Tensor
    units: int
    grouped: bool
    level: float
    method: Method
    n_resamples: int
    seed: int

    @staticmethod
    def of(
        counts: Resampled,
        order: Tensor,
        groups: Groups | None,
        level: float,
        method: Method,
        n_resamples: int,
        seed: int,
    ) -> Bootstrap:
        """Check the arguments and number the groups of the images in their canonical order."""
        one_of("method", method, ("percentile", "bca"))
        if not 0 < number("level", level) < 1:
            raise ValueError(f"`level` must be in (0, 1), got {level}. For 95 % pass `level=0.95`.")
        if integer("n_resamples", n_resamples) < 1:
            raise ValueError(f"`n_resamples` must be at least 1, got {n_resamples}.")
        if groups is None:
            unit, units = torch.arange(len(counts)), len(counts)
        else:
            labels = groups_of(counts, groups)
            place = {label: i for i, label in enumerate(sorted(set(labels), key=sort_key))}
            unit, units = torch.tensor([place[label] for label in labels])[order], len(place)
        if units < 2:
            raise ValueError(
                f"a bootstrap needs at least two {'images' if groups is None else 'groups'}, "
                f"got {units}."
            )
        return Bootstrap(unit, units, groups is not None, level, method, n_resamples, seed)

    @property
    def number_of_groups(self) -> int | None:
        return self.units if self.grouped else None

    def interval(
        self, statistic: Statistic, weights: Iterable[Tensor] | None = None
    ) -> tuple[float, float, float, Tensor]:
        """The estimate, the bounds, and the score of every resample in which it is defined.

        ``weights`` are those of ``resamples``, if they are drawn already.
        """
        estimate = statistic(torch.ones(1, len(self.unit), dtype=torch.float64))
        blocks = self.resamples() if weights is None else weights
        resampled = torch.cat([statistic(block) for block in blocks])
        resampled = resampled[~resampled.isnan()]
        if estimate.isnan() or not len(resampled):
            return nan, nan, nan, resampled
        tails = torch.tensor([(1 - self.level) / 2, (1 + self.level) / 2], dtype=torch.float64)
        if self.method == "bca":
            jackknifed = self.evaluate(statistic, self.leaving_one_out())
            tails = _bca_tails(tails, estimate, resampled, jackknifed[~jackknifed.isnan()])
        low, high = quantiles(resampled, tails).tolist()
        return estimate.item(), low, high, resampled

    def sign_flip(self, stacked: Statistic, difference: float) -> float:
        """p-value of exchanging two models, whose images are concatenated in ``stacked``."""
        flips, sampled = self.exchanges()

        def difference_of(exchanged: Tensor) -> Tensor:
            kept = 1 - exchanged
            swap = torch.cat([exchanged, kept], 1)
            return stacked(torch.cat([kept, exchanged], 1)) - stacked(swap)

        differences = torch.cat([difference_of(block) for block in flips])
        return share_as_extreme(differences, difference, sampled=sampled)

    def exchanges(self) -> tuple[Iterator[Tensor], bool]:
        """The images that are exchanged, 0 or 1 ``(B, N)``, and whether they are sampled."""
        sampled = 2**self.units > EXACT_FLIPS
        flips = self._flips() if sampled else self._all_flips()
        return (block[:, self.unit] for block in flips), sampled

    def together(self, statistics: Sequence[Statistic]) -> tuple[Tensor, Tensor]:
        """The values of several scores ``(M,)``, and of every resample ``(B, M)``.

        Resamples in which one of them is undefined are left out.
        """
        everything = torch.ones(1, len(self.unit), dtype=torch.float64)
        resampled = torch.cat(
            [torch.stack([one(block) for one in statistics], 1) for block in self.resamples()]
        )
        values = torch.cat([one(everything) for one in statistics])
        return values, resampled[~resampled.isnan().any(1)]

    def evaluate(self, statistic: Statistic, weights: Iterable[Tensor]) -> Tensor:
        """The statistic of every resample, from weights of the units ``(B, U)``."""
        return torch.cat([statistic(block[:, self.unit]) for block in weights])

    def blocks(self, rows: int) -> Iterator[range]:
        """Row indices in blocks whose weights fit ``BLOCK``."""
        step = max(1, BLOCK // len(self.unit))
        return (range(start, min(start + step, rows)) for start in range(0, rows, step))

    def resamples(self) -> Iterator[Tensor]:
        """Weights of the images ``(B, N)`` in resamples of the units."""
        generator = torch.Generator().manual_seed(self.seed)
        for block in self.blocks(self.n_resamples):
            shape = (len(block), self.units)
            drawn = torch.randint(self.units, shape, generator=generator)
            drawn += torch.arange(len(block)).unsqueeze(1) * self.units
            times = drawn.flatten().bincount(minlength=drawn.numel()).view(shape).double()
            yield times[:, self.unit]

    def leaving_one_out(self) -> Iterator[Tensor]:
        """Weights of the units ``(B, U)``, with each left out once."""
        for block in self.blocks(self.units):
            weights = torch.ones(len(block), self.units, dtype=torch.float64)
            weights[range(len(block)), block] = 0
            yield weights

    def _flips(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        for block in self.blocks(self.n_resamples):
            yield torch.randint(2, (len(block), self.units), generator=generator).double()

    def _all_flips(self) -> Iterator[Tensor]:
        for block in self.blocks(2**self.units):
            numbers = torch.arange(block.start, block.stop).unsqueeze(1)
            yield (numbers >> torch.arange(self.units) & 1).double()


def quantiles(values: Tensor, tails: Tensor) -> Tensor:
    """Interpolated quantiles of columns; infinite between two infinite values, nan is left out."""
    found = values.nanquantile(tails, 0)
    if found.isnan().any():
        found = found.where(~found.isnan(), values.nanquantile(tails, 0, interpolation="nearest"))
    return found


def _bca_tails(tails: Tensor, estimate: Tensor, resampled: Tensor, jackknifed: Tensor) -> Tensor:
    """The shares of the bootstrap distribution at the ends of a BCa interval.

    Efron and Tibshirani (1993), equations 14.10, 14.14 and 14.15; resamples equal to the estimate
    count half.
    """
    below = ((resampled < estimate).double() + (resampled <= estimate).double()).mean() / 2
    half = 0.5 / len(resampled)  # keeps the bias finite if all resamples are on one side
    bias = torch.special.ndtri(below.clamp(half, 1 - half))
    skew = jackknifed.mean() - jackknifed
    scale = 6 * skew.square().sum() ** 1.5
    acceleration = float(skew.pow(3).sum() / scale) if scale > 0 else 0.0
    shifted = bias + torch.special.ndtri(tails)
    ends: Tensor = torch.special.ndtr(bias + shifted / (1 - acceleration * shifted))
    return ends


def share_as_extreme(differences: Tensor, found: float, *, sampled: bool) -> float:
    """Two-sided p-value; for a random sample the observed difference counts as one more."""
    differences = differences[~differences.isnan()]
    extreme = int((differences.abs() >= abs(found) - 1e-12).sum())  # equal up to rounding
    if found != found or not len(differences):
        return nan
    return (extreme + sampled) / (len(differences) + sampled)
