"""Recipes of scores of ranked pixels: what is ranked, and the function of its tables.

The metrics and the functional interface both build recipes, so their arguments mean the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from segmetrics._arguments import number, one_of
from segmetrics._help import explained
from segmetrics.labels import LabelSpace
from segmetrics.probabilities import curves
from segmetrics.probabilities.cells import CELLS
from segmetrics.probabilities.inputs import ProbabilityArguments
from segmetrics.probabilities.ranking import Ranking, RankingArguments, count_cells
from segmetrics.recipes import exact
from segmetrics.scores import Average

#: What arguments mean where scores are ranked.
ARGUMENTS = """
Args:
    preds: scores in fp32, fp64, fp16 or bf16: ``(N, C, ...)``, or for ``task="binary"``
        ``(N, ...)`` or ``(N, 1, ...)``. ``...`` is any number of spatial dimensions. All batches
        are fp16 or none.
    average: over classes: ``"macro"``, ``"weighted"`` by positives, ``"micro"`` (their pixels
        pooled), or ``"none"`` (``None``) for one score a class. Not given for ``task="binary"``.
    from_logits: whether scores are logits instead of probabilities.
    positive: ``"class"`` ranks every class against the rest. ``"right"`` asks whether the
        prediction is right and ranks it by its confidence, the largest of the probabilities:
        misclassification detection. For ``task="binary"`` that is max(p, 1 - p), and thresholds
        are such confidences; not for ``"multilabel"``.
    cells: from 2 to 2**16. Fewer take less memory: they are of equal width in
        ``arcsin(sqrt(p))``.
    upsample: ``"bilinear"`` or ``"nearest"`` resizes scores, logits before their softmax, to the
        target's size while they are counted; ``None`` takes scores of that size only.
