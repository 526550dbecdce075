"""Cells in plain torch: the definition that every other backend is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from segmetrics.counting.plain import Box, boxes
from segmetrics.counting.settings import Pixels
from segmetrics.probabilities.cells import CELLS, keys, merging
from segmetrics.probabilities.inputs import BAD_KINDS
from segmetrics.probabilities.plain import read_box

if TYPE_CHECKING:
    from segmetrics.probabilities.ranking import Ranking


def count(pixels: Pixels, ranking: Ranking) -> Tensor:
    """Count pixels: ``(cells + bad kinds,)`` in int64, per image ``(N, cells + bad kinds)``."""
    size, device = ranking.cells + len(BAD_KINDS), pixels.target.device
    rows = len(pixels.target) if ranking.per_image else 1
    counts = torch.zeros(rows, size, dtype=torch.int64, device=device)
    for box in boxes(pixels, ranking, copied=True):
        _add(counts[box[0]] if ranking.per_image else counts, pixels, box, ranking)
    return counts if ranking.per_image else counts[0]


def _add(counts: Tensor, pixels: Pixels, box: Box, ranking: Ranking) -> None:
    """Add the pixels of a box to the rows of its images, or to the one row."""
    code, scores, probabilities, _, right = read_box(pixels, box, ranking)
    of_softmax = ranking.task == "multiclass" and ranking.from_logits
    ranked = probabilities if of_softmax else scores
    if ranking.upsample == "bilinear" and ranked.dtype == torch.float16:
        ranked = ranked.float()  # as where they are resized
    if ranking.positive == "right":
        ranked = ranked.gather(1, scores.max(dim=1, keepdim=True).indices)
    elif ranking.task == "multiclass":
        number = torch.arange(ranking.num_classes, device=code.device)
        right = code == number.view(1, -1, *[1] * (code.ndim - 2))
    counted = (code < ranking.labels).expand_as(right)
    halves = ranking.has_halves(ranked.dtype)

    key, rounded = keys(ranked, from_logits=ranking.ranks_logits)
    if ranking.resolution < CELLS:
        merged = merging(ranking.resolution, from_logits=ranking.ranks_logits, halves=halves)
        key, rounded = torch.from_numpy(merged).to(key.device)[key], counted
    table = torch.arange(ranking.tables, device=key.device)
    table = table[box[1]] if ranking.task == "multilabel" else table
    table = table.view(1, -1, *[1] * (key.ndim - 2))
    cell = (table * ranking.resolution + key) * 2 + right

    row = torch.arange(len(code), device=key.device) if ranking.per_image else torch.tensor(0)
    row = row.to(key.device).view(-1, *[1] * (key.ndim - 1)) * counts.shape[1]
    kinds = (code - ranking.labels - 1).clamp(min=0) + ranking.cells
    is_bad = code > ranking.labels
    for place, weight in (
        (cell, counted),
        (torch.full_like(cell, ranking.cells - 3), counted & rounded),
        (torch.full_like(cell, ranking.cells - (2 if halves else 1)), counted),
        (kinds, is_bad),
    ):
        counts.view(-1).scatter_add_(0, (row + place).flatten(), weight.long().flatten())
