"""Probabilities in plain torch: the definition that every other backend is held against.

Whatever the dtype of scores, a pixel's label and its validity are decided in it (halves in fp32),
and its probabilities, squared error and log loss computed in fp32. Other backends may differ by
4 ulp of the probabilities, so that a pixel at the edge of a bin falls into the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from segmetrics.counting.plain import Box, boxes, codes_of_target, scores_of
from segmetrics.counting.settings import Counting, Pixels
from segmetrics.probabilities.inputs import (
    BAD_KINDS,
    CELLS_AN_OCTAVE_BITS,
    FRACTION_BITS,
    INFINITE_LOSS,
    MASS_CELLS,
    NOT_A_NUMBER,
    OUTSIDE_0_1,
    SUM_NOT_1,
    Probabilities,
    edges,
    tolerance_of,
)

if TYPE_CHECKING:
    from segmetrics.probabilities.ranking import Ranking


def count(pixels: Pixels, reading: Probabilities) -> Tensor:
    """Count pixels: ``(cells + bad kinds,)`` in int64, per image ``(N, cells + bad kinds)``."""
    size, device = reading.cells + len(BAD_KINDS), pixels.target.device
    counts = torch.zeros(len(pixels.target), size, dtype=torch.int64, device=device)
    for box in boxes(pixels, reading, copied=True):
        counts[box[0]] += _counts_of(pixels, box, reading)
    return counts if reading.per_image else counts.sum(0)


class Reading(NamedTuple):
    """The pixels of a box: ``(n, channels, *size)``, scores ``(n, C, *size)``.

    Args:
        code: of the target; of counted pixels the class, of bad scores their kind.
        scores: as given, but resized.
        probabilities: fp32, of all classes, or of the foreground of every channel.
        confidence: the largest probability; of binary and multilabel that of the foreground.
        right: whether the confidence is that of the target: its class, or foreground.
    """

    code: Tensor
    scores: Tensor
    probabilities: Tensor
    confidence: Tensor
    right: Tensor


def read_box(pixels: Pixels, box: Box, reading: Probabilities | Ranking) -> Reading:
    """Read the scores of a box as probabilities."""
    code = codes_of_target(pixels, box, reading)
    scores = scores_of(pixels, box, reading)
    probabilities = probabilities_of(scores, reading)
    tolerance = tolerance_of(pixels.preds.dtype, reading)  # before they were resized
    code = code.where(
        code >= reading.labels, _checked(code, scores, probabilities, reading, tolerance)
    )
    if reading.task != "multiclass":
        return Reading(code, scores, probabilities, probabilities, code == 1)
    label = scores.max(dim=1, keepdim=True).indices
    confidence = probabilities.gather(1, label)
    return Reading(code, scores, probabilities, confidence, code == label)


def probabilities_of(scores: Tensor, reading: Counting) -> Tensor:
    """Probabilities in fp32, ``(n, C, *size)``: softmax or sigmoid of logits."""
    if not reading.from_logits:
        return scores.float()
    if reading.task == "multiclass":
        parts = _centred(scores).exp()
        return parts / parts.sum(1, keepdim=True)
    logits = scores.float()
    rest = (-logits.abs()).exp()
    return torch.where(logits < 0, rest, 1) / (1 + rest)


def losses_of(
    scores: Tensor, code: Tensor, reading: Probabilities, temperature: float = 1.0
) -> Tensor:
    """Log losses in fp32 ``(n, channels, *size)`` of the classes that codes below C name."""
    truth = code.clamp(max=reading.labels - 1)
    if not reading.from_logits:
        if reading.task == "multiclass":
            chosen = scores.gather(1, truth)
        else:
            scores = scores if scores.dtype == torch.float64 else scores.float()
            chosen = scores.where(truth == 1, 1 - scores)
        return -chosen.log().float() if scores.dtype == torch.float64 else -chosen.float().log()
    scale = torch.tensor(1 / temperature, dtype=torch.float32, device=scores.device)
    if reading.task == "multiclass":
        logits = _centred(scores) * scale
        return logits.exp().sum(1, keepdim=True).log() - logits.gather(1, truth)
    logits = scores.float() * scale
    return (1 + (-logits.abs()).exp()).log() + logits.where(truth == 0, -logits).relu()


def cells_of(probabilities: Tensor, reading: Probabilities) -> Tensor:
    """The bins of fp32 probabilities in [0, 1], in int64.

    Bin i of n holds ``edges[i] <= p < edges[i + 1]``; the last holds 1, too. Cells of
    ``binning="mass"`` are those of ``MASS_CELLS``.
    """
    if reading.binning == "width":
        of_bins = torch.from_numpy(edges(reading.bins)).to(probabilities.device)
        bins = torch.bucketize(probabilities.contiguous(), of_bins, right=True) - 1
        return bins.clamp(0, reading.bins - 1)
    smaller = probabilities.minimum(1 - probabilities)
    rank = smaller.contiguous().view(torch.int32) >> (23 - CELLS_AN_OCTAVE_BITS)
    rank = (rank - (103 << CELLS_AN_OCTAVE_BITS) + 1).clamp(min=0).long()
    return rank.where(probabilities <= 0.5, MASS_CELLS - 1 - rank)


def fixed(values: Tensor) -> Tensor:
    """Values in fp32 as multiples of ``2**-FRACTION_BITS`` in int64, halves rounded up."""
    return (values * 2.0**FRACTION_BITS + 0.5).long()


def _centred(scores: Tensor) -> Tensor:
    """Logits in fp32 minus the largest; NaN where softmax is undefined."""
    scores = scores if scores.dtype == torch.float64 else scores.float()
    return (scores - scores.max(dim=1, keepdim=True).values).float()


def _checked(
    code: Tensor,
    scores: Tensor,
    probabilities: Tensor,
    reading: Counting,
    tolerance: float,
) -> Tensor:
    """Codes of counted pixels, those of bad scores replaced by their kind."""
    of_classes = reading.task == "multiclass"

    def any_class(what: Tensor) -> Tensor:
        return what.any(1, keepdim=True) if of_classes else what

    if not reading.from_logits:
        if of_classes:
            missed = (probabilities.sum(1, keepdim=True) - 1).abs()
            code = code.where(missed <= tolerance, reading.labels + SUM_NOT_1)
        outside = any_class((scores < 0) | (scores > 1))
        code = code.where(~outside, reading.labels + OUTSIDE_0_1)
    return code.where(~any_class(probabilities.isnan()), reading.labels + NOT_A_NUMBER)


def _counts_of(pixels: Pixels, box: Box, reading: Probabilities) -> Tensor:
    """The counts of every image in a box, ``(n, cells + bad kinds)``."""
    code, scores, probabilities, confidence, right = read_box(pixels, box, reading)
    counted = code < reading.labels

    if reading.classwise:
        number = torch.arange(reading.num_classes, device=code.device)
        right = code == number.view(1, -1, *[1] * (code.ndim - 2))
        table = _tabled(probabilities, right, counted.expand_as(right), reading)
    else:
        table = _tabled(confidence, right, counted, reading)

    sums = [fixed(_squares(probabilities, code, reading).where(counted, 0))]
    for temperature in reading.temperatures:
        loss = losses_of(scores, code, reading, temperature)
        finite = loss < INFINITE_LOSS
        sums += [fixed(loss.where(counted & finite, 0)), (counted & ~finite).long()]
    totals = torch.stack([part.reshape(*part.shape[:2], -1).sum(2) for part in sums], 2)

    kinds = torch.arange(1, 1 + len(BAD_KINDS), device=code.device) + reading.labels
    bad = (code.flatten(1).unsqueeze(1) == kinds.unsqueeze(1)).sum(2)
    if reading.task == "multilabel":  # a box may hold some of the channels
        table, totals = (_placed(part, reading.channels, box[1]) for part in (table, totals))
    return torch.cat([table.flatten(1), totals.flatten(1), bad], 1)


def _placed(part: Tensor, channels: int, which: slice) -> Tensor:
    """The counts of some channels, with zeros for the others."""
    whole = part.new_zeros(len(part), channels, *part.shape[2:])
    whole[:, which] = part
    return whole


def _tabled(
    probabilities: Tensor, right: Tensor, counted: Tensor, reading: Probabilities
) -> Tensor:
    """Tables ``(n, tables, bins, 3)`` of probabilities ``(n, tables, *size)``."""
    images, tables = probabilities.shape[:2]
    possible = probabilities.where(counted, 0).clamp(0, 1)
    cell = cells_of(possible, reading).reshape(images, tables, -1)
    values = [counted.long(), (counted & right).long(), fixed(possible)]
    table = torch.zeros(
        images, tables, reading.bins, 3, dtype=torch.int64, device=probabilities.device
    )
    for place, value in enumerate(values):
        table[..., place].scatter_add_(2, cell, value.reshape(images, tables, -1))
    return table


def _squares(probabilities: Tensor, code: Tensor, reading: Probabilities) -> Tensor:
    """Squared errors in fp32 ``(n, channels, *size)``, over all classes for multiclass."""
    if reading.task != "multiclass":
        return (probabilities - (code == 1).float()).square()
    chosen = probabilities.gather(1, code.clamp(max=reading.labels - 1))
    others = probabilities.square().sum(1, keepdim=True) - chosen.square()
    return others.clamp(min=0) + (1 - chosen).square()