"""

#: ``explained`` with them.
explained_curve = partial(explained, further=ARGUMENTS)

#: A table ``(..., tables, cells, 2)`` → a value of every table.
OfTable = Callable[[Any], Any]
#: The lower and the upper bound of every table.
Bounds = Callable[[Any], tuple[Any, Any]]


class CurveArguments(RankingArguments, total=False):
    """The arguments of scores per class that are read off a curve."""

    average: Average | None


@dataclass(frozen=True)
class CurveRecipe:
    """What is ranked, and how it is scored. The functions below build it and check arguments."""

    ranking: Ranking
    value: OfTable
    average: Average
    bounds: Bounds | None = None

    def of(self, counts: Tensor) -> Tensor:
        """Score what ``count_cells`` gave: ``(...)``, or ``(..., C)``, in float64."""
        table, rounded = self.table(counts), self._rounded(counts)
        if self.bounds is None or _all(~rounded):
            return self.averaged(read(self.value, table), table)
        lower, upper = read_all(self.bounds, table)
        values = (lower + upper) / 2
        if not _all(rounded):
            values = values.where(rounded, read(self.value, table))
        return self.averaged(values, table)

    def bounds_of(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds of the score over all orders of the scores in a cell."""
        assert self.bounds is not None, "there are no bounds of this score"
        table, exactly = self.table(counts), ~self._rounded(counts)
        value, bounds = read(self.value, table), read_all(self.bounds, table)
        lower, upper = (self.averaged(value.where(exactly, bound), table) for bound in bounds)
        return lower, upper

    def _rounded(self, counts: Tensor) -> Tensor:
        """Whether any score shares its cell with others ``(..., 1)``."""
        return self.ranking.rounded(exact(counts)).unsqueeze(-1) > 0

    def table(self, counts: Tensor) -> Tensor:
        """The tables that are scored, one of all classes for ``"micro"``."""
        table = self.ranking.table(exact(counts))
        if self.average == "micro":
            table = (table * self.kept(table).view(-1, 1, 1)).sum(-3, keepdim=True)
        return table

    def averaged(self, values: Tensor, table: Tensor) -> Tensor:
        """Values ``(..., tables)`` averaged over those that are kept and defined."""
        if self.average == "micro" or (self.ranking.tables == 1 and not self.shape):
            return values.squeeze(-1)
        values = values.where(self.kept(table), torch.nan)
        if self.average == "none":
            return values
        defined = ~values.isnan()
        weights = defined.double()
        if self.average == "weighted":
            weights = table[..., 1].sum(-1) * weights
        return (weights * values.nan_to_num()).sum(-1) / weights.sum(-1)

    def kept(self, like: Tensor) -> Tensor:
        """Which tables count: not those of an ignored class."""
        kept = torch.ones(self.ranking.tables, dtype=torch.bool, device=like.device)
        if self.ranking.tables > 1:
            for ignored in self.ranking.ignored_classes:
                kept &= torch.arange(len(kept), device=like.device) != ignored
        return kept

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the score of one image or data set."""
        return (self.ranking.tables,) if self.average == "none" else ()

    def evaluate(self, preds: Tensor, target: Tensor) -> Tensor:
        """Count and score one batch; on a GPU this waits, to raise for bad pixels."""
        counts = count_cells(preds, target, self.ranking, check=True)
        return self.of(counts).float().to(preds.device)


def _all(values: Tensor) -> bool:
    """Whether all are true, as far as is known without waiting for a GPU."""
    return values.device.type == "cpu" and bool(values.all())


def read(function: OfTable, table: Tensor, *, filled: bool = False) -> Tensor:
    """What a function reads off a table, see ``read_all``."""
    return read_all(lambda cells: (function(cells),), table, filled=filled)[0]


def read_all(
    function: Callable[[Any], tuple[Any, ...]], table: Tensor, *, filled: bool = False
) -> tuple[Tensor, ...]:
    """A function of the cells that are not empty in all tables.

    On a GPU, which would wait to know them, off all cells. On the CPU by NumPy: torch would share
    operations this small among its threads, and wait for each of them.

    Args:
        function: from tables ``(..., cells, 2)`` to values.
        table: int64 ``(..., cells, 2)``.
        filled: whether every cell has a value; an empty cell has that of the cell before.
    """
    if table.device.type != "cpu":
        return function(table)
    cells = table.numpy()
    holds_any = np.logical_or.reduce((cells != 0).reshape(-1, 2 * cells.shape[-2]))
    of_cells = holds_any.view(np.uint16) != 0  # NumPy's ``any`` of pairs would take longer
    of_cells[0] = True  # where nothing is counted
    used = np.flatnonzero(of_cells)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = function(cells.take(used, axis=-2))
    if filled:
        lengths = np.diff(used, append=len(of_cells))
        found = tuple(np.repeat(values, lengths, axis=-1) for values in found)
    return tuple(torch.from_numpy(np.asarray(values, np.float64)) for values in found)


#: A curve, or the curves of all classes.
Curves = tuple[Tensor, Tensor, Tensor] | tuple[list[Tensor], list[Tensor], list[Tensor]]


def points(recipe: CurveRecipe, counts: Tensor) -> list[curves.Points]:
    """The points of every table's curve, without empty cells; a GPU is waited for."""
    lowest, _ = recipe.ranking.edges(exact(counts))
    found = []
    for table in recipe.table(counts):
        used = table.any(-1)
        found.append(curves.points(table[used], lowest[used]))
    return found


@dataclass(frozen=True)
class PointsRecipe(CurveRecipe):
    """A curve over all thresholds."""

    parts: Callable[[curves.Points], tuple[Tensor, Tensor, Tensor]] = curves.roc

    def curves_of(self, counts: Tensor, device: torch.device) -> Curves:
        """The three parts of the curve in float32, lists of them for several classes."""
        parts = zip(*(self.parts(each) for each in points(self, counts)), strict=True)
        first, second, thresholds = ([x.float().to(device) for x in part] for part in parts)
        if self.ranking.task == "binary" or self.ranking.positive == "right":
            return first[0], second[0], thresholds[0]
        return first, second, thresholds

    def evaluate_curves(self, preds: Tensor, target: Tensor) -> Curves:
        """Count one batch; on a GPU this waits."""
        counts = count_cells(preds, target, self.ranking, check=True)
        return self.curves_of(counts, preds.device)


def points_recipe(
    parts: Callable[[curves.Points], tuple[Tensor, Tensor, Tensor]],
    num_classes: int | LabelSpace | None = None,
    **arguments: Unpack[RankingArguments],
) -> PointsRecipe:
    """A curve over all thresholds."""
    recipe = curve_recipe(curves.auroc, num_classes, **arguments)
    return PointsRecipe(recipe.ranking, recipe.value, recipe.average, None, parts)


