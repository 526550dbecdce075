"""Bins of confidences → calibration errors: short pure functions, batched over leading dimensions.

A table ``(..., bins, 3)`` holds the pixels of every bin, how many of them are right, and the sum of
their confidences in fixed point. The metrics and the functional interface both build the recipes
below, so their arguments mean the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import inf, nan
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from typing_extensions import Unpack

from segmetrics._arguments import integer, one_of
from segmetrics._help import explained
from segmetrics.labels import LabelSpace
from segmetrics.probabilities import count
from segmetrics.probabilities.inputs import (
    FRACTION_BITS,
    Binning,
    Probabilities,
    ProbabilityArguments,
)
from segmetrics.recipes import exact
from segmetrics.scores import Average

Norm = Literal["l1", "l2", "max"]

#: What arguments mean where scores are read as probabilities.
ARGUMENTS = """
Args:
    preds: scores in fp32, fp64, fp16 or bf16: ``(N, C, ...)``, or for ``task="binary"``
        ``(N, ...)`` or ``(N, 1, ...)``. ``...`` is any number of spatial dimensions.
    from_logits: whether scores are logits instead of probabilities. Probabilities of several
        classes must sum to 1 within 1e-3 (bf16: 1e-2) and are used as they are.
    average: over the classes that are scored one by one, those of ``task="multilabel"``:
        ``"macro"``, ``"weighted"`` by target pixels, ``"micro"`` (their pixels pooled), or
        ``"none"`` (``None``) for one score a class.
    upsample: ``"bilinear"`` or ``"nearest"`` resizes scores, logits before their softmax, to the
        target's size while they are counted; ``None`` takes scores of that size only.
"""

#: ``explained`` with them.
explained_probability = partial(explained, further=ARGUMENTS)


class ErrorArguments(ProbabilityArguments, total=False):
    """The arguments of scores of probabilities."""

    from_logits: bool
    average: Average | None


class Bins(NamedTuple):
    """Bins of confidences, each ``(n,)``, or ``(C, n)`` where classes are scored one by one.

    Args:
        pixels: how many pixels a bin holds, int64.
        confidence: their mean confidence, float64; nan for an empty bin.
        accuracy: the share of them that is right, float64; nan for an empty bin.
    """

    pixels: Tensor
    confidence: Tensor
    accuracy: Tensor

    @staticmethod
    def of(table: Tensor) -> Bins:
        """The bins of a table."""
        pixels, right, confidence = table.unbind(-1)
        return Bins(pixels, real(confidence) / pixels, right / pixels.double())


def real(fixed: Tensor) -> Tensor:
    """Fixed-point sums as float64."""
    return fixed.double() * 2.0**-FRACTION_BITS


def calibration_error(table: Tensor, norm: Norm | Literal["average"]) -> Tensor:
    """Mean gap between confidence and accuracy, their root mean square, or the largest.

    Weighted by the pixels of the bins, but for ``"average"``, over the bins that hold any.
    """
    pixels, right, confidence = table.unbind(-1)
    gap = (right - real(confidence)).abs()  # times the pixels of the bin
    total = pixels.sum(-1)
    if norm == "l1":
        return gap.sum(-1) / total
    if norm == "l2":
        return ((gap.square() / pixels.clamp(min=1)).sum(-1) / total).sqrt()
    of_bins = gap / pixels.clamp(min=1)
    if norm == "average":
        return of_bins.sum(-1) / (pixels > 0).sum(-1)
    return of_bins.amax(-1).where(total > 0, nan)


def of_equal_mass(table: Tensor, n_bins: int) -> Tensor:
    """Merges cells, sorted by confidence, into bins of about equally many pixels.

    They are cut after the first cell at which the running count reaches k n / n_bins.
    """
    pixels = table[..., 0]
    before = pixels.cumsum(-1) - pixels
    place = before * n_bins // pixels.sum(-1, keepdim=True).clamp(min=1)
    place = place.clamp(max=n_bins - 1).unsqueeze(-1).expand(table.shape)
    return table.new_zeros(*table.shape[:-2], n_bins, 3).scatter_add_(-2, place, table)


def averaged(values: Tensor, weights: Tensor, kept: Tensor, average: Average) -> Tensor:
    """The mean of values ``(..., C)`` over the classes that are kept and defined."""
    values = values.where(kept, nan)
    if average == "none":
        return values
    weights = (weights if average == "weighted" else torch.ones_like(values)).double()
    weights = weights.where(~values.isnan(), 0)
    infinite = (values.isinf() & (weights > 0)).any(-1)
    mean = (weights * values.where(values.isfinite(), 0)).sum(-1) / weights.sum(-1)
    return mean.where(~infinite, inf)


@dataclass(frozen=True)
class CalibrationRecipe:
    """What is counted and how it is scored. The functions below check arguments and build it."""

    reading: Probabilities
    average: Average

    def of(self, counts: Tensor) -> Tensor:
        """Score what ``probabilities.count`` gave, in float64."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the score of one image or data set."""
        one_by_one = self.average == "none" and self.classes > 1
        return (self.reading.num_classes,) if one_by_one else ()

    @property
    def classes(self) -> int:
        """The number of classes that are scored separately."""
        raise NotImplementedError

    @property
    def kept(self) -> Tensor:
        """Whether each class counts; ignored ones do not."""
        ignored = self.reading.ignored_classes if self.classes > 1 else ()
        return torch.tensor([label not in ignored for label in range(self.classes)])

    def evaluate(self, preds: Tensor, target: Tensor) -> Tensor:
        """Count and score one batch; on a GPU this waits, to raise for bad pixels."""
        counts = count(preds, target, self.reading, check=True)
        return self.of(counts).float().to(preds.device)


