"""Sums over the objects of each image, the table of object scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from math import nan
from typing import Any

from torch import Tensor

from segmetrics.objects.counts import Place, Scheme, columns_of, places, read, values_at
from segmetrics.objects.scores import AMOUNTS, ERRORS
from segmetrics.statistics.resampled import ImageId, Resampled
from segmetrics.statistics.tables import Tabular
from segmetrics.statistics.weighting import Sums, mean_of


@dataclass(frozen=True, eq=False)
class ObjectCounts(Tabular, Resampled):
    """Sums over the objects of every image, and their scores.

    Made by ``ObjectImageScores.image_counts()``. As a table it has one row an image.

    Args:
        sums: int64 ``(N, rows, columns)``, see ``objects.counts.Scheme``.
        scheme: the objects of each row.
        ids: N different names or integers; ``None`` if the images have no ids.
        class_names: names of the classes with scores of their own.
        region_names: names of the regions.
        samplewise: whether each image is scored, and averaged, instead of all objects pooled.
        zero_division: the value of a share that is 0/0.
        both_empty: the value of a distance without objects.
    """

    sums: Tensor
    scheme: Scheme
    ids: tuple[ImageId, ...] | None = None
    class_names: tuple[str, ...] = ()
    region_names: tuple[str, ...] = ()
    samplewise: bool = False
    zero_division: float = nan
    both_empty: float = nan

    def image_counts(self) -> ObjectCounts:
        """The table itself: statistics call this method of a metric."""
        return self

    @property
    def places(self) -> dict[str, Place]:
        """The score and the row of every key."""
        return places(self.scheme, self.class_names, self.region_names)

    def keys(self) -> tuple[str, ...]:
        """The names of the scores: the keys of ``ObjectMetrics``."""
        return tuple(self.places)

    def statistic(self, score: str) -> Sums:
        """A score as a function of weights ``(B, N)`` → ``(B,)`` in float64.

        Raises:
            ValueError: no score has that name.
        """
        of_sums, parts = self._score_of_sums(score)
        return mean_of(of_sums(parts).unsqueeze(1)) if self.samplewise else Sums(parts, of_sums)

    def values(self, score: str) -> Tensor:
        """The score of every image ``(N,)`` in float64; nan where undefined.

        Raises:
            ValueError: no score has that name.
        """
        of_sums, parts = self._score_of_sums(score)
        return of_sums(parts)

    def _score_of_sums(self, score: str) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """The function of sums ``(..., columns)``, and the sums of the images ``(N, columns)``."""
        where = self.places
        if score not in where:
            near = get_close_matches(score, where, 1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"`score={score!r}` is none of {', '.join(where)}.{meant}")
        key, row = where[score]
        classes = self.scheme.of_classes
        parts = self.sums[:, :classes].sum(1) if row is None else self.sums[:, row]

        def of_sums(sums: Tensor) -> Tensor:
            values: Tensor = read(sums, self.scheme.rules, **fill)[key]
            return values

        fill = {"zero_division": self.zero_division, "both_empty": self.both_empty}
        return of_sums, parts.double()

    def scores(self, weights: Tensor) -> dict[str, Tensor]:
        """All scores in float64, with one weight ``(N,)`` an image."""
        fill = self.zero_division, self.both_empty
        if self.samplewise:
            values = values_at(self.sums.double(), self.places, self.scheme, *fill)
            return {key: mean_of(v.unsqueeze(1))(weights.double()) for key, v in values.items()}
        sums = (self.sums * weights.long()[:, None, None]).sum(0)
        return values_at(sums.double(), self.places, self.scheme, *fill)

    def targets(self) -> Tensor:
        """The numbers of target objects ``(N, rows)``."""
        return self.sums[..., columns_of(self.scheme.rules).index("target")]

    def higher_is_better(self, score: str) -> bool:
        """Whether a larger score is better: not for distances, errors, missed and false objects."""
        return self.places.get(score, (score, None))[0] not in ERRORS

    def is_quality(self, score: str) -> bool:
        """Whether the score is not a number of objects."""
        return self.places.get(score, (score, None))[0] not in AMOUNTS

    def columns(self) -> dict[str, list[Any]]:
        """One row an image: its scores."""
        fill = self.zero_division, self.both_empty
        values = values_at(self.sums.double(), self.places, self.scheme, *fill)
        columns = {key: value.tolist() for key, value in values.items()}
        return {"image": list(self.labels), **columns}