def auroc_recipe(
    num_classes: int | LabelSpace | None = None,
    *,
    max_fpr: float | None = None,
    **arguments: Unpack[CurveArguments],
) -> CurveRecipe:
    """The area under the ROC curve, up to a false positive rate."""
    up_to = 1.0 if max_fpr is None else number("max_fpr", max_fpr)
    if not 0 < up_to <= 1:
        raise ValueError(f"`max_fpr` must be in (0, 1], got {max_fpr}.")
    return curve_recipe(
        partial(curves.auroc, max_fpr=up_to),
        num_classes,
        bounds=partial(curves.auroc_bounds, max_fpr=up_to),
        **arguments,
    )


def average_precision_recipe(
    num_classes: int | LabelSpace | None = None, **arguments: Unpack[CurveArguments]
) -> CurveRecipe:
    """Average precision."""
    return curve_recipe(
        curves.average_precision,
        num_classes,
        bounds=curves.average_precision_bounds,
        **arguments,
    )


def fpr_at_recall_recipe(
    num_classes: int | LabelSpace | None = None,
    *,
    recall: float = 0.95,
    **arguments: Unpack[CurveArguments],
) -> CurveRecipe:
    """The false positive rate at a recall."""
    recall = number("recall", recall)
    if not 0 < recall <= 1:
        raise ValueError(f"`recall` must be in (0, 1], got {recall}.")
    at = partial(curves.fpr_at_recall, recall=recall)
    return curve_recipe(at, num_classes, **arguments)


def aurc_recipe(
    num_classes: int | LabelSpace | None = None,
    *,
    from_logits: bool = False,
    cells: int = CELLS,
    **arguments: Unpack[ProbabilityArguments],
) -> CurveRecipe:
    """The area under the risk-coverage curve."""
    return curve_recipe(
        curves.aurc, num_classes, from_logits=from_logits, cells=cells, positive="right",
        **arguments,
    )  # fmt: skip


def curve_recipe(
    value: OfTable,
    num_classes: int | LabelSpace | None = None,
    *,
    bounds: Bounds | None = None,
    average: Average | None = "macro",
    **arguments: Unpack[RankingArguments],
) -> CurveRecipe:
    """A score per class, averaged over classes."""
    ranking = Ranking.ranking(num_classes, **arguments)
    average = "none" if average is None else average
    one_of("average", average, ("macro", "micro", "weighted", "none"))
    if average != "macro" and (ranking.task == "binary" or ranking.positive == "right"):
        raise ValueError(
            f"`average={average!r}` means nothing where there is one curve. Leave it out."
        )
    return CurveRecipe(ranking, value, average, bounds)


@dataclass(frozen=True)
class BestRecipe(CurveRecipe):
    """A score that is best at some threshold."""

    score: str = "dice"

    def best(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """The best score of every table, and its threshold, ``(..., tables)`` in float64."""
        cut, values = self._cuts_and_values(counts)
        if cut.device.type != "cpu":
            return curves.best(values, cut)
        highest, threshold = curves.best(values.numpy(), cut.numpy())
        return torch.from_numpy(highest), torch.from_numpy(threshold)

    def over_thresholds(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """The score of every table over the thresholds ``(tables, n)``, and these ``(n,)``."""
        cut, values = self._cuts_and_values(counts)
        known = ~cut.isnan()
        return values[..., known], cut[known]

    def _cuts_and_values(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """The cut behind every cell, and the score at it."""
        _, cut = self.ranking.edges(exact(counts))
        return cut, read(self.value, self.table(counts), filled=True)

    def evaluate_best(self, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Count one batch: the best scores and their thresholds, a scalar where there is one."""
        counts = count_cells(preds, target, self.ranking, check=True)
        highest, threshold = self.best(counts)
        one = self.ranking.task == "binary" or self.ranking.positive == "right"
        values = highest.float().to(preds.device), threshold.to(preds.device)
        return (values[0][0], values[1][0]) if one else values


def best_recipe(
    num_classes: int | LabelSpace | None = None,
    *,
    score: str = "dice",
    **arguments: Unpack[RankingArguments],
) -> BestRecipe:
    """A score at the threshold that is best for it."""
    one_of("score", score, tuple(curves.FORMULAS))
    recipe = curve_recipe(partial(curves.over_thresholds, score=score), num_classes, **arguments)
    return BestRecipe(recipe.ranking, recipe.value, recipe.average, None, score)