@dataclass(frozen=True)
class CalibrationErrorRecipe(CalibrationRecipe):
    """A calibration error."""

    norm: Norm | Literal["average"]
    n_bins: int

    @property
    def classes(self) -> int:
        return self.reading.tables

    def table(self, counts: Tensor) -> Tensor:
        """The bins that are scored ``(..., tables, n_bins, 3)``, one table for ``"micro"``."""
        table = self.reading.sums(exact(counts)).table
        if self.average == "micro":
            kept = self.kept.to(table.device).view(-1, 1, 1)
            table = (table * kept).sum(-3, keepdim=True)
        return of_equal_mass(table, self.n_bins) if self.reading.binning == "mass" else table

    def of(self, counts: Tensor) -> Tensor:
        table = self.table(counts)
        values = calibration_error(table, self.norm)
        if self.average == "micro" or self.classes == 1:
            return values.squeeze(-1)
        return averaged(values, table[..., 1].sum(-1), self.kept.to(values.device), self.average)


@dataclass(frozen=True)
class MeanErrorRecipe(CalibrationRecipe):
    """An error that is averaged over pixels: the squared error or the log loss."""

    error: Literal["brier", "nll"]

    @property
    def classes(self) -> int:
        return self.reading.channels

    def of(self, counts: Tensor) -> Tensor:
        """Score counts: ``(...)``, behind it for several temperatures one for each."""
        sums = self.reading.sums(exact(counts))
        if self.error == "brier":
            total, infinite = real(sums.squares), torch.zeros_like(sums.squares)
            pixels, positives = sums.pixels, sums.table[..., 1].sum(-1)
        else:  # temperatures first
            total, infinite = real(sums.losses).movedim(-1, 0), sums.infinite.movedim(-1, 0)
            pixels, positives = sums.pixels, sums.table[..., 1].sum(-1)
        if self.average == "micro" or self.classes == 1:
            total, infinite, pixels = (x.sum(-1, keepdim=True) for x in (total, infinite, pixels))
        values = (total / pixels).where(infinite == 0, inf)
        if self.average == "micro" or self.classes == 1:
            values = values.squeeze(-1)
        else:
            kept = self.kept.to(values.device)
            values = averaged(values, positives.expand_as(values), kept, self.average)
        if self.error == "brier":
            return values
        return values.movedim(0, -1) if self.several_temperatures else values.squeeze(0)

    @property
    def several_temperatures(self) -> bool:
        """Whether there is a loss for each of several temperatures."""
        return self.error == "nll" and len(self.reading.temperatures) > 1


def calibration_error_recipe(
    num_classes: int | LabelSpace | None = None,
    *,
    norm: Norm = "l1",
    n_bins: int = 15,
    binning: Binning = "width",
    classwise: bool = False,
    average: Average | None = "macro",
    from_logits: bool = False,
    **arguments: Unpack[ProbabilityArguments],
) -> CalibrationErrorRecipe:
    """A calibration error, averaged over classes."""
    one_of("norm", norm, ("l1", "l2", "max"))
    reading = Probabilities.reading(
        num_classes,
        from_logits=from_logits,
        n_bins=n_bins,
        binning=binning,
        classwise=classwise,
        **arguments,
    )
    one_by_one = "`classwise=True` or task='multilabel'"
    kind = _average(average, reading.classwise or reading.task == "multilabel", one_by_one)
    return CalibrationErrorRecipe(reading, kind, norm, integer("n_bins", n_bins))


def brier_recipe(
    num_classes: int | LabelSpace | None = None,
    *,
    average: Average | None = "macro",
    from_logits: bool = False,
    **arguments: Unpack[ProbabilityArguments],
) -> MeanErrorRecipe:
    """The Brier score."""
    reading = Probabilities.reading(num_classes, from_logits=from_logits, **arguments)
    kind = _average(average, reading.task == "multilabel", "task='multilabel'")
    return MeanErrorRecipe(reading, kind, "brier")


def nll_recipe(
    num_classes: int | LabelSpace | None = None,
    *,
    average: Average | None = "macro",
    from_logits: bool = False,
    temperatures: Sequence[float] | None = None,
    **arguments: Unpack[ProbabilityArguments],
) -> MeanErrorRecipe:
    """The log loss, at each of some temperatures."""
    reading = Probabilities.reading(
        num_classes, from_logits=from_logits, temperatures=temperatures, **arguments
    )
    kind = _average(average, reading.task == "multilabel", "task='multilabel'")
    return MeanErrorRecipe(reading, kind, "nll")


def _average(average: Average | None, means_something: bool, where: str) -> Average:
    average = "none" if average is None else average
    one_of("average", average, ("macro", "micro", "weighted", "none"))
    if average != "macro" and not means_something:
        raise ValueError(
            f"`average={average!r}` means nothing without {where}: there is one score. Leave it "
            "out."
        )
    return average
