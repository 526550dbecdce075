"""Cells of scores: 16-bit keys that sort as the scores do, and the thresholds between them.

Every score falls into one of 2**16 cells. A cell of a logit is the upper half of its fp32 value; a
cell of a probability p the leading bits of min(p, 1 - p), which resolve both ends alike; an fp16
score is a cell by itself. Scores of one cell are a tie.
"""

from __future__ import annotations

from functools import cache
from math import pi
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: The number of cells before any are merged.
CELLS = 2**16
#: The cell of NaN and of probabilities outside [0, 1]; no score has it.
BAD = 2**16 - 1
#: The low bits that a cell of fp32 leaves out.
OF_LOGIT, OF_PROBABILITY = 16, 15
#: The first cell of logits and of fp16 that is not below 0, and the last of probabilities up to 0.5
ZERO, HALF = 2**15, 0x3F000000 >> OF_PROBABILITY


def keys(scores: Tensor, *, from_logits: bool) -> tuple[Tensor, Tensor]:
    """The cells of scores in int64, and whether each score is rounded: its cell holds other scores.

    NaN and probabilities outside [0, 1] get ``BAD``. fp64 is rounded up to fp32, so that a
    comparison with an fp32 threshold by ``>`` stays what it was.
    """
    if scores.dtype == torch.float16:
        bits = (scores + 0.0).view(torch.int16).long()
        possible = ~scores.isnan() if from_logits else (scores >= 0) & (scores <= 1)
        return _sortable(bits).where(possible, BAD), torch.zeros_like(possible)
    values = scores.float() + 0.0  # -0.0 becomes 0.0
    if scores.dtype == torch.float64:
        values = values.where(values >= scores, values.nextafter(values.new_tensor(torch.inf)))
    inexact = values != scores
    if from_logits:
        bits = values.view(torch.int32).long()
        rounded = inexact | (bits & (2**OF_LOGIT - 1) != 0)
        return _sortable(bits >> OF_LOGIT).where(~scores.isnan(), BAD), rounded
    low = values <= 0.5
    bits = values.where(low, 1 - values).view(torch.int32).long()
    prefix, rounded = bits >> OF_PROBABILITY, inexact | (bits & (2**OF_PROBABILITY - 1) != 0)
    possible = (scores >= 0) & (scores <= 1)
    return prefix.where(low, BAD - 1 - prefix).where(possible, BAD), rounded


def _sortable(bits: Tensor) -> Tensor:
    """Maps 16 bits of sign and magnitude to an integer of the same order."""
    return (bits ^ torch.where(bits < 0, -1, ZERO)) & (CELLS - 1)


class Edges(NamedTuple):
    """The scores of every cell as float64 probabilities; nan for a cell without scores.

    Where scores are compared as everywhere here, in fp32 and logits with ``log(t / (1 - t))``,
    ``score >= lowest[k]`` picks cell k and those above, ``score > cut[k]`` those above alone; a
    cut is nan where no probability in float64 separates the two. ``exact`` is the score of a
    cell that rounds none.
    """

    lowest: NDArray[np.float64]
    exact: NDArray[np.float64]
    cut: NDArray[np.float64]


@cache
def edges(cells: int, *, from_logits: bool, halves: bool) -> Edges:
    """The edges of cells of fp16 scores or, without ``halves``, of all others."""
    lowest, highest = _scores(from_logits, halves)
    upper = highest > (0 if from_logits else 0.5)
    # the least logit in magnitude, the least of p or 1 - p
    exact, cut = np.where(upper == from_logits, lowest, highest), highest
    if from_logits:
        cut, lowest, exact = _cuts(highest), _sigmoid(lowest), _sigmoid(exact)
    if cells < CELLS:
        merged = merging(cells, from_logits=from_logits, halves=halves)
        known = np.flatnonzero(~np.isnan(lowest))
        first, last = np.full(cells, BAD), np.full(cells, BAD)
        first[merged[known[::-1]]], last[merged[known]] = known[::-1], known
        lowest, cut = lowest[first], cut[last]
        exact = lowest
    return Edges(lowest, exact, cut)


