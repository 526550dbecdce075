"""Scores of every case and class, such as distances in millimetres: means, intervals, comparisons.

Counts of pixels are pooled over images (``ImageCounts``); distances cannot be. So these are means
over cases, weighted in a resample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from segmetrics.statistics.resampled import ImageId, Resampled
from segmetrics.statistics.tables import Tabular
from segmetrics.statistics.weighting import Sums, mean_of


@dataclass(frozen=True, eq=False)
class CaseScores(Resampled, Tabular):
    """Scores of N cases, K measures and C classes, whose cases can be resampled.

    Keys are ``"<measure>"``, the mean over cases of the mean over the classes that a case has, and
    ``"<measure>/<class>"``, the mean over the cases that have the class. Undefined scores (nan) are
    left out; one infinite score makes the mean infinite.

    As a table it has one row a case and class.

    Args:
        scores: float64 ``(N, K, C)``; nan where a score is undefined.
        measures: K different names, such as ``"hd95"``.
        class_names: C different names.
        target: the target pixels of each class, ``(N, T)``, equal for two models on the same cases.
        ids: N different names or integers; ``None`` if the cases have no ids.
        settings: values that must be equal between models that are compared: units, tolerances.
        errors: the measures whose smaller values are better.
        amounts: the measures that say nothing of quality, such as volumes.

    Raises:
        ValueError: shapes that do not match, or names of the wrong number or not unique.

    Example:
        >>> import torch
        >>> from segmetrics.statistics import CaseScores, confidence_interval
        >>> hd95 = torch.tensor([2.0, 3.0, 7.0, torch.nan]).view(4, 1, 1).double()
        >>> scores = CaseScores(hd95, ("hd95",), ("liver",), torch.tensor([[90], [70], [80], [0]]))
        >>> print(confidence_interval(scores, "hd95/liver"))
        hd95/liver 4.000 [2.000, 7.000] (95 %, 4 images)
    """

    scores: Tensor
    measures: tuple[str, ...]
    class_names: tuple[str, ...]
    target: Tensor
    ids: tuple[ImageId, ...] | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    amounts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = tuple(self.scores.shape)
        if len(shape) != 3 or self.target.ndim != 2 or len(self.target) != shape[0]:
            raise ValueError(
                "`scores` must be (N, K, C) and `target` (N, T), got "
                f"{shape} and {tuple(self.target.shape)}."
            )
        for name, values, length in (
            ("ids", self.ids, shape[0]),
            ("measures", self.measures, shape[1]),
            ("class_names", self.class_names, shape[2]),
        ):
            if values is not None and not len(values) == len(set(values)) == length:
                raise ValueError(f"`{name}` must be {length} different names, got {values!r}.")

    def keys(self) -> tuple[str, ...]:
        """The measures, then each measure of each class."""
        of_classes = (f"{measure}/{name}" for measure in self.measures for name in self.class_names)
        return (*self.measures, *of_classes)

    def statistic(self, score: str) -> Sums:
        """The mean over the weighted cases."""
        return mean_of(self._of_cases(score).unsqueeze(1))

    def higher_is_better(self, score: str) -> bool:
        """Whether the measure is not one of the errors."""
        return score.partition("/")[0] not in self.errors

    def is_quality(self, score: str) -> bool:
        """Whether the measure is not one of the amounts."""
        return score.partition("/")[0] not in self.amounts

    def targets(self) -> Tensor:
        """The target pixels of each class."""
        return self.target

    def columns(self) -> dict[str, list[Any]]:
        """One row a case and class."""
        columns: dict[str, list[Any]] = {
            "case": [case for case in self.labels for _ in self.class_names],
            "class": list(self.class_names) * len(self),
        }
        for measure, values in zip(self.measures, self.scores.unbind(1), strict=True):
            columns[measure] = values.flatten().tolist()
        return columns

    def _of_cases(self, score: str) -> Tensor:
        measure, slash, name = score.partition("/")
        known = measure in self.measures and (not slash or name in self.class_names)
        if not known:
            raise ValueError(
                f"`score` must be <measure> or <measure>/<class> with a measure of "
                f"{', '.join(self.measures)} and a class of {', '.join(self.class_names)}, got "
                f"{score!r}."
            )
        values = self.scores[:, self.measures.index(measure)].double()
        return values[:, self.class_names.index(name)] if slash else values.nanmean(1)
