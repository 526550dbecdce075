"""The interpretation of scores as probabilities, and the layout of their counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Unpack

from segmetrics._arguments import boolean, identifier, integer, number, one_of
from segmetrics.counting import Counting
from segmetrics.counting.inputs import LABEL_DTYPES, read
from segmetrics.counting.settings import BFLOAT16, InputFormat, Pixels, Task, Upsample
from segmetrics.labels import LabelSpace

if TYPE_CHECKING:
    from segmetrics.probabilities.ranking import Ranking

Binning = Literal["width", "mass"]

#: Confidences, squared errors and losses are summed as multiples of 2**-24, half an ulp of an fp32
#: confidence. An int64 holds so many of them: squared errors of 2 of 2**38 pixels, and 2**39 nats.
FRACTION_BITS = 24
MOST_PIXELS = 2**38
#: The loss in nats from which it is infinite: exp(-2**15) is 0 in every dtype.
INFINITE_LOSS = 2.0**15

#: Cells of ``binning="mass"``: of min(p, 1 - p) from 2**-24 to 1/2, so many an octave, and one for
#: what lies below. Those of p > 1/2 follow in reverse.
CELLS_AN_OCTAVE_BITS = 6
MASS_CELLS = 2 * ((23 << CELLS_AN_OCTAVE_BITS) + 2)

#: Kinds of bad pixels, in the order in which their numbers follow the counts.
BAD_KINDS = (
    "target_negative",
    "target_255",
    "target_too_large",
    "target_not_one_hot",
    "scores_nan",
    "scores_outside",
    "scores_sum",
)
#: Those of scores as codes, offsets to the number of labels: behind those of ``counting.codes``.
NOT_A_NUMBER, OUTSIDE_0_1, SUM_NOT_1 = 5, 6, 7


class ProbabilityArguments(TypedDict, total=False):
    """The arguments that define probabilities and counted pixels."""

    ignore_index: int | Sequence[int] | None
    task: Task
    upsample: Upsample | None
    input_format: InputFormat | None


@dataclass(frozen=True)
class Probabilities(Counting):
    """How scores are read as probabilities, and counted; equal settings give equal counts.

    ``from_logits`` acts for every task. ``temperatures`` divide logits before the log loss is
    taken, each for a loss of its own; everything else is counted at temperature 1. ``tolerance`` is
    that of sums over the classes where probabilities were stored coarser than their dtype is. Made
    by :meth:`reading`, which checks the arguments.
    """

    bins: int = 15
    binning: Binning = "width"
    classwise: bool = False
    temperatures: tuple[float, ...] = (1.0,)
    tolerance: float = 0.0

    @staticmethod
    def reading(
        num_classes: int | LabelSpace | None = None,
        *,
        from_logits: bool = False,
        n_bins: int = 15,
        binning: Binning = "width",
        classwise: bool = False,
        temperatures: Sequence[float] | None = None,
        per_image: bool = False,
        tolerance: float = 0.0,
        **counting: Unpack[ProbabilityArguments],
    ) -> Probabilities:
        """Check the arguments of a metric of probabilities and bring them into one form."""
        one_of("binning", binning, ("width", "mass"))
        read_as = Counting.of(num_classes, from_logits=from_logits, per_image=per_image, **counting)
        common = {field.name: getattr(read_as, field.name) for field in fields(Counting)}
        if integer("n_bins", n_bins) < 1:
            raise ValueError(f"`n_bins` must be at least 1, got {n_bins}.")
        if boolean("classwise", classwise) and read_as.task != "multiclass":
            raise ValueError(
                f"`classwise=True` means nothing for task={read_as.task!r}, whose channels are "
                "scored one by one already. Leave it out."
            )
        return Probabilities(
            **common | {"from_logits": from_logits},
            bins=integer("n_bins", n_bins) if binning == "width" else MASS_CELLS,
            binning=binning,
            classwise=classwise,
            temperatures=_temperatures(temperatures, from_logits),
            tolerance=tolerance,
        )

    @property
    def tables(self) -> int:
        """The number of tables of bins: one, or one a class."""
        return self.num_classes if self.classwise or self.task == "multilabel" else 1

    @property
    def cells(self) -> int:
        """The number of counts, without the bad pixels that follow them."""
        return 3 * self.tables * self.bins + self.channels * (1 + 2 * len(self.temperatures))

    @property
    def name(self) -> str:
        """The settings as an identifier, for the name of a state: no two share one."""
        parts: list[object] = [super().name, self.binning, self.bins]
        if self.from_logits and self.task == "multiclass":
            parts.append("logits")
        if self.classwise:
            parts.append("classwise")
        if self.temperatures != (1.0,):
            parts += ["temperatures", *self.temperatures]
        return identifier(*parts)

    def sums(self, counts: Tensor) -> Sums:
        """What ``(..., size)`` counts hold."""
        table = counts[..., : 3 * self.tables * self.bins]
        totals = counts[..., 3 * self.tables * self.bins : self.cells].unflatten(
            -1, (self.channels, -1)
        )
        table = table.unflatten(-1, (self.tables, self.bins, 3))
        losses = totals[..., 1:].unflatten(-1, (-1, 2))
        return Sums(table, totals[..., 0], losses[..., 0], losses[..., 1])


class Sums(NamedTuple):
    """The counts, in int64; sums are multiples of ``2**-FRACTION_BITS``.

    Args:
        table: ``(..., tables, bins, 3)``: pixels, how many of them are right, and the sum of
            their confidences.
        squares: ``(..., channels)``, sums of squared errors.
        losses: ``(..., channels, temperatures)``, sums of finite log losses.
        infinite: ``(..., channels, temperatures)``, how many losses are infinite.
    """

    table: Tensor
    squares: Tensor
    losses: Tensor
    infinite: Tensor

    @property
    def pixels(self) -> Tensor:
        """Counted entries of every channel: ``(..., channels)``."""
        return self.table[..., : self.squares.shape[-1], :, 0].sum(-1)


def read_scores(preds: Tensor, target: Tensor, counting: Counting) -> Pixels:
    """Check shapes, dtypes and devices of scores and their target.

    Raises:
        TypeError: an input is not a tensor, or its dtype is not supported, or ``preds`` are labels.
        ValueError: shapes or devices do not fit each other or ``num_classes``.
    """
    if isinstance(preds, Tensor) and preds.dtype in LABEL_DTYPES:
        stored = " Probabilities stored in 8 bits? Pass `preds / 255`."
        raise TypeError(
            "`preds` must hold scores in float32, float64, float16 or bfloat16, got "
            f"{preds.dtype}. Labels have no probabilities: pass the probabilities of the model, or "
            "its logits with `from_logits=True`." + stored * (preds.dtype == torch.uint8)
        )
    return read(preds, target, counting)


@cache
def edges(bins: int) -> NDArray[np.float32]:
    """The edges of bins of equal width: i / n, rounded to fp32."""
    of_bins: NDArray[np.float32] = np.arange(bins + 1, dtype=np.float32) / np.float32(bins)
    return of_bins


def tolerance_of(dtype: object, reading: Probabilities | Ranking) -> float:
    """By how much the probabilities of a pixel's classes may miss 1 as a sum."""
    return max(reading.tolerance, 1e-2 if dtype in (torch.bfloat16, BFLOAT16) else 1e-3)


def _temperatures(values: Sequence[float] | None, from_logits: bool) -> tuple[float, ...]:
    """Different positive temperatures in rising order; 1 where none are given."""
    if values is None:
        return (1.0,)
    if not from_logits:
        raise ValueError(
            "`temperatures` divide logits: pass the model's logits with `from_logits=True`."
        )
    if not isinstance(values, Iterable):
        raise TypeError(f"`temperatures` must be a sequence of numbers, got {values!r}.")
    checked = sorted({number("temperatures", value) for value in values})
    if not checked or not 0 < checked[0] <= checked[-1] < float("inf"):
        raise ValueError(f"`temperatures` must be positive and finite, got {list(values)}.")
    return tuple(checked)
