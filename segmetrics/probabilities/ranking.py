"""Tables of cells of scores: the settings, and the single pass that counts them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from itertools import chain
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Unpack

from segmetrics._arguments import boolean, identifier, integer, one_of
from segmetrics._help import spells
from segmetrics.counting import Counting, installed, raise_if_bad
from segmetrics.counting.inputs import as_arrays
from segmetrics.counting.settings import InputFormat, Pixels, Task, Upsample
from segmetrics.labels import LabelSpace
from segmetrics.probabilities import messages, plain_cells
from segmetrics.probabilities.cells import CELLS, edges, edges_of_confidences, folding
from segmetrics.probabilities.inputs import BAD_KINDS, ProbabilityArguments, read_scores

Positive = Literal["class", "right"]


class RankingArguments(ProbabilityArguments, total=False):
    """The arguments that affect what is ranked."""

    from_logits: bool
    cells: int
    positive: Positive


@dataclass(frozen=True)
class Ranking(Counting):
    """What is ranked, and in how many cells; equal settings give equal counts.

    ``from_logits`` acts for every task; ``tolerance`` is that of ``Probabilities``. Made by
    :meth:`ranking`, which checks the arguments.
    """

    resolution: int = CELLS
    positive: Positive = "class"
    tolerance: float = 0.0

    @staticmethod
    @spells
    def ranking(
        num_classes: int | LabelSpace | None = None,
        *,
        from_logits: bool = False,
        cells: int = CELLS,
        positive: Positive = "class",
        per_image: bool = False,
        tolerance: float = 0.0,
        **counting: Unpack[ProbabilityArguments],
    ) -> Ranking:
        """Check the arguments of a metric of curves and bring them into one form."""
        one_of("positive", positive, ("class", "right"))
        read_as = Counting.of(num_classes, per_image=per_image, **counting)
        common = {field.name: getattr(read_as, field.name) for field in fields(Counting)}
        if not 2 <= integer("cells", cells) <= CELLS:
            raise ValueError(f"`cells` must be from 2 to 2**16 = {CELLS}, got {cells}.")
        if positive == "right" and read_as.task == "multilabel":
            raise ValueError(
                "whether the prediction of a pixel is right (`positive='right'`, `AURC`) means "
                "nothing for task='multilabel', which has several. For one curve of all channels "
                "pass `preds.flatten(0, 1)` and `target.flatten(0, 1)` with task='binary'."
            )
        if positive == "right" and read_as.task == "binary" and cells % 2:
            raise ValueError(
                f"`cells` must be even where the foreground is predicted above 0.5, got {cells}."
            )
        common |= {"from_logits": boolean("from_logits", from_logits)}
        return Ranking(
            **common,
            resolution=integer("cells", cells),
            positive=positive,
            tolerance=tolerance,
        )

    @property
    def tables(self) -> int:
        """The number of tables: one, or one a class."""
        return 1 if self.task == "binary" or self.positive == "right" else self.num_classes

    @property
    def folds(self) -> bool:
        """Whether tables of one score are folded into those of its confidence."""
        return self.positive == "right" and self.task == "binary"

    @property
    def ranks_logits(self) -> bool:
        """Whether cells are those of logits; several classes are ranked by their softmax."""
        return self.from_logits and self.task != "multiclass"

    def has_halves(self, dtype: object) -> bool:
        """Whether scores of this dtype are ranked as fp16."""
        computed = (self.task == "multiclass" and self.from_logits) or self.upsample == "bilinear"
        return dtype in (torch.float16, np.dtype(np.float16)) and not computed

    @property
    def cells(self) -> int:
        """The number of counts, without the bad pixels that follow them."""
        return self.tables * self.resolution * 2 + 3

    @property
    def name(self) -> str:
        """The settings as an identifier, for the name of a state: no two share one."""
        of_classes = self.task == "multiclass"
        logits = ["logits"] if self.from_logits and of_classes else []
        right = ["right"] if self.positive == "right" and of_classes else []
        return identifier(super().name, "cells", self.resolution, *logits, *right)

    def table(self, counts: Tensor) -> Tensor:
        """Negatives and positives of every cell: ``(..., tables, cells, 2)``.

        For ``positive="right"`` wrong and right predictions. Of one score the state holds negatives
        and positives of the foreground, as for ``"class"``.
        """
        table = counts[..., : self.cells - 3]
        if self.folds:
            table = torch.zeros_like(table).index_add_(-1, self._folding(counts), table)
        return table.reshape(*counts.shape[:-1], self.tables, self.resolution, 2)

    def _folding(self, counts: Tensor) -> Tensor:
        """See ``cells.folding``; no device waits."""
        of_dtypes = torch.from_numpy(_foldings(self.resolution, self.ranks_logits))
        halves = (self.halves(counts) > 0).any().long().view(1)
        return of_dtypes.to(counts.device).index_select(0, halves).squeeze(0)

    def rounded(self, counts: Tensor) -> Tensor:
        """The number of scores in cells that may hold several values ``(...)``."""
        return counts[..., self.cells - 3]

    def halves(self, counts: Tensor) -> Tensor:
        """The number of fp16 scores ``(...)``, which have cells of their own."""
        return counts[..., self.cells - 2]

    def others(self, counts: Tensor) -> Tensor:
        """The number of scores that are not fp16 ``(...)``."""
        return counts[..., self.cells - 1]

    def edges(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """The scores ``(cells,)`` at which cells begin, as far as is known, and the cuts behind.

        See ``cells.Edges``; no device waits.
        """
        of_dtypes = torch.from_numpy(_edges(self.resolution, self.ranks_logits, self.folds))
        of_dtypes = of_dtypes.to(counts.device)
        halves = (self.halves(counts) > 0).any()
        if counts.device.type == "cpu":
            lowest, exact, cut = of_dtypes[int(halves)]
        else:  # indexing by it would wait
            lowest, exact, cut = of_dtypes.index_select(0, halves.long().view(1)).squeeze(0)
        return exact.where((self.rounded(counts) == 0).all(), lowest), cut

    def check(self, counts: Tensor) -> None:
        """Raise for bad pixels, and for fp16 scores among others."""
        raise_if_bad(self.bad(counts), self, messages=messages(self))
        self.check_dtypes(counts)

    def check_dtypes(self, *counts: Tensor) -> None:
        """Raise if together these counted fp16 scores and others."""
        each = (one[..., self.cells - 2 : self.cells].reshape(-1, 2).tolist() for one in counts)
        halves, others = map(sum, zip(*chain(*each), strict=True))
        if halves and others:
            raise ValueError(
                f"`preds` were float16 for {halves} of {halves + others} scores, which have cells "
                "of their own. Pass scores of one dtype: `preds.float()`."
            )


@cache
def _edges(cells: int, from_logits: bool, folds: bool) -> NDArray[np.float64]:
    """The edges of cells of other scores and of fp16 scores ``(2, 3, cells)``."""
    of = edges_of_confidences if folds else edges
    both = [of(cells, from_logits=from_logits, halves=halves) for halves in (False, True)]
    return np.array(both)


@cache
def _foldings(cells: int, from_logits: bool) -> NDArray[np.int64]:
    """The places of counts of other scores and of fp16 scores ``(2, 2 * cells)``."""
    both = [folding(cells, from_logits=from_logits, halves=halves) for halves in (False, True)]
    return np.array(both)


def count_cells(preds: Tensor, target: Tensor, ranking: Ranking, *, check: bool = False) -> Tensor:
    """Count the cells of a batch's scores.

    Args:
        preds: scores, see the design's table of inputs.
        target: labels, on the same device.
        ranking: what is ranked.
        check: raise for bad pixels on every device, which makes a GPU wait. On the CPU they always
            raise.

    Returns:
        int64 ``(ranking.cells + len(BAD_KINDS),)``, with ``ranking.per_image`` one such row an
        image. ``ranking.table``, ``.rounded``, ``.halves`` and ``.bad`` read it.

    Raises:
        TypeError: a dtype that cannot be read, or labels instead of scores.
        ValueError: shapes or devices that do not match, bad labels or impossible probabilities.
    """
    if torch.compiler.is_compiling():
        settings = [getattr(ranking, field.name) for field in fields(ranking)]
        counts: Tensor = _count_op(preds, target, *settings, check)
        return counts
    return _count(preds, target, ranking, check)


def _count(preds: Tensor, target: Tensor, ranking: Ranking, check: bool) -> Tensor:
    pixels = read_scores(preds, target, ranking)
    counts = _backend(pixels, ranking)
    if check or counts.device.type == "cpu":  # a batch has one dtype
        raise_if_bad(ranking.bad(counts), ranking, pixels, messages(ranking))
    return counts


def _backend(pixels: Pixels, ranking: Ranking) -> Tensor:
    """Count by the backend for these inputs, which is loaded when it is first needed."""
    if pixels.target.device.type == "cpu" and installed("numba"):
        from segmetrics.probabilities import cpu_cells

        arrays = as_arrays(pixels)
        if cpu_cells.compiled(arrays, ranking):
            return torch.from_numpy(cpu_cells.count(arrays, ranking))
    on_cuda = pixels.target.device.type == "cuda" and pixels.target_are == "labels"
    if on_cuda and installed("triton"):
        from segmetrics.probabilities import cuda_cells

        return cuda_cells.count(pixels, ranking)
    return plain_cells.count(pixels, ranking)


@torch.library.custom_op("segmetrics::count_cells", mutates_args=())
def _count_op(
    preds: Tensor,
    target: Tensor,
    task: str,
    num_classes: int,
    ignore_index: list[int],
    ids: list[int],
    classes_of_ids: list[int],
    map_preds: bool,
    threshold: float,
    from_logits: bool,
    upsample: str | None,
    input_format: str | None,
    per_image: bool,
    resolution: int,
    positive: str,
    tolerance: float,
    check: bool,
) -> Tensor:
    """Counting as one operator, whose arguments are the fields of ``Ranking``."""
    ranking = Ranking(
        task=cast(Task, task),
        num_classes=num_classes,
        ignore_index=tuple(ignore_index),
        ids=tuple(ids),
        classes_of_ids=tuple(classes_of_ids),
        map_preds=map_preds,
        threshold=threshold,
        from_logits=from_logits,
        upsample=cast("Upsample | None", upsample),
        input_format=cast("InputFormat | None", input_format),
        per_image=per_image,
        resolution=resolution,
        positive=cast(Positive, positive),
        tolerance=tolerance,
    )
    return _count(preds, target, ranking, check)


@_count_op.register_fake
def _(preds: Tensor, target: Tensor, *settings: Any) -> Tensor:
    ranking = Ranking(*settings[:-1])
    size = ranking.cells + len(BAD_KINDS)
    shape = (target.shape[0], size) if ranking.per_image else (size,)
    return target.new_empty(shape, dtype=torch.int64)