@cache
def edges_of_confidences(cells: int, *, from_logits: bool, halves: bool) -> Edges:
    """``edges`` of the cells of the confidence that ``folding`` makes, max(p, 1 - p).

    Cells below one half are empty; the last of them has a cut that every confidence exceeds.
    """
    of_scores = edges(cells, from_logits=from_logits, halves=halves)
    lowest, exact, cut = np.array(of_scores)
    if not from_logits:  # keys of logits are symmetric, their upper half stays as it is
        places, foreground = np.divmod(folding(cells, from_logits=False, halves=halves)[1::2], 2)
        least, one, most = np.where(foreground, of_scores, 1 - np.array(of_scores)[::-1])
        lowest, exact, cut = np.full((3, cells), np.nan)
        np.fmin.at(lowest, places, least)
        np.fmax.at(exact, places, one)
        np.fmax.at(cut, places, most)
        known = np.flatnonzero(~np.isnan(cut))
        cut[known[:-1][cut[known[:-1]] >= lowest[known[1:]]]] = np.nan
    cut[: cells // 2] = np.nan
    cut[cells // 2 - 1] = np.nextafter(np.float32(0.5), np.float32(0))
    return Edges(lowest, exact, cut)


@cache
def merging(cells: int, *, from_logits: bool, halves: bool) -> NDArray[np.int64]:
    """For every key the cell of a coarser table, int64 ``(2**16,)``.

    Cells are of equal width in ``arcsin(sqrt(p))``, which makes the sampling error of a share p
    the same everywhere: 512 of them are 0.003 wide at 0.5, and 1e-5 at 0 and 1. An even number of
    cells is symmetric: p and 1 - p are in mirrored cells.
    """
    if cells == CELLS:
        return np.arange(CELLS)
    _, highest = _scores(from_logits, halves)
    # arcsin(sqrt(p)) is pi / 4 + arcsin(2 p - 1) / 2: exact at 0.5, which ends a cell
    with np.errstate(invalid="ignore"):
        distance = np.tanh(highest / 2) if from_logits else 2 * highest - 1
    place = np.arcsin(distance) * cells / pi
    merged = np.ceil(place + cells % 2 / 2) + cells // 2 - 1
    if cells % 2 == 0:
        mirrored = np.floor(place) + cells // 2
        if from_logits or not halves:  # keys are symmetric, too
            mirrored = cells - 1 - merged[_last_key(from_logits) - np.arange(CELLS)]
        merged = np.where(distance > 0, mirrored, merged)
    filled = np.maximum.accumulate(np.where(np.isnan(merged), 0, merged))
    return np.clip(filled, 0, cells - 1).astype(np.int64)


@cache
def folding(cells: int, *, from_logits: bool, halves: bool) -> NDArray[np.int64]:
    """From cells of the foreground's score to cells of the confidence, max(p, 1 - p).

    Returns:
        For every count of a table ``(cells, 2)``, of negatives and positives, its place in the
        table of wrong and right predictions, int64 ``(2 * cells,)``. Foreground is predicted above
        0.5. ``cells`` must be even.
    """
    cell = np.arange(cells)
    if halves and not from_logits and cells == CELLS:
        _, values = _scores(from_logits, halves)
        p = np.nan_to_num(values)
        foreground = p > 0.5
        confidences, place = np.unique(np.maximum(p, 1 - p), return_inverse=True)
        place += cells - len(confidences)
    else:
        mirror = (_last_key(from_logits) if cells == CELLS else cells - 1) - cell
        place, foreground = np.maximum(cell, mirror), cell > mirror
        if from_logits and cells == CELLS:
            foreground[ZERO] = False
    right = foreground[:, None] == np.array([False, True])
    places: NDArray[np.int64] = 2 * place[:, None] + right
    return places.ravel()


def _last_key(from_logits: bool) -> int:
    """The largest key of fp32 scores; key k mirrors this minus k."""
    return CELLS - 1 if from_logits else BAD - 1


def _scores(from_logits: bool, halves: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and highest score of every key, nan for a key that none has."""
    key = np.arange(CELLS)
    if not (from_logits or halves):
        return _probabilities(key)
    sign, magnitude = key < ZERO, np.where(key < ZERO, ZERO - 1 - key, key - ZERO)
    if halves:
        least = magnitude.astype(np.uint16).view(np.float16).astype(np.float64)
        values = np.where(sign, -least, least)
        values[ZERO - 1] = np.nan  # of -0.0
        possible = from_logits | ((values >= 0) & (values <= 1))
        values = np.where(possible, values, np.nan)
        return values, values
    least, most = _magnitudes(magnitude, OF_LOGIT)
    most = np.where(np.isinf(least), least, most)
    lowest, highest = np.where(sign, -most, least), np.where(sign, -least, most)
    highest[ZERO - 1 : ZERO + 1] = -(2.0**-149), 0.0  # denormal logits count as 0
    return lowest, highest


def _probabilities(
    key: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``_scores`` of fp32 probabilities; above 0.5 they are multiples of 2**-24."""
    low, high = key <= HALF, (key < BAD) & (key > BAD - 1 - HALF)
    least, most = _magnitudes(np.where(low, key, np.where(high, BAD - 1 - key, 0)), OF_PROBABILITY)
    lowest = np.where(low, least, 1 - np.floor(most * 2**24) / 2**24)
    highest = np.where(low, np.minimum(most, 0.5), 1 - np.ceil(least * 2**24) / 2**24)
    known = (low | high) & (lowest <= highest)
    return np.where(known, lowest, np.nan), np.where(known, highest, np.nan)


def _magnitudes(
    prefix: NDArray[np.int64], shift: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The least and the largest fp32 number whose bits begin so."""
    least = prefix.astype(np.int32) << shift
    most = least + np.int32(2**shift - 1)
    with np.errstate(invalid="ignore"):  # signalling NaN
        return least.view(np.float32).astype(np.float64), most.view(np.float32).astype(np.float64)


def _cuts(highest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities whose logit in fp32 is the highest of a cell."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        above = np.nextafter(highest.astype(np.float32), np.float32(np.inf)).astype(np.float64)
        between = np.where(np.isfinite(above), 0.75 * highest + 0.25 * above, highest)
        cut = _sigmoid(between)
        logit = np.log(cut / (1 - cut)).astype(np.float32)
        return np.where((logit >= highest) & ~(logit > highest), cut, np.nan)


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        small = np.exp(-np.abs(logits))
    result: NDArray[np.float64] = np.where(logits < 0, small, 1) / (1 + small)
    return result
