"""Recipes of region metrics: what is counted, and how the counts are scored.

Metrics and functions both build recipes, so that their arguments mean the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import nan
from typing import Literal

from torch import Tensor
from typing_extensions import Unpack

from segmetrics import scores
from segmetrics._arguments import boolean, number, one_of
from segmetrics._help import spells
from segmetrics.counting import Counting, CountingArguments, count
from segmetrics.labels import LabelSpace
from segmetrics.scores import Average, Formula, Score, Statistics, WeightType

AggregationLevel = Literal["global", "samplewise"]


class AgreementArguments(CountingArguments, total=False):
    """The arguments of scores of all classes at once."""

    aggregation_level: AggregationLevel
    zero_division: float


class JointArguments(AgreementArguments, total=False):
    """The arguments of scores over classes that are not averaged."""

    include_background: bool


class ClassArguments(JointArguments, total=False):
    """The arguments of scores per class."""

    average: Average | None


@dataclass(frozen=True)
class Recipe:
    """What is counted, and how it is scored. The functions below build it and check arguments.

    It has a method ``of`` instead of ``__call__``, and so has ``Score``, as ``torch.compile`` of
    torch 2.11 cannot call objects that are made in a graph.
    """

    counting: Counting
    score: Score
    of_labels: bool = False  # background of binary and multilabel included
    groups: tuple[tuple[int, ...], ...] = ()  # sets of classes, scored instead of the classes

    def of(self, counts: Tensor) -> Tensor:
        """The float64 score of the result of ``counting.count``; ``(N, ...)`` if per image."""
        if self.groups:
            matrices = self.counting.matrices(exact(counts))
            return self.score.of(scores.of_groups(matrices, self.groups))
        return self.score.of(statistics(counts, self.counting, of_labels=self.of_labels))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the score of one image or data set."""
        channels = len(self.groups) or self.counting.num_classes - self.score.first
        return (channels,) if self.score.average == "none" else ()

    def evaluate(self, preds: Tensor, target: Tensor) -> Tensor:
        """Count and score one batch. Synchronizes a GPU, to raise for bad labels."""
        score = self.of(count(preds, target, self.counting, check=True))
        if self.counting.per_image:
            score = score.nanmean(0)
        return score.float().to(preds.device)


@spells
def class_recipe(
    formula: Formula,
    num_classes: int | LabelSpace | None,
    *,
    average: Average | None = "macro",
    aggregation_level: AggregationLevel = "global",
    include_background: bool = True,
    zero_division: float = nan,
    **counting: Unpack[CountingArguments],
) -> Recipe:
    """A score per class, averaged over classes."""
    what = _counting(num_classes, aggregation_level, counting)
    average = "none" if average is None else average
    one_of("average", average, ("macro", "micro", "weighted", "none"))
    if what.task == "binary" and average != "macro":
        raise ValueError(
            f"`average={average!r}` means nothing for task='binary', which scores the foreground "
            "alone. Leave it out."
        )
    first, ignored = _left_out(what, include_background)
    # one class has nothing to average over
    kind: Average | Literal["joint"] = "micro" if what.task == "binary" else average
    return Recipe(what, Score(formula, kind, _zero_division(zero_division, what), first, ignored))


def group_recipe(of_classes: Recipe, groups: Sequence[tuple[int, ...]]) -> Recipe:
    """A recipe for groups of classes from one for classes."""
    score = replace(of_classes.score, first=0, ignored=())
    return replace(of_classes, score=score, groups=tuple(groups))


def joint_recipe(
    formula: Formula,
    num_classes: int | LabelSpace | None,
    *,
    aggregation_level: AggregationLevel = "global",
    include_background: bool = True,
    zero_division: float = nan,
    **counting: Unpack[CountingArguments],
) -> Recipe:
    """A score over all classes whose formula combines them."""
    what = _counting(num_classes, aggregation_level, counting)
    first, ignored = _left_out(what, include_background)
    return Recipe(
        what, Score(formula, "joint", _zero_division(zero_division, what), first, ignored)
    )


def agreement_recipe(
    formula: Formula,
    num_classes: int | LabelSpace | None,
    *,
    aggregation_level: AggregationLevel = "global",
    zero_division: float = nan,
    **counting: Unpack[CountingArguments],
) -> Recipe:
    """A score of the agreement over all labels, background included."""
    what = _counting(num_classes, aggregation_level, counting)
    score = Score(formula, "joint", _zero_division(zero_division, what))
    return Recipe(what, score, of_labels=True)


def tversky_formula(alpha: float, beta: float) -> Formula:
    """The Tversky index with its weights."""
    return partial(scores.tversky, alpha=number("alpha", alpha, 0), beta=number("beta", beta, 0))


def f_beta_formula(beta: float) -> Formula:
    """The F score with its weight."""
    return partial(scores.f_beta, beta=number("beta", beta, 0))


def generalized_dice_formula(weight_type: WeightType) -> Formula:
    """The generalised Dice score with its weights."""
    one_of("weight_type", weight_type, ("square", "simple", "linear"))
    return partial(scores.generalized_dice, weight_type=weight_type)


def statistics(counts: Tensor, counting: Counting, *, of_labels: bool) -> Statistics:
    """Statistics per class; with ``of_labels`` per label, multilabel channels summed.

    For binary and multilabel, the statistics of a class are those of its foreground.
    """
    s = Statistics.of(*counting.marginals(exact(counts)))
    if counting.task == "multiclass":
        return s
    if counting.task == "binary":
        return s if of_labels else s.map(lambda label: label[..., 1:])
    return s.map(lambda label: label.sum(-2) if of_labels else label[..., 1])


def exact(counts: Tensor) -> Tensor:
    """The counts on a device that has float64."""
    return counts.cpu() if counts.device.type == "mps" else counts


def _counting(
    num_classes: int | LabelSpace | None,
    aggregation_level: AggregationLevel,
    arguments: CountingArguments,
) -> Counting:
    one_of("aggregation_level", aggregation_level, ("global", "samplewise"))
    return Counting.of(num_classes, per_image=aggregation_level == "samplewise", **arguments)


def _zero_division(value: float, counting: Counting) -> float:
    value = number("zero_division", value)
    if counting.per_image and abs(value) > 1:
        raise ValueError(
            "`zero_division` must be nan or in [-1, 1] for aggregation_level='samplewise', which "
            f"averages it over images, got {value}."
        )
    return value


def _left_out(counting: Counting, include_background: bool) -> tuple[int, tuple[int, ...]]:
    """The first class that is averaged, and the ignored classes, which are not."""
    first = 0 if boolean("include_background", include_background) else 1
    if counting.task == "binary" and first:
        raise ValueError(
            "`include_background` means nothing for task='binary', which scores the foreground "
            "alone. Leave it out."
        )
    classes = range(first, counting.num_classes)
    ignored = tuple(label for label in counting.ignored_classes if label in classes)
    if len(ignored) == len(classes):
        raise ValueError(
            f"no class is left to average: `ignore_index={list(counting.ignore_index)}` and "
            f"`include_background={include_background}` leave out all {counting.num_classes}."
        )
    return first, ignored
